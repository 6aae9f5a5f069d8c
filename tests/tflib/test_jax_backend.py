"""Keras on JAX: NumPy's steps, one device's figures on several, and TensorFlow's on its batches."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.errors import TaskError
from tests.conftest import JOBS
from tests.tflib.by_numpy import by_adamw, by_sgd
from tests.tflib.tables import small

needs_jax = pytest.mark.skipif(
    find_spec("jax") is None or find_spec("keras") is None,
    reason="needs JAX: pip install 'runner[jax]'",
)
pytestmark = [needs_jax, pytest.mark.timeout(400)]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a process has left what came of its trainings."""
    found = tmp_path_factory.mktemp("jax")
    done = subprocess.run(
        [sys.executable, "-m", "tests.tflib.jax_trainings", str(found)],
        cwd=JOBS.parent,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return found


def of(folder: Path, name: str) -> Any:
    return np.load(folder / f"{name}.npz")


def test_the_process_holds_no_other_framework(folder: Path) -> None:
    process = of(folder, "process")
    assert process["held"].tolist() == []
    assert str(process["backend"]) == "jax"


def test_every_sample_counts_once_in_every_epoch(folder: Path) -> None:
    # 32 samples in batches of ten, in two passes on three replicas: twelve rows, of which two fill.
    made = of(folder, "batches")
    data = small()
    assert made["inputs"].shape == (8, 2, 6, 6)
    epochs = []
    for epoch in (slice(0, 4), slice(4, 8)):
        is_sample = made["weights"][epoch] > 0
        seen = made["inputs"][epoch][is_sample]
        assert len(seen) == 32
        np.testing.assert_array_equal(
            seen[np.lexsort(seen.T)], data.train_inputs[np.lexsort(data.train_inputs.T)]
        )
        epochs.append(seen)
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_allclose(made["weights"].sum((1, 2)), 1.0, atol=1e-6)
    # The targets are those of the inputs beside them.
    which = (made["inputs"][..., None, :] == data.train_inputs).all(-1).argmax(-1)
    np.testing.assert_array_equal(made["targets"], data.train_targets[which])


def test_batches_begin_where_a_training_goes_on(folder: Path) -> None:
    whole, later = of(folder, "batches"), of(folder, "batches-later")
    for name in ("inputs", "targets", "weights"):
        np.testing.assert_array_equal(later[name], whole[name][3:])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("mlp-2-3", "mlp-1-1"),
        ("mlp-4-1", "mlp-1-1"),
        ("dropout-4", "dropout-1"),
        ("convnet-2", "convnet-1"),
    ],
)
def test_losses_and_weights_are_those_of_one_device(folder: Path, ours: str, theirs: str) -> None:
    divided, alone = of(folder, ours), of(folder, theirs)
    assert len(alone["train/loss"]) == 20
    assert alone["train/loss"][0] - alone["train/loss"][-1] > 0.1  # there is something to compare
    for name in ("train/loss", "test/loss", "test/accuracy", "after"):
        np.testing.assert_allclose(divided[name], alone[name], atol=TOLERANCE, rtol=0)


def test_a_step_is_compiled_once(folder: Path) -> None:
    for name in ("mlp-1-1", "mlp-4-1", "resumed", "gpt"):
        assert int(of(folder, name)["compiled"]) == 1


def start(trained: Any) -> tuple[Any, Any]:
    """Matrix and bias of the linear model before its first step."""
    before = trained["before"].astype(np.float64)
    return before[:-3].reshape(-1, 3), before[-3:]


def test_steps_of_sgd_are_those_of_numpy(folder: Path) -> None:
    trained = of(folder, "sgd")
    losses, after = by_sgd(small(), *start(trained), smoothing=0.2, clip=0.3)
    np.testing.assert_allclose(trained["train/loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(trained["after"], after, atol=TOLERANCE)


def test_steps_of_adamw_are_those_of_numpy(folder: Path) -> None:
    trained = of(folder, "adamw")
    after = by_adamw(small(), *start(trained))
    np.testing.assert_allclose(trained["after"], after, atol=TOLERANCE)


def test_a_resumed_training_ends_with_the_very_weights(folder: Path) -> None:
    whole, resumed = of(folder, "whole"), of(folder, "resumed")
    assert resumed["checkpoint/resumed_at_step"].tolist() == [6]
    np.testing.assert_array_equal(resumed["after"], whole["after"])
    np.testing.assert_array_equal(resumed["train/loss"], whole["train/loss"][6:])


def test_text_is_learnt(folder: Path) -> None:
    losses = of(folder, "gpt")["train/loss"]
    assert losses[0] - losses[-1] > 0.5


def test_what_is_kept_is_measured_as_read_back(folder: Path) -> None:
    whole = of(folder, "whole")
    figures = dict(zip(whole["names"].tolist(), whole["measured"].tolist(), strict=True))
    assert figures["test/loss"] == pytest.approx(whole["test/loss"][-1], abs=TOLERANCE)
    assert figures["test/accuracy"] == whole["test/accuracy"][-1]
    assert figures["size/parameters"] == len(whole["after"])
    assert set(figures) >= {"latency/p50_ms", "throughput/samples_per_s", "memory/peak_mb"}
    described = json.loads((folder / "model/model.json").read_text())
    assert (described["framework"], described["schema"]) == ("keras", 1)


def test_tensorflow_opens_what_was_kept(kit: ModuleType, folder: Path) -> None:
    whole = of(folder, "whole")
    model = kit.artifact.load(folder / "model").model
    logits = model(kit.digits().test_inputs[:16, 0, ..., None]).numpy()
    np.testing.assert_allclose(logits, whole["logits"], atol=TOLERANCE)


def test_losses_are_tensorflows_on_the_same_batches(
    kit: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Batches of all samples, whose order changes nothing.
    def made(data: Any) -> Any:
        model = kit.models.build(kit.models.ModelSpec(name="mlp", args={"hidden": []}), data)
        start = of(folder, "adamw")["before"]
        model.set_weights([start[:-3].reshape(-1, 3), start[-3:]])
        return model

    data = kit.small()
    trained = kit.train(
        data,
        model=lambda: made(data),
        batch=32,
        total_steps=5,
        optimizer="adamw",
        learning_rate=0.02,
        weight_decay=0.1,
        schedule="linear",
    )
    theirs = of(folder, "adamw")
    np.testing.assert_allclose(theirs["train/loss"], trained.losses, atol=TOLERANCE)
    np.testing.assert_allclose(theirs["after"], trained.weights, atol=TOLERANCE)


def test_a_process_that_has_keras_on_tensorflow_is_told_apart(kit: ModuleType) -> None:
    from runner.tflib.on_jax.installed import prepare

    with pytest.MonkeyPatch.context() as patch:
        for name in ("KERAS_BACKEND", "JAX_PLATFORMS", "NPROC", "XLA_FLAGS"):
            patch.setenv(name, "")
        with pytest.raises(TaskError, match="Keras has started on tensorflow"):
            prepare(threads=1, replicas=2)
