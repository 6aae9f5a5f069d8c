"""What a spec says of built-in models and data is checked when it is read."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any, get_args

import jsonschema
import pytest
import yaml

from runner import builtin
from runner.errors import SpecError
from runner.spec import load
from runner.spec.schema import schema

SPEC = """\
name: job
tasks:
  a:
    kind: train
    model: {model}
    data: {data}
    max_epochs: 1
"""


def spec(model: str, data: str = "{name: digits}") -> str:
    return SPEC.replace("{model}", model).replace("{data}", data)


def refused(text: str) -> list[str]:
    try:
        load(text.encode(), file="job.yaml", environment={})
    except SpecError as error:
        return [str(fault).removeprefix("job.yaml:") for fault in error.faults]
    return []


def test_every_built_in_has_a_row_in_every_table() -> None:
    models, data = get_args(builtin.ModelName), get_args(builtin.DataName)
    assert tuple(builtin.MODEL_ARGUMENTS) == tuple(builtin.TAKES) == models
    assert tuple(builtin.DATA_ARGUMENTS) == tuple(builtin.FORMS_OF_DATA) == data
    assert tuple(builtin.FORMS_OF_FORMAT) == get_args(builtin.Format)


@pytest.mark.parametrize("name", builtin.MODEL_ARGUMENTS)
def test_the_arguments_are_those_that_the_code_takes(name: str) -> None:
    from runner.torchlib.models import MODELS

    taken = inspect.signature(import_module(MODELS[name]).make).parameters
    assert set(taken) == {"input_shape", "num_classes", *builtin.MODEL_ARGUMENTS[name].model_fields}


# Each with the text at which the fault is, and what it says.
ARGS = {
    "{name: mlp, args: {hiden: [8]}}": (
        "hiden", "unknown key 'hiden'; did you mean 'hidden'?"),
    "{name: mlp, args: {hidden: abc}}": (
        "abc", 'hidden is "abc"; expected a list'),
    "{name: mlp, args: {hidden: [8, 0]}}": (
        "0]", "item 2 of hidden is 0; expected at least 1"),
    "{name: mlp, args: {hidden: [8, x]}}": (
        "x]", 'item 2 of hidden is "x"; expected a whole number'),
    "{name: mlp, args: {dropout: 1.0}}": (
        "1.0", "dropout is 1.0; expected less than 1"),
    "{name: convnet, args: {channels: []}}": (
        "[]", "channels is empty; expected at least one"),
    "{name: convnet, args: {hidden: true}}": (
        "true", "hidden is true; expected a whole number"),
    "{name: resnet, args: {depth: 18}}": (
        "depth",
        "args: depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110, ...), not 18; take 20"),
    "{name: vit, args: {heads: 3}}": (
        "heads",
        "args: dim 128 can't be divided among 3 heads; take a dim that is a multiple of 3"),
    "{name: mlp, args: {num_classes: 3}}": (
        "num_classes", "unknown key 'num_classes'; expected one of hidden, dropout"),
}  # fmt: skip


@pytest.mark.parametrize("model", ARGS)
def test_an_argument_that_makes_no_sense_is_one_fault_at_its_place(model: str) -> None:
    where, message = ARGS[model]
    assert refused(spec(model)) == [f"5:{12 + model.index(where)}: {message}"]


DATA = {
    "{name: stdlib, args: {byte: 5}}": ("byte", "unknown key 'byte'; did you mean 'bytes'?"),
    "{name: stdlib, args: {bytes: 0}}": ("0", "bytes is 0; expected at least 1"),
    "{name: digits, args: {n: 5}}": ("n: 5", "unknown key 'n'; see 'runner kinds'"),
    "{path: a.csv, args: {n: 5}}": (
        "args", "data: 'args' goes with 'name' or 'factory' only"),
    "{path: a.npz, label: y}": (
        "label", "data: 'label' is a column of a table, and the data is npz"),
    "{path: a, format: images, label: y}": (
        "label", "data: 'label' is a column of a table, and the data is images"),
}  # fmt: skip


@pytest.mark.parametrize("data", DATA)
def test_data_that_makes_no_sense_is_one_fault_at_its_place(data: str) -> None:
    where, message = DATA[data]
    model = "{name: gpt}" if "stdlib" in data else "{name: mlp}"
    assert refused(spec(model, data)) == [f"6:{11 + data.index(where)}: {message}"]


MISMATCHES = {
    ("gpt", "{name: digits}"): "gpt takes text, and the data is images; "
    "expected mlp or convnet or resnet or vit, or other data",
    ("mlp", "{name: stdlib}"): "mlp takes images or a table, and the data is text; "
    "expected gpt, or other data",
    ("convnet", "{path: a.csv}"): "convnet takes images, and the data is a table; "
    "expected mlp, or other data",
    ("gpt", "{path: a.npz}"): "gpt takes text, and the data is images or a table; "
    "expected mlp or convnet or resnet or vit, or other data",
    ("vit", "{path: folder, format: text}"): "vit takes images, and the data is text; "
    "expected gpt, or other data",
}  # fmt: skip


@pytest.mark.parametrize(("model", "data"), MISMATCHES)
def test_a_model_that_can_not_take_the_data_is_one_fault(model: str, data: str) -> None:
    text = spec(f"{{name: {model}}}", data)
    assert refused(text) == [f"5:5: a: the model {MISMATCHES[model, data]}"]


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("{name: mlp, args: {hidden: []}}", "{path: a.csv, label: y}"),
        ("{name: convnet, args: {hidden: 0}}", "{path: a.npz}"),
        ("{name: vit}", "{path: folder}"),
        ("{name: gpt, args: {block_size: 64, tied: false}}", "{path: a.txt}"),
        ("{name: mlp}", "{factory: 'own:data', args: {n: 5}}"),
        ("{factory: 'own:make', args: {anything: [1]}}", "{name: stdlib, args: {bytes: 9000}}"),
    ],
)
def test_what_makes_sense_is_taken(model: str, data: str) -> None:
    assert refused(spec(model, data)) == []
    jsonschema.Draft202012Validator(schema()).validate(yaml.safe_load(spec(model, data)))


@pytest.mark.parametrize(
    ("model", "data"),
    [*((model, "{name: digits}") for model in ARGS if "args:" not in ARGS[model][1]),
     *(("{name: mlp}", data) for data in DATA if "name" in data)],
)  # fmt: skip
def test_editors_refuse_the_same_arguments(model: str, data: str) -> None:
    validator: Any = jsonschema.Draft202012Validator(schema())
    assert not validator.is_valid(yaml.safe_load(spec(model, data)))


def test_all_rows_may_be_measured_but_not_held_out_of_training() -> None:
    text = spec("{name: mlp}", "{name: digits, test_fraction: 1.0}")
    assert [fault.partition(": ")[2] for fault in refused(text)] == [
        "test_fraction is 1.0; expected less than 1"
    ]
    text = text.replace("train", "evaluate").replace("    max_epochs: 1\n", "")
    assert refused(text.replace("model: {name: mlp}", "model: folder")) == []
