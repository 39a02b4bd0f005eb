"""A solver of few steps learns to arrive where many steps do; the script itself is tested with the others."""

import torch

from conftest import assert_relative, randomised
from fit_solver import FitSolver, SolverObjective
from models.checkpoints import ARCheckpoint
from models.transformer import StreamingTransformer
from options.models import AR
from options.sampling import Calibration, Sampling


def tiny_objective(steps: int) -> SolverObjective:
    torch.manual_seed(0)
    model = randomised(StreamingTransformer(AR(latent_dim=2, text_dim=3, width=16, layers=1, heads=2, context=12,
                                               head_width=16, head_depth=1, prediction="velocity")), 0.5)
    ar = ARCheckpoint(model, Calibration(end_latent=(0.0, 0.0)), Sampling(guidance=2.0), "words")
    return SolverObjective(ar, torch.zeros(3), FitSolver(steps=steps))


def test_it_starts_as_ddim():
    """But for the first level, which is the uncapped cosine's, which is hardly another."""
    objective, conditions, noise = tiny_objective(3), torch.randn(2, 50, 16), torch.randn(50, 2)
    with torch.no_grad():
        found = objective.sample(objective.plan(), conditions, noise)
        expected = objective.sample(objective.model.head.plan(3, "ddim"), conditions, noise)
    assert_relative(found, expected, 1e-3)


def test_it_comes_nearer_and_the_networks_stay():
    objective, clips = tiny_objective(2), 16
    conditions, noise = torch.randn(2, 200, 16), torch.randn(200, 2)
    weights = {name: weight.clone() for name, weight in objective.model.state_dict().items()}

    def distance() -> float:
        with torch.no_grad():
            found = objective.sample(objective.plan(), conditions, noise)
            return float((found - objective.sample(objective.true_plan, conditions, noise)).norm(dim=-1).mean())

    before = distance()
    optimizer = torch.optim.Adam([one for one in objective.parameters() if one.requires_grad], lr=0.02)
    for step in range(60):
        batch = dict(latents=torch.randn(clips, 6, 2), lengths=torch.full((clips,), 6), text=torch.randn(clips, 3),
                     past=torch.zeros(clips, dtype=torch.long))
        optimizer.zero_grad()
        objective(batch, step)["loss"].backward()
        optimizer.step()
    assert distance() < 0.6 * before
    assert all(torch.equal(weight, weights[name]) for name, weight in objective.model.state_dict().items())
