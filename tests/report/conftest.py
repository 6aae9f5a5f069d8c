"""A run as its records would tell it: a digits teacher, and a student that was lost once."""

from __future__ import annotations

import math
from typing import Any

import pytest

from runner.model import Record

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


@pytest.fixture
def plan_document() -> dict[str, Any]:
    spec = {
        "name": "distill-digits",
        "resources": {"cpus": 1},
        "tasks": {
            "teacher": {
                "kind": "train",
                "model": {"name": "mlp", "args": {"hidden": [512, 512]}},
                "data": {"name": "digits"},
                "max_epochs": 15,
                "global_batch_size": 128,
                "optimizer": {"name": "adamw", "learning_rate": 2.0e-3},
            },
            "student": {
                "kind": "distill",
                "teacher": "${tasks.teacher.outputs.model}",
                "model": {"name": "mlp", "args": {"hidden": [32]}},
                "data": {"name": "digits"},
                "temperature": 3.0,
                "alpha": 0.7,
                "max_epochs": 30,
            },
        },
    }
    return {
        "job": {
            "name": "distill-digits",
            "tasks": [],
            "spec": spec,
            "file": "jobs/distill.yaml",
            "overrides": ["tasks.student.alpha=0.7"],
            "workdir": None,
        },
        "cluster": "embedded cluster on this machine",
        "tasks": [
            planned_task("teacher", "train", []),
            planned_task("student", "distill", ["teacher"]),
        ],
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


@pytest.fixture
def records() -> list[Record]:
    """The teacher finishes; the student is lost once at step 60, then finishes."""
    placement = {"device": "cpu", "nodes": [NODE], "reason": "2 CPUs free"}
    progress = {"total_steps": 360, "epoch": 5.0, "samples_per_s": 182001.0, "phase": "train"}
    return [
        record(
            0,
            "run_started",
            run="distill-digits-20261122-154501-3f2a",
            job="distill-digits",
            driver={"host": "laptop", "pid": 4242, "started": START_S - 1},
            cluster={"source": "embedded cluster on this machine", "nodes": [NODE]},
            environment={
                "runner": "0.1.0",
                "python": "3.11.7",
                "ray": "2.60.0",
                "cpu": {"model": "AMD EPYC 7B13", "cores": 2},
            },
        ),
        record(0.1, "attempt_started", "teacher", 1, placement=placement),
        record(2.0, "attempt_running", "teacher", 1, node=NODE, pid=11, environment=WORKER),
        record(2.4, "metrics", "teacher", 1, points=learning(180, 0.01, 40)),
        record(4.9, "metrics", "teacher", 1, points=summary(TEACHER)),
        artifact(5.0, "teacher", 1, 1_205_112),
        record(5.1, "attempt_ended", "teacher", 1, status="finished", error=None),
        record(5.1, "task_ended", "teacher", status="finished", error=None),
        record(5.2, "attempt_started", "student", 1, placement=placement),
        record(5.9, "attempt_running", "student", 1, node=NODE, pid=12, environment=WORKER),
        record(6.3, "metrics", "student", 1, points=learning(60, 0.5, 90)),
        record(
            7.0,
            "attempt_ended",
            "student",
            1,
            status="lost",
            error={"type": "", "message": "the worker was killed (SIGKILL)", "frames": []},
        ),
        record(7.1, "attempt_started", "student", 2, placement=placement),
        record(7.2, "waiting", "student", 2, reason="0 of 1 CPU free on node-1"),
        record(8.3, "attempt_running", "student", 2, node=NODE, pid=13, environment=WORKER),
        record(8.7, "progress", "student", 2, step=60, loss=0.91, **progress),
        record(9.2, "metrics", "student", 2, points=learning(360, 0.06, 90)),
        record(9.3, "progress", "student", 2, step=360, loss=0.06, **progress),
        record(11.8, "metrics", "student", 2, points=summary(STUDENT)),
        artifact(11.9, "student", 2, 12_345),
        record(12.0, "attempt_ended", "student", 2, status="finished", error=None),
        record(12.0, "task_ended", "student", status="finished", error=None),
        record(12.1, "heartbeat"),
        record(12.3, "run_ended", status="finished"),
    ]


@pytest.fixture
def failed_records(records: list[Record]) -> list[Record]:
    """The teacher's own code raises; the student is skipped."""
    error = {
        "type": "ValueError",
        "message": "expected 64 inputs, got 63\nin batch 4",
        "hint": "",
        "frames": ["my/model.py:12, in forward", "    return self.head(x)"],
        "log": "teacher/1/log.txt",
    }
    return [
        *records[:4],
        record(2.8, "attempt_ended", "teacher", 1, status="failed", error=error),
        record(2.8, "task_ended", "teacher", status="failed", error=error),
        record(2.9, "task_ended", "student", status="skipped", error=None),
        record(3.0, "run_ended", status="failed"),
    ]
