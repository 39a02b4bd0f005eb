"""The schedule's laws, the diffusion head, and the authors' numbers."""

import math
import pytest
import torch

from conftest import assert_relative, randomised
from models.diffusion import Diffusion
from models.head import DiffusionHead, TimeEmbedding
from models.published import load_published_ar
from options.sampling import FORMULAE, STEPS, Sampling


def tiny_head(prediction: str = "noise") -> DiffusionHead:
    return randomised(DiffusionHead(latent_dim=4, condition_dim=6, width=16, depth=2, prediction=prediction))


def noise_for(rows: int) -> torch.Tensor:
    """The start's and 50 steps', always the same."""
    return torch.randn(1 + STEPS, rows, 4, generator=torch.Generator().manual_seed(1))


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
        assert move.start_coef + move.x_coef * math.sqrt(now) == pytest.approx(math.sqrt(then))
        assert move.x_coef ** 2 * (1 - now) + move.noise_coef ** 2 == pytest.approx(1 - then)
        assert (move.noise_coef > 0) == (solver == "ancestral")
    assert moves[-1][1:] == pytest.approx((1, 0, 0, 0))


@pytest.mark.parametrize("steps, solver", [(0, "ddim"), (STEPS + 1, "ddim"), (5, "euler")])
def test_moves_refuse_what_is_unknown(steps, solver):
    with pytest.raises(ValueError, match=f"{steps} steps of the solver '{solver}'"):
        Diffusion().moves(steps, solver)


def test_solvers_follow_the_flow():
    """Of data N(0, 0.5^2) the noise and the flow are known. More steps come nearer, and dpm++ much faster."""
    diffusion, start, deviation = Diffusion(), torch.randn(1000, 1, dtype=torch.float64), 0.5
    diffusion.double()

    def end_of(steps, solver):
        def predict(x, t):
            signal, variance = diffusion.signal[t], deviation ** 2
            return signal * variance / (signal ** 2 * variance + diffusion.noise[t] ** 2) * x

        return diffusion.sample(predict, start[None], steps, solver)

    now = diffusion.alpha_bar[-1]
    exact = start * deviation / math.sqrt(now * deviation ** 2 + 1 - now)
    error = {(solver, steps): (end_of(steps, solver) - exact).std() / deviation
             for solver in ("ddim", "dpm++") for steps in (5, 10, 25, 50)}
    for solver, order in (("ddim", 1), ("dpm++", 1.4)):
        assert error[solver, 10] < error[solver, 5] and error[solver, 50] < error[solver, 10] / 5 ** order * 1.5
    assert error["dpm++", 10] < error["ddim", 10] / 2 and error["dpm++", 50] < 0.005


def test_the_start_of_noise_undoes_add_noise():
    diffusion, start, noise, t = Diffusion(), *torch.randn(2, STEPS, 4), torch.arange(STEPS)
    noisy = diffusion.add_noise(start, t, noise)
    assert (noisy[-1] - noise[-1]).abs().max() < 0.01 and (noisy[0] - start[0]).abs().max() < 0.2
    torch.testing.assert_close(diffusion.start(noisy, t, noise), start, rtol=0, atol=1e-3)
    assert torch.equal(diffusion.target(start, t, noise), noise)


def test_velocity_is_the_noise_in_other_words():
    """x_0 and v are x_t and the noise turned about the same angle, so errors of v do not grow."""
    diffusion, start, noise, t = Diffusion("velocity"), *torch.randn(2, STEPS, 4), torch.arange(STEPS)
    noisy, velocity = diffusion.add_noise(start, t, noise), diffusion.velocity(start, t, noise)
    torch.testing.assert_close(diffusion.noise[:, None] * noisy + diffusion.signal[:, None] * velocity, noise)
    torch.testing.assert_close(diffusion.start(noisy, t, velocity), start)
    torch.testing.assert_close(diffusion.start(noisy[7], 7, velocity[7]), start[7])
    assert torch.equal(diffusion.target(start, t, noise), velocity)


def test_sampling_with_perfect_knowledge_arrives():
    """If x_0 is known exactly, whatever is sampled on the way, it comes out."""
    truth = torch.randn(3, 4)
    found = Diffusion().sample(lambda x, t: truth, torch.randn(1 + STEPS, 3, 4))
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-5)


def test_temperature_multiplies_the_step_noise():
    """Where there is none, the start's."""
    noise = torch.randn(1 + STEPS, 3, 4)

    def sample(noise, temperature=1.0, solver="ancestral"):
        return Diffusion().sample(lambda x, t: 0.9 * x, noise, solver=solver, temperature=temperature)

    half = torch.cat([noise[:1], noise[1:] / 2])
    torch.testing.assert_close(sample(noise, 0.5), sample(half))
    assert (sample(noise, 0.5) - sample(noise)).abs().max() > 0.01
    torch.testing.assert_close(sample(noise, 0.5, "ddim"), sample(noise / 2, solver="ddim"))


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
    assert not head(*rows).any()
    loss = head.loss(rows[0], rows[2], rows[1], torch.randn(5, 4))[0].mean()
    loss.backward()
    assert head.output.weight.grad.any()


@each_prediction
def test_head_loss(prediction):
    """The mean squared error of noise or velocity, and the x_0 that the prediction means."""
    head, latents, noise = tiny_head(prediction), *torch.randn(2, 5, 4)
    condition, t = torch.randn(5, 6), torch.tensor([0, 10, 20, 30, 40])
    loss, start = head.loss(latents, condition, t, noise)
    for row in range(5):
        signal, sigma = head.diffusion.signal[t[row]], head.diffusion.noise[t[row]]
        noisy = signal * latents[row] + sigma * noise[row]
        predicted = head(noisy[None], t[row:row + 1], condition[row:row + 1])[0]
        if prediction == "velocity":
            error = predicted - (signal * noise[row] - sigma * latents[row])
            expected = signal * noisy - sigma * predicted
        else:
            error, expected = predicted - noise[row], (noisy - sigma * predicted) / signal
        torch.testing.assert_close(loss[row], (error ** 2).mean(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(start[row], expected, rtol=1e-4, atol=1e-4)


@each_prediction
def test_sampling_equals_the_formulae_of_the_paper(prediction):
    """Guided, with everything computed again at each step."""
    head, condition, empty, noise = tiny_head(prediction), torch.randn(3, 6), torch.randn(3, 6), noise_for(3)
    alpha_bar = torch.cat([torch.ones(1), head.diffusion.signal ** 2]).double()
    x = noise[0]

    def predicted_noise(x, t, condition):
        output = head(x, torch.full((3,), t), condition)
        if prediction == "noise":
            return output
        return head.diffusion.noise[t] * x + head.diffusion.signal[t] * output

    with torch.no_grad():
        for t in reversed(range(STEPS)):
            without = predicted_noise(x, t, empty)
            guided = without + 3 * (predicted_noise(x, t, condition) - without)
            now, before = alpha_bar[t + 1], alpha_bar[t]
            beta = 1 - now / before
            mean = (x - beta / (1 - now).sqrt() * guided) / (1 - beta).sqrt()
            x = mean + 0.8 * (beta * (1 - before) / (1 - now)).sqrt() * noise[STEPS - t]
    found = head.sample(condition, empty, Sampling(guidance=3.0, temperature=0.8), noise)
    assert_relative(found, x, 1e-4)


def test_guidance():
    """1 is the text alone, 0 the empty text alone; text and empty text see the same noise."""
    head, text, empty, noise = tiny_head(), torch.randn(3, 6), torch.randn(3, 6), noise_for(3)
    with_text, without = head.sample(text, noise=noise), head.sample(empty, noise=noise)
    assert_relative(head.sample(text, empty, Sampling(guidance=1.0), noise), with_text, 1e-4)
    assert_relative(head.sample(text, empty, Sampling(guidance=0.0), noise), without, 1e-4)
    assert_relative(head.sample(text, text, Sampling(guidance=4.0), noise), with_text, 1e-4)
    assert (with_text - without).abs().max() > 0.01 * with_text.abs().max()


def test_a_fitted_solver_needs_an_accelerated_model():
    with pytest.raises(ValueError, match="50 steps of the solver 'fitted': expected 1 to 50 of one of ancestral, ddim"):
        tiny_head().sample(torch.randn(1, 6), sampling=Sampling(solver="fitted"))


def test_noise_is_sampled_when_not_given():
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
    start = numbers["sample_start"][None]
    found = head.sample(numbers["sample_c"], noise=torch.cat([start, numbers["sample_noise"]]))
    assert_relative(found, numbers["sample_out"], 1e-4)
    scale, temperature = float(numbers["cfg_scale"]), float(numbers["cfg_temperature"])
    text, empty = numbers["cfg_c"].chunk(2)
    noise = torch.cat([start, numbers["cfg_noise"][:, :3]])
    found = head.sample(text, empty, Sampling(scale, temperature), noise)
    assert_relative(found, numbers["cfg_out"][:3], 1e-4)
