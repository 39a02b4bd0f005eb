"""Training with two forwards (section 3.4): the model learns to go on from latents that it predicted itself.

B clips, L latents (padded), C latent channels, D width; rows are the (clip, latent) pairs, flattened.
"""

import math

import torch
from torch import Tensor

from models.text_transformer import Prompt
from models.transformer import StreamingTransformer
from options.sampling import STEPS
from utils.distributed import mean_of_all, own_rows

REPEATS = 4    # of each latent's row in the loss, with a step and noise of its own each


def replaced_share(step: int, total_steps: int) -> float:
    """Share of the latents replaced by predictions: 1 - (1 + cos(pi step / total)) / 2, from 0 to 1."""
    return 1 - (1 + math.cos(math.pi * step / total_steps)) / 2


@torch.compiler.disable    # every step would be compiled again, for its number
def sample_replaced(count: int, step: int, total_steps: int, device: torch.device, most: float = 1.0) -> Tensor:
    """Which of `count` positions are replaced at this step."""
    return torch.randperm(count, device=device)[:int(count * most * replaced_share(step, total_steps))]


def scored_latents(count: int, lengths: Tensor, past: Tensor) -> Tensor:
    """Which of each clip's `count` latents have a loss (B, count): neither context, `past` (B,), nor padding."""
    position = torch.arange(count, device=lengths.device)
    return (position >= past[:, None]) & (position < lengths[:, None])


def two_forward_loss(model: StreamingTransformer, latents: Tensor, lengths: Tensor, text: Tensor, step: int,
                     total_steps: int, context_lengths: Tensor | None = None,
                     early: float = 0.0, replaced: float = 1.0, context_noise: float = 0.0, repeats: int = REPEATS,
                     prompt: Prompt | None = None, choices: "Choices | None" = None) -> Tensor:
    """Diffusion loss of the true latents under conditions that partly come from predicted ones.

    latents (B, L, C) of `lengths` (B,) valid latents each; text as `stack_texts` has it. Each valid row counts
    `repeats` times, with its own step and noise; the mean is over those of the whole batch.

    context_lengths  (B,) the leading latents that are only context (the stream's A), never replaced and without loss
    early            latent l (from 0, after the context) counts with probability early / (l + 1), if that is below 1, a
                     clip's last always: the first decide what a motion becomes, the last that it ends; 0: all count
    replaced         times the share of the schedule is replaced; 0: the first forward is left out
    context_noise    the most deviation, one for each clip, of noise on what the second forward conditions on: another
                     way to learn to go on from latents that are not quite right
    prompt           of the text, where the caller has it already
    choices          what is random; None: new ones
    """
    past = torch.zeros_like(lengths) if context_lengths is None else context_lengths
    random = choices or Choices(latents, model.most_latents + 1)
    scored = scored_latents(latents.shape[1], lengths, past)                                           # (B, L)
    prompt = model.prompt(text) if prompt is None else prompt

    # First forward, without gradient: predict x_0 of some latents, the same positions in every clip, from the truth.
    mask, mixed = scored & random.replaced_positions(step, total_steps, replaced), latents              # (B, L)
    t, noise = random.steps_and_noise(mask)
    if len(t):
        with torch.no_grad():
            conditions = model.conditions(latents[:, :-1], prompt, lengths - 1)[mask]                  # (rows, D)
            predicted = model.head.loss(latents[mask], conditions, t, noise)[1]
        mixed = latents.masked_scatter(mask[..., None], predicted.to(latents.dtype))
    if context_noise:
        mixed = mixed + random.clip_noise(context_noise)

    # Second forward: the diffusion loss of the true latents, conditioned on the mixture.
    if early:
        scored &= random.early(early, past) | (torch.arange(latents.shape[1], device=lengths.device)
                                              == lengths[:, None] - 1)
    conditions = model.conditions(mixed[:, :-1], prompt, lengths - 1)[scored].repeat(repeats, 1)       # (rows, D)
    t, noise = random.steps_and_noise(scored, repeats)
    return mean_of_all(model.head.loss(latents[scored].repeat(repeats, 1), conditions, t, noise)[0])


class Choices:
    """The random choices of a step. Ranks that share a batch sample alike for the whole of it and take their own rows
    (`utils/distributed.py`); and all is sampled for as many positions as the model sees, whatever the padding.
    """

    def __init__(self, latents: Tensor, context: int):
        self.clips, self.count, self.channels = latents.shape
        self.context, self.device = context, latents.device

    def replaced_positions(self, step: int, total_steps: int, most: float) -> Tensor:
        """Which positions the first forward replaces (L,)."""
        chosen = sample_replaced(self.context, step,    # pyright: ignore[reportCallIssue]  torch.compiler.disable
                                 total_steps, self.device, most)
        return torch.zeros(self.context, dtype=torch.bool, device=self.device).index_fill(0, chosen, True)[:self.count]

    def steps_and_noise(self, kept: Tensor, repeats: int = 1) -> tuple[Tensor, Tensor]:
        """Diffusion steps (R,) and noise (R, C) of the kept rows (B, L), `repeats` times."""
        shape = repeats, self.context
        t = own_rows(lambda whole: torch.randint(STEPS, (whole, *shape), device=self.device), self.clips)
        noise = own_rows(lambda whole: torch.randn(whole, *shape, self.channels, device=self.device), self.clips)
        t, noise = (x[:, :, :self.count].transpose(0, 1)[:, kept].flatten(0, 1) for x in (t, noise))
        return t, noise

    def clip_noise(self, most: float) -> Tensor:
        """Noise of another deviation from 0 to `most` for each clip (B, L, C)."""
        deviation = own_rows(lambda whole: torch.rand(whole, 1, 1, device=self.device), self.clips)
        shape = self.context, self.channels
        noise = own_rows(lambda whole: torch.randn(whole, *shape, device=self.device), self.clips)
        return most * deviation * noise[:, :self.count]

    def early(self, early: float, past: Tensor) -> Tensor:
        """Which latents count, each by its probability (B, L)."""
        uniform = own_rows(lambda whole: torch.rand(whole, self.context, device=self.device), self.clips)
        return uniform[:, :self.count] * (torch.arange(self.count, device=self.device) + 1 - past[:, None]) < early
