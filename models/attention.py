"""Transformer block with QK-norm: x += attention(rms(x)); [x += cross(rms(x), text);] x += swiglu(rms(x)).

B rows, L positions, D width, H heads, N tokens of a text. Positions (B, L, D) may come packed: only the N valid ones,
(N, D), which is what norms and matrices then work on; `Padding` lays them out for the attention.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.products import Linear


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * scale, over the last axis."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], self.scale.to(x.dtype), self.eps)


def rope_table(positions: Tensor, dim: int) -> Tensor:
    """What `rotate` multiplies by, (2, ..., dim), for integer positions (...), base 10000: of each pair of channels the
    cosine, twice; and the sine, negative first.

    Made in float64: after an hour of a stream, float32 would turn by wrong angles.
    """
    frequency = 10000 ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim)
    angle = positions.double()[..., None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, cos], dim=-1), torch.stack([-sin, sin], dim=-1)]).flatten(-2).float()


def rotate(x: Tensor, rope: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Turn the consecutive pairs (0, 1), (2, 3) ... of x (..., dim) as complex numbers by their position:
    (a + bi)(cos + i sin) = (a, b) * (cos, cos) + (b, a) * (-sin, sin). rope: both factors, which x is broadcast with."""
    cos, sin = rope
    return torch.addcmul(x * cos, x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2), sin)


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
        self.qkv = Linear(width, 3 * width, bias=False)
        self.out = Linear(width, width, bias=False)
        self.register_buffer("scale", torch.tensor(math.log2(context ** 2 - context)))

    def forward(self, x: Tensor, rope: Tensor, padding: Padding | None = None, kept: dict | None = None) -> Tensor:
        """x (B, L, D), or (N, D) with its `padding`; rope (2, L, D/H). `kept` takes the keys and values."""
        qkv = self.qkv(x)
        q, k, v = self.heads_of(qkv if padding is None else padding.restore(qkv))        # (B, H, L, D/H) each
        if kept is not None:
            kept.update(unrotated=k)
        q, k = rotate(q, rope).to(v.dtype), rotate(k, rope).to(v.dtype)
        if kept is not None:
            kept.update(k=k, v=v)
        hidden = torch.full((q.shape[2],) * 2, -math.inf, device=x.device).triu(1)
        # Plainly, because at 78 positions the fused kernel is slower on a CPU and no better elsewhere.
        weights = torch.addcmul(hidden, (q @ k.mT).float(), self.scale).softmax(dim=-1)   # (B, H, L, L)
        x = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)                         # (B, L, D)
        return self.out(x if padding is None else padding.remove(x))

    def step(self, x: Tensor, rope: tuple[Tensor, Tensor], window: "Window", slots: Tensor, hidden: Tensor) -> Tensor:
        """The next position of each row, x (B, 1, D): it enters the window, and sees what is there.

        rope    cosines and sines (B, 1, 2 + P, D/H) of where its query, its key and the text's P keys stand
        slots   (B, H, 1 + P, D/H) where these keys come to lie
        hidden  (B, 1, 1, W) what is added to its scores: -inf where it does not see the window
        """
        qkv = self.qkv(x).view(len(x), 3, self.heads, -1).transpose(1, 2)                 # (B, H, 3, D/H)
        qk = torch.cat([F.normalize(qkv[:, :, :2].float(), dim=-1), window.text], dim=2)
        q, keys = rotate(qk, rope).tensor_split([1], dim=2)                               # (B, H, 1 and 1 + P, D/H)
        window.k.scatter_(2, slots, keys)
        window.v.scatter_(2, slots[:, :, :1], qkv[:, :, 2:].float())
        x = F.scaled_dot_product_attention(self.scale * q, window.k, window.v, hidden, scale=1.0)
        return self.out(x.view(len(x), 1, -1))

    def heads_of(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, 3D) -> queries, keys and values, (B, H, L, D/H) each; not rotated yet."""
        qkv = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return *F.normalize(qkv[:2].float(), dim=-1), qkv[2]


class Window(NamedTuple):
    """Keys and values (B, H, W, D/H) that one block keeps: the text's in the first P slots, then a ring of the last
    W - P latents'. The text's keys stand where the context begins, so they are kept unrotated too, (B, H, P, D/H)."""
    k: Tensor
    v: Tensor
    text: Tensor

    @classmethod
    def of(cls, kept: dict[str, Tensor], size: int, positions: int) -> "Window":
        """From those of a whole pass over P positions of text and fewer than `size` - P latents; padded behind."""
        k, v = (F.pad(kept[name], (0, 0, 0, size - kept[name].shape[2])) for name in ("k", "v"))
        return cls(k, v, kept["unrotated"][:, :, :positions].clone())


class CrossAttention(nn.Module):
    """Some positions look at the states of others: softmax(q k / sqrt(D/H)) v, without positions."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width, bias=False)
        self.key_value = Linear(width, 2 * width, bias=False)
        self.out = Linear(width, width, bias=False)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """states (B, N, D) -> keys and values (B, H, N, D/H) each"""
        return self.key_value(states).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()

    def forward(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor, padding: Padding | None = None) -> Tensor:
        """x (B, L, D), or (N, D) with its `padding`; k, v (B, H, N, D/H); mask (B, N), where there is a token."""
        q = self.query(x)
        q = (q if padding is None else padding.restore(q)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        x = F.scaled_dot_product_attention(q, k, v, mask[:, None, None]).transpose(1, 2).flatten(-2)   # (B, L, D)
        return self.out(x if padding is None else padding.remove(x))


class SwiGLU(nn.Module):
    """silu(a x) * b x -> out, hidden width 2/3 of 4 D rounded up to a multiple of 256."""

    def __init__(self, width: int):
        super().__init__()
        hidden = math.ceil(8 * width // 3 / 256) * 256
        self.gate = Linear(width, hidden, bias=False)
        self.value = Linear(width, hidden, bias=False)
        self.out = Linear(hidden, width, bias=False)
        self.product: nn.Module | None = None                             # in place of gate and value, for inference

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.product(x).chunk(2, dim=-1) if self.product else (self.gate(x), self.value(x))
        return self.out(F.silu(gate) * value)


class Block(nn.Module):
    """The block of the equation above, with `cross` where it looks at the text; other arguments as in `Attention`.

    text  keys, values and mask for `CrossAttention`, of a block that has it
    """

    def __init__(self, width: int, heads: int, context: int, cross: bool = False):
        super().__init__()
        self.norm_attention = RMSNorm(width)
        self.attention = Attention(width, heads, context)
        self.norm_cross = RMSNorm(width) if cross else None
        self.cross = CrossAttention(width, heads) if cross else None
        self.norm_mlp = RMSNorm(width)
        self.mlp = SwiGLU(width)

    def forward(self, x: Tensor, rope: Tensor, padding: Padding | None = None, kept: dict | None = None,
                text: tuple[Tensor, Tensor, Tensor] | None = None) -> Tensor:
        x = x + self.attention(self.norm_attention(x), rope, padding, kept)
        if self.cross is not None:
            x = x + self.cross(self.norm_cross(x), *text, padding)
        return x + self.mlp(self.norm_mlp(x))

    def step(self, x: Tensor, rope: tuple[Tensor, Tensor], window: Window, slots: Tensor, hidden: Tensor,
             text: tuple[Tensor, Tensor, Tensor] | None = None) -> Tensor:
        x = x + self.attention.step(self.norm_attention(x), rope, window, slots, hidden)
        if self.cross is not None:
            x = x + self.cross(self.norm_cross(x), *text)
        return x + self.mlp(self.norm_mlp(x))
