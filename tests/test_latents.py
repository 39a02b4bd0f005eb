"""Latent folders: which clips and captions are used, how they are cut, and what is wrong with bad ones."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dataset.balance import FREE
from dataset.latents import LatentClips
from utils.checkpoint import write_json

END = [0.5, 0.25]
SCALE = 2.0


def write_folder(folder: Path, clips: dict[str, dict]) -> Path:
    """clips: ID -> latents (without the end latent), and what differs from a train clip with caption 1.

    Latent l of a clip of n latents is (l, n); caption number c embeds to (c, c, c).
    """
    entries, rows = {}, []
    for name, clip in clips.items():
        count = clip.pop("latents")
        latents = np.stack([np.arange(count), np.full(count, count)], axis=1)
        first = len(rows)
        rows += [*latents, END]
        entries[name] = dict(split="train", group="", rows=(first, len(rows)), captions=[(1, 0.0, 0.0)]) | clip
    np.save(folder / "latents.npy", np.array(rows, np.float32))
    write_json(folder / "index.json", dict(dataname="mocap_272", tae="0", text_encoder="words", end_latent=END,
                                           latent_scale=SCALE, stop_threshold=0.1, clips=entries))
    embeddings = torch.arange(6).half()[:, None].repeat(1, 3)
    save_file({"embeddings": embeddings}, folder / "embeddings.safetensors")
    return folder


def samples(clips: LatentClips, count: int = 600) -> list[tuple[tuple[int, ...], int]]:
    """Many samples of the first clip, as (numbers of the latents, -1 the end latent; caption)."""
    def number(latent: np.ndarray) -> int:
        return -1 if np.allclose(latent * SCALE, END) else round(float(latent[0] * SCALE))

    samples = [clips.sample(0, rng) for rng in map(np.random.default_rng, range(count))]
    return [(tuple(map(number, latents)), caption) for latents, caption, _ in samples]


def test_a_third_of_the_samples_lose_their_first_or_last_latent(tmp_path):
    clips = LatentClips(write_folder(tmp_path, dict(a=dict(latents=4))), "train", 78)
    counts = Counter(latents for latents, _ in samples(clips))
    assert set(counts) == {(0, 1, 2, 3, -1), (1, 2, 3, -1), (0, 1, 2, 3)}
    assert counts[0, 1, 2, 3, -1] / 600 == pytest.approx(2 / 3, abs=0.06)
    assert counts[1, 2, 3, -1] / 600 == pytest.approx(1 / 6, abs=0.05)


def test_latents_come_in_the_ar_models_units(tmp_path):
    clips = LatentClips(write_folder(tmp_path, dict(a=dict(latents=4))), "train", 78)
    latents = max((clips.sample(0, np.random.default_rng(seed))[0] for seed in range(9)), key=len)
    np.testing.assert_allclose(latents, np.array([[0, 4], [1, 4], [2, 4], [3, 4], END]) / SCALE)
    assert latents.dtype == np.float32


def test_tags_cut_and_every_caption_keeps_its_own_latents(tmp_path):
    """Seconds times 7.5, rounded down, without the end latent; caption and latents come together."""
    captions = [(1, 0.0, 0.0), (2, 1.0, 2.0), (3, 0.0, 0.9), (4, 1.5, 9.0),
                (5, 1.4, 1.45), (5, 9.0, 10.0), (5, 0.0, 0.1)]
    clips = LatentClips(write_folder(tmp_path, dict(a=dict(latents=16, captions=captions))), "train", 78)
    cuts = {1: (*range(16), -1), 2: (*range(7, 15),), 3: (*range(6),), 4: (*range(11, 16),)}
    expected = {(kept, caption) for caption, latents in cuts.items()
                for kept in (latents, latents[1:], latents[:-1])}
    assert set(samples(clips)) == expected


def test_one_latent_is_never_dropped(tmp_path):
    folder = write_folder(tmp_path, dict(a=dict(latents=4, captions=[(1, 0.2, 0.3)])))
    clips = LatentClips(folder, "train", 78)
    assert {latents for latents, _ in samples(clips)} == {(1,)}


def test_what_is_left_out_is_counted(tmp_path, capsys):
    """Long clips, captions whose tags hold nothing, clips without any other caption."""
    write_folder(tmp_path, dict(
        fits=dict(latents=9), long=dict(latents=10), longer=dict(latents=30),
        val=dict(latents=5, split="val"), late=dict(latents=5, captions=[(1, 2.0, 3.0)]),
        part=dict(latents=5, captions=[(1, 0.2, 0.21), (2, 0.0, 0.0)])))
    clips = LatentClips(tmp_path, "train", context=10)
    assert len(clips) == 2 and sorted(map(len, clips.latents)) == [6, 10]
    printed = capsys.readouterr().out
    assert "2 train clips" in printed and "'longer than 10 latents': 2" in printed
    assert "'captions whose start and end tags hold no latent': 2" in printed


def test_text_is_dropped_for_its_share(tmp_path):
    folder = write_folder(tmp_path, dict(a=dict(latents=4)))
    assert {caption for _, caption in samples(LatentClips(folder, "train", 78))} == {1}
    sampled = samples(LatentClips(folder, "train", 78, text_drop=0.1), count=2000)
    counts = Counter(caption for _, caption in sampled)
    assert set(counts) == {0, 1} and counts[0] / 2000 == pytest.approx(0.1, abs=0.02)
    # dropping the text says nothing about dropping a latent
    assert {latents for latents, caption in sampled if not caption} == {latents for latents, _ in sampled}


def test_rarity(tmp_path):
    """1 / (clips of the group), for balanced sampling."""
    groups = dict(a="walk", b="walk", c="walk", d="walk", e="wave")
    write_folder(tmp_path, {name: dict(latents=4, group=group) for name, group in groups.items()})
    clips = LatentClips(tmp_path, "train", 78)
    np.testing.assert_allclose(clips.rarity, [0.25, 0.25, 0.25, 0.25, 1.0])


def test_captions_are_sampled_by_their_shares(tmp_path):
    """As `dataset.balance` gives them; `favour` is of names that begin so, the mirror images' too."""
    usual, odd = (1, 0.0, 0.0), (2, 0.0, 0.0)
    write_folder(tmp_path, {name: dict(latents=4, captions=[usual, odd]) for name in ("walk", "Mwalk", "Mad", "other")})
    (tmp_path / "captions.txt").write_text("\na person walks\nGo about the campfire once\n")
    clips = LatentClips(tmp_path, "train", 78, balance=0.5, favour=("walk=3", "wa=9", "Ma=2"))
    np.testing.assert_allclose(clips.rarity ** 0.5 / clips.rarity[3] ** 0.5, [3, 3, 2, 1])
    sampled = [caption for _, caption in samples(clips, count=2000)]
    assert sampled.count(2) / 2000 == pytest.approx(FREE, abs=0.03)
    assert len(set(LatentClips(tmp_path, "train", 78).rarity)) == 1
    for wrong, said in (("walk", "expected NAME=FACTOR"), ("=2", "expected NAME=FACTOR"), ("run=2", "no clip's name")):
        with pytest.raises(ValueError, match=said):
            LatentClips(tmp_path, "train", 78, balance=0.5, favour=[wrong])
    for more in (dict(favour=["walk=3"]), dict(by_words=0.5)):
        with pytest.raises(ValueError, match="--balance"):
            LatentClips(tmp_path, "train", 78, **more)
    with pytest.raises(ValueError, match="--by-words 1.5: expected a share"):
        LatentClips(tmp_path, "train", 78, balance=0.5, by_words=1.5)


def test_a_pair_loses_latents_and_keeps_its_past(tmp_path):
    """The first of A, then one shorter, or the last of B; never B's only one. Without `pairs` it is no clip."""
    write_folder(tmp_path, dict(a=dict(latents=4, past=2), b=dict(latents=3, past=3), c=dict(latents=2)))
    clips = LatentClips(tmp_path, "train", 78, pairs=True)
    assert clips.past == [2, 3, 0] and len(LatentClips(tmp_path, "train", 78)) == 1

    def sampled(clip: int) -> set[tuple[int, int]]:
        samples = [clips.sample(clip, rng) for rng in map(np.random.default_rng, range(200))]
        return {(len(latents), past) for latents, _, past in samples}

    assert sampled(0) == {(5, 2), (4, 1), (4, 2)} and sampled(1) == {(4, 3)} and sampled(2) == {(3, 0), (2, 0)}


def test_a_crop_keeps_the_beginning(tmp_path):
    """So many latents from the first on; of a pair, the past and so many of what comes after it."""
    write_folder(tmp_path, dict(a=dict(latents=9), b=dict(latents=12, past=5), c=dict(latents=2)))
    clips = LatentClips(tmp_path, "train", 78, pairs=True, crop=4)
    for clip, (length, past) in enumerate([(4, 0), (9, 5), (3, 0)]):
        for rng in map(np.random.default_rng, range(50)):
            latents, _, kept = clips.sample(clip, rng)
            shortened = length - len(latents)
            assert shortened in (0, 1) and past - kept in (0, shortened)
            whole = clips.latents[clip][:length] / clips.scale
            assert any(np.array_equal(latents, whole[first:first + len(latents)]) for first in (0, shortened))


def test_motion_of_text_finds_what_sentences_say(tmp_path):
    """Latents that follow a direction of the sentences: found again, with unit variance, whatever their size."""
    rng = np.random.default_rng(0)
    count, direction = 300, np.array([0.6, 0.0, 0.8])
    text = rng.normal(0, 0.1, (count, 3))
    write_folder(tmp_path, {str(number): dict(latents=8, captions=[(number, 0.0, 0.0)]) for number in range(count)})
    save_file({"embeddings": torch.from_numpy(text).half()}, tmp_path / "embeddings.safetensors")
    clips = LatentClips(tmp_path, "train", 78)
    clips.latents = [np.tile(np.array([40 * row @ direction, 0.0], np.float32), (9, 1)) for row in text]
    weight, bias = clips.motion_of_text(2, balance=0.5, noise=0.0)
    assert weight.shape == (2, 3) and bias.shape == (2,)
    found = torch.from_numpy(text).float() @ weight[0] + bias[0]
    assert abs(found.mean()) < 0.01 and abs(found.std() - 1) < 0.02
    assert abs(np.corrcoef(found, text @ direction)[0, 1]) > 0.999
    noisy = clips.motion_of_text(2, balance=0.5, noise=1.0)[0][0]
    assert torch.nn.functional.cosine_similarity(noisy, weight[0], dim=0).abs() > 0.99


def test_collate(tmp_path):
    folder = write_folder(tmp_path, dict(a=dict(latents=4), b=dict(latents=2, captions=[(3, 0.0, 0.0)])))
    clips = LatentClips(folder, "train", 78)
    first, second = map(np.array, clips.latents)
    batch = clips.collate([(first, 1, 2), (second, 3, 0), (second[:1], 0, 0)])
    assert batch["latents"].shape == (3, 5, 2) and batch["latents"].dtype == torch.float32
    assert batch["lengths"].tolist() == [5, 3, 1] and batch["past"].tolist() == [2, 0, 0]
    assert not batch["latents"][1, 3:].any() and not batch["latents"][2, 1:].any()
    np.testing.assert_array_equal(batch["latents"][0], first)
    assert batch["text"].tolist() == [[1.0] * 3, [3.0] * 3, [0.0] * 3]


def test_a_folder_without_an_index_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="no index.json in .*nowhere. Make it: python get_latent.py"):
        LatentClips(tmp_path / "nowhere", "train", 78)


def spoil(path: Path, how: str) -> None:
    whole = path.read_bytes()
    values = np.load(path)
    if how == "cut short":
        path.write_bytes(whole[:-8])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "html":
        path.write_text("<html>Not found</html>")
    elif how == "objects":
        np.save(path, np.array([{}, []], dtype=object))
    else:
        nan = values.copy()
        nan[-1] = np.nan
        others = dict(channels=values[:, :1], flat=values[0], doubles=values.astype(float), fewer=values[:-1], nan=nan)
        np.save(path, others[how])


@pytest.mark.parametrize("how, said", [
    ("cut short", "is damaged"), ("empty", "is damaged"), ("html", "is damaged"), ("objects", "is damaged"),
    ("channels", r"holds float32 of shape \(10, 1\), expected float32 \(N, 2\)"),
    ("flat", r"holds float32 of shape \(2,\)"), ("doubles", "holds float64"),
    ("fewer", "holds no finite latents of b in rows 5 to 10"),
    ("nan", "holds no finite latents of b in rows 5 to 10"),
])
def test_damaged_latents_refuse(tmp_path, how, said):
    write_folder(tmp_path, dict(a=dict(latents=4), b=dict(latents=4)))
    spoil(tmp_path / "latents.npy", how)
    with pytest.raises(ValueError, match=rf"latents.npy {said}.* Make it: python get_latent.py"):
        LatentClips(tmp_path, "train", 78)


def test_missing_latents_refuse(tmp_path):
    """As in the folders of an older get_latent.py."""
    (write_folder(tmp_path, dict(a=dict(latents=4))) / "latents.npy").unlink()
    with pytest.raises(FileNotFoundError, match="no latents.npy in .*; an older get_latent.py wrote .* Make it"):
        LatentClips(tmp_path, "train", 78)


def test_nothing_usable_refuses(tmp_path):
    write_folder(tmp_path, dict(a=dict(latents=40)))
    with pytest.raises(ValueError, match="no usable clips of split 'train' .*'longer than 10 latents': 1"):
        LatentClips(tmp_path, "train", 10)
    with pytest.raises(ValueError, match=r"no usable clips of split 'val' \({}\): move .* to val.txt, .* Make it"):
        LatentClips(tmp_path, "val", 78)


def test_a_damaged_index_refuses(tmp_path):
    (write_folder(tmp_path, dict(a=dict(latents=4))) / "index.json").write_text('{"clips": {')
    with pytest.raises(ValueError, match="index.json is not JSON"):
        LatentClips(tmp_path, "train", 78)
