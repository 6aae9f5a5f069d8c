"""Training that knows of its quantization: rounding in the forward pass, gradients past it.

Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic
-only inference", section 3, by torchao's PT2E: weights in 8 bit by channel, activations in 8 bit.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim

from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.exporting import samples
from runner.torchlib.lines import line_of_error, reason
from runner.torchlib.to_onnx import write_program

_TRIED_ROWS = 3


def prepared(loaded: LoadedModel, *, floats: Iterable[str] = ()) -> nn.Module:
    """The model as a graph that rounds what it multiplies; it can be trained like the model.

    Batch norm is folded into convolutions in the forward pass. Layers called as in ``floats`` stay
    as they are. Raises TaskError if no graph can be made of the model.
    """
    need("torchao", package="torchao", extra="fp8", what="scheme int8-qat")
    with _quiet():
        from torchao.quantization.pt2e import allow_exported_model_train_eval
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config(is_qat=True))
        for name in floats:
            quantizer.set_module_name_qconfig(name, None)
        loaded.model.train()
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
        finally:
            loaded.model.eval()
        model: nn.Module = prepare_qat_pt2e(program.module(), quantizer)
        allow_exported_model_train_eval(model)
        return model


def write_trained(
    model: nn.Module, loaded: LoadedModel, path: Path, *, batch_size: int | None = None
) -> None:
    """Writes what ``prepared`` made, once it is trained, as an ONNX file in 8-bit integers.

    Without a ``batch_size`` that takes any number of rows.
    """
    with _quiet():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        model.eval()
        converted = convert_pt2e(model.cpu())
        program = torch.export.export(
            converted,
            (samples(loaded, batch_size or _TRIED_ROWS),),
            dynamic_shapes=None if batch_size else ({0: Dim("rows", min=1)},),
        )
        write_program(program, path, what=str(loaded.spec))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torchao's search for kernels of GPUs, and its warnings of its own use of PyTorch."""
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
