"""benchmarks/train.py: the plain loops are what ours are measured by, so both must train the same."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks import train
from benchmarks.train import (SHORTEST, STREAMS, T2M, TAE, Side, Trainer, ar_trainer, cut, medians, peak_memory_mb,
                              tae_trainer)
from conftest import assert_relative
from dataset.clips import load_clips, load_statistics
from models.causal_tae import CausalConv1d
from options.data import Data
from test_latents import write_folder

CPU = torch.device("cpu")
COUNT = 5


def trainer(name: str, folder: str | None = None, **changes) -> Trainer:
    if name == "tae":
        return tae_trainer(TAE["tiny"], COUNT)
    preset = dict(t2m=T2M, streams=STREAMS)[name]["tiny"]
    return ar_trainer(name, replace(preset, model=replace(preset.model, **changes)), COUNT, folder)


def assert_equal_training(made: Trainer, step: int = 1, total: int = 2) -> None:
    """Loss, gradient, and the loss after a step."""
    batch = made.batch(step, total)
    ours, plain = Side(made, CPU), Side(made, CPU, plain=True)
    losses = ours.loss(cut(batch)), plain.loss(batch)
    assert_relative(*(loss.detach() for loss in losses))
    for gradient, other in zip(*(torch.autograd.grad(loss, side.parameters)
                                 for loss, side in zip(losses, (ours, plain)))):
        assert_relative(gradient, other, 1e-4)
    ours.step(cut(batch)), plain.step(batch)
    assert_relative(ours.loss(cut(batch)).detach(), plain.loss(batch).detach(), 1e-4)


@pytest.mark.parametrize("name", ["tae", "t2m", "streams"])
def test_the_plain_loop_trains_the_same(name):
    assert_equal_training(trainer(name))


@pytest.mark.parametrize("step", [0, 1, 4])
def test_it_does_with_all_that_the_small_preset_has_and_any_share_replaced(step):
    assert_equal_training(trainer("streams", prediction="velocity", text_everywhere=True), step, 4)


def test_it_does_with_token_states():
    assert_equal_training(trainer("t2m", text="tokens", text_positions=2, cross_every=2))


def test_it_does_on_given_latents(tmp_path):
    clips = {name: dict(latents=latents, past=past) for name, latents, past in (("a", 4, 0), ("b", 9, 3), ("c", 30, 7))}
    made = trainer("streams", str(write_folder(tmp_path, clips)), latent_dim=2, text_dim=3)
    assert made.batch(1, 2)["latents"].shape == (COUNT, 78, 2) and made.batch(1, 2)["past"].any()
    assert_equal_training(made)


def test_random_batches():
    """As long as clips are; a context only for streams, in about half of the clips, and always something behind it."""
    for name in ("t2m", "streams"):
        batches = [trainer(name).batch(step, 40) for step in range(40)]
        lengths, past = (torch.cat([batch[key] for batch in batches]) for key in ("lengths", "past"))
        assert SHORTEST <= lengths.min() < 15 and 73 < lengths.max() <= 78 and (past < lengths).all()
        assert (past > 0).float().mean() == pytest.approx(0.5 if name == "streams" else 0, abs=0.12)
        assert [len(batches[step]["replaced_positions"]) for step in (0, 20)] == [0, 39]
        assert cut(batches[1])["latents"].shape == (COUNT, lengths[COUNT:2 * COUNT].max(), 16)


def test_medians(monkeypatch):
    """Of the rounds after the first, each work on its own."""
    clock = [0.0]
    monkeypatch.setattr(train.time, "perf_counter", lambda: clock[0])
    durations = {name: iter(values) for name, values in dict(a=[99, 1, 5, 2], b=[99, 7, 8, 9]).items()}

    def work(name):
        clock[0] += next(durations[name])

    assert medians(3, lambda: work("a"), lambda: work("b")) == [2, 8]


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
def test_memory_is_weights_gradients_and_both_moments():
    """Of 4000 x 4000 numbers of four bytes each, the gradient perhaps twice; and the same if measured again."""
    made = Trainer("linear", TAE["tiny"].training, lambda: nn.Linear(4000, 4000, bias=False), None,
                   lambda model, batch: model(batch["x"]).mean(), None)
    for _ in range(2):
        found = peak_memory_mb(made, CPU, False, dict(x=torch.randn(1, 4000)), "float32")
        assert 3.9 < found * 1024 ** 2 / (4 * 4000 ** 2) < 5.2


def test_the_tae_takes_windows_of_real_clips(data):
    made, again = (tae_trainer(TAE["tiny"], COUNT, str(data)) for _ in range(2))
    motion = made.batch(1, 2)["motion"]
    assert motion.shape == (COUNT, 64, 272) and torch.equal(motion, again.batch(1, 2)["motion"])
    assert not torch.equal(motion, made.batch(2, 2)["motion"])
    mean, std = load_statistics(Data("mocap_272", data))
    clips = [(clip.motion - mean) / std for clip in load_clips(Data("mocap_272", data), "train")]
    assert any(np.allclose(clip[first:first + 64], motion[0], atol=1e-4)
               for clip in clips for first in range(len(clip) - 63))


def operations_of_the_tae() -> int:
    """Of a sample: each layer's matmul, and those of its gradients, of which the motion needs none."""
    made, counts = tae_trainer(TAE["tiny"], 1), []
    tae = made.build().tae
    for layer in tae.modules():
        if isinstance(layer, (CausalConv1d, nn.Linear)):
            layer.register_forward_hook(lambda layer, given, result: counts.append(
                2 * result[..., 0].numel() * layer.weight.numel()))
    tae(made.batch(1, 2)["motion"])
    return 3 * sum(counts) - counts[0]


def test_the_script(tmp_path, monkeypatch, capsys):
    file = tmp_path / "train.json"
    monkeypatch.setattr(sys, "argv", ["train", "--size", "tiny", "--batch", "2", "--repeats", "1", "--curves", "2",
                                      "--device", "cpu", "--json", str(file), "--figure", str(tmp_path / "curves.png")])
    train.main()
    report, printed = json.loads(file.read_text()), capsys.readouterr().out
    assert [(row["trainer"], row["precision"]) for row in report["rows"]] == [
        (name, precision) for name in ("tae", "t2m", "streams") for precision in ("float32", "bfloat16")]
    for row in report["rows"]:
        assert row["size"] == "tiny" and row["batch"] == 2 and row["threads"] == torch.get_num_threads()
        assert row["times_plain"] == pytest.approx(row["plain_seconds_per_step"] * row["steps_per_second"])
        assert row["steps_per_second"] == pytest.approx(1 / row["seconds_per_step"]) and row["processor"]
        assert row["loss"] == pytest.approx(row["plain_loss"], rel=1e-5 if row["precision"] == "float32" else 0.02)
        if sys.platform == "linux":
            assert row["peak_memory_mb"] > 0 and row["plain_peak_memory_mb"] > 0
    for checks in report["checks"]:
        assert checks["loss_difference"] < 1e-5 and checks["gradient_difference"] < 1e-4
        assert checks["bfloat16_gradient_difference"] > 1e-4              # or it would not be bfloat16
        assert ("padding_costs" in checks) == (checks["trainer"] != "tae")
        if checks["trainer"] == "tae":
            assert checks["tflop_per_sample"] == pytest.approx(operations_of_the_tae() / 1e12, rel=1e-6)
        losses = np.array([report["curves"][checks["trainer"]][name] for name in ("float32", "bfloat16")])
        assert losses.shape == (2, 2)
        np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
    assert Image.open(tmp_path / "curves.png").size == (1350, 600)
    assert "times_plain" in printed and "padding_of_halved_costs" in printed and "last tenth of 2 steps" in printed


@pytest.mark.parametrize("flags, words", [
    (["--repeats", "0"], "--repeats 0 --curves 0: expected 1 or more repeats"),
    (["--figure", "a.png"], "--figure shows the curves of --curves steps: give their number"),
    (["--data-root", "nowhere"], "found no nowhere/motion_data, expected the data set mocap_272"),
    (["--latent-dir", "."], ". holds texts (vector) of 3 channels, the model reads vector of 384: give another ")])
def test_mistakes(flags, words, tmp_path, monkeypatch, refused):
    write_folder(tmp_path, dict(a=dict(latents=4)))
    monkeypatch.chdir(tmp_path)
    assert words in refused(train.main, "--size", "tiny", *flags)
