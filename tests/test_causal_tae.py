"""The TAE: causal, streamed equals whole, its losses against plain references, and the authors' numbers."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from conftest import assert_relative, parameters
from models.causal_tae import CausalConv1d, CausalTAE, gaussian_kl, sample_latents, sigma_nll
from models.published import load_published_tae
from options.models import TAE


def tiny_tae() -> CausalTAE:
    return CausalTAE(TAE(latent_dim=4, width=8)).double().eval()


@pytest.mark.parametrize("kernel, stride, dilation", [(3, 1, 1), (3, 1, 9), (4, 2, 1), (1, 1, 1)])
def test_convolution_equals_a_sum_over_the_past(kernel, stride, dilation):
    layer, x = CausalConv1d(3, 2, kernel, stride, dilation), torch.randn(1, 24, 3)
    found = layer(x)
    assert found.shape == (1, 24 // stride, 2)
    for step in range(24 // stride):
        newest = (step + 1) * stride - 1
        seen = [newest - dilation * back for back in reversed(range(kernel))]
        taps = torch.stack([x[0, frame] if frame >= 0 else torch.zeros(3) for frame in seen], dim=1)
        expected = (layer.weight * taps).sum(dim=(1, 2)) + layer.bias
        torch.testing.assert_close(found[0, step], expected)


@pytest.mark.parametrize("frame", [0, 3, 4, 17, 39])
def test_encoder_is_causal(frame):
    """Changing a frame changes its own latent and none before."""
    tae, motion = tiny_tae(), torch.randn(2, 40, 272, dtype=torch.float64)
    changed = motion.clone()
    changed[:, frame] += 1
    for before, after in zip(tae.encode_normalised(motion), tae.encode_normalised(changed)):
        torch.testing.assert_close(after[:, :frame // 4], before[:, :frame // 4])
        assert (after - before)[:, frame // 4].abs().amax(dim=-1).min() > 1e-6


@pytest.mark.parametrize("latent", [0, 1, 6, 9])
def test_decoder_is_causal(latent):
    """Changing a latent changes its own four frames and none before."""
    tae, latents = tiny_tae(), torch.randn(2, 10, 4, dtype=torch.float64)
    changed = latents.clone()
    changed[:, latent] += 1
    before, after = tae.decode(latents), tae.decode(changed)
    torch.testing.assert_close(after[:, :4 * latent], before[:, :4 * latent])
    assert (after - before)[:, 4 * latent:4 * latent + 4].abs().amax(dim=-1).min() > 1e-6


@pytest.mark.parametrize("split", [[20], [19, 1], [8, 12], [3, 1, 7, 9], [1] * 20])
def test_streamed_decode_equals_whole(split):
    tae, latents, cache = tiny_tae(), torch.randn(2, 20, 4, dtype=torch.float64), {}
    pieces = [tae.decode(piece, cache) for piece in latents.split(split, dim=1)]
    assert [piece.shape[1] for piece in pieces] == [4 * count for count in split]
    torch.testing.assert_close(torch.cat(pieces, dim=1), tae.decode(latents))


def test_streams_do_not_share_their_past():
    tae, latents, cache = tiny_tae(), torch.randn(1, 5, 4, dtype=torch.float64), {}
    tae.decode(latents + 1, cache)
    torch.testing.assert_close(tae.decode(latents, {}), tae.decode(latents))
    assert (tae.decode(latents, cache) - tae.decode(latents)).abs().max() > 1e-4


@pytest.mark.parametrize("error", [2.0, 0.1, 1e-5])
def test_sigma_nll_is_a_normal_likelihood(error):
    """With the batch's own deviation; where the error vanishes the deviation stays above exp(-6)."""
    motion = torch.randn(3, 8, 272, dtype=torch.float64)
    reconstructed = motion + error * torch.randn_like(motion)
    root_mean_square = math.sqrt(((reconstructed - motion) ** 2).mean())
    log_sigma = -6 + math.log1p(math.exp(math.log(root_mean_square) + 6))
    expected = -Normal(reconstructed, math.exp(log_sigma)).log_prob(motion).sum()
    torch.testing.assert_close(sigma_nll(reconstructed, motion), expected)


def test_kl():
    """Zero at N(0, 1); elsewhere torch's own, summed over a clip and averaged over clips."""
    assert gaussian_kl(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)) == 0
    mean, logvar = torch.randn(2, 5, 3, 4)
    expected = kl_divergence(Normal(mean, (logvar / 2).exp()), Normal(0, 1)).sum() / 5
    torch.testing.assert_close(gaussian_kl(mean, logvar), expected)


def test_sample_latents():
    mean, logvar = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 0.25]).log()
    found = sample_latents(mean, logvar, noise=torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(found, torch.tensor([3.0, -0.5]))
    sampled = sample_latents(mean.expand(20_000, 2), logvar)
    torch.testing.assert_close(sampled.std(0), torch.tensor([2.0, 0.5]), rtol=0.03, atol=0)


def test_logvar_stays_in_its_bounds():
    tae = tiny_tae()
    tae.to_moments.bias.data[4:] = torch.tensor([-1e3, -29, 19, 1e3])
    logvar = tae.encode_normalised(torch.zeros(1, 4, 272, dtype=torch.float64))[1][0, 0]
    assert logvar[0] == -30 and logvar[3] == 20 and -30 < logvar[1] < -28 and 18 < logvar[2] < 20


def test_every_parameter_learns():
    tae, motion = tiny_tae(), torch.randn(2, 64, 272, dtype=torch.float64)
    reconstructed, mean, logvar = tae(motion)
    assert reconstructed.shape == motion.shape and mean.shape == logvar.shape == (2, 16, 4)
    (sigma_nll(reconstructed, motion) + gaussian_kl(mean, logvar)).backward()
    still = [name for name, parameter in tae.named_parameters() if not parameter.grad.any()]
    assert not still


def test_statistics_normalise_what_goes_in_and_denormalise_what_comes_out():
    tae, motion = tiny_tae(), torch.randn(2, 8, 272, dtype=torch.float64)
    latents, decoded = tae.encode(motion), tae.decode(torch.ones(1, 2, 4, dtype=torch.float64))
    assert torch.equal(latents, tae.encode_normalised(motion)[0]) and not tae.has_statistics
    mean, std = torch.linspace(-1, 1, 272).double(), torch.linspace(0.5, 2, 272).double()
    tae.set_statistics(mean, std)
    torch.testing.assert_close(tae.encode(motion * std + mean), latents)
    torch.testing.assert_close(tae.decode(torch.ones(1, 2, 4, dtype=torch.float64)), decoded * std + mean)
    assert tae.has_statistics and tae.frames_per_code == 4


def test_published_size():
    with torch.device("meta"):
        assert parameters(CausalTAE(TAE())) / 1e6 == pytest.approx(76.2, abs=0.05)


@pytest.mark.parametrize("frames, channels", [(8, 263), (6, 272)])
def test_motion_of_the_wrong_shape_refuses(frames, channels):
    said = rf"\(1, {frames}, {channels}\); expected \(B, T, 272\) with T a multiple of 4"
    with pytest.raises(ValueError, match=said):
        tiny_tae().encode(torch.zeros(1, frames, channels, dtype=torch.float64))


def test_latents_of_another_tae_refuse():
    with pytest.raises(ValueError, match="latents have 16 channels; this TAE decodes 4"):
        tiny_tae().decode(torch.zeros(1, 2, 16, dtype=torch.float64))


def test_golden(golden_file):
    numbers, weights = golden_file("causal_tae")
    tae, motion = load_published_tae({"net": weights}), numbers["motion"]
    mean, logvar = tae.encode_normalised(motion)
    assert_relative(mean, numbers["mean"])
    assert_relative(logvar, numbers["logvar"])
    reconstructed = numbers["decoded_from_mean"]
    assert_relative(tae.decode(numbers["mean"]), reconstructed)
    assert_relative(sigma_nll(reconstructed, motion), numbers["loss_recon"])
    assert_relative(sigma_nll(reconstructed[..., :8], motion[..., :8]), numbers["loss_root"])
    assert_relative(gaussian_kl(numbers["mean"], numbers["logvar"]), numbers["loss_kl"])
