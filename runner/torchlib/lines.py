"""Which line of a model's code something comes from: an operator of its graph, or an error."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import torch
from torch import fx

from runner.torchlib import models

_OWN = Path(__file__).parent
_MODELS = Path(str(models.__file__)).parent
_FOREIGN = (
    Path(torch.__file__).parent,
    *(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")),
    # What calls a model is no model.
    _OWN.parent,
)
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)(?:\n +([^\n]+))?')
_OPERATOR = re.compile(r"\b(aten|prims)(?:\.|::)(\w+)")


def line_of(node: fx.Node) -> str:
    """'net.py:12 in forward: x = x.sort()', or nothing where the graph does not say."""
    return _last(_FRAME.findall(str(node.meta.get("stack_trace") or "")))


def line_in(text: str) -> str:
    """As ``line_of``, for a text that holds lines of a traceback."""
    return _last(_FRAME.findall(text))


def line_of_error(error: BaseException) -> str:
    """The line of a model's code at which ``error``, or what caused it, was raised."""
    for each in _chain(error):
        found = _last(_frames(each.__traceback__)) or line_in(str(each))
        if found:
            return found
    return ""


def lines_of_operators(graph: fx.Graph, text: str) -> str:
    """Which lines make the operators that ``text`` names, as aten.sort.default or aten::sort.

    What PyTorch makes an operator into counts as its name: prims.bessel_j0 of special_bessel_j0.
    Each operator with its lines, in the graph's order; empty where no node of the graph is one.
    """
    named = set(_OPERATOR.findall(text))
    found: dict[str, dict[str, None]] = {}
    for node in graph.nodes:
        for _, each in _OPERATOR.findall(f"{node.target}") if node.op == "call_function" else []:
            if ("aten", each) in named or any(
                dialect == "prims" and each.endswith(name) for dialect, name in named
            ):
                where = line_of(node)
                found.setdefault(f"aten.{each}", {}).update({where: None} if where else {})
    return "; ".join(
        f"{name} at {', '.join(lines)}" if lines else name for name, lines in found.items()
    )


def lines_of_modules(graph: fx.Graph) -> dict[str, str]:
    """The line at which each module of a model is called, by the module's name."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op == "call_function" and (where := line_of(node)):
            found.setdefault(module_of(node), where)
    return found


def reason(error: BaseException) -> str:
    """What an exception of a library says, in one line of a bearable length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}" if text else type(error).__name__


def module_of(node: fx.Node) -> str:
    """The name of the module that a node of an exported graph comes from: ``blocks.0.attention``.

    Empty for the model itself.
    """
    stack = [name for name, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return _plain(str(stack[-1])) if stack else ""


def _plain(name: str) -> str:
    """Of the names that torch.export gives to modules, with ``strict`` or without."""
    found = re.sub(r"\[['\"]?([^\]'\"]+)['\"]?\]", r".\1", name)
    found = re.sub(r"^L?\.?self\.?|\._?modules(?=\.|$)|@\d+$", "", found)
    return "" if found.startswith("_empty_nn_module_stack") else found.strip(".")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _frames(trace: TracebackType | None) -> list[tuple[str, str, str, str]]:
    import linecache

    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        source = linecache.getline(code.co_filename, trace.tb_lineno).strip()
        found.append((code.co_filename, str(trace.tb_lineno), code.co_name, source))
        trace = trace.tb_next
    return found


def _last(frames: list[tuple[str, str, str, str]]) -> str:
    """The innermost of the frames that is a model's code."""
    for file, line, function, source in reversed(frames):
        if _is_a_models(Path(file)):
            return f"{Path(file).name}:{line} in {function}" + (f": {source}" if source else "")
    return ""


def _is_a_models(file: Path) -> bool:
    if not file.is_absolute():  # '<string>' and the like
        return False
    return file.is_relative_to(_MODELS) or not any(file.is_relative_to(each) for each in _FOREIGN)
