"""Tensor parallel: ranks divide the matrices of a layer (Shoeybi et al. 2019, Megatron-LM)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

from runner.errors import TaskError
from runner.model import Widths
from runner.torchlib.parallel.options import Options
from runner.torchlib.precision import Precision

_STYLES = {"column": ColwiseParallel, "row": RowwiseParallel}


def check(model: nn.Module, widths: Widths, options: Options) -> None:
    """Raises TaskError unless the plan divides linear layers whose widths ``widths.tp`` divides."""
    plan = options.tp_plan
    if not plan:
        raise TaskError(
            f"nothing says how to divide {type(model).__name__} for tensor parallel",
            hint="gpt and vit know; for a model of yours give parallelism.tp_plan, such as "
            "{'blocks.*.up': column, 'blocks.*.down': row}",
        )
    for pattern, style in plan.items():
        found = [name for name, _ in model.named_modules() if fnmatchcase(name, pattern)]
        if not found:
            known = ", ".join(name for name, m in model.named_modules() if isinstance(m, nn.Linear))
            raise TaskError(
                f"no module of the model is called {pattern}, which tp_plan names",
                hint=f"its linear layers are {known}",
            )
        for name in found:
            module = model.get_submodule(name)
            if not isinstance(module, nn.Linear):
                raise TaskError(
                    f"tp_plan divides {name}, which is a {type(module).__name__}",
                    hint="only linear layers can be divided",
                )
            width = module.out_features if style == "column" else module.in_features
            if width % widths.tp:
                raise TaskError(
                    f"the {width} {'outputs' if style == 'column' else 'inputs'} of {name} can't "
                    f"be divided among {widths.tp} ranks",
                    hint="take a tp that divides the model's widths",
                )
    found_heads = (getattr(module, "heads", None) for module in model.modules())
    heads = {count for count in found_heads if isinstance(count, int)}
    if any(count % widths.tp for count in heads):
        raise TaskError(
            f"{', '.join(map(str, sorted(heads)))} heads can't be divided among {widths.tp} ranks",
            hint="take a tp that divides the number of heads",
        )


def apply(model: nn.Module, mesh: DeviceMesh, precision: Precision, options: Options) -> nn.Module:
    """The model with the layers that ``options.tp_plan`` names divided over tp.

    The plan maps patterns of module names to ``column`` (outputs are divided) or ``row`` (inputs
    are). A column-wise layer followed by a row-wise one costs one sum over the ranks each way.
    """
    styles = {
        name: _STYLES[style]()
        for pattern, style in options.tp_plan.items()
        for name, _ in model.named_modules()
        if fnmatchcase(name, pattern)
    }
    return parallelize_module(model, mesh["tp"], styles)


def exchange(model: nn.Module, *, now: bool) -> AbstractContextManager[object]:
    """What tp ranks tell each other is part of the forward and backward pass."""
    return nullcontext()


def whole(tensor: Tensor) -> Tensor:
    """A divided tensor put together, on every rank of its mesh."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()
