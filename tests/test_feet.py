"""benchmarks/feet.py: what slides and what sinks, on made-up motions."""

import numpy as np
import pytest

from benchmarks.feet import exported, feet, turned
from motion.representation_272 import POSITIONS, motion272_to_positions, pose_to_motion272
from test_says_does import pose, straight


def test_feet_that_are_carried_along_slide():
    """A stiff body goes 3 cm a frame for the first half and 2 cm for the second."""
    path = np.cumsum(np.repeat([0, 0.03, 0.02], [1, 30, 30]))[:, None] * [0, 0, 1]
    found = feet([pose_to_motion272(*pose(61, path=path))], motion272_to_positions)
    assert found == dict(slide=0.5, sunk=0, skate=pytest.approx(20))


def test_a_lifted_foot_is_no_contact():
    path = straight(z=6, frames=60)
    standing, lifted = (pose_to_motion272(*pose(60, path=path, left_knee=(bend, 0, 0))) for bend in (0, 90))
    both, one = (feet([standing, motion], motion272_to_positions)["slide"] for motion in (standing, lifted))
    assert both == one == 1                      # the standing one slides in every frame, the lifted one counts in none
    still = pose_to_motion272(*pose(60))
    assert feet([still, lifted], motion272_to_positions)["slide"] == pytest.approx(1 / 3)


def test_positions_and_rotations_are_looked_at_apart():
    """Positions that stand, over rotations of a body that hangs 10 cm lower in half of the frames."""
    motion = pose_to_motion272(*pose(60))
    motion[30:, POSITIONS.start + 1] -= 0.1      # the pelvis, from which forward kinematics hangs all the rest
    assert feet([motion], motion272_to_positions)["sunk"] == 0
    assert feet([motion], turned)["sunk"] == 0.5
    assert feet([motion], exported)["sunk"] == 0
