"""benchmarks/streaming.py: what it counts, on made-up motions and a tiny random model."""

import numpy as np
import pytest

from benchmarks import streaming
from benchmarks.sentences import load_changes
from benchmarks.streaming import Streaming, around, changes, endurance, speeds_and_angles
from dataset.clips import Clip
from motion.representation_272 import pose_to_motion272
from motion.skeleton import JOINT_NAMES
from test_says_does import pose, straight


def test_the_second_sentence_is_looked_for_after_the_change():
    """Walking goes on for the last second and a half; running is not walking, and who stops has stopped."""
    walks_on, halts = (next(change.test for change in load_changes(validation=False) if change.after == text)
                       for text in ("a person walks forward", "a person stops and stands still"))
    for metres, walked in ((2.2, True), (0.5, False), (8, False)):
        assert walks_on(pose(90, path=straight(z=metres, frames=90))[1]) == walked
    stopped = np.concatenate([straight(z=2, frames=45), np.tile([0, 0, 2.0], (45, 1))])
    assert not walks_on(pose(90, path=stopped)[1]) and halts(pose(90, path=stopped)[1])
    assert not halts(pose(90, path=straight(z=2.2, frames=90))[1])


def test_changes_are_many_and_of_two_halves():
    halves = [{(change.before, change.after) for change in load_changes(validation)} for validation in (True, False)]
    assert len(halves[0]) >= 20 and len(halves[1]) >= 20 and not halves[0] & halves[1]


@pytest.mark.parametrize("frames, change, left", [(60, 30, 30), (60, 10, 25), (60, 50, 25)])
def test_frames_around_a_change(frames, change, left):
    assert len(around(np.zeros((frames, 22, 3)), change)) == left


def test_speeds_and_angles():
    rotations, joints = pose(60, path=straight(z=3, frames=60), left_elbow=(0, 0, 100))
    found = speeds_and_angles(pose_to_motion272(rotations, joints).astype(np.float32))
    assert found.shape == (59, 22)
    np.testing.assert_allclose(found[:, 0], 3 / 59 * 30, rtol=1e-3)
    np.testing.assert_allclose(found[:, JOINT_NAMES.index("left_elbow")], 100, atol=0.1)


def test_changes_are_counted(monkeypatch):
    """A character that obeys at once, one that never does."""
    moving = pose_to_motion272(*pose(152, path=straight(z=6, frames=152))).astype(np.float32)
    still = pose_to_motion272(*pose(152)).astype(np.float32)
    count = len(load_changes(validation=False))
    stops = {"a person stops and stands still", "a person stops running and stands still"}
    for motion, happens in ((moving, {"a person walks forward"}), (still, stops)):
        monkeypatch.setattr(streaming, "play", lambda model, scenes, seeds: [motion] * len(scenes))
        found = changes(None, Streaming(seeds=2))
        passed = [name for name, times in found["changes"].items() if times == 2]
        assert {name.split(" -> ")[1] for name in passed} == happens
        assert found["passed"] == len(passed) / count and len(found["changes"]) == count


def test_endurance_tells_what_leaves_the_data(monkeypatch):
    """The elbow turns further than in the data, and for most of the time; all else stays within."""
    def motion(elbow: float) -> np.ndarray:
        rotations, joints = pose(300, path=straight(z=3, frames=300), left_elbow=(0, 0, elbow))
        return pose_to_motion272(rotations, joints).astype(np.float32)

    class Stream(list):
        def prompt(self, text: str) -> None:
            assert text

    class Model:
        def stream(self, text: str, hold: bool):
            return Stream(np.split(motion(100), 75))

    monkeypatch.setattr(streaming, "load_clips", lambda *_: [Clip("data", motion(90), [])])
    found = endurance(Model(), Streaming())
    assert found["frames"] == 9000 and found["finite"]
    for name in ("joints_out_of_the_data_deg", "joints_beyond_the_usual_deg"):
        assert list(found[name]) == ["left_elbow"]
        assert found[name]["left_elbow"] == pytest.approx([100, 90], abs=0.1)
    assert found["most_speed_m_s"] == pytest.approx(found["data_most_speed_m_s"], rel=0.3)
