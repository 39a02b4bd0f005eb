"""Streams of latents: each has a prompt, a past, noise of its own and an end; all move in one batch.

B streams, R of them, L latents, C latent channels, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from generation.fast import cache
from generation.fast.graphs import Graphs
from models.text_encoder import stack_texts
from models.transformer import StreamingTransformer
from options.sampling import STEPS, Calibration, Sampling

RESTART_CONTEXTS = (8, 2)       # latents of the past with which a prompt's motion starts again, then if it ends again


@dataclass(eq=False)
class Row:
    """One stream of latents.

    text          its prompt, (text_dim,) or the states of its tokens (N, text_dim)
    latents       (L, C) the last of those shown, at most as many as fit the context
    sample_noise  gives the noise of one latent: (51, C), the start and the 50 steps
    hold          whether it goes on when the prompt's motion is over
    coming        prompts that hold in turn, when the motion of the one before is over
    each          latents after which a prompt's motion is over at the latest, where another is coming
    """
    text: Tensor
    latents: Tensor
    sample_noise: Callable[[], Tensor]
    hold: bool = False
    coming: Sequence[Tensor] = ()
    each: int | None = None
    since_prompt: int = 0         # latents sampled under this prompt

    def ask(self, texts: Sequence[Tensor]) -> None:
        """Other prompts, one or several in turn."""
        self.text, *self.coming = texts
        self.since_prompt = 0


class LatentStreams:
    """Latents of several streams, one of each at a time. No row depends on the others.

    empty   the empty text, (text_dim,) or (N, text_dim)
    graphs  the model's, where a few streams run as CUDA graphs; it is accelerated then
    Where there is guidance, each stream has two rows in the transformer's batch: its text's, then the empty text's.
    """

    def __init__(self, model: StreamingTransformer, calibration: Calibration, sampling: Sampling, empty: Tensor,
                 graphs: Graphs | None = None):
        self.model, self.calibration, self.sampling, self.empty = model, calibration, sampling, empty
        self.graphs = graphs
        self.guided = sampling.guidance != 1
        self.end = torch.tensor(calibration.end_latent, device=empty.device)
        self.rows: list[Row] = []
        self.condition: Tensor | None = None                              # (batch, D)
        self.cache: cache.Cache | None = None
        self.unread: Tensor | None = None                                 # (R, C), what `step` gave last

    @torch.inference_mode()
    def start(self, row: Row) -> None:
        """Add a stream, behind the others."""
        self.put(row, *self.read(row, self.sampling.past))

    @torch.inference_mode()
    def put(self, row: Row, condition: Tensor, kept: cache.Cache) -> None:
        """Add a stream that was read or taken out, behind the others."""
        self.catch_up()
        if self.rows:
            condition = torch.cat([self.condition, condition])
            kept = self.cache.map(lambda *parts: torch.cat(parts), kept)
        self.rows.append(row)
        self.condition, self.cache = condition, kept

    @torch.inference_mode()
    def take(self, row: Row) -> tuple[Tensor, cache.Cache]:
        """Take a stream out, with what `put` needs for it to go on as if nothing had been."""
        self.catch_up()
        batch = self.batch_rows([self.rows.index(row)])
        kept = self.condition[batch], self.cache.map(lambda tensor: tensor[batch])
        self.drop([row])
        return kept

    def drop(self, rows: Sequence[Row]) -> None:
        """Take streams out."""
        self.catch_up()
        stay = [place for place, row in enumerate(self.rows) if row not in rows]
        kept = self.batch_rows(stay)
        self.rows = [self.rows[place] for place in stay]
        self.condition, self.cache = self.condition[kept], self.cache.map(lambda tensor: tensor[kept])

    @torch.inference_mode()
    def prompt(self, row: Row, texts: Sequence[Tensor]) -> None:
        """Another sentence, or several in turn, from the next latent on: the kept past is read again in one pass."""
        row.ask(texts)
        self.read_again(row, self.sampling.past)

    @torch.inference_mode()
    def step(self) -> tuple[Tensor, list[Row]]:
        """The next latent of each row (R, C), and the rows whose motion is over instead: drop or prompt them.

        A prompt's motion is over with a latent near the end latent, but not with its first. Then the row's next prompt
        holds; where there is none and the row holds, the motion starts again (`restart`).
        """
        self.catch_up()
        for row in self.rows:
            if row.coming and row.since_prompt == row.each:
                self.prompt(row, row.coming)
        latents, over = self.sample(self.rows), []
        for place, (row, near) in enumerate(zip(self.rows, self.near_end(latents).tolist())):
            if near and row.since_prompt:
                if row.coming:
                    self.prompt(row, row.coming)
                    latents[place] = self.sample([row])[0]
                elif row.hold:
                    latents[place] = self.restart(row)
                else:
                    over.append(row)
                    continue
            row.latents = torch.cat([row.latents, latents[place:place + 1]])[-self.model.most_latents:]
            row.since_prompt += 1
        self.unread = latents
        return latents, over

    @torch.inference_mode()
    def catch_up(self) -> None:
        """Read what `step` gave last: not at once, since no frame waits for that."""
        if self.unread is None:
            return
        latents, self.unread = self.unread, None
        inputs = cache.inputs(self.model, latents.repeat_interleave(2, dim=0) if self.guided else latents, self.cache)
        if self.graphs and self.graphs.fit(len(self.condition)):
            self.condition = self.graphs.advance(self.model, *inputs)
        else:
            self.condition = cache.advance(self.model, *inputs)

    def sample(self, rows: Sequence[Row]) -> Tensor:
        """A latent (R, C) for each of some rows, under their conditions."""
        noise = torch.stack([row.sample_noise() for row in rows], dim=1).to(self.empty.device)    # (51, R, C)
        condition = self.condition[self.batch_rows([self.rows.index(row) for row in rows])]
        text, empty = (condition[::2], condition[1::2]) if self.guided else (condition, None)
        if self.graphs and self.graphs.fit(len(condition)):
            return self.graphs.sample(self.model.head, self.sampling, noise, text, empty)
        return self.model.head.sample(text, empty, self.sampling, noise)

    def near_end(self, latents: Tensor) -> Tensor:
        """Which of the latents (R, C) say that the motion is over (R,)."""
        distance = (latents * self.calibration.latent_scale - self.end).norm(dim=-1)
        return distance < self.calibration.stop_threshold

    def restart(self, row: Row) -> Tensor:
        """A latent (C,) that does not end the motion: the prompt is read with so little of the past that its motion
        cannot be over. Two samples at most; if neither gives one, the last latent comes again."""
        for past in RESTART_CONTEXTS:
            self.read_again(row, past)
            latent = self.sample([row])
            if not self.near_end(latent):
                return latent[0]
        return row.latents[-1]

    def read(self, row: Row, past: int) -> tuple[Tensor, cache.Cache]:
        """One pass over a row's text and its last `past` latents: condition and cache of its part of the batch."""
        texts, kept = self.texts(row), row.latents[max(len(row.latents) - past, 0):]
        return cache.read(self.model, kept.expand(len(texts), -1, -1), texts)

    def read_again(self, row: Row, past: int) -> None:
        self.catch_up()
        batch = self.batch_rows([self.rows.index(row)])
        condition, kept = self.read(row, past)
        self.condition[batch] = condition
        self.cache.map(lambda all, own: all.index_copy_(0, torch.tensor(batch, device=all.device), own), kept)

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
