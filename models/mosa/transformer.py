"""MoSa's scale-wise autoregressive transformer: text to codes, all of one scale at once, coarse to fine.

B clips, Q scales of s_1 ... s_Q positions, L = their sum, V_q codes of scale q, N tokens of a text of E channels,
C channels of a code, D width, H heads. A position sees those of its own and of coarser scales.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.attention import RMSNorm, rope_table, rotate
from options.models import SAR, Codes
from utils.distributed import Dropout, drop

Cache = dict[nn.Module, tuple[Tensor, Tensor]]    # keys and values (B, H, positions so far, D/H) of each attention


class Attention(nn.Module):
    """softmax(q k / sqrt(D/H)) v, where some positions x attend to `states`, be they their own or others'."""

    def __init__(self, config: SAR):
        super().__init__()
        width = config.latent_dim
        self.heads, self.share = config.n_heads, config.dropout
        self.query, self.key, self.value, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, states: Tensor, mask: Tensor | None = None, rope: Tensor | None = None,
                cache: Cache | None = None) -> Tensor:
        """x (B, L, D), states (B, M, D) -> (B, L, D)

        mask   where a position may look, broadcast to (B, H, L, M); None: everywhere
        rope   (2, L, D/H), for self-attention
        cache  keeps the keys and values of all scales of a generation so far
        """
        q, k, v = (self.split(linear(given)) for linear, given in
                   ((self.query, x), (self.key, states), (self.value, states)))          # (B, H, L or M, D/H)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        if cache is not None:
            if self in cache:
                k, v = (torch.cat(pair, dim=2) for pair in zip(cache[self], (k, v)))          # (B, H, L so far, D/H)
            cache[self] = k, v
        return self.dropout(self.proj(self.attend(q, k, v, mask).transpose(1, 2).flatten(-2)))

    def split(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, H, L, D/H)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Queries (B, H, L, D/H), keys and values (B, H, M, D/H) -> (B, H, L, D/H)

        In training not by the fused kernel where there is dropout, since ours is sampled for the whole batch, nor on a
        CPU, where its backward is slow.
        """
        if not self.training or (not self.share and q.device.type != "cpu"):
            return F.scaled_dot_product_attention(q, k.to(q), v, mask)
        scores = (q / math.sqrt(q.shape[-1])) @ k.to(q).mT                                # (B, H, L, M)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = scores.softmax(dim=-1)
        return (drop(weights, self.share) if self.share else weights).to(v) @ v


class MLP(nn.Module):
    """proj(silu(gate x) * value x), without biases."""

    def __init__(self, config: SAR):
        super().__init__()
        self.gate, self.value = (nn.Linear(config.latent_dim, config.ff_size, bias=False) for _ in range(2))
        self.proj = nn.Linear(config.ff_size, config.latent_dim, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.proj(F.silu(self.gate(x)) * self.value(x)))


class Block(nn.Module):
    """x += cross(norm x, norm text); x += self(norm x); x += mlp(norm x)"""

    def __init__(self, config: SAR):
        super().__init__()
        self.norm_cross, self.norm_text, self.norm_self, self.norm_mlp = (RMSNorm(config.latent_dim) for _ in range(4))
        self.cross, self.attention, self.mlp = Attention(config), Attention(config), MLP(config)

    def forward(self, x: Tensor, text: Tensor, text_mask: Tensor, rope: Tensor, mask: Tensor | None,
                cache: Cache | None = None) -> Tensor:
        """x (B, L, D), text (B, N, D), text_mask (B, 1, 1, N), rope (2, L, D/H), mask (L, M) -> (B, L, D)"""
        x = x + self.cross(self.norm_cross(x), self.norm_text(text), text_mask)
        inside = self.norm_self(x)
        x = x + self.attention(inside, inside, mask, rope, cache)
        return x + self.mlp(self.norm_mlp(x))


class ScaleTransformer(nn.Module):
    """Text, length and the codes of coarser scales -> logits of the codes of each scale."""

    rope: Tensor
    scale_of: Tensor

    def __init__(self, config: SAR, codes: Codes):
        super().__init__()
        self.config, self.codes = config, codes
        width, scales = config.latent_dim, codes.scales
        self.start = nn.Parameter(torch.empty(1, scales[0], width))
        self.text_embed, self.code_embed = nn.Linear(config.text_dim, width), nn.Linear(codes.code_dim, width)
        self.length_embed, self.scale_embed = nn.Embedding(codes.latents, width), nn.Embedding(len(scales), width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.heads = nn.ModuleList(nn.Linear(width, count) for count in codes.nb_codes)
        self.register_buffer("rope", scale_rope(scales, width // config.n_heads), persistent=False)    # (2, L, D/H)
        self.register_buffer("scale_of", torch.cat([torch.full((size,), q) for q, size in enumerate(scales)]),
                             persistent=False)                                            # (L,)
        self.apply(initialise)
        nn.init.trunc_normal_(self.start, std=math.sqrt(1 / (3 * width)))

    def forward(self, inputs: Tensor, text: Tensor, lengths: Tensor) -> list[Tensor]:
        """Teacher-forced: all scales at once, under their mask.

        inputs   (B, L - s_1, C) what the codes of the coarser scales give at scales 2 to Q, as `Quantizer.inputs`
        text     (B, N, E) token states; rows of zeros behind a text are padding, a text of zeros alone is none
        lengths  (B,) latents of each motion
        returns  logits [(B, s_q, V_q)]
        """
        words, length = self.read(text, lengths)
        first = self.start + length[:, None]                                              # (B, s_1, D)
        x = torch.cat([first, self.code_embed(inputs)], dim=1) + self.scale_embed(self.scale_of)
        visible = self.scale_of[:, None] >= self.scale_of                                 # (L, L)
        for block in self.blocks:
            x = block(x, *words, self.rope, visible)
        return [head(part) for head, part in zip(self.heads, x.split(self.codes.scales, dim=1))]

    def read(self, text: Tensor, lengths: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Text and lengths as in `forward` -> states (B, N, D) and their mask (B, 1, 1, N); the length's vector (B, D),
        which is added to each state."""
        length = self.length_embed(lengths - 1)
        there = (text != 0).any(dim=-1)
        there = there | ~there.any(dim=-1, keepdim=True)
        return (self.text_embed(text) + length[:, None], there[:, None, None]), length

    def logits(self, q: int, inputs: Tensor | None, words: tuple[Tensor, Tensor], length: Tensor,
               cache: Cache) -> Tensor:
        """Scale q of a generation, from 0, each scale once and in order -> logits (B, s_q, V_q).

        inputs         (B, s_q, C) as `Quantizer.next_input`; None at the first scale
        words, length  what `read` gave
        cache          {} at the first scale
        """
        x = self.start + length[:, None] if inputs is None else self.code_embed(inputs)
        x = x + self.scale_embed.weight[q]                                                # (B, s_q, D)
        first = sum(self.codes.scales[:q])
        rope = self.rope[:, first:first + self.codes.scales[q]]
        for block in self.blocks:
            x = block(x, *words, rope, None, cache)
        return self.heads[q](x)


def scale_rope(scales: Sequence[int], channels: int) -> Tensor:
    """Rotary factors (2, L, channels): each scale's positions are spread over the same 0 to `channels`, base 100."""
    positions = torch.cat([torch.arange(size, dtype=torch.float64) * channels / max(size - 1, 1) for size in scales])
    return rope_table(positions, channels, base=100.0)


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), biases 0."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
