"""What a task's figures must be for it to have succeeded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from runner.errors import GateMissed, TaskError
from runner.kinds import Yield
from runner.model import Metric
from runner.parameters import Fraction, Parameters

GATES = "what the measured figures must be; a task that misses one fails, and says by how much"

Positive = Annotated[float, Field(gt=0.0)]


class GatesParams(Parameters):
    """What the figures of a model must be."""

    accuracy: Fraction | None = Field(None, description="at least this part of the answers right")
    size_mb: Positive | None = Field(None, description="at most this, in 1e6 bytes")
    latency_p50_ms: Positive | None = Field(
        None, description="at most this, in milliseconds, for one sample in half of the calls"
    )


class CompressionGatesParams(GatesParams):
    """What the figures of a model must be, alone and beside the one that it was made from."""

    accuracy_drop: Annotated[float, Field(ge=-1.0, le=1.0)] | None = Field(
        None, description="at most this much less accuracy; 0.01 is one point of 100"
    )
    cosine: Fraction | None = Field(
        None, description="at least this mean cosine of the outputs to those it had"
    )
    size_ratio: Positive | None = Field(None, description="at least so many times smaller")
    speedup: Positive | None = Field(
        None, description="at least so many times faster with one sample"
    )


@dataclass(frozen=True, slots=True)
class _Gate:
    """``metric`` is held against the limit: it must not be more or, of ``at_least``, less."""

    metric: str
    at_least: bool = False


_GATES = {
    "accuracy": _Gate("test/accuracy", at_least=True),
    "size_mb": _Gate("size/model_mb"),
    "latency_p50_ms": _Gate("latency/p50_ms"),
    "accuracy_drop": _Gate("compression/accuracy_drop"),
    "cosine": _Gate("compression/cosine", at_least=True),
    "size_ratio": _Gate("compression/size_ratio", at_least=True),
    "speedup": _Gate("compression/speedup", at_least=True),
}
# Figures of what a task started from, and of what it tried and did not keep.
_OTHERS = ("baseline/", "tried/")


def through(yields: Iterable[Yield], gates: GatesParams | None) -> Iterator[Yield]:
    """Passes on what a task yields, and looks at its figures once there are no more.

    Raises GateMissed, with every gate that was missed: in its first line one of them, and how many
    others, which follow a line each. A task that made several forms of a model has figures for
    each, as ``onnx/size/model_mb``, and all of them must hold.
    """
    values: dict[str, float] = {}
    for item in yields:
        if isinstance(item, Metric) and item.step is None:
            values[item.name] = item.value
        yield item
    missed = [] if gates is None else misses(values, gates)
    if missed:
        first, *others = missed
        more = f" ({len(others)} other{'s' if len(others) > 1 else ''} missed)" if others else ""
        raise GateMissed(
            "\n".join([f"{first}{more}", *others]),
            hint="what was made is kept; loosen the gate, or change the task",
        )


def check_gates(gates: GatesParams | None, task: str) -> None:
    """Raises TaskError for gates whose figures data of this ``task`` can't give."""
    if gates is None or task != "embedding":
        return
    of_labels = ("accuracy", "accuracy_drop")
    asked = [name for name in of_labels if getattr(gates, name, None) is not None]
    if asked:
        offered = "cosine" in type(gates).model_fields
        instead = "; 'cosine' says how close embeddings are to stay" if offered else ""
        verb = "need" if len(asked) > 1 else "needs"
        raise TaskError(
            f"gate {' and '.join(asked)} {verb} to know which answers are right, and this data has "
            "no labels: its model gives embeddings",
            hint=f"leave it out of 'gates'{instead}",
        )


def misses(values: Mapping[str, float], gates: GatesParams) -> list[str]:
    """In words, every gate that these figures miss, and by how much."""
    found = []
    for name, limit in gates.model_dump(exclude_none=True).items():
        gate = _GATES[name]
        held = {metric: value for metric, value in values.items() if _is_of(metric, gate.metric)}
        if not held:
            found.append(f"gate {name}: the task measured no {gate.metric}")
        for metric, value in held.items():
            word = _missed(value, limit, gate.at_least)
            if word:
                of = metric.removesuffix(gate.metric).rstrip("/")
                found.append(f"gate {name}{f' of {of}' if of else ''}: {word}")
    return found


def _is_of(metric: str, wanted: str) -> bool:
    is_form = metric.endswith(f"/{wanted}") and not metric.startswith(_OTHERS)
    return metric == wanted or is_form


def _missed(value: float, limit: float, at_least: bool) -> str:
    """In words, by how much; a value that is no number misses every limit."""
    if value >= limit if at_least else value <= limit:
        return ""
    side = ("at least", "less") if at_least else ("at most", "more")
    return f"{value:.4g} where {side[0]} {limit:g} is asked for, {abs(value - limit):.3g} {side[1]}"
