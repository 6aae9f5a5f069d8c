"""How many operations a model's training takes, and at what rate a device could do them at most."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from runner.torchlib.data.dataset import Dataset
from runner.torchlib.peaks import peak_of
from runner.torchlib.precision import PrecisionName


def samples_per_s_at_peak(
    model: nn.Module, data: Dataset, *, device: str, precision: PrecisionName
) -> float | None:
    """The samples a second that ``device`` would train on if it did nothing but ``model``'s sums.

    Measured speed over this is the model's FLOPs utilisation (MFU, Chowdhery et al. 2022, appendix
    B). None where the device's peak is not known, or the operations can't be counted. To be called
    before the model is compiled or divided.
    """
    if torch.device(device).type != "cuda":
        return None
    peak = peak_of(torch.cuda.get_device_name(device), precision)
    operations = None if peak is None else operations_per_sample(model, data)
    return peak / operations if peak and operations else None


def operations_per_sample(model: nn.Module, data: Dataset) -> float | None:
    """The floating-point operations of one sample's forward and backward pass.

    Those of matrix products, convolutions and attention, where a multiplication and an addition
    are two; attention counts in full, masked or not. They are counted on shapes, without values:
    None for a model whose own code asks for values.
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
    except (RuntimeError, NotImplementedError):
        return None
    return float(counter.get_total_flops() / len(inputs))
