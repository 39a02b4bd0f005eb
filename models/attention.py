"""Transformer block with QK-norm: x += attention(rms(x)); [x += cross(rms(x), text);] x += swiglu(rms(x)).

B rows, L positions, D width, H heads, N tokens of a text.
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


def rope_table(positions: Tensor, dim: int, base: float = 10000) -> Tensor:
    """The rotary embedding's factors (2, ..., dim) for positions (...): of each pair of channels the cosine, twice;
    and the sine, negative first.

    Computed in float64: after an hour of a stream, float32 would turn by wrong angles.
    """
    frequency = base ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim)
    angle = positions.double()[..., None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, cos], dim=-1), torch.stack([-sin, sin], dim=-1)]).flatten(-2).float()


def rotate(x: Tensor, rope: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Turn the consecutive pairs (0, 1), (2, 3) ... of x (..., dim) as complex numbers by their position:
    (a + bi)(cos + i sin) = (a, b) * (cos, cos) + (b, a) * (-sin, sin). rope: both factors, broadcast with x."""
    cos, sin = rope
    return torch.addcmul(x * cos, x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2), sin)


class Attention(nn.Module):
    """Causal self-attention with L2-normalised queries and keys and a fixed scale log2(context^2 - context).

    The scale is a buffer because the published checkpoints carry it.
    """
    scale: Tensor

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.register_buffer("scale", torch.tensor(math.log2(context ** 2 - context)))

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        """x (B, L, D), rope (2, L, D/H) -> (B, L, D)"""
        q, k, v = self.split_heads(self.qkv(x))                                           # (B, H, L, D/H) each
        return self.out(self.attend(q, k, v, rope))

    def split_heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, 3D) -> normalised queries and keys, values, (B, H, L, D/H) each; not rotated yet."""
        qkv = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = F.normalize(qkv[:2].float(), dim=-1).unbind()
        return q, k, qkv[2]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, rope: Tensor) -> Tensor:
        """softmax(scale q k + causal mask) v of rotated queries and keys: (B, H, L, D/H) each -> (B, L, D)"""
        q, k = rotate(q, rope).to(v.dtype), rotate(k, rope).to(v.dtype)
        mask = torch.full((q.shape[2],) * 2, -math.inf, device=q.device).triu(1)
        # Not the fused kernel: at 78 positions it is slower on a CPU and no better elsewhere.
        weights = torch.addcmul(mask, (q @ k.mT).float(), self.scale).softmax(dim=-1)     # (B, H, L, L)
        return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)                      # (B, L, D)


class CrossAttention(nn.Module):
    """Attention to the states of a text: softmax(q k / sqrt(D/H)) v, without positional encoding."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """states (B, N, D) -> keys and values (B, H, N, D/H) each"""
        return self.key_value(states).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def forward(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """x (B, L, D); k, v (B, H, N, D/H); mask (B, N), where there is a token -> (B, L, D)"""
        return self.out(self.attend(self.query(x), k, v, mask))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Queries (B, L, D), the others as in `forward` -> (B, L, D)"""
        q = q.unflatten(-1, (self.heads, -1)).transpose(1, 2)                             # (B, H, L, D/H)
        scores = (q @ k.mT).float() / math.sqrt(q.shape[-1])                              # (B, H, L, N)
        weights = scores.masked_fill(~mask[:, None, None], -math.inf).softmax(dim=-1)
        return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)                      # not fused, as in Attention


class SwiGLU(nn.Module):
    """silu(gate x) * value x -> out, inner width 2/3 of 4 D rounded up to a multiple of 256."""

    def __init__(self, width: int):
        super().__init__()
        inner = math.ceil(8 * width // 3 / 256) * 256
        self.gate = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.silu(self.gate(x)) * self.value(x))


class Block(nn.Module):
    """The block of the equation above, with `cross` where it attends to the text."""

    def __init__(self, width: int, heads: int, context: int, cross: bool = False):
        super().__init__()
        self.norm_attention = RMSNorm(width)
        self.attention = Attention(width, heads, context)
        self.norm_cross = RMSNorm(width) if cross else None
        self.cross = CrossAttention(width, heads) if cross else None
        self.norm_mlp = RMSNorm(width)
        self.mlp = SwiGLU(width)

    def forward(self, x: Tensor, rope: Tensor, text: tuple[Tensor, Tensor, Tensor] | None = None) -> Tensor:
        """x (B, L, D), rope (2, L, D/H); text: keys, values and mask, for a block with `cross` -> (B, L, D)"""
        x = x + self.attention(self.norm_attention(x), rope)
        if self.cross and self.norm_cross and text:
            x = x + self.cross(self.norm_cross(x), *text)
        return x + self.mlp(self.norm_mlp(x))
