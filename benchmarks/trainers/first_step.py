"""How long two ranks take to their first step: python -m trainers.first_step

runner submit on a cluster that is up, from the launch of the command; Ray Train's fit() on a
cluster that is up, from the call (and, beside it, from the launch of its script, which also
imports Ray and starts that cluster). In turns. Both train the case mlp with DDP.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainers.cases import CASES, LEARNING_RATE
from trainers.cluster import REST_S, up
from trainers.serving import HERE, end, plain_environment

ROUNDS = 5
LIMIT_S = 300.0
CASE = "mlp"
TASK = {
    "kind": "train",
    "model": {"name": CASES[CASE].model, "args": CASES[CASE].args},
    "data": {"name": CASES[CASE].data},
    "max_epochs": 1,
    "global_batch_size": CASES[CASE].batch,
    "optimizer": {"name": "adam", "learning_rate": LEARNING_RATE},
    "parallelism": {"strategy": "ddp"},
    "resources": {"num_workers": 2, "cpus": 1},
}


def ray_train(told: Path) -> None:
    """Trains with TorchTrainer on two workers; rank 0 writes when its first step ended."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def in_worker(config: dict[str, Any]) -> None:
        from ray.train import get_context
        from ray.train.torch import prepare_data_loader, prepare_model
        from torch.utils.data import DataLoader, TensorDataset

        from trainers.loops import adam, mean_loss
        from trainers.samples import load, make_model, samples_of

        batch = CASES[CASE].batch
        samples = TensorDataset(*samples_of(load(CASE, batch)))
        loader = prepare_data_loader(DataLoader(samples, batch_size=batch // 2, shuffle=True))
        model = prepare_model(make_model(CASE))
        optimizer = adam(model, is_tuned=False)
        first_s = None
        for inputs, targets in loader:
            optimizer.zero_grad()
            mean_loss(model(inputs), targets).backward()
            optimizer.step()
            first_s = first_s or time.time()
        if get_context().get_world_rank() == 0:
            Path(config["told"]).write_text(json.dumps(first_s))

    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=str(told.parent / "ray"))
    try:
        called_s = time.time()
        TorchTrainer(
            in_worker,
            train_loop_config={"told": str(told)},
            scaling_config=ScalingConfig(num_workers=2),
            run_config=RunConfig(name="benchmark", storage_path=str(told.parent / "results")),
        ).fit()
        print(json.dumps({"called_s": called_s, "first_s": json.loads(told.read_text())}))
    finally:
        ray.shutdown()


def by_ray_train() -> tuple[float, float]:
    """Seconds to the first step from the call of fit(), and from the script's launch."""
    with tempfile.TemporaryDirectory(prefix="b-") as folder:
        launched_s = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "trainers.first_step", str(Path(folder) / "first_step")],
            cwd=HERE.parent,
            env=plain_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            said, errors = process.communicate(timeout=LIMIT_S)
        finally:
            end(process)
        if process.returncode:
            raise RuntimeError(f"Ray Train: {errors.decode()[-3000:]}")
        times = json.loads(said.splitlines()[-1])
        return times["first_s"] - times["called_s"], times["first_s"] - launched_s


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f}"


def main() -> None:
    is_there = find_spec("ray.train") is not None
    ours: list[float] = []
    called: list[float] = []
    launched: list[float] = []
    with up() as cluster:
        for _ in range(ROUNDS):
            ours.append(cluster.submit(TASK).first_step_s)
            if is_there:
                time.sleep(REST_S)
                for times, value in zip((called, launched), by_ray_train(), strict=True):
                    times.append(value)
    print("| seconds to the first step of two ranks | median | spread |\n|---|---:|---:|")
    print(f"| **runner submit**, from the command, on a cluster that is up | {spread(ours)} |")
    if is_there:
        print(f"| Ray Train, from fit(), on a cluster that is up | {spread(called)} |")
        print(f"| Ray Train, from the launch of the script, nothing running | {spread(launched)} |")
        ratio = statistics.median(a / b for a, b in zip(ours, called, strict=True))
        print(f"\nrunner's first step comes after {ratio:.2f} of the time that fit() takes.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        ray_train(Path(sys.argv[1]))
    else:
        main()
