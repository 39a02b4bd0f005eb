"""Diffusion timesteps in parallel, against one after another; and solvers that were fitted to a model."""

from dataclasses import replace

import pytest
import torch

from conftest import assert_relative
from generation.fast.timesteps import PASSES, ParallelHead, Path, parallel
from models.diffusion import Diffusion
from options.sampling import FORMULAE, STEPS, Fitted, Sampling
from test_diffusion import each_prediction, noise_for, tiny_head


def parallel_head(prediction: str = "noise", tolerance: float = 0.0, fitted: tuple[Fitted, ...] = ()) -> ParallelHead:
    return parallel(tiny_head(prediction), tolerance, fitted)


@each_prediction
@pytest.mark.parametrize("solver", FORMULAE)
@pytest.mark.parametrize("steps", [1, 2, 7, STEPS])
@pytest.mark.parametrize("guided", [False, True])
def test_a_path_leads_where_the_plain_loop_does(prediction, solver, steps, guided):
    """Of a batch, whatever the tolerance; and of a lone latent, to the tolerance."""
    condition, empty, noise = torch.randn(3, 6), torch.randn(3, 6) if guided else None, noise_for(3)
    sampling = Sampling(3.0, 0.8, steps, solver)
    with torch.no_grad():
        expected = tiny_head(prediction).sample(condition, empty, sampling, noise)
        fast = parallel_head(prediction, 1e-6)
        assert_relative(fast.sample(condition, empty, sampling, noise), expected, 1e-4)
        lone = fast.sample(condition[:1], empty[:1] if guided else None, sampling, noise[:, :1])
        assert_relative(lone, expected[:1], 1e-4)


def fitted_ddim(diffusion: Diffusion, steps: int) -> Fitted:
    """The numbers of ddim."""
    path = Path.from_solver(diffusion, steps, "ddim", lean=0.0)
    starts = [path.rest_coefs[1 + point, :1 + point] for point in range(steps)]
    return Fitted(*(tuple(values.tolist()) for values in (
        path.times.flatten(), path.noise_coefs[1:, 0], torch.cat(starts), torch.ones(steps))))


@each_prediction
def test_a_fitted_solver_with_the_numbers_of_ddim_is_ddim(prediction):
    """From its second point on, as the first's level is the uncapped cosine's: so at the first x_0 is what it is."""
    condition, empty, noise, diffusion = torch.randn(3, 6), torch.randn(3, 6), noise_for(3), Diffusion()
    head = parallel_head(prediction, fitted=[fitted_ddim(diffusion, 4), fitted_ddim(diffusion, 7)])
    found = head.plan(7, "fitted")
    exact = head.plan(7, "ddim")
    torch.testing.assert_close(found.path.signal[1:], exact.path.signal[1:])
    torch.testing.assert_close(found.path.noise, exact.path.noise, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.embedded, exact.embedded)
    found = found._replace(x_coef=exact.x_coef, output_coef=exact.output_coef)
    with torch.no_grad():
        sampled, expected = (head.sample(condition, empty, Sampling(3.0, 0.8), noise, plan) for plan in (found, exact))
    assert_relative(sampled, expected, 1e-4)


def test_a_fitted_solver_guides_by_its_own_measure():
    condition, empty, noise, fitted = torch.randn(3, 6), torch.randn(3, 6), noise_for(3), fitted_ddim(Diffusion(), 2)

    def sample(guidance: float, guiding: float) -> torch.Tensor:
        head = parallel_head(fitted=[replace(fitted, guiding=(guiding,) * 2)])
        return head.sample(condition, empty, Sampling(guidance, steps=2, solver="fitted"), noise)

    assert_relative(sample(2.0, 3.0), sample(4.0, 1.0), 1e-5)
    assert_relative(sample(1.0, 3.0), sample(1.0, 1.0), 1e-5)
    assert (sample(4.0, 1.0) - sample(2.0, 1.0)).abs().max() > 1e-3


def test_a_solver_that_was_not_fitted():
    head = parallel_head()
    with pytest.raises(ValueError, match="no solver of 3 steps was fitted to this model, only of none: give --steps"):
        head.plan(3, "fitted")
    with pytest.raises(ValueError, match="of 3 steps was fitted to this model, only of 2, 5: give --steps one of them"):
        parallel_head(fitted=[fitted_ddim(head.diffusion, steps) for steps in (2, 5)]).plan(3, "fitted")
    with pytest.raises(ValueError, match=r"of 2 steps has \(2, 2, 2\) numbers .* expected \(2, 3, 2\); fit it again"):
        Fitted((49.0, 20.0), (1.0, 0.0), (1.0, 1.0), (1.0, 1.0))


@each_prediction
@pytest.mark.parametrize("steps, solver", [(STEPS, "ancestral"), (STEPS, "dpm++"), (18, "ancestral")])
def test_steps_together_equal_one_after_another(prediction, steps, solver):
    """To the tolerance, in fewer passes."""
    head, condition, empty, noise = parallel_head(prediction), torch.randn(3, 6), torch.randn(3, 6), noise_for(3)
    head.rows, passes = 24, []
    head.output.register_forward_hook(lambda layer, given, result: passes.append(len(result)))

    def sample(row: int, tolerance: float = 0.0) -> torch.Tensor:
        passes.clear()
        one = slice(row, row + 1)
        head.tolerance = tolerance
        return head.sample(condition[one], empty[one], Sampling(3.0, 0.8, steps, solver), noise[:, one])

    for row in range(3):
        expected = sample(row)
        assert len(passes) == steps
        found = sample(row, tolerance=1e-5)
        assert len(passes) < steps and passes[0] == 2 * min(24 // 2, steps // PASSES)
        assert_relative(found, expected, 1e-4)
        assert not torch.equal(found, expected)
        loose = sample(row, tolerance=0.3)
        assert (loose - expected).abs().max() > 10 * (found - expected).abs().max()    # so the tolerance decides


def test_the_slowest_row_decides():
    """Steps together are settled when all rows are, though one needs more passes than the others."""
    path, target = Path.from_solver(Diffusion(), STEPS, "ancestral"), torch.tensor([[0.0], [1.0], [5.0]])
    noise_part = path.noise_part(torch.randn(1 + STEPS, 3, 1))

    def sample(together: int) -> torch.Tensor:
        return path.walk(lambda x, part: torch.sin(target * x), noise_part, together, tolerance=1e-6)

    torch.testing.assert_close(sample(8), sample(1), rtol=0, atol=1e-4)


def test_too_little_noise():
    path = Path.from_solver(Diffusion(), STEPS, "ancestral")
    with pytest.raises(ValueError, match="noise for 49 steps, expected 50"):
        path.noise_part(torch.randn(STEPS, 3, 4))
