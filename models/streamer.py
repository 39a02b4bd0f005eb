"""The AR model: a causal transformer over [text, latent 1, latent 2, ...] with a diffusion head (section 3.3).

B rows, L latents, C latent channels, D width. The output at position i is the condition of latent i: position 0, the
text, predicts the first latent.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models.attention import Block, Padding, RMSNorm, rope_table
from models.head import DiffusionHead
from options.models import AR


class StreamingTransformer(nn.Module):
    """Embeddings of text and latents, blocks, norm, linear: conditions for `head`, the diffusion head."""

    def __init__(self, config: AR):
        super().__init__()
        self.config = config
        width = config.width
        self.text_embed = nn.Linear(config.text_dim, width)
        self.latent_embed = nn.Linear(config.latent_dim, width)
        self.blocks = nn.ModuleList(Block(width, config.heads, config.context) for _ in range(config.layers))
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, width)
        self.apply(initialise)
        self.head = DiffusionHead(config.latent_dim, width, config.head_width, config.head_depth,
                                  config.prediction)

    def forward(self, latents: Tensor, text: Tensor, lengths: Tensor | None = None) -> Tensor:
        """latents (B, L, C), L >= 0, and sentence embeddings text (B, text_dim) -> conditions (B, L+1, D).

        With `lengths` (B,) only that many leading latents of each row count: the others cost nothing, and their
        conditions are zero.
        """
        x = self.prefix(latents, text)
        if lengths is None:
            return self.backbone(x)
        padding = Padding(torch.arange(x.shape[1], device=x.device) <= lengths[:, None])  # the text and the latents
        return padding.restore(self.backbone(padding.remove(x), padding=padding))

    def prefix(self, latents: Tensor, text: Tensor) -> Tensor:
        """The embedded sequence [text, latents] (B, L+1, D)."""
        if latents.shape[1] >= self.config.context:
            raise ValueError(f"{latents.shape[1]} latents do not fit the context of {self.config.context} positions, "
                             f"one of which is the text: give at most {self.config.context - 1}")
        return torch.cat([self.text_embed(text)[:, None], self.latent_embed(latents)], dim=1)

    def backbone(self, x: Tensor, cache: list[dict] | None = None, padding: Padding | None = None) -> Tensor:
        """Embedded positions (B, L, D), or (N, D) with their `padding`, -> as many conditions.

        `cache`, from new_cache(), holds the earlier positions.
        """
        past = cache[0]["k"].shape[2] if cache and cache[0] else 0
        count = padding.shape[1] if padding else x.shape[1]
        rope = rope_table(past, count, self.config.width // self.config.heads, x.device)
        for block, block_cache in zip(self.blocks, cache or [None] * len(self.blocks)):
            x = block(x, rope, block_cache, padding)
        return self.out(self.norm(x))

    def new_cache(self) -> list[dict]:
        return [{} for _ in self.blocks]

    @torch.no_grad()
    def stream(self, text: Tensor, empty: Tensor | None = None, past: Tensor | None = None, guidance: float = 1.0,
               temperature: float = 1.0, draw: Callable[[], tuple[Tensor, Tensor]] | None = None) -> Iterator[Tensor]:
        """Yield latents (B, C) one at a time until the caller stops asking or the context is full.

        text, empty  (B, text_dim) embeddings of the prompts and of the empty text; without `empty` no guidance
        past         (B, L, C) latents already shown, or None
        draw         gives the noise of one latent: start (B, C) and steps (50, B, C); the default draws it globally
        Length limits and end-of-motion tests are the caller's: islice, takewhile.
        """
        rows = text.shape[0]
        repeat = 1 if empty is None else 2                                # the rows of the empty text follow
        past = text.new_empty(rows, 0, self.config.latent_dim) if past is None else past
        both = text if empty is None else torch.cat([text, empty])
        cache = self.new_cache()
        condition = self.backbone(self.prefix(past.repeat(repeat, 1, 1), both), cache)[:, -1]
        for _ in range(self.config.context - 1 - past.shape[1]):
            start_noise, step_noise = draw() if draw else (None, None)
            latent = self.head.sample(condition[:rows], condition[rows:] if repeat == 2 else None, guidance,
                                      temperature, start_noise, step_noise)
            yield latent
            condition = self.backbone(self.latent_embed(latent).repeat(repeat, 1)[:, None], cache)[:, -1]


def initialise(module: nn.Module) -> None:
    """Normal weights of deviation 0.02, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
