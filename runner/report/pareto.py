"""What was traded for what: models of one run by accuracy and speed, and which of them win.

A model wins unless another one is as good in everything that counts here and better in something:
the others are on the Pareto front.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from runner.report import format as form
from runner.report.comparison import COSINE, origin
from runner.report.summary import Report, TaskReport
from runner.report.text import one_line

TRIED, BASELINE = "tried/", "baseline/"
ACCURACY, SIZE = "test/accuracy", "size/model_mb"
LATENCY, THROUGHPUT = "latency/p50_ms", "throughput/samples_per_s"
_HEADINGS = ("on disk", "latency p50", "throughput", "faster", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A model by its figures. ``note`` says what became of it, ``origin`` if it was the first.

    Of one that gives embeddings, ``accuracy`` is their mean cosine to the first one's.
    """

    name: str
    accuracy: float
    size_mb: float
    latency_ms: float
    samples_per_s: float
    note: str = ""
    is_cosine: bool = False

    @property
    def quality(self) -> str:
        """Its accuracy, or cosine, as tables have it."""
        return form.cosine(self.accuracy) if self.is_cosine else form.percent(self.accuracy)

    def beats(self, other: Point) -> bool:
        """Whether it is as accurate and as fast, and more so in one of them."""
        ours = (self.accuracy, -self.latency_ms)
        theirs = (other.accuracy, -other.latency_ms)
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def point(
    name: str, metrics: Mapping[str, float], prefix: str = "", note: str = ""
) -> Point | None:
    """A model out of metrics whose names begin so; None unless all its figures are there."""
    is_cosine = prefix + ACCURACY not in metrics
    first = 1.0 if prefix == BASELINE else math.nan
    quality = metrics.get(prefix + COSINE, first) if is_cosine else metrics[prefix + ACCURACY]
    others = [metrics.get(prefix + each, math.nan) for each in (SIZE, LATENCY, THROUGHPUT)]
    found = [quality, *others]
    if not all(math.isfinite(value) for value in found):
        return None
    accuracy, size, latency, throughput = found
    if min(size, latency, throughput) <= 0.0:
        return None
    return Point(
        name=name,
        accuracy=accuracy,
        size_mb=size,
        latency_ms=latency,
        samples_per_s=throughput,
        note=note,
        is_cosine=is_cosine,
    )


def points(report: Report, task: TaskReport) -> list[Point]:
    """What a task tried, the fastest first, after what it started from; empty if there was one."""
    names = {name.split("/")[1] for name in task.metrics if name.startswith(TRIED)}
    tried = [point(name, task.metrics, f"{TRIED}{name}/") for name in names]
    found = sorted((each for each in tried if each), key=lambda each: (each.latency_ms, each.name))
    if len(found) < 2:
        return []
    kept = point(task.name, task.metrics, note="kept")
    rows = [_marked(each, kept) for each in found]
    if kept is not None and not any(each.note for each in rows):
        rows.append(kept)
    first = origin(report, task) or f"{task.name}'s original"
    before = point(first, task.metrics, BASELINE, note="original")
    return [*([before] if before else []), *rows]


def _marked(tried: Point, kept: Point | None) -> Point:
    is_kept = kept is not None and (kept.size_mb, kept.latency_ms) == (
        tried.size_mb,
        tried.latency_ms,
    )
    return replace(tried, note="kept") if is_kept else tried


def front(found: Iterable[Point]) -> list[Point]:
    """Those that no other one beats, the fastest first."""
    every = list(found)
    best = [each for each in every if not any(other.beats(each) for other in every)]
    return sorted(best, key=lambda each: (each.latency_ms, -each.accuracy))


def headings(found: Sequence[Point]) -> tuple[str, ...]:
    """Those of the table that ``rows`` makes."""
    return ("", "cosine" if found[0].is_cosine else "accuracy", *_HEADINGS)


def rows(found: Sequence[Point]) -> list[tuple[str, ...]]:
    """The cells of a table with ``headings``, a row for each, numbered as in the picture."""
    first = found[0]
    return [
        (
            f"{number} {one_line(each.name)}",
            each.quality,
            form.megabytes(each.size_mb),
            form.milliseconds(each.latency_ms),
            form.rate(each.samples_per_s),
            form.factor(first.latency_ms / each.latency_ms),
            each.note,
        )
        for number, each in enumerate(found, start=1)
    ]
