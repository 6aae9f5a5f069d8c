"""ExecuTorch files quantized as XNNPACK computes, by torchao's PT2E."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import fx

from runner.data.calibration import full_batches
from runner.data.classes import Array
from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.exporting import exported
from runner.torchlib.lines import module_of, reason
from runner.torchlib.to_executorch import write_executorch

_HINT = "take another runtime or scheme, or leave the layer out by 'ignore'"
# Of weights of 4 bit, as XNNPACK knows them by.
_LEAST_INT4, _MOST_INT4 = -8, 7
# As ExecuTorch's quantizer has it for channels.
_LEAST_SCALE = 2**-12
_GROUPS = 32
_ANNOTATION = "quantization_annotation"


class Quantizable:
    """A model as a graph of one batch size, which can be written in integers for ExecuTorch.

    Raises TaskError if the package is missing, or no graph can be made of the model.
    """

    def __init__(self, loaded: LoadedModel, *, batch_size: int = 1) -> None:
        need("executorch", package="executorch", extra="executorch", what="a model for ExecuTorch")
        self._what = str(loaded.spec)
        self._rows = batch_size
        self._program = exported(loaded, batch_size=batch_size)

    def write(
        self,
        path: Path,
        samples: Array,
        *,
        scheme: str,
        granularity: str = "channel",
        group_size: int | None = None,
        floats: Collection[str] = (),
    ) -> None:
        """Writes the model to ``path``, quantized as ``scheme`` says.

        int8-static   8-bit weights, with a scale for each ``granularity`` (channel or tensor), and
                      activations, with ranges as ``samples`` (rows, *input_shape) show them
        int8-dynamic  8-bit weights of linear layers and of 2-D convolutions but depthwise ones;
                      activations are quantized at each call
        int4-weight   as int8-dynamic, but linear layers have weights of 4 bit, with a scale for
                      each channel or, by ``granularity`` group, for so many in a row of one

        Modules called as in ``floats`` stay as they are. Beside it lies what ``write_executorch``
        leaves there. Raises TaskError if torchao, ExecuTorch or XNNPACK refuses, or there is
        nothing to quantize.
        """
        group = group_size if granularity == "group" else None
        if scheme == "int4-weight":
            self._check_int4(group, floats)
        batches = [torch.from_numpy(each) for each in full_batches(samples, self._rows)]
        with _told(scheme, self._what):
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

            quantizer = _quantizer(scheme, floats, granularity=granularity, group=group)
            model = prepare_pt2e(self._program.module(), quantizer)
            if not any(_is_quantized(node) for node in model.graph.nodes):
                raise TaskError(f"nothing of the {self._what} can be made {scheme}", hint=_HINT)
            # Weights are looked at in a call, too, and activations at each.
            shown = batches if scheme == "int8-static" else batches[:1]
            with torch.no_grad():
                for batch in shown:
                    model(batch)
                made = torch.export.export(convert_pt2e(model), (batches[0],))
        write_executorch(made, path, what=self._what, hint=_HINT)

    def layers(self, scheme: str) -> list[str]:
        """The modules that ``write`` would quantize, in the graph's order."""
        with _told(scheme, self._what):
            quantizer = _quantizer(scheme)
            model = quantizer.transform_for_annotation(self._program.module())
            quantizer.annotate(model)
            found = [module_of(node) for node in model.graph.nodes if _is_quantized(node)]
            return list(dict.fromkeys(found))

    def _check_int4(self, group: int | None, floats: Collection[str]) -> None:
        nodes = [node for node in self._program.graph.nodes if _is_linear(node)]
        if not nodes:
            raise TaskError(
                f"the {self._what} has no linear layers, and XNNPACK takes no others in 4 bit",
                hint="take int8-dynamic or int8-static, or another runtime",
            )
        if group is None:
            return
        if group % _GROUPS:
            raise TaskError(
                f"XNNPACK stores weights in groups of {_GROUPS} or a multiple, and {group} is "
                "asked for",
                hint=f"take a group_size of {_GROUPS} or {2 * _GROUPS}, or leave granularity out",
            )
        inputs = {module_of(node): node.args[0].meta["val"].shape[-1] for node in nodes}
        uneven = {
            name: count for name, count in inputs.items() if count % group and name not in floats
        }
        if uneven:
            told = ", ".join(f"{name} ({count})" for name, count in uneven.items())
            raise TaskError(
                f"groups of {group} weights do not divide the inputs of {told}",
                hint=f"name these in 'ignore', take a group_size of {_GROUPS}, or leave "
                "granularity out",
            )


def _quantizer(
    scheme: str,
    floats: Collection[str] = (),
    *,
    granularity: str = "channel",
    group: int | None = None,
) -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation

    def is_to_be(node: fx.Node) -> bool:
        # Weights come with the operators that they are for.
        return node.op != "call_function" or module_of(node) not in floats

    config = get_symmetric_quantization_config(
        is_per_channel=granularity != "tensor", is_dynamic=scheme != "int8-static"
    )

    class Quantizer(XNNPACKQuantizer):  # type: ignore[misc]
        """Which also takes, with ranges found at each call, convolutions before a ReLU."""

        def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
            if scheme != "int8-static":
                for node in model.graph.nodes:
                    if _is_taken_by_call(node) and is_to_be(node):
                        inputs, weight = node.args[:2]
                        node.meta[_ANNOTATION] = QuantizationAnnotation(
                            input_qspec_map={
                                inputs: config.input_activation,
                                weight: config.weight,
                            },
                            _annotated=True,
                        )
                        weight.meta[_ANNOTATION] = QuantizationAnnotation(_annotated=True)
            made: fx.GraphModule = super().annotate(model)
            return made

    quantizer = Quantizer().set_filter_function(is_to_be)
    if scheme == "int4-weight":
        quantizer.set_operator_type(torch.ops.aten.linear.default, _int4(group))
    return quantizer.set_global(config)


def _int4(group: int | None) -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e import MappingType, PerGroup
    from torchao.quantization.pt2e._affine_quantization import AffineQuantizedMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

    config = get_symmetric_quantization_config(
        is_per_channel=True, is_dynamic=True, weight_qmin=_LEAST_INT4, weight_qmax=_MOST_INT4
    )
    if group is None:
        return config
    in_groups = AffineQuantizedMinMaxObserver.with_args(
        mapping_type=MappingType.SYMMETRIC,
        target_dtype=torch.int8,
        granularity=PerGroup(group),
        scale_dtype=torch.float32,
        zero_point_dtype=torch.int32,
        eps=_LEAST_SCALE,
    )
    weight = QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=in_groups,
        quant_min=_LEAST_INT4,
        quant_max=_MOST_INT4,
    )
    return replace(config, weight=weight)


def _is_taken_by_call(node: fx.Node) -> bool:
    """Whether it is a convolution that XNNPACK takes with activations quantized at each call."""
    if node.target not in (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding):
        return False
    weight = node.args[1]
    # With one input for each group it is depthwise.
    return isinstance(weight, fx.Node) and weight.meta["val"].shape[1] > 1


def _is_linear(node: fx.Node) -> bool:
    return node.target is torch.ops.aten.linear.default


def _is_quantized(node: fx.Node) -> bool:
    """Whether it computes in integers, and does not only hand on what another one gave it."""
    from torchao.quantization.pt2e.quantizer import SharedQuantizationSpec

    found = node.meta.get(_ANNOTATION) if node.op == "call_function" else None
    specs = [] if found is None else [each for each in found.input_qspec_map.values() if each]
    return any(not isinstance(each, SharedQuantizationSpec) for each in specs)


@contextmanager
def _told(scheme: str, what: str) -> Iterator[None]:
    """What torchao raises as TaskError; without its warnings of its own use of PyTorch."""
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except TaskError:
        raise
    except Exception as error:  # of torch.export, of assertions and of whatever a model raises
        raise TaskError(
            f"torchao can't make {scheme} of the {what} for XNNPACK: {reason(error)}", hint=_HINT
        ) from error
    finally:
        logging.disable(level)
