"""The correction of pelvis and legs: feet where they are shown, and where they came to rest."""

import numpy as np
import pytest

from motion.footing import DRIFT, Footing, grounded_pose
from motion.representation_272 import POSITIONS, ROTATIONS, motion272_to_pose, motion272_to_positions, pose_to_motion272
from motion.rotation import axis_angle_to_matrix, matrix_to_rotation6d
from motion.skeleton import ANKLES, JOINT_NAMES, TOES, forward_kinematics
from test_says_does import pose, straight


def striding(frames: int = 90, metres: float = 2.0) -> np.ndarray:
    """A motion (T, 272) on bent knees, its feet lifted in turn, rotations and positions of one mind."""
    swing = np.sin(np.arange(frames) / 30 * 2 * np.pi)[:, None] * [1, 0, 0]
    turns = {f"{side}_{name}": angle + sign * by * swing for side, sign in (("left", 1), ("right", -1))
             for name, angle, by in (("hip", [-25, 0, 0], 20), ("knee", [50, 0, 0], 15), ("ankle", [-25, 0, 0], 0))}
    return pose_to_motion272(*pose(frames, path=straight(z=metres, frames=frames), **turns))


def disagreeing(motion: np.ndarray, degrees: float = 2.0) -> np.ndarray:
    """The same positions over rotations that are some degrees off in every joint but the pelvis."""
    rotations, _ = motion272_to_pose(motion)
    off = axis_angle_to_matrix(np.random.default_rng(1).normal(0, np.radians(degrees), (22, 3)))
    changed = motion.copy()
    changed[:, ROTATIONS.start + 6:] = matrix_to_rotation6d(rotations @ off)[:, 1:].reshape(len(motion), -1)
    return changed


def toes_of(motion: np.ndarray, lock: bool) -> np.ndarray:
    return forward_kinematics(*grounded_pose(motion, lock))[:, TOES]


def test_rotations_that_agree_with_the_positions_stay():
    motion = striding()
    rotations, pelvis = motion272_to_pose(motion)
    corrected, moved = grounded_pose(motion, lock=False)
    np.testing.assert_allclose(corrected, rotations, atol=1e-6)
    np.testing.assert_allclose(moved, pelvis, atol=1e-6)


def test_feet_come_to_where_they_are_shown():
    motion = disagreeing(striding())
    shown = motion272_to_positions(motion)
    before = forward_kinematics(*motion272_to_pose(motion))
    after = forward_kinematics(*grounded_pose(motion, lock=False))
    for joints in (TOES, ANKLES):
        assert np.linalg.norm(before - shown, axis=-1)[:, joints].mean() > 0.02
        assert np.linalg.norm(after - shown, axis=-1)[:, joints].max() < 1e-3


def test_correction_keeps_the_body():
    """Rotations stay rotations, and those above the hips stay as they are."""
    motion = disagreeing(striding())
    rotations, _ = grounded_pose(motion)
    np.testing.assert_allclose(rotations @ rotations.mT, np.broadcast_to(np.eye(3), rotations.shape), atol=1e-9)
    legs = ("hip", "knee", "ankle", "foot")
    others = [joint for joint, name in enumerate(JOINT_NAMES) if not name.endswith(legs)]
    np.testing.assert_allclose(rotations[:, others], motion272_to_pose(motion)[0][:, others], atol=1e-9)


@pytest.mark.parametrize("lock", [False, True])
@pytest.mark.parametrize("split", [[90], [1] * 90, [4] * 22 + [2], [37, 53]])
def test_streamed_equals_whole(lock, split):
    motion = disagreeing(striding())
    footing = Footing(lock)
    pieces = [footing.pose(piece) for piece in np.split(motion, np.cumsum(split)[:-1])]
    for streamed, whole in zip(map(np.concatenate, zip(*pieces)), grounded_pose(motion, lock)):
        np.testing.assert_allclose(streamed, whole, atol=1e-9)


def sliding(metres: float) -> np.ndarray:
    """Stands for a second, slides ahead in the next, stands for two: feet on the floor all the time."""
    path = np.concatenate([np.zeros(30), np.linspace(0, metres, 30), np.full(60, metres)])[:, None] * [0, 0, 1]
    bent = dict(left_hip=(-25, 0, 0), right_hip=(-25, 0, 0), left_knee=(50, 0, 0), right_knee=(50, 0, 0),
                left_ankle=(-25, 0, 0), right_ankle=(-25, 0, 0))
    return pose_to_motion272(*pose(120, path=path, **bent))


def test_a_resting_toe_stays():
    motion = sliding(0.05)
    assert np.ptp(toes_of(motion, False)[..., 2], axis=0).min() > 0.049
    assert np.ptp(toes_of(motion, True)[..., 2], axis=0).max() < 0.01


def test_a_resting_toe_is_dragged_when_it_drifts_far():
    motion = sliding(0.3)
    away = np.linalg.norm(toes_of(motion, True) - toes_of(motion, False), axis=-1)
    assert away.max() == pytest.approx(DRIFT, abs=1e-3)


def test_a_lifted_foot_catches_up():
    motion = sliding(0.05)
    motion[60:, POSITIONS] += np.tile([0, 0.2, 0], 22)           # from here on it floats
    away = np.linalg.norm(toes_of(motion, True) - toes_of(motion, False), axis=-1)
    assert away[59].min() > 0.04 and away[-1].max() < 1e-3


def test_the_pelvis_follows_smoothly():
    """Shown feet that tremble by a centimetre move it by less than half of that from frame to frame."""
    motion, rng = striding(), np.random.default_rng(2)
    tremble = rng.normal(0, 0.01, (len(motion), 1, 2)) * np.ones((1, 4, 1))          # both feet alike, along the floor
    shown = motion[:, POSITIONS].reshape(-1, 22, 3)          # a copy
    shown[:, ANKLES + TOES] += np.insert(tremble, 1, 0, axis=-1)
    motion[:, POSITIONS] = shown.reshape(len(motion), -1)
    moved = grounded_pose(motion, lock=False)[1] - motion272_to_pose(motion)[1]
    assert np.diff(moved, axis=0)[:, [0, 2]].std() < 0.5 * np.diff(tremble[:, 0], axis=0).std()


def test_nothing_is_in_the_floor():
    motion = striding()
    motion[:, POSITIONS] -= np.tile([0, 0.1, 0], 22)
    assert forward_kinematics(*motion272_to_pose(motion))[..., 1].min() < -0.09
    assert forward_kinematics(*grounded_pose(motion))[..., 1].min() > -1e-6
    lying = pose_to_motion272(*pose(30))
    lying[:, POSITIONS.start + 1] = 0.05                         # the pelvis alone
    assert forward_kinematics(*grounded_pose(lying))[:, :1, 1].min() > 0


def test_who_cannot_reach_stretches():
    """Feet shown a metre too low, as of a network that explodes: finite, and straight."""
    motion = striding()
    motion[:, POSITIONS][:, [22, 31]] += 5.0
    rotations, pelvis = grounded_pose(motion)
    assert np.isfinite(rotations).all() and np.isfinite(pelvis).all()
