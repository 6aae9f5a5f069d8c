"""A run as its records would tell it: a digits teacher, and a student that was lost once."""

from __future__ import annotations

import math
from typing import Any

from runner.model import Record
from runner.report.summary import Report, summarise

START_S = 1795362301.25
NODE = "node-1"
WORKER = {"python": "3.11.7", "torch": "2.13.0", "device": "cpu", "threads": 1}


def planned_task(
    name: str, kind: str, depends_on: list[str], samples: int = 1437
) -> dict[str, Any]:
    return {
        "task": {
            "name": name,
            "kind": kind,
            "params": {"max_epochs": 15},
            "resources": {"cpus": 1.0, "memory_bytes": None, "accelerators": [None]},
            "depends_on": depends_on,
            "retry": {"max_restarts": 2},
            "timeout_s": None,
            "env": {},
            "secrets": [],
            "seed": 0,
        },
        "placement": {
            "device": "cpu",
            "nodes": [NODE],
            "node_ids": ["ab12"],
            "demand": {"CPU": 1.0},
            "reason": "asks for 1 CPU and no accelerator; node-1 has 2 CPUs free",
        },
        "batches": {
            "global_batch_size": 128,
            "per_device_batch_size": 128,
            "gradient_accumulation_steps": 1,
            "num_workers": 1,
            "train_samples": samples,
            "steps_per_epoch": 12,
            "total_steps": 180,
        },
        "wave": len(depends_on),
    }


def learning(steps: int, floor: float, pace: float, first: int = 0) -> list[list[object]]:
    """Points of a training that learns: a noisy fall of the loss, a rise of the accuracy."""
    points: list[list[object]] = []
    for step in range(first + 10, steps + 1, 10):
        wobble = 0.06 * math.sin(step * 1.7) * math.exp(-step / pace)
        loss = floor + 2.2 * math.exp(-step / pace) + wobble
        points.append(["train/loss", step, loss])
        if step % 30 == 0:
            points.append(["test/loss", step, loss * 1.1 + 0.06])
            points.append(["test/accuracy", step, 0.978 - 0.8 * math.exp(-step / pace)])
        points.append(["train/samples_per_s", step, 71000.0 + 900 * math.sin(step)])
    return points


TEACHER = {
    "test/accuracy": 0.9806,
    "test/loss": 0.0841,
    "size/parameters": 301066,
    "size/model_mb": 1.2049,
    "latency/p50_ms": 0.0934,
    "latency/p95_ms": 0.1121,
    "throughput/samples_per_s": 81230.0,
    "train/samples_per_s": 71320.5,
    "time/first_step_s": 1.91,
    "memory/peak_mb": 412.3,
}
STUDENT = {
    "test/accuracy": 0.9722,
    "test/loss": 0.1032,
    "size/parameters": 2410,
    "size/model_mb": 0.0103,
    "latency/p50_ms": 0.0412,
    "latency/p95_ms": 0.0498,
    "throughput/samples_per_s": 402110.0,
    "train/samples_per_s": 182001.0,
    "time/first_step_s": 0.62,
    "memory/peak_mb": 398.1,
    "baseline/test/accuracy": 0.9806,
    "baseline/test/loss": 0.0841,
    "baseline/size/parameters": 301066,
    "baseline/size/model_mb": 1.2049,
    "baseline/latency/p50_ms": 0.0951,
    "baseline/latency/p95_ms": 0.1155,
    "baseline/throughput/samples_per_s": 80110.0,
    "compression/size_ratio": 1.2049 / 0.0103,
    "compression/speedup": 0.0951 / 0.0412,
    "compression/accuracy_drop": 0.0084,
}


def record(at_s: float, event: str, task: str = "", attempt: int = 0, **data: Any) -> Record:
    return Record(
        at_s=START_S + at_s, event=event, task=task or None, attempt=attempt or None, data=data
    )


def artifact(at_s: float, task: str, attempt: int, size: int) -> Record:
    return record(
        at_s,
        "artifact",
        task,
        attempt,
        name="model",
        path=f"{task}/{attempt}/model",
        bytes=size,
        sha256="9f2b6c1d0e8a7f54" * 4,
    )


def summary(metrics: dict[str, float]) -> list[list[object]]:
    return [[name, None, value] for name, value in metrics.items()]


def finished(plan: dict[str, Any], metrics: dict[str, dict[str, float]]) -> Report:
    """A run in which every task finished at once and measured that."""
    stream = [record(0, "run_started", run="r", job="j")]
    for name, values in metrics.items():
        stream += [
            record(1, "attempt_started", name, 1),
            record(2, "metrics", name, 1, points=summary(values)),
            record(3, "task_ended", name, status="finished", error=None),
        ]
    plan["tasks"] = [each for each in plan["tasks"] if each["task"]["name"] in metrics]
    return summarise(plan, [*stream, record(4, "run_ended", status="finished")])
