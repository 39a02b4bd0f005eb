"""The schedule's laws, the diffusion head, and the authors' numbers."""

import math
from dataclasses import replace

import pytest
import torch

from conftest import assert_relative, randomised
from models.diffusion import FORMULAE, STEPS, Diffusion, Path, of_start
from models.head import PASSES, DiffusionHead, TimeEmbedding
from models.published import load_published_ar
from options.models import Fitted


def tiny_head(prediction: str = "noise") -> DiffusionHead:
    return randomised(DiffusionHead(latent_dim=4, condition_dim=6, width=16, depth=2, prediction=prediction))


def all_steps() -> Path:
    return Diffusion().path(STEPS, "ancestral")


each_prediction = pytest.mark.parametrize("prediction", ["noise", "velocity"])


def test_schedule_is_the_cosine():
    """alpha_bar at the end of step t is cos^2, but for the last step, whose beta is capped at 0.999."""
    kept = [math.cos((t / STEPS + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(STEPS + 1)]
    expected = torch.tensor([value / kept[0] for value in kept[1:]])
    expected[-1] = expected[-2] * 0.001
    diffusion = Diffusion()
    torch.testing.assert_close(diffusion.signal, expected.sqrt())
    torch.testing.assert_close(diffusion.noise, (1 - expected).sqrt())


@pytest.mark.parametrize("solver", FORMULAE)
@pytest.mark.parametrize("steps", [1, 2, 7, 25, STEPS])
def test_moves_lead_from_step_to_step(steps, solver):
    """If x_t has the distribution of step t, x_s has that of step s; the last move arrives at x_0."""
    d, moves = Diffusion(), Diffusion().moves(steps, solver)
    assert len(moves) == steps and moves[0].t == STEPS - 1
    assert all(move.t > after.t for move, after in zip(moves, moves[1:]))
    for move, after in zip(moves, moves[1:]):
        now, then = d.alpha_bar[move.t], d.alpha_bar[after.t]
        assert move.from_start + move.from_x * math.sqrt(now) == pytest.approx(math.sqrt(then))
        assert move.from_x ** 2 * (1 - now) + move.deviation ** 2 == pytest.approx(1 - then)
        assert (move.deviation > 0) == (solver == "ancestral")
    assert moves[-1][1:] == pytest.approx((1, 0, 0, 0))


@pytest.mark.parametrize("steps, solver", [(0, "ddim"), (STEPS + 1, "ddim"), (5, "euler")])
def test_moves_refuse_what_is_unknown(steps, solver):
    with pytest.raises(ValueError, match=f"{steps} steps of the solver '{solver}'"):
        Diffusion().moves(steps, solver)


def test_solvers_follow_the_flow():
    """Of data N(0, 0.5^2) the noise and the flow are known. More steps come nearer, and dpm++ much faster."""
    diffusion, start, deviation = Diffusion(), torch.randn(1000, 1, dtype=torch.float64), 0.5
    diffusion.double()

    def end_of(path):
        def predict(x, part):
            signal, variance = path.signal[part], deviation ** 2
            return signal * variance / (signal ** 2 * variance + path.noise[part] ** 2) * x

        return path.walk(predict, path.still(start))

    now = diffusion.alpha_bar[-1]
    exact = start * deviation / math.sqrt(now * deviation ** 2 + 1 - now)
    error = {(solver, steps): (end_of(diffusion.path(steps, solver)) - exact).std() / deviation
             for solver in ("ddim", "dpm++") for steps in (5, 10, 25, 50)}
    for solver, order in (("ddim", 1), ("dpm++", 1.4)):
        assert error[solver, 10] < error[solver, 5] and error[solver, 50] < error[solver, 10] / 5 ** order * 1.5
    assert error["dpm++", 10] < error["ddim", 10] / 2 and error["dpm++", 50] < 0.005


def fitted_ddim(diffusion: Diffusion, steps: int) -> Fitted:
    """The numbers of ddim."""
    path = diffusion.path(steps, "ddim", lean=0.0)
    starts = [path.of_rests[1 + point, :1 + point] for point in range(steps)]
    return Fitted(*(tuple(values.tolist()) for values in (
        path.times.flatten(), path.of_noises[1:, 0], torch.cat(starts), torch.ones(steps))))


@each_prediction
def test_a_fitted_solver_with_the_numbers_of_ddim_is_ddim(prediction):
    """From its second point on, as the first's level is the uncapped cosine's: so at the first x_0 is what it is."""
    head, condition, empty, draws = tiny_head(prediction), torch.randn(3, 6), torch.randn(3, 6), noise_of(3)
    fitted = fitted_ddim(head.diffusion, 4), fitted_ddim(head.diffusion, 7)
    found = head.plan(7, "fitted", fitted)
    exact = head.plan(7, "ddim")
    torch.testing.assert_close(found.path.signal[1:], exact.path.signal[1:])
    torch.testing.assert_close(found.path.noise, exact.path.noise, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.embedded, exact.embedded)
    found = found._replace(of_x=exact.of_x, of_output=exact.of_output)
    with torch.no_grad():
        drawn, expected = (head.sample(condition, empty, 3.0, 0.8, **draws, plan=plan) for plan in (found, exact))
    assert_relative(drawn, expected, 1e-4)


def test_a_fitted_solver_guides_by_its_own_measure():
    head, condition, empty, draws = tiny_head(), torch.randn(3, 6), torch.randn(3, 6), noise_of(3)
    fitted = fitted_ddim(head.diffusion, 2)

    def sample(guidance: float, guiding: float) -> torch.Tensor:
        plan = head.plan(2, "fitted", [replace(fitted, guiding=(guiding,) * 2)])
        return head.sample(condition, empty, guidance, **draws, plan=plan)

    assert_relative(sample(2.0, 3.0), sample(4.0, 1.0), 1e-5)
    assert_relative(sample(1.0, 3.0), sample(1.0, 1.0), 1e-5)
    assert (sample(4.0, 1.0) - sample(2.0, 1.0)).abs().max() > 1e-3


def test_a_solver_that_was_not_fitted():
    head = tiny_head()
    with pytest.raises(ValueError, match="no solver of 3 steps was fitted to this model, only of none: give --steps"):
        head.plan(3, "fitted")
    with pytest.raises(ValueError, match="of 3 steps was fitted to this model, only of 2, 5: give --steps one of them"):
        head.plan(3, "fitted", [fitted_ddim(head.diffusion, steps) for steps in (2, 5)])
    with pytest.raises(ValueError, match=r"of 2 steps has \(2, 2, 2\) numbers .* expected \(2, 3, 2\); fit it again"):
        Fitted((49.0, 20.0), (1.0, 0.0), (1.0, 1.0), (1.0, 1.0))


def test_the_start_of_noise_undoes_add_noise():
    diffusion, start, noise, t = Diffusion(), *torch.randn(2, STEPS, 4), torch.arange(STEPS)
    noisy = diffusion.add_noise(start, t, noise)
    assert (noisy[-1] - noise[-1]).abs().max() < 0.01 and (noisy[0] - start[0]).abs().max() < 0.2
    of_x, of_noise = of_start("noise", diffusion.signal[:, None], diffusion.noise[:, None])
    torch.testing.assert_close(of_x * noisy + of_noise * noise, start, rtol=0, atol=1e-3)


def test_velocity_is_the_noise_in_other_words():
    diffusion, start, noise, t = Diffusion(), *torch.randn(2, STEPS, 4), torch.arange(STEPS)
    noisy, velocity = diffusion.add_noise(start, t, noise), diffusion.velocity(start, t, noise)
    torch.testing.assert_close(diffusion.noise_of_velocity(noisy, t, velocity), noise)
    torch.testing.assert_close(diffusion.noise_of_velocity(noisy[7], 7, velocity[7]), noise[7])
    # x_0 and v are x_t and the noise turned about the same angle, so errors of v do not grow
    of_x, of_velocity = of_start("velocity", diffusion.signal[:, None], diffusion.noise[:, None])
    torch.testing.assert_close(of_x * noisy + of_velocity * velocity, start)


def test_sampling_with_perfect_knowledge_arrives():
    """If x_0 is known exactly, whatever is drawn on the way, it comes out."""
    truth = torch.randn(3, 4)
    path = all_steps()
    found = path.walk(lambda x, part: truth.expand_as(x), path.still(torch.randn(3, 4), torch.randn(STEPS, 3, 4)))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-5)


def test_temperature_multiplies_the_step_noise():
    path, start, steps = all_steps(), torch.randn(3, 4), torch.randn(STEPS, 3, 4)

    def sample(step_noise, temperature=1.0):
        return path.walk(lambda x, part: 0.9 * x, path.still(start, step_noise, temperature))

    torch.testing.assert_close(sample(steps, 0.5), sample(steps / 2))
    assert (sample(steps, 0.5) - sample(steps)).abs().max() > 0.01
    with pytest.raises(ValueError):
        sample(steps[1:])


def test_time_embedding():
    """256 sinusoids before the MLP: cosines first, periods from 2 pi to 10000 * 2 pi."""
    embed, seen = TimeEmbedding(8), []
    embed.mlp[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    embed(torch.tensor([0, 3]))
    at_0, at_3 = seen[0]
    assert at_0[:128].eq(1).all() and at_0[128:].eq(0).all()
    slow = 3 * 10000 ** (-100 / 128)
    expected = torch.tensor([math.cos(3), math.sin(3), math.cos(slow), math.sin(slow)])
    torch.testing.assert_close(at_3[[0, 128, 100, 228]], expected)


@each_prediction
def test_new_head_predicts_zero_and_learns(prediction):
    head = DiffusionHead(4, 6, 16, 2, prediction)
    rows = torch.randn(5, 4), torch.tensor([0, 10, 20, 30, 49]), torch.randn(5, 6)
    assert not head.network(rows[0], head.modulations(head.time_embed(rows[1]), rows[2])).any()
    loss = head.loss(rows[0], rows[2], rows[1], torch.randn(5, 4))[0].mean()
    loss.backward()
    assert head.output.weight.grad.any()


@each_prediction
def test_head_loss(prediction):
    """The mean squared error of noise or velocity, and the x_0 that the predicted noise implies."""
    head, latents, noise = tiny_head(prediction), *torch.randn(2, 5, 4)
    condition, t = torch.randn(5, 6), torch.tensor([0, 10, 20, 30, 40])
    loss, start = head.loss(latents, condition, t, noise)
    for row in range(5):
        signal, sigma = head.diffusion.signal[t[row]], head.diffusion.noise[t[row]]
        noisy = signal * latents[row] + sigma * noise[row]
        predicted = head(noisy[None], t[row:row + 1], condition[row:row + 1])[0]
        error = predicted - noise[row]
        if prediction == "velocity":
            error = error / signal    # v = (noise - sigma x_t) / signal
        torch.testing.assert_close(loss[row], (error ** 2).mean(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(start[row], (noisy - sigma * predicted) / signal, rtol=1e-4, atol=1e-4)


def noise_of(rows: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(start_noise=torch.randn(rows, 4), step_noise=torch.randn(STEPS, rows, 4))


@each_prediction
def test_sampling_equals_a_plain_loop(prediction):
    """Guided, with everything computed anew at each step from the formulae of the paper."""
    head, condition, empty, draws = tiny_head(prediction), torch.randn(3, 6), torch.randn(3, 6), noise_of(3)
    alpha_bar = torch.cat([torch.ones(1), head.diffusion.signal ** 2]).double()
    x = draws["start_noise"]
    with torch.no_grad():
        for t in reversed(range(STEPS)):
            at = torch.full((3,), t)
            noise = head(x, at, empty) + 3 * (head(x, at, condition) - head(x, at, empty))
            now, before = alpha_bar[t + 1], alpha_bar[t]
            beta = 1 - now / before
            mean = (x - beta / (1 - now).sqrt() * noise) / (1 - beta).sqrt()
            x = mean + 0.8 * (beta * (1 - before) / (1 - now)).sqrt() * draws["step_noise"][STEPS - 1 - t]
    found = head.sample(condition, empty, guidance=3.0, temperature=0.8, **draws)
    assert_relative(found, x, 1e-4)


@each_prediction
@pytest.mark.parametrize("steps, solver", [(STEPS, "ancestral"), (STEPS, "dpm++"), (18, "ancestral")])
def test_steps_at_once_equal_one_after_another(prediction, steps, solver, monkeypatch):
    """To the tolerance, in fewer passes."""
    head, condition, empty, draws = tiny_head(prediction), torch.randn(3, 6), torch.randn(3, 6), noise_of(3)
    head.rows = 24
    network, passes = head.network, []
    monkeypatch.setattr(head, "network", lambda *inputs: (passes.append(len(inputs[0])), network(*inputs))[1])

    def sample(row: int, tolerance: float = 0.0) -> torch.Tensor:
        passes.clear()
        one = slice(row, row + 1)
        noise = {name: values[..., one, :] for name, values in draws.items()}
        return head.sample(condition[one], empty[one], 3.0, 0.8, **noise, plan=head.plan(steps, solver),
                           tolerance=tolerance)

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
    """Steps at once are settled when all rows are, though one needs more passes than the others."""
    path, target = all_steps(), torch.tensor([[0.0], [1.0], [5.0]])
    still = path.still(torch.randn(3, 1), torch.randn(STEPS, 3, 1))

    def sample(ahead: int) -> torch.Tensor:
        return path.walk(lambda x, part: torch.sin(target * x), still, ahead=ahead, tolerance=1e-6)

    torch.testing.assert_close(sample(8), sample(1), rtol=0, atol=1e-4)


def test_guidance():
    """1 is the text alone, 0 the empty text alone; text and empty text see the same noise."""
    head, text, empty, draws = tiny_head(), torch.randn(3, 6), torch.randn(3, 6), noise_of(3)
    with_text, without = head.sample(text, **draws), head.sample(empty, **draws)
    assert_relative(head.sample(text, empty, guidance=1.0, **draws), with_text, 1e-4)
    assert_relative(head.sample(text, empty, guidance=0.0, **draws), without, 1e-4)
    assert_relative(head.sample(text, text, guidance=4.0, **draws), with_text, 1e-4)
    assert (with_text - without).abs().max() > 0.01 * with_text.abs().max()


def test_noise_is_drawn_when_not_given():
    head, condition = tiny_head(), torch.randn(3, 6)
    first, second = head.sample(condition), head.sample(condition)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    first = head.sample(condition)
    torch.manual_seed(5)
    assert torch.equal(head.sample(condition), first)


def test_golden_schedule(golden_file):
    numbers, diffusion = golden_file("ar_transformer")[0], Diffusion()
    assert_relative(diffusion.signal ** 2, numbers["train_alphas_cumprod"], 1e-6)
    kept = numbers["train_alphas_cumprod"] / torch.cat([torch.ones(1), numbers["train_alphas_cumprod"][:-1]])
    assert_relative(1 - kept, numbers["gen_betas"], 1e-6)    # sampling takes all of training's steps
    assert torch.equal(numbers["gen_timestep_map"], torch.arange(STEPS))


def test_golden_head(golden_file):
    numbers, weights = golden_file("ar_transformer")
    head = load_published_ar({"trans": weights}, heads=4).head
    condition, t = numbers["head_c"], numbers["head_t"]
    assert_relative(head(numbers["head_x"], t, condition), numbers["head_eps"])
    loss, start = head.loss(numbers["loss_x0"], condition, t, numbers["loss_noise"])
    assert_relative(loss, numbers["loss_per_row"])
    assert_relative(start, numbers["pred_xstart"])


def test_golden_sampling(golden_file):
    numbers, weights = golden_file("ar_transformer")
    head = load_published_ar({"trans": weights}, heads=4).head
    start = numbers["sample_start"]
    found = head.sample(numbers["sample_c"], start_noise=start, step_noise=numbers["sample_noise"])
    assert_relative(found, numbers["sample_out"], 1e-4)
    scale, temperature = float(numbers["cfg_scale"]), float(numbers["cfg_temperature"])
    text, empty = numbers["cfg_c"].chunk(2)
    found = head.sample(text, empty, scale, temperature, start, numbers["cfg_noise"][:, :3])
    assert_relative(found, numbers["cfg_out"][:3], 1e-4)
