"""Gaussian diffusion of single latents with the cosine schedule (Nichol and Dhariwal, arXiv 2102.09672).

R rows, C channels, S = 50 steps, t running from S - 1 (noise) to 0; sampling takes M moves, S or fewer, K at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from options.models import FORMULAE, STEPS

Predict = Callable[[Tensor, slice], Tensor]    # the x_0 of points (K, R, C), where the K moves of that part begin
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
    """The schedule and its formulae. The coefficients are computed in float64 and kept in torch's default type."""

    def __init__(self, steps: int = STEPS):
        super().__init__()
        self.steps = steps
        kept = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * math.pi / 2) ** 2
        beta = (1 - kept[1:] / kept[:-1]).clip(max=0.999)
        self.alpha_bar = alpha_bar = (1 - beta).cumprod()
        for name, values in dict(signal=np.sqrt(alpha_bar), noise=np.sqrt(1 - alpha_bar)).items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.get_default_dtype()), persistent=False)

    def add_noise(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise; start, noise (R, C), t (R,)."""
        return self.signal[t, None] * start + self.noise[t, None] * noise

    def velocity(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """v = sqrt(alpha_bar_t) noise - sqrt(1 - alpha_bar_t) x_0 (Salimans and Ho, arXiv 2202.00512)."""
        return self.signal[t, None] * noise - self.noise[t, None] * start

    def noise_of_velocity(self, x: Tensor, t: Tensor | int, velocity: Tensor) -> Tensor:
        """The noise in x_t (R, C) that a velocity (R, C) means; t (R,) or a number."""
        return self.noise[t, ..., None] * x + self.signal[t, ..., None] * velocity

    def path(self, steps: int, solver: str, lean: float = LEAN) -> "Path":
        """Through the `moves` of a solver."""
        moves = self.moves(steps, solver)
        level = np.sqrt(self.alpha_bar[[move.t for move in moves]])
        of_noises, of_rests = sums(moves, lean * level)
        if not any(move.deviation for move in moves):
            of_noises = of_noises[:, :1]
        of_points = (values[:, None, None] for values in
                     (np.array([move.t for move in moves]), level, np.sqrt(1 - level ** 2), lean * level))
        return Path(*(torch.tensor(values, dtype=self.signal.dtype).to(self.signal.device)         # no float64: MPS
                      for values in (*of_points, of_noises, of_rests)))

    def fitted_path(self, times: Tensor, noise: Tensor, starts: Tensor) -> "Path":
        """Through the K points of a `Fitted` solver: times and noise (K,), starts (K (K + 1) / 2)."""
        count = len(times)
        points, own = torch.tril_indices(count, count, device=starts.device)
        of_rests = starts.new_zeros(count + 1, count).index_put((points + 1, own), starts)
        level = ((times + 1).clamp(0.1, self.steps - 0.5) / self.steps + 0.008) / 1.008 * math.pi / 2
        signal = level.cos() / math.cos(0.008 / 1.008 * math.pi / 2)
        of_points = (values[:, None, None] for values in
                     (times, signal, (1 - signal ** 2).sqrt(), torch.zeros_like(times)))
        return Path(*of_points, torch.cat([noise.new_ones(1), noise])[:, None], of_rests)

    def moves(self, steps: int, solver: str) -> list[Move]:
        """`steps` moves from t = S - 1 to x_0, evenly apart.

        ancestral  draws from the posterior of x_s given x_t and x_0 (DDPM, arXiv 2006.11239)
        ddim       follows the deterministic flow (arXiv 2010.02502, eta = 0)
        dpm++      the same to second order: x_0 is extrapolated from the last two (DPM-Solver++(2M), arXiv 2211.01095)
        """
        if not 1 <= steps <= self.steps or solver not in FORMULAE:
            raise ValueError(f"{steps} steps of the solver {solver!r}: expected 1 to {self.steps} of one of "
                             f"{', '.join(FORMULAE)}")
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


@dataclass(eq=False)
class Path:
    """The points x from noise to x_0, M moves, as sums of what is drawn and of what is predicted.

    With x_0 = lean * x + rest at each point, the next one is a fixed sum of noises and rests. The rests are what a
    network finds; they change less along the path than x_0 does.

    times, signal, noise, leans   (M, 1, 1) of the points where moves begin
    of_noises                     (M + 1, M + 1) of the noises, the start's first; (M + 1, 1) if that is all
    of_rests                      (M + 1, M)
    """
    times: Tensor
    signal: Tensor
    noise: Tensor
    leans: Tensor
    of_noises: Tensor
    of_rests: Tensor

    @property
    def noisy(self) -> bool:
        """Whether its moves draw noise."""
        return self.of_noises.shape[1] > 1

    def still(self, start_noise: Tensor, step_noise: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """The noises' part of all points (M + 1, R, C), from start_noise (R, C) and step_noise (a row for each move,
        R, C), the first used at t = S - 1.

        `temperature` multiplies the step noise; where the moves have none, the start's.
        """
        count, noises = len(self.times), start_noise[None]
        if self.noisy:
            if len(step_noise) < count:
                raise ValueError(f"noise for {len(step_noise)} steps, expected {count}")
            noises = torch.cat([noises, temperature * step_noise[:count]])
        else:
            noises = temperature * noises
        return (self.of_noises @ noises.flatten(1)).view(-1, *start_noise.shape)

    def walk(self, predict: Predict, still: Tensor, ahead: int = 1, tolerance: float = 0.0) -> Tensor:
        """x_0 (R, C) from what is `still` (M + 1, R, C).

        With `ahead` points at a time, those to come are guessed, and their x_0 predicted at once, and again at the
        points that follow from these predictions: what no longer moves by more than `tolerance` of its size is settled
        (Picard iteration, as in Shih et al., arXiv 2305.16317). What is guessed are the rests: each the last one found.
        """
        count, points, rests, place = len(self.times), still, still[:0], 0
        while place < count:
            part = slice(place, min(place + ahead, count))
            tried = points[part]
            points, rests = self.again(predict, still, tried, rests[:place], part)
            place += 1
            if ahead > 1:
                place += int(self.settled(tried, points[part], tolerance))
        return points[-1]

    def again(self, predict: Predict, still: Tensor, tried: Tensor, rests: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """All points (M + 1, R, C) and rests (M, R, C), from those tried of a part (K, R, C) and the rests before it."""
        found = torch.addcmul(predict(tried, part), self.leans[part], tried, value=-1)
        rests = torch.cat([rests, found, found[-1:].expand(len(self.times) - part.stop, -1, -1)])
        return torch.addmm(still.flatten(1), self.of_rests, rests.flatten(1)).view_as(still), rests

    @staticmethod
    def settled(tried: Tensor, points: Tensor, tolerance: float) -> Tensor:
        """How many points (K, R, C) after the first have hardly moved, and none before them has."""
        moved, size = (points - tried)[1:].abs().amax(dim=-1), tried[1:].abs().amax(dim=-1)
        return (moved <= tolerance * (1 + size)).all(dim=-1).cumprod(dim=0).sum()


def of_start(prediction: str, signal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """x_0 = a x + b y, where y is the noise in x or the velocity, as `prediction` says: a and b at these levels."""
    return (signal, -noise) if prediction == "velocity" else (1 / signal, -noise / signal)


def sums(moves: Sequence[Move], leans: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """What each point of a path is made of: of the noises, the start's first (M + 1, M + 1), and of the rests
    (M + 1, M), of which each x_0 has its own besides its lean on the point (M,)."""
    own = np.eye(2 * len(moves) + 1)
    points, start = [own[0]], 0
    for number, (move, lean) in enumerate(zip(moves, leans)):
        before, start = start, lean * points[-1] + own[len(moves) + 1 + number]
        ahead = start + move.further * (start - before)
        points.append(move.from_start * ahead + move.from_x * points[-1] + move.deviation * own[1 + number])
    return tuple(np.split(np.stack(points), [len(moves) + 1], axis=1))
