"""Batch norm folded into the layer before it, in a graph of torch.export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.nn.utils.fusion import fuse_conv_bn_weights

from runner.data.fusion import Fusion
from runner.torchlib.lines import module_of

_ATEN = torch.ops.aten
_LAYERS = {
    _ATEN.conv1d.default: "convolution",
    _ATEN.conv2d.default: "convolution",
    _ATEN.conv3d.default: "convolution",
    _ATEN.linear.default: "linear",
}
# Of the arguments of aten.batch_norm.
_SCALE, _SHIFT, _MEAN, _VARIANCE, _IS_TRAINING, _EPS = 1, 2, 3, 4, 5, 7


def fold_batch_norms(program: ExportedProgram) -> list[Fusion]:
    """Folds each batch norm into the convolution or linear layer whose output is its alone.

    Changes ``program``. With weights w and bias b, y = (w x + b - mean) / sqrt(var + eps) * gamma
    + beta becomes w' x + b' (Jacob et al. 2018, section 3.2). A layer is left as it is whose
    weights others use as well, or that has nowhere to keep a bias.
    """
    found = []
    for node in list(program.graph.nodes):
        if node.op == "call_function" and node.target is _ATEN.batch_norm.default:
            layer = node.args[0]
            if _can_take(layer, node) and _fold(program, layer, node):
                found.append(
                    Fusion(
                        operators=(_LAYERS[layer.target], "batch norm"),
                        modules=tuple(filter(None, (module_of(layer), module_of(node)))),
                    )
                )
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return found


def _can_take(layer: Any, norm: fx.Node) -> bool:
    is_layer = isinstance(layer, fx.Node) and layer.target in _LAYERS
    if not is_layer or norm.args[_IS_TRAINING] or len(layer.users) > 1:
        return False
    # Over the features that a linear layer gives; of (samples, positions, features) it is not.
    is_linear = layer.target is _ATEN.linear.default
    return not is_linear or layer.meta["val"].ndim == 2


def _fold(program: ExportedProgram, layer: fx.Node, norm: Any) -> bool:
    weight: Any = layer.args[1]
    bias: Any = layer.args[2] if len(layer.args) > 2 else None
    scale, shift, mean, variance = (norm.args[each] for each in range(_SCALE, _VARIANCE + 1))
    # The new bias is kept where there was one: the layer's, or else the norm's shift.
    kept = bias if bias is not None else shift
    written = [each for each in (weight, kept) if isinstance(each, fx.Node)]
    if len(written) < 2 or any(len(each.users) > 1 for each in written):
        return False
    tensors = [_tensor(program, each) for each in (weight, bias, mean, variance, scale, shift)]
    old_weight, old_bias, its_mean, its_variance, its_scale, its_shift = tensors
    if old_weight is None or its_mean is None or its_variance is None:
        return False
    # For a linear layer, too: the output is the first axis of its weights.
    new_weight, new_bias = fuse_conv_bn_weights(
        torch.nn.Parameter(old_weight, requires_grad=False),
        None if old_bias is None else torch.nn.Parameter(old_bias, requires_grad=False),
        its_mean,
        its_variance,
        norm.args[_EPS],
        its_scale,
        its_shift,
    )
    _put(program, weight, new_weight)
    _put(program, kept, new_bias)
    layer.args = (layer.args[0], weight, kept, *layer.args[3:])
    norm.replace_all_uses_with(layer)
    program.graph.erase_node(norm)
    return True


def _name(program: ExportedProgram, node: fx.Node) -> str | None:
    signature = program.graph_signature
    name: str | None = signature.inputs_to_parameters.get(node.name)
    return name or signature.inputs_to_buffers.get(node.name)


def _tensor(program: ExportedProgram, node: Any) -> Tensor | None:
    name = _name(program, node) if isinstance(node, fx.Node) else None
    found: Tensor | None = None if name is None else program.state_dict.get(name)
    return None if found is None else found.detach()


def _put(program: ExportedProgram, node: fx.Node, tensor: Tensor) -> None:
    name = _name(program, node)
    assert name is not None
    is_parameter = isinstance(program.state_dict[name], torch.nn.Parameter)
    value = tensor.detach().clone()
    program.state_dict[name] = torch.nn.Parameter(value) if is_parameter else value
