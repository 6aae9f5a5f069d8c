"""A language model over bytes, built as GPT-2 is (Radford et al. 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from runner.errors import TaskError
from runner.torchlib.models.transformer import TENSOR_PLAN, Block


class Embed(nn.Module):
    """Bytes and their positions as vectors, added."""

    def __init__(self, *, num_classes: int, block_size: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.bytes = nn.Embedding(num_classes, dim)
        self.positions = nn.Embedding(block_size, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Bytes (samples, positions), integers, to (samples, positions, dim)."""
        positions = torch.arange(inputs.shape[1], device=inputs.device)
        out: Tensor = self.dropout(self.bytes(inputs.long()) + self.positions(positions))
        return out


class GPT(nn.Sequential):
    """Embeddings of bytes and positions, causal blocks, and a linear layer to the next byte.

    Bytes (samples, positions), integers, to logits (samples, positions, num_classes).
    """

    tensor_plan = TENSOR_PLAN

    def __init__(
        self,
        *,
        num_classes: int,
        block_size: int,
        dim: int,
        depth: int,
        heads: int,
        dropout: float,
        tied: bool,
    ) -> None:
        super().__init__()
        self.embed = Embed(num_classes=num_classes, block_size=block_size, dim=dim, dropout=dropout)
        self.blocks = nn.Sequential(
            *(Block(dim, heads, dropout=dropout, causal=True) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # Section 2.3 of the GPT-2 paper: what is added to the residual stream starts smaller, the
        # more layers there are to add to it.
        for name, weight in self.named_parameters():
            if name.endswith(("attention.out.weight", "down.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * depth))
        if tied:
            self.head.weight = self.embed.bytes.weight


def make(
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    block_size: int | None,
    dim: int,
    depth: int,
    heads: int,
    dropout: float,
    tied: bool,
) -> nn.Module:
    """``depth`` blocks of width ``dim``; ``tied``: one matrix embeds bytes and predicts them.

    ``block_size`` is the longest sequence it will take, by default the data's.
    """
    if len(input_shape) != 1 or num_classes != 256:
        raise TaskError(
            "gpt takes sequences of bytes, and the data is not text",
            hint="use data of the format text, or another model",
        )
    block_size = input_shape[0] if block_size is None else block_size
    if block_size < input_shape[0]:
        raise TaskError(
            f"gpt: block_size {block_size} is less than the {input_shape[0]} of the data",
            hint="leave it out, or set the data's block_size to match",
        )
    return GPT(
        num_classes=num_classes,
        block_size=block_size,
        dim=dim,
        depth=depth,
        heads=heads,
        dropout=dropout,
        tied=tied,
    )
