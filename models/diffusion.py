"""Gaussian diffusion of single latents with the cosine schedule (Nichol and Dhariwal, arXiv 2102.09672).

R rows, C channels, S = 50 steps, t running from S - 1 (noise) to 0; sampling takes M moves, S or fewer.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from options.sampling import FORMULAE, STEPS

PredictStart = Callable[[Tensor, int], Tensor]    # the x_0 (R, C) that a network finds in x (R, C) at step t


class Move(NamedTuple):
    """From x_t towards x_0: x = start_coef * extrapolated + x_coef * x + noise_coef * noise, with
    extrapolated = x_0 + extrapolation * (x_0 - the x_0 of the move before)."""
    t: int
    start_coef: float
    x_coef: float
    noise_coef: float = 0.0
    extrapolation: float = 0.0


class Diffusion(nn.Module):
    """The schedule, what is predicted (noise or velocity), and sampling. The coefficients are computed in float64 and
    kept in torch's default type."""
    signal: Tensor
    noise: Tensor

    def __init__(self, prediction: str = "noise"):
        super().__init__()
        self.prediction = prediction
        kept = np.cos((np.arange(STEPS + 1) / STEPS + 0.008) / 1.008 * math.pi / 2) ** 2
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

    def target(self, start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What the network learns to predict (R, C)."""
        return self.velocity(start, t, noise) if self.prediction == "velocity" else noise

    def start(self, x: Tensor, t: Tensor | int, output: Tensor) -> Tensor:
        """The x_0 (R, C) that the network's output (R, C) means at x (R, C); t (R,) or a number."""
        x_coef, output_coef = self.start_coefs(self.signal[t, ..., None], self.noise[t, ..., None])
        return x_coef * x + output_coef * output

    def start_coefs(self, signal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """x_0 = a x + b output: a and b at these levels of signal and noise."""
        return (signal, -noise) if self.prediction == "velocity" else (1 / signal, -noise / signal)

    @torch.no_grad()
    def sample(self, predict: PredictStart, noise: Tensor, steps: int = STEPS, solver: str = "ancestral",
               temperature: float = 1.0) -> Tensor:
        """From noise to x_0 (R, C), by the moves of a solver.

        noise        (1 + S, R, C): where to start, then the noise of each move, of which only ancestral has any
        temperature  factor of the moves' noise; where they have none, of the start's
        """
        moves = self.moves(steps, solver)
        noisy = any(move.noise_coef for move in moves)
        x = start_before = noise[0] if noisy else temperature * noise[0]
        for number, move in enumerate(moves, start=1):
            # Predict what is left when all noise is gone.
            start = predict(x, move.t)
            # A solver of second order extrapolates it from the one before.
            ahead = start + move.extrapolation * (start - start_before) if move.extrapolation else start
            # Go to the next level of noise, on the line between x and it.
            x = move.start_coef * ahead + move.x_coef * x
            # Ancestral sampling replaces a part of the noise by new noise.
            if move.noise_coef:
                x = x + temperature * move.noise_coef * noise[number]
            start_before = start
        return x

    def moves(self, steps: int, solver: str) -> list[Move]:
        """`steps` moves from t = S - 1 to x_0, evenly apart.

        ancestral  samples the posterior of x_s given x_t and x_0 (DDPM, arXiv 2006.11239)
        ddim       follows the deterministic flow (arXiv 2010.02502, eta = 0)
        dpm++      the same to second order: x_0 is extrapolated from the last two (DPM-Solver++(2M), arXiv 2211.01095)
        """
        if not 1 <= steps <= STEPS or solver not in FORMULAE:
            raise ValueError(f"{steps} steps of the solver {solver!r}: expected 1 to {STEPS} of one of "
                             f"{', '.join(FORMULAE)}")
        moves, width_before = [], math.inf                                 # width: of a move, in log(signal / noise)
        times = [round(STEPS * (steps - number) / steps) - 1 for number in range(steps)]
        for t, s in zip(times, [*times[1:], None]):
            now, then = (1.0 if at is None else float(self.alpha_bar[at]) for at in (t, s))
            if solver == "ancestral":
                beta = 1 - now / then
                moves.append(Move(t, beta * math.sqrt(then) / (1 - now), (1 - then) * math.sqrt(1 - beta) / (1 - now),
                                  math.sqrt(beta * (1 - then) / (1 - now))))
                continue
            shrink = math.sqrt((1 - then) / (1 - now))
            width = math.inf if s is None else math.log(then / (1 - then) * (1 - now) / now) / 2
            extrapolation = width / (2 * width_before) if solver == "dpm++" and s is not None else 0.0
            moves.append(Move(t, math.sqrt(then) - shrink * math.sqrt(now), shrink, extrapolation=extrapolation))
            width_before = width
        return moves
