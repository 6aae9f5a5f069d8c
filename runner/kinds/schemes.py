"""Which schemes of quantization go with which runtimes, and what a choice of ``auto`` tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Scheme: TypeAlias = Literal[
    "int8-dynamic", "int8-static", "int8-qat", "int8-weight", "int4-weight", "fp8"
]
Runtime: TypeAlias = Literal["torch", "onnx", "litert", "openvino", "executorch"]
Granularity: TypeAlias = Literal["tensor", "channel", "group"]

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

# The formats that a scheme can be had in, the best first.
GOES: Mapping[Scheme, tuple[Runtime, ...]] = {
    "int8-static": ("onnx", "openvino", "litert", "executorch"),
    "int8-dynamic": ("onnx", "litert", "executorch", "torch"),
    "int8-qat": ("onnx",),
    "int8-weight": ("openvino", "onnx", "litert", "torch"),
    "int4-weight": ("litert", "openvino", "onnx", "executorch"),
    "fp8": ("torch",),
}
WHY_NOT: Mapping[tuple[Scheme, Runtime], str] = {
    ("int8-static", "torch"): "torchao has no kernels for it on a CPU",
    ("int8-dynamic", "openvino"): "OpenVINO quantizes activations by ranges that were calibrated",
    ("int8-weight", "executorch"): "XNNPACK multiplies 8-bit weights by 8-bit activations alone",
    ("int4-weight", "torch"): "what torchao stores as int4 takes a byte for each weight on a CPU",
    ("fp8", "onnx"): "no kernels of ONNX Runtime for CPUs take it",
    ("fp8", "openvino"): "no CPU computes in it",
    ("fp8", "litert"): "LiteRT has no such numbers",
    ("fp8", "executorch"): "XNNPACK has no such numbers",
}
# Tried where the scheme is left open: 8 bit, at once, and fast.
TRIED: tuple[Scheme, ...] = ("int8-static", "int8-dynamic")
# Where it is not channel. LiteRT has groups for few operators: of others it stores int4 in a byte.
GRANULARITY: Mapping[tuple[Scheme, Runtime], Granularity] = {
    ("int8-weight", "onnx"): "group",
    ("int4-weight", "onnx"): "group",
    ("int4-weight", "openvino"): "group",
}
# Of these, a weight is stored and activations stay in float.
WEIGHT_ONLY: tuple[Scheme, ...] = ("int8-weight", "int4-weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """A scheme in a runtime: one thing to try."""

    runtime: Runtime
    scheme: Scheme

    @property
    def name(self) -> str:
        """As it is called in metrics: ``onnx-int8-static``."""
        return f"{self.runtime}-{self.scheme}"

    def __str__(self) -> str:
        return f"{self.runtime} {self.scheme}"


def choices(
    scheme: Scheme | Literal["auto"],
    runtime: Runtime | Literal["auto"],
    *,
    task: str = "classification",
) -> list[Choice]:
    """What there is to try for a model of this ``task``, the most promising first.

    Embeddings are to stay as they were, and what rounds weights alone keeps them best. What stays
    in PyTorch is tried where it is asked for: its kernels for a CPU are slow.
    """
    if scheme != "auto":
        schemes: tuple[Scheme, ...] = (scheme,)
    else:
        by_weights = runtime == "torch" or task == "embedding"
        schemes = (*TRIED, "int8-weight") if by_weights else TRIED
    found = [
        Choice(runtime=each, scheme=one)
        for one in schemes
        for each in GOES[one]
        if runtime in ("auto", each)
    ]
    others = [each for each in found if each.runtime != "torch"]
    return others if runtime == "auto" and others else found


def misfit(scheme: Scheme | Literal["auto"], runtime: Runtime | Literal["auto"]) -> str | None:
    """Why the two don't go together and what does; None if they do."""
    if scheme == "auto" or runtime == "auto" or runtime in GOES[scheme]:
        return None
    reason = WHY_NOT.get((scheme, runtime))
    others = [name for name in SCHEMES if runtime in GOES[name]]
    return (
        f"scheme {scheme} is not to be had with runtime {runtime}"
        f"{f': {reason}' if reason else ''}; expected runtime {_or(GOES[scheme])}, "
        f"or of runtime {runtime} the scheme {_or(others)}"
    )


def _or(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
