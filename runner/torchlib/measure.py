"""How good, big and fast a model is, measured the same way for every model."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.data import timing
from runner.data.described import size_bytes
from runner.data.energy import joules_a_call
from runner.data.timing import LATENCY_CALLS, THROUGHPUT_BATCH, THROUGHPUT_CALLS, Speed, timed
from runner.model import Metric
from runner.torchlib.artifact import check_data, load
from runner.torchlib.data import Dataset
from runner.torchlib.device import use_only
from runner.torchlib.layout import arrange, place
from runner.torchlib.objectives import rows
from runner.torchlib.precision import Precision, in_full

# Of a language model, every position has a logit for each byte: fewer sequences at once.
_EVALUATION_BATCH, _TARGETS_AT_ONCE = 256, 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Mean cross-entropy in nats, and the part of targets whose class has the highest logit."""

    loss: float
    accuracy: float


def evaluate(model: nn.Module, data: Dataset, *, device: str) -> Score:
    """The score of ``model`` on the held-out part of ``data``, each target weighing the same.

    The model runs in eval mode, and is left in the mode it was in.
    """
    return score(model, data, device=device, layout=place(model, device))


def score(
    model: nn.Module,
    data: Dataset,
    *,
    device: str,
    layout: torch.memory_format,
    precision: Precision | None = None,
) -> Score:
    """As ``evaluate``, for a model that ``place`` has put on ``device`` and into ``layout``.

    It computes in ``precision``, by default in that of its weights.
    """
    precision = precision or Precision("fp32", device)
    was_training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.no_grad():  # layers in fp8 know no inference mode (torchao 0.18)
        for inputs, targets in zip(
            torch.split(data.test_inputs, evaluation_batch(data)),
            torch.split(data.test_targets, evaluation_batch(data)),
            strict=True,
        ):
            with precision.autocast():
                outputs = model(precision.inputs(arrange(inputs.to(device), layout)))
            logits = rows(in_full(outputs))
            expected = targets.to(device).flatten().long()
            loss += functional.cross_entropy(logits, expected, reduction="sum")
            correct += (logits.argmax(1) == expected).sum()
    model.train(was_training)
    count = data.test_targets.numel()
    return Score(loss=loss.item() / count, accuracy=correct.item() / count)


def evaluation_batch(data: Dataset) -> int:
    """How many held-out samples are scored at once."""
    return min(_EVALUATION_BATCH, _most_at_once(data))


def throughput_batch(data: Dataset) -> int:
    """How many samples a call has whose throughput is measured."""
    return min(THROUGHPUT_BATCH, _most_at_once(data))


def _most_at_once(data: Dataset) -> int:
    # Of a text every byte is a target with logits of its own, and memory has to hold them all.
    return max(1, _TARGETS_AT_ONCE // data.test_targets[0].numel())


def benchmark(
    model: nn.Module, inputs: Tensor, *, threads: int, device: str, batch_size: int
) -> Speed:
    """How fast ``model`` is on rows of ``inputs``, in eval mode and without gradients.

    Latency is over 200 calls at batch 1, throughput over the median of 30 calls at ``batch_size``,
    each after ten calls to warm up and with ``threads`` threads. A model so slow that this would
    take more than three seconds each gets fewer calls, ten at the least. Rows are repeated if there
    are too few.
    """
    layout = place(model, device)
    model.eval()
    repeats = -(-batch_size // len(inputs))
    batch = inputs.repeat(repeats, *([1] * (inputs.ndim - 1)))[:batch_size].to(device)
    with torch.inference_mode(), use_only(threads):
        alone = timed(_call(model, arrange(batch[:1], layout)), LATENCY_CALLS)
        call = _call(model, arrange(batch, layout))
        together = timed(call, THROUGHPUT_CALLS)
        # A GPU's energy is not the processor's.
        on_cpu = torch.device(device).type == "cpu"
        joules = joules_a_call(call, statistics.median(together)) if on_cpu else None
    return Speed.of(alone, together, batch_size=batch_size, joules=joules)


def count_parameters(model: nn.Module) -> int:
    """The number of parameters; one that is used in two places counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def peak_memory_mb(device: str) -> float:
    """The most memory held so far, in 1e6 bytes: by tensors on a GPU, else by the whole process."""
    kind = torch.device(device).type
    if kind != "cpu":
        most: int = torch.get_device_module(kind).max_memory_allocated(device)
        return most / 1e6
    return timing.peak_memory_mb()


def measure_artifact(folder: Path, data: Dataset, *, threads: int, device: str) -> list[Metric]:
    """Everything there is to measure of the model saved in ``folder``, loaded anew from there.

    ``data`` is first standardised as the model's own was. ``data/train_samples`` are those that the
    model was trained on, as its folder says, ``data/test_samples`` those it is measured on. Raises
    TaskError if the folder can't be read, ``data`` is not of the kind the model was made for, or
    holds out what the model has seen.
    """
    loaded = load(folder)
    check_data(loaded, data)
    data = data.standardised_as(loaded.preprocessing)
    model = loaded.model
    score = None if data.task == "embedding" else evaluate(model, data, device=device)
    speed = benchmark(
        model,
        data.test_inputs,
        threads=threads,
        device=device,
        batch_size=throughput_batch(data),
    )
    values = {
        **loaded.sample_counts(len(data.test_inputs)),
        **({} if score is None else {"test/loss": score.loss, "test/accuracy": score.accuracy}),
        "size/model_mb": size_bytes(folder) / 1e6,
        "size/parameters": count_parameters(model),
        **speed.metrics(),
        "memory/peak_mb": peak_memory_mb(device),
    }
    return [Metric(name=name, value=value) for name, value in values.items()]


def _call(model: nn.Module, inputs: Tensor) -> Callable[[], None]:
    def call() -> None:
        model(inputs)
        if inputs.device.type != "cpu":
            torch.accelerator.synchronize()

    return call
