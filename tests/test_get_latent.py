"""get_latent.py: latents of every clip, texts of every caption, each made once, by any number of ranks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import get_latent
import train_causal_tae
from conftest import LENGTHS, ROOT, VAL
from dataset.clips import Clip
from models.causal_tae import CausalTAE
from models.checkpoints import load_tae
from models.text_encoder import TextEncoder
from options.data import Data272


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
def test_what_was_encoded_before_and_is_damaged_is_made_again(chain, script, monkeypatch, capsys, name, said):
    monkeypatch.chdir(chain.folder)
    shutil.copytree("latents", "latents4", dirs_exist_ok=True)
    whole = Path("latents4", name).read_bytes()
    Path("latents4", name).write_bytes(whole[:-8])
    assert script("get_latent", *chain.commands["get_latent"], "--latent-dir", "latents4") == 0
    assert f"{said} before" not in capsys.readouterr().out
    assert Path("latents4", name).read_bytes() == whole


def test_any_number_of_ranks_encodes_the_same(chain, script, monkeypatch, capsys):
    """Byte for byte; also where a rank has nothing to do, as the third of two batches."""
    monkeypatch.chdir(chain.folder)
    one, three = ([*chain.commands["get_latent"], "--latent-dir", folder, "--batch-size", "5"]
                  for folder in ("latents_of_1", "latents_of_3"))
    assert script("get_latent", *one) == 0
    ended = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3",
                            ROOT / "get_latent.py", *three], capture_output=True, text=True,
                           env=os.environ | dict(OMP_NUM_THREADS="1"))
    assert ended.returncode == 0, ended.stderr
    for printed in (capsys.readouterr().out, ended.stdout):
        assert printed.count("9 clips encoded into") == 1 and printed.count("clips to encode") == 2
    for name in ("latents.npy", "index.json", "embeddings.safetensors"):
        assert Path("latents_of_1", name).read_bytes() == Path("latents_of_3", name).read_bytes(), name
    assert sorted(os.listdir("latents_of_3")) == ["captions.txt", "embeddings.safetensors", "index.json",
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
        get_latent.clips_by_split(get_latent.GetLatent(data=Data272("mocap_272", root)))


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
