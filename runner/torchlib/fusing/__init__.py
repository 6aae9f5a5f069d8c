"""Operators of a graph made into fewer that compute the same: in the graph itself, by compilers."""

from __future__ import annotations

import re

from torch.export import ExportedProgram

from runner.data.fusion import Fusion
from runner.torchlib.lines import module_of


def fuse_graph(program: ExportedProgram) -> list[Fusion]:
    """What can be fused in the graph itself, whatever compiles it. Changes ``program``."""
    from runner.torchlib.fusing.attention import fuse_attention
    from runner.torchlib.fusing.folding import fold_batch_norms

    return [*fold_batch_norms(program), *fuse_attention(program)]


def modules_by_operator(program: ExportedProgram) -> dict[str, tuple[str, ...]]:
    """The modules in which each operator occurs, in the graph's order: {'relu': ('1', '3')}.

    Operators go by their names in ATen's core, to which compilers reduce a graph first.
    """
    found: dict[str, tuple[str, ...]] = {}
    for node in program.graph.nodes:
        name = str(node.target)
        if node.op == "call_function" and name.startswith("aten."):
            operator = re.sub(r"^conv[123]d$", "convolution", name.split(".")[1].strip("_"))
            found[operator] = (*found.get(operator, ()), module_of(node))
    return found
