"""The AR model: a causal transformer over [text, latent 1, latent 2, ...] with a diffusion head (section 3.3).

B rows, L latents, C latent channels, D width, P positions of the text (1 as published). The output at the text's last
position is the condition of the first latent, that at latent i the condition of latent i + 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.attention import Block, RMSNorm, rope_table
from models.head import DiffusionHead
from models.text_transformer import Prompt, TextTransformer
from options.models import AR

TEXT_SHARE = 0.2    # of the text in what a latent starts as, so that the latent itself still counts most


class StreamingTransformer(nn.Module):
    """Embeddings of text and latents, blocks, norm, linear: conditions for `head`, the diffusion head."""
    blocks: Sequence[Block]
    rope: Tensor

    def __init__(self, config: AR, gain: float = 0.0):
        super().__init__()
        self.config = config
        width = config.width
        tokens = config.text == "tokens"
        self.text_embed = None if tokens else nn.Linear(config.text_dim, width)
        self.text = TextTransformer(config.text_dim, width, config.text_layers, config.heads,
                                    config.text_positions + config.text_everywhere) if tokens else None
        self.latent_embed = nn.Linear(config.latent_dim, width)
        self.text_to_latents = nn.Linear(width if tokens else config.text_dim, width,
                                         bias=False) if config.text_everywhere else None
        self.blocks = nn.ModuleList(  # pyright: ignore[reportAttributeAccessIssue]
            Block(width, config.heads, config.context, config.attends_to_text(number))
            for number in range(config.layers))
        self.norm = RMSNorm(width)
        self.out = nn.Linear(width, width)
        self.register_buffer("rope", rope_table(torch.arange(config.context), width // config.heads),
                             persistent=False)                                             # (2, context, D/H)
        initialise(self, gain)
        self.head = DiffusionHead(config.latent_dim, width, config.head_width, config.head_depth,
                                  config.prediction)                                       # which initialises itself

    @property
    def most_latents(self) -> int:
        """How many the context holds beside the text."""
        return self.config.context - self.config.text_positions

    def forward(self, latents: Tensor, text: Tensor, lengths: Tensor | None = None) -> Tensor:
        """latents (B, L, C), L >= 0, and texts as `stack_texts` gives them -> conditions (B, L+1, D).

        With `lengths` (B,) only that many leading latents of each row count; the conditions of the others are zero.
        """
        return self.conditions(latents, self.prompt(text), lengths)

    def prompt(self, text: Tensor) -> Prompt:
        """Texts of a batch, (B, text_dim) or (B, N, text_dim), as the blocks read them."""
        if self.text_embed is not None:
            positions, mask = self.text_embed(text)[:, None], text.new_ones(len(text), 0, dtype=torch.bool)
            states, everywhere = positions[:, :0], text
        else:
            states, pooled, mask = self.text(text)    # pyright: ignore[reportOptionalCall]
            positions, everywhere = pooled[:, :self.config.text_positions], pooled[:, -1]
        added = torch.zeros_like(positions[:, 0]) if self.text_to_latents is None else self.text_to_latents(everywhere)
        crossed = [block.cross.keys_values(states) for block in self.blocks if block.cross is not None]
        heads = self.config.heads
        none = states.new_empty(len(states), 0, heads, states.shape[1], self.config.width // heads)
        k, v = (torch.stack(parts, dim=1) for parts in zip(*crossed)) if crossed else (none, none)
        return Prompt(positions, added[:, None], k, v, mask)

    def conditions(self, latents: Tensor, prompt: Prompt, lengths: Tensor | None = None) -> Tensor:
        """`forward` with the texts of `prompt`."""
        first = self.config.text_positions - 1
        if lengths is None:
            return self.backbone(self.prefix(latents, prompt), prompt)[:, first:]         # (B, L+1, D)
        padding = torch.arange(latents.shape[1] + 1, device=latents.device) > lengths[:, None]    # (B, L+1)
        latents = latents.masked_fill(padding[:, 1:, None], 0.0)
        return self.conditions(latents, prompt).masked_fill(padding[..., None], 0.0)

    def prefix(self, latents: Tensor, prompt: Prompt) -> Tensor:
        """The embedded sequence [text, latents] (B, P+L, D)."""
        if latents.shape[1] > self.most_latents:
            raise ValueError(f"{latents.shape[1]} latents do not fit the context of {self.config.context} positions, "
                             f"{self.config.text_positions} of which the text has: give at most {self.most_latents}")
        return torch.cat([prompt.positions, self.embed(latents, prompt)], dim=1)

    def embed(self, latents: Tensor, prompt: Prompt) -> Tensor:
        """latents (B, L, C) -> what the blocks read of them (B, L, D)."""
        return self.latent_embed(latents) + prompt.everywhere

    def backbone(self, x: Tensor, prompt: Prompt) -> Tensor:
        """Embedded positions (B, L, D) -> as many conditions."""
        rope = self.rope[:, :x.shape[1]]
        for block, text in zip(self.blocks, self.text_of_blocks(prompt)):
            x = block(x, rope, text)                                                      # (B, L, D)
        return self.out(self.norm(x))

    def text_of_blocks(self, prompt: Prompt) -> list[tuple[Tensor, Tensor, Tensor] | None]:
        """What each block reads of a prompt's tokens, if it attends to them: keys, values and mask."""
        parts = iter(zip(prompt.k.unbind(dim=1), prompt.v.unbind(dim=1)))
        return [(*next(parts), prompt.mask) if block.cross is not None else None for block in self.blocks]

    @torch.no_grad()
    def start_text(self, weight: Tensor, bias: Tensor) -> None:
        """Let the first K channels of the embedded text be weight (K, text_dim) times the sentence plus bias (K,)."""
        embed: nn.Linear = self.text_embed    # pyright: ignore[reportAssignmentType]
        embed.weight[:len(weight)], embed.bias[:len(weight)] = weight, bias
        if self.text_to_latents is not None:
            self.text_to_latents.weight[:len(weight)] = TEXT_SHARE * weight


def initialise(model: nn.Module, gain: float) -> None:
    """Of every linear layer: zero biases, and normal weights of deviation 0.02 as published, or gain / sqrt(inputs),
    which suits any width."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=gain / math.sqrt(module.in_features) if gain else 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
