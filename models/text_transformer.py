"""Token states of the frozen text encoder -> what the AR model reads of a prompt.

B rows, N tokens, D width. Texts of a batch are one tensor, as `text_encoder.stack_texts` makes it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.attention import CrossAttention, RMSNorm, SwiGLU


class Prompt(NamedTuple):
    """A text as the AR model reads it, computed once; X blocks of H heads attend to its tokens.

    positions   (B, P, D) what stands before the latents
    everywhere  (B, 1, D) what is added to each latent
    k, v        (B, X, H, N, D/H) keys and values of the cross-attention
    mask        (B, N) where there is a token
    """
    positions: Tensor
    everywhere: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor


class TextBlock(nn.Module):
    """x += attention(rms(x)), every token seeing all; x += swiglu(rms(x))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_attention = RMSNorm(width)
        self.attention = CrossAttention(width, heads)
        self.norm_mlp = RMSNorm(width)
        self.mlp = SwiGLU(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, D), mask (B, N)"""
        normed = self.norm_attention(x)
        x = x + self.attention(normed, *self.attention.keys_values(normed), mask)
        return x + self.mlp(self.norm_mlp(x))


class TextTransformer(nn.Module):
    """A small trainable transformer over frozen token states, which know their order; and vectors pooled from it."""

    def __init__(self, text_dim: int, width: int, layers: int, heads: int, pooled: int):
        super().__init__()
        self.norm_input = RMSNorm(text_dim)
        self.embed = nn.Linear(text_dim, width)
        self.blocks = nn.ModuleList(TextBlock(width, heads) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.queries = nn.Parameter(torch.randn(pooled, width))
        self.pool = CrossAttention(width, heads)

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """text (B, N, text_dim) -> states (B, N, D), pooled (B, pooled, D), and where there is a token (B, N)."""
        mask = (text != 0).any(dim=-1)                                    # (B, N)
        x = self.embed(self.norm_input(text))                             # (B, N, D)
        for block in self.blocks:
            x = block(x, mask)                                            # (B, N, D)
        states = self.norm(x)
        pooled = self.pool(self.queries.expand(len(text), -1, -1), *self.pool.keys_values(states), mask)
        return states, pooled, mask
