"""The two-forward loss against a plain reference, its laws, and the authors' numbers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.train import Given
from conftest import assert_relative, randomised
from generation.fast.training import accelerate_training
from models.published import load_published_ar
from models.transformer import StreamingTransformer
from models.two_forward import REPEATS, replaced_share, two_forward_loss
from options.sampling import STEPS
from test_streamer import TINY

LENGTHS = torch.tensor([9, 5, 7])
CONTEXTS = torch.tensor([3, 1, 2])


def noise_ar() -> StreamingTransformer:
    """A tiny model that predicts the noise, as published."""
    return randomised(StreamingTransformer(replace(TINY, prediction="noise")))


def batch() -> dict[str, Tensor]:
    return dict(latents=torch.randn(3, 9, 4), lengths=LENGTHS, text=torch.randn(3, 6))


def fixed(rows: int, positions: list[int]) -> dict[str, Tensor]:
    """Every random choice of one step: `rows` are scored, `positions` replaced."""
    return dict(replaced_positions=torch.tensor(positions, dtype=torch.long),
                t_first=torch.randint(STEPS, (27,)), noise_first=torch.randn(27, 4),
                t_second=torch.randint(STEPS, (REPEATS * rows,)), noise_second=torch.randn(REPEATS * rows, 4))


def reference(model, latents, text, first, choices) -> Tensor:
    """Clip by clip without padding, every latent with its own loss; the predicted latents are constants."""
    losses = []
    for clip, length in enumerate(LENGTHS):
        true, mixed = latents[clip, :length], latents[clip, :length].clone()
        conditions = model(true[None], text[clip][None])[0]
        for position in choices["replaced_positions"].tolist():
            if first[clip] <= position < length:
                row = 9 * clip + position
                t, noise = choices["t_first"][row][None], choices["noise_first"][row][None]
                noisy = model.head.diffusion.add_noise(true[position][None], t, noise)
                predicted = model.head(noisy, t, conditions[position][None])
                diffusion = model.head.diffusion
                mixed[position] = ((noisy - diffusion.noise[t] * predicted) / diffusion.signal[t])[0].detach()
        conditions = model(mixed[None], text[clip][None])[0]
        losses += [(true[position], conditions[position]) for position in range(first[clip], length)]
    true, conditions = (torch.stack(rows) for rows in zip(*losses))
    total = 0
    for t, noise in zip(choices["t_second"].split(len(true)), choices["noise_second"].split(len(true))):
        predicted = model.head(model.head.diffusion.add_noise(true, t, noise), t, conditions)
        total = total + ((predicted - noise) ** 2).mean(dim=-1).sum()
    return total / (REPEATS * len(true))


@pytest.mark.parametrize("contexts", [None, CONTEXTS])
@pytest.mark.parametrize("positions", [[], [1, 4, 8], list(range(9))])
@pytest.mark.parametrize("fast", [False, True])
def test_loss_and_gradient_equal_a_plain_reference(contexts, positions, fast):
    """So the gradient passes through the second forward only; also with what makes training fast."""
    model, data = noise_ar(), batch()
    if fast:
        accelerate_training(model)
    first = torch.zeros(3, dtype=torch.long) if contexts is None else contexts
    choices = fixed(int((LENGTHS - first).sum()), positions)
    found = two_forward_loss(model, **data, step=1, total_steps=2, context_lengths=contexts,
                             choices=Given(data["latents"], model.most_latents + 1, choices))
    expected = reference(model, data["latents"], data["text"], first, choices)
    torch.testing.assert_close(found, expected)
    gradients, others = (torch.autograd.grad(loss, list(model.parameters())) for loss in (found, expected))
    for gradient, other in zip(gradients, others):
        assert_relative(gradient, other, 1e-4)


def test_replaced_share():
    """Nothing at the start, everything at the end, half in the middle, and always rising."""
    shares = [replaced_share(step, 100) for step in range(101)]
    assert shares[0] == 0 and shares[100] == 1 and shares[50] == pytest.approx(0.5)
    assert shares[25] == pytest.approx(0.1464466)    # 1 - (1 + cos 45 degrees) / 2
    assert all(earlier < later for earlier, later in zip(shares, shares[1:]))


@pytest.mark.parametrize("step, replaced", [(0, 0), (50, 6), (100, 12)])
def test_the_share_sets_how_many_positions_are_replaced(step, replaced):
    """Of those that the model sees. The first forward predicts just these latents, in every clip that reaches them."""
    model, rows = noise_ar(), []
    data = batch() | dict(latents=torch.randn(3, 12, 4), lengths=torch.full((3,), 12))
    original = model.head.loss

    def counting(latents, *others):
        rows.append(len(latents))
        return original(latents, *others)

    model.head.loss = counting
    two_forward_loss(model, **data, step=step, total_steps=100)
    assert rows == [3 * replaced] * (replaced > 0) + [REPEATS * 36]


def test_early_latents_count_more_often():
    """Latent l after the context with probability early / (l + 1), the last always; padding never."""
    model, data, counts = noise_ar(), batch(), torch.zeros(3, 9)
    data["latents"] = torch.arange(27.0).view(3, 9, 1).expand(-1, -1, 4)
    original = model.head.loss

    def counting(latents, *others):
        if len(latents) % REPEATS == 0:
            rows = latents[:len(latents) // REPEATS, 0].long()
            counts.view(-1).index_add_(0, rows, torch.ones(len(rows)))
        return original(latents, *others)

    model.head.loss = counting
    for _ in range(400):
        two_forward_loss(model, **data, step=0, total_steps=100, context_lengths=CONTEXTS, early=2.0)
    expected = torch.zeros(3, 9)
    for clip, (context, length) in enumerate(zip(CONTEXTS, LENGTHS)):
        expected[clip, context:length] = (2 / torch.arange(1, length - context + 1)).clamp(max=1)
        expected[clip, length - 1] = 1
    torch.testing.assert_close(counts / 400, expected, atol=0.09, rtol=0)


def test_padding_never_matters():
    """Neither what stands in it nor how much of it there is."""
    model, data, losses = noise_ar(), batch(), []
    padded = torch.arange(9) >= LENGTHS[:, None]
    zeros, noise = (torch.where(padded[..., None], filler, data["latents"]) for filler in (0.0, 100.0))
    longer = torch.cat([zeros, torch.full((3, 2, 4), -100.0)], dim=1)
    for latents in (zeros, noise, longer):
        torch.manual_seed(0)
        losses.append(two_forward_loss(model, latents, LENGTHS, data["text"], 1, 2, early=2.0))
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(losses[2], losses[0])


@pytest.mark.parametrize("kind", ["t2m", "stream"])
def test_golden(golden_file, kind):
    model = load_published_ar({"trans": golden_file("ar_transformer")[1]}, heads=4)
    numbers = golden_file("two_forward")[0]
    recorded = {key.removeprefix(f"{kind}_"): value for key, value in numbers.items()
                if key.startswith(f"{kind}_")}
    step, total = int(numbers["step"]), int(numbers["total_steps"])
    loss = two_forward_loss(model, numbers["latents"], numbers["lengths"], numbers["text"], step, total,
                            numbers["context_lengths"] if kind == "stream" else None,
                            choices=Given(numbers["latents"], model.most_latents + 1, recorded))
    assert_relative(loss, recorded["loss"])
    loss.backward()
    assert_relative(model.blocks[0].attention.qkv.weight.grad, recorded["grad_c_attn0"])
    share = replaced_share(step, total)
    assert share == pytest.approx(float(recorded["replace_fraction"]), rel=1e-5)
    assert len(recorded["replaced_positions"]) == int(numbers["latents"].shape[1] * share)
    assert REPEATS == int(numbers["batch_mul"])
