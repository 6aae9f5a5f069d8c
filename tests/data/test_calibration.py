"""Which samples a quantizer is shown, and which it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runner.data import load
from runner.data.calibration import calibration_samples
from runner.data.dataset import Dataset, origin_of
from runner.data.described import Described
from runner.data.models import ModelSpec
from runner.errors import TaskError


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(name="digits")


@pytest.fixture(scope="module")
def described(digits: Dataset) -> Described:
    return Described(
        spec=ModelSpec(name="mlp", args={}),
        task=digits.task,
        input_shape=digits.input_shape,
        input_dtype="float32",
        classes=digits.classes,
        preprocessing=digits.preprocessing,
        trained_on=origin_of(digits),
    )


def test_samples_are_drawn_from_what_is_not_held_out(digits: Dataset, described: Described) -> None:
    found = calibration_samples(digits, described, samples=100, is_measured_on=True, seed=3)
    assert found.shape == (100, *digits.input_shape)
    rows = {row.tobytes() for row in digits.train_inputs}
    assert all(row.tobytes() in rows for row in found)
    again = calibration_samples(digits, described, samples=100, is_measured_on=True, seed=3)
    np.testing.assert_array_equal(found, again)
    other = calibration_samples(digits, described, samples=100, is_measured_on=True, seed=4)
    assert not np.array_equal(found, other)
    every = calibration_samples(digits, described, samples=10**6, is_measured_on=True)
    np.testing.assert_array_equal(every, digits.train_inputs)


def test_what_is_measured_on_never_calibrates(digits: Dataset, described: Described) -> None:
    nothing = replace(
        digits, train_inputs=digits.train_inputs[:0], train_targets=digits.train_targets[:0]
    )
    with pytest.raises(TaskError, match="no samples to calibrate with") as error:
        calibration_samples(nothing, described, samples=10, is_measured_on=True)
    assert "calibration" in error.value.hint
    found = calibration_samples(nothing, described, samples=10, is_measured_on=False)
    assert len(found) == 10


def test_samples_of_one_class_are_refused(digits: Dataset, described: Described) -> None:
    threes = digits.train_targets == 3
    alone = replace(
        digits, train_inputs=digits.train_inputs[threes], train_targets=digits.train_targets[threes]
    )
    with pytest.raises(TaskError, match="all of class '3', and the model knows 10"):
        calibration_samples(alone, described, samples=10, is_measured_on=True)


def test_samples_of_another_shape_are_refused(digits: Dataset, described: Described) -> None:
    smaller = replace(digits, train_inputs=digits.train_inputs[:, :, :4], input_shape=(1, 4, 8))
    with pytest.raises(TaskError, match=r"shape \(1, 4, 8\), and the model mlp takes \(1, 8, 8\)"):
        calibration_samples(smaller, described, samples=10, is_measured_on=True)


def test_bytes_of_a_text_become_what_a_file_looks_them_up_by() -> None:
    text = load(name="stdlib", args={"bytes": 20_000}, block_size=16)
    described = Described(
        spec=ModelSpec(name="gpt", args={}),
        task=text.task,
        input_shape=text.input_shape,
        input_dtype="uint8",
        classes=text.classes,
        preprocessing=text.preprocessing,
        trained_on=origin_of(text),
    )
    found = calibration_samples(text, described, samples=10, is_measured_on=True)
    assert found.dtype == np.int64
    assert found.shape == (10, 16)
