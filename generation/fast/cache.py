"""What the transformer keeps of a stream: keys and values in a ring, so that each latent costs the same, for ever.

A latent sees the text and the last W - P latents, itself included; W positions are the context, P of them the text's,
which is never further away than the context, as in training.

B rows, L latents, C latent channels, D width, M blocks of H heads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import Attention, rope_table, rotate
from models.text_transformer import Prompt
from models.transformer import StreamingTransformer


@dataclass
class Cache:
    """Of B rows: the number of latents seen (B,), on the CPU; keys and values of all blocks, k and v (B, M, H, W, D/H),
    the text's in the first P slots, then a ring of the latents'; the text's keys, which stand where the context begins,
    unrotated too, text (B, M, H, P, D/H); and the rest of the `Prompt`."""
    seen: Tensor
    k: Tensor
    v: Tensor
    text: Tensor
    everywhere: Tensor
    text_k: Tensor
    text_v: Tensor
    mask: Tensor

    def tensors(self) -> list[Tensor]:
        return list(vars(self).values())

    def map(self, change: Callable[..., Tensor], *others: "Cache") -> "Cache":
        """`change` applied to each tensor, with the same of the others."""
        return Cache(*(change(*tensors) for tensors in zip(self.tensors(), *(other.tensors() for other in others))))


def read(model: StreamingTransformer, latents: Tensor, text: Tensor) -> tuple[Tensor, Cache]:
    """One pass over texts, as `stack_texts` gives them, and latents (B, L, C) -> the condition of the next latent
    (B, D), and what `step` goes on from."""
    prompt, size, count = model.prompt(text), model.config.context, model.config.text_positions
    x, kept = model.prefix(latents, prompt), []
    rope = model.rope[:, :x.shape[1]]
    for block, tokens in zip(model.blocks, model.text_of_blocks(prompt)):
        q, k, v = block.attention.split_heads(block.attention.qkv(block.norm_attention(x)))
        kept.append((*(F.pad(part, (0, 0, 0, size - part.shape[2])) for part in (rotate(k, rope).to(v.dtype), v)),
                     k[:, :, :count]))
        x = x + block.attention.out(block.attention.attend(q, k, v, rope))
        if block.cross is not None:
            x = x + block.cross(block.norm_cross(x), *tokens)
        x = x + block.mlp(block.norm_mlp(x))
    condition = model.out(model.norm(x))[:, -1]
    return condition, Cache(torch.full((len(text),), latents.shape[1]),
                            *(torch.stack(parts, dim=1) for parts in zip(*kept)), *prompt[1:])


def step(model: StreamingTransformer, latents: Tensor, cache: Cache) -> Tensor:
    """The next latent of each row (B, C) -> the condition of the one after it (B, D). The cache is changed."""
    return advance(model, *inputs(model, latents, cache))


def inputs(model: StreamingTransformer, latents: Tensor, cache: Cache) -> tuple[Tensor, ...]:
    """What `advance` needs for the next latents (B, C), which count as seen from now on: the cache's tensors, the
    latents, and

    rope    (2, B, 1, 2 + P, D/H) the positions of its query, its key and the text's P keys
    slots   (B, 1 + P) where these keys come to lie in the ring
    mask    (B, 1, 1, W) what is added to its scores: -inf where nothing has been seen yet
    """
    count, last, device = model.config.text_positions, model.most_latents, latents.device
    own, text_slots = count + cache.seen % last, torch.arange(count)
    slots = torch.cat([own[:, None], text_slots.expand(len(own), -1)], dim=1).to(device)
    cache.seen += 1
    place = (count - 1 + cache.seen)[:, None]                                             # (B, 1)
    places = torch.cat([place, place, (cache.seen - last).clamp(min=0)[:, None] + text_slots], dim=1)
    rope = rope_table(places, model.config.width // model.config.heads)[:, :, None].to(device)
    unseen = torch.arange(model.config.context) > place
    mask = torch.zeros(unseen.shape).masked_fill(unseen, -math.inf)[:, None, None].to(device)
    return *cache.tensors()[1:], latents, rope, slots, mask


def advance(model: StreamingTransformer, k: Tensor, v: Tensor, text: Tensor, everywhere: Tensor, text_k: Tensor,
            text_v: Tensor, text_mask: Tensor, latents: Tensor, rope: Tensor, slots: Tensor, mask: Tensor) -> Tensor:
    """The work of `step`, on `inputs`: a condition (B, D). k and v are changed. No host synchronisation."""
    prompt, heads = Prompt(text, everywhere, text_k, text_v, text_mask), model.config.heads
    x, rope = model.embed(latents[:, None], prompt), rope.unbind()                        # (B, 1, D)
    slots = slots[:, None, :, None].expand(-1, heads, -1, model.config.width // heads)    # (B, H, 1 + P, D/H)
    for place, (block, tokens) in enumerate(zip(model.blocks, model.text_of_blocks(prompt))):
        x = x + attend(block.attention, block.norm_attention(x), rope, k[:, place], v[:, place], text[:, place], slots,
                       mask)
        if block.cross is not None:
            x = x + block.cross(block.norm_cross(x), *tokens)
        x = x + block.mlp(block.norm_mlp(x))
    return model.out(model.norm(x))[:, 0]


def attend(attention: Attention, x: Tensor, rope: tuple[Tensor, Tensor], k: Tensor, v: Tensor, text: Tensor,
           slots: Tensor, mask: Tensor) -> Tensor:
    """The next position of each row, x (B, 1, D), enters one block's ring and sees what is there -> (B, 1, D)."""
    qkv = attention.qkv(x).view(len(x), 3, attention.heads, -1).transpose(1, 2)           # (B, H, 3, D/H)
    qk = torch.cat([F.normalize(qkv[:, :, :2].float(), dim=-1), text], dim=2)
    q, keys = rotate(qk, rope).tensor_split([1], dim=2)                                   # (B, H, 1 and 1 + P, D/H)
    k.scatter_(2, slots, keys)
    v.scatter_(2, slots[:, :, :1], qkv[:, :, 2:].float())
    x = F.scaled_dot_product_attention(attention.scale * q, k, v, mask, scale=1.0)
    return attention.out(x.view(len(x), 1, -1))
