"""The batch arithmetic, and that what it holds about data is so."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placing import PARAMS, inventory, job, node

from runner.builtin import SAMPLES
from runner.kinds.training import DataParams, TrainingParams, batch_sizes
from runner.model import Batches, Task
from runner.plan import place
from runner.plan.arithmetic import batches

SIZES = st.none() | st.integers(1, 300)


def of(dp: int = 1, **more: Any) -> Batches:
    return batches(TrainingParams.model_validate({**PARAMS, **more}), dp)


def sizes(found: Batches) -> tuple[int, int, int]:
    return (
        found.global_batch_size,
        found.per_device_batch_size,
        found.gradient_accumulation_steps,
    )


@pytest.mark.parametrize("fraction", [0.2, 0.33])
@pytest.mark.parametrize("name", SAMPLES)
def test_the_sizes_of_built_in_data_are_those_that_are_loaded(name: Any, fraction: float) -> None:
    from runner.torchlib.data import load

    known = DataParams(name=name, test_fraction=fraction).known_samples
    assert len(load(name=name, test_fraction=fraction).train_inputs) == known


@pytest.mark.parametrize(
    ("given_sizes", "wanted"),
    [
        ({}, (64, 64, 1)),
        ({"global_batch_size": 96}, (96, 96, 1)),
        ({"global_batch_size": 96, "per_device_batch_size": 32}, (96, 32, 3)),
        ({"global_batch_size": 96, "gradient_accumulation_steps": 3}, (96, 32, 3)),
        ({"per_device_batch_size": 32, "gradient_accumulation_steps": 3}, (96, 32, 3)),
        ({"per_device_batch_size": 32}, (32, 32, 1)),
        ({"gradient_accumulation_steps": 4}, (64, 16, 4)),
        ({"gradient_accumulation_steps": 100}, (100, 1, 100)),
        ({"dp": 4}, (64, 16, 1)),
        ({"dp": 3}, (63, 21, 1)),
        ({"dp": 4, "global_batch_size": 96}, (96, 24, 1)),
        ({"dp": 2, "global_batch_size": 64, "per_device_batch_size": 8}, (64, 8, 4)),
        ({"dp": 2, "global_batch_size": 64, "gradient_accumulation_steps": 4}, (64, 8, 4)),
        ({"dp": 2, "per_device_batch_size": 8, "gradient_accumulation_steps": 4}, (64, 8, 4)),
        ({"dp": 2, "per_device_batch_size": 8}, (16, 8, 1)),
        ({"dp": 200}, (200, 1, 1)),
    ],
)
def test_two_sizes_give_the_third(
    given_sizes: dict[str, int], wanted: tuple[int, int, int]
) -> None:
    assert sizes(of(**given_sizes)) == wanted


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(SIZES, SIZES, SIZES, st.integers(1, 12))
def test_sizes_agree_or_are_refused(
    whole: int | None, micro: int | None, windows: int | None, dp: int
) -> None:
    asked = {
        "global_batch_size": whole,
        "per_device_batch_size": micro,
        "gradient_accumulation_steps": windows,
    }
    params = TrainingParams.model_validate({**PARAMS, **asked})
    try:
        found = batch_sizes(params, dp)
    except ValueError as error:
        assert whole is not None
        unit = (micro or 1) * (windows or 1) * dp
        assert whole != unit if micro and windows else whole % unit
        nearest = re.findall(r"\d+", str(error).partition("nearest that is: ")[2])
        assert nearest or (micro and windows)
        for value in map(int, nearest):
            mended = params.model_copy(update={"global_batch_size": value})
            assert batch_sizes(mended, dp)[0] == value and abs(value - whole) < unit
        return
    assert found[0] == found[1] * found[2] * dp
    for wanted, got in zip(asked.values(), found, strict=True):
        assert wanted in (None, got)


def test_steps_follow_from_the_samples() -> None:
    found = of(global_batch_size=128, max_epochs=15)
    assert (found.train_samples, found.steps_per_epoch, found.total_steps) == (1437, 12, 180)
    assert of(max_epochs=None, max_steps=7).total_steps == 7
    unknown = of(data={"path": "x.csv"})
    assert (unknown.train_samples, unknown.steps_per_epoch, unknown.total_steps) == (None,) * 3


def test_a_kind_that_does_not_train_has_no_batches() -> None:
    params = {"model": "folder", "data": {"name": "digits"}}
    plan = place(job(Task(name="t", kind="evaluate", params=params)), inventory(node("n")))
    assert plan.tasks[0].batches is None
