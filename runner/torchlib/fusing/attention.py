"""Attention written out as products and a softmax, made into the one operator that PyTorch has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from runner.data.fusion import Fusion
from runner.torchlib.lines import module_of

_ATEN = torch.ops.aten
_PRODUCTS = (_ATEN.matmul.default, _ATEN.bmm.default)
_SOFTMAX = (_ATEN.softmax.int, _ATEN._softmax.default)
_IDLE = (_ATEN.dropout.default, _ATEN.clone.default, _ATEN.contiguous.default)
_SCALED = {_ATEN.mul.Tensor: lambda by: by, _ATEN.div.Tensor: lambda by: 1.0 / by}
_SDPA = _ATEN.scaled_dot_product_attention.default


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attention:
    """The nodes of one: ``last`` gives softmax(scale q k^T + mask) v.

    ``passed`` lie between the softmax and that, the last first, and change nothing.
    """

    last: fx.Node
    passed: tuple[fx.Node, ...]
    query: fx.Node
    key: fx.Node
    value: fx.Node
    mask: fx.Node | None
    scale: float


def fuse_attention(program: ExportedProgram) -> list[Fusion]:
    """Replaces softmax(s q k^T + m) v (Vaswani et al. 2017, equation 1) by PyTorch's attention.

    Changes ``program``. q, k and v are of four axes, (samples, heads, positions, features); s is a
    number, m an optional mask of numbers that are added. What others use of the way there, such as
    the weights of attention, is left as it is.
    """
    found = []
    for node in list(program.graph.nodes):
        attention = _attention(node)
        if attention is None:
            continue
        with program.graph.inserting_after(attention.last):
            fused = program.graph.call_function(
                _SDPA,
                (attention.query, attention.key, attention.value, attention.mask),
                {"scale": attention.scale},
            )
        fused.meta = dict(attention.last.meta)
        attention.last.replace_all_uses_with(fused)
        # A dropout is random in the eyes of whoever clears up, and would stay.
        for each in (attention.last, *attention.passed):
            program.graph.erase_node(each)
        modules = tuple(filter(None, (module_of(attention.last),)))
        found.append(
            Fusion(operators=("product", "softmax", "product", "as attention"), modules=modules)
        )
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return found


def _attention(last: Any) -> _Attention | None:
    if last.op != "call_function" or last.target not in _PRODUCTS:
        return None
    weights, value = last.args[:2]
    passed = _passed(weights)
    softmax = passed[-1].args[0] if passed else weights
    if not _is_alone(softmax, _SOFTMAX) or softmax.args[1] not in (
        -1,
        softmax.meta["val"].ndim - 1,
    ):
        return None
    scores, mask = softmax.args[0], None
    if _is_alone(scores, (_ATEN.add.Tensor,)) and not scores.kwargs:
        scores, mask = scores.args
        if not isinstance(mask, fx.Node):
            return None
    scale = 1.0
    if _is_alone(scores, tuple(_SCALED)) and isinstance(scores.args[1], int | float):
        scale = float(_SCALED[scores.target](scores.args[1]))
        scores = scores.args[0]
    if not _is_alone(scores, _PRODUCTS):
        return None
    query, turned = scores.args[:2]
    key = _turned_back(turned)
    if key is None or any(part.meta["val"].ndim != 4 for part in (query, key, value)):
        return None
    return _Attention(
        last=last, passed=passed, query=query, key=key, value=value, mask=mask, scale=scale
    )


def _passed(node: Any) -> tuple[Any, ...]:
    """Operators that change nothing, and of which nobody else uses the outputs, back from one."""
    found = []
    while _is_alone(node, _IDLE) and (node.target is not _ATEN.dropout.default or not node.args[2]):
        found.append(node)
        node = node.args[0]
    return tuple(found)


def _is_alone(node: Any, targets: tuple[Any, ...]) -> bool:
    """Whether it is one of these operators, whose output goes to one place."""
    is_one = isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets
    return is_one and len(node.users) == 1


def _turned_back(node: Any) -> fx.Node | None:
    """The keys of which ``node`` has the last two axes exchanged."""
    if not isinstance(node, fx.Node):
        return None
    arguments: Any = node.args
    axes = node.meta["val"].ndim
    if node.target is _ATEN.transpose.int:
        turned = {axis % axes for axis in arguments[1:]}
    elif node.target is _ATEN.permute.default:
        order = [axis % axes for axis in arguments[1]]
        turned = {axis for axis, old in enumerate(order) if axis != old}
    else:
        return None
    key: fx.Node = arguments[0]
    return key if turned == {axes - 2, axes - 1} else None
