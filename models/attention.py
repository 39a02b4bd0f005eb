"""Transformer block with QK-norm: x += attention(rms(x)); x += swiglu(rms(x)).

B rows, L positions, D width, H heads. Positions (B, L, D) may come packed: only the N valid ones, (N, D), which is what
norms and matrices then work on; `Padding` lays them out for the attention.
"""

import math
from dataclasses import dataclass

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


def rope_table(positions: Tensor, dim: int) -> Tensor:
    """What `rotate` multiplies by, (2, ..., dim), for integer positions (...), base 10000: of each pair of channels the
    cosine, twice; and the sine, negative first.

    Made in float64: after an hour of a stream, float32 would turn by wrong angles.
    """
    frequency = 10000 ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=positions.device) / dim)
    angle = positions.double()[..., None] * frequency
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, cos], dim=-1), torch.stack([-sin, sin], dim=-1)]).flatten(-2).float()


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Turn the consecutive pairs (0, 1), (2, 3) ... of x (B, H, L, dim) as complex numbers by their position:
    (a + bi)(cos + i sin) = (a, b) * (cos, cos) + (b, a) * (-sin, sin). rope (2, L, dim), or (2, B, 1, L, dim)."""
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
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.register_buffer("scale", torch.tensor(math.log2(context ** 2 - context)))

    def forward(self, x: Tensor, rope: Tensor, padding: Padding | None = None, kept: dict | None = None) -> Tensor:
        """x (B, L, D), or (N, D) with its `padding`; rope (2, L, D/H). `kept` takes the keys and values."""
        qkv = self.qkv(x)
        q, k, v = self.heads_of(qkv if padding is None else padding.restore(qkv))        # (B, H, L, D/H) each
        q, k = rotate(q, rope).to(v.dtype), rotate(k, rope).to(v.dtype)
        if kept is not None:
            kept.update(k=k, v=v)
        hidden = torch.full((q.shape[2],) * 2, -math.inf, device=x.device).triu(1)
        # Plainly, because at 78 positions the fused kernel is slower on a CPU and no better elsewhere.
        weights = torch.addcmul(hidden, (q @ k.mT).float(), self.scale).softmax(dim=-1)   # (B, H, L, L)
        x = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(-2)                         # (B, L, D)
        return self.out(x if padding is None else padding.remove(x))

    def step(self, x: Tensor, rope: Tensor, window: "Window", slots: Tensor, hidden: Tensor) -> Tensor:
        """The next position of each row, x (B, 1, D): it enters the window, and sees that in two looks, of its place
        among the latents and of that towards the text, which is never further away than the context.

        rope    (2, B, 1, 2, D/H) of both places
        slots   (B,) where it enters
        hidden  (B, 1, 2, W) minus infinity for what is not in that look, else 0
        """
        q, k, v = self.heads_of(self.qkv(x))                                              # (B, H, 1, D/H) each
        window.put(rotate(k, rope[..., :1, :]).to(v.dtype), v, slots)
        weights = torch.addcmul(hidden, (rotate(q, rope).to(v.dtype) @ window.k.mT).float(), self.scale)
        weights = weights.flatten(-2).softmax(dim=-1).unflatten(-1, (2, -1)).sum(dim=-2, keepdim=True)
        return self.out((weights.to(v.dtype) @ window.v).transpose(1, 2).flatten(-2))     # (B, H, 1, W) weights

    def heads_of(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, 3D) -> queries, keys and values, (B, H, L, D/H) each; not rotated yet."""
        qkv = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return *F.normalize(qkv[:2].float(), dim=-1), qkv[2]


@dataclass
class Window:
    """Keys and values (B, H, W, D/H) that one block keeps: the text's in slot 0, then a ring of the last W - 1
    latents'."""
    k: Tensor
    v: Tensor

    @classmethod
    def of(cls, k: Tensor, v: Tensor, size: int) -> "Window":
        """From those of a whole pass over the text and fewer than `size` latents; void behind if they are fewer."""
        void = size - k.shape[2]
        return cls(F.pad(k, (0, 0, 0, void)), F.pad(v, (0, 0, 0, void)))

    def put(self, k: Tensor, v: Tensor, slots: Tensor) -> None:
        """A new latent's (B, H, 1, D/H) come in at slots (B,), where the oldest were."""
        rows = torch.arange(len(slots), device=slots.device)
        self.k[rows, :, slots], self.v[rows, :, slots] = k[:, :, 0], v[:, :, 0]


def two_looks(seen: Tensor, size: int) -> Tensor:
    """What `Attention.step` hides (B, 1, 2, W) of rows that have seen so many latents (B,): in the first look the text
    and the slots that are void still, in the second all but the text."""
    slot = torch.arange(size)
    shown = torch.stack([(slot > 0) & (slot <= seen[:, None]), (slot == 0).expand(len(seen), -1)], dim=1)
    return torch.zeros(shown.shape).masked_fill_(~shown, -math.inf)[:, None]


class SwiGLU(nn.Module):
    """silu(a x) * b x -> out, hidden width 2/3 of 4 D rounded up to a multiple of 256."""

    def __init__(self, width: int):
        super().__init__()
        hidden = math.ceil(8 * width // 3 / 256) * 256
        self.gate = nn.Linear(width, hidden, bias=False)
        self.value = nn.Linear(width, hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)
        self.product: nn.Module | None = None                             # in place of gate and value, for inference

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.product(x).chunk(2, dim=-1) if self.product else (self.gate(x), self.value(x))
        return self.out(F.silu(gate) * value)


class Block(nn.Module):
    """The block of the equation above; every argument as in `Attention`."""

    def __init__(self, width: int, heads: int, context: int):
        super().__init__()
        self.norm_attention = RMSNorm(width)
        self.attention = Attention(width, heads, context)
        self.norm_mlp = RMSNorm(width)
        self.mlp = SwiGLU(width)

    def forward(self, x: Tensor, rope: Tensor, padding: Padding | None = None, kept: dict | None = None) -> Tensor:
        x = x + self.attention(self.norm_attention(x), rope, padding, kept)
        return x + self.mlp(self.norm_mlp(x))

    def step(self, x: Tensor, rope: Tensor, window: Window, slots: Tensor, hidden: Tensor) -> Tensor:
        x = x + self.attention.step(self.norm_attention(x), rope, window, slots, hidden)
        return x + self.mlp(self.norm_mlp(x))
