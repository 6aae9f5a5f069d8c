"""What was fused: the same word for what is done in a graph and for what a compiler says it did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Fusion:
    """Operators that became one: their names in order, and the modules of the model they were in.

    A module that has no name, as the model itself, is left out.
    """

    operators: tuple[str, ...]
    modules: tuple[str, ...]

    @property
    def name(self) -> str:
        """'convolution + relu'."""
        return " + ".join(self.operators)


def told(fusions: Iterable[Fusion]) -> str:
    """'2 of convolution + relu (0 + 2, 3 + 5); 1 of ...': each sort with where it was found."""
    by_name: dict[str, list[Fusion]] = {}
    for each in fusions:
        by_name.setdefault(each.name, []).append(each)
    parts = []
    for name, found in by_name.items():
        where = [" + ".join(each.modules) for each in found if each.modules]
        shown = ", ".join(where[:_SHOWN])
        more = f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else ""
        parts.append(f"{len(found)} of {name}" + (f" ({shown}{more})" if shown else ""))
    return "; ".join(parts)
