"""An ONNX model at the opset that a target takes, where its exporter makes a newer one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.data.extras import need
from runner.edge.targets import Operator
from runner.errors import TaskError


def lower(path: Path, opset: int, lines: Mapping[str, str]) -> None:
    """Rewrites the ONNX file ``path`` so that it needs no newer opset than ``opset``.

    ONNX's own converter does it or, where that does not know an operator's older form, operators
    are written in the older form that says the same. Raises TaskError, with the operator, its
    module and the line of that in ``lines``, where there is none. ONNX's checker has accepted the
    result.
    """
    need("onnx", package="onnx", extra="edge", what=path.name)
    import onnx

    model = onnx.load(path)
    now = opset_of(model)
    if now <= opset:
        return
    changed = _converted(model, opset) or _rewritten(model, opset, lines)
    onnx.save_model(changed, str(path))


def opset_of(model: Any) -> int:
    """The opset of ONNX's own operators that a model needs."""
    return next(int(each.version) for each in model.opset_import if not _domain(each))


def operators(path: Path, lines: Mapping[str, str]) -> list[Operator]:
    """The operators of an ONNX file and how often each occurs, those inside loops and ifs too.

    The version of one is the opset that gave it the form which it has here. ``lines`` are those of
    the model's code by the names of its modules; the first counts.
    """
    need("onnx", package="onnx", extra="edge", what=path.name)
    import onnx

    found: dict[str, list[Any]] = {}
    model = onnx.load(path, load_external_data=False)
    opsets = {_domain(each): each.version for each in model.opset_import}
    for node in _nodes(model.graph):
        found.setdefault(node.op_type, []).append(node)
    return [
        Operator(
            name=name,
            version=_version(nodes[0], opsets),
            count=len(nodes),
            where=_where(nodes[0], lines),
        )
        for name, nodes in sorted(found.items())
    ]


def _domain(held: Any) -> str:
    """Of a node or an opset; ONNX's own goes by two names."""
    return "" if held.domain == "ai.onnx" else str(held.domain)


def _version(node: Any, opsets: Mapping[str, int]) -> int | None:
    """The opset in which ONNX's operator came to be what it is here; None for one of others."""
    import onnx

    domain = _domain(node)
    if not onnx.defs.has(node.op_type, domain=domain):
        return None
    schema = onnx.defs.get_schema(node.op_type, opsets[domain], domain)
    return int(schema.since_version)


def _where(node: Any, lines: Mapping[str, str]) -> str:
    """Module and line of the model's code, of a node that is called after its module."""
    module = str(node.name).rpartition("/")[0]
    return " at ".join(part for part in (module, lines.get(module, "")) if part)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _converted(model: Any, opset: int) -> Any | None:
    import onnx

    try:
        changed = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(changed, full_check=True)
    # It has no adapter, or one whose result is not valid.
    except (
        RuntimeError,
        onnx.version_converter.ConvertError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ):
        return None
    for old, new in zip(model.graph.node, changed.graph.node, strict=False):
        if old.output == new.output:
            new.name = old.name
    return changed


def _rewritten(model: Any, opset: int, lines: Mapping[str, str]) -> Any:
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    # Newer versions of the format itself come with newer opsets; what is in it stays the same.
    ids = [onnx.helper.make_opsetid("", opset)]
    needed = onnx.helper.find_min_ir_version_for(ids, ignore_unknown=True)
    changed.ir_version = min(changed.ir_version, needed)
    for each in changed.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = opset
    hint = (
        f"it is written at opset {opset_of(model)}; take an 'opset' or a target with that, or a "
        "model without it"
    )
    lacking = {
        node.op_type: f"{node.op_type} ({where})"
        if (where := _where(node, lines))
        else node.op_type
        for node in reversed(list(_nodes(changed.graph)))
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, opset)
    }
    if lacking:
        names = " and ".join(sorted(lacking.values()))
        raise TaskError(f"ONNX has no {names} at opset {opset} yet", hint=hint)
    _write_as_before(changed, opset)
    try:
        onnx.checker.check_model(changed, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        said = " ".join(str(error).split())[:400]
        raise TaskError(
            f"the model can't be written at opset {opset}: {said}", hint=hint
        ) from error
    return changed


def _write_as_before(model: Any, opset: int) -> None:
    """Writes in their older form what operators were given in a newer one, where both say the same.

    The changes are those of ONNX's own list (docs/Changelog.md): axes of reductions are an input
    since 18, num_outputs of Split is since 18, allowzero of Reshape since 14.
    """
    import onnx

    constants = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if opset < 18 and node.op_type.startswith("Reduce") and len(node.input) == 2:
            axes = constants.get(node.input[1])
            if axes is not None and axes.dims[0] and not _takes_axes(node.op_type, opset):
                values = onnx.numpy_helper.to_array(axes).tolist()
                node.attribute.append(onnx.helper.make_attribute("axes", values))
                _drop(node, "noop_with_empty_axes")
                del node.input[1]
        if opset < 18 and node.op_type == "Split" and len(node.input) == 1:
            _drop(node, "num_outputs")
        if opset < 14 and node.op_type == "Reshape":
            shape = constants.get(node.input[1])
            if shape is not None and 0 not in onnx.numpy_helper.to_array(shape):
                _drop(node, "allowzero")
    used = {name for node in _nodes(model.graph) for name in node.input}
    for name, each in constants.items():
        if name not in used:
            model.graph.initializer.remove(each)


def _takes_axes(operator: str, opset: int) -> bool:
    import onnx

    return len(onnx.defs.get_schema(operator, opset).inputs) > 1


def _drop(node: Any, attribute: str) -> None:
    for each in node.attribute:
        if each.name == attribute:
            node.attribute.remove(each)
            return
