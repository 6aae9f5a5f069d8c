"""Which of a node's resources are accelerators, and of which family: Ray's own names, and ours.

Ray finds these devices by itself; one that it does not know is declared when its node joins, under
a name that begins with ``npu-``:

    ray start --address=HEAD:6379 --resources='{"npu-coral": 1}'
"""

from __future__ import annotations

from collections.abc import Mapping

from runner.model import Accelerator

FAMILIES = ("gpu", "tpu", "npu")
CUSTOM = "npu-"

# Names of resources in Ray 2.60 (ray._private.accelerators) that are not one for each vendor: every
# GPU is a GPU. NPU is Huawei's Ascend, HPU Intel's Gaudi, neuron_cores are AWS's.
_KNOWN = {
    "GPU": "gpu",
    "TPU": "tpu",
    "NPU": "npu",
    "HPU": "npu",
    "neuron_cores": "npu",
    "RBLN": "npu",
    "FURIOSA": "npu",
    "MBLT": "npu",
    "TTNPU": "npu",
}

# What PyTorch calls a device. Of other resources there is none that it could compute on: they go by
# their own names.
_DEVICES = {"GPU": "cuda", "TPU": "tpu", "NPU": "npu", "HPU": "hpu"}


def family_of(resource: str) -> str | None:
    """The family of devices that a resource of a node is, None for what is no accelerator."""
    return "npu" if is_custom(resource) else _KNOWN.get(resource)


def is_custom(name: str) -> bool:
    """Whether a resource, or a type of accelerator, is one that Ray does not know."""
    return name.lower().startswith(CUSTOM)


def accelerators_of(amounts: Mapping[str, float], kind: str | None) -> tuple[Accelerator, ...]:
    """The devices among a node's resources; ``kind`` is what its label says that they are."""
    order = {name: index for index, name in enumerate(_KNOWN)}
    return tuple(
        Accelerator(
            family=family,
            type=name if is_custom(name) else kind,
            count=amounts[name],
            resource=name if family == "npu" else None,
        )
        for name in sorted(amounts, key=lambda name: (order.get(name, len(order)), name))
        if (family := family_of(name)) is not None and amounts[name] > 0
    )


def resource_of(accelerator: Accelerator) -> str:
    """Ray's name for what is asked for: of a family with several, the first."""
    known = (name for name, family in _KNOWN.items() if family == accelerator.family)
    return accelerator.resource or next(known)


def device_of(accelerator: Accelerator) -> str:
    """What a task computes on that has such a device, as PyTorch calls it."""
    resource = resource_of(accelerator)
    return _DEVICES.get(resource, resource)
