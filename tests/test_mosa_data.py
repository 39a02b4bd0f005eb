"""What MoSa trains on, and HumanML3D's 263 channels."""

import numpy as np
import pytest
import torch

from dataset.captions import Caption, format_caption
from dataset.clips import Clip, load_clips, load_statistics, with_statistics
from dataset.mosa import CaptionedWindows, EveryWindow, caption_texts
from dataset.latent_folder import LatentFolder
from models.causal_tae import CausalTAE
from models.mosa.tokenizer import CAQVAE
from motion.representation_263 import motion263_to_positions
from motion.rotation import y_rotation
from options.data import Data
from options.models import CAQ, TAE, Codes

MEAN, STD = np.zeros(272, np.float32), np.ones(272, np.float32)


def clip(frames: int, *captions: Caption) -> Clip:
    """A clip whose every channel counts the frames."""
    return Clip(str(frames), np.arange(frames, dtype=np.float32)[:, None] + np.zeros(272, np.float32), list(captions))


def test_an_epoch_visits_every_window(capsys):
    windows = EveryWindow([clip(10), clip(21), clip(30)], MEAN, STD, 20, 24, 4)
    rng, found = np.random.default_rng(0), []
    for index in range(len(windows)):
        window = windows.sample(index, rng)
        found.append((windows.name(index), len(window), int(window[0, 0])))
    assert sorted(found) == [("21", 20, 0), ("21", 20, 1), *(("30", 24, first) for first in range(7))]
    assert "1 left out, being shorter than 20" in capsys.readouterr().out


def test_rarity_is_of_groups():
    """All groups weigh alike with balance 1, however many windows they have."""
    windows = EveryWindow([clip(21), clip(22), clip(30)], MEAN, STD, 20, 24, 4, {"21": "a", "22": "a"})
    shares = {}
    for index, weight in enumerate(windows.rarity):
        kind = "a" if windows.name(index) != "30" else ""
        shares[kind] = shares.get(kind, 0) + weight
    assert shares["a"] == pytest.approx(shares[""])


def write_texts(folder, captions):
    folder.mkdir()
    np.save(folder / "token_states.npy", np.arange(1, 2 * len(captions) + 1, dtype=np.float16)[:, None] + np.zeros(3))
    np.save(folder / "token_rows.npy", np.arange(len(captions) + 1) * 2)
    (folder / "captions.txt").write_text("".join(f"{caption}\n" for caption in captions))
    return LatentFolder(folder).texts("tokens")


def test_captioned_windows(tmp_path):
    """Parts by seconds, lengths of whole latents, a third of them a latent shorter; dropped texts are zeros."""
    texts = write_texts(tmp_path / "texts", ["", "walk", "turn"])
    clips = [clip(62, Caption("walk")), clip(200, Caption("walk"), Caption("turn", 1.0, 4.0)),
             clip(63, Caption("turn"))]
    windows = CaptionedWindows(clips, MEAN, STD, 60, 60, 4, texts, {"walk": 1, "turn": 2}, text_drop=0.2, fps=20)
    assert [windows.name(index) for index in range(len(windows))] == ["62", "200_1-4", "63"]
    rng = np.random.default_rng(0)
    sampled = [windows.sample(0, rng) for _ in range(600)]
    lengths = np.array([len(motion) for motion, _ in sampled])
    assert set(lengths) == {56, 60} and 0.28 < (lengths == 56).mean() < 0.39
    assert {int(motion[0, 0]) for motion, _ in sampled} == set(range(7))
    assert 0.15 < np.mean([number == -1 for _, number in sampled]) < 0.25
    assert windows.sample(1, rng)[0][0, 0] in range(20, 25)
    batch = windows.collate([(np.zeros((56, 272)), 1), (np.zeros((60, 272)), -1)])
    assert batch["motion"].shape == (2, 60, 272) and batch["lengths"].tolist() == [56, 60]
    assert (batch["text"][0] != 0).all() and not batch["text"][1].any()


def test_texts_that_are_there_are_read(tmp_path):
    write_texts(tmp_path / "texts", ["", "walk", "turn"])
    texts, numbers = caption_texts(tmp_path / "texts", [clip(60, Caption("turn"))], "no encoder", torch.device("cpu"))
    assert numbers["turn"] == 2 and texts[2].tolist() == [[5, 5, 5], [6, 6, 6]]
    (tmp_path / "texts" / "index.json").write_text("{}")
    with pytest.raises(ValueError, match="latent folder without 1 of the captions, the first is 'jump'"):
        caption_texts(tmp_path / "texts", [clip(60, Caption("jump"))], "no encoder", torch.device("cpu"))


def motion263(heading: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Joints (T, 22, 3) in the world as channels, those that positions are read from, as HumanML3D defines them."""
    found = np.zeros((len(joints), 263))
    root = joints[:, 0]
    found[:-1, 0] = -np.diff(heading) / 2
    step = (y_rotation(-heading[1:]) @ np.diff(root, axis=0)[..., None])[..., 0]
    found[:-1, 1:3], found[:, 3] = step[:, [0, 2]], root[:, 1]
    local = joints[:, 1:] - root[:, None] * [1, 0, 1]
    found[:, 4:67] = (local @ y_rotation(-heading).mT).reshape(len(joints), 63)
    return found


def test_joints_of_263_channels_are_those_that_went_in():
    rng = np.random.default_rng(0)
    heading = np.concatenate([[0], rng.normal(0, 0.3, 19).cumsum()])
    joints = rng.normal(size=(20, 22, 3)).cumsum(axis=0)
    joints[..., [0, 2]] -= joints[0, 0, [0, 2]]
    np.testing.assert_allclose(motion263_to_positions(motion263(heading, joints)), joints, atol=1e-9)
    with pytest.raises(ValueError, match="expected"):
        motion263_to_positions(np.zeros((3, 272)))


@pytest.fixture
def folder263(tmp_path):
    """A data set in HumanML3D's published layout."""
    for name in ("new_joint_vecs", "texts"):
        (tmp_path / name).mkdir()
    for name in ("000001", "M000001"):
        np.save(tmp_path / "new_joint_vecs" / f"{name}.npy", np.random.default_rng(1).normal(size=(50, 263)))
        (tmp_path / "texts" / f"{name}.txt").write_text(format_caption("a person walks"))
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.txt").write_text("000001\nM000001\n")
    np.save(tmp_path / "Mean.npy", np.zeros(263))
    np.save(tmp_path / "Std.npy", np.full(263, 5.0))
    return tmp_path


def test_the_published_layout_is_read(folder263):
    for _ in range(2):                                                    # the second time from its shard
        clips = load_clips(Data("humanml3d_263", folder263), "train")
        assert [one.id for one in clips] == ["000001", "M000001"] and clips[0].motion.shape == (50, 263)
    assert load_statistics(Data("motionx_263", folder263))[1].shape == (263,)
    config = CAQ(channels=263, codes=Codes((2, 10), 4, 4, 8), width=8)
    tokenizer = with_statistics(CAQVAE(config), Data("humanml3d_263", folder263))
    assert [float(tokenizer.std[place]) for place in (0, 3, 4, 258, 259, 262)] == [1, 1, 5, 5, 1, 1]


def test_networks_of_other_channels_refuse(folder263):
    with pytest.raises(ValueError, match="humanml3d_263 has motions of 263 channels, the tokenizer reads 272"):
        with_statistics(CausalTAE(TAE(width=8)), Data("humanml3d_263", folder263))
