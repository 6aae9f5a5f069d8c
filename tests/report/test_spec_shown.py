"""The spec in the report holds every value that applied, and is the spec of the same job."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from runner.model import Inventory, Job, Node
from runner.plan.place import place
from runner.plan.saved import to_json
from runner.report.spec import spec_text
from runner.report.summary import summarise
from runner.spec import load
from tests.conftest import JOBS

HERE = Inventory(
    source="here", nodes=(Node(name="here", id="1", cpus=8.0, memory_bytes=64 * 10**9),)
)
SPEC = """\
name: shown
seed: 7
resources: {memory: 1GB}
env: {"A": "x: y # z", LINES: "1\\n2"}
tasks:
  first:
    kind: train
    seed: 0
    timeout: 2h
    model: {factory: "my:net", args: {sizes: [], "odd key": null, "null": "on"}}
    data: {path: a.csv, test_fraction: 0.25}
    max_steps: 10
    gradient_accumulation_steps: 4
    optimizer: {name: sgd}
    lr_scheduler: {}
  second:
    kind: evaluate
    model: ${tasks.first.outputs.model}
    data: {path: a.csv}
    depends_on: [first]
    resources: {cpus: 2}
"""


def loaded(text: str, folder: Path | None = None) -> Job:
    return load(text.encode(), file="job.yaml", environment={}, folder=folder)


def shown(job: Job) -> str:
    return spec_text(summarise(json.loads(to_json(place(job, HERE))), []))


def assert_same_job(job: Job, again: Job) -> None:
    """The two are planned alike, whatever of their parameters is said and what is left out."""
    first, second = place(job, HERE), place(again, HERE)
    for one, other in zip(first.tasks, second.tasks, strict=True):
        said = {name: value for name, value in one.task.params.items() if value is not None}
        assert said.items() <= other.task.params.items()
        assert one == dataclasses.replace(
            other, task=dataclasses.replace(other.task, params=one.task.params)
        )


@pytest.mark.parametrize("file", sorted(JOBS.glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_are_shown_as_the_jobs_that_they_are(file: Path) -> None:
    job = loaded(file.read_text(), JOBS)
    assert_same_job(job, loaded(shown(job), JOBS))


def test_what_the_file_leaves_out_is_marked_and_nothing_else_is() -> None:
    job = loaded(SPEC)
    text = shown(job)
    assert_same_job(job, loaded(text))
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "seed: 7",
        "cpus: 1.0  # default",
        "retry: {max_restarts: 2}  # default",
        "path: a.csv",
        "test_fraction: 0.25",
        "stream: false  # default",
        "name: sgd",
        "momentum: 0.9  # default",
        "global_batch_size: 64  # default",
        "per_device_batch_size: 16  # default",
        "gradient_accumulation_steps: 4",
        "label_smoothing: 0.0  # default",
    ):
        assert line in lines, text
    scheduler = next(line for line in lines if line.startswith("lr_scheduler:"))
    assert "name: constant" in scheduler and scheduler.endswith("}  # default")
    # What nobody set is not there, and the job's defaults are there once.
    assert "max_epochs" not in text and "max_grad_norm" not in text
    assert text.count("retry:") == 1
    said = yaml.safe_load(text)
    assert list(said) == ["name", "seed", "resources", "env", "retry", "tasks"]
    assert said["env"] == {"A": "x: y # z", "LINES": "1\n2"}


def test_a_value_set_on_the_command_line_is_no_default() -> None:
    job = load(
        SPEC.encode(), file="j", environment={}, overrides=["tasks.first.label_smoothing=0.5"]
    )
    assert "    label_smoothing: 0.5\n" in shown(job)


# What is shown at all; any other character is replaced before the report is written.
shown_characters = some.characters(exclude_categories=("C", "Zl", "Zp")) | some.just("\n")
text = some.text(shown_characters, min_size=1, max_size=8)
values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | text,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=some.dictionaries(text, values, max_size=4), params=some.dictionaries(text, values))
def test_whatever_a_spec_holds_is_yaml_of_the_same(
    plan_document: dict[str, Any], spec: dict[str, Any], params: dict[str, Any]
) -> None:
    task = plan_document["tasks"][0] | {"batches": None}
    task["task"] = task["task"] | {"params": params}
    tasks = {"teacher": spec}
    job = plan_document["job"] | {"spec": {"name": "x", "tasks": tasks}}
    plan = plan_document | {"job": job, "tasks": [task]}
    read = yaml.safe_load(spec_text(summarise(plan, [])))
    said = read["tasks"]["teacher"]
    assert_holds(said, spec)
    assert read["seed"] == 0 or "seed" in spec
    for name, value in params.items():
        if name not in spec and value is not None and not isinstance(value, dict):
            assert said[name] == value


def assert_holds(read: Any, written: Any) -> None:
    """All of ``written`` is there, and beside it at most what it leaves out."""
    if isinstance(written, dict):
        assert isinstance(read, dict)
        for name, value in written.items():
            assert_holds(read[name], value)
    else:
        assert read == written
