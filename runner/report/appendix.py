"""What a report says beside its results: the surroundings, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.report import format as form
from runner.report import rates
from runner.report.comparison import BASELINE, COSINE
from runner.report.forms import forms
from runner.report.language import NEXT_BYTE_ACCURACY, accuracy_name
from runner.report.summary import Report

# What each figure means, for those metrics that a run has.
DEFINITIONS = {
    "test/accuracy": (
        "Test accuracy",
        "share of the held-out targets for which the model's first choice is right.",
    ),
    "test/loss": ("Test loss", "mean cross-entropy over the held-out targets."),
    "size/parameters": (
        "Parameters",
        "all that the model holds, trained or frozen; a shared one counts once.",
    ),
    "size/model_mb": (
        "Model on disk",
        "all the bytes of the saved model's folder; 1 MB is 1,000,000.",
    ),
    "size/zeros": (
        "Zeros",
        "parameters that are zero; they are stored, sent and multiplied like any other.",
    ),
    "size/multiply_adds": (
        "Multiply-adds",
        "multiplications, each with an addition, that one sample takes in products, convolutions "
        "and attention.",
    ),
    "size/gzip_mb": (
        "Gzipped",
        "what the files of the saved model take once each is compressed with gzip.",
    ),
    "latency/p50_ms": (
        "Latency p50, p95",
        "time of one call on one sample (batch 1), in evaluation mode and without gradients, "
        "after a warm-up; half of the timed calls (up to 200), or 95 %, took no longer.",
    ),
    "throughput/samples_per_s": (
        "Throughput",
        "samples per second in batches of 64, from the median of up to 30 such calls.",
    ),
    "energy/mj_per_sample": (
        "Energy",
        "what the processor's package took by its own counters (RAPL) while batches were computed, "
        "idle cores included, a sample's share.",
    ),
    "train/samples_per_s": ("Training rate", "training samples per second, evaluation left out."),
    "time/first_step_s": (
        "Time to first step",
        "from when nothing kept the task from starting to the end of its first optimizer step.",
    ),
    "memory/peak_mb": (
        "Peak memory",
        "the most held at once: by tensors on a GPU, by the whole process on a CPU.",
    ),
}
NEXT_BYTE = (
    "Next-byte accuracy",
    "share of the held-out bytes that are the model's first choice, given those before them.",
)
EMBEDDINGS = (
    "Cosine",
    "mean over the held-out samples of the cosine of the angle between what the model gives and "
    "what the one gives that it was made from; 1 is the same.",
)
FORMS = (
    "Forms of a model",
    "each was loaded by its own runtime in a fresh process, and so was the model itself; they took "
    "turns on the CPU. One that takes a batch of one size only was called with that, for one "
    "sample too. Same answers: share of the held-out targets for which a form's first choice is "
    "that of the model that it was made from.",
)
COMPARED = (
    "Compared",
    "a task that shrinks a model measures what it started from beside what it made, in the same "
    "process; the ratios are of these two, before rounding. What the task that made the first "
    "measured of it, in its own process, stands among that task's figures.",
)


def definitions(report: Report) -> list[tuple[str, str]]:
    """Terms and their meaning: of what this run measured, and on how many threads."""
    names = {name for task in report.tasks for name in task.metrics}
    meanings = dict(DEFINITIONS)
    scored = [task for task in report.tasks if "test/accuracy" in task.metrics]
    if accuracy_name(report, scored) == NEXT_BYTE_ACCURACY:
        meanings["test/accuracy"] = NEXT_BYTE
    terms = [meaning for name, meaning in meanings.items() if name in names]
    if any(COSINE in task.metrics and task not in scored for task in report.tasks):
        terms.append(EMBEDDINGS)
    terms += rates.definitions(names)
    threads = {
        task.name: str(task.environment["threads"])
        for task in report.tasks
        if task.metrics and task.environment.get("threads") is not None
    }
    if threads:
        counts = _agreed(threads)
        terms.append(("Threads", f"{counts} for computing, in training and in measuring."))
    if any(name.startswith(BASELINE) for name in names):
        terms.append(COMPARED)
    if any(forms(task.metrics, DEFINITIONS) for task in report.tasks):
        terms.append(FORMS)
    if report.pauses:
        still = ", ".join(form.duration(max(0.0, end - start)) for start, end in report.pauses)
        text = f"the run lay still for {still} until it was resumed, which no duration counts."
        terms.append(("Resumed", text))
    return terms


def surroundings(report: Report) -> list[tuple[str, str]]:
    """Facts about cluster, submitting machine and workers; where tasks differ, task by task."""
    rows = list(_facts(report.cluster, "cluster")) + list(_facts(report.environment, ""))
    known = dict(rows)
    by_name: dict[str, dict[str, str]] = {}
    for task in report.tasks:
        for name, value in _facts(task.environment, ""):
            by_name.setdefault(name, {})[task.name] = value
    for name, values in by_name.items():
        if known.get(name) != (text := _agreed(values)):
            rows.append((name if name not in known else f"workers' {name}", text))
    return rows


def _agreed(values: Mapping[str, str]) -> str:
    """The one value that all tasks have, or each task's own."""
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{value} ({task})" for task, value in values.items())


def _facts(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """A nested mapping as flat lines: ``{"cpu": {"cores": 2}}`` → ("cpu cores", "2")."""
    for key, value in values.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _facts(value, name)
        elif isinstance(value, list | tuple):
            if value:
                yield name, "; ".join(_item(each) for each in value)
        elif value is not None:
            yield name, _item(value)


def _item(value: object) -> str:
    """One fact's value: a mapping in a list, such as a node, becomes 'name vm, cpus 2'."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in _facts(value, ""))
    return form.plain(value) if isinstance(value, float) else str(value)
