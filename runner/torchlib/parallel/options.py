"""What there is to choose in dividing a training, beyond the widths of the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Style = Literal["column", "row"]
ScheduleName = Literal["gpipe", "1f1b", "interleaved-1f1b", "zero-bubble"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The choices of a spec's ``parallelism``; each is explained by the module that uses it.

    ``tp_plan`` maps patterns of module names to how these are divided. ``reshard`` frees gathered
    layers after the forward pass; ``offload`` keeps shards and optimizer in host memory.
    """

    tp_plan: Mapping[str, Style] = field(default_factory=dict)
    pp_schedule: ScheduleName = "1f1b"
    pp_split: tuple[str, ...] = ()
    microbatches: int = 1
    reshard: bool = True
    offload: bool = False
