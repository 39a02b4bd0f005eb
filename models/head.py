"""The diffusion head: an MLP with adaptive layer norm that denoises one latent under one condition (MAR's head).

R rows, C latent channels, D condition width, W head width, M moves.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diffusion import Diffusion, Path, Predict, of_start
from models.products import Linear
from options.models import TOLERANCES, Fitted

TIME_CHANNELS = 256
ROWS = 12           # of a product that takes hardly longer than two rows: the weights come from memory once
NARROW = 1024       # a head's width up to which its many small operations take longer than its products
PASSES = 2          # at least over a path: what is guessed must be drawn again
FEW = 10            # moves of a path that take about as many passes over all of it


class TimeEmbedding(nn.Module):
    """Diffusion step -> (.., W): 256 sinusoids (cosines first, max period 10000), then linear, SiLU, linear."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(Linear(TIME_CHANNELS, width), nn.SiLU(), Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        half = TIME_CHANNELS // 2
        frequency = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
        angle = t[..., None].float() * frequency
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))


class ResidualBlock(nn.Module):
    """x + gate * mlp(norm(x) * scale + shift); shift, scale - 1 and gate come from `modulation`."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, width))
        self.modulation = Linear(width, 3 * width)

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
        self.rows = ROWS if width > NARROW else 2 * ROWS
        self.tolerance = TOLERANCES["float32"]                            # of `sample`, where none is asked for
        self.diffusion = Diffusion()
        self.time_embed = TimeEmbedding(width)
        self.condition_embed = Linear(condition_dim, width)
        self.input = Linear(latent_dim, width)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.final_modulation = Linear(width, 2 * width)
        self.product: nn.Module | None = None                             # in place of all modulations, for inference
        self.output = Linear(width, latent_dim)
        self.reset_parameters()

    def reset_parameters(self):
        """Xavier weights and zero biases; the head starts as zero and its blocks as identities."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in (self.time_embed.mlp[0], self.time_embed.mlp[2]):
            nn.init.normal_(layer.weight, std=0.02)
        for layer in (*self.modulated(), self.output):
            nn.init.zeros_(layer.weight)

    def modulated(self) -> list[nn.Linear]:
        """The layers that depend on step and condition but not on x."""
        return [*(block.modulation for block in self.blocks), self.final_modulation]

    def modulations(self, embedded: Tensor, condition: Tensor) -> list[Tensor]:
        """Everything that depends on step and condition but not on x: shift, 1 + scale and gate (.., W) of each of N
        blocks, shift and 1 + scale of the last layer; from embedded steps (.., W) and conditions (.., D)."""
        y = F.silu(embedded + self.condition_embed(condition))
        found = (layer(y).split(y.shape[-1], dim=-1) for layer in self.modulated())
        return [values for shift, scale, *gate in found for values in (shift, 1 + scale, *gate)]

    def joined_modulations(self, embedded: Tensor, condition: Tensor) -> Tensor:
        """The same as one (.., 3 N + 2, W)."""
        if self.product is None:
            return torch.stack(self.modulations(embedded, condition), dim=-2)
        y = F.silu(embedded + self.condition_embed(condition))
        found = self.product(y).unflatten(-1, (-1, y.shape[-1]))
        found[..., 1::3, :] += 1
        return found

    def network(self, x: Tensor, modulations: Sequence[Tensor]) -> Tensor:
        """The MLP: noisy latents (R, C) -> their noise or velocity (R, C), as `prediction` says."""
        x, (*of_blocks, shift, scale) = self.input(x), modulations                          # (R, W) each
        for number, block in enumerate(self.blocks):
            x = block(x, *of_blocks[3 * number:3 * number + 3])                             # (R, W)
        return self.output(torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), scale))

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The noise (R, C) in latents x (R, C) at steps t (R,) under conditions (R, D)."""
        output = self.network(x, self.modulations(self.time_embed(t), condition))
        return self.diffusion.noise_of_velocity(x, t, output) if self.prediction == "velocity" else output

    def loss(self, latents: Tensor, condition: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Per row: the mean squared error of what is predicted (R,), and the x_0 (R, C) that it implies."""
        x = self.diffusion.add_noise(latents, t, noise)
        output = self.network(x, self.modulations(self.time_embed(t), condition))
        target = self.diffusion.velocity(latents, t, noise) if self.prediction == "velocity" else noise
        of_x, of_output = of_start(self.prediction, self.diffusion.signal[t, None], self.diffusion.noise[t, None])
        return ((output - target) ** 2).mean(dim=-1), of_x * x + of_output * output

    def plan(self, steps: int | None = None, solver: str = "ancestral", fitted: Sequence[Fitted] = ()) -> "Plan":
        """What `sample` does with so many steps (None: all) of a solver: one of `Diffusion.moves`, or of the fitted."""
        steps = self.diffusion.steps if steps is None else steps
        if solver != "fitted":
            return self.plan_of(self.diffusion.path(steps, solver))
        of_steps = {len(one.times): one for one in fitted}
        if steps not in of_steps:
            raise ValueError(f"no solver of {steps} steps was fitted to this model, only of "
                             f"{', '.join(map(str, of_steps)) or 'none'}: give --steps one of them, or --solver dpm++, "
                             "or fit one: python fit_solver.py")
        like = self.diffusion.signal
        times, noise, starts, guiding = (like.new_tensor(values) for values in astuple(of_steps[steps]))
        return self.plan_of(self.diffusion.fitted_path(times, noise, starts), guiding)

    def plan_of(self, path: Path, guiding: Tensor | None = None) -> "Plan":
        """Of a path, and of what guidance beyond 1 is multiplied by at its points (M,)."""
        guiding = torch.ones_like(path.times) if guiding is None else guiding[:, None, None]
        of_x, of_output = of_start(self.prediction, path.signal, path.noise)
        return Plan(path, self.time_embed(path.times[:, 0]), of_x, of_output, guiding)

    def sample(self, condition: Tensor, empty: Tensor | None = None, guidance: float = 1.0, temperature: float = 1.0,
               start_noise: Tensor | None = None, step_noise: Tensor | None = None, plan: "Plan | None" = None,
               tolerance: float = 0.0) -> Tensor:
        """Draw latents (B, C) under conditions (B, D).

        empty          (B, D) the conditions of the empty text: noise = empty + guidance * (text - empty)
        start_noise    (B, C), step_noise (50, B, C), index 0 used at t = 49; drawn when not given. Both guidance rows
                       see the same noise.
        plan           this head's own `plan`, which may serve for many latents; None: of all steps
        tolerance      above 0 some steps of a lone latent are done at once, since two rows leave a processor idle; to
                       this tolerance as `Path.walk` has it. In a batch no latent depends on the others
        """
        plan = plan or self.plan()
        shape = (len(condition), self.latent_dim)
        start_noise = condition.new_empty(shape).normal_() if start_noise is None else start_noise
        if step_noise is None and plan.path.noisy:
            step_noise = condition.new_empty(len(plan.path.times), *shape).normal_()
        predict = self.predictor(plan, condition, empty, guidance)
        still = plan.path.still(start_noise, step_noise, temperature)
        return plan.path.walk(predict, still, self.ahead(plan, tolerance, condition, empty is not None), tolerance)

    def ahead(self, plan: "Plan", tolerance: float, condition: Tensor, guided: bool) -> int:
        """How many points of a plan's path are looked at at once, under conditions (B, D)."""
        moves = len(plan.path.times)
        if not tolerance or len(condition) > 1:
            return 1
        if condition.device.type == "cpu":
            return max(1, min(self.rows // (1 + guided), moves // PASSES))
        return moves if moves > FEW else 1               # more rows cost a GPU hardly anything; that the host looks does

    def predictor(self, plan: "Plan", condition: Tensor, empty: Tensor | None, guidance: float) -> Predict:
        """The guided x_0 of points on a plan's path; what depends on the conditions alone is computed here, once."""
        _, embedded, of_x, of_output, guiding = plan
        both, rows = condition if empty is None else torch.cat([condition, empty]), len(condition)  # (B or 2B, D)
        modulations = self.joined_modulations(embedded, both)                            # (M, B or 2B, 3 N + 2, W)
        weight = 1 + (guidance - 1) * guiding                                            # (M, 1, 1)

        def predict(x: Tensor, part: slice) -> Tensor:
            output = self.network(x[:, None].expand(-1, len(both) // rows, -1, -1).flatten(0, 2),
                                  modulations[part].flatten(0, 1).unbind(dim=1))
            text, *empty_text = output.unflatten(0, (len(x), -1, rows)).unbind(dim=1)    # (K, B, C) each
            guided = torch.lerp(*empty_text, text, weight[part]) if empty_text else text
            return torch.addcmul(of_x[part] * x, of_output[part], guided)

        return predict


class Plan(NamedTuple):
    """The M moves of a head's `sample`: their path, its embedded steps (M, 1, W), what of x and of the network's output
    makes x_0, and what guidance is multiplied by (M, 1, 1)."""
    path: Path
    embedded: Tensor
    of_x: Tensor
    of_output: Tensor
    guiding: Tensor
