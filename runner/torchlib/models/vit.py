"""A vision transformer (Dosovitskiy et al. 2021): an image is a sequence of patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runner.errors import TaskError
from runner.torchlib.models.arguments import check_image, check_size
from runner.torchlib.models.transformer import Block, check_sizes_of_blocks


class VisionTransformer(nn.Module):
    """Patches and a class token, each with a learned position; the class token gives the logits."""

    def __init__(
        self,
        *,
        channels: int,
        patches: int,
        num_classes: int,
        patch: int,
        dim: int,
        depth: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, patches + 1, dim))
        self.blocks = nn.Sequential(
            *(Block(dim, heads, dropout=dropout, causal=False) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (samples, channels, height, width)."""
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        out = self.blocks(tokens + self.positions)
        logits: Tensor = self.head(self.norm(out[:, 0]))
        return logits


def make(
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    patch: int = 4,
    dim: int = 128,
    depth: int = 4,
    heads: int = 4,
    dropout: float = 0.0,
) -> nn.Module:
    """``depth`` blocks of width ``dim`` on patches of ``patch`` x ``patch`` pixels."""
    check_image("vit", input_shape)
    check_size("vit", "patch", patch)
    check_sizes_of_blocks("vit", dim=dim, depth=depth, heads=heads, dropout=dropout)
    channels, height, width = input_shape
    if height % patch or width % patch:
        raise TaskError(
            f"vit: images of {height}x{width} pixels can't be cut into patches of {patch}x{patch}",
            hint="take a patch that divides both",
        )
    return VisionTransformer(
        channels=channels,
        patches=(height // patch) * (width // patch),
        num_classes=num_classes,
        patch=patch,
        dim=dim,
        depth=depth,
        heads=heads,
        dropout=dropout,
    )
