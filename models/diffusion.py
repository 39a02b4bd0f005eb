"""Gaussian diffusion of single latents with the cosine schedule (Nichol and Dhariwal, arXiv 2102.09672).

R rows, C channels, S = 50 steps, t running from S - 1 (noise) to 0; sampling takes M moves, as many or fewer, K at once.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from options.models import SOLVERS, STEPS

LEAN = 0.5    # of signal x, by which x_0 follows x if the velocity stays: trained networks lean less, random ones more


class Move(NamedTuple):
    """From x_t towards x_0: x = from_start * ahead + from_x * x + deviation * noise, with
    ahead = x_0 + further * (x_0 - the x_0 of the move before)."""
    t: int
    from_start: float
    from_x: float
    deviation: float = 0.0
    further: float = 0.0


class Diffusion(nn.Module):
    """The schedule and its formulae. The coefficients are computed in float64 and kept in float32."""

    def __init__(self, steps: int = STEPS):
        super().__init__()
        self.steps = steps
        kept = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
        beta = (1 - kept[1:] / kept[:-1]).clip(max=0.999)
        self.alpha_bar = alpha_bar = (1 - beta).cumprod()
        coefficients = dict(
            signal=np.sqrt(alpha_bar), noise=np.sqrt(1 - alpha_bar),
            start_from_x=1 / np.sqrt(alpha_bar), start_from_noise=np.sqrt(1 / alpha_bar - 1),
        )
        for name, values in coefficients.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def add_noise(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise; start, noise (R, C), t (R,)."""
        return self.signal[t, None] * start + self.noise[t, None] * noise

    def velocity(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0 (Salimans and Ho, arXiv 2202.00512)."""
        return self.signal[t, None] * noise - self.noise[t, None] * start

    def noise_of_velocity(self, x: Tensor, t: Tensor | int, velocity: Tensor) -> Tensor:
        """The noise in x_t (R, C) that a velocity (R, C) means; t (R,) or a number."""
        return self.noise[t, ..., None] * x + self.signal[t, ..., None] * velocity

    def predict_start(self, x: Tensor, t: Tensor | int, noise: Tensor) -> Tensor:
        """x_0 (R, C) from x_t and the noise in it; t (R,) or a number."""
        return self.start_from_x[t, ..., None] * x - self.start_from_noise[t, ..., None] * noise

    def moves(self, steps: int, solver: str) -> list[Move]:
        """`steps` moves from t = S - 1 to x_0, evenly apart.

        ancestral  draws from the posterior of x_s given x_t and x_0 (DDPM, arXiv 2006.11239)
        ddim       follows the deterministic flow (arXiv 2010.02502, eta = 0)
        dpm++      the same to second order: x_0 is extrapolated from the last two (DPM-Solver++(2M), arXiv 2211.01095)
        """
        if not 1 <= steps <= self.steps or solver not in SOLVERS:
            raise ValueError(f"{steps} steps of the solver {solver!r}: expected 1 to {self.steps} of one of "
                             f"{', '.join(SOLVERS)}")
        moves, wide_before = [], math.inf                                  # wide: of a move, in log(signal / noise)
        times = [round(self.steps * (steps - number) / steps) - 1 for number in range(steps)]
        for t, s in zip(times, [*times[1:], None]):
            now, then = (1.0 if at is None else float(self.alpha_bar[at]) for at in (t, s))
            if solver == "ancestral":
                beta = 1 - now / then
                moves.append(Move(t, beta * math.sqrt(then) / (1 - now), (1 - then) * math.sqrt(1 - beta) / (1 - now),
                                  math.sqrt(beta * (1 - then) / (1 - now))))
                continue
            shrink = math.sqrt((1 - then) / (1 - now))
            wide = math.inf if s is None else math.log(then / (1 - then) * (1 - now) / now) / 2
            further = wide / (2 * wide_before) if solver == "dpm++" and s is not None else 0.0
            moves.append(Move(t, math.sqrt(then) - shrink * math.sqrt(now), shrink, further=further))
            wide_before = wide
        return moves

    def sample(self, denoise: Callable[[Tensor, slice], Tensor], start_noise: Tensor, step_noise: Tensor,
               temperature: float = 1.0, moves: Sequence[Move] | None = None, ahead: int = 1,
               tolerance: float = 0.0) -> Tensor:
        """x_0 (R, C) from start_noise (R, C) and step_noise (a row for each move, R, C), the first used at t = S - 1.

        `denoise(x, part)` gives the noise in points x (K, R, C) of the path, where the K moves of that part begin.
        `temperature` multiplies the step noise; where the moves have none, the start's.

        With `ahead` points at a time, those to come are guessed, and their x_0 predicted at once, and again at the
        points that follow from these predictions: what no longer moves by more than `tolerance` of its size is settled
        (Picard iteration, as in Shih et al., arXiv 2305.16317). Guessed is what x_0 does not owe to its own point: with
        x_0 = lean * x + rest, the path is a fixed sum of noises and rests. A rest changes less than its x_0.
        """
        moves = tuple(moves or self.moves(self.steps, "ancestral"))
        if len(step_noise) < len(moves):
            raise ValueError(f"noise for {len(step_noise)} steps, expected {len(moves)}")
        times = torch.tensor([move.t for move in moves], device=start_noise.device)[:, None]
        leans = LEAN * self.signal[times, None]                                                  # (M, 1, 1)
        of_noises, of_rests = (torch.tensor(part, dtype=start_noise.dtype).to(start_noise.device)      # no float64: MPS
                               for part in path(moves, tuple(LEAN * np.sqrt(self.alpha_bar[[m.t for m in moves]]))))
        noises = torch.cat([start_noise[None], temperature * step_noise[:len(moves)]])
        if not any(move.deviation for move in moves):
            noises[0] *= temperature
        still = of_noises @ noises.flatten(1)                                                    # (M + 1, R * C)
        points, rests, place = still, still.new_zeros(len(moves), still.shape[1]), 0
        while place < len(moves):
            part = slice(place, min(place + ahead, len(moves)))
            tried = points[part].view(-1, *start_noise.shape)
            found = self.predict_start(tried, times[part], denoise(tried, part))
            rests[part] = (found - leans[part] * tried).flatten(1)
            rests[part.stop:] = rests[part.stop - 1]
            points = still + of_rests @ rests
            place += 1
            if ahead > 1:
                moved = points[part][1:].view_as(tried[1:]) - tried[1:]
                settled = moved.abs().amax(dim=-1) <= tolerance * (1 + tried[1:].abs().amax(dim=-1))
                place += int(settled.all(dim=-1).cumprod(dim=0).sum())
        return points[-1].view_as(start_noise)


@lru_cache
def path(moves: tuple[Move, ...], leans: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """What each point of a path is made of: of the noises, the start's first (M + 1, M + 1), and of the rests
    (M + 1, M), of which each x_0 has its own besides its lean on the point (M,)."""
    own = np.eye(2 * len(moves) + 1)
    points, start = [own[0]], 0
    for number, (move, lean) in enumerate(zip(moves, leans)):
        before, start = start, lean * points[-1] + own[len(moves) + 1 + number]
        ahead = start + move.further * (start - before)
        points.append(move.from_start * ahead + move.from_x * points[-1] + move.deviation * own[1 + number])
    return tuple(np.split(np.stack(points), [len(moves) + 1], axis=1))
