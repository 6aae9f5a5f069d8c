"""A model of the user's that does something on one rank only."""

from __future__ import annotations

MODEL = """\
import time
import torch
from torch import distributed, nn

class Net(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.linear = nn.Linear(inputs, 10)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        is_one = distributed.is_initialized() and distributed.get_rank() == 1
        if is_one and CONDITION:
            STATEMENT
        return self.linear(x.flatten(1))

def make(input_shape):
    return Net(torch.Size(input_shape).numel())
"""


def one_rank(condition: str, statement: str) -> str:
    """Its source: ``statement`` is run in a pass of rank 1 in which ``condition`` holds.

    Both are written in terms of ``self.calls`` (training passes so far, this one among them),
    ``self.training`` and ``x``.
    """
    return MODEL.replace("CONDITION", condition).replace("STATEMENT", statement)
