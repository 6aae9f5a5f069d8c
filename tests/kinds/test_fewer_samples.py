"""The batches of an attempt that is to use less memory: the same whole, in smaller portions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import TaskError
from runner.kinds.division import batches_within, divide
from runner.kinds.training import TrainingParams

PARAMS = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "max_epochs": 1}


def within(dp: int, max_rows: int | None, **params: Any) -> tuple[int, int, int]:
    return batches_within(TrainingParams.model_validate({**PARAMS, **params}), dp, max_rows)


@pytest.mark.parametrize(
    ("params", "max_rows", "expected"),
    [
        ({}, None, (64, 32, 1)),
        ({}, 32, (64, 32, 1)),
        ({}, 16, (64, 16, 2)),
        ({"global_batch_size": 60}, 15, (60, 15, 2)),
        ({"global_batch_size": 60}, 14, (60, 10, 3)),
        ({"global_batch_size": 42}, 10, (42, 7, 3)),
        ({"global_batch_size": 14}, 3, (14, 1, 7)),
        ({"global_batch_size": 24, "gradient_accumulation_steps": 2}, 4, (24, 4, 3)),
        ({"global_batch_size": 48, "per_device_batch_size": "auto"}, 12, (48, 12, 2)),
    ],
)
def test_the_largest_that_divides(
    params: dict[str, Any], max_rows: int | None, expected: tuple[int, int, int]
) -> None:
    assert within(2, max_rows, **params) == expected


@pytest.mark.parametrize(
    ("max_rows", "expected"), [(8, (64, 32, 1)), (4, (64, 16, 2)), (1, (64, 4, 8))]
)
def test_in_a_pipeline_a_forward_pass_sees_a_micro_batch(
    max_rows: int, expected: tuple[int, int, int]
) -> None:
    parallelism = {"pp": 2, "microbatches": 4}
    assert within(2, max_rows, parallelism=parallelism) == expected


def test_a_schedule_that_takes_no_smaller_ones() -> None:
    """Seven micro-batches go in one round through four stages; no multiple of it does so evenly."""
    parallelism = {"pp": 4, "microbatches": 7, "pp_schedule": "interleaved-1f1b"}
    params = {"global_batch_size": 14, "parallelism": parallelism}
    with pytest.raises(TaskError, match=r"2 samples at once were too many .* in equal rounds"):
        within(1, 1, **params)


@given(
    st.integers(1, 40), st.integers(1, 6), st.sampled_from([1, 2, 4]), st.integers(1, 3),
    st.integers(1, 60),
)  # fmt: skip
def test_the_whole_stays_and_what_comes_out_can_be_run(
    rows: int, windows: int, pieces: int, dp: int, max_rows: int
) -> None:
    parallelism = {"pp": 2, "microbatches": pieces} if pieces > 1 else {}
    params = TrainingParams.model_validate(
        {**PARAMS, "per_device_batch_size": rows * pieces, "parallelism": parallelism,
         "gradient_accumulation_steps": windows}
    )  # fmt: skip
    divide(params, dp * (2 if pieces > 1 else 1))
    whole, micro, accumulated = batches_within(params, dp, max_rows)
    assert whole == rows * pieces * windows * dp == micro * accumulated * dp
    assert micro % pieces == 0
    assert micro // pieces <= max(1, max_rows) or micro == rows * pieces <= max_rows * pieces
