"""Trainings with Keras on JAX, in a process of their own, as Keras has one backend a process.

``python -m tests.tflib.jax_trainings FOLDER`` leaves what came of each as ``FOLDER/NAME.npz``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from runner.tflib.on_jax.installed import prepare

prepare(threads=1, replicas=4)

import keras  # noqa: E402
import numpy as np  # noqa: E402

from runner.data import load  # noqa: E402
from runner.data.models import ModelSpec  # noqa: E402
from runner.schedules import Shape  # noqa: E402
from runner.tflib import artifact, models, optimizers  # noqa: E402
from runner.tflib.checkpoint import Checkpoints  # noqa: E402
from runner.tflib.loop import fit  # noqa: E402
from runner.tflib.objectives import CrossEntropy  # noqa: E402
from runner.tflib.on_jax.feeding import training_batches  # noqa: E402
from runner.tflib.on_jax.measure import measure_artifact  # noqa: E402
from runner.tflib.on_jax.steps import Scores, Steps  # noqa: E402
from runner.tflib.on_jax.strategy import data_parallel  # noqa: E402
from runner.tflib.portions import Portions  # noqa: E402
from runner.tflib.strategy import Decision  # noqa: E402
from tests.tflib.tables import small  # noqa: E402

MLP = {"name": "mlp", "args": {"hidden": [32]}}
WITH_DROPOUT = {"name": "mlp", "args": {"hidden": [32], "dropout": 0.3}}
CONVNET = {"name": "convnet", "args": {"channels": [4], "pool_every": 1, "hidden": 0}}
LINEAR = {"name": "mlp", "args": {"hidden": []}}


def flat(model: Any) -> Any:
    return np.concatenate([np.asarray(each).ravel() for each in model.get_weights()])


def train(
    data: Any,
    spec: dict[str, Any],
    *,
    replicas: int = 1,
    passes: int = 1,
    batch: int = 100,
    total_steps: int = 20,
    optimizer: dict[str, Any] | None = None,
    schedule: str = "constant",
    label_smoothing: float = 0.0,
    max_grad_norm: float | None = None,
    l2: float = 0.0,
    checkpoints: Path | None = None,
    stop_after: int | None = None,
) -> dict[str, Any]:
    strategy = data_parallel(Decision(strategy="mirrored", replicas=replicas, reason=""))
    chosen = optimizer or {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01}
    with strategy.scope():
        model = models.build(ModelSpec(**spec), data, seed=5)
        made = optimizers.make_optimizer(
            model.trainable_variables,
            schedule=Shape(name=schedule, warmup_steps=0, total_steps=total_steps),  # type: ignore[arg-type]
            **chosen,
        )
    before = flat(model)
    steps = Steps(
        strategy,
        model,
        made,
        Portions(samples=batch, passes=passes, replicas=replicas),
        objective=CrossEntropy(label_smoothing=label_smoothing),
        max_grad_norm=max_grad_norm,
        l2=l2,
    )
    kept = None
    if checkpoints is not None:
        kept = Checkpoints(checkpoints, every_steps=3, keep=2, model=model, optimizer=made)
    found: dict[str, list[float]] = {}
    for event in fit(
        steps,
        Scores(strategy, model, data),
        data,
        global_batch_size=batch,
        total_steps=total_steps,
        seed=5,
        checkpoints=kept,
    ):
        if hasattr(event, "name"):
            found.setdefault(event.name, []).append(event.value)
        if stop_after is not None and getattr(event, "step", None) == stop_after:
            break
    compiled = steps._step._cache_size()
    return {**found, "before": before, "after": flat(model), "compiled": compiled, "model": model}


def batches(data: Any, portions: Portions, first_step: int, count: int) -> dict[str, Any]:
    taken = training_batches(data, portions, seed=1, first_step=first_step)
    parts = zip(*(next(taken) for _ in range(count)), strict=True)
    names = ("inputs", "targets", "weights")
    return {name: np.stack(part) for name, part in zip(names, parts, strict=True)}


def main(folder: Path) -> None:
    def keep(name: str, found: dict[str, Any]) -> None:
        found.pop("model", None)
        np.savez(folder / f"{name}.npz", **found)

    digits, table = load(name="digits"), small()
    keep("batches", batches(table, Portions(samples=10, passes=2, replicas=3), 0, 8))
    keep("batches-later", batches(table, Portions(samples=10, passes=2, replicas=3), 3, 5))
    for replicas, passes in ((1, 1), (2, 3), (4, 1)):
        divided = {"replicas": replicas, "passes": passes}
        keep(f"mlp-{replicas}-{passes}", train(digits, MLP, **divided))
    for replicas in (1, 4):
        keep(f"dropout-{replicas}", train(digits, WITH_DROPOUT, replicas=replicas))
    for replicas in (1, 2):
        sgd = {"name": "sgd", "learning_rate": 1e-2}
        keep(f"convnet-{replicas}", train(digits, CONVNET, replicas=replicas, optimizer=sgd))
    keep(
        "sgd",
        train(
            table,
            LINEAR,
            replicas=2,
            passes=3,
            batch=32,
            total_steps=5,
            optimizer={"name": "sgd", "learning_rate": 0.2},
            label_smoothing=0.2,
            max_grad_norm=0.3,
            l2=0.05,
        ),
    )
    keep(
        "adamw",
        train(
            table,
            LINEAR,
            batch=32,
            total_steps=5,
            optimizer={"name": "adamw", "learning_rate": 0.02, "weight_decay": 0.1},
            schedule="linear",
        ),
    )
    text = load(name="stdlib", args={"bytes": 30_000}, block_size=16)
    gpt = {"name": "gpt", "args": {"dim": 16, "depth": 1, "heads": 2}}
    keep("gpt", train(text, gpt, replicas=2, batch=64, total_steps=30))
    whole = train(digits, WITH_DROPOUT, replicas=2, total_steps=10)
    stopped = folder / "checkpoints"
    train(digits, WITH_DROPOUT, replicas=2, total_steps=10, checkpoints=stopped, stop_after=7)
    resumed = train(digits, WITH_DROPOUT, replicas=2, total_steps=10, checkpoints=stopped)
    artifact.save(folder / "model", whole["model"], spec=ModelSpec(**WITH_DROPOUT), dataset=digits)
    figures = measure_artifact(folder / "model", digits, device="/cpu:0")
    logits = np.asarray(whole["model"](digits.test_inputs[:16, 0, ..., None], training=False))
    keep("whole", {**whole, "logits": logits, "measured": [m.value for m in figures],
                   "names": [m.name for m in figures]})  # fmt: skip
    keep("resumed", resumed)
    held = sorted(name for name in ("torch", "tensorflow") if sys.modules.get(name) is not None)
    keep("process", {"held": held, "backend": keras.backend.backend()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
