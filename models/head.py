"""The diffusion head: an MLP with adaptive layer norm that denoises one latent under one condition (MAR's head).

R rows, B latents, C latent channels, D condition width, W head width.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diffusion import Diffusion
from options.sampling import STEPS, Sampling

TIME_CHANNELS = 256


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x * (1 + scale) + shift"""
    return torch.addcmul(shift, x, 1 + scale)


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


class ResidualBlock(nn.Module):
    """x + gate * mlp(norm(x) * (1 + scale) + shift); step and condition give shift, scale and gate (adaLN-Zero)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (R, W), c (R, W) behind its SiLU -> (R, W)"""
        shift, scale, gate = self.modulation(c).chunk(3, dim=-1)                            # (R, W) each
        return torch.addcmul(x, gate, self.mlp(modulate(self.norm(x), shift, scale)))


class DiffusionHead(nn.Module):
    """Noisy latent, step and condition in, noise or velocity out; `sample` takes all steps.

    At the last step, t = 49, an error of the noise is 30 times as large in the next x: an x_0 of norm 3 may come out
    as 500. A network that predicts the velocity instead leaves an error no room to grow.
    """
    blocks: Sequence[ResidualBlock]

    def __init__(self, latent_dim: int, condition_dim: int, width: int, depth: int, prediction: str = "noise"):
        super().__init__()
        self.latent_dim = latent_dim
        self.diffusion = Diffusion(prediction)
        self.time_embed = TimeEmbedding(width)
        self.condition_embed = nn.Linear(condition_dim, width)
        self.input = nn.Linear(latent_dim, width)
        self.blocks = nn.ModuleList(  # pyright: ignore[reportAttributeAccessIssue]
            ResidualBlock(width) for _ in range(depth))
        self.final_modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, latent_dim)
        self.initialise()

    def initialise(self) -> None:
        """Xavier weights and zero biases; the head starts as zero and its blocks as identities."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in self.time_embed.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
        for layer in (*self.modulations(), self.output):
            nn.init.zeros_(layer.weight)

    def modulations(self) -> list[nn.Linear]:
        """The layers that depend on step and condition but not on x."""
        return [*(block.modulation for block in self.blocks), self.final_modulation]

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """What is predicted (R, C) at latents x (R, C) of steps t (R,) under conditions (R, D)."""
        c = F.silu(self.time_embed(t) + self.condition_embed(condition))                    # (R, W)
        x = self.input(x)                                                                   # (R, W)
        for block in self.blocks:
            x = block(x, c)                                                                 # (R, W)
        shift, scale = self.final_modulation(c).chunk(2, dim=-1)                            # (R, W) each
        return self.output(modulate(F.layer_norm(x, x.shape[-1:], eps=1e-6), shift, scale))

    def loss(self, latents: Tensor, condition: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Per row: the mean squared error of what is predicted (R,), and the x_0 (R, C) that it means."""
        x = self.diffusion.add_noise(latents, t, noise)
        output = self(x, t, condition)
        error = (output - self.diffusion.target(latents, t, noise)) ** 2
        return error.mean(dim=-1), self.diffusion.start(x, t, output)

    @torch.no_grad()
    def sample(self, condition: Tensor, empty: Tensor | None = None, sampling: Sampling = Sampling(),
               noise: Tensor | None = None) -> Tensor:
        """Latents (B, C) under conditions (B, D).

        empty  (B, D) the conditions of the empty text, where there is guidance:
               output = empty's + guidance * (text's - empty's)
        noise  (1 + S, B, C): the start's, then that of each step, t = 49 first; both rows of a latent see the same.
               None: sampled
        """
        rows = condition if empty is None else torch.cat([condition, empty])                # (B or 2B, D)

        def predict_start(x: Tensor, t: int) -> Tensor:
            at = torch.full((len(rows),), t, device=x.device)
            output = self(x.repeat(len(rows) // len(x), 1), at, rows)                       # (B or 2B, C)
            if empty is not None:
                text, without = output.chunk(2)
                output = without + sampling.guidance * (text - without)
            return self.diffusion.start(x, t, output)

        if noise is None:
            noise = torch.randn(1 + STEPS, len(condition), self.latent_dim, device=condition.device)
        return self.diffusion.sample(predict_start, noise, sampling.steps, sampling.solver, sampling.temperature)
