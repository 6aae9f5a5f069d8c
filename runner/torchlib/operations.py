"""How many operations a model's training takes, and at what rate a device could do them at most."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from runner.errors import Unmeasured
from runner.torchlib.data import Dataset
from runner.torchlib.peaks import peak_of
from runner.torchlib.precision import PrecisionName


def operations_per_s_at_peak(device: str, precision: PrecisionName) -> float:
    """The operations a second of a GPU at most, as its maker has published it.

    What a training does over this is the model's FLOPs utilisation (MFU, Chowdhery et al. 2022,
    appendix B). Raises Unmeasured for a GPU of which it is not known.
    """
    name = torch.cuda.get_device_name(device)
    peak = peak_of(name, precision)
    if peak is None:
        raise Unmeasured(f"the peak of {name} in {precision} is not known")
    return peak


def operations_per_sample(model: nn.Module, data: Dataset) -> float:
    """The floating-point operations of one sample's forward and backward pass.

    Those of matrix products, convolutions and attention, where a multiplication and an addition
    are two; attention counts in full, masked or not. To be called before the model is changed.
    They are counted on shapes, without values: raises Unmeasured for a model whose own
    code asks for values, or that has none of them.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    memo: dict[int, object] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        shape: Tensor = torch.empty_like(tensor, device="meta")
        if isinstance(tensor, nn.Parameter):
            shape = nn.Parameter(shape, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = shape
    inputs = torch.empty_like(data.train_inputs[:2], device="meta")
    inputs = inputs.long() if inputs.dtype == torch.uint8 else inputs
    try:
        # The counter knows attention's kernels of GPUs only, but all products they consist of.
        with (
            torch.random.fork_rng(devices=[]),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            copy.deepcopy(model, memo)(inputs).sum().backward()
    except Exception as error:  # code of the user's, which has run on values before
        said = str(error).partition("\n")[0]
        raise Unmeasured(
            f"the operations of {type(model).__name__} can't be counted on shapes alone "
            f"({type(error).__name__}: {said})"
        ) from error
    if not counter.get_total_flops():
        raise Unmeasured(
            f"{type(model).__name__} has no matrix products, convolutions or attention to count"
        )
    return float(counter.get_total_flops() / len(inputs))
