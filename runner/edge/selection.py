"""Which platforms suit a need or a model, the best first, and why the others don't."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

from runner.edge.estimate import Estimate, Workload, estimate
from runner.edge.operators import lowered
from runner.edge.platforms import Device, Format, Platform, Platforms, Precision
from runner.edge.targets import lacking

WORDS: tuple[str, ...] = (*get_args(Device), *get_args(Precision), *get_args(Format))
_ORDER = {"current": 0, "imagined": 1, "end of life": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What is asked of a platform; empty or None where nothing is.

    Of ``devices`` and of ``precisions`` it must be or have one, of ``formats`` take each.
    ``min_fps`` are inferences a second at batch 1, which only a model can be held to.
    """

    devices: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    max_watts: float | None = None
    min_fps: float | None = None


def need_of(
    words: Iterable[str], *, max_watts: float | None = None, min_fps: float | None = None
) -> Need:
    """The need that ``WORDS`` say, each of a device, a precision or a format."""
    words = tuple(words)
    return Need(
        devices=tuple(word for word in words if word in get_args(Device)),
        precisions=tuple(word for word in words if word in get_args(Precision)),
        formats=tuple(word for word in words if word in get_args(Format)),
        max_watts=max_watts,
        min_fps=min_fps,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A platform against a need: ``why_not`` is empty where it suits.

    ``precision`` is what it would compute in, None where it has none that is asked for; ``why_not``
    has a line for each thing that speaks against it, ``caveats`` for each that isn't known.
    """

    name: str
    platform: Platform
    precision: Precision | None
    estimate: Estimate | None
    why_not: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def suits(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.why_not

    @property
    def tops(self) -> float | None:
        """Dense operations at its precision, 1e12 a second."""
        return None if self.precision is None else self.platform.tops[self.precision].dense

    @property
    def tops_per_watt(self) -> float | None:
        """How much it computes for its power."""
        watts = self.platform.watts
        return None if self.tops is None or watts is None else self.tops / watts.value


def rank(platforms: Platforms, need: Need, work: Workload | None = None) -> list[Verdict]:
    """A verdict on each of ``platforms``, the best first.

    Those that suit come first; of these, those that can be had. Of these, with a model, the ones
    that take the least energy for an inference at best, and without one, those with the most
    operations for their power; whose power is not known comes last, the fastest first.
    """
    verdicts = [judge(name, platform, need, work) for name, platform in platforms.items()]
    return sorted(verdicts, key=_place)


def _place(verdict: Verdict) -> tuple[float, ...]:
    platform, found = verdict.platform, verdict.estimate
    first = (not verdict.suits, _ORDER[platform.status])
    if found is not None:
        energy = math.inf if found.energy_mj is None else found.energy_mj
        return (*first, energy, found.latency_ms)
    return (*first, -(verdict.tops_per_watt or 0.0), -(verdict.tops or 0.0))


def judge(name: str, platform: Platform, need: Need, work: Workload | None = None) -> Verdict:
    """What ``platform`` is for ``need``, and for a model that takes ``work``."""
    why_not = list(_against(platform, need))
    caveats: list[str] = []
    precision = chosen(platform, need, work)
    found = None
    if precision is None:
        have = ", ".join(platform.tops)
        why_not.append(f"has no {' or '.join(need.precisions)}, but {have}")
    elif work is not None:
        found = estimate(platform, work, precision)
        why_not += _too_large(platform, found)
        if need.min_fps is not None and found.per_s < need.min_fps:
            why_not.append(
                f"{found.per_s:.3g} inferences a second at best, fewer than {need.min_fps:g}"
            )
        caveats += [f"{field}, which the estimate leaves out" for field in found.missing]
        made = lowered(work.operators, platform.formats[0])
        if missing := lacking(platform, made.operators):
            why_not.append(f"lacks operators: {', '.join(missing)}")
        if platform.operators is not None and made.unknown:
            caveats.append(f"what becomes of {', '.join(made.unknown)}")
    return Verdict(
        name=name,
        platform=platform,
        precision=precision,
        estimate=found,
        why_not=tuple(why_not),
        caveats=tuple(caveats),
    )


def chosen(platform: Platform, need: Need, work: Workload | None) -> Precision | None:
    """What ``platform`` would compute in: of what is asked for, else what it is best at.

    That is what its files are to hold, or else the fastest; of equally fast, the finer. None where
    it has no rate for any that is asked for.
    """
    usable: list[Precision] = [each for each in platform.tops if each in need.precisions]
    if not need.precisions:
        usable = [platform.precision] if platform.precision else [*platform.tops]
    if not usable:
        return None
    slowness: Callable[[Precision], float] = lambda each: -platform.tops[each].dense  # noqa: E731
    if work is not None:
        slowness = lambda each: estimate(platform, work, each).latency_ms  # noqa: E731
    finest = get_args(Precision)
    return min(usable, key=lambda each: (slowness(each), finest.index(each)))


def _against(platform: Platform, need: Need) -> Iterable[str]:
    if need.devices and platform.device not in need.devices:
        wanted = " or ".join(each.upper() for each in need.devices)
        yield f"its {platform.device.upper()} computes, and what is asked for is {wanted}"
    for each in need.formats:
        if each not in platform.formats:
            yield f"takes no {each}, but {' or '.join(platform.formats)}"
    if need.max_watts is not None:
        if platform.watts is None:
            yield f"its power is not known, and {need.max_watts:g} W are the most"
        elif platform.watts.value > need.max_watts:
            yield f"takes {platform.watts.value:g} W, more than {need.max_watts:g}"


def _too_large(platform: Platform, found: Estimate) -> Iterable[str]:
    memory = platform.memory_gb
    if memory is not None and found.memory_mb > memory.value * 1e3:
        yield (
            f"has {memory.value:g} GB of memory, and the model takes "
            f"{found.memory_mb / 1e3:.3g} GB in {found.precision}"
        )
