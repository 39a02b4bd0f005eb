"""demo_stream.py on a tiny random model: several prompts, a past, the terminal, and mistakes."""

import io
import sys

import numpy as np
import pytest

import demo_stream
import wardrobe
from demo_stream import seconds_of
from motion.captures import Reading
from motion.formats import read_capture
from motion.formats.bvh import write_bvh
from motion.representation_272 import ROTATIONS, motion272_to_pose, pose_to_motion272
from motion.rotation import y_rotation
from test_demo import model    # noqa: F401, a fixture
from test_representation_272 import walk
from utils.errors import run


def demo(monkeypatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["demo_stream.py", *flags])
    run(demo_stream.main)


def test_prompts_follow_one_another(model, tmp_path, monkeypatch, capsys):
    """For their seconds, in whole latents; the pieces of a longer stream are those of a shorter one."""
    common = [*model, "--text", "walk", "--text", "wave", "--out", str(tmp_path)]
    demo(monkeypatch, *common, "--seconds", "0.5", "1", "--format", "npy,bvh,mp4")
    names = [f"walk-stream{ending}" for ending in (".bvh", ".mp4", ".npy")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    printed = capsys.readouterr().out
    assert "walk: 0.5 s of motion at" in printed and "wave: 1.1 s of motion at" in printed
    motion = np.load(tmp_path / "walk-stream.npy")
    assert motion.shape == (16 + 32, 272)
    demo(monkeypatch, *common, "--seconds", "0.5", "--format", "npy")
    np.testing.assert_allclose(np.load(tmp_path / "walk-stream.npy"), motion[:32], atol=1e-5)


def test_the_title_is_the_prompt_of_the_moment():
    pulls = [("walk", np.zeros((4, 272))), ("walk", np.ones((4, 272))), ("wave", np.ones((4, 272)))]
    motion, title = demo_stream.collect(pulls)
    assert motion.shape == (12, 272) and title == [(0, "walk"), (8, "wave")]
    with pytest.raises(ValueError, match="not finite"):
        demo_stream.collect([("walk", np.full((4, 272), np.nan))])


def test_a_past_of_either_kind_is_the_same(tmp_path):
    """A motion (T, 272), or the capture of it."""
    rotations, joints = walk(1, 40)
    motion = pose_to_motion272(rotations[0], joints[0]).astype(np.float32)
    np.save(tmp_path / "walk.npy", motion)
    write_bvh(tmp_path / "walk.bvh", *motion272_to_pose(motion))
    np.testing.assert_array_equal(demo_stream.read_past(tmp_path / "walk.npy").motion, motion)
    read = demo_stream.read_past(tmp_path / "walk.bvh").motion
    assert read.shape == motion.shape and read.dtype == np.float32
    np.testing.assert_allclose(read[:, ROTATIONS], motion[:, ROTATIONS], atol=1e-3)


def test_a_stream_goes_on_from_a_past(model, tmp_path, monkeypatch):
    common = [*model, "--seconds", "0.5", "--format", "npy", "--out", str(tmp_path)]
    demo(monkeypatch, *common, "--text", "walk")
    demo(monkeypatch, *common, "--text", "sit")
    alone = np.load(tmp_path / "sit-stream.npy")
    demo(monkeypatch, *common, "--text", "sit", "--past", str(tmp_path / "walk-stream.npy"))
    assert np.abs(np.load(tmp_path / "sit-stream.npy") - alone).max() > 1e-5


def turned_walk(path, start):
    """A BVH of a walk that begins at a place (x, z) and bends, and where it ends: x, z, and where its pelvis faces."""
    rotations, joints = wardrobe.walk(40)
    turn = y_rotation(np.radians(70))
    rotations[:, 0] = turn @ rotations[:, 0]
    pelvis = joints[:, 0] @ turn.T + [start[0], 0, start[1]]
    write_bvh(path, rotations, pelvis)
    return pelvis[-1, [0, 2]], rotations[-1, 0, :, 2]


@pytest.mark.parametrize("start", [(0, 0), (3, -2)])
def test_the_continuation_begins_where_the_clip_ends(model, tmp_path, monkeypatch, capsys, start):
    """In every format that has a place, and facing as there; --with-past puts the clip in front."""
    end, facing = turned_walk(tmp_path / "clip.bvh", start)
    flags = [*model, "--text", "sit", "--seconds", "0.5", "--past", str(tmp_path / "clip.bvh"), "--format",
             "npy,joints,npz,bvh", "--mode", "rot"]             # which corrects no pelvis by its feet
    demo(monkeypatch, *flags, "--out", str(tmp_path / "on"))
    demo(monkeypatch, *flags, "--out", str(tmp_path / "whole"), "--with-past")
    assert "clip.bvh: 24 joints, skeleton smpl" in capsys.readouterr().out
    for folder, first in (("on", 0), ("whole", 40)):
        out = tmp_path / folder
        joints, motion = np.load(out / "sit-stream_joints.npy"), np.load(out / "sit-stream.npy")
        assert len(joints) == len(motion) == first + 16
        bvh, npz = (read_capture(out / f"sit-stream.{ending}") for ending in ("bvh", "npz"))
        step = np.hypot(*motion[first, :2])                    # the first frame is one step on
        for places in (joints[:, 0], bvh.positions[:, 0], npz.positions[:, 0]):
            assert abs(np.linalg.norm(places[first, [0, 2]] - end) - step) < 0.02     # a random model's
            if first:
                np.testing.assert_allclose(places[first - 1, [0, 2]], end, atol=1e-4)
                assert np.linalg.norm(places[0, [0, 2]] - start) < 1e-4
        turn = np.arctan2(motion[first, 4], motion[first, 2])
        for capture in (bvh, npz):
            ahead = capture.rotations[first, 0, :, 2]
            faced = np.arctan2(ahead[0], ahead[2]) + turn - np.arctan2(facing[0], facing[2])
            assert abs((faced + np.pi) % (2 * np.pi) - np.pi) < 0.35       # what a random model's pelvis tilts


def test_a_past_of_any_tool_says_what_it_is_taken_for(tmp_path, capsys):
    skeleton = wardrobe.SKELETONS["xsens_mvn"]
    rotations, joints = wardrobe.walk(40)
    wardrobe.dressed(tmp_path / "suit.bvh", skeleton, rotations, joints[:, 0])
    past = demo_stream.read_past(tmp_path / "suit.bvh")
    assert "skeleton xsens_mvn" in capsys.readouterr().out and len(past.motion) == 40
    slow = demo_stream.read_past(tmp_path / "suit.bvh", Reading(fps=15, up="z"))
    assert len(slow.motion) == 79


def test_a_fault_of_the_map_is_none_of_the_capture(tmp_path):
    wardrobe.dressed(tmp_path / "a.bvh", wardrobe.SKELETONS["unity"], *(part[:, 0] if part.ndim == 3 else part
                                                                        for part in wardrobe.walk(9)))
    (tmp_path / "map.json").write_text('{"unit": -1, "joints": {}}')
    with pytest.raises(ValueError, match=r"^\S*map.json: found a unit of -1.0, expected"):
        demo_stream.read_past(tmp_path / "a.bvh", Reading(skeleton=str(tmp_path / "map.json")))


def test_a_normalised_motion_is_no_past(tmp_path):
    motion = pose_to_motion272(*walk(40))
    np.save(tmp_path / "n.npy", (motion - motion.mean(0)) / (motion.std(0) + 1e-3))
    with pytest.raises(ValueError, match="--past .*n.npy: found rotations .* normalised.* std"):
        demo_stream.read_past(tmp_path / "n.npy")


def test_prompts_from_the_terminal(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("walk\nwave\n"))
    demo(monkeypatch, *model, "--interactive", "--format", "npy", "--out", str(tmp_path))
    printed = capsys.readouterr().out
    assert all(f"{text}: the first frame after" in printed for text in ("walk", "wave"))
    assert np.load(tmp_path / "walk-stream.npy").shape == (8, 272)
    for nothing in (io.StringIO(""), None):           # at its end, or closed
        monkeypatch.setattr(sys, "stdin", nothing)
        demo(monkeypatch, *model, "--interactive", "--format", "npy", "--out", str(tmp_path / "none"))
        assert "no prompt, no motion" in capsys.readouterr().out


def test_ctrl_c_keeps_what_was_shown():
    def pulls():
        yield "walk", np.zeros((4, 272))
        raise KeyboardInterrupt

    assert demo_stream.collect(pulls())[0].shape == (4, 272)


def test_real_time_is_not_hurried_after_a_stall(monkeypatch):
    """Nor are frames given before they are due."""
    clock, slept = [0.0], []
    monkeypatch.setattr(demo_stream.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(demo_stream.time, "sleep", lambda seconds: (slept.append(seconds),
                                                                    clock.__setitem__(0, clock[0] + seconds)))

    def pulls():
        for work in (0.0, 0.03, 1.0, 0.03):
            clock[0] += work
            yield "walk", np.zeros((4, 272))

    assert len(list(demo_stream.in_real_time(pulls()))) == 4
    np.testing.assert_allclose(slept, [4 / 30, 4 / 30 - 0.03, 4 / 30, 4 / 30 - 0.03], atol=1e-6)


def test_seconds():
    assert seconds_of((), 2) == [None, None] and seconds_of((3.0,), 2) == [3.0, 3.0]
    assert seconds_of((3.0, 4.0), 2) == [3.0, 4.0]


@pytest.mark.parametrize("flags, reason", [
    ([], "prompt is empty"),
    (["--text", "walk", "--seconds", "1", "2"], "--seconds has 2 numbers for 1 prompts"),
    (["--text", "walk", "--seconds", "0"], "--seconds 0.0: expected numbers above 0"),
    (["--text", "walk", "--seconds", "inf"], "--seconds inf: expected numbers above 0"),
    (["--text", "walk", "--seconds", "nan"], "--seconds nan: expected numbers above 0"),
    (["--interactive", "--seconds", "2"], "--interactive takes one --text at most"),
    (["--interactive", "--text", "walk", "--text", "sit"], "--interactive takes one --text at most"),
    (["--text", "walk", "--past", "nowhere.bvh"], "There is no file nowhere.bvh"),
    (["--text", "walk", "--past", __file__], "test_demo_stream.py"),
    (["--text", "walk", "--past", "empty.npy"], "--past empty.npy is no motion (T, 272):  1 unreadable"),
    (["--text", "walk", "--past", "narrow.npy"], "1 shape other than (T, 272)"),
    (["--text", "walk", "--past", "nan.npy"], "1 NaN, infinity or no numbers"),
    (["--text", "walk", "--past", "pickled.npy"], "1 unreadable"),
    (["--text", "walk", "--past", "short.npy"], "a past of shape (3, 272): expected (T, 272), T at least 4"),
    (["--text", "walk", "--past", "ours.bvh", "--past-skeleton", "cmu"], "ours.bvh: The capture has no joint Hips"),
    (["--text", "walk", "--format", "fbx"], "'fbx'"),
    (["--text", "walk", "--with-past"], "--with-past puts a --past in front, but there is none"),
    (["--text", "walk", "--seconds", "1e9"], "hours of motion"),
    (["--text", "walk", "--guidance", "nan"], "a guidance of nan"),
    (["--text", "walk", "--temperature", "-1"], "a temperature of -1.0"),
    (["--text", "walk", "--seed", str(10 ** 30)], "a seed of 1"),
])
def test_mistakes_are_one_sentence(model, tmp_path, monkeypatch, capsys, flags, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.npy").touch()
    np.save("narrow.npy", np.zeros((9, 263)))
    np.save("nan.npy", np.full((9, 272), np.nan))
    np.save("pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save("short.npy", np.zeros((3, 272)))
    write_bvh(tmp_path / "ours.bvh", *motion272_to_pose(pose_to_motion272(*walk(9))))
    with pytest.raises(SystemExit) as stop:
        demo(monkeypatch, *model, *flags)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and last.startswith("error: ") and reason in last and len(last) < 1000
    assert not list(tmp_path.glob("demo_output/*"))
