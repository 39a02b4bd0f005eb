"""The AR model: a causal transformer over [text, latent 1, latent 2, ...] with a diffusion head (section 3.3).

B rows, L latents, C latent channels, D width. The output at position i is the condition of latent i: position 0, the
text, predicts the first latent.
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
from options.models import AR, Sampling


ANEW = (8, 2)       # latents of the past before a prompt whose motion begins anew, then if it is over again
TEXT_SHARE = 0.2    # of the text in what a latent starts as, so that the latent itself still counts most


class StreamingTransformer(nn.Module):
    """Embeddings of text and latents, blocks, norm, linear: conditions for `head`, the diffusion head."""

    def __init__(self, config: AR):
        super().__init__()
        self.config = config
        width = config.width
        self.text_embed = Linear(config.text_dim, width)
        self.latent_embed = Linear(config.latent_dim, width)
        self.text_to_latents = Linear(config.text_dim, width, bias=False) if config.text_everywhere else None
        self.blocks = nn.ModuleList(Block(width, config.heads, config.context) for _ in range(config.layers))
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
        """latents (B, L, C), L >= 0, and sentence embeddings text (B, text_dim) -> conditions (B, L+1, D).

        With `lengths` (B,) only that many leading latents of each row count: the others cost nothing, and their
        conditions are zero.
        """
        x = self.prefix(latents, text)
        if lengths is None:
            return self.backbone(x)
        padding = Padding(torch.arange(x.shape[1], device=x.device) <= lengths[:, None])  # the text and the latents
        return padding.restore(self.backbone(padding.remove(x), padding))

    def prefix(self, latents: Tensor, text: Tensor) -> Tensor:
        """The embedded sequence [text, latents] (B, L+1, D)."""
        if latents.shape[1] >= self.config.context:
            raise ValueError(f"{latents.shape[1]} latents do not fit the context of {self.config.context} positions, "
                             f"one of which is the text: give at most {self.config.context - 1}")
        return torch.cat([self.text_embed(text)[:, None], self.embed(latents, text)], dim=1)

    def embed(self, latents: Tensor, text: Tensor) -> Tensor:
        """latents (B, L, C), text (B, text_dim) -> what the blocks see of them (B, L, D)."""
        x = self.latent_embed(latents)
        if self.text_to_latents is not None:
            x = x + self.text_to_latents(text)[:, None]
        return x

    @torch.no_grad()
    def start_text(self, weight: Tensor, bias: Tensor) -> None:
        """Let the first K channels of the embedded text be weight (K, text_dim) times the sentence plus bias (K,)."""
        self.text_embed.weight[:len(weight)], self.text_embed.bias[:len(weight)] = weight, bias
        if self.text_to_latents is not None:
            self.text_to_latents.weight[:len(weight)] = TEXT_SHARE * weight

    def backbone(self, x: Tensor, padding: Padding | None = None, kept: list[dict] | None = None) -> Tensor:
        """Embedded positions (B, L, D), or (N, D) with their `padding`, -> as many conditions.

        `kept`, a dict for each block, takes their keys and values.
        """
        count = padding.shape[1] if padding else x.shape[1]
        for block, block_kept in zip(self.blocks, kept or [None] * len(self.blocks)):
            x = block(x, self.rope[:, :count], padding, block_kept)
        return self.out(self.norm(x))

    @property
    def head_dim(self) -> int:
        return self.config.width // self.config.heads

    def read(self, latents: Tensor, text: Tensor) -> tuple[Tensor, "Memory"]:
        """One pass over text (B, text_dim) and latents (B, L, C) -> the condition of the next latent (B, D), and what
        `step` goes on from."""
        kept = [{} for _ in self.blocks]
        condition = self.backbone(self.prefix(latents, text), kept=kept)[:, -1]
        windows = [Window.of(block["k"], block["v"], self.config.context) for block in kept]
        return condition, Memory(torch.full((len(text),), latents.shape[1]),
                                 *(torch.stack(of_blocks, dim=1) for of_blocks in zip(*windows)))

    def step(self, latents: Tensor, text: Tensor, memory: "Memory") -> Tensor:
        """The next latent of each row (B, C) -> the condition of the one after it (B, D).

        What a latent sees: the text and the last context - 1 latents, itself included, so the cost stays the same.
        The text is never further away than the context, as in training.
        """
        last, device = self.config.context - 1, latents.device
        own = 1 + memory.seen % last                                                        # its slot; the text has 0
        slots = torch.stack([own, torch.zeros_like(own)], dim=1).to(device)                 # (B, 2)
        memory.seen += 1
        places = torch.stack([memory.seen, memory.seen, (memory.seen - last).clamp(min=0)], dim=1)
        rope = rope_table(places, self.head_dim)[..., None, None, :].to(device)             # (2, B, 3, 1, 1, D/H)
        void = torch.arange(1 + last) > memory.seen[:, None]
        hidden = torch.zeros(void.shape).masked_fill(void, -math.inf)[:, None, None].to(device)    # (B, 1, 1, W)
        given = memory.k, memory.v, memory.text, latents, text, rope, slots, hidden
        if records(device, len(latents)):
            return recorded(self.recordings, len(latents), partial(RecordedStep, self.advance, 2), *given)
        return self.advance(*given)

    def advance(self, k: Tensor, v: Tensor, text_key: Tensor, latents: Tensor, text: Tensor, rope: Tensor,
                slots: Tensor, hidden: Tensor) -> Tensor:
        """The work of `step`, whose windows k and v change; nothing here looks at a value."""
        x, turns = self.embed(latents[:, None], text), rope.unbind()                        # (B, 1, D)
        slots = slots[:, None, :, None].expand(-1, self.config.heads, -1, self.head_dim)    # (B, H, 2, D/H)
        for place, block in enumerate(self.blocks):
            x = block.step(x, turns, Window(k[:, place], v[:, place], text_key[:, place]), slots, hidden)
        return self.out(self.norm(x))[:, 0]


@dataclass
class Memory:
    """What the transformer keeps of B rows: the number of latents seen (B,), on the CPU, and the windows of its N
    blocks, k and v (B, N, H, W, D/H), text (B, N, 1, H, 1, D/H)."""
    seen: Tensor
    k: Tensor
    v: Tensor
    text: Tensor

    def tensors(self) -> list[Tensor]:
        return list(vars(self).values())

    def map(self, change: Callable[..., Tensor], *others: "Memory") -> "Memory":
        """`change` applied to each tensor, with the same of the others."""
        return Memory(*(change(*tensors) for tensors in zip(self.tensors(), *(other.tensors() for other in others))))


@dataclass(eq=False)
class Row:
    """One stream of latents.

    text     (text_dim,) embedding of its prompt
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
    empty     (text_dim,) embedding of the empty text
    Where there is guidance, each stream has two rows in the transformer's batch: its text's, then the empty text's.
    """

    def __init__(self, model: StreamingTransformer, sampling: Sampling, empty: Tensor):
        self.model, self.sampling, self.empty = model, sampling, empty
        self.guided = sampling.guidance != 1
        with torch.inference_mode():
            self.plan = model.head.plan(sampling.steps, sampling.solver, sampling.fitted)
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
                row.latents = torch.cat([row.latents, latents[place:place + 1]])[1 - self.model.config.context:]
                row.since_prompt += 1
        batch = latents.repeat_interleave(2, dim=0) if self.guided else latents
        self.condition = self.model.step(batch, self.texts(self.rows), self.memory)
        return latents, over

    def sample(self, rows: Sequence[Row]) -> Tensor:
        """A latent (R, C) for each of some rows, under their conditions."""
        noise = torch.stack([row.draw() for row in rows], dim=1).to(self.empty.device)          # (51, R, C)
        condition = self.condition[self.batch_rows([self.rows.index(row) for row in rows])]
        under = (condition[::2], condition[1::2]) if self.guided else (condition,)             # text, empty text
        head, how = self.model.head, self.sampling
        if records(condition.device, len(condition)):
            make = partial(RecordedSample, head, self.plan, how.guidance, how.temperature, how.tolerance)
            return recorded(self.model.recordings, (how, len(rows)), make, noise, *under)
        return head.sample(*under, guidance=how.guidance, temperature=how.temperature, start_noise=noise[0],
                           step_noise=noise[1:], plan=self.plan, tolerance=how.tolerance)

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
        texts, kept = self.texts([row]), row.latents[max(len(row.latents) - past, 0):]
        return self.model.read(kept.expand(len(texts), -1, -1), texts)

    def read_again(self, row: Row, past: int) -> None:
        batch = self.batch_rows([self.rows.index(row)])
        condition, memory = self.read(row, past)
        self.condition[batch] = condition
        self.memory.map(lambda all, own: all.index_copy_(0, torch.tensor(batch, device=all.device), own), memory)

    def texts(self, rows: Sequence[Row]) -> Tensor:
        """Embeddings (batch, text_dim) of what the rows' parts of the batch are told."""
        return torch.stack([text for row in rows for text in ([row.text, self.empty] if self.guided else [row.text])])

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
