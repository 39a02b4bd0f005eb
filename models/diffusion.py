"""Gaussian diffusion of single latents with the cosine schedule (Nichol and Dhariwal, arXiv 2102.09672).

R rows, C channels, S = 50 steps in training and in sampling; t runs from S - 1 (noise) to 0.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from options.models import SOLVERS, STEPS


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

    def sample(self, denoise: Callable[[Tensor, Tensor], Tensor], start_noise: Tensor, step_noise: Tensor,
               temperature: float = 1.0, moves: Sequence[Move] | None = None, ahead: int = 1,
               tolerance: float = 0.0) -> Tensor:
        """x_0 (R, C) from start_noise (R, C) and step_noise (a row for each move, R, C), the first used at t = S - 1.

        `denoise(x, number)` gives the noise in points x (K, R, C) of the path, where moves number (K, R) begin.
        `temperature` multiplies the step noise; where the moves have none, the start's.

        Each point of the path is a fixed sum of the noise and of the x_0 predicted at the points before. So the x_0 of
        `ahead` points can be predicted at once, from guessed points, and again from those that follow from them; a row
        goes on to the first point that still moves by more than `tolerance` of its size (Picard iteration, as in Shih
        et al., arXiv 2305.16317). So each point is settled to that tolerance; at 0 it is one move after another.
        """
        moves = tuple(moves or self.moves(self.steps, "ancestral"))
        if len(step_noise) < len(moves):
            raise ValueError(f"noise for {len(step_noise)} steps, expected {len(moves)}")
        of_first, of_noise, of_starts = (torch.tensor(part, dtype=start_noise.dtype).to(start_noise.device)
                                         for part in path(moves))                         # MPS knows no float64
        times = torch.tensor([move.t for move in moves], device=start_noise.device)
        size = start_noise.shape
        first = start_noise if any(move.deviation for move in moves) else temperature * start_noise
        still = torch.outer(of_first, first.flatten()) + temperature * of_noise @ step_noise[:len(moves)].flatten(1)
        points, starts = still.view(-1, *size), still.new_zeros(len(moves), *size)
        place, window = times.new_zeros(size[0]), torch.arange(ahead, device=times.device)[:, None]
        every = torch.arange(len(moves), device=times.device)[:, None]
        while bool((place < len(moves)).any()):
            number = (place + window).clamp(max=len(moves) - 1)                                 # (K, R)
            at = number[..., None].expand(-1, *size)
            tried = points.gather(0, at)
            starts.scatter_(0, at, self.predict_start(tried, times[number], denoise(tried, number)))
            known = torch.minimum(every, number[-1])                    # behind the window its last x_0 is the guess
            starts = starts.gather(0, known[..., None].expand(-1, *size))
            points = (still + of_starts @ starts.flatten(1)).view(-1, *size)
            moved = (points.gather(0, at) - tried).abs() > tolerance * (1 + tried.abs())
            settled = ~moved.any(dim=-1)
            settled[0] = True
            place = place + settled.cumprod(dim=0).sum(dim=0)
        return points[-1]


@lru_cache
def path(moves: tuple[Move, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each point of a path is made of: of the first (S + 1,), of the noises (S + 1, S), of the x_0 (S + 1, S)."""
    own = np.eye(len(moves))
    of_first, of_noise, of_starts = np.ones(1), np.zeros((1, len(moves))), np.zeros((1, len(moves)))
    for number, move in enumerate(moves):
        ahead = own[number] + move.further * (own[number] - own[number - 1])
        of_first = np.append(of_first, move.from_x * of_first[-1])
        of_noise = np.vstack([of_noise, move.from_x * of_noise[-1] + move.deviation * own[number]])
        of_starts = np.vstack([of_starts, move.from_x * of_starts[-1] + move.from_start * ahead])
    return of_first, of_noise, of_starts
