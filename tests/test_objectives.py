"""What the TAE and the AR model are trained on: each term of their losses."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import train_causal_tae
import train_t2m
from conftest import randomised
from dataset.clips import Clip
from models.causal_tae import CausalTAE
from models.checkpoints import load_tae
from models.text_encoder import MINILM


@pytest.mark.parametrize("shift, millimetres", [(0.0, 0.0), (0.022, (40 + 56) / (80 + 96))])
def test_reconstruction_error_is_averaged_over_frames(data, shift, millimetres):
    """One of 22 joints 22 mm off from frame 40 on; the last frames that make no latent do not count."""
    wrist = 8 + 3 * 21 + 1    # its height

    def decode(motion: torch.Tensor) -> torch.Tensor:
        reconstructed = motion.clone()
        reconstructed[:, 40:, wrist] += shift
        return reconstructed

    tae = SimpleNamespace(mean=torch.zeros(272), encode=lambda motion: motion, decode=decode)
    clips = [Clip(name, np.load(data / "motion_data" / f"{name}.npy"), []) for name in "ce"]
    found = train_causal_tae.reconstruction(tae, clips)
    assert found["mpjpe_mm"] == pytest.approx(millimetres, abs=1e-3)
    assert found["rotations_jerk_mm"] == pytest.approx(found["captured_jerk_mm"], rel=0.5)
    more = found["jerk_mm"] - found["captured_jerk_mm"]    # at most the step's third differences: 22, 44 and 22 mm
    assert 0.2 * (shift > 0) <= more + 1e-3 <= 1000 * shift * (1 + 2 + 1) * 2 / 176 + 2e-3


def test_tae_objective_adds_up():
    tae = CausalTAE(train_causal_tae.PRESETS["tiny"].model)
    objective = train_causal_tae.TAEObjective(tae, root_weight=7.0)
    losses = objective(torch.randn(2, 64, 272), step=1)
    torch.testing.assert_close(losses["loss"], losses["recon"] + losses["kl"] + 7 * losses["root"])
    assert losses["root"] < losses["recon"] / 20    # 8 of 272 channels


def test_sums_over_a_batch_weigh_the_same_in_parts():
    """Of a batch whose halves are equal, each half as one of two parts has the losses of the whole."""
    tae, half = randomised(CausalTAE(train_causal_tae.PRESETS["tiny"].model), 0.05), torch.randn(2, 64, 272)
    found = [train_causal_tae.TAEObjective(tae, 7.0, 2.0, 2.0, latent_spread=0.0, parts=parts)(
        torch.cat([half] * (2 // parts)), step=1) for parts in (1, 2)]
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, msg=name)


def test_latent_spread_is_that_of_the_samples():
    """0: the decoder sees the means; more: what it makes of them differs more from sample to sample."""
    tae, motion = randomised(CausalTAE(train_causal_tae.PRESETS["tiny"].model), 0.05), torch.randn(2, 16, 272)
    spread = {}
    for value in (0.0, 1.0, 2.0):
        objective, seen = train_causal_tae.TAEObjective(tae, 7.0, latent_spread=value), []
        handle = tae.from_latent.register_forward_pre_hook(lambda _, latents: seen.append(latents[0]))
        torch.manual_seed(0)
        objective(motion, step=1)
        handle.remove()
        spread[value] = seen[0] - tae.encode(motion)
    assert not spread[0.0].any() and spread[1.0].any()
    torch.testing.assert_close(spread[2.0], 2 * spread[1.0])


def test_positions_are_weighed_in_metres():
    """A centimetre counts alike in every channel, however much the channel varies."""
    tae, std = CausalTAE(train_causal_tae.PRESETS["tiny"].model), torch.linspace(0.1, 2, 272)
    objective = train_causal_tae.TAEObjective(tae.set_statistics(torch.zeros(272), std), 7.0, position_weight=2.0)
    motion, found = torch.randn(2, 64, 272), []
    for channel in (8, 73):
        reconstructed = motion.clone()
        reconstructed[..., channel] += 0.01 / std[channel]
        tae.forward = lambda *_: (reconstructed, torch.zeros(2, 16, 16), torch.zeros(2, 16, 16))
        losses = objective(motion, step=1)
        found.append(losses["position"])
        torch.testing.assert_close(losses["loss"], losses["recon"] + losses["kl"] + 7 * losses["root"]
                                   + 2 * losses["position"])
    torch.testing.assert_close(*found, rtol=1e-4, atol=0)
    assert not {"tae.mean", "tae.std"} & set(objective.state_dict())        # as in runs that began before


def test_jerk_is_weighed_in_metres_and_what_bends_slowly_is_free():
    """A parabola has no jerk; frames that are off by turns have much."""
    tae, std = CausalTAE(train_causal_tae.PRESETS["tiny"].model), torch.linspace(0.1, 2, 272)
    objective = train_causal_tae.TAEObjective(tae.set_statistics(torch.zeros(272), std), 0.0, jerk_weight=2.0)
    motion, time = torch.randn(2, 64, 272), torch.arange(64.0)
    found = []
    for off in (1e-4 * time ** 2, 0.1 * (-1) ** time):
        reconstructed = motion + off[:, None] / std
        tae.forward = lambda *_: (reconstructed, torch.zeros(2, 16, 16), torch.zeros(2, 16, 16))
        losses = objective(motion, step=1)
        found.append(losses["jerk"])
        torch.testing.assert_close(losses["loss"], losses["recon"] + losses["kl"] + 2 * losses["jerk"])
    assert found[0] < 0 < found[1]


def test_the_decoder_alone_learns_from_clips_and_pairs(chain, data, script, monkeypatch, tmp_path, capsys):
    for folder in ("train_stream", "train_stream_text"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "train_stream" / "seq_0.npy", np.load(data / "motion_data" / "a.npy"))
    (tmp_path / "train_stream_text" / "seq_0.txt").write_text("a person walks*he waves#52")
    monkeypatch.chdir(chain.folder)
    assert script("train_causal_tae", "--preset", "tiny", "--data-root", str(data), "--device", "cpu",
                  "--exp-name", "tae_smooth", "--resume-pth", "output/tae_tiny/last", "--decoder-only",
                  "--jerk-loss", "2", "--streams", str(tmp_path)) == 0
    assert "8 clips to sample windows of 64 frames from; 1 left out" in capsys.readouterr().out
    before, after = (load_tae(f"output/{name}/last").state_dict() for name in ("tae_tiny", "tae_smooth"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"from_latent", "decoder"}


@pytest.mark.parametrize("shape", [(400, 384), (400, 2, 384)])
def test_text_noise_and_early_spare_the_empty_text_and_evaluation(monkeypatch, shape):
    """Of vectors and of token states; and how much of a pair is past reaches the loss."""
    text, seen, earlies, past = torch.randn(shape), [], [], torch.tensor([3])

    def loss(model, latents, lengths, text, step, total_steps, context_lengths, early: float, **others) -> None:
        assert context_lengths is past
        seen.append(text)
        earlies.append(early)

    monkeypatch.setattr(train_t2m, "two_forward_loss", loss)
    config = replace(train_t2m.PRESETS["tiny"], text_noise=0.1, early=4.0)
    objective = train_t2m.T2MObjective(torch.nn.Identity(), None, MINILM, text[3], config)
    for mode in (True, False):
        objective.train(mode)(dict(text=text, latents=None, lengths=None, past=past), step=1)
    assert earlies == [4, 0]
    noise = (seen[0] - text)[torch.arange(400) != 3]
    assert torch.equal(seen[0][3], text[3]) and torch.equal(seen[1], text)
    assert abs(noise.mean()) < 1e-3 and abs(noise.std() - 0.1) < 1e-3
