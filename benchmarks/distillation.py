"""Distillation beside the tutorial loops, and what the teacher is worth.

Speed: python benchmarks/distillation.py
A convnet of 1.85 M parameters teaches one of 0.12 M on mnist5k, on one thread, in turns: runner,
which runs the teacher once over the data and reuses its logits; the tutorial loop with the teacher
inside the graph (its gradients are computed, and thrown away); and that loop with the teacher
under no_grad. Same students, batches and optimizer; the losses must agree. Only training steps
count; what filling the cache costs is stated beside them.

Accuracy: python benchmarks/distillation.py --accuracy
The students of jobs/distill.yaml with and without their teacher, the mean over five seeds.

Few labels: python benchmarks/distillation.py --few-labels
A student with 500 labels of mnist5k at less than 1/20 of its teacher's parameters: alone, with its
teacher's answers to these 500 images, and to the 3,500 others besides; and alone with all 4,000
labels. Tasks of five seeds, as a spec would run them, on one thread; every accuracy is that of the
artifact as a fresh process serves it, on the 1,000 images that are held out.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from trainers.samples import SameOrder

from runner.data import load
from runner.kinds import find
from runner.kinds.distill import DistillParams
from runner.kinds.train import TrainParams
from runner.kinds.training import TrainingParams, batch_sizes
from runner.model import Artifact, Context, Metric
from runner.serving.measuring import Score, inputs_for
from runner.serving.server import Server
from runner.torchlib import data
from runner.torchlib.data import Dataset
from runner.torchlib.distillation import Distillation, teacher_logits
from runner.torchlib.engine import Single
from runner.torchlib.loop import count_steps, fit
from runner.torchlib.measure import count_parameters, evaluate
from runner.torchlib.models import build
from runner.torchlib.objectives import CrossEntropy, Objective
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.schedules import make_schedule

BATCH = 64
LEARNING_RATE = 1e-3
TEMPERATURE = 3.0
ALPHA = 0.7
ROUNDS = 5
STEPS = 20
SEEDS = 5
JOB = Path(__file__).parent.parent / "jobs" / "distill.yaml"
STUDENT = {"channels": [8, 16, 32, 32], "hidden": 64}


def tutorial(
    student: nn.Module, dataset: Dataset, *, teacher: nn.Module, in_graph: bool
) -> list[float]:
    """The losses of one epoch of the loop that every introduction to distillation shows."""
    samples = TensorDataset(dataset.train_inputs, dataset.train_targets)
    loader = DataLoader(samples, batch_size=BATCH, sampler=SameOrder(len(samples)))
    optimizer = torch.optim.Adam(student.parameters(), lr=LEARNING_RATE)
    student.train()
    losses = []
    for inputs, targets in loader:
        with nullcontext() if in_graph else torch.no_grad():
            answers = teacher(inputs)
        logits = student(inputs)
        soft = functional.kl_div(
            functional.log_softmax(logits / TEMPERATURE, dim=1),
            functional.softmax(answers / TEMPERATURE, dim=1),
            reduction="batchmean",
        )
        hard = functional.cross_entropy(logits, targets)
        loss = ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * hard
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


def train(
    model: nn.Module,
    dataset: Dataset,
    params: TrainingParams,
    *,
    objective: Objective,
    seed: int = 0,
) -> list[float]:
    """Trains as runner does for a task with these parameters; the points of ``train/loss``."""
    batch, micro, _ = batch_sizes(params)
    engine = Single(model)
    optimizer = make_optimizer(engine.parameters(), **params.optimizer.model_dump())
    samples = len(dataset.train_inputs)
    steps = params.max_steps or count_steps(
        samples, global_batch_size=batch, epochs=params.max_epochs or 1
    )
    events = fit(
        engine,
        dataset,
        objective=objective,
        optimizer=optimizer,
        schedule=make_schedule(optimizer, total_steps=steps, **params.lr_scheduler.model_dump()),
        global_batch_size=batch,
        micro_batch_size=micro,
        max_grad_norm=params.max_grad_norm,
        seed=seed,
    )
    return [e.value for e in events if isinstance(e, Metric) and e.name == "train/loss"]


def compare_speed() -> None:
    """Prints the table of rates."""
    dataset = data.load(name="mnist5k")
    make = partial(build, name="convnet", input_shape=dataset.input_shape, num_classes=10)
    teacher, student = make(), make(args=STUDENT)
    params = TrainParams.model_validate(
        {
            "model": {"name": "convnet"},
            "data": {"name": "mnist5k"},
            "max_epochs": 1,
            "global_batch_size": BATCH,
            "optimizer": {"name": "adam", "learning_rate": LEARNING_RATE, "weight_decay": 0.0},
        }
    )
    train(teacher, dataset, params, objective=CrossEntropy())
    teacher.eval()
    # The tutorial loops get it as a tutorial has it, in PyTorch's default layout.
    plain_teacher = copy.deepcopy(teacher).to(memory_format=torch.contiguous_format)

    started = time.process_time()
    logits = teacher_logits(teacher, dataset.train_inputs, device="cpu")
    cache_s = time.process_time() - started
    # Few steps suffice where one takes a quarter of a second; the held-out part is not looked at.
    few = replace(
        dataset,
        train_inputs=dataset.train_inputs[: STEPS * BATCH],
        train_targets=dataset.train_targets[: STEPS * BATCH],
        test_inputs=dataset.test_inputs[:1],
        test_targets=dataset.test_targets[:1],
    )
    objective = Distillation(
        temperature=TEMPERATURE, alpha=ALPHA, columns=(logits[: STEPS * BATCH],)
    )
    loops: dict[str, Callable[[nn.Module, Dataset], list[float]]] = {
        "tutorial, teacher in the graph": partial(tutorial, teacher=plain_teacher, in_graph=True),
        "tutorial, teacher under no_grad": partial(tutorial, teacher=plain_teacher, in_graph=False),
        "runner, cached logits": partial(train, params=params, objective=objective),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            fresh = copy.deepcopy(student)
            cpu = time.process_time()
            losses[name] = loop(fresh, few)
            seconds[name].append(time.process_time() - cpu)
    ours = losses["runner, cached logits"]
    for name, theirs in losses.items():
        worst = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
        assert worst < 1e-2, f"{name}: losses differ by {worst:.1%}"
    rates = {name: STEPS * BATCH / statistics.median(each) for name, each in seconds.items()}
    print(f"torch {torch.__version__}, 1 thread, batch {BATCH}, median of {ROUNDS} rounds")
    print(
        f"teacher {count_parameters(teacher):,} parameters, student {count_parameters(student):,}; "
        f"cache of {logits.numel() * 4 / 1e6:.2f} MB filled in {cache_s:.1f} CPU-s\n"
    )
    print("| loop | samples/CPU-s | runner is |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rates['runner, cached logits'] / rate:.2f}x |")


def compare_accuracy(spec: Path) -> None:
    """Prints the test accuracies of teacher, student, and student without teacher."""
    tasks = yaml.safe_load(spec.read_text())["tasks"]
    for task in tasks.values():
        del task["kind"]
    teaching = TrainParams.model_validate(tasks["teacher"])
    learning = DistillParams.model_validate(tasks["student"])
    dataset = data.load(name=learning.data.name)
    print("| seed | teacher | student, distilled | student, alone |\n|---|---|---|---|")
    rows = []
    for seed in range(SEEDS):

        def trained(params: TrainingParams, objective: Objective, seed: int = seed) -> nn.Module:
            model = build(
                **params.model.model_dump(),
                input_shape=dataset.input_shape,
                num_classes=len(dataset.classes),
                seed=seed,
            )
            train(model, dataset, params, objective=objective, seed=seed)
            return model

        teacher = trained(teaching, CrossEntropy())
        distillation = Distillation(
            temperature=learning.temperature,
            alpha=learning.alpha,
            columns=(teacher_logits(teacher, dataset.train_inputs, device="cpu"),),
        )
        models = [teacher, trained(learning, distillation), trained(learning, CrossEntropy())]
        rows.append([evaluate(model, dataset, device="cpu").accuracy for model in models])
        print(f"| {seed} | {' | '.join(f'{value:.4f}' for value in rows[-1])} |", flush=True)
    means = (statistics.mean(column) for column in zip(*rows, strict=True))
    print(f"| mean | {' | '.join(f'{value:.4f}' for value in means)} |")
    sizes = " | ".join(f"{count_parameters(model):,}" for model in models)
    print(f"| parameters | {sizes} |")


FEW_DATA = {"name": "mnist5k", "train_samples": 500}
FEW_TEACHER = {
    "model": {
        "name": "convnet",
        "args": {"channels": [16, 32, 64, 64], "hidden": 512, "dropout": 0.3},
    },
    "data": {"name": "mnist5k"},
    "max_epochs": 8,
    "optimizer": {"name": "adamw", "learning_rate": 1e-3},
    "lr_scheduler": {"name": "cosine", "warmup_steps": 50},
}
FEW_STUDENT = {
    "model": {"name": "convnet", "args": {"channels": [8, 16, 24, 24], "hidden": 48}},
    "max_steps": 600,
    "optimizer": {"name": "adamw", "learning_rate": 2e-3},
    "lr_scheduler": {"name": "cosine", "warmup_steps": 20},
}
FEW_TAUGHT = {"temperature": 4.0, "alpha": 0.9}
# Least gains in points over the same student alone, in the mean over the seeds.
LEAST_GAINS = {"taught": 1.5, "taught, rest too": 3.0}


def compare_few_labels(folder: Path) -> None:
    """Prints the accuracies of each seed, their means and deviations, and what teaching gains."""
    held_out = load(name="mnist5k")
    rest = {**FEW_DATA, "unlabelled": "rest"}
    columns: dict[str, list[float]] = {}
    parameters: dict[str, int] = {}
    for seed in range(SEEDS):
        at = folder / str(seed)
        teacher = str(run_task("train", at / "teacher", seed, FEW_TEACHER))
        taught = {**FEW_STUDENT, **FEW_TAUGHT, "teacher": teacher}
        found = {
            "teacher": Path(teacher),
            "alone": run_task("train", at / "alone", seed, {**FEW_STUDENT, "data": FEW_DATA}),
            "taught": run_task("distill", at / "few", seed, {**taught, "data": FEW_DATA}),
            "taught, rest too": run_task("distill", at / "rest", seed, {**taught, "data": rest}),
            "alone, all labels": run_task(
                "train", at / "all", seed, {**FEW_STUDENT, "data": {"name": "mnist5k"}}
            ),
        }
        for name, artifact in found.items():
            with Server(artifact, threads=1) as server:
                server.use(inputs_for(server, held_out))
                score = Score.of(server.outputs(), held_out.test_targets)
                columns.setdefault(name, []).append(100 * score.accuracy)
                parameters[name] = server.parameters or 0
        if not seed:
            print(f"| seed | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        row = " | ".join(f"{values[-1]:.1f}" for values in columns.values())
        print(f"| {seed} | {row} |", flush=True)
    means = {name: statistics.mean(values) for name, values in columns.items()}
    print(f"| **mean** | {' | '.join(f'{mean:.2f}' for mean in means.values())} |")
    spread = " | ".join(f"{statistics.stdev(values):.2f}" for values in columns.values())
    print(f"| deviation | {spread} |")
    print(f"| parameters | {' | '.join(f'{count:,}' for count in parameters.values())} |\n")
    assert parameters["teacher"] >= 20 * parameters["alone"]
    for name, least in LEAST_GAINS.items():
        gains = [one - other for one, other in zip(columns[name], columns["alone"], strict=True)]
        verdict = "reached" if statistics.mean(gains) >= least else "MISSED"
        print(
            f"{name}: {statistics.mean(gains):+.2f} points over the same student alone "
            f"(from {min(gains):+.1f} to {max(gains):+.1f}); at least {least} asked: {verdict}"
        )


def run_task(kind: str, folder: Path, seed: int, params: Mapping[str, object]) -> Path:
    """The model artifact of one task."""
    found = find(kind)
    context = Context(params=found.params.model_validate(params), folder=folder, seed=seed)
    [model] = [item.path for item in found.run(context) if isinstance(item, Artifact)]
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--accuracy",
        nargs="?",
        type=Path,
        const=JOB,
        metavar="SPEC",
        help="by default jobs/distill.yaml",
    )
    parser.add_argument("--few-labels", action="store_true", help="what a teacher is worth then")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.few_labels:
        with tempfile.TemporaryDirectory() as folder:
            compare_few_labels(Path(folder))
    elif asked.accuracy is None:
        compare_speed()
    else:
        compare_accuracy(asked.accuracy)


if __name__ == "__main__":
    main()
