"""What a file that was made holds, beside what its platform takes: operators, numbers, opset.

ONNX, OpenVINO and LiteRT files are read; others hold what nobody here can tell.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.data.extras import need
from runner.edge import litert_file, opset
from runner.edge.platforms import Platform
from runner.edge.targets import Operator, check_operators
from runner.errors import TaskError

READ = ("onnx", "openvino", "litert")
# In OpenVINO's words, of the numbers that a platform may ask for.
_OPENVINO = {"f32": "float32", "f16": "float16", "i8": "int8", "u8": "uint8"}
_NO_OPERATORS = {"Parameter", "Result", "Const"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Operators of a file; the numbers that go in and come out; the opset, of an ONNX file."""

    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int | None = None


def read(path: Path, format: str, lines: Mapping[str, str] | None = None) -> Held:
    """What a file of one of the formats ``READ`` holds; ``lines`` are as in ``opset.operators``."""
    if format == "litert":
        found = litert_file.read(path)
        return Held(
            operators=found.operators,
            inputs=tuple(each.dtype for each in found.inputs),
            outputs=tuple(each.dtype for each in found.outputs),
        )
    return _openvino(path) if format == "openvino" else _onnx(path, lines or {})


def check(path: Path, platform: Platform, format: str, lines: Mapping[str, str]) -> None:
    """Raises TaskError unless ``platform`` takes what the file at ``path`` holds.

    Operators are known by their names in the first format of a platform, and of files in that.
    """
    if format not in READ:
        return
    found, rules = read(path, format, lines), platform.constraints
    if format == platform.formats[0]:
        check_operators(platform, found.operators)
    for what, dtypes in (("inputs", found.inputs), ("outputs", found.outputs)):
        wrong = sorted({each for each in dtypes if rules.io and each not in rules.io})
        if wrong:
            raise TaskError(
                f"the {what} of {path.name} are {' and '.join(wrong)}, and {platform.title} takes "
                f"{' or '.join(rules.io)}",
                hint="take another scheme, format or target; or, if the device converts them "
                "itself, mend 'io' among the constraints of its platform",
            )
    if rules.opset is not None and found.opset is not None and found.opset > rules.opset:
        raise TaskError(
            f"{path.name} needs opset {found.opset}, and {platform.title} takes {rules.opset} at "
            "most",
            hint="take another scheme, or another target",
        )


def _onnx(path: Path, lines: Mapping[str, str]) -> Held:
    need("onnx", package="onnx", extra="edge", what=path.name)
    import onnx

    model = onnx.load(path, load_external_data=False)
    constants = {each.name for each in model.graph.initializer}

    def numbers(value: onnx.ValueInfoProto) -> str:
        kind = value.type.tensor_type.elem_type
        return str(onnx.helper.tensor_dtype_to_np_dtype(kind))

    return Held(
        operators=tuple(opset.operators(path, lines)),
        inputs=tuple(numbers(each) for each in model.graph.input if each.name not in constants),
        outputs=tuple(numbers(each) for each in model.graph.output),
        opset=opset.opset_of(model),
    )


def _openvino(path: Path) -> Held:
    layers = ElementTree.parse(path).getroot().findall("./layers/layer")
    counts: Counter[tuple[str, int | None]] = Counter()
    for layer in layers:
        if layer.get("type") not in _NO_OPERATORS:
            version = layer.get("version", "").removeprefix("opset")
            counts[layer.get("type", ""), int(version) if version.isdecimal() else None] += 1

    def of(sort: str, where: str, key: str) -> tuple[str, ...]:
        found = [
            each.get(key, "").lower().replace("fp", "f")
            for layer in layers
            if layer.get("type") == sort
            for each in layer.findall(where)
        ]
        return tuple(_OPENVINO.get(each, each) for each in found)

    return Held(
        operators=tuple(
            Operator(name=name, version=version, count=count)
            for (name, version), count in sorted(counts.items(), key=str)
        ),
        inputs=of("Parameter", "data", "element_type"),
        outputs=of("Result", "input/port", "precision"),
    )
