"""The diffusion head: an MLP with adaptive layer norm that denoises one latent under one condition (MAR's head).

R rows, C latent channels, D condition width, W head width, S diffusion steps.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diffusion import Diffusion

TIME_CHANNELS = 256


class TimeEmbedding(nn.Module):
    """Diffusion step -> (.., W): 256 sinusoids (cosines first, max period 10000), then linear, SiLU, linear."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_CHANNELS, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        half = TIME_CHANNELS // 2
        frequency = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
        angle = t[..., None].float() * frequency
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))


class Modulation(nn.Linear):
    """A linear layer that sees the rows of all steps at once."""


class ResidualBlock(nn.Module):
    """x + gate * mlp(norm(x) * (1 + scale) + shift); shift, 1 + scale and gate come from `modulation`."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = Modulation(width, 3 * width)

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        return torch.addcmul(x, gate, self.mlp(torch.addcmul(shift, self.norm(x), scale)))


class DiffusionHead(nn.Module):
    """Noisy latent, step and condition in, noise out; `sample` runs all steps.

    At the last step, t = 49, an error of the noise is 30 times as large in the next x: an x_0 of norm 3 may come out
    as 500. A network that predicts the velocity instead leaves an error no room to grow. Its noise is returned.
    """

    def __init__(self, latent_dim: int, condition_dim: int, width: int, depth: int, prediction: str = "noise"):
        super().__init__()
        self.latent_dim, self.prediction = latent_dim, prediction
        self.diffusion = Diffusion()
        self.time_embed = TimeEmbedding(width)
        self.condition_embed = nn.Linear(condition_dim, width)
        self.input = nn.Linear(latent_dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.final_modulation = Modulation(width, 2 * width)
        self.output = nn.Linear(width, latent_dim)
        self.reset_parameters()

    def reset_parameters(self):
        """Xavier weights and zero biases; the head starts as zero and its blocks as identities."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in (self.time_embed.mlp[0], self.time_embed.mlp[2]):
            nn.init.normal_(layer.weight, std=0.02)
        for layer in (*(block.modulation for block in self.blocks), self.final_modulation, self.output):
            nn.init.zeros_(layer.weight)

    def modulations(self, t: Tensor, condition: Tensor) -> list[tuple[Tensor, ...]]:
        """Everything that depends on step and condition but not on x: shift, 1 + scale and gate (.., W) of each block,
        shift and 1 + scale of the last layer."""
        y = F.silu(self.time_embed(t) + self.condition_embed(condition))
        layers = [*(block.modulation for block in self.blocks), self.final_modulation]
        parts = [layer(y).unflatten(-1, (-1, y.shape[-1])).unbind(-2) for layer in layers]
        return [(shift, 1 + scale, *gate) for shift, scale, *gate in parts]

    def network(self, x: Tensor, modulations: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """The MLP: noisy latents (R, C) -> their noise or velocity (R, C), as `prediction` says."""
        x = self.input(x)                                                 # (R, W)
        for block, modulation in zip(self.blocks, modulations):
            x = block(x, *modulation)                                     # (R, W)
        shift, scale = modulations[-1]
        return self.output(torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), scale))

    def noise_in(self, x: Tensor, t: Tensor | int, output: Tensor) -> Tensor:
        """The noise (R, C) in x (R, C) that the network's output means."""
        return self.diffusion.noise_of_velocity(x, t, output) if self.prediction == "velocity" else output

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The noise (R, C) in latents x (R, C) at steps t (R,) under conditions (R, D)."""
        return self.noise_in(x, t, self.network(x, self.modulations(t, condition)))

    def loss(self, latents: Tensor, condition: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Per row: the mean squared error of what is predicted (R,), and the x_0 (R, C) that it implies."""
        x = self.diffusion.add_noise(latents, t, noise)
        output = self.network(x, self.modulations(t, condition))
        target = self.diffusion.velocity(latents, t, noise) if self.prediction == "velocity" else noise
        return ((output - target) ** 2).mean(dim=-1), self.diffusion.predict_start(x, t, self.noise_in(x, t, output))

    @torch.no_grad()
    def sample(self, condition: Tensor, empty: Tensor | None = None, guidance: float = 1.0, temperature: float = 1.0,
               start_noise: Tensor | None = None, step_noise: Tensor | None = None, steps: int | None = None,
               solver: str = "ancestral") -> Tensor:
        """Draw latents (B, C) under conditions (B, D).

        empty          (B, D) the conditions of the empty text: noise = empty + guidance * (text - empty)
        start_noise    (B, C), step_noise (50, B, C), index 0 used at t = 49; drawn when not given. Both guidance rows
                       see the same noise.
        steps, solver  as `Diffusion.moves` has them; None: all steps
        """
        rows, all_steps = condition.shape[0], self.diffusion.steps
        shape = (rows, self.latent_dim)
        start_noise = condition.new_empty(shape).normal_() if start_noise is None else start_noise
        step_noise = condition.new_empty(all_steps, *shape).normal_() if step_noise is None else step_noise
        moves = self.diffusion.moves(all_steps if steps is None else steps, solver)
        times = torch.tensor([move.t for move in moves], device=condition.device)[:, None]
        both = condition if empty is None else torch.cat([condition, empty])
        of_all = self.modulations(times, both)                                       # (S, B or 2B, W) each
        at = {move.t: modulations for move, modulations in zip(
            moves, zip(*(zip(*(part.unbind() for part in parts)) for parts in of_all)))}

        def denoise(x: Tensor, t: int) -> Tensor:
            if empty is None:
                return self.noise_in(x, t, self.network(x, at[t]))
            with_text, without = self.network(torch.cat([x, x]), at[t]).chunk(2)     # noise is linear in the output
            return self.noise_in(x, t, torch.lerp(without, with_text, guidance))

        return self.diffusion.sample(denoise, start_noise, step_noise, temperature, moves)
