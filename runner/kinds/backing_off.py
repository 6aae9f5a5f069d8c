"""Layers of a quantized model put back into float until it is accurate enough, and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

# Layers are measured one by one up to so many; of a deeper model, neighbours go together.
MOST_GROUPS = 24


def grouped(layers: Sequence[str], most: int = MOST_GROUPS) -> list[tuple[str, ...]]:
    """At most so many groups of neighbours, as even as can be."""
    count = min(most, len(layers))
    cuts = [round(index * len(layers) / count) for index in range(count + 1)] if count else [0]
    return [tuple(layers[start:end]) for start, end in pairwise(cuts)]


def back_off(
    layers: Sequence[str],
    *,
    damage: Callable[[tuple[str, ...]], float],
    is_enough: Callable[[tuple[str, ...]], bool],
) -> tuple[str, ...] | None:
    """The fewest layers found that suffice to be in float, the most sensitive first.

    ``damage`` measures what quantizing these layers alone does; ``is_enough`` whether the model is
    accurate enough with these in float and all others quantized. It is asked about ever longer
    parts of the ranking, halving what is left to look at, so that n groups take n + log2(n)
    measurements. None if even all groups but the least sensitive one don't suffice.
    """
    groups = grouped(layers)
    worst_first = sorted(groups, key=damage, reverse=True)

    def first(count: int) -> tuple[str, ...]:
        chosen = {name for group in worst_first[:count] for name in group}
        return tuple(name for name in layers if name in chosen)

    low, high = 1, len(groups) - 1
    if high < low or not is_enough(first(high)):
        return None
    while low < high:
        middle = (low + high) // 2
        if is_enough(first(middle)):
            high = middle
        else:
            low = middle + 1
    return first(high)
