"""benchmarks/feet.py: what slides and what sinks, on made-up motions."""

import numpy as np
import pytest

from benchmarks.feet import feet, row_of, turned
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


@pytest.mark.filterwarnings("error")
def test_without_contacts_nothing_slides_and_nothing_is_divided():
    """Feet that never come down have no share; beside feet that never slide no other slides so many times as often."""
    motion = pose_to_motion272(*pose(60))
    still = feet([motion], motion272_to_positions)
    motion[:, POSITIONS][:, 1::3] += 1           # all joints a metre higher
    flying = feet([motion], motion272_to_positions)
    assert flying == dict(slide=None, sunk=0, skate=None) and still == dict(slide=0, sunk=0, skate=0)
    half = dict(slide=0.5, sunk=0.25, skate=1.5)
    assert row_of("runs", "positions", flying, half).split()[2:] == ["-", "50.0%", "-", "0.0%", "25.0%", "-", "1.5"]
    assert row_of("runs", "positions", half, still).split()[2:5] == ["50.0%", "0.0%", "-"]
    quarter = dict(slide=0.25, sunk=0, skate=1)
    assert row_of("runs", "positions", half, quarter).split()[2:5] == ["50.0%", "25.0%", "2.0"]
