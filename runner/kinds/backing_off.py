"""Layers of a quantized model put back into float until it is accurate enough, and no more."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import pairwise

from runner.model import Progress

# Layers are measured one by one up to so many; of a deeper model, neighbours go together. So do
# more of them where it is for speed alone, and of their layers no more than so many are parted.
MOST_GROUPS, FEW_GROUPS = 24, 8
FEW_ALONE = 16


def grouped(layers: Sequence[str], most: int = MOST_GROUPS) -> list[tuple[str, ...]]:
    """At most so many groups of neighbours, as even as can be."""
    count = min(most, len(layers))
    cuts = [round(index * len(layers) / count) for index in range(count + 1)] if count else [0]
    return [tuple(layers[start:end]) for start, end in pairwise(cuts)]


def back_off(
    layers: Sequence[str],
    *,
    most_groups: int = MOST_GROUPS,
    most_share: float = 1.0,
    most_alone: int | None = None,
    damage: Callable[[tuple[str, ...]], float],
    is_enough: Callable[[tuple[str, ...]], bool],
) -> Generator[Progress, None, tuple[str, ...] | None]:
    """The fewest layers found that suffice to be in float, the most sensitive first.

    ``damage`` measures what quantizing these layers alone does; ``is_enough`` whether the model is
    accurate enough with these in float and all others quantized. Groups of neighbours, of which
    there are at most ``most_groups``, are ranked first, and then the layers of those that it takes.
    Returns None if even all groups but the least sensitive one don't suffice, or if it would take
    more than ``most_share`` of the groups, but one at least. Groups that hold more than
    ``most_alone`` layers together stay whole.
    """
    ranked = yield from _ranked(grouped(layers, most_groups), damage)
    most = min(len(ranked) - 1, max(1, int(most_share * len(ranked))))
    if most < 1:
        return None
    chosen = _fewest(ranked, most, is_enough)
    if chosen is None:
        return None
    alone = [(name,) for group in chosen for name in group]
    if len(chosen) < len(alone) <= (most_alone or len(alone)):
        ranked = yield from _ranked(alone, damage)
        # All of them suffice, as they did as groups.
        chosen = _fewest(ranked, len(ranked) - 1, is_enough) or ranked
    found = _names(chosen)
    return tuple(name for name in layers if name in found)


def _ranked(
    groups: Sequence[tuple[str, ...]], damage: Callable[[tuple[str, ...]], float]
) -> Generator[Progress, None, list[tuple[str, ...]]]:
    """The most sensitive first."""
    damages = []
    for index, group in enumerate(groups):
        yield Progress(step=index, total_steps=len(groups), phase="find sensitive layers")
        damages.append(damage(group))
    order = sorted(range(len(groups)), key=damages.__getitem__, reverse=True)
    return [groups[index] for index in order]


def _fewest(
    ranked: Sequence[tuple[str, ...]], most: int, is_enough: Callable[[tuple[str, ...]], bool]
) -> Sequence[tuple[str, ...]] | None:
    """So many of the first as suffice, at most ``most``; None if these don't.

    It asks about 1, 2, 4 and so on, then halves what is left to look at: 2 log2(n) measurements.
    """

    def suffices(count: int) -> bool:
        return is_enough(tuple(name for group in ranked[:count] for name in group))

    low, high = 1, 1
    while not suffices(high):
        if high >= most:
            return None
        low, high = high + 1, min(high * 2, most)
    while low < high:
        middle = (low + high) // 2
        if suffices(middle):
            high = middle
        else:
            low = middle + 1
    return ranked[:high]


def _names(groups: Sequence[tuple[str, ...]]) -> set[str]:
    return {name for group in groups for name in group}
