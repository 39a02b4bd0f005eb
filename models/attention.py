"""Transformer block with QK-norm: x += attention(rms(x)); x += swiglu(rms(x)).

B rows, L positions, D width, H heads. Positions (B, L, D) may come packed: only the N valid ones, (N, D), which is what
norms and matrices then work on; `Padding` lays them out for the attention.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * scale, over the last axis."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.scale.to(x.dtype), self.eps)


def rope_table(first: int, count: int, dim: int, device: torch.device) -> Tensor:
    """Cosines and sines (2, count, dim/2) of positions first .. first + count - 1, base 10000."""
    frequency = 10000 ** (-torch.arange(0, dim, 2, device=device) / dim)
    angle = torch.arange(first, first + count, device=device)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()])


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turn the consecutive pairs (0, 1), (2, 3) ... of x (B, H, L, dim) as complex numbers by their position."""
    cos, sin = rope
    real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1).flatten(-2)


class Padding:
    """Which positions of (B, L) are valid, to take the others out and to put them back as zeros."""

    def __init__(self, valid: Tensor):
        self.shape = valid.shape                                          # (B, L)
        self.rows = valid.flatten().nonzero()[:, 0]                       # (N,)

    def remove(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (N, D)"""
        return x.flatten(0, 1).index_select(0, self.rows)

    def restore(self, x: Tensor) -> Tensor:
        """(N, D) -> (B, L, D)"""
        return x.new_zeros(self.shape.numel(), x.shape[-1]).index_copy(0, self.rows, x).unflatten(0, self.shape)


class Attention(nn.Module):
    """Causal self-attention with L2-normalised queries and keys and a fixed scale log2(context^2 - context).

    The scale is a buffer because the published checkpoints carry it.
    """

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.register_buffer("scale", torch.tensor(math.log2(context ** 2 - context)))

    def forward(self, x: Tensor, rope: Tensor, cache: dict | None = None, padding: Padding | None = None) -> Tensor:
        """x (B, L, D), or (N, D) with its `padding`; rope (2, L, D/H/2) of these positions; `cache` holds keys and
        values of all earlier ones."""
        qkv = self.qkv(x)
        if padding is not None:
            qkv = padding.restore(qkv)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)    # (B, H, L, D/H) each
        q = (rotate(F.normalize(q.float(), dim=-1), rope) * self.scale).to(v.dtype)
        k = rotate(F.normalize(k.float(), dim=-1), rope).to(v.dtype)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache["k"], k], dim=2), torch.cat([cache["v"], v], dim=2)
            cache.update(k=k, v=v)
        new, every = q.shape[2], k.shape[2]
        hidden = torch.ones(new, every, dtype=torch.bool, device=x.device).triu(every - new + 1)
        # Plainly, because at 78 positions the fused kernel is slower on a CPU and no better elsewhere.
        weights = (q @ k.mT).float().masked_fill(hidden, -math.inf).softmax(dim=-1)       # (B, H, new, every)
        x = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)                         # (B, new, D)
        return self.out(x if padding is None else padding.remove(x))


class SwiGLU(nn.Module):
    """silu(a x) * b x -> out, hidden width 2/3 of 4 D rounded up to a multiple of 256."""

    def __init__(self, width: int):
        super().__init__()
        hidden = math.ceil(8 * width // 3 / 256) * 256
        self.gate = nn.Linear(width, hidden, bias=False)
        self.value = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.silu(self.gate(x)) * self.value(x))


class Block(nn.Module):
    """The block of the equation above; every argument as in `Attention`."""

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.norm_attention = RMSNorm(width)
        self.attention = Attention(width, heads, context)
        self.norm_mlp = RMSNorm(width)
        self.mlp = SwiGLU(width)

    def forward(self, x: Tensor, rope: Tensor, cache: dict | None = None, padding: Padding | None = None) -> Tensor:
        x = x + self.attention(self.norm_attention(x), rope, cache, padding)
        return x + self.mlp(self.norm_mlp(x))
