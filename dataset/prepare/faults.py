"""Faults of captures: where a body leaps, jerks, flips or sinks, and the good stretches of frames between.

Letters: T frames at 30 fps, J joints (22); joints (T, J, 3) in metres, y up.
"""

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from motion.measures import stretches
from motion.representation_272 import FPS
from motion.skeleton import JOINT_NAMES

FASTEST = 0.4    # metres a pelvis may move in a frame (12 m/s)
SWIFTEST = 0.5   # metres any joint may move in a frame (15 m/s, about nine body heights a second)
SHARPEST = 120   # degrees a joint may turn in a frame
ASTRAY = 0.1     # metres a joint may be in a frame from the smooth way between those before and after
SUNK = 0.16      # metres a joint may be below where the feet stand; rough ground goes down 0.15
SHALLOW, LIFTED = 0.06, 0.3    # metres that a body may be in the floor and is lifted; less stays, more is a fault
MARGIN = 2       # frames beside a fault that go with it: faults begin and end softly
FEET = [JOINT_NAMES.index(name) for name in ("left_foot", "right_foot")]
SHOULDERS, ELBOWS, WRISTS = ([JOINT_NAMES.index(f"{side}_{part}") for side in ("left", "right")]
                             for part in ("shoulder", "elbow", "wrist"))
STANDS_ON = [JOINT_NAMES.index(f"{side}_{part}") for side in ("left", "right") for part in ("ankle", "foot")]


def good_stretches(rotations: np.ndarray, joints: np.ndarray,
                   t_poses: bool = False) -> tuple[list[tuple[int, int]], list[str]]:
    """Start and end of the stretches of frames without a fault, in order, and what the faults are.

    rotations  (T, J, 3, 3) local; joints (T, J, 3)
    t_poses    whether the take may hold T-poses, which are left out then, but are no faults
    """
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1)  # (T-1, J)
    found = ((steps[:, 0], FASTEST, "a leap of {:.2f} m", "m"),
             (steps.max(axis=1), SWIFTEST, "a joint that moves {:.2f} m in a frame", "m"),
             (turned_between_frames(rotations), SHARPEST, "a joint that turns {:.0f} degrees in a frame", "degrees"),
             (astray(joints), ASTRAY, "a joint {:.2f} m astray for a frame", "m"),
             (standing_floor(joints) - joints[..., 1].min(axis=1), SUNK, "a joint {:.2f} m in the floor", "m"))
    good, faults = ~in_t_pose(joints) if t_poses else np.ones(len(joints), dtype=bool), []
    for values, most, words, unit in found:
        bad = np.flatnonzero(values > most)
        between = len(values) < len(joints)  # a step is a fault of the frames before and after it
        for frame in bad:
            good[max(frame - MARGIN + between, 0):frame + MARGIN + 1] = False
        if len(bad):
            others = f" and in {len(bad) - 1} more places" if len(bad) > 1 else ""
            faults.append(f"found {words.format(values.max())} after frame {values.argmax()}{others}, "
                          f"expected at most {most} {unit}")
    return stretches(good), faults


def turned_between_frames(rotations: np.ndarray) -> np.ndarray:
    """Local rotations (T, J, 3, 3) -> degrees (T-1,) that the fastest joint turns to the next frame."""
    cosine = (np.einsum("tjab,tjab->tj", rotations[:-1], rotations[1:]) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1))).max(axis=-1)


def astray(joints: np.ndarray) -> np.ndarray:
    """Metres (T,) of the joint farthest from the cubic through the two frames before and the two after; 0 at the ends.

    A fast arc of a hand is smooth and stays near its cubic; a marker that was taken for another is far off for a frame.
    """
    far = np.zeros(len(joints))
    smooth = (4 * (joints[1:-3] + joints[3:-1]) - joints[:-4] - joints[4:]) / 6
    far[2:-2] = np.linalg.norm(joints[2:-2] - smooth, axis=-1).max(axis=-1)
    return far


def standing_floor(joints: np.ndarray) -> float:
    """The height at which the toes are when they stand still; the lowest joint's if they never do."""
    moved = np.linalg.norm(np.diff(joints[:, FEET], axis=0), axis=-1)  # (T-1, 2)
    still = joints[1:, FEET, 1][moved < 0.01]
    return np.percentile(still, 10) if len(still) else joints[..., 1].min()


def lifted(joints: np.ndarray) -> np.ndarray:
    """Lift a body whose arms, knees or trunk are in the floor that its feet stand on, softly, until they lie on it.

    Limbs that are shorter or longer than the capture's end elsewhere: a hand that props the captured body up is
    then in the floor. Nothing changes for a take that is never as deep as SHALLOW, or deeper than LIFTED: a fault.
    """
    others = np.delete(joints[..., 1], STANDS_ON, axis=1).min(axis=1)  # (T,)
    depth = (standing_floor(joints) - others).clip(min=0)
    if not SHALLOW < depth.max() < LIFTED:
        return joints
    width = 21  # frames; twice that from no lift to all of it and back
    lift = uniform_filter1d(maximum_filter1d(depth, width), width)
    return joints + np.stack([0 * lift, lift, 0 * lift], axis=-1)[:, None]


def in_t_pose(joints: np.ndarray) -> np.ndarray:
    """Where (T,) a body stands with both arms straight to the sides, as before and after a take, or moves there.

    Four still frames make a pose; what leads to it and away from it has both arms straight and lifted, too.
    """
    across = joints[:, SHOULDERS[0]] - joints[:, SHOULDERS[1]]
    across = across * [1, 0, 1] / np.linalg.norm(across * [1, 0, 1], axis=-1, keepdims=True)
    still, near = np.ones(len(joints), dtype=bool), np.ones(len(joints), dtype=bool)
    for shoulder, elbow, wrist, out in zip(SHOULDERS, ELBOWS, WRISTS, (across, -across)):
        arm = joints[:, wrist] - joints[:, shoulder]
        reach = np.linalg.norm(arm, axis=-1)
        length = sum(np.linalg.norm(joints[0, end] - joints[0, start])
                     for start, end in ((shoulder, elbow), (elbow, wrist)))
        rise, side = arm[:, 1] / reach, (arm * out).sum(-1) / reach
        moved = np.linalg.norm(np.gradient(joints[:, wrist], axis=0), axis=-1)
        near &= (rise > -0.75) & (side > 0.5) & (reach > 0.88 * length)
        still &= (abs(rise) < 0.5) & (side > 0.75) & (moved < 0.4 / FPS)
    found = np.zeros(len(joints), dtype=bool)
    for start, end in stretches(near):
        found[start:end] = (near & still)[start:end].sum() >= 4
    return found
