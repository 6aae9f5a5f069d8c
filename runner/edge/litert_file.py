"""What a LiteRT file (.tflite) holds, read from the file itself: operators, tensors, numbers."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from runner.data.extras import need
from runner.edge.targets import Operator
from runner.errors import TaskError

# The numbers that a full-integer model computes in: int32 are biases and shapes.
INTEGERS = frozenset({"int8", "uint8", "int32"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """A tensor of the file. In ``shape``, a length that is left open is -1."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LiteRTFile:
    """All operators of the file, by name and version; all its tensors; those it takes and gives."""

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def dtypes(self) -> Mapping[str, int]:
        """How many tensors there are in which numbers."""
        return Counter(tensor.dtype for tensor in self.tensors)


def read(path: Path) -> LiteRTFile:
    """What the file holds. Raises TaskError if it is none, or the package LiteRT is missing."""
    need("ai_edge_litert", package="ai-edge-litert", extra="edge", what=path.name)
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    try:
        if not schema.Model.ModelBufferHasIdentifier(content, 0):
            raise ValueError("it does not begin as one")
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        graphs = model.subgraphs
        tensors = [[_tensor(each) for each in graph.tensors] for graph in graphs]
        counts = Counter(
            _operator(model.operatorCodes[each.opcodeIndex])
            for graph in graphs
            for each in graph.operators
        )
        first = tensors[0]
        return LiteRTFile(
            operators=tuple(
                Operator(name=name, version=version, count=count)
                for (name, version), count in counts.items()
            ),
            tensors=tuple(tensor for graph in tensors for tensor in graph),
            inputs=tuple(first[index] for index in graphs[0].inputs),
            outputs=tuple(first[index] for index in graphs[0].outputs),
        )
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, struct.error) as error:
        raise TaskError(f"{path} is no LiteRT file: {error}", hint="make the file again") from error


def check_full_integer(file: LiteRTFile) -> None:
    """Raises TaskError unless the model computes in integers alone and its shapes are fixed.

    Its inputs and outputs are then int8 or uint8: the form that integer-only devices take.
    """
    for what, tensors in (("inputs", file.inputs), ("outputs", file.outputs)):
        for tensor in tensors:
            if tensor.dtype not in ("int8", "uint8"):
                raise TaskError(
                    f"the model's {what} are {tensor.dtype}, and a full-integer one has int8",
                    hint="take a model whose inputs are numbers that can be quantized",
                )
    others = [each for each in file.tensors if each.dtype not in INTEGERS]
    if others:
        raise TaskError(
            f"{len(others)} of the model's {len(file.tensors)} tensors are not integers but "
            f"{' and '.join(sorted({each.dtype for each in others}))}, such as {others[0].name}: "
            "LiteRT has an operator of it for these only",
            hint="take a model without such operators: convolutions, linear layers, ReLU and "
            "pooling, as mlp and convnet are made of, can all be had in int8",
        )
    if any(-1 in tensor.shape for tensor in file.tensors):
        raise TaskError("shapes of the full-integer model are left open; expected fixed ones")


def _tensor(found: Any) -> Tensor:
    lengths = found.shape if found.shapeSignature is None else found.shapeSignature
    return Tensor(
        name=found.name.decode(),
        dtype=_names("TensorType")[found.type].lower(),
        shape=() if lengths is None else tuple(int(length) for length in lengths),
    )


def _operator(code: Any) -> tuple[str, int]:
    # Files for old readers have codes up to 127 in the deprecated field alone.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _names("BuiltinOperator")[number]
    return (code.customCode.decode() if name == "CUSTOM" else name), code.version


@cache
def _names(enumeration: str) -> dict[int, str]:
    """The names of an enumeration of the schema, such as CONV_2D for 3."""
    from ai_edge_litert import schema_py_generated as schema

    values = vars(getattr(schema, enumeration))
    return {value: name for name, value in values.items() if isinstance(value, int)}
