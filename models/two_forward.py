"""Training with two forwards (section 3.4): the model learns to go on from latents that it predicted itself.

B clips, L latents (padded), C latent channels, D width; rows are the (clip, latent) pairs, flattened.
"""

import math

import torch
from torch import Tensor

from models.diffusion import STEPS
from models.streamer import StreamingTransformer
from utils.distributed import mean_of_all, own_rows

REPEATS = 4    # of each latent's row in the loss, with a step and noise of its own each


def replaced_share(step: int, total_steps: int) -> float:
    """Share of the latents replaced by predictions: 1 - (1 + cos(pi step / total)) / 2, from 0 to 1."""
    return 1 - (1 + math.cos(math.pi * step / total_steps)) / 2


@torch.compiler.disable    # else every step would be compiled anew, for its number
def draw_replaced(count: int, step: int, total_steps: int, device: torch.device, most: float = 1.0) -> Tensor:
    """Which of `count` positions are replaced at this step."""
    return torch.randperm(count, device=device)[:int(count * most * replaced_share(step, total_steps))]


def scored_latents(count: int, lengths: Tensor, past: Tensor) -> Tensor:
    """Which of each clip's `count` latents have a loss (B, count): neither context, `past` (B,), nor padding."""
    position = torch.arange(count, device=lengths.device)
    return (position >= past[:, None]) & (position < lengths[:, None])


def two_forward_loss(model: StreamingTransformer, latents: Tensor, lengths: Tensor, text: Tensor, step: int,
                     total_steps: int, context_lengths: Tensor | None = None,
                     draws: dict[str, Tensor] | None = None, early: float = 0.0, replaced: float = 1.0,
                     context_noise: float = 0.0, repeats: int = REPEATS) -> Tensor:
    """Diffusion loss of the true latents under conditions that partly come from predicted ones.

    latents (B, L, C) of `lengths` (B,) valid latents each; text as `stack_texts` has it. The first forward conditions
    on the true latents; one diffusion draw a latent gives predicted x_0, without gradient. In the second forward they
    replace a random subset of positions (the same in every clip). Each valid row counts `repeats` times, with its own
    step and noise; the mean is over those of the whole batch. `context_lengths` (B,): the leading latents that are
    only context (the stream's A), never replaced and without loss. `draws` fixes every random choice: t_first,
    noise_first (B*L rows), replaced_positions, t_second, noise_second (the valid rows, tiled). What it does not fix is
    drawn for all positions that the model sees, whatever the padding. With `early`, latent l (from 0, after the
    context) counts with probability early / (l + 1), if that is below 1, a clip's last always: the first decide what a
    motion becomes, the last that it ends, the others go on with it. `replaced` times the share of the schedule is
    replaced, 0: the first forward is left out. What the second forward conditions on has noise of a deviation from 0
    to `context_noise`, one for each clip: another way to learn to go on from latents that are not quite right.
    """
    clips, count, channels = latents.shape
    context, device = model.most_latents + 1, latents.device
    draws = {name: torch.as_tensor(values, device=device) for name, values in (draws or {}).items()}
    position = torch.arange(count, device=device)
    first = torch.zeros_like(lengths) if context_lengths is None else context_lengths
    scored = scored_latents(count, lengths, first)                                        # (B, L)

    chosen = draws.get("replaced_positions")
    if chosen is None:
        chosen = draw_replaced(context, step, total_steps, device, replaced)
    mask = scored & torch.zeros(context, dtype=torch.bool, device=device).index_fill(0, chosen, True)[:count]

    def draw(name: str, rows: Tensor, kept: Tensor, repeats: int = 1) -> tuple[Tensor, Tensor]:
        """Diffusion steps and noise: the given rows of the recorded draws, or fresh ones of the kept (B, L), tiled."""
        if f"t_{name}" in draws:
            return draws[f"t_{name}"][rows], draws[f"noise_{name}"][rows]
        t = own_rows(lambda whole: torch.randint(STEPS, (whole, repeats, context), device=device), clips)
        noise = own_rows(lambda whole: torch.randn(whole, repeats, context, channels, device=device), clips)
        return tuple(x[:, :, :count].transpose(0, 1)[:, kept].flatten(0, 1) for x in (t, noise))

    mixed, prompt = latents, model.prompt(text)
    t, noise = draw("first", mask.flatten().nonzero()[:, 0], mask)
    if len(t):                                             # only the rows that will be used are predicted
        with torch.no_grad():
            conditions = model.conditions(latents[:, :-1], prompt, lengths - 1)[mask]                  # (rows, D)
            predicted = model.head.loss(latents[mask], conditions, t, noise)[1]
        mixed = latents.masked_scatter(mask[..., None], predicted.to(latents.dtype))
    if context_noise:
        deviation = own_rows(lambda whole: torch.rand(whole, 1, 1, device=device), clips)
        mixed = mixed + context_noise * deviation * own_rows(
            lambda whole: torch.randn(whole, context, channels, device=device), clips)[:, :count]

    if early:
        drawn = own_rows(lambda whole: torch.rand(whole, context, device=device), clips)[:, :count]
        scored &= (drawn * (position + 1 - first[:, None]) < early) | (position == lengths[:, None] - 1)
    conditions = model.conditions(mixed[:, :-1], prompt, lengths - 1)[scored].repeat(repeats, 1)       # (rows, D)
    t, noise = draw("second", torch.arange(len(conditions), device=device), scored, repeats)
    return mean_of_all(model.head.loss(latents[scored].repeat(repeats, 1), conditions, t, noise)[0])
