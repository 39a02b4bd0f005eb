"""Faults of captures: where a body leaps, flips or sinks into the floor, and the good stretches between.

Letters: T frames at 30 fps, J joints (22); joints (T, J, 3) in metres, y up.
"""

import numpy as np

from motion.skeleton import JOINT_NAMES

FASTEST = 0.4    # metres a pelvis may move in a frame (12 m/s)
SWIFTEST = 0.5   # metres any joint may move in a frame (15 m/s, about nine body heights a second)
SHARPEST = 120   # degrees that a joint may turn in a frame
SUNK = 0.1       # metres that a joint may be below where the feet stand
MARGIN = 2       # frames beside a fault that go with it: faults begin and end softly
FEET = [JOINT_NAMES.index(name) for name in ("left_foot", "right_foot")]


def good_stretches(rotations: np.ndarray, joints: np.ndarray) -> tuple[list[tuple[int, int]], list[str]]:
    """Start and end of the stretches of frames without a fault, in order, and what the faults are.

    rotations  (T, J, 3, 3) local; joints (T, J, 3)
    """
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1)  # (T-1, J)
    turns = turned_between_frames(rotations)
    sunk = standing_floor(joints) - joints[..., 1].min(axis=1)  # (T,)
    found = ((steps[:, 0], FASTEST, "a leap of the pelvis of {:.2f} m", "m"),
             (steps.max(axis=1), SWIFTEST, "a joint that moves {:.2f} m in a frame", "m"),
             (turns, SHARPEST, "a joint that turns {:.0f} degrees in a frame", "degrees"),
             (sunk, SUNK, "a joint {:.2f} m below the floor that the feet stand on", "m"))
    good, faults = np.ones(len(joints), dtype=bool), []
    for values, most, words, unit in found:
        bad = np.flatnonzero(values > most)
        if len(bad):
            faults.append(f"found {words.format(values.max())} after frame {values.argmax()}"
                          f"{f' and {len(bad) - 1} more' if len(bad) > 1 else ''}, expected at most {most} {unit}")
        between = len(values) < len(joints)  # a fault of a step is one of both its frames
        for frame in bad:
            good[max(frame - MARGIN + between, 0):frame + MARGIN + 1] = False
    edges = np.flatnonzero(np.diff(good, prepend=False, append=False)).tolist()  # starts and ends in turn
    return list(zip(edges[::2], edges[1::2])), faults


def standing_floor(joints: np.ndarray) -> float:
    """The height at which the toes are when they stand still; the lowest joint's if they never do."""
    moved = np.linalg.norm(np.diff(joints[:, FEET], axis=0), axis=-1)  # (T-1, 2)
    still = joints[1:, FEET, 1][moved < 0.01]
    return np.percentile(still, 10) if len(still) else joints[..., 1].min()


def turned_between_frames(rotations: np.ndarray) -> np.ndarray:
    """Local rotations (T, J, 3, 3) -> degrees (T-1,) that the fastest joint turns to the next frame."""
    cosine = (np.einsum("tjab,tjab->tj", rotations[:-1], rotations[1:]) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1))).max(axis=-1)
