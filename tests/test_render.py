"""Pictures: what must not change one, what must, whole files or none."""

import imageio_ffmpeg
import numpy as np
import pytest

from motion import render, titles
from motion.body import LEFT, REST, RIGHT, TRUNK
from motion.rotation import axis_angle_to_matrix, y_rotation
from motion.scene import Scene
from motion.skeleton import JOINT_NAMES

SIZE = (192, 108)
Pose = tuple[np.ndarray, np.ndarray]


def t_pose(frames: int = 4, pelvis: tuple = (0.0, 0.93, 0.0), step: tuple = (0.0, 0.0, 0.0), **turns: tuple) -> Pose:
    """A body with its arms out that faces z+ and moves by `step` per frame; turns in degrees by joint."""
    rotations = np.tile(np.eye(3), (frames, 22, 1, 1))
    for name, turn in turns.items():
        rotations[:, JOINT_NAMES.index(name)] = axis_angle_to_matrix(np.radians(turn))
    return rotations, np.array(pelvis) + np.arange(frames)[:, None] * np.array(step)


def pixels(pose: Pose, frame: int = 0, title: render.Title = "") -> np.ndarray:
    return np.asarray(render.render_frame(*pose, frame, title, size=SIZE), dtype=int)


def like(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a picture (H, W, 3 or 4) has a colour, lighter or darker: (H, W)."""
    wanted = np.array(colour) / np.linalg.norm(colour)
    found = (picture[..., :3] @ wanted / np.linalg.norm(picture[..., :3], axis=-1).clip(1)) > 0.995
    return found & (picture[..., 3] > 128) if picture.shape[2] == 4 else found


def test_frames_drawn_together_are_those_drawn_alone():
    pose = t_pose(9, step=(0.02, 0, 0.05))
    together = [np.asarray(frame, dtype=int) for frame in render.render_frames(*pose, "walk", size=SIZE)]
    np.testing.assert_array_equal(together, [pixels(pose, frame, "walk") for frame in range(9)])
    assert (together[0] != together[8]).any()


def test_picture_does_not_depend_on_place_and_heading():
    """Whole metres and quarter turns move the floor's lines onto themselves: the picture stays."""
    rotations, pelvis = t_pose(9, step=(0.02, 0, 0.05))
    turn = y_rotation(np.array(np.pi / 2))
    turned = rotations.copy()
    turned[:, 0] = turn @ rotations[:, 0]
    moved = turned, (pelvis + [3.0, 0, -7.0]) @ turn.T
    difference = np.abs(pixels((rotations, pelvis), 8) - pixels(moved, 8))
    assert difference.mean() < 0.05 and (difference > 8).mean() < 0.002
    assert np.abs(pixels((rotations, pelvis), 8) - pixels((rotations, pelvis + [0.25, 0, 0]), 8)).max() > 8


def test_left_is_orange_and_on_the_right_of_a_picture_from_the_front():
    picture, columns = pixels(t_pose()), np.arange(SIZE[0])
    orange, blue = like(picture, LEFT).sum(axis=0), like(picture, RIGHT).sum(axis=0)
    assert orange.sum() > 50 and blue.sum() > 50
    assert (orange @ columns) / orange.sum() > SIZE[0] / 2 > (blue @ columns) / blue.sum()


def test_nearer_limb_hides_the_farther_one():
    """Seen from ahead, an arm before the chest covers a part of the trunk, and one behind it does not."""
    ahead, behind = (pixels(t_pose(1, left_shoulder=(0, turn, 0), left_elbow=(0, turn, 0))) for turn in (-70, 70))
    assert like(ahead, TRUNK).sum() < like(behind, TRUNK).sum() - 20


def test_joints_are_where_the_camera_sees_them():
    """The orange of the left foot's leg ends at its ankle, to the pixel."""
    rotations, pelvis = t_pose(1, pelvis=tuple(REST[0]))
    scene = Scene(rotations, pelvis, SIZE)
    column, row = scene.project(REST[JOINT_NAMES.index("left_knee")], 0)[0]
    figure = np.asarray(scene.figure(0), dtype=int)
    assert like(figure, LEFT)[int(row), int(column)] and figure[int(row), int(column), 3] == 255


def test_camera_follows_the_root():
    """A runner at 5 m/s stays near the middle of the picture."""
    rotations, pelvis = t_pose(90, step=(0.0, 0.0, 5 / 30))
    scene = Scene(rotations, pelvis, SIZE)
    places = np.array([scene.project(pelvis[frame], frame)[0] for frame in range(90)])
    assert np.abs(places[:, 0] - SIZE[0] / 2).max() < SIZE[0] / 4


def test_title_changes_at_its_frame():
    pose = t_pose(6)
    stream = [(0, "a person walks"), (3, "a person runs")]
    for frame, title in ((2, "a person walks"), (3, "a person runs"), (5, "a person runs")):
        np.testing.assert_array_equal(pixels(pose, frame, stream), pixels(pose, frame, title))
    assert (pixels(pose, 2, stream) != pixels(pose, 2, "a person runs")).any()


@pytest.mark.parametrize("text", ["a person " * 60, "word" * 200, "Mädchen, 走る", "\ud800", "a\n\tb"])
def test_any_title_fits(text):
    left, top, right, bottom = titles.title_layer(text, SIZE).getbbox()
    assert SIZE[0] * 0.04 < left and right < SIZE[0] * 0.96 and 0 < top and bottom < SIZE[1] * 0.25


def test_no_title_draws_nothing():
    assert titles.title_layer("  ", SIZE).getbbox() is None


def test_font_without_the_letters(monkeypatch):
    """Where the system has no font, accents fall off and the rest becomes question marks."""
    def only_the_shipped_one(font, *arguments, **keywords):
        if isinstance(font, str):
            raise OSError("cannot open resource")
        return truetype(font, *arguments, **keywords)

    truetype = titles.ImageFont.truetype
    monkeypatch.setattr(titles.ImageFont, "truetype", only_the_shipped_one)
    assert titles.text_font("Mädchen 走る", 20)[0] == "Madchen ??"


def test_video_plays_in_browsers(tmp_path):
    path = tmp_path / "new" / "walk.mp4"
    pose, counted = t_pose(15, step=(0, 0, 0.03)), []
    render.write_video(path, render.render_frames(*pose, "a person floats", size=SIZE), progress=counted.append)
    assert sum(counted) == 15
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert tuple(meta["size"]) == SIZE and meta["fps"] == 30
    frames = [np.frombuffer(frame, np.uint8).reshape(SIZE[1], SIZE[0], 3).astype(int) for frame in reader]
    assert len(frames) == 15
    assert np.abs(frames[7] - pixels(pose, 7, "a person floats")).mean() < 6
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")    # +faststart: plays while it loads
    assert [file.name for file in path.parent.iterdir()] == ["walk.mp4"]


def test_failing_ffmpeg_leaves_nothing(tmp_path, monkeypatch):
    fake = tmp_path / "ffmpeg"
    fake.write_text('#!/bin/sh\nfor last; do :; done\necho half > "$last"\necho No space left >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(fake))
    out = tmp_path / "out"
    with pytest.raises(OSError, match="No space left"):
        render.write_video(out / "walk.mp4", render.render_frames(*t_pose(30), size=(640, 360)))
    assert list(out.iterdir()) == []


NAN, FAR = (t_pose() for _ in range(2))
NAN[0][0, 5], FAR[1][2] = np.nan, np.inf


@pytest.mark.parametrize("pose, reason", [
    (t_pose(0), "at least one frame"), ((np.zeros((5, 21, 3, 3)), np.zeros((5, 3))), "expected"),
    ((np.zeros((5, 22, 3, 3)), np.zeros((4, 3))), "expected"), (NAN, "frame 0"), (FAR, "frame 2"),
])
def test_bad_poses_are_refused_before_anything_is_drawn(pose, reason):
    for draw in (render.render_frames, render.strip):
        with pytest.raises(ValueError, match=reason):
            draw(*pose)


@pytest.mark.parametrize("size, fps", [((191, 108), 30), ((10, 10), 30), (SIZE, 0)])
def test_bad_size_and_rate_are_refused(tmp_path, size, fps):
    with pytest.raises(ValueError, match="size|fps"):
        render.write_video(tmp_path / "walk.mp4", render.render_frames(*t_pose(), fps=fps, size=size))
    assert not list(tmp_path.iterdir())


def test_wild_poses_still_draw():
    """A model may explode; its video shows that."""
    rng = np.random.default_rng(0)
    rotations = axis_angle_to_matrix(rng.normal(size=(4, 22, 3)) * 3)
    for pelvis in (np.zeros((4, 3)), np.full((4, 3), 1e6), rng.normal(size=(4, 3)) * 50):
        assert pixels((rotations, pelvis), 2).shape == (SIZE[1], SIZE[0], 3)


def test_motions_are_seen_beside_each_other():
    """Left and right are as alone; who has ended keeps his last picture."""
    long, short = t_pose(5, step=(0, 0, 0.05)), t_pose(3, left_shoulder=(0, 0, -70))
    rows = list(render.beside(render.render_frames(*long, "long", size=SIZE), render.render_frames(*short, size=SIZE)))
    assert len(rows) == 5 and rows[0].size == (2 * SIZE[0], SIZE[1])
    for frame, row in enumerate(rows):
        left, right = np.split(np.asarray(row, dtype=int), 2, axis=1)
        np.testing.assert_array_equal(left, pixels(long, frame, "long"))
        np.testing.assert_array_equal(right, pixels(short, min(frame, 2)))


def test_a_strip_shows_frames_from_the_first_to_the_last():
    rotations, pelvis = t_pose(31)
    rotations[:, 0] = y_rotation(np.linspace(0, np.pi, 31))
    scene = Scene(rotations, pelvis, SIZE)                  # on the spot: the camera stays, too
    row = np.asarray(render.strip(rotations, pelvis, 3, SIZE, transparent=True), dtype=int)
    for cell, frame in zip(np.split(row, 3, axis=1), (0, 15, 30)):
        alone = np.asarray(scene.figure(frame), dtype=int)
        for colour in (LEFT, RIGHT, TRUNK):
            assert like(cell, colour).sum() == like(alone, colour).sum()


def test_every_figure_of_a_strip_is_in_the_middle():
    """A runner too, whom a video's camera follows softly."""
    row = np.asarray(render.strip(*t_pose(30, step=(0, 0, 0.2)), 4, SIZE), dtype=int)
    for cell in np.split(row, 4, axis=1):
        trunk = like(cell, TRUNK).sum(axis=0)
        assert abs(trunk @ np.arange(SIZE[0]) / trunk.sum() - SIZE[0] / 2) < 4


def test_a_transparent_strip_laid_on_white_is_the_opaque_one():
    pose = t_pose(9, step=(0, 0, 0.05))
    opaque, clear = (np.asarray(render.strip(*pose, 2, SIZE, clear), dtype=float) for clear in (False, True))
    alpha = clear[..., 3:] / 255
    assert opaque.shape[2] == 3 and 0.02 < alpha.mean() < 0.6 and alpha.min() == 0
    assert np.abs(alpha * clear[..., :3] + (1 - alpha) * 255 - opaque).max() < 2
