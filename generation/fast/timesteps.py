"""Diffusion timesteps in parallel: `DiffusionHead.sample` as a fixed-point (Picard) iteration over several of them.

A lone latent's pass through the head has two rows, but takes the time that its weights need from memory: twelve rows
take hardly longer. So several points of the way from noise to x_0 are initialised, the head runs at all of them at
once, and again at the points that follow from what it found, until these converge (Shih et al., arXiv 2305.16317).

B latents, C channels, D condition width, W head width, M moves, K of them at once, N blocks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diffusion import Diffusion, Move
from models.head import DiffusionHead
from options.sampling import STEPS, Fitted, Sampling

PredictStarts = Callable[[Tensor, slice], Tensor]    # the x_0 of points (K, B, C), where the K moves of that part begin
LEAN = 0.5          # of signal x, by which x_0 follows x if the velocity stays; trained networks lean less
ROWS = 12           # of a pass that takes hardly longer than one of two rows
NARROW = 1024       # a head's width up to which small operations take longer than linear layers: twice the rows
PASSES = 2          # at least over a path: what was initialised must be computed again
FEW = 10            # moves of a path that take about as many passes over all of it


@dataclass(eq=False)
class Path:
    """The points x from noise to x_0, M moves, as sums of noises and of predictions.

    With x_0 = lean * x + rest at each point, the next point is a fixed sum of noises and rests. The rests are what the
    network finds; they change less along the path than x_0 does.

    times, signal, noise, leans   (M, 1, 1) of the points where moves begin
    noise_coefs                   (M + 1, M + 1) of the noises, the start's first; (M + 1, 1) if that is all
    rest_coefs                    (M + 1, M)
    """
    times: Tensor
    signal: Tensor
    noise: Tensor
    leans: Tensor
    noise_coefs: Tensor
    rest_coefs: Tensor

    @classmethod
    def from_solver(cls, diffusion: Diffusion, steps: int, solver: str, lean: float = LEAN) -> "Path":
        """Through `Diffusion.moves`."""
        moves = diffusion.moves(steps, solver)
        level = np.sqrt(diffusion.alpha_bar[[move.t for move in moves]])
        noise_coefs, rest_coefs = coefficients(moves, lean * level)
        if not any(move.noise_coef for move in moves):
            noise_coefs = noise_coefs[:, :1]
        at_points = (values[:, None, None] for values in
                     (np.array([move.t for move in moves]), level, np.sqrt(1 - level ** 2), lean * level))
        like = diffusion.signal
        return cls(*(torch.tensor(values, dtype=like.dtype).to(like.device)                # no float64: MPS has none
                     for values in (*at_points, noise_coefs, rest_coefs)))

    @classmethod
    def from_fitted(cls, times: Tensor, noise: Tensor, starts: Tensor) -> "Path":
        """Through the K points of a `Fitted` solver: times and noise (K,), starts (K (K + 1) / 2)."""
        count = len(times)
        points, own = torch.tril_indices(count, count, device=starts.device)
        rest_coefs = starts.new_zeros(count + 1, count).index_put((points + 1, own), starts)
        level = ((times + 1).clamp(0.1, STEPS - 0.5) / STEPS + 0.008) / 1.008 * math.pi / 2
        signal = level.cos() / math.cos(0.008 / 1.008 * math.pi / 2)
        at_points = (values[:, None, None] for values in
                     (times, signal, (1 - signal ** 2).sqrt(), torch.zeros_like(times)))
        return cls(*at_points, torch.cat([noise.new_ones(1), noise])[:, None], rest_coefs)

    def noise_part(self, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """The noises' part of all points (M + 1, B, C), from noise (1 + M or more, B, C), the start's first.

        `temperature` multiplies the moves' noise; where they have none, the start's.
        """
        count = self.noise_coefs.shape[1]
        if len(noise) < count:
            raise ValueError(f"noise for {len(noise) - 1} steps, expected {count - 1}")
        first, moves = noise[:1], temperature * noise[1:count]
        noises = torch.cat([first, moves]) if count > 1 else temperature * first
        return (self.noise_coefs @ noises.flatten(1)).view(-1, *noise.shape[1:])

    def walk(self, predict: PredictStarts, noise_part: Tensor, together: int = 1, tolerance: float = 0.0) -> Tensor:
        """x_0 (B, C) from the noises' part (M + 1, B, C), with `together` points at a time.

        Those that have moved by at most `tolerance` of their size since the iteration before have converged. It starts
        from rests that are all the last one found.
        """
        count, points, rests, place = len(self.times), noise_part, noise_part[:0], 0
        while place < count:
            part = slice(place, min(place + together, count))
            tried = points[part]
            points, rests = self.iterate(predict, noise_part, tried, rests[:place], part)
            place += 1
            if together > 1:
                place += int(self.settled(tried, points[part], tolerance))
        return points[-1]

    def iterate(self, predict: PredictStarts, noise_part: Tensor, tried: Tensor, rests: Tensor,
                part: slice) -> tuple[Tensor, Tensor]:
        """All points (M + 1, B, C) and rests (M, B, C), from those tried of a part (K, B, C) and the rests before."""
        found = torch.addcmul(predict(tried, part), self.leans[part], tried, value=-1)
        rests = torch.cat([rests, found, found[-1:].expand(len(self.times) - part.stop, -1, -1)])
        return torch.addmm(noise_part.flatten(1), self.rest_coefs, rests.flatten(1)).view_as(noise_part), rests

    @staticmethod
    def settled(tried: Tensor, points: Tensor, tolerance: float) -> Tensor:
        """How many points (K, B, C) after the first have hardly moved, and none before them has."""
        moved, size = (points - tried)[1:].abs().amax(dim=-1), tried[1:].abs().amax(dim=-1)
        return (moved <= tolerance * (1 + size)).all(dim=-1).cumprod(dim=0).sum()


def coefficients(moves: Sequence[Move], leans: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """What each point of a path is the sum of: of the noises, the start's first (M + 1, M + 1), and of the rests
    (M + 1, M), of which each x_0 has its own besides its lean on the point (M,)."""
    own = np.eye(2 * len(moves) + 1)
    points, start = [own[0]], 0
    for number, (move, lean) in enumerate(zip(moves, leans)):
        before, start = start, lean * points[-1] + own[len(moves) + 1 + number]
        ahead = start + move.extrapolation * (start - before)
        points.append(move.start_coef * ahead + move.x_coef * points[-1] + move.noise_coef * own[1 + number])
    return tuple(np.split(np.stack(points), [len(moves) + 1], axis=1))


class Plan(NamedTuple):
    """What of a head's `sample` is the same for all latents: a path of M moves, its embedded steps (M, 1, W), what of x
    and of the network's output makes x_0, and what guidance beyond 1 is multiplied by (M, 1, 1)."""
    path: Path
    embedded: Tensor
    x_coef: Tensor
    output_coef: Tensor
    guiding: Tensor


class ParallelHead(DiffusionHead):
    """A diffusion head that samples by `Path`: `parallel` makes one.

    fitted        solvers of its own
    tolerance     above 0 some steps of a lone latent are taken together, to this tolerance as `Path.walk` has it. In a
                  batch they are taken one after another, so that no latent depends on the others
    rows          of a pass
    joined        one packed layer in place of all modulations, if there is one
    plans         those made so far
    """
    fitted: tuple[Fitted, ...]
    tolerance: float
    rows: int
    joined: nn.Module | None
    plans: dict[tuple, Plan]

    def sample(self, condition: Tensor, empty: Tensor | None = None, sampling: Sampling = Sampling(),
               noise: Tensor | None = None, plan: Plan | None = None) -> Tensor:
        """As `DiffusionHead.sample`; by `plan`, or that of the sampling's steps and solver."""
        plan = plan or self.plan(sampling.steps, sampling.solver)
        if noise is None:
            noise = torch.randn(1 + STEPS, len(condition), self.latent_dim, device=condition.device)
        predict = self.predictor(plan, condition, empty, sampling.guidance)
        return plan.path.walk(predict, plan.path.noise_part(noise, sampling.temperature),
                              self.together(plan, condition, empty is not None), self.tolerance)

    def plan(self, steps: int = STEPS, solver: str = "ancestral") -> Plan:
        """Of so many steps of a solver, one of `Diffusion.moves` or of the fitted; made once."""
        key = steps, solver, self.diffusion.signal.device
        if key not in self.plans:
            with torch.no_grad():
                self.plans[key] = self.make_plan(steps, solver)
        return self.plans[key]

    def make_plan(self, steps: int, solver: str) -> Plan:
        if solver != "fitted":
            return self.plan_of(Path.from_solver(self.diffusion, steps, solver))
        by_steps = {len(one.times): one for one in self.fitted}
        if steps not in by_steps:
            raise ValueError(f"no solver of {steps} steps was fitted to this model, only of "
                             f"{', '.join(map(str, by_steps)) or 'none'}: give --steps one of them, or --solver dpm++, "
                             "or fit one: python fit_solver.py")
        like = self.diffusion.signal
        times, noise, starts, guiding = (like.new_tensor(values) for values in astuple(by_steps[steps]))
        return self.plan_of(Path.from_fitted(times, noise, starts), guiding)

    def plan_of(self, path: Path, guiding: Tensor | None = None) -> Plan:
        """Of a path, and of what guidance beyond 1 is multiplied by at its points (M,)."""
        guiding = torch.ones_like(path.times) if guiding is None else guiding[:, None, None]
        x_coef, output_coef = self.diffusion.start_coefs(path.signal, path.noise)
        return Plan(path, self.time_embed(path.times[:, 0]), x_coef, output_coef, guiding)

    def together(self, plan: Plan, condition: Tensor, guided: bool) -> int:
        """How many points of a plan's path are looked at at once, under conditions (B, D)."""
        moves = len(plan.path.times)
        if not self.tolerance or len(condition) > 1:
            return 1
        if condition.device.type == "cpu":
            return max(1, min(self.rows // (1 + guided), moves // PASSES))
        return moves if moves > FEW else 1          # more rows cost a GPU hardly anything; a host synchronisation does

    def predictor(self, plan: Plan, condition: Tensor, empty: Tensor | None, guidance: float) -> PredictStarts:
        """The guided x_0 of points on a plan's path; what depends on the conditions alone is computed here, once."""
        _, embedded, x_coef, output_coef, guiding = plan
        both, rows = condition if empty is None else torch.cat([condition, empty]), len(condition)  # (B or 2B, D)
        modulations = self.modulations_at(embedded, both)                                # (M, B or 2B, 3 N + 2, W)
        weight = 1 + (guidance - 1) * guiding                                            # (M, 1, 1)

        def predict(x: Tensor, part: slice) -> Tensor:
            output = self.denoise(x[:, None].expand(-1, len(both) // rows, -1, -1).flatten(0, 2),
                                  modulations[part].flatten(0, 1).unbind(dim=1))
            text, *empty_text = output.unflatten(0, (len(x), -1, rows)).unbind(dim=1)    # (K, B, C) each
            guided = torch.lerp(*empty_text, text, weight[part]) if empty_text else text
            return torch.addcmul(x_coef[part] * x, output_coef[part], guided)

        return predict

    def modulations_at(self, embedded: Tensor, condition: Tensor) -> Tensor:
        """Shift, 1 + scale and gate of each of N blocks, shift and 1 + scale of the last layer, (.., 3 N + 2, W), at
        embedded steps (.., W) under conditions (.., D)."""
        c = F.silu(embedded + self.condition_embed(condition))
        found = self.joined(c) if self.joined else torch.cat([layer(c) for layer in self.modulations()], dim=-1)
        found = found.unflatten(-1, (-1, c.shape[-1]))
        found[..., 1::3, :] += 1                                                         # the scales
        return found

    def denoise(self, x: Tensor, modulations: Sequence[Tensor]) -> Tensor:
        """`forward` behind its modulations (R, W): noisy latents (R, C) -> what is predicted (R, C)."""
        x, (*block_parts, shift, scale) = self.input(x), modulations                       # (R, W) each
        for number, block in enumerate(self.blocks):
            shift_in, scale_in, gate = block_parts[3 * number:3 * number + 3]
            x = torch.addcmul(x, gate, block.mlp(torch.addcmul(shift_in, block.norm(x), scale_in)))
        return self.output(torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), scale))


def parallel(head: DiffusionHead, tolerance: float, fitted: Sequence[Fitted] = ()) -> ParallelHead:
    """Make a head a `ParallelHead`, in place; returned too."""
    head.__class__ = ParallelHead
    head.tolerance, head.fitted, head.joined, head.plans = tolerance, tuple(fitted), None, {}
    head.rows = ROWS if head.input.out_features > NARROW else 2 * ROWS
    return head
