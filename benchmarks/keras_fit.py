"""A Keras model trained by kind keras beside plain model.fit. Run: python benchmarks/keras_fit.py

The same mlp, optimizer and batch on the digits, one CPU, from NumPy arrays; each in processes of
its own, in turns. Microseconds of CPU and of the clock for a step, without the first epochs, and
the most memory of the process.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

ROUNDS, EPOCHS, WARM_UP, BATCH = 5, 20, 2, 64


def by_fit(data: Any, make: Callable[[], Any]) -> Callable[[int], None]:
    import keras

    from runner.data.channels import for_keras

    model = make()
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    inputs, targets = for_keras(data.train_inputs), data.train_targets
    return lambda epochs: model.fit(inputs, targets, batch_size=BATCH, epochs=epochs, verbose=0)


def by_runner(data: Any, make: Callable[[], Any]) -> Callable[[int], None]:
    import tensorflow as tf

    from runner.schedules import Shape
    from runner.tflib.objectives import CrossEntropy
    from runner.tflib.optimizers import make_optimizer
    from runner.tflib.portions import Portions
    from runner.tflib.steps import Steps

    per_epoch = -(-len(data.train_inputs) // BATCH)
    total = per_epoch * (EPOCHS + WARM_UP)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    shape = Shape(name="constant", warmup_steps=0, total_steps=total)
    with strategy.scope():
        model = make()
        optimizer = make_optimizer(
            model.trainable_variables, name="adam", learning_rate=1e-3, schedule=shape
        )
    steps = Steps(
        strategy,
        model,
        optimizer,
        Portions(samples=BATCH, passes=1, replicas=1),
        objective=CrossEntropy(),
    )
    steps.feed(data, seed=0, first_step=0, total_steps=total)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            steps.run(per_epoch)

    return train


WAYS = {"model.fit": by_fit, "runner": by_runner}


def one(way: str) -> None:
    """A process: trains, and prints what a step costs."""
    from runner.tflib.installed import prepare

    prepare(threads=1)
    from runner.data import load
    from runner.data.models import ModelSpec
    from runner.tflib.models import build

    data = load(name="digits")
    train = WAYS[way](data, lambda: build(ModelSpec(name="mlp"), data))
    train(WARM_UP)
    wall, cpu = time.perf_counter(), time.process_time()
    train(EPOCHS)
    steps = EPOCHS * -(-len(data.train_inputs) // BATCH)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    figures = {
        "cpu_us": (time.process_time() - cpu) / steps * 1e6,
        "wall_us": (time.perf_counter() - wall) / steps * 1e6,
        "peak_mb": peak,
    }
    print(json.dumps(figures), flush=True)


def main() -> None:
    """Both ways in turns, and a table."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            command = [sys.executable, __file__, way]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}\n")
    print("| trained by | CPU µs a step | clock µs a step | peak MB |")
    print("|---|---|---|---|")
    middle = {
        way: {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        for way, rounds in found.items()
    }
    for way, values in middle.items():
        figures = " | ".join(f"{value:.0f}" for value in values.values())
        print(f"| {way} | {figures} |")
    fit, ours = middle["model.fit"], middle["runner"]
    print(
        f"\n{fit['cpu_us'] / ours['cpu_us']:.1f}x by CPU time, "
        f"{fit['wall_us'] / ours['wall_us']:.1f}x by the clock, "
        f"{ours['peak_mb'] - fit['peak_mb']:+.0f} MB"
    )


if __name__ == "__main__":
    one(sys.argv[1]) if sys.argv[1:] else main()
