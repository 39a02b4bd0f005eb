"""render_motion.py: files to one video or one strip, and one sentence for every mistake."""

import sys

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import render_motion
from motion.representation_272 import pose_to_motion272
from test_says_does import pose, straight
from utils.errors import run


@pytest.fixture
def files(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, frames in (("walk", 12), ("stand", 5)):
        np.save(f"{name}.npy", pose_to_motion272(*pose(frames, path=straight(z=0.4, frames=frames))).astype(np.float32))
    np.save("narrow.npy", np.zeros((4, 263), np.float32))


def draw(monkeypatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["render_motion.py", *flags])
    run(render_motion.main)


def test_two_motions_in_one_video(files, monkeypatch):
    draw(monkeypatch, "--motion", "walk.npy", "stand.npy", "--out", "both.mp4", "--size", "90")
    meta = next(imageio_ffmpeg.read_frames("both.mp4"))
    assert tuple(meta["size"]) == (160, 90) and round(meta["duration"] * 30) == 12


@pytest.mark.parametrize("flags, mode", [((), "RGB"), (("--transparent",), "RGBA")])
def test_a_strip_has_a_row_for_each_motion(files, monkeypatch, flags, mode):
    heights = []
    for count in (1, 2):
        motions = ["walk.npy", "stand.npy"][:count]
        draw(monkeypatch, "--motion", *motions, "--out", f"{count}.png", "--count", "3", *flags)
        picture = Image.open(f"{count}.png")
        assert picture.mode == mode and picture.width == 900
        heights.append(picture.height)
    assert heights[1] > 1.8 * heights[0]


@pytest.mark.parametrize("flags, reason", [
    ([], "Found 0 of --motion"),
    (["--motion", "walk.npy", "--title", "a", "--title", "b"], "2 of --title"),
    (["--motion", "walk.npy", "--out", "walk.gif"], "ends in .mp4 or .png"),
    (["--motion", "nowhere.npy"], "There is no file nowhere.npy"),
    (["--motion", "narrow.npy"], "narrow.npy is no motion (T, 272)"),
    (["--motion", "walk.npy", "--out", "walk.png", "--count", "0"], "0 frames, expected 1 or more"),
])
def test_mistakes_are_one_sentence(files, monkeypatch, capsys, flags, reason):
    with pytest.raises(SystemExit) as stop:
        draw(monkeypatch, *flags)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and last.startswith("error: ") and reason in last
