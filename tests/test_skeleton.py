"""Laws of the joint tree, for arrays and tensors in float32 and float64."""

import numpy as np
from scipy.spatial.transform import Rotation

from motion.rotation import as_like
from motion.skeleton import (
    JOINT_NAMES, MIRROR, OFFSETS, PARENTS, forward_kinematics, global_to_local, local_to_global,
)
from test_rotation import assert_like, every_kind


def random_pose(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    rotations = Rotation.random(int(np.prod(shape)) * 22, random_state=0).as_matrix()
    return rotations.reshape(*shape, 22, 3, 3), np.random.default_rng(0).normal(size=(*shape, 3))


def test_tree_is_whole():
    assert len(JOINT_NAMES) == len(PARENTS) == len(OFFSETS) == len(MIRROR) == 22
    assert all(parent < joint for joint, parent in enumerate(PARENTS)), "a parent comes before its children"
    swap = {"left": "right", "right": "left"}
    for joint, other in enumerate(MIRROR):
        side, _, rest = JOINT_NAMES[joint].partition("_")
        assert JOINT_NAMES[other] == (f"{swap[side]}_{rest}" if side in swap else JOINT_NAMES[joint])
        # SMPL's rest body is symmetric to 15 mm; a wrong digit or sign in OFFSETS is not
        np.testing.assert_allclose(OFFSETS[other] * [-1, 1, 1], OFFSETS[joint], atol=0.015)


@every_kind
def test_rest_pose_is_the_sum_of_offsets(kind):
    pelvis = [1.0, 2.0, 3.0]
    joints = forward_kinematics(as_like(np.tile(np.eye(3), (22, 1, 1)), kind), as_like(pelvis, kind))
    expected = [pelvis]
    for joint in range(1, 22):
        expected.append(expected[PARENTS[joint]] + OFFSETS[joint])
    assert_like(joints, expected, kind)


@every_kind
def test_bones_keep_their_lengths(kind):
    rotations, pelvis = random_pose(2, 5)
    joints = forward_kinematics(as_like(rotations, kind), as_like(pelvis, kind))
    assert_like(joints[..., 0, :], pelvis, kind)
    joints = np.asarray(joints)
    lengths = np.linalg.norm(joints[..., 1:, :] - joints[..., PARENTS[1:], :], axis=-1)
    np.testing.assert_allclose(lengths, np.tile(np.linalg.norm(OFFSETS[1:], axis=-1), (2, 5, 1)), atol=1e-5)


@every_kind
def test_a_joint_turns_what_hangs_on_it_and_nothing_else(kind):
    """The left elbow bent by a quarter turn about z lifts the left forearm from x+ to y+."""
    rotations = np.tile(np.eye(3), (22, 1, 1))
    rest = np.asarray(forward_kinematics(rotations, np.zeros(3)))
    elbow, wrist = JOINT_NAMES.index("left_elbow"), JOINT_NAMES.index("left_wrist")
    rotations[elbow] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    x, y, z = OFFSETS[wrist]
    rest[wrist] = rest[elbow] + [-y, x, z]
    assert_like(forward_kinematics(as_like(rotations, kind), as_like(np.zeros(3), kind)), rest, kind)


@every_kind
def test_global_and_local_are_inverse(kind):
    rotations, _ = random_pose(2, 5)
    assert_like(global_to_local(local_to_global(as_like(rotations, kind))), rotations, kind)
    assert_like(local_to_global(global_to_local(as_like(rotations, kind))), rotations, kind)
    chain = rotations[..., 0, :, :] @ rotations[..., 1, :, :] @ rotations[..., 4, :, :]
    assert_like(local_to_global(as_like(rotations, kind))[..., 4, :, :], chain, kind)  # pelvis, hip, knee
