"""What the tests of this folder share: one TensorFlow, with four logical devices on the CPU."""

from __future__ import annotations

import warnings
from importlib import import_module
from types import ModuleType

import pytest

REPLICAS = 4


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    """tests.tflib.kit, in a process whose TensorFlow was made ready; skips where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, as it is loaded
        pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install 'runner[tf]'")
        from runner.tflib.installed import prepare

        prepare(threads=1, replicas=REPLICAS)
        return import_module("tests.tflib.kit")
