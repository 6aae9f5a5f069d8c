"""How a model is to be quantized, whoever does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner.errors import TaskError


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """``scheme`` is one of those of kind quantize. ``granularity`` tells what shares one scale.

    All of a layer's weights (``tensor``), those of an output channel (``channel``), or so many of
    one in a row as ``group_size`` says (``group``). Modules called as in ``floats`` stay as they
    are. What ``is_for_here`` is to be fast on a CPU like this one; with ``is_symmetric`` the zero
    of activations is 0.
    """

    scheme: str
    granularity: str = "channel"
    group_size: int | None = None
    floats: tuple[str, ...] = ()
    is_for_here: bool = True
    is_symmetric: bool = False

    def check(self, who: str, has: Mapping[str, tuple[str, ...]]) -> None:
        """Raises TaskError unless ``who`` ``has`` the granularity for the scheme, if that is told.

        No scheme is made as another one than was asked for.
        """
        offered = has.get(self.scheme)
        if offered is not None and self.granularity not in offered:
            raise TaskError(
                f"{who} makes {self.scheme} with granularity {' or '.join(offered)}, and "
                f"{self.granularity} is asked for",
                hint="leave 'granularity' out, or take another runtime",
            )

    def left(self, nodes: Iterable[str]) -> list[str]:
        """Of nodes, called ``blocks.0.up/MatMul`` after their module, those that stay in float."""
        return [name for name in nodes if name.partition("/")[0] in self.floats]
