"""How much memory a training needs, and whether a device has it, known before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod
from typing import Any

from runner.builtin import MODEL_ARGUMENTS
from runner.kinds.training import DataParams, TrainingParams

# Of a parameter in training: itself, its gradient and two moments, in fp32.
BYTES_PER_PARAMETER = 16

# GB of the devices whose type says it; where a type comes in two sizes, the smaller.
DEVICE_GB: Mapping[str, int] = {
    "P4": 8, "P100": 16, "V100": 16, "T4": 16, "L4": 24, "A10": 24, "A10G": 24, "A30": 24,
    "RTX4090": 24, "A100": 40, "A100-40G": 40, "L40S": 48, "A100-80G": 80, "H100": 80, "H20": 96,
    "H200": 141, "B200": 180, "AMD-INSTINCT-MI100": 32, "AMD-INSTINCT-MI210": 64,
    "AMD-INSTINCT-MI300X-OAM": 192,
}  # fmt: skip

_IMAGES: Mapping[str, tuple[tuple[int, ...], int]] = {
    "digits": ((1, 8, 8), 10),
    "mnist5k": ((1, 28, 28), 10),
}
_BYTE_VALUES = 256
_BLOCK_SIZE = 128


def copy_fits(parameters: int | None, device_bytes: float | None, *, parts: int = 1) -> bool | None:
    """Whether a model in training fits into half of a device's memory; None where it isn't known.

    Counted are weights, gradients and optimizer state of a ``parts``-th of the model; the other
    half is for activations.
    """
    if parameters is None or device_bytes is None:
        return None
    return training_bytes(parameters) / parts <= device_bytes / 2


def training_bytes(parameters: int) -> int:
    """Bytes of so many parameters with their gradients and optimizer state."""
    return BYTES_PER_PARAMETER * parameters


def device_bytes(kind: str | None) -> float | None:
    """The memory of an accelerator of that type; None where the type doesn't tell."""
    gb = DEVICE_GB.get((kind or "").upper())
    return None if gb is None else gb * 1e9


def parameters_of(params: TrainingParams) -> int | None:
    """How many parameters the model has; None where only building it tells."""
    name = params.model.name
    if name is None:
        return None
    known = _input(params.data, params.model.args)
    if known is None:
        return None
    shape, classes = known
    arguments: Any = MODEL_ARGUMENTS[name].model_validate(params.model.args)
    return _COUNTS[name](arguments, shape, classes)


def _input(data: DataParams, args: Mapping[str, Any]) -> tuple[tuple[int, ...], int] | None:
    """Shape and classes of the samples, as far as the parameters tell."""
    if data.name is not None and data.name in _IMAGES:
        return _IMAGES[data.name]
    if data.forms == ("text",):
        return (args.get("block_size") or _BLOCK_SIZE,), _BYTE_VALUES
    return None


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _conv_with_norm(inputs: int, outputs: int) -> int:
    return 9 * inputs * outputs + 2 * outputs


def _blocks(args: Any) -> int:
    dim: int = args.dim
    attention = _linear(dim, 3 * dim) + _linear(dim, dim)
    wide = _linear(dim, 4 * dim) + _linear(4 * dim, dim)
    return int(args.depth) * (attention + wide + 2 * 2 * dim)


def _mlp(args: Any, shape: tuple[int, ...], classes: int) -> int:
    widths = [prod(shape), *args.hidden, classes]
    return sum(_linear(inputs, outputs) for inputs, outputs in pairwise(widths))


def _convnet(args: Any, shape: tuple[int, ...], classes: int) -> int:
    depth, height, width = shape
    convolutions = sum(_conv_with_norm(i, o) for i, o in pairwise([depth, *args.channels]))
    halvings = len(args.channels) // args.pool_every
    features = args.channels[-1] * (height >> halvings) * (width >> halvings)
    widths = [features, *([args.hidden] if args.hidden else []), classes]
    return convolutions + sum(_linear(i, o) for i, o in pairwise(widths))


def _resnet(args: Any, shape: tuple[int, ...], classes: int) -> int:
    stages = [args.width * 2**stage for stage in range(3)]
    outputs = [width for width in stages for _ in range((args.depth - 2) // 6)]
    blocks = sum(
        _conv_with_norm(i, o) + _conv_with_norm(o, o) for i, o in pairwise([args.width, *outputs])
    )
    return _conv_with_norm(shape[0], args.width) + blocks + _linear(outputs[-1], classes)


def _vit(args: Any, shape: tuple[int, ...], classes: int) -> int:
    channels, height, width = shape
    dim: int = args.dim
    patches = (height // args.patch) * (width // args.patch)
    embed: int = _linear(channels * args.patch**2, dim) + dim + (patches + 1) * dim
    return embed + _blocks(args) + 2 * dim + _linear(dim, classes)


def _gpt(args: Any, shape: tuple[int, ...], classes: int) -> int:
    dim: int = args.dim
    embed: int = (classes + (args.block_size or shape[0])) * dim
    return embed + _blocks(args) + 2 * dim + (0 if args.tied else dim * classes)


_COUNTS: Mapping[str, Callable[[Any, tuple[int, ...], int], int]] = {
    "mlp": _mlp,
    "convnet": _convnet,
    "resnet": _resnet,
    "vit": _vit,
    "gpt": _gpt,
}
