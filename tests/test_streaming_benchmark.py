"""benchmarks/streaming.py: what it counts, on made-up motions and a tiny random model."""

import numpy as np
import pytest

from benchmarks import streaming
from benchmarks.streaming import CHANGES, Streaming, around, changes, usual, walks_on, waves
from motion.representation_272 import pose_to_motion272
from test_pipeline import streamer
from test_says_does import pose, straight, wave


def test_the_second_sentence_is_looked_for_after_the_change():
    """Walking goes on for the last second and a half; running is not walking."""
    for metres, walked in ((2.2, True), (0.5, False), (8, False)):
        assert walks_on(pose(90, path=straight(z=metres, frames=90))[1]) == walked
    stopped = np.concatenate([straight(z=2, frames=45), np.tile([0, 0, 2.0], (45, 1))])
    assert not walks_on(pose(90, path=stopped)[1])
    moved = pose(left_shoulder=wave())[1]
    assert waves(moved, "left") and not waves(moved, "right")


@pytest.mark.parametrize("frames, change, left", [(60, 30, 30), (60, 10, 25), (60, 50, 25)])
def test_frames_around_a_change(frames, change, left):
    assert len(around(np.zeros((frames, 22, 3)), change)) == left


def test_usual_is_nearly_the_highest():
    rotations, joints = pose(60, path=straight(z=3, frames=60), left_elbow=(0, 0, 100))
    found = usual(pose_to_motion272(rotations, joints).astype(np.float32))
    assert found["speed_m_s"] == pytest.approx(3 / 59 * 30, rel=1e-3)
    assert found["joint_angle_deg"] == pytest.approx(100, abs=0.1)


def test_changes_of_a_random_model():
    """It does nothing of what is said; every change is counted."""
    found = changes(streamer(), Streaming(seeds=1))
    assert len(found["changes"]) == len(CHANGES) == len(streaming.VALIDATION) and 0 <= found["passed"] <= 0.5
    assert found["peak_jerk"] > 0
