"""Faults of captures: each is found where it was made, and nothing is found in motions that are merely quick."""

import numpy as np
import pytest

from dataset.prepare.faults import good_stretches, in_t_pose, lifted
from motion.rotation import axis_angle_to_matrix
from motion.skeleton import JOINT_NAMES, forward_kinematics

JOINT = {name: joint for joint, name in enumerate(JOINT_NAMES)}
FRAMES = 120


def body(angles: dict[str, np.ndarray], height: np.ndarray | float = 0.93) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 22, 3, 3) and joints (T, 22, 3) of a body that stands still but for some axis-angles (T, 3)."""
    axis_angles = np.zeros((FRAMES, 22, 3))
    for name, turn in angles.items():
        axis_angles[:, JOINT[name]] = turn
    rotations = axis_angle_to_matrix(axis_angles)
    pelvis = np.zeros((FRAMES, 3))
    pelvis[:, 1] = height
    return rotations, forward_kinematics(rotations, pelvis)


def hanging(side: str) -> np.ndarray:
    """Axis-angle of a shoulder whose arm hangs."""
    return np.array([0, 0, -1.4 if side == "left" else 1.4])


def standing(**angles) -> tuple[np.ndarray, np.ndarray]:
    return body({"left_shoulder": hanging("left"), "right_shoulder": hanging("right"), **angles})


def test_a_quick_arm_is_no_fault():
    """A hand that circles three times a second moves at 11 m/s, on a smooth way."""
    swing = np.sin(2 * np.pi * 3 * np.arange(FRAMES) / 30)[:, None] * [0, 0, 1.0]
    rotations, joints = standing(right_shoulder=swing)
    assert np.linalg.norm(np.diff(joints[:, JOINT["right_wrist"]], axis=0), axis=-1).max() > 0.28
    assert good_stretches(rotations, joints) == ([(0, FRAMES)], [])


def leap(rotations, joints):
    joints[50:] += [0.45, 0, 0]


def swift(rotations, joints):
    joints[50:, JOINT["left_wrist"]] += [0.6, 0, 0]


def flip(rotations, joints):
    rotations[50:, JOINT["left_wrist"]] = np.diag([1, -1, -1])


def stray(rotations, joints):
    joints[50, JOINT["left_knee"]] += [0.15, 0, 0]


def sink(rotations, joints):
    joints[:, :, 1] -= 0.2 * np.clip(1 - abs(np.arange(FRAMES) - 50) / 15, 0, None)[:, None]    # within half a second


@pytest.mark.parametrize("fault, words, stretches", [
    (leap, "a leap of 0.45 m after frame 49", [(0, 47), (53, FRAMES)]),
    (swift, "a joint that moves 0.60 m in a frame after frame 49", [(0, 47), (53, FRAMES)]),
    (flip, "a joint that turns 180 degrees in a frame after frame 49", [(0, 48), (52, FRAMES)]),
    (stray, "a joint 0.15 m astray for a frame after frame 50", [(0, 48), (53, FRAMES)]),
    (sink, "a joint 0.20 m in the floor after frame 50", [(0, 45), (56, FRAMES)])])
def test_faults_are_found_and_cut_out(fault, words, stretches):
    rotations, joints = (values.copy() for values in standing())
    fault(rotations, joints)
    found, faults = good_stretches(rotations, joints)
    assert found == stretches and any(f"found {words}" in text for text in faults)


def test_a_body_that_lies_in_the_floor_is_lifted_softly():
    """Standing, then bent so far that the hands are 15 cm in the floor, then standing."""
    _, joints = standing()
    deep = 0.15 * np.clip(1 - abs(np.arange(FRAMES) - 60) / 20, 0, None)
    joints = joints.copy()
    floor = joints[0, JOINT["left_foot"], 1]
    joints[:, JOINT["left_wrist"], 1] = np.where(deep > 0, floor - deep, joints[:, JOINT["left_wrist"], 1])
    up = lifted(joints) - joints
    assert (lifted(joints)[:, JOINT["left_wrist"], 1] > floor - 0.01).all()
    np.testing.assert_allclose(up, up[:, :1] * [0, 1, 0] * np.ones((1, 22, 1)), atol=1e-12)    # all joints, straight up
    assert abs(np.diff(up[:, 0, 1])).max() < 0.012 and up[0, 0, 1] == up[-1, 0, 1] == 0
    assert lifted(standing()[1]).tolist() == standing()[1].tolist()
    deeper = joints.copy()
    deeper[60, JOINT["head"], 1] = floor - 0.5    # a fault, not a pose
    assert lifted(deeper) is deeper


def test_t_poses_are_found_with_the_way_to_them_but_not_waving_arms():
    """Arms straight to the sides for a second, down within half of one, hanging."""
    down = np.interp(np.arange(FRAMES), [30, 45], [0, 1.4])[:, None]
    rotations, joints = body({"left_shoulder": down * [0, 0, -1], "right_shoulder": down * [0, 0, 1]})
    found = in_t_pose(joints)
    assert found[:38].all() and not found[42:].any()
    stretches, faults = good_stretches(rotations, joints, t_poses=True)
    assert faults == [] and len(stretches) == 1 and 38 <= stretches[0][0] <= 42
    waving = 0.6 * np.sin(np.arange(FRAMES) / 3)[:, None]
    assert not in_t_pose(body({"left_shoulder": waving * [0, 0, 1], "right_shoulder": waving * [0, 0, 1]})[1]).any()
