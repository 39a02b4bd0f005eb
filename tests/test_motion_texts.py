"""Motions with captions: parts that captions with times describe, lengths, and what is sampled."""

import numpy as np
import pytest
import torch

from dataset.captions import Caption
from dataset.clips import Clip
from dataset.motion_texts import MotionTexts, items_of

MEAN, STD = np.linspace(-1, 1, 272, dtype=np.float32), np.linspace(0.5, 2, 272, dtype=np.float32)
WHOLE = [Caption("walk"), Caption("stroll")]


def clip(frames: int, captions: list[Caption] = WHOLE) -> Clip:
    """A clip whose every channel counts the frames."""
    return Clip(f"c{frames}", np.arange(frames, dtype=np.float32)[:, None] + np.zeros(272, np.float32), captions)


def test_captions_with_times_make_parts_of_their_own():
    items = items_of(clip(90, [*WHOLE, Caption("turn", 1.0, 2.5), Caption("spin", 1.0, 2.5)]), "walk")
    assert [(item.id, item.texts) for item in items] == [("c90", ("walk", "stroll")), ("c90_1-2.5", ("turn", "spin"))]
    assert len(items[0].motion) == 90
    np.testing.assert_array_equal(items[1].motion[:, 0], np.arange(30, 75))
    assert {item.group for item in items} == {"walk"}


def test_short_and_long_are_left_out_and_counted(capsys):
    pairs = MotionTexts([clip(59), clip(60), clip(299), clip(300)], MEAN, STD, 60, 299)
    assert [len(item.motion) for item in pairs.items] == [60, 299]
    assert "2 motions with captions; 2 left out" in capsys.readouterr().out
    with pytest.raises(ValueError, match="none of 1 motions has 60 to 299 frames"):
        MotionTexts([clip(300)], MEAN, STD, 60, 299)


def test_long_ones_are_cut_anywhere_when_asked_for():
    pairs = MotionTexts([clip(12)], MEAN, STD, 4, 10, crop=True)
    firsts = set()
    for seed in range(40):
        motion, _ = pairs.sample(0, np.random.default_rng(seed))
        motion = motion * STD + MEAN
        first = round(float(motion[0, 0]))
        np.testing.assert_allclose(motion, np.arange(first, first + 10)[:, None] + np.zeros(272), atol=1e-4)
        firsts.add(first)
    assert firsts == {0, 1, 2}


def test_captions_are_drawn_alike():
    pairs = MotionTexts([clip(60)], MEAN, STD, 60, 299)
    sampled = [pairs.sample(0, np.random.default_rng(seed))[1] for seed in range(200)]
    assert 60 < sampled.count("walk") < 140 and set(sampled) == {"walk", "stroll"}


def test_batches_are_padded_with_zeros():
    pairs = MotionTexts([clip(60), clip(70)], MEAN, STD, 60, 299, groups=dict(c60="walk"))
    batch = pairs.collate([pairs.sample(index, np.random.default_rng(0)) for index in (0, 1)])
    assert batch["motion"].shape == (2, 70, 272) and batch["motion"].dtype == torch.float32
    assert batch["lengths"].tolist() == [60, 70] and len(batch["text"]) == 2
    assert not batch["motion"][0, 60:].any() and batch["motion"][1].any(dim=1).all()
