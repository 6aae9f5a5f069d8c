"""A model as its runtime has loaded it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runner.data.classes import Array


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opened:
    """``call`` gives outputs of samples, as floats: (rows, classes), or (rows, length, classes).

    It takes what ``ready`` made of an array of them (on the device, in the numbers it wants), which
    a caller may do once for many calls. ``runtime`` is its name and version. ``operations`` counts
    those of the model by who carries them out, where the runtime tells; ``parameters`` those that
    the file holds, where they can be counted there.
    """

    call: Callable[[object], Array]
    runtime: str
    ready: Callable[[Array], object] = lambda inputs: inputs
    operations: Mapping[str, int] = field(default_factory=dict)
    parameters: int | None = None
