"""Fit a solver of very few steps to an AR model: a few numbers that make its diffusion head arrive where many steps do.

python fit_solver.py --preset small --resume-trans output/streamer_small/last --latent-dir data/latents --steps 3

Without noise on the way a latent is a function of its start noise and its conditions, which many steps compute. A
solver of K steps has a sum for each point that it goes through, of the start noise and all x_0 predicted so far, a
place on the schedule and a guidance: K (K + 7) / 2 numbers, learnt by the gradient through the K steps, so that they
arrive at the same latents (as in Shaul et al., arXiv 2403.01329). The networks stay as they are. The checkpoint is the
AR model with the solver stored beside those it had: sample with --solver fitted --steps K.

B clips, L latents (padded), C latent channels, D width, R latents that count.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from dataset.latents import NO_TEXT, LatentClips
from generation.fast.timesteps import Path, Plan, parallel
from models.checkpoints import ARCheckpoint, ar_checkpoint, load_ar
from models.text_encoder import stack_texts
from models.two_forward import scored_latents
from options import opt, parse, to_json
from options.data import Data
from options.sampling import STEPS, Fitted
from options.training import Training
from utils.distributed import distributed, mean_of_all, own_rows
from utils.engine import fit, seed_step, to_device
from utils.errors import run

NEAR = 0.03     # distance from the true latent that is near enough: beyond, the loss grows with it, not with its square


@dataclass(frozen=True)
class FitSolver:
    """Fit a solver of few steps to a trained AR model."""

    training: Training = Training(
        exp_name="solver", total_iter=300, batch_size=8, lr=0.02, warmup=1, schedule="cosine", clip=1.0,
        eval_iter=100, save_iter=100, print_iter=20)
    start: str = opt("output/motionstreamer/last", "AR model to fit to: a checkpoint folder or the authors' file",
                     flag="resume-trans")
    latent_dir: str = opt("humanml3d_272/t2m_latents", "latent folder that get_latent.py made")
    steps: int = opt(3, "steps of the solver")
    true_steps: int = opt(16, "steps of dpm++ whose latents it is fitted to")
    watch: int = opt(64, "clips of the split val, at equal distances, on which it is compared")

    def __post_init__(self):
        if not 1 <= self.steps < self.true_steps <= STEPS:
            raise ValueError(f"a solver of {self.steps} steps fitted to {self.true_steps} steps: expected 1 or more, "
                             f"fewer than those it is fitted to, which are {STEPS} at most")


FULL = FitSolver()
PRESETS = {
    "full": FULL,
    "small": FitSolver(replace(FULL.training, data=Data("mocap_272"), exp_name="solver_small", balance=0.5),
                       start="output/streamer_small/last", latent_dir="data/latents"),
    "tiny": FitSolver(replace(FULL.training, data=Data("mocap_272"), exp_name="solver_tiny", total_iter=20,
                              batch_size=4, eval_iter=10, save_iter=10, print_iter=5),
                      start="output/t2m_tiny/last", latent_dir="data/latents", true_steps=6),
}


class SolverObjective(nn.Module):
    """What DDP wraps: the solver's numbers, and how far from the true latents it arrives."""

    def __init__(self, ar: ARCheckpoint, empty: Tensor, config: FitSolver):
        """It starts as ddim with evenly spaced steps."""
        super().__init__()
        self.ar, self.model = ar, ar.model.requires_grad_(False)
        head = parallel(self.model.head, tolerance=0.0)
        self.true_plan = head.plan(config.true_steps, "dpm++")
        path, count = Path.from_solver(head.diffusion, config.steps, "ddim", lean=0.0), config.steps
        self.times = nn.Parameter(path.times.flatten() / STEPS)                          # (K,)
        self.noise = nn.Parameter(path.noise_coefs[1:, 0])                               # (K,)
        self.starts = nn.Parameter(path.rest_coefs[1:][tuple(torch.tril_indices(count, count))])    # (K (K + 1) / 2,)
        self.guiding = nn.Parameter(torch.ones_like(self.noise))                         # (K,)
        self.register_buffer("empty", empty, persistent=False)                           # (text_dim,)

    def forward(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """batch: latents (B, L, C), lengths and past (B,), text (B, text_dim), as LatentClips collates them.

        Of each clip's latents some, from none to all, are sampled by the solver: later, pasts are not all true either.
        """
        latents, lengths, text = batch["latents"], batch["lengths"], batch["text"]
        clips, count, channels = latents.shape
        context, device = self.model.most_latents + 1, latents.device
        first, second = own_rows(lambda whole: torch.randn(whole, 2, context, channels, device=device),
                                 clips)[:, :, :count].unbind(dim=1)                      # (B, L, C) each
        uniform = own_rows(lambda whole: torch.rand(whole, 1 + context, device=device), clips)
        scored = scored_latents(count, lengths, batch["past"])                           # (B, L)
        replaced = scored & (uniform[:, 1:][:, :count] < uniform[:, :1])
        with torch.no_grad():
            found = self.sample(self.plan(), self.conditions(latents, lengths, text, replaced), first[replaced])
            latents = latents.masked_scatter(replaced[..., None], found)
            conditions = self.conditions(latents, lengths, text, scored)
            true = self.sample(self.true_plan, conditions, second[scored])
        found = self.sample(self.plan(), conditions, second[scored])
        return dict(loss=mean_of_all(((found - true).square().mean(dim=-1) + NEAR ** 2).sqrt()))

    def conditions(self, latents: Tensor, lengths: Tensor, text: Tensor, which: Tensor) -> Tensor:
        """Of the latents that `which` (B, L) names: (2, R, D), under the text, then under the empty one."""
        texts = stack_texts([*text, *[self.empty] * len(text)])
        found = self.model(latents[:, :-1].repeat(2, 1, 1), texts, lengths.repeat(2) - 1)
        return found.unflatten(0, (2, -1))[:, which]

    def plan(self) -> Plan:
        """The solver's, as it is now."""
        path = Path.from_fitted(STEPS * self.times, self.noise, self.starts)
        return self.model.head.plan_of(path, self.guiding)

    def sample(self, plan: Plan, conditions: Tensor, noise: Tensor) -> Tensor:
        """Latents (R, C) under conditions (2, R, D) from start noise (R, C)."""
        return self.model.head.sample(*conditions, self.ar.sampling, noise[None], plan=plan)

    def checkpoint(self):
        numbers = (tuple(values.tolist()) for values in (STEPS * self.times, self.noise, self.starts, self.guiding))
        others = tuple(one for one in self.ar.calibration.fitted if len(one.times) != len(self.times))
        calibration = replace(self.ar.calibration, fitted=(*others, Fitted(*numbers)))
        return ar_checkpoint(self.model, calibration, self.ar.sampling, self.ar.text_encoder)


class Comparison:
    """How far the solver's latents are from the true ones, on the same noise and true pasts of some clips."""

    def __init__(self, objective: SolverObjective, clips: LatentClips, count: int, seed: int, device: torch.device):
        rng = np.random.default_rng(seed)
        chosen = np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)
        batch = to_device(clips.collate([clips.sample(int(index), rng) for index in chosen]), device)
        scored = scored_latents(batch["latents"].shape[1], batch["lengths"], batch["past"])
        seed_step(seed)
        self.objective, self.noise = objective, torch.randn_like(batch["latents"])[scored]
        with torch.no_grad():
            self.conditions = objective.conditions(batch["latents"], batch["lengths"], batch["text"], scored)
            self.true = objective.sample(objective.true_plan, self.conditions, self.noise)

    def __call__(self, step: int) -> dict[str, float]:
        """The median of all latents' distances, and their root mean square, in a latent channel's unit."""
        error = self.objective.sample(self.objective.plan(), self.conditions, self.noise) - self.true
        squares = error.square().mean(dim=-1)
        return dict(distance=float(squares.median().sqrt()), rms=float(squares.mean().sqrt()))


def main():
    config = parse(PRESETS)
    with distributed(config.training.device) as device:
        ar = load_ar(config.start)
        model, text_encoder = ar.model.to(device), ar.text_encoder
        train, val = (LatentClips(config.latent_dir, split, model.most_latents + 1, pairs=True)
                      for split in ("train", "val"))
        made = train.index["text_encoder"], train.texts.kind, len(train.index["end_latent"])
        if made != (text_encoder, model.config.text, model.config.latent_dim):
            raise ValueError(f"{config.latent_dir} holds texts by {made[0]} ({made[1]}) and latents of {made[2]} "
                             f"channels; {config.start} reads texts by {text_encoder} ({model.config.text}), latents "
                             f"of {model.config.latent_dim}: give the --latent-dir that it was trained on")
        train.scale = val.scale = ar.calibration.latent_scale
        objective = SolverObjective(ar, train.texts[NO_TEXT], config).to(device)
        compare = Comparison(objective, val, config.watch, config.training.seed, device)
        fit(objective, train, config.training, to_json(config), compare, best="distance")


if __name__ == "__main__":
    run(main)
