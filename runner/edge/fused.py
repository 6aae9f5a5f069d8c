"""What ONNX Runtime and OpenVINO fuse of a model, read out of the graphs that they run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.data.fusion import Fusion
from runner.errors import TaskError

_IDLE = ("Constant", "Identity", "Cast")


def optimise_onnx(path: Path, *, threads: int) -> list[Fusion]:
    """Rewrites an ONNX file as ONNX Runtime has fused it, and tells what it has.

    The file holds what runs on any machine (level EXTENDED), with operators of ONNX Runtime's own;
    the layout for this machine's vectors is chosen when it is loaded. Raises TaskError if the
    runtime refuses it.
    """
    import onnx
    import onnxruntime

    before = onnx.load(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
    made = path.with_suffix(".optimised.onnx")
    options.optimized_model_filepath = str(made)
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base of their own
        raise TaskError(
            f"ONNX Runtime can't optimise {path.name}: {' '.join(str(error).split())[:400]}",
            hint="choose another compiler",
        ) from error
    after = onnx.load(made)
    made.replace(path)
    return _absorbed(before.graph, after.graph)


def _absorbed(before: Any, after: Any) -> list[Fusion]:
    """For each node of the graph after, which nodes of the one before it stands for, if several."""
    makers = {output: node for node in before.node for output in node.output}
    kept = {output for node in after.node for output in node.output}
    found = []
    for node in after.node:
        stood_for: dict[str, Any] = {}
        # Back from what it gives to what others give.
        ends = kept - set(node.output)
        waiting = [makers[output] for output in node.output if output in makers]
        while waiting:
            each = waiting.pop()
            stood_for[each.output[0]] = each
            waiting += [
                makers[name]
                for name in each.input
                if name in makers and name not in ends and makers[name].output[0] not in stood_for
            ]
        nodes = [each for each in before.node if each.output[0] in stood_for]
        nodes = [each for each in nodes if each.op_type not in _IDLE]
        if len(nodes) > 1:
            modules = (each.name.rpartition("/")[0] for each in nodes)
            found.append(
                Fusion(
                    operators=tuple(each.op_type for each in nodes),
                    modules=tuple(dict.fromkeys(filter(None, modules))),
                )
            )
    return found


def fused_by_openvino(
    path: Path, modules: Mapping[str, tuple[str, ...]], *, threads: int
) -> list[Fusion]:
    """What OpenVINO computes at once of the model in ``path`` (.xml) on this CPU.

    ``modules`` are those of the model by operator, in the order of the graph: conv2d, relu. Raises
    TaskError if the runtime refuses the file.
    """
    from runner.edge.runtimes.openvino import compiled

    model, runs = compiled(path, threads=threads)
    known = _by_name(model, modules)
    found = []
    for each in runs.get_runtime_model().get_ordered_ops():
        names = each.get_rt_info()["originalLayersNames"].astype(str).split(",")
        operators = dict.fromkeys(part for name in names if (part := _part(name)) is not None)
        if len(operators) > 1:
            where = (known.get(name, "") for name, _ in operators)
            found.append(
                Fusion(
                    operators=tuple(operator for _, operator in operators),
                    modules=tuple(dict.fromkeys(filter(None, where))),
                )
            )
    return found


def _part(name: str) -> tuple[str, str] | None:
    """Of 'relu_2/aten.relu.default/Relu' the node's name and its operator, relu."""
    found = re.match(r"([^/]+)/aten\.(\w+)\.", name)
    return None if found is None else (found[1], found[2])


def _by_name(model: Any, modules: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The module of each operator by the name that OpenVINO's converter has given it.

    It numbers those of a sort: relu, relu_1, relu_2. Where it has made more or fewer than the model
    has, their names say nothing.
    """
    parts = {_part(node.get_friendly_name()) for node in model.get_ordered_ops()}
    counts = Counter(part[1].strip("_") for part in parts if part is not None)
    return {
        name if not index else f"{name}_{index}": module
        for name, found in modules.items()
        if counts[name] == len(found)
        for index, module in enumerate(found)
    }
