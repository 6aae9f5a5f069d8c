"""A process of its own for each trainer, which trains when it is told to.

python -m trainers.serving TRAINER PORT [RANK RANKS FOLDER]

All of them are alive at once and wait, so that they can take turns: what else the machine does hits
all alike, and none runs with what another has imported. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
START_LIMIT_S = 300.0
ROUND_LIMIT_S = 900.0
# Before what is timed: allocations, thread pools, the optimizer's state.
WARM_UP = 3


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to train. ``steps`` of it untimed, or as many epochs timed as the case has."""

    case: str
    batch: int
    is_tuned: bool = False
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of it: the loss of each step; or the time of one and the samples in it, on average.

    ``cpu_s`` is of the whole process, all of its threads.
    """

    losses: list[float]
    cpu_s: float = 0.0
    wall_s: float = 0.0
    samples: float = 0.0

    @property
    def samples_per_s(self) -> float:
        return self.samples / self.wall_s


class Clock:
    """Reads the clocks as the ``first`` step's forward pass begins, and as the ``last`` one's."""

    def __init__(self, model: Any, first: int, last: int) -> None:
        self.at = (first, last)
        self.calls = 0
        self.read: list[tuple[float, float]] = []
        model.register_forward_pre_hook(self)

    def __call__(self, module: Any, inputs: Any) -> None:
        if module.training:
            if self.calls in self.at:
                self.read.append((time.process_time(), time.perf_counter()))
            self.calls += 1


def train(request: Request, loop: Callable[[Any], list[Any]]) -> Answer:
    """Carries out one request with a loop."""
    from trainers.cases import CASES
    from trainers.samples import Training, load, make_model

    dataset = load(request.case, request.batch)
    model = make_model(request.case)
    timed = CASES[request.case].epochs * -(-len(dataset.train_inputs) // request.batch)
    steps = request.steps or WARM_UP + timed + 1
    clock = Clock(model, WARM_UP, WARM_UP + timed)
    losses = loop(Training(model=model, dataset=dataset, batch=request.batch, steps=steps))
    values = [loss.item() for loss in losses]
    if request.steps is not None:
        return Answer(losses=values)
    (cpu, wall), (cpu_then, wall_then) = clock.read
    return Answer(
        losses=[],
        cpu_s=(cpu_then - cpu) / timed,
        wall_s=(wall_then - wall) / timed,
        samples=CASES[request.case].epochs * len(dataset.train_inputs) / timed,
    )


def loop_for(trainer: str, request: Request) -> Callable[[Any], list[Any]]:
    from trainers import loops, peers

    own: dict[str, Callable[[Any], list[Any]]] = {
        "tutorial": loops.tutorial,
        "hand-written": loops.hand_written,
        "runner": loops.runner,
    }
    if trainer in own:
        return own[trainer]
    tunable = {
        "lightning": peers.lightning,
        "accelerate": peers.accelerate,
        "ray-train": peers.ray_train,
    }
    return partial(tunable[trainer], is_tuned=request.is_tuned)


def serve(port: int, loop: Callable[[Request], Callable[[Any], list[Any]]]) -> None:
    """Answers requests until there are no more."""
    import torch

    torch.set_num_threads(1)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        lines = connection.makefile("rw")
        for line in lines:
            request = Request(**json.loads(line))
            print(json.dumps(asdict(train(request, loop(request)))), file=lines, flush=True)


def serve_ray_train(port: int, folder: Path) -> None:
    """Serves from within the one worker of a TorchTrainer, on a Ray cluster of its own."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def in_worker(config: dict[str, Any]) -> None:
        serve(config["port"], partial(loop_for, "ray-train"))

    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=str(folder / "ray"))
    try:
        TorchTrainer(
            in_worker,
            train_loop_config={"port": port},
            scaling_config=ScalingConfig(num_workers=1),
            run_config=RunConfig(name="benchmark", storage_path=str(folder / "results")),
        ).fit()
    finally:
        ray.shutdown()


def serve_rank(port: int, rank: int, ranks: int, folder: Path) -> None:
    """Serves as one rank of a gang that meets as runner's do, by gloo on this machine."""
    from runner.torchlib.parallel.world import joined
    from trainers.loops import gang

    with joined(
        folder=folder,
        host="127.0.0.1",
        rank=rank,
        world_size=ranks,
        device="cpu",
        timeout_s=ROUND_LIMIT_S,
    ):
        serve(port, lambda request: partial(gang, ranks=ranks))


class Trainer:
    """A process, or the processes of a gang, that serve; told from here what to do."""

    def __init__(self, name: str, *, ranks: int = 1) -> None:
        self.name = name
        self._stack = ExitStack()
        # Short, as the path of a socket below it may have 107 characters.
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="b-")))
        listening = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.settimeout(1.0)
        port = str(listening.getsockname()[1])
        self._processes = []
        self._lines: list[Any] = []
        for rank in range(ranks):
            place = [str(rank), str(ranks), str(self.folder)]
            command = [sys.executable, "-m", "trainers.serving", name, port, *place]
            log = self._stack.enter_context((self.folder / f"log-{rank}.txt").open("wb"))
            process = subprocess.Popen(
                command,
                cwd=HERE.parent,
                env=plain_environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ray's processes are its descendants, and are to end with it.
                start_new_session=True,
            )
            self._processes.append(process)
            self._stack.callback(end, process)
        until = time.monotonic() + START_LIMIT_S
        while len(self._lines) < ranks:
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                if time.monotonic() > until or any(p.poll() is not None for p in self._processes):
                    raise self._failed() from None
                continue
            connection.settimeout(ROUND_LIMIT_S)
            self._lines.append(connection.makefile("rw"))
            self._stack.callback(connection.close)
            self._stack.callback(self._lines[-1].close)

    def train(self, request: Request) -> Answer:
        """What one training gave; of a gang, what its slowest rank took."""
        for lines in self._lines:
            print(json.dumps(asdict(request)), file=lines, flush=True)
        answers = []
        for lines in self._lines:
            line = lines.readline()
            if not line:
                raise self._failed()
            answers.append(Answer(**json.loads(line)))
        return max(answers, key=lambda answer: answer.wall_s)

    def close(self) -> None:
        """Ends the processes and removes what they wrote."""
        self._stack.close()

    def _failed(self) -> RuntimeError:
        logs = [file.read_text()[-3000:] for file in sorted(self.folder.glob("log-*.txt"))]
        self.close()
        return RuntimeError(f"{self.name} ended or said nothing:\n" + "\n".join(logs))


@contextmanager
def trainers(names: Mapping[str, int]) -> Iterator[dict[str, Trainer]]:
    """Trainers by name, with so many ranks each, for as long as the ``with`` lasts."""
    with ExitStack() as stack:
        started = {}
        for name, ranks in names.items():
            started[name] = Trainer(name, ranks=ranks)
            stack.callback(started[name].close)
        yield started


def plain_environment() -> dict[str, str]:
    """This process's environment without what would tell Ray or runner what to do; one thread."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RUNNER_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "RAY_TRAIN_V2_ENABLED": "1"}


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that leads its own session once its connection is closed, or by force."""
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(trainer: str, port: int, rank: int, ranks: int, folder: Path) -> None:
    if trainer == "ray-train":
        serve_ray_train(port, folder)
    elif ranks > 1:
        serve_rank(port, rank, ranks, folder)
    else:
        serve(port, partial(loop_for, trainer))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
