"""The renderer: geometry against brute force, what must not change a picture, whole files or none."""

import imageio_ffmpeg
import numpy as np
import pytest

from motion import render
from motion.rotation import y_rotation
from motion.skeleton import forward_kinematics

SIZE = (192, 108)


def t_pose(frames: int = 4, pelvis: tuple = (0.0, 0.93, 0.0), step: tuple = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Joints (T, 22, 3) of a body with its arms out that faces z+ and moves by `step` per frame."""
    path = np.array(pelvis) + np.arange(frames)[:, None] * np.array(step)
    return forward_kinematics(np.broadcast_to(np.eye(3), (frames, 22, 3, 3)), path)


def pixels(joints: np.ndarray, frame: int = 0, title: render.Title = "") -> np.ndarray:
    return np.asarray(render.render_frame(joints, frame, title, size=SIZE), dtype=int)


@pytest.mark.parametrize("radii", [(0.3, 0.3), (0.1, 0.4), (0.4, 0.1)])
def test_capsule_equals_many_spheres(radii):
    """The closed form finds the entry point into the nearest of 2,000 spheres along the bone."""
    scene, rng = render.Scene(t_pose(), SIZE), np.random.default_rng(0)
    rays = scene.body_rays[:, ::4, ::4].astype(float)
    for _ in range(5):
        start, end = rng.normal(size=(2, 3)) * 0.8 + [0, 0, 5]
        depth, along_bone = render.hit_capsule(rays, start, end, *radii)
        nearest = np.full(depth.shape, np.inf)
        for s in np.linspace(0, 1, 2000):
            centre, radius = start + s * (end - start), radii[0] + s * (radii[1] - radii[0])
            along = np.tensordot(centre, rays, 1)
            inside = along ** 2 - centre @ centre + radius ** 2
            entry = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), np.inf)
            nearest = np.minimum(nearest, entry)
        both = np.isfinite(depth) & np.isfinite(nearest)
        assert both.sum() > 50 and (np.isfinite(depth) != np.isfinite(nearest)).mean() < 0.01
        difference = np.abs(depth[both] - nearest[both])
        assert difference.max() < 0.02 and difference.mean() < 1e-3
        bone = np.array([*start, *(end - start), radii[0], radii[1] - radii[0]])[:, None]
        normal = render.capsule_normals((rays * depth)[:, both], bone, along_bone[both])
        np.testing.assert_allclose(np.linalg.norm(normal, axis=0), 1, atol=1e-3)


def test_frames_drawn_side_by_side_are_those_drawn_alone():
    joints = t_pose(9, step=(0.02, 0, 0.05))
    together = [np.asarray(frame, dtype=int) for frame in render.render_frames(joints, "walk", size=SIZE)]
    np.testing.assert_array_equal(together, [pixels(joints, frame, "walk") for frame in range(9)])
    assert (together[0] != together[8]).any()


def test_picture_does_not_depend_on_place_and_heading():
    """Whole metres and quarter turns move the floor's lines onto themselves: the picture stays."""
    joints = t_pose(9, step=(0.02, 0, 0.05))
    moved = (joints + [3.0, 0, -7.0]) @ y_rotation(np.array(np.pi / 2)).T
    difference = np.abs(pixels(joints, 8) - pixels(moved, 8))
    assert difference.mean() < 0.05 and (difference > 8).mean() < 0.002
    assert np.abs(pixels(joints, 8) - pixels(joints + [0.25, 0, 0], 8)).max() > 8


def test_left_is_orange_and_on_the_right_of_a_picture_from_the_front():
    picture = pixels(t_pose())
    warm = picture[..., 0] - picture[..., 2]
    columns = np.arange(SIZE[0])
    orange, blue = (warm > 90).sum(axis=0), (warm < -60).sum(axis=0)
    assert orange.sum() > 50 and blue.sum() > 50
    assert (orange @ columns) / orange.sum() > SIZE[0] / 2 > (blue @ columns) / blue.sum()


@pytest.mark.parametrize("metres, hidden", [(-0.5, False), (0.5, True)])
def test_nearer_limb_hides_the_farther_one(metres, hidden):
    """The left forearm on the line of sight through the chest shows in front of it and vanishes behind it."""
    joints = t_pose(1)
    scene, chest = render.Scene(joints, SIZE), joints[0, render.POINTS["spine3"]]
    sight = (chest - scene.target[0] - scene.eye) / np.linalg.norm(chest - scene.target[0] - scene.eye)
    for name, along in (("left_elbow", 0.0), ("left_wrist", 0.2)):
        joints[0, render.POINTS[name]] = chest + sight * (metres + along)
    column, row = scene.project(chest, 0)[0].astype(int)
    red, _, blue = pixels(joints)[row, column]
    assert (red < blue) == hidden


def test_camera_follows_the_root():
    """A runner at 5 m/s stays near the middle of the picture."""
    joints = t_pose(90, step=(0.0, 0.0, 5 / 30))
    scene = render.Scene(joints, SIZE)
    places = np.array([scene.project(joints[frame, 0], frame)[0] for frame in range(90)])
    assert np.abs(places[:, 0] - SIZE[0] / 2).max() < SIZE[0] / 4


def test_title_changes_at_its_frame():
    joints = t_pose(6)
    stream = [(0, "a person walks"), (3, "a person runs")]
    for frame, title in ((2, "a person walks"), (3, "a person runs"), (5, "a person runs")):
        np.testing.assert_array_equal(pixels(joints, frame, stream), pixels(joints, frame, title))
    assert (pixels(joints, 2, stream) != pixels(joints, 2, "a person runs")).any()


@pytest.mark.parametrize("text", ["a person " * 60, "word" * 200, "Mädchen, 走る", "\ud800", "a\n\tb"])
def test_any_title_fits(text):
    left, top, right, bottom = render.title_layer(text, SIZE).getbbox()
    assert SIZE[0] * 0.04 < left and right < SIZE[0] * 0.96 and 0 < top and bottom < SIZE[1] * 0.25


def test_no_title_draws_nothing():
    assert render.title_layer("  ", SIZE).getbbox() is None


def test_font_without_the_letters(monkeypatch):
    """Where the system has no font, accents fall off and the rest becomes question marks."""
    def only_the_shipped_one(font, *arguments, **keywords):
        if isinstance(font, str):
            raise OSError("cannot open resource")
        return truetype(font, *arguments, **keywords)

    truetype = render.ImageFont.truetype
    monkeypatch.setattr(render.ImageFont, "truetype", only_the_shipped_one)
    assert render.text_font("Mädchen 走る", 20)[0] == "Madchen ??"


def test_video_plays_in_browsers(tmp_path):
    path = tmp_path / "new" / "walk.mp4"
    counted = []
    render.render_video(path, t_pose(15, step=(0, 0, 0.03)), "a person floats", size=SIZE, progress=counted.append)
    assert sum(counted) == 15
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")
    assert tuple(meta["size"]) == SIZE and meta["fps"] == 30
    frames = [np.frombuffer(frame, np.uint8).reshape(SIZE[1], SIZE[0], 3).astype(int) for frame in reader]
    assert len(frames) == 15
    drawn = pixels(t_pose(15, step=(0, 0, 0.03)), 7, "a person floats")
    assert np.abs(frames[7] - drawn).mean() < 6
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
        render.render_video(out / "walk.mp4", t_pose(30), size=(640, 360))
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("joints, reason", [
    (np.zeros((0, 22, 3)), "at least one frame"), (np.zeros((5, 21, 3)), "expected"),
    (np.zeros((22, 3)), "expected"), (np.full((5, 22, 3), np.nan), "frame 0"),
    (t_pose() + [[[0]], [[0]], [[np.inf]], [[0]]], "frame 2"),
])
def test_bad_joints_are_refused_before_a_file_is_made(tmp_path, joints, reason):
    with pytest.raises(ValueError, match=reason):
        render.render_video(tmp_path / "walk.mp4", joints)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size, fps", [((191, 108), 30), ((10, 10), 30), (SIZE, 0)])
def test_bad_size_and_rate_are_refused(tmp_path, size, fps):
    with pytest.raises(ValueError, match="size"):
        render.render_video(tmp_path / "walk.mp4", t_pose(), fps=fps, size=size)


def test_wild_joints_still_draw():
    """A model may explode; its video shows that."""
    rng = np.random.default_rng(0)
    for joints in (t_pose() * 0, t_pose() * 1e6, t_pose() + rng.normal(size=(4, 22, 3)) * 50):
        assert pixels(joints, 2).shape == (SIZE[1], SIZE[0], 3)
