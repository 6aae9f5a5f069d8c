"""The transformer block that vit and gpt are made of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

# How ranks divide the linear layers of blocks called ``blocks``: outputs first, then inputs.
TENSOR_PLAN = {
    "blocks.*.attention.qkv": "column",
    "blocks.*.attention.out": "row",
    "blocks.*.up": "column",
    "blocks.*.down": "row",
}


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017); causal: a position sees none after it.

    Query, key and value of a head lie together in the outputs of ``qkv``, so that ranks that divide
    these outputs hold whole heads.
    """

    def __init__(self, dim: int, heads: int, *, dropout: float, causal: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.heads = heads
        self.dropout = dropout
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        """(samples, positions, dim) to the same shape."""
        samples, positions, dim = x.shape
        # -1: a rank may have a part of the heads.
        qkv = self.qkv(x).view(samples, positions, -1, 3, dim // self.heads)
        query, key, value = qkv.permute(3, 0, 2, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.causal,
        )
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(samples, positions, -1))
        return out


class Block(nn.Module):
    """Attention, then a linear layer four times as wide with GELU, each normed before, added to."""

    def __init__(self, dim: int, heads: int, *, dropout: float, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout=dropout, causal=causal)
        self.norm2 = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(samples, positions, dim) to the same shape."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        x = x + self.dropout(self.down(functional.gelu(self.up(self.norm2(x)))))
        return x
