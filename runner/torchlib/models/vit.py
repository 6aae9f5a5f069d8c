"""A vision transformer (Dosovitskiy et al. 2021): an image is a sequence of patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runner.data.arguments import check_image
from runner.errors import TaskError
from runner.torchlib.models.transformer import TENSOR_PLAN, Block


class Embed(nn.Module):
    """Patches and a class token before them as vectors, each with a learned position."""

    def __init__(self, *, channels: int, patches: int, patch: int, dim: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, patches + 1, dim))

    def forward(self, images: Tensor) -> Tensor:
        """Images (samples, channels, height, width) to (samples, patches + 1, dim)."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(images.shape[0], -1, -1), patches], dim=1)
        return tokens + self.positions


class ClassToken(nn.Module):
    """The first of the tokens, (samples, tokens, dim) to (samples, dim)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """The first token's vectors."""
        return tokens[:, 0]


class VisionTransformer(nn.Sequential):
    """Embedded patches, blocks, and a linear layer on the class token that gives the logits.

    Images (samples, channels, height, width) to logits (samples, num_classes).
    """

    tensor_plan = TENSOR_PLAN

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
        self.embed = Embed(channels=channels, patches=patches, patch=patch, dim=dim)
        self.blocks = nn.Sequential(
            *(Block(dim, heads, dropout=dropout, causal=False) for _ in range(depth))
        )
        self.token = ClassToken()
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)


def make(
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    patch: int,
    dim: int,
    depth: int,
    heads: int,
    dropout: float,
) -> nn.Module:
    """``depth`` blocks of width ``dim`` on patches of ``patch`` x ``patch`` pixels."""
    check_image("vit", input_shape)
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
