"""Real data, read once: scikit-learn's digits, and a short text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from runner.torchlib import data
from runner.torchlib.data import Dataset


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Every test computes on one thread and leaves the setting as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return data.load(name="digits")


@pytest.fixture(scope="session")
def text() -> Dataset:
    return data.load(name="stdlib", args={"bytes": 20_000}, block_size=32)
