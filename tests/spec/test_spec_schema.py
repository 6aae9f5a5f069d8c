"""The JSON Schema that editors check by: valid itself, and of one mind with the checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from refusing import TASK, refused

from runner.kinds import KINDS, find
from runner.spec.schema import schema

JOBS = sorted((Path(__file__).parent.parent.parent / "jobs").glob("*.yaml"))


def validator() -> Any:
    return jsonschema.Draft202012Validator(schema())


def test_it_is_a_schema_and_describes_every_property() -> None:
    document = schema()
    jsonschema.Draft202012Validator.check_schema(document)
    bare = [
        f"{where}.{name}"
        for where, part in [("", document), *document["$defs"].items()]
        for name, prop in part.get("properties", {}).items()
        if "description" not in prop and "$ref" not in prop
    ]
    assert bare == []


@pytest.mark.parametrize("file", JOBS, ids=lambda file: file.stem)
def test_it_takes_every_job(file: Path) -> None:
    validator().validate(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_every_starter(kind: str) -> None:
    validator().validate(yaml.safe_load(find(kind).starter))


RIGHT = [
    "seed: ${env:SEED}",
    "max_steps: ${env:SEED}",
    "optimizer:\n      learning_rate: ${env:SEED}",
    "resources: {cpus: 2, memory: 8GB, accelerators: [gpu:1, cpu]}",
    "resources: {accelerators: H100:8}",
    "resources: {num_workers: 2, num_nodes: 2}",
    "resources: {num_workers: {min: 1, max: 8}}\n    global_batch_size: 64",
    "checkpoint: {every_steps: 100}",
    "precision: bf16-mixed",
    "timeout: 90",
    "timeout: 10m",
    "env: {A: x}",
    "optimizer: {betas: [0.9, 0.99]}",
]
WRONG = [
    "max_epoch: 3",
    "resources: {num_workers: 0}",
    "resources: {num_workers: {min: 1}}",
    "parallelism: {dp: 2}",
    "checkpoint: {keep: 3}",
    "seed: x",
    "seed: -1",
    "max_epochs: 0",
    "resources: [1]",
    "resources: {cpu: 1}",
    "resources: {accelerators: 3}",
    "resources: {memory: 8}",
    "optimizer: {name: adm}",
    "env: {A: 1}",
    "env: {1A: x}",
    "depends_on: a",
    "timeout: [1]",
    "temperature: 3",
]


@pytest.mark.parametrize("line", RIGHT)
def test_both_take_a_right_line(line: str) -> None:
    text = f"{TASK}    {line}\n"
    if line.startswith("max_steps"):
        text = text.replace("    max_epochs: 1\n", "")
    assert refused(text, environment={"SEED": "1"}) == []
    validator().validate(yaml.safe_load(text))


@pytest.mark.parametrize("line", WRONG)
def test_both_refuse_a_wrong_line(line: str) -> None:
    text = (
        f"{TASK}    {line}\n" if "max_epochs" not in line else TASK.replace("max_epochs: 1", line)
    )
    assert refused(text)
    assert not validator().is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kind: train", "kind: trian"),
        ("    kind: train\n", ""),
        ("name: job\n", ""),
        ("name: job\n", "name: a job\n"),
        ("name: job\n", "name: job\ntask: 1\n"),
        ("    model: {name: mlp}\n", ""),
        ("{name: mlp}", "[mlp]"),
        ("  a:", "  a b:"),
    ],
)
def test_both_refuse_a_wrong_change(old: str, new: str) -> None:
    text = TASK.replace(old, new)
    assert refused(text)
    assert not validator().is_valid(yaml.safe_load(text))


def test_both_take_what_holds_anchors() -> None:
    text = "x-base: &base {max_epochs: 1}\n" + TASK.replace("max_epochs: 1", "<<: *base")
    assert refused(text) == []
    validator().validate(yaml.safe_load(text))


def test_both_refuse_no_tasks_and_tasks_in_a_list() -> None:
    for text in ("name: x\ntasks: {}\n", "name: x\ntasks: [a]\n", "name: x\n"):
        assert refused(text)
        assert not validator().is_valid(yaml.safe_load(text))
