"""A model whose forward method is its own: a skip over several layers, weights and sizes in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.linear(self.norm(x)))


class Skipping(nn.Module):
    """Digits (samples, 1, 8, 8) to logits."""

    scale: Tensor

    def __init__(self, width: int = 24, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(64, width)
        self.place = nn.Parameter(torch.randn(width) / 10)
        self.register_buffer("scale", torch.full((width,), 0.5), persistent=False)
        self.layers = nn.ModuleList(Block(width) for _ in range(4))
        self.second = nn.Linear(64, width)
        self.dropout = nn.Dropout(dropout)
        self.auxiliary = nn.Linear(width, 3)  # for another training: nothing here runs it
        self.head = nn.Linear(2 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.shape[0]
        pixels = images.reshape(rows, -1)
        x = skipped = self.first(pixels) + self.place
        for layer in self.layers:
            x = layer(x) * self.scale
        x = x + self.second(pixels)
        logits: Tensor = self.head(self.dropout(torch.cat([x, skipped], dim=1)).reshape(rows, -1))
        return logits
