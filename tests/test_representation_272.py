"""The 272 channels: decode undoes encode, streamed equals whole, and the authors' numbers."""


import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from conftest import GOLDEN
from motion.representation_272 import (
    DIM, GROUPS, HEADING, POSITIONS, ROOT_VELOCITY, ROTATIONS, VELOCITIES, Motion272Decoder, mirror_pose,
    motion272_to_pose, motion272_to_positions, pose_to_motion272, statistics,
)
from motion.rotation import (
    as_like, axis_angle_to_matrix, matrix_to_axis_angle, rotation6d_to_matrix, y_rotation,
)
from motion.skeleton import forward_kinematics
from test_rotation import assert_like, every_kind


def walk(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip (..., T) that wanders and turns by more than a whole turn, its joints swinging slowly."""
    rng = np.random.default_rng(0)
    swing = np.cumsum(rng.normal(0, 0.05, (*shape, 22, 3)), axis=-3)
    rotations = axis_angle_to_matrix(swing)
    heading = rng.uniform(-3, 3) + np.linspace(0, 8, shape[-1])
    tilt = Rotation.from_euler("xz", [0.3, 0.2]).as_matrix()
    rotations[..., 0, :, :] = y_rotation(heading) @ tilt @ rotations[..., 0, :, :]
    pelvis = [3, 1, -2] + np.cumsum(rng.normal(0.01, 0.02, (*shape, 3)), axis=-2)
    return rotations, forward_kinematics(rotations, pelvis)


def generated(*shape: int) -> np.ndarray:
    """Channels as a network writes them: rows are not quite unit, headings not quite about y."""
    return pose_to_motion272(*walk(*shape)) + np.random.default_rng(1).normal(0, 0.02, (*shape, DIM))


def placed(rotations: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One clip as decoding returns it: turned to z+, over the origin, on the floor."""
    turn = y_rotation(-np.arctan2(rotations[0, 0, 0, 2], rotations[0, 0, 2, 2]))
    rotations, joints = rotations.copy(), joints @ turn.T
    rotations[:, 0] = turn @ rotations[:, 0]
    return rotations, joints - [joints[0, 0, 0], joints[..., 1].min(), joints[0, 0, 2]]


@every_kind
def test_decode_undoes_encode(kind):
    clip = walk(200)
    motion = pose_to_motion272(*(as_like(x, kind) for x in clip))
    assert motion.shape == (200, DIM)
    rotations, joints = placed(*clip)
    assert_like(motion272_to_positions(motion), joints, kind)
    decoded_rotations, pelvis = motion272_to_pose(motion)
    assert_like(decoded_rotations, rotations, kind)
    assert_like(pelvis, joints[:, 0], kind)


def test_first_frame():
    motion = pose_to_motion272(*walk(5))
    np.testing.assert_array_equal(motion[0, ROOT_VELOCITY], 0)
    np.testing.assert_array_equal(motion[0, HEADING], [1, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(motion[0, VELOCITIES], 0)


def test_start_facing_and_floor_do_not_matter():
    rotations, joints = walk(30)
    turn = y_rotation(np.float64(2.5))
    moved = rotations.copy()
    moved[:, 0] = turn @ moved[:, 0]
    found = pose_to_motion272(moved, joints @ turn.T + [4, 5, 6])
    np.testing.assert_allclose(found, pose_to_motion272(rotations, joints), atol=1e-12)


def test_encode_equals_the_description_read_aloud():
    """Frame by frame, with matrices, in the order in which the representation is defined."""
    rotations, joints = placed(*walk(20))
    motion = pose_to_motion272(*walk(20))
    before = np.eye(3)
    for t in range(20):
        root = rotations[t, 0]
        facing = y_rotation(-np.arctan2(root[0, 2], root[2, 2]))
        local = (joints[t] - joints[t, 0] * [1, 0, 1]) @ facing.T
        velocity = before @ (joints[t, 0] - joints[max(t - 1, 0), 0])
        pose = np.concatenate([(facing @ root)[None], rotations[t, 1:]])
        np.testing.assert_allclose(motion[t, ROOT_VELOCITY], velocity[[0, 2]], atol=1e-12)
        np.testing.assert_allclose(motion[t, HEADING], (facing @ before.T)[:2].ravel(), atol=1e-12)
        np.testing.assert_allclose(motion[t, POSITIONS], local.ravel(), atol=1e-12)
        np.testing.assert_allclose(motion[t, ROTATIONS], pose[:, :2].ravel(), atol=1e-12)
        before = facing
    np.testing.assert_allclose(motion[1:, VELOCITIES], np.diff(motion[:, POSITIONS], axis=0), atol=1e-12)


def test_decode_equals_the_product_of_heading_matrices():
    """Where changes are turns about y, adding angles is what multiplying H_t = D_t H_{t-1} does."""
    motion = pose_to_motion272(*walk(40))
    motion[0, HEADING] = y_rotation(np.float64(0.7))[:2].ravel()  # a stream may begin turned
    heading, path, joints = np.eye(3), np.zeros(3), motion272_to_positions(motion)
    for t, frame in enumerate(motion):
        path = path + heading.T @ [frame[0], 0, frame[1]]
        heading = rotation6d_to_matrix(frame[HEADING]) @ heading
        np.testing.assert_allclose(joints[t], frame[POSITIONS].reshape(22, 3) @ heading + path, atol=1e-12)


def test_generated_heading_never_tilts_the_body():
    motion = generated(300)
    np.testing.assert_array_equal(motion272_to_positions(motion)[..., 1], motion[:, POSITIONS][:, 1::3])


@every_kind
@pytest.mark.parametrize("split", [[60], [4] * 15, [1] * 60, [0, 7, 52, 0, 1]])
def test_streamed_equals_whole(kind, split):
    motion = as_like(generated(60), kind)
    ends = np.cumsum(split)
    pieces = [motion[end - frames:end] for frames, end in zip(split, ends)]
    by_positions, by_pose = Motion272Decoder(), Motion272Decoder()
    positions = np.concatenate([by_positions.positions(piece) for piece in pieces])
    np.testing.assert_allclose(positions, motion272_to_positions(motion), rtol=0, atol=1e-6)
    streamed = [by_pose.pose(piece) for piece in pieces]
    for found, whole in zip(zip(*streamed), motion272_to_pose(motion)):
        np.testing.assert_allclose(np.concatenate(found), whole, rtol=0, atol=1e-6)


def test_batch_equals_loop():
    rotations, joints = walk(2, 3, 25)
    motion = pose_to_motion272(rotations, joints)
    positions, (poses, pelvis) = motion272_to_positions(motion), motion272_to_pose(motion)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(motion[i], pose_to_motion272(rotations[i], joints[i]), atol=1e-12)
        np.testing.assert_allclose(positions[i], motion272_to_positions(motion[i]), atol=1e-12)
        np.testing.assert_allclose(poses[i], motion272_to_pose(motion[i])[0], atol=1e-12)
        np.testing.assert_allclose(pelvis[i], motion272_to_pose(motion[i])[1], atol=1e-12)


def test_positions_carry_gradients():
    """Losses on joints reach every channel that places them."""
    motion = torch.tensor(generated(8), requires_grad=True)
    motion272_to_positions(motion).square().sum().backward()
    assert motion.grad[1:4, [0, 1, 2, 4]].all() and motion.grad[:, POSITIONS].any(0).all()


@every_kind
def test_mirror(kind):
    clip = [as_like(x, kind) for x in walk(20)]
    mirrored = mirror_pose(*clip)
    for found, original in zip(mirror_pose(*mirrored), clip):
        assert_like(found, original, kind, atol_in_eps=0)
    # axis-angle keeps x and negates y and z; left and right hip change places
    left, right = (matrix_to_axis_angle(r[5, j]) for r, j in [(clip[0], 1), (mirrored[0], 2)])
    np.testing.assert_allclose(right, left * [1, -1, -1], atol=1e-5)
    # encoding commutes with the mirror: what the mirrored clip decodes to is the mirror of what the clip does
    positions = motion272_to_positions(pose_to_motion272(*clip))
    expected = mirror_pose(clip[0], positions)[1]
    assert_like(motion272_to_positions(pose_to_motion272(*mirrored)), expected, kind)


def test_statistics_by_hand():
    """Two clips of 1 and 3 frames: frames weigh the same, std is one number per group."""
    frames = np.random.default_rng(0).normal(5, 2, (4, DIM)).astype(np.float32)
    mean, std = statistics(iter([frames[:1], frames[1:]]))
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, frames.mean(0), rtol=1e-6)
    for group in GROUPS:
        np.testing.assert_allclose(std[group], frames[:, group].std(0).mean(), rtol=1e-5)


def test_bad_input_is_named():
    rotations, joints = walk(3)
    motion = pose_to_motion272(rotations, joints)
    for call, words in [
        (lambda: pose_to_motion272(rotations[:, :21], joints), r"rotations of shape \(3, 21, 3, 3\)"),
        (lambda: pose_to_motion272(rotations, joints[0]), r"shape \(22, 3\): expected \(..., T, 22, 3\)"),
        (lambda: pose_to_motion272(rotations[:2], joints), "not of the same frames"),
        (lambda: pose_to_motion272(rotations[:0], joints[:0]), "0 frames"),
        (lambda: pose_to_motion272(rotations, joints * np.nan), "joints .* not finite"),
        (lambda: pose_to_motion272(rotations * np.inf, joints), "rotations .* not finite"),
        (lambda: motion272_to_positions(motion[:, :263]), r"shape \(3, 263\): expected \(..., T, 272\)"),
        (lambda: motion272_to_pose(motion[0]), r"expected \(..., T, 272\)"),
        (lambda: Motion272Decoder().positions(motion * np.nan), "not finite"),
        (lambda: statistics([]), "0 frames"),
        (lambda: statistics([motion[:1]]), "0:2 never change"),
    ]:
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=words):
            call()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "representation_272.npz") as file:
        return dict(file)


@every_kind
def test_golden_clip(golden, kind):
    """The authors' encoding of one real clip, and back to its joints and pose."""
    rotations, joints = axis_angle_to_matrix(golden["pose_axis_angle"]), golden["joints"]
    motion = pose_to_motion272(as_like(rotations, kind), as_like(joints, kind))
    np.testing.assert_allclose(np.asarray(motion), golden["motion_272"], rtol=0, atol=1e-6)
    expected_rotations, expected_joints = placed(rotations, joints)
    assert np.abs(np.asarray(motion272_to_positions(motion)) - expected_joints).max() < 1e-5
    decoded_rotations, pelvis = motion272_to_pose(as_like(golden["motion_272"], kind))
    np.testing.assert_allclose(np.asarray(decoded_rotations), expected_rotations, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.asarray(pelvis), expected_joints[:, 0], rtol=0, atol=1e-5)


def test_golden_statistics_have_our_groups(golden):
    for group in GROUPS:
        assert np.ptp(golden["std"][group]) < 1e-6
