"""Whether the devices that a task asks for can compute in the precision that it names."""

from __future__ import annotations

from runner.kinds.memory import DEVICE_GB
from runner.kinds.training import TrainingParams
from runner.model import Resources

# Of the types that are known by name: Ada, Hopper, Blackwell, and MI300.
_HAVE_FP8 = ("L4", "L40S", "RTX4090", "H100", "H20", "H200", "B200", "AMD-INSTINCT-MI300X-OAM")
# Built-in models whose only linear layer is the last.
_NO_LAYERS = ("resnet",)


def faults(params: TrainingParams, resources: Resources) -> list[str]:
    """What keeps the task from computing in fp8, if it asks for that, each with what would do."""
    if params.precision != "fp8":
        return []
    found = []
    if None in resources.accelerators:
        also = ", and cpu left out" if any(resources.accelerators) else ""
        found.append(
            "precision fp8 needs a GPU, and the task may run on a CPU; expected accelerators such "
            f"as H100:1 in its resources{also}, or another precision"
        )
    for choice in resources.accelerators:
        if choice is not None and choice.family == "npu":
            found.append(
                f"precision fp8 needs a GPU, and {choice} is none; expected accelerators such as "
                "H100:1, or another precision"
            )
        kind = ((choice and choice.type) or "").upper()
        if kind in DEVICE_GB and kind not in _HAVE_FP8:
            found.append(
                f"precision fp8: {kind} has no fp8; expected accelerators of compute capability "
                "8.9 or later, such as L4, L40S or H100, or precision bf16-mixed"
            )
    if params.model.name in _NO_LAYERS:
        found.append(
            f"precision fp8 has nothing to work on in {params.model.name}, which has no linear "
            "layer but its last; expected precision bf16-mixed"
        )
    return found
