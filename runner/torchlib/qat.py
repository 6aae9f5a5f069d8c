"""Training that knows of its quantization: rounding in the forward pass, gradients past it.

Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic
-only inference", section 3, by torchao's PT2E: weights in 8 bit by channel, activations in 8 bit.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim

from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.exporting import samples
from runner.torchlib.lines import line_of_error, reason
from runner.torchlib.to_onnx import write_program

if TYPE_CHECKING:
    from runner.data.classes import Array

_TRIED_ROWS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What such a training came to: ``file``, the layers left in float in it, and the weights."""

    file: Path
    floats: tuple[str, ...]
    state: dict[str, Tensor]


def prepared(loaded: LoadedModel, *, floats: Iterable[str] = ()) -> nn.Module:
    """The model as a graph that rounds what it multiplies; it can be trained like the model.

    Batch norm is folded into convolutions in the forward pass. Layers called as in ``floats`` stay
    as they are. Raises TaskError if no graph can be made of the model.
    """
    need("torchao", package="torchao", extra="fp8", what="scheme int8-qat")
    with _quiet():
        from torchao.quantization.pt2e import allow_exported_model_train_eval
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

        loaded.model.train()
        try:
            graph = _graph(loaded)
        finally:
            loaded.model.eval()
        model: nn.Module = prepare_qat_pt2e(graph, _quantizer(floats, is_qat=True))
        allow_exported_model_train_eval(model)
        return model


def rounded_again(
    loaded: LoadedModel, trained: Trained, given: Array, *, floats: Iterable[str]
) -> nn.Module:
    """The trained weights with more layers in float, ready for ``write_trained``.

    Ranges are found anew, by the samples ``given``: beside layers in float they are others.
    """
    with _quiet():
        from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

        model = copy.deepcopy(loaded.model)
        model.load_state_dict(trained.state)
        graph = _graph(replace(loaded, model=model))
        rounded: nn.Module = prepare_pt2e(graph, _quantizer(floats, is_qat=False))
        with torch.no_grad():
            rounded(torch.from_numpy(given))
        return rounded


def _graph(loaded: LoadedModel) -> nn.Module:
    """The model as it is now, in training or not, for any number of rows."""
    try:
        program = torch.export.export(
            loaded.model,
            (samples(loaded, _TRIED_ROWS),),
            dynamic_shapes=({0: Dim("rows", min=1)},),
        )
    except Exception as error:
        where = line_of_error(error)
        raise TaskError(
            f"torch.export can't make a graph for training of the {loaded.spec}"
            f"{f', because of {where}' if where else ''}: {reason(error)}",
            hint="take a scheme that needs no training, such as int8-static",
        ) from error
    return program.module()


def _quantizer(floats: Iterable[str], *, is_qat: bool) -> Any:
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    class Quantizer(x86.X86InductorQuantizer):  # type: ignore[misc]
        """Says of what stays in float that it does so.

        Where that is a convolution before batch norm of which nothing is said, torchao 0.18 fails.
        """

        def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
            marked: fx.GraphModule = super().annotate(model)
            for node in marked.graph.nodes:
                said = node.meta.get("quantization_annotation")
                if said is not None and not said.input_qspec_map and "conv" in str(node.target):
                    said.input_qspec_map = dict.fromkeys(node.args[:2])
            return marked

    quantizer = Quantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=is_qat))
    for name in floats:
        quantizer.set_module_name_qconfig(name, None)
    return quantizer


def write_trained(
    model: nn.Module, loaded: LoadedModel, path: Path, *, batch_size: int | None = None
) -> None:
    """Writes what ``prepared`` made, once it is trained, as an ONNX file in 8-bit integers.

    Without a ``batch_size`` that takes any number of rows.
    """
    with _quiet():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        converted = convert_pt2e(model.cpu())
        program = torch.export.export(
            converted,
            (samples(loaded, batch_size or _TRIED_ROWS),),
            dynamic_shapes=None if batch_size else ({0: Dim("rows", min=1)},),
        )
        write_program(program, path, what=str(loaded.spec))


def float_state(model: nn.Module, loaded: LoadedModel) -> dict[str, Tensor]:
    """The weights of what ``prepared`` made, under the model's own names."""
    own = loaded.model.state_dict()
    return {name: v.detach().clone() for name, v in model.state_dict().items() if name in own}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torchao's search for kernels of GPUs, and its warnings of its own use of PyTorch."""
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
