"""In which numbers a training computes: whole or half precision, and what keeps half ones right."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from runner.errors import TaskError
from runner.torchlib.float8 import has_float8

PrecisionName = Literal["fp32", "bf16-mixed", "fp16-mixed", "bf16-true", "fp8"]

_HALF = {"bf16-mixed": torch.bfloat16, "fp16-mixed": torch.float16, "fp8": torch.bfloat16}


class Precision:
    """fp32, mixed precision (weights in fp32, products in half), or everything in bf16.

    Mixed precision is torch.autocast's. Gradients of fp16 are scaled up before they are computed,
    as small ones would vanish (Micikevicius et al. 2018, section 3.2); a step whose gradients then
    overflow is left out, and the scale halved. fp8 is bf16-mixed for all but the layers that
    ``float8.convert`` has changed.
    """

    def __init__(self, name: PrecisionName, device: str) -> None:
        self.name = name
        self.device_type = torch.device(device).type
        self.half: torch.dtype | None = _HALF.get(name)
        self.scaler: torch.amp.GradScaler | None = None
        if name == "fp16-mixed":
            self.scaler = torch.amp.GradScaler(self.device_type)
        self._skipped = torch.zeros(())

    def cast(self, model: nn.Module) -> None:
        """Puts the weights of ``model`` into the numbers they are kept in."""
        if self.name == "bf16-true":
            model.to(torch.bfloat16)

    def inputs(self, inputs: Tensor) -> Tensor:
        """A batch's inputs in the numbers the model takes."""
        if self.name == "bf16-true" and inputs.is_floating_point():
            return inputs.bfloat16()
        return inputs

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.half)

    def scale(self, loss: Tensor) -> Tensor:
        """The loss of which to take gradients."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer's step where gradients were unscaled: left out if they overflowed."""
        assert self.scaler is not None
        overflows = list(self.scaler._found_inf_per_device(optimizer).values())
        # On the device, as asking for a number would be to wait for it.
        found = sum(each.to(overflows[0].device) for each in overflows)
        self._skipped = self._skipped.to(overflows[0].device) + (found > 0)
        self.scaler.step(optimizer)
        self.scaler.update()

    @property
    def skipped_steps(self) -> int:
        """How many steps were left out. Waits for the device."""
        return int(self._skipped.item())

    def state(self) -> dict[str, float]:
        """What a resumed run has to know."""
        if self.scaler is None:
            return {}
        return {**self.scaler.state_dict(), "skipped_steps": self.skipped_steps}

    def restore(self, state: dict[str, float]) -> None:
        """Takes up what ``state`` gave."""
        if self.scaler is not None:
            kept = dict(state)
            self._skipped = torch.tensor(float(kept.pop("skipped_steps")))
            self.scaler.load_state_dict(kept)


def resolve(name: str, device: str) -> PrecisionName:
    """The precision that ``auto`` means on ``device``: bf16-mixed where the GPU has it, else fp32.

    Raises TaskError for one that the device can't compute in.
    """
    is_cuda = torch.device(device).type == "cuda"
    if name == "fp8" and not has_float8(device):
        here = torch.cuda.get_device_name(device) if is_cuda else "a CPU"
        raise TaskError(
            f"{here} has no fp8, which precision: fp8 needs",
            hint="take a GPU of compute capability 8.9 or later (L4, L40S, H100, H200, B200) or an "
            "MI300; or precision: auto",
        )
    if name == "auto":
        return "bf16-mixed" if is_cuda and torch.cuda.is_bf16_supported(False) else "fp32"
    if name.startswith("bf16") and is_cuda and not torch.cuda.is_bf16_supported(False):
        raise TaskError(
            f"{torch.cuda.get_device_name(device)} has no bf16, which precision: {name} needs",
            hint="take fp16-mixed, or auto",
        )
    return name  # type: ignore[return-value]


def in_full(logits: Tensor) -> Tensor:
    """Logits as a loss wants them: half precision would lose what small classes add up to."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
