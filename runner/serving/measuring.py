"""How good, big and fast a served model is, alone and beside the one that it was made from."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runner.data.channels import input_shape
from runner.data.classes import Array
from runner.data.dataset import Dataset, origin_of
from runner.data.described import read_any, size_bytes
from runner.data.timing import LATENCY_CALLS, THROUGHPUT_BATCH, THROUGHPUT_CALLS, Speed
from runner.errors import TaskError
from runner.serving.server import Server

# Of a text every byte has outputs of its own, and memory has to hold them all.
_TARGETS_AT_ONCE = 4096
# Models that are compared take turns, so that what else the machine does falls on all alike.
_ROUNDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Mean cross-entropy in nats, and the part of targets whose class has the highest logit."""

    loss: float
    accuracy: float

    @classmethod
    def of(cls, logits: Array, targets: Array) -> Score:
        """Of logits (..., classes) and the indices (...) of the classes that are right."""
        flat = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
        expected = targets.reshape(-1).astype(np.int64)
        highest = flat.max(axis=1)
        total = highest + np.log(np.exp(flat - highest[:, None]).sum(axis=1))
        right = flat[np.arange(len(flat)), expected]
        return cls(
            loss=float((total - right).mean()),
            accuracy=float((flat.argmax(axis=1) == expected).mean()),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far the outputs of two models for the same samples are apart.

    ``agreement`` is the part of targets for which both have the same class highest, ``cosine`` the
    mean over samples of the cosine of the angle between their outputs, ``largest_difference`` that
    of any two outputs.
    """

    agreement: float
    cosine: float
    largest_difference: float

    @classmethod
    def of(cls, ours: Array, theirs: Array) -> Agreement:
        """Of outputs of the same shape (samples, ..., classes)."""
        if ours.shape != theirs.shape:
            raise TaskError(
                f"one model's outputs have shape {ours.shape}, the other's {theirs.shape}"
            )
        one, other = (part.reshape(len(part), -1).astype(np.float64) for part in (ours, theirs))
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / np.where(lengths == 0.0, 1.0, lengths)
        return cls(
            agreement=float((ours.argmax(axis=-1) == theirs.argmax(axis=-1)).mean()),
            cosine=float(cosines.mean()),
            largest_difference=float(np.abs(one - other).max()),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """What a model is, as its runtime loaded its files in a fresh process.

    There is no ``score`` where no label says what is right: of embeddings.
    ``operations`` are counted by who carries them out, where the runtime tells.
    """

    score: Score | None
    speed: Speed
    outputs: Array
    size_bytes: int
    parameters: int | None
    peak_memory_mb: float
    runtime: str
    operations: Mapping[str, int] = field(default_factory=dict)

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """By the names that reports have them."""
        known = {} if self.parameters is None else {"size/parameters": float(self.parameters)}
        scored = {}
        if self.score is not None:
            scored = {"test/loss": self.score.loss, "test/accuracy": self.score.accuracy}
        values = {
            **scored,
            "size/model_mb": self.size_bytes / 1e6,
            **known,
            **self.speed.metrics(),
            "memory/peak_mb": self.peak_memory_mb,
        }
        if self.operations:
            counts = {"all": sum(self.operations.values()), **self.operations}
            values |= {f"operations/{who}": float(count) for who, count in counts.items()}
        return {prefix + name: value for name, value in values.items()}


def measure(
    folders: Sequence[Path],
    data: Dataset,
    *,
    threads: int,
    device: str = "cpu",
    batch_size: int = THROUGHPUT_BATCH,
) -> list[Measured]:
    """The models in these folders on the held-out part of ``data``, which they take turns at.

    Each is asked again for all of its outputs after it was timed: a runtime that changes its own
    model as it runs gives others then. Raises TaskError for that, for data that a model was not
    made for, and for what a runtime refuses. For calls of ``batch_size`` a model that takes batches
    of one size only is called with that.
    """
    servers: list[Server] = []
    try:
        for folder in folders:
            servers.append(Server(folder, threads=threads, device=device))
        return _measured(servers, data, batch_size)
    finally:
        for server in servers:
            server.close()


def score_of(outputs: Array, data: Dataset) -> Score | None:
    """The score of these outputs for the held-out part of ``data``; None without labels."""
    return None if data.task == "embedding" else Score.of(outputs, data.test_targets)


def rows_at_once(data: Dataset) -> int:
    """How many samples of ``data`` calls in batches are timed with."""
    return min(THROUGHPUT_BATCH, max(1, _TARGETS_AT_ONCE // int(data.test_targets[0].size)))


def _measured(servers: Sequence[Server], data: Dataset, batch_size: int) -> list[Measured]:
    first: list[Array] = []
    for server in servers:
        server.use(inputs_for(server, data))
        first.append(server.outputs())
    single = [fixed_rows(server, 1) for server in servers]
    alone = _in_turns(servers, single, [LATENCY_CALLS] * len(servers))
    rows = [fixed_rows(server, batch_size) for server in servers]
    # A model of a small batch is called as often as many samples take: its caches stay warm, too.
    calls = [-(-THROUGHPUT_CALLS * batch_size // size) for size in rows]
    together = _in_turns(servers, rows, calls)
    found = []
    for server, before, one, many, size in zip(servers, first, alone, together, rows, strict=True):
        is_cpu = server.device == "cpu"
        joules = server.joules(size, statistics.median(many)) if is_cpu else None
        check_same(server, before)
        found.append(
            Measured(
                score=score_of(before, data),
                speed=Speed.of(one, many, batch_size=size, joules=joules),
                outputs=before,
                size_bytes=size_bytes(server.folder),
                parameters=server.parameters,
                peak_memory_mb=server.peak_memory_mb(),
                runtime=server.runtime,
                operations=server.operations,
            )
        )
    return found


def fixed_rows(server: Server, wanted: int) -> int:
    """So many rows for a call as are ``wanted``, or as many as the model takes if that is fixed."""
    form = server.described.form
    return wanted if form is None or form.batch_size is None else form.batch_size


def check_same(server: Server, before: Array) -> None:
    """Raises TaskError unless the model gives the outputs once more that it gave ``before``.

    They must be numbers, too.
    """
    if not np.isfinite(before).all():
        wrong = float(np.mean(~np.isfinite(before).reshape(len(before), -1).all(axis=1)))
        raise TaskError(
            f"{server.folder} gives infinite outputs, or some that are no numbers, for {wrong:.1%} "
            f"of the held-out samples, as {server.runtime} runs it",
            hint="was its training ended by a loss that is no number? else use another runtime or "
            "scheme",
        )
    difference = Agreement.of(server.outputs(), before).largest_difference
    if not difference <= 1e-3 * max(1.0, float(np.abs(before).max())):
        raise TaskError(
            f"{server.folder} gives other outputs after some calls than before (by up to "
            f"{difference:.3g}): {server.runtime} changes the model as it runs it",
            hint="use another runtime or another batch size",
        )


def inputs_for(server: Server, data: Dataset) -> Array:
    """The held-out samples of ``data`` as the model takes them. Raises TaskError if it does not."""
    framework, described = read_any(server.folder)
    shape = input_shape(data) if framework == "keras" else data.input_shape
    described.check(task=data.task, input_shape=shape, classes=data.classes, origin=origin_of(data))
    prepared = data.standardised_as(described.preprocessing).test_inputs
    if described.form is None or not described.form.takes_raw:
        return prepared
    return described.raw(prepared)


def _in_turns(
    servers: Sequence[Server], rows: Sequence[int], calls: Sequence[int]
) -> list[list[float]]:
    """Seconds of each model's calls, of which there are some in every round."""
    found = [
        server.warm_up(size, count)
        for server, size, count in zip(servers, rows, calls, strict=True)
    ]
    if len(servers) == 1:
        return found
    # As many as the slow ones were given time for, spread over rounds.
    counts = [-(-len(times) // _ROUNDS) for times in found]
    taken: list[list[float]] = [[] for _ in servers]
    for _ in range(_ROUNDS):
        for times, server, size, count in zip(taken, servers, rows, counts, strict=True):
            times += server.time(size, count)
    return taken


def compared(ours: Measured, baseline: Measured) -> dict[str, float]:
    """What became of a model that was made smaller: ratios above 1 are gains.

    ``speedup`` is that of a call at batch 1 (medians), ``throughput_ratio`` that of calls in
    batches, ``accuracy_drop`` the part of targets that are no longer right, less those newly so.
    """
    agreement = Agreement.of(ours.outputs, baseline.outputs)
    scored = {}
    if ours.score is not None and baseline.score is not None:
        scored = {
            "compression/accuracy_drop": baseline.score.accuracy - ours.score.accuracy,
            "compression/agreement": agreement.agreement,
        }
    return {
        **baseline.metrics("baseline/"),
        "compression/size_ratio": baseline.size_bytes / ours.size_bytes,
        "compression/speedup": baseline.speed.latency_p50_ms / ours.speed.latency_p50_ms,
        "compression/throughput_ratio": ours.speed.samples_per_s / baseline.speed.samples_per_s,
        **scored,
        "compression/cosine": agreement.cosine,
        "compression/largest_difference": agreement.largest_difference,
    }
