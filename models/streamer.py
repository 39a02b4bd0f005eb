"""The AR model: a causal transformer over [text, latent 1, latent 2, ...] with a diffusion head (section 3.3).

B rows, L latents, C latent channels, D width, P positions of the text (1 as published). The output at the text's last
position is the condition of the first latent, that at latent i the condition of latent i + 1.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from models.attention import Block, Padding, RMSNorm, Window, rope_table
from models.diffusion import STEPS
from models.head import DiffusionHead
from models.products import Linear
from models.recorded import RecordedSample, RecordedStep, recorded, records
from models.text_encoder import stack_texts
from models.text_transformer import Prompt, TextTransformer
from options.models import AR, Sampling


ANEW = (8, 2)       # latents of the past before a prompt whose motion begins anew, then if it is over again
TEXT_SHARE = 0.2    # of the text in what a latent starts as, so that the latent itself still counts most


class StreamingTransformer(nn.Module):
    """Embeddings of text and latents, blocks, norm, linear: conditions for `head`, the diffusion head."""

    def __init__(self, config: AR):
        super().__init__()
        self.config = config
        width = config.width
        tokens = config.text == "tokens"
        self.text_embed = None if tokens else Linear(config.text_dim, width)
        self.text = TextTransformer(config.text_dim, width, config.text_layers, config.heads,
                                    config.text_positions + config.text_everywhere) if tokens else None
        self.latent_embed = Linear(config.latent_dim, width)
        self.text_to_latents = Linear(width if tokens else config.text_dim, width,
                                      bias=False) if config.text_everywhere else None
        self.blocks = nn.ModuleList(Block(width, config.heads, config.context, config.looks_at_text(number))
                                    for number in range(config.layers))
        self.norm = RMSNorm(width)
        self.out = Linear(width, width)
        self.apply(initialise)
        positions = rope_table(torch.arange(config.context), self.head_dim)                # (2, context, D/H)
        self.register_buffer("rope", positions, persistent=False)
        self.head = DiffusionHead(config.latent_dim, width, config.head_width, config.head_depth,
                                  config.prediction)
        self.recordings: dict[Hashable, Callable[..., Tensor]] = {}                        # of its streams, on CUDA

    def __getstate__(self) -> dict:
        """What a copy takes: no recordings, which are of these weights."""
        return super().__getstate__() | dict(recordings={})

    def forward(self, latents: Tensor, text: Tensor, lengths: Tensor | None = None) -> Tensor:
        """latents (B, L, C), L >= 0, and texts as `stack_texts` gives them -> conditions (B, L+1, D).

        With `lengths` (B,) only that many leading latents of each row count: the others cost nothing, and their
        conditions are zero.
        """
        return self.conditions(latents, self.prompt(text), lengths)

    def prompt(self, text: Tensor) -> Prompt:
        """Texts of a batch, (B, text_dim) or (B, N, text_dim), as the blocks see them."""
        if self.text is None:
            positions, mask = self.text_embed(text)[:, None], text.new_ones(len(text), 0, dtype=torch.bool)
            states, everywhere = positions[:, :0], text
        else:
            states, pooled, mask = self.text(text)
            positions, everywhere = pooled[:, :self.config.text_positions], pooled[:, -1]
        added = torch.zeros_like(positions[:, 0]) if self.text_to_latents is None else self.text_to_latents(everywhere)
        seen = [block.cross.keys_values(states) for block in self.blocks if block.cross is not None]
        none = states.new_empty(len(states), 0, self.config.heads, states.shape[1], self.head_dim)
        k, v = (torch.stack(parts, dim=1) for parts in zip(*seen)) if seen else (none, none)
        return Prompt(positions, added[:, None], k, v, mask)

    def conditions(self, latents: Tensor, prompt: Prompt, lengths: Tensor | None = None) -> Tensor:
        """`forward` with the texts of `prompt`."""
        first = self.config.text_positions - 1
        x = self.prefix(latents, prompt)
        if lengths is None:
            return self.backbone(x, prompt)[:, first:]
        valid = torch.arange(x.shape[1], device=x.device) <= first + lengths[:, None]     # the text and the latents
        padding = Padding(valid)
        return padding.restore(self.backbone(padding.remove(x), prompt, padding))[:, first:]

    def prefix(self, latents: Tensor, prompt: Prompt) -> Tensor:
        """The embedded sequence [text, latents] (B, P+L, D)."""
        if latents.shape[1] > self.most_latents:
            raise ValueError(f"{latents.shape[1]} latents do not fit the context of {self.config.context} positions, "
                             f"{self.config.text_positions} of which the text has: give at most {self.most_latents}")
        return torch.cat([prompt.positions, self.embed(latents, prompt)], dim=1)

    def embed(self, latents: Tensor, prompt: Prompt) -> Tensor:
        """latents (B, L, C) -> what the blocks see of them (B, L, D)."""
        return self.latent_embed(latents) + prompt.everywhere

    @torch.no_grad()
    def start_text(self, weight: Tensor, bias: Tensor) -> None:
        """Let the first K channels of the embedded text be weight (K, text_dim) times the sentence plus bias (K,)."""
        self.text_embed.weight[:len(weight)], self.text_embed.bias[:len(weight)] = weight, bias
        if self.text_to_latents is not None:
            self.text_to_latents.weight[:len(weight)] = TEXT_SHARE * weight

    def backbone(self, x: Tensor, prompt: Prompt, padding: Padding | None = None,
                 kept: list[dict] | None = None) -> Tensor:
        """Embedded positions (B, L, D), or (N, D) with their `padding`, -> as many conditions.

        `kept`, a dict for each block, takes their keys and values.
        """
        count = padding.shape[1] if padding else x.shape[1]
        for block, text, block_kept in zip(self.blocks, self.seen_of(prompt), kept or [None] * len(self.blocks)):
            x = block(x, self.rope[:, :count], padding, block_kept, text)
        return self.out(self.norm(x))

    def seen_of(self, prompt: Prompt) -> list[tuple[Tensor, Tensor, Tensor] | None]:
        """What each block sees of a prompt's tokens, if it looks at them: keys, values and mask."""
        parts = iter(zip(prompt.k.unbind(dim=1), prompt.v.unbind(dim=1)))
        return [(*next(parts), prompt.mask) if block.cross is not None else None for block in self.blocks]

    @property
    def head_dim(self) -> int:
        return self.config.width // self.config.heads

    @property
    def most_latents(self) -> int:
        """That the context holds beside the text."""
        return self.config.context - self.config.text_positions

    def read(self, latents: Tensor, text: Tensor) -> tuple[Tensor, "Memory"]:
        """One pass over texts, as `stack_texts` gives them, and latents (B, L, C) -> the condition of the next latent
        (B, D), and what `step` goes on from."""
        kept, prompt = [{} for _ in self.blocks], self.prompt(text)
        condition = self.backbone(self.prefix(latents, prompt), prompt, kept=kept)[:, -1]
        windows = [Window.of(block, self.config.context, self.config.text_positions) for block in kept]
        return condition, Memory(torch.full((len(text),), latents.shape[1]),
                                 *(torch.stack(of_blocks, dim=1) for of_blocks in zip(*windows)), *prompt[1:])

    def step(self, latents: Tensor, memory: "Memory") -> Tensor:
        """The next latent of each row (B, C) -> the condition of the one after it (B, D).

        What a latent sees: the text and the last context - P latents, itself included, so the cost stays the same.
        The text is never further away than the context, as in training.
        """
        count, device = self.config.text_positions, latents.device
        last = self.most_latents
        own, of_text = count + memory.seen % last, torch.arange(count)                      # slots
        slots = torch.cat([own[:, None], of_text.expand(len(own), -1)], dim=1).to(device)   # (B, 1 + P)
        memory.seen += 1
        place = (count - 1 + memory.seen)[:, None]                                          # (B, 1)
        places = torch.cat([place, place, (memory.seen - last).clamp(min=0)[:, None] + of_text], dim=1)
        rope = rope_table(places, self.head_dim)[:, :, None].to(device)                     # (2, B, 1, 2 + P, D/H)
        void = torch.arange(self.config.context) > place
        hidden = torch.zeros(void.shape).masked_fill(void, -math.inf)[:, None, None].to(device)    # (B, 1, 1, W)
        given = *memory.tensors()[1:], latents, rope, slots, hidden
        if records(device, len(latents)):
            return recorded(self.recordings, len(latents), partial(RecordedStep, self.advance, 2), *given)
        return self.advance(*given)

    def advance(self, k: Tensor, v: Tensor, text: Tensor, everywhere: Tensor, text_k: Tensor, text_v: Tensor,
                mask: Tensor, latents: Tensor, rope: Tensor, slots: Tensor, hidden: Tensor) -> Tensor:
        """The work of `step`, whose windows k and v change; nothing here looks at a value."""
        prompt = Prompt(text, everywhere, text_k, text_v, mask)
        x, turns = self.embed(latents[:, None], prompt), rope.unbind()                      # (B, 1, D)
        slots = slots[:, None, :, None].expand(-1, self.config.heads, -1, self.head_dim)    # (B, H, 1 + P, D/H)
        for place, (block, seen) in enumerate(zip(self.blocks, self.seen_of(prompt))):
            x = block.step(x, turns, Window(k[:, place], v[:, place], text[:, place]), slots, hidden, seen)
        return self.out(self.norm(x))[:, 0]


@dataclass
class Memory:
    """What the transformer keeps of B rows: the number of latents seen (B,), on the CPU; the windows of its M blocks,
    k and v (B, M, H, W, D/H), text (B, M, H, P, D/H); and the rest of their `Prompt`."""
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

    def map(self, change: Callable[..., Tensor], *others: "Memory") -> "Memory":
        """`change` applied to each tensor, with the same of the others."""
        return Memory(*(change(*tensors) for tensors in zip(self.tensors(), *(other.tensors() for other in others))))


@dataclass(eq=False)
class Row:
    """One stream of latents.

    text     its prompt, (text_dim,) or the states of its tokens (N, text_dim)
    latents  (L, C) the last of those shown, at most as many as fit the context
    draw     gives the noise of one latent: (51, C), the start and the 50 steps
    hold     whether it goes on when the prompt's motion is over
    """
    text: Tensor
    latents: Tensor
    draw: Callable[[], Tensor]
    hold: bool = False
    since_prompt: int = 0         # latents drawn under this prompt


class LatentStreams:
    """Latents of several streams, one of each at a time. No row depends on the others.

    sampling  guidance, temperature, end of motions, and how much of the past a new prompt goes on from
    empty     the empty text, (text_dim,) or (N, text_dim)
    Where there is guidance, each stream has two rows in the transformer's batch: its text's, then the empty text's.
    """

    def __init__(self, model: StreamingTransformer, sampling: Sampling, empty: Tensor):
        self.model, self.sampling, self.empty = model, sampling, empty
        self.guided = sampling.guidance != 1
        with torch.inference_mode():
            self.plan = model.head.plan(sampling.steps, sampling.solver, sampling.fitted)
        self.tolerance = model.head.tolerance if sampling.tolerance is None else sampling.tolerance
        self.end = torch.tensor(sampling.end_latent, device=empty.device)
        self.rows: list[Row] = []
        self.condition: Tensor | None = None                              # (batch, D)
        self.memory: Memory | None = None

    @torch.inference_mode()
    def start(self, row: Row) -> None:
        """Add a stream, behind the others."""
        condition, memory = self.read(row, self.sampling.past)
        if self.rows:
            condition = torch.cat([self.condition, condition])
            memory = self.memory.map(lambda *parts: torch.cat(parts), memory)
        self.rows.append(row)
        self.condition, self.memory = condition, memory

    def drop(self, rows: Sequence[Row]) -> None:
        """Take streams out."""
        stay = [place for place, row in enumerate(self.rows) if row not in rows]
        kept = self.batch_rows(stay)
        self.rows = [self.rows[place] for place in stay]
        self.condition, self.memory = self.condition[kept], self.memory.map(lambda tensor: tensor[kept])

    @torch.inference_mode()
    def prompt(self, row: Row, text: Tensor) -> None:
        """Another sentence, from the next latent on: the kept past is read anew under it, in one pass."""
        row.text, row.since_prompt = text, 0
        self.read_again(row, self.sampling.past)

    @torch.inference_mode()
    def step(self) -> tuple[Tensor, list[Row]]:
        """The next latent of each row (R, C), and the rows whose motion is over instead: drop or prompt them.

        A prompt's motion is over with a latent near the end latent, but not with its first. Where the row holds, the
        motion begins anew instead (`begin_anew`).
        """
        latents = self.sample(self.rows)
        near = self.near_end(latents).tolist()
        over = [row for row, is_near in zip(self.rows, near) if is_near and row.since_prompt and not row.hold]
        for place, row in enumerate(self.rows):
            if near[place] and row.since_prompt and row.hold:
                latents[place] = self.begin_anew(row)
            if row not in over:
                row.latents = torch.cat([row.latents, latents[place:place + 1]])[-self.model.most_latents:]
                row.since_prompt += 1
        batch = latents.repeat_interleave(2, dim=0) if self.guided else latents
        self.condition = self.model.step(batch, self.memory)
        return latents, over

    def sample(self, rows: Sequence[Row]) -> Tensor:
        """A latent (R, C) for each of some rows, under their conditions."""
        noise = torch.stack([row.draw() for row in rows], dim=1).to(self.empty.device)          # (51, R, C)
        condition = self.condition[self.batch_rows([self.rows.index(row) for row in rows])]
        under = (condition[::2], condition[1::2]) if self.guided else (condition,)             # text, empty text
        head, how = self.model.head, self.sampling
        if records(condition.device, len(condition)):
            make = partial(RecordedSample, head, self.plan, how.guidance, how.temperature, self.tolerance)
            return recorded(self.model.recordings, (how, len(rows)), make, noise, *under)
        return head.sample(*under, guidance=how.guidance, temperature=how.temperature, start_noise=noise[0],
                           step_noise=noise[1:], plan=self.plan, tolerance=self.tolerance)

    def near_end(self, latents: Tensor) -> Tensor:
        """Which of the latents (R, C) say that the motion is over (R,)."""
        return (latents * self.sampling.latent_scale - self.end).norm(dim=-1) < self.sampling.stop_threshold

    def begin_anew(self, row: Row) -> Tensor:
        """A latent (C,) that does not end the motion: the prompt is read with so little of the past that its motion
        cannot be over. Two draws at most; if neither gives one, the last latent comes again."""
        for past in ANEW:
            self.read_again(row, past)
            latent = self.sample([row])
            if not self.near_end(latent):
                return latent[0]
        return row.latents[-1]

    def read(self, row: Row, past: int) -> tuple[Tensor, Memory]:
        """One pass over a row's text and its last `past` latents: condition and memory of its part of the batch."""
        texts, kept = self.texts(row), row.latents[max(len(row.latents) - past, 0):]
        return self.model.read(kept.expand(len(texts), -1, -1), texts)

    def read_again(self, row: Row, past: int) -> None:
        batch = self.batch_rows([self.rows.index(row)])
        condition, memory = self.read(row, past)
        self.condition[batch] = condition
        self.memory.map(lambda all, own: all.index_copy_(0, torch.tensor(batch, device=all.device), own), memory)

    def texts(self, row: Row) -> Tensor:
        """The text of a row, then the empty one where there is guidance, as `stack_texts` gives them."""
        return stack_texts([row.text, self.empty] if self.guided else [row.text], self.model.config.text_tokens)

    def batch_rows(self, places: Sequence[int]) -> list[int]:
        """Where the rows at these places are in the batch."""
        return [2 * place + half for place in places for half in (0, 1)] if self.guided else list(places)


def noise_of(seed: int, channels: int) -> Callable[[], Tensor]:
    """A stream's source of noise (51, channels), which depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(STEPS + 1, channels, generator=generator)


def initialise(module: nn.Module) -> None:
    """Normal weights of deviation 0.02, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
