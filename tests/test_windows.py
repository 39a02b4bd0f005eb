"""Training windows: where they may begin, and what is left out."""

import numpy as np
import pytest
import torch

from dataset.clips import Clip
from dataset.windows import MotionWindows

MEAN, STD = np.linspace(-1, 1, 272, dtype=np.float32), np.linspace(0.5, 2, 272, dtype=np.float32)


def clip(frames: int) -> Clip:
    """A clip whose every channel counts the frames."""
    return Clip(str(frames), np.arange(frames, dtype=np.float32)[:, None] + np.zeros(272, np.float32), [])


def test_windows_are_normalised_cuts_that_begin_anywhere():
    windows, firsts = MotionWindows([clip(20)], MEAN, STD, frames=16), set()
    rng = np.random.default_rng(0)
    for _ in range(100):
        window = windows.sample(0, rng) * STD + MEAN
        first = round(float(window[0, 0]))
        np.testing.assert_allclose(window, np.arange(first, first + 16)[:, None] + np.zeros(272), atol=1e-4)
        firsts.add(first)
    assert firsts == {0, 1, 2, 3, 4}


def test_short_clips_are_left_out_and_counted(capsys):
    windows = MotionWindows([clip(15), clip(16), clip(40), clip(3)], MEAN, STD, frames=16)
    assert len(windows) == 2 and [len(motion) for motion in windows.motions] == [16, 40]
    assert "2 clips to sample windows of 16 frames from; 2 left out" in capsys.readouterr().out


def test_the_same_generator_gives_the_same_window():
    windows = MotionWindows([clip(40)], MEAN, STD, frames=16)
    first, again, other = (windows.sample(0, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_rarity():
    """1 / (clips of the group), of the clips that are long enough; without groups all are alike."""
    clips, groups = [clip(frames) for frames in (20, 10, 30, 40)], {"20": "walk", "10": "walk", "30": "walk"}
    windows = MotionWindows(clips, MEAN, STD, 16, groups)
    np.testing.assert_allclose(windows.rarity, [0.5, 0.5, 1.0])
    assert len(set(MotionWindows(clips, MEAN, STD, 16).rarity)) == 1


def test_collate():
    windows = MotionWindows([clip(16)], MEAN, STD, frames=16)
    batch = windows.collate([windows.sample(0, np.random.default_rng(0))] * 3)
    assert batch.shape == (3, 16, 272) and batch.dtype == torch.float32


def test_no_clip_is_long_enough():
    with pytest.raises(ValueError, match="none of 2 clips has 64 frames: give a smaller --window-size"):
        MotionWindows([clip(63), clip(10)], MEAN, STD)
