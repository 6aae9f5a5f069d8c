"""The batch arithmetic, and that what it holds about data is so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placing import PARAMS, task
from pydantic import ValidationError

from runner.kinds.training import BUILT_IN_TRAIN_SAMPLES, TrainingParams, batch_sizes
from runner.model import Batches, Task
from runner.plan.arithmetic import batches

SIZES = st.none() | st.integers(1, 300)


def of(**more: Any) -> Batches:
    found = batches(task(params={**PARAMS, **more}))
    assert found is not None
    return found


def sizes(found: Batches) -> tuple[int, int, int]:
    return (
        found.global_batch_size,
        found.per_device_batch_size,
        found.gradient_accumulation_steps,
    )


@pytest.mark.parametrize("name", BUILT_IN_TRAIN_SAMPLES)
def test_the_sizes_of_built_in_data_are_those_that_are_loaded(name: str) -> None:
    from runner.torchlib.data import load

    assert len(load(name=name).train_inputs) == BUILT_IN_TRAIN_SAMPLES[name]


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
    ],
)
def test_two_sizes_give_the_third(
    given_sizes: dict[str, int], wanted: tuple[int, int, int]
) -> None:
    assert sizes(of(**given_sizes)) == wanted


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(SIZES, SIZES, SIZES)
def test_sizes_agree_or_are_refused(
    whole: int | None, micro: int | None, windows: int | None
) -> None:
    asked = {
        "global_batch_size": whole,
        "per_device_batch_size": micro,
        "gradient_accumulation_steps": windows,
    }
    try:
        params = TrainingParams.model_validate({**PARAMS, **asked})
    except ValidationError:
        assert whole is not None
        agree = whole == (micro or 1) * (windows or 1) if micro and windows else (
            whole % (micro or windows or 1) == 0)  # fmt: skip
        assert not agree
        return
    found = batch_sizes(params)
    assert found[0] == found[1] * found[2]
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
    assert batches(Task(name="t", kind="evaluate", params=params)) is None
