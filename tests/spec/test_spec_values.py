"""Values that come from elsewhere than the file: ``--set`` and ``${env:NAME}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from refusing import TASK, faults, refused

from runner.kinds import KINDS
from runner.spec import load

FORM = "expected PATH=VALUE, such as tasks.student.temperature=4"


OWN = TASK.replace("{name: mlp}", "{factory: 'own:make'}")


def params(
    text: str, overrides: Sequence[str] = (), environment: dict[str, str] | None = None
) -> dict[str, Any]:
    job = load(text.encode(), file="x", overrides=overrides, environment=environment or {})
    return dict(job.tasks[0].params)


def test_overrides_are_typed_as_yaml_types_them() -> None:
    given = {"i": "4", "f": "2.0e-3", "b": "false", "t": "no", "q": "'4'", "n": "", "l": "[1, a]",
             "m": "{x: {y: 1}}", "c": "#x", "s": "a=b=c"}  # fmt: skip
    wanted = {"i": 4, "f": 0.002, "b": False, "t": "no", "q": "4", "n": None, "l": [1, "a"],
              "m": {"x": {"y": 1}}, "c": None, "s": "a=b=c"}  # fmt: skip
    texts = [f"tasks.a.model.args.{name}={value}" for name, value in given.items()]
    assert params(OWN, texts)["model"]["args"] == wanted


def test_overrides_reach_into_lists_and_the_last_one_holds() -> None:
    texts = ["tasks.a.model.args.hidden=[8, 8]", "tasks.a.model.args.hidden.1=16",
             "tasks.a.max_epochs=2", "tasks.a.max_epochs=3"]  # fmt: skip
    found = params(TASK, texts)
    assert (found["model"]["args"], found["max_epochs"]) == ({"hidden": [8, 16]}, 3)


def test_an_override_makes_the_maps_on_its_way_and_may_replace_a_whole_value() -> None:
    texts = ["tasks.a.optimizer.name=sgd", "tasks.a.model={name: vit}", "resources.cpus=3"]
    job = load(TASK.encode(), file="x", overrides=texts, environment={})
    assert job.tasks[0].params["optimizer"]["name"] == "sgd"
    assert job.tasks[0].params["model"]["name"] == "vit"
    assert job.tasks[0].resources.cpus == 3.0
    assert job.overrides == tuple(texts)


def test_an_override_mends_a_fault_of_the_file() -> None:
    text = TASK.replace("max_epochs: 1", "max_epochs: {a: [x]}")
    assert refused(text) == ["7:17: max_epochs is a map; expected a whole number"]
    assert refused(text, overrides=["tasks.a.max_epochs=1"]) == []


WRONG = {
    "tasks.a.max_epochs": f"--set:1:1: 'tasks.a.max_epochs'; {FORM}",
    "=3": f"--set:1:1: '=3'; {FORM}",
    "tasks..a=3": f"--set:1:1: 'tasks..a=3'; {FORM}",
    "tasks.b.seed=3": "--set:1:1: no task is called 'b'; expected one of a",
    "tasks.a.max_epochs.x=3": ("--set:1:1: 'tasks.a.max_epochs' is a single value; expected a map"),
    "tasks.a.seed=x": '--set:1:14: seed is "x"; expected a whole number',
    "tasks.a.seed={b: 1}": "--set:1:14: seed is a map; expected a whole number",
    "tasks.a.seeds=1": "--set:1:1: unknown key 'seeds'; did you mean 'seed'?",
    "tasks.a.optimizer={nam: sgd}": ("--set:1:20: unknown key 'nam'; did you mean 'name'?"),
    "tasks.a.optimizer.nam=sgd": "--set:1:1: unknown key 'nam'; did you mean 'name'?",
    "tasks.a.optimizer.lr=3": "--set:1:1: unknown key 'lr'; did you mean 'learning_rate'?",
    "a.seed=3": "--set:1:1: 'a.seed' begins with a task's name; did you mean 'tasks.a.seed'?",
    "x-base.seed=3": (
        "--set:1:1: 'x-base' only holds what stands elsewhere too; expected the path of the value "
        "there, such as tasks.student.temperature"
    ),
    "tasks.a.kind=": (f"--set:1:14: kind is empty; expected one of {', '.join(KINDS)}"),
    "tasks.a.max_steps=3": "--set:1:1: a: expected exactly one of 'max_epochs' and 'max_steps'",
    "tasks=3": "--set:1:7: tasks is 3; expected a map",
    "tasks.a.seed=[1": "--set:1:14: a list in [ ] that isn't closed; expected ',' or ']'",
    "tasks.a.seed=!!int 1": "--set:1:14: the tag !!int; expected plain data, without tags",
    "tasks.a.seed=${env:NONE}": (
        "--set:1:14: the environment has no variable NONE; expected it to be set: NONE=... "
        "runner ..."
    ),
    "tasks.a.seed=a\0": "--set:1:15: a NUL byte; expected printable text",
    "tasks.a.seed=\udcff": "--set:1:14: not UTF-8; expected text in UTF-8",
    "tasks.a.\udcff=1": f"--set:1:1: 'tasks.a.?=1'; {FORM}",
    "tasks.a.seed=a: b: c": (
        "--set:1:18: a ':' that can't stand here; expected another indentation, or quotes around "
        "text that holds ': '"
    ),
    ".".join("x" * 50) + "=1": "--set:1:1: a path of 50 names; expected at most 40",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_override_is_one_fault(override: str) -> None:
    assert refused(TASK, overrides=[override]) == [WRONG[override]]


GUILTY = {
    # An empty value that a later override steps into is still where it was written.
    ("tasks.a=", "tasks.a.seed=1"): ("tasks.a=", "the task 'a' has no 'kind'"),
    ("tasks.a.nothing=", "tasks.a.nothing.x=1"): ("tasks.a.nothing=", "unknown key 'nothing'"),
    # Of the keys that a rule is about the overridden one broke it, and of several the last.
    ("tasks.a.global_batch_size=10", "tasks.a.per_device_batch_size=4"): (
        "tasks.a.per_device_batch_size=4", "not divisible"),
    ("tasks.a.seed=1", "tasks.a.max_steps=4"): ("tasks.a.max_steps=4", "exactly one of"),
    ("tasks.a.retry.max_restarts=1", "tasks.a.retry.restarts=1"): (
        "tasks.a.retry.restarts=1", "unknown key 'restarts'"),
}  # fmt: skip


@pytest.mark.parametrize("overrides", GUILTY)
def test_of_several_overrides_the_guilty_one_is_shown(overrides: Sequence[str]) -> None:
    [fault] = faults(TASK, overrides=overrides)
    source, message = GUILTY[tuple(overrides)]
    assert (fault.source, fault.file) == (source, "--set")
    assert message in fault.message


def test_an_empty_value_of_the_file_keeps_its_place() -> None:
    [fault] = faults(TASK + "    optimizr:\n", overrides=["tasks.a.optimizr.name=sgd"])
    assert (fault.line, fault.source) == (8, "    optimizr:")


def test_wrong_items_of_lists() -> None:
    text = TASK + "    secrets: [A]\n    depends_on: []\n"
    wanted = {
        "tasks.a.secrets.1=B": "the list 'tasks.a.secrets' has no item '1'; expected 0 up to 0",
        "tasks.a.secrets.x=B": "the list 'tasks.a.secrets' has no item 'x'; expected 0 up to 0",
        "tasks.a.depends_on.0=a": "the list 'tasks.a.depends_on' has no item '0'; it is empty",
        f"tasks.a.secrets.{'9' * 5000}=B": (
            f"the list 'tasks.a.secrets' has no item '{'9' * 57}...'; expected 0 up to 0"
        ),
    }
    for override, message in wanted.items():
        assert refused(text, overrides=[override]) == [f"--set:1:1: {message}"]


def test_faults_of_file_and_overrides_are_said_together() -> None:
    found = refused(TASK + "    sed: 1\n", overrides=["tasks.a.seed=x", "name="])
    assert found == [
        "--set:1:6: name is empty; expected text",
        '--set:1:14: seed is "x"; expected a whole number',
        "8:5: unknown key 'sed'; did you mean 'seed'?",
    ]


def test_a_variable_is_typed_where_it_is_the_whole_value() -> None:
    environment = {"N": "7", "TEXT": "a b", "NOTHING": "", "F": "1e-3", "Y": "{a: 1}", "T": "true"}
    text = TASK.replace("{name: mlp}", "\n      factory: own:make\n      args:\n" + "".join(
        f"        {name}: {value}\n" for name, value in {
            "n": "${env:N}", "quoted": "'${env:N}'", "within": "v${env:N}-${env:TEXT}",
            "text": "${env:TEXT}", "nothing": "${env:NOTHING}", "f": "${env:F}",
            "y": "${env:Y}", "t": "${env:T}",
        }.items()))  # fmt: skip
    assert params(text, environment=environment)["model"]["args"] == {
        "n": 7, "quoted": "7", "within": "v7-a b", "text": "a b", "nothing": None, "f": 0.001,
        "y": "{a: 1}", "t": True,
    }  # fmt: skip


def test_a_variable_holds_in_a_flow_map_in_quotes_and_in_an_override() -> None:
    text = TASK.replace("{name: mlp}", '{factory: "own:make", args: {x: "${env:X}"}}')
    found = params(text, ["tasks.a.max_epochs=${env:N}"], {"X": "5", "N": "9"})
    assert (found["model"]["args"], found["max_epochs"]) == ({"x": "5"}, 9)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${env:NO}", "the environment has no variable NO; expected it to be set: NO=... "
                      "runner ..."),
        ("${env:BYTES}", "the variable BYTES is not UTF-8; expected text"),
        ("${env:HUGE}", "1e999 is out of range; expected a finite number"),
        ("${env:WORD}", 'seed is "word"; expected a whole number'),
        ("${env:1A}", "nothing is called 'env:1A'; expected ${env:NAME} or "
                      "${tasks.NAME.outputs.NAME}"),
        ("${NO}", "nothing is called 'NO'; expected ${env:NAME} or ${tasks.NAME.outputs.NAME}"),
        ("${env:NO", "'${' without '}'; expected ${env:NAME} or ${tasks.NAME.outputs.NAME}"),
        ("${}", "nothing is called ''; expected ${env:NAME} or ${tasks.NAME.outputs.NAME}"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_one_fault(value: str, message: str) -> None:
    environment = {"BYTES": "\udcff", "HUGE": "1e999", "WORD": "word"}
    assert refused(TASK + f"    seed: {value}\n", environment=environment) == [f"8:11: {message}"]


def test_a_variable_is_no_way_to_write_yaml() -> None:
    environment = {"N": "1\n    seed: 3", "R": "${env:N}"}
    text = OWN.replace("'own:make'", "'own:make', args: {n: '${env:N}', r: '${env:R}'}")
    assert params(text, environment=environment)["model"]["args"] == {
        "n": "1\n    seed: 3", "r": "${env:N}"}  # fmt: skip
