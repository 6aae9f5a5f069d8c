"""What Inductor has fused, read out of the C++ that it leaves in its package."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from torch import fx
from torch.export import ExportedProgram

from runner.data.fusion import Fusion
from runner.torchlib.lines import module_of

# A call of a oneDNN kernel; what it does to the result before it is written, such as relu or add,
# comes in quotes. The comment before it names the nodes of the graph, the last of which it gives.
_KERNEL = re.compile(r"aoti_torch_cpu_(?:mkldnn_)?_(linear|convolution)_pointwise(?:_binary)?\(")
_AFTER = re.compile(r'"(\w+)"')
_SOURCES = re.compile(r"// Topologically Sorted Source Nodes: \[([^\]]*)\]")
# A loop over what lies between the kernels, named after the operators in it, and a number.
_LOOP = re.compile(r"^\s+cpp_fused_(\w+)_\d+\(\(", re.MULTILINE)
# A dropout that does nothing, and a reshape, may lie between a layer and what follows it.
_NEAR = 4
# Operators that move nothing: a loop over one other is no fusion.
_VIEWS = frozenset(
    ["view", "reshape", "transpose", "permute", "select", "slice", "expand", "unsqueeze", "squeeze",
     "_unsafe_view", "clone", "t", "flatten", "contiguous", "unbind"]
)  # fmt: skip


def fusions_in(package: Path, program: ExportedProgram) -> list[Fusion]:
    """What a package for a CPU that was made of ``program`` computes in one kernel or loop."""
    with zipfile.ZipFile(package) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".wrapper.cpp")]
        code = archive.read(name).decode()
    return [*_kernels(code, program), *_loops(code, program)]


def _kernels(code: str, program: ExportedProgram) -> Iterable[Fusion]:
    nodes = {node.name: node for node in program.graph.nodes}
    given = None
    for line in code.splitlines():
        if comment := _SOURCES.search(line):
            given = nodes.get(comment[1].rpartition(",")[2].strip())
        kernel = _KERNEL.search(line)
        after = _AFTER.findall(line[kernel.end() :]) if kernel else []
        after = [each for each in after if each != "none"]
        if kernel is None or not after:
            continue
        places = [] if given is None else [_layer_before(given, kernel[1]), given]
        modules = (module_of(each) for each in places if each is not None)
        yield Fusion(
            operators=(kernel[1], *after), modules=tuple(dict.fromkeys(filter(None, modules)))
        )


def _layer_before(node: fx.Node, sort: str) -> fx.Node | None:
    """The nearest layer, linear or convolution, whose output goes into ``node``."""
    wanted = "linear" if sort == "linear" else "conv"
    level = [node]
    for _ in range(_NEAR):
        level = [each for one in level for each in one.all_input_nodes]
        for each in level:
            if str(each.target).startswith(f"aten.{wanted}"):
                return each
    return None


def _loops(code: str, program: ExportedProgram) -> Iterable[Fusion]:
    decomposed = program.run_decompositions()
    known = {
        str(node.target).split(".")[1]
        for node in decomposed.graph.nodes
        if node.op == "call_function" and str(node.target).startswith("aten.")
    }
    for name in _LOOP.findall(code):
        operators = _split(name, known)
        if sum(each not in _VIEWS for each in operators) > 1:
            yield Fusion(operators=operators, modules=())


def _split(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """The operators whose names, some with underlines of their own, a name is joined of."""
    found = []
    while name:
        fits = [each for each in known if name == each or name.startswith(f"{each}_")]
        word = max(fits, key=len, default=name.partition("_")[0])
        found.append(word)
        name = name[len(word) + 1 :]
    return tuple(found)
