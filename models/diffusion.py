"""Gaussian diffusion of single latents with the cosine schedule (Nichol and Dhariwal, arXiv 2102.09672).

R rows, C channels, S = 50 steps in training and in sampling; t runs from S - 1 (noise) to 0.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

STEPS = 50


class Diffusion(nn.Module):
    """The schedule and its formulae. The coefficients are computed in float64 and kept in float32."""

    def __init__(self, steps: int = STEPS):
        super().__init__()
        self.steps = steps
        time = torch.arange(steps + 1, dtype=torch.float64) / steps
        kept = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
        beta = (1 - kept[1:] / kept[:-1]).clamp(max=0.999)
        alpha_bar = (1 - beta).cumprod(0)
        before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
        coefficients = dict(
            signal=alpha_bar.sqrt(), noise=(1 - alpha_bar).sqrt(),
            start_from_x=1 / alpha_bar.sqrt(), start_from_noise=(1 / alpha_bar - 1).sqrt(),
            mean_from_start=beta * before.sqrt() / (1 - alpha_bar),
            mean_from_x=(1 - before) * (1 - beta).sqrt() / (1 - alpha_bar),
            deviation=(beta * (1 - before) / (1 - alpha_bar)).sqrt(),    # of the posterior; 0 at t = 0
        )
        for name, values in coefficients.items():
            self.register_buffer(name, values.float(), persistent=False)

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

    def sample(self, denoise: Callable[[Tensor, int], Tensor], start_noise: Tensor, step_noise: Tensor,
               temperature: float = 1.0) -> Tensor:
        """Ancestral sampling: x (R, C) from start_noise (R, C) and step_noise (S, R, C), index 0 used at t = S - 1.

        `denoise(x, t)` gives the noise in x; `temperature` multiplies the step noise.
        """
        x = start_noise
        for t, noise in zip(reversed(range(self.steps)), step_noise, strict=True):
            start = self.predict_start(x, t, denoise(x, t))
            mean = self.mean_from_start[t] * start + self.mean_from_x[t] * x
            x = mean + temperature * self.deviation[t] * noise
        return x
