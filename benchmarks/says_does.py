"""Does what the sentence says happen? Sentences in, motions out, and plain geometry to judge them.

    python -m benchmarks.says_does --weights weights/mocap_small --data-root data/mocap_272 --json says_does.json
    python -m benchmarks.says_does --validation --guidance 1 2 3 4     choose it with other sentences than the reported
    python -m benchmarks.says_does --calibrate --data-root data/mocap_272     how the tests judge real clips

Every kind of motion has two sentences: a plain one, and one that is unlike any caption of the training data. They
were written without knowledge of those captions, before the first model was trained, as were the tests. A test knows
nothing of the sentence; "shuffled" is the share of motions that pass the test of another kind (the mean over all
other kinds, which is the mean over all ways to shuffle the texts among the kinds so that none stays).

Letters: T frames, 30 per second; joints (T, 22, 3) in metres, y up, the lowest about 0. Angles in degrees.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dataset.clips import load_clips, load_groups
from models.pipeline import MotionStreamer
from models.text_encoder import TextEncoder
from motion.representation_272 import FPS, motion272_to_positions
from motion.skeleton import JOINT_NAMES, OFFSETS, PARENTS
from options import opt, parse
from utils.checkpoint import write_whole
from utils.errors import run

BATCH = 60
OTHER = {"left": "right", "right": "left"}


# What a body does

def joint(joints: np.ndarray, name: str) -> np.ndarray:
    """(T, 3), where one joint is."""
    return joints[:, JOINT_NAMES.index(name)]


def facing(joints: np.ndarray) -> np.ndarray:
    """Level unit vectors (T, 2), x and z, to where the hips face."""
    across = joint(joints, "left_hip") - joint(joints, "right_hip")
    forward = np.stack([-across[:, 2], across[:, 0]], axis=-1)
    return forward / np.linalg.norm(forward, axis=-1, keepdims=True)


def to_the_left(forward: np.ndarray) -> np.ndarray:
    """Level vectors (T, 2) turned by 90 degrees to the left, counterclockwise seen from above."""
    return np.stack([forward[:, 1], -forward[:, 0]], axis=-1)


def along(points: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How far points (T, 3) lie in level directions (T, 2) -> (T,)."""
    return (points[:, [0, 2]] * directions).sum(-1)


def turned(joints: np.ndarray) -> float:
    """By how much the body faces another way at the end, in degrees, positive to the left."""
    x, z = facing(joints).T
    heading = np.unwrap(np.arctan2(x, z))
    return np.degrees(heading[-1] - heading[0])


def travelled(joints: np.ndarray) -> tuple[float, float]:
    """Metres that the root moved ahead and to the left, each step measured from where the body faces then."""
    steps, forward = np.diff(joint(joints, "pelvis"), axis=0), facing(joints)[:-1]
    return along(steps, forward).sum(), along(steps, to_the_left(forward)).sum()


def speed(joints: np.ndarray) -> float:
    """Metres per second of the root over the floor in the fastest half of the motion, one piece: not starts and stops."""
    path = np.concatenate([[0], np.linalg.norm(np.diff(joint(joints, "pelvis")[:, [0, 2]], axis=0), axis=-1).cumsum()])
    half = max(len(joints) // 2, 1)
    return (path[half:] - path[:-half]).max() * FPS / half


def leaning(joints: np.ndarray) -> np.ndarray:
    """Degrees (T,) by which the trunk leans forward."""
    trunk = joint(joints, "neck") - joint(joints, "pelvis")
    return np.degrees(np.arctan2(along(trunk, facing(joints)), trunk[:, 1]))


def above(joints: np.ndarray, name: str, other: str) -> np.ndarray:
    """Whether (T,) one joint is higher than another."""
    return joint(joints, name)[:, 1] > joint(joints, other)[:, 1]


def stays_down(joints: np.ndarray, side: str) -> bool:
    """The hand is never above its shoulder."""
    return not above(joints, f"{side}_wrist", f"{side}_shoulder").any()


def swings(joints: np.ndarray, side: str) -> int:
    """How often the hand, above its elbow, changes its direction sideways after moving at least 4 cm."""
    sideways = along(joint(joints, f"{side}_wrist") - joint(joints, "spine3"), to_the_left(facing(joints)))
    turns = direction = 0
    furthest = None
    for place in sideways[above(joints, f"{side}_wrist", f"{side}_elbow")]:
        if furthest is None or (place - furthest) * direction > 0:
            furthest = place
        elif abs(place - furthest) > 0.04:
            turns += direction != 0
            direction, furthest = np.sign(place - furthest), place
    return turns


def lowest(joints: np.ndarray) -> np.ndarray:
    """Height (T,) of the lowest joint over the clip's floor."""
    return joints[..., 1].min(axis=1) - joints[..., 1].min()


def in_one_piece(joints: np.ndarray) -> bool:
    """Nearly all bones nearly all the time (95% of both together) have their length, to 5 cm: nothing exploded."""
    bones = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS[1:]], axis=-1)
    return np.quantile(abs(bones - np.linalg.norm(OFFSETS[1:], axis=-1)), 0.95) < 0.05


# The tests: joints -> bool

def walks(joints: np.ndarray) -> bool:
    return travelled(joints)[0] > 1


def runs(joints: np.ndarray, faster_than: float = 1.8) -> bool:
    return speed(joints) > faster_than


def walks_backwards(joints: np.ndarray) -> bool:
    return travelled(joints)[0] < -0.5


def walks_sideways(joints: np.ndarray, side: str) -> bool:
    """Over half a metre to that side while facing the same way."""
    left = travelled(joints)[1]
    return (left if side == "left" else -left) > 0.5 and abs(turned(joints)) < 45


def turns(joints: np.ndarray, side: str) -> bool:
    return (turned(joints) if side == "left" else -turned(joints)) >= 45


def raises(joints: np.ndarray, side: str) -> bool:
    return above(joints, f"{side}_wrist", "head").any() and stays_down(joints, OTHER[side])


def raises_both(joints: np.ndarray) -> bool:
    return (above(joints, "left_wrist", "head") & above(joints, "right_wrist", "head")).any()


def waves(joints: np.ndarray, side: str) -> bool:
    return swings(joints, side) >= 3 and stays_down(joints, OTHER[side])


def waves_both(joints: np.ndarray) -> bool:
    return swings(joints, "left") >= 3 and swings(joints, "right") >= 3


def waves_any(joints: np.ndarray) -> bool:
    return swings(joints, "left") >= 3 or swings(joints, "right") >= 3


def bows(joints: np.ndarray) -> bool:
    """Leans forward by 20 degrees and straightens again, on the spot and without crouching."""
    lean, on_the_spot = leaning(joints), abs(np.array(travelled(joints))).max() < 0.5
    deepest = lean.argmax()
    there, back = lean[deepest] - lean[:deepest + 1].min(), lean[deepest] - lean[deepest:].min()
    return min(there, back) > 20 and on_the_spot and np.ptp(joint(joints, "pelvis")[:, 1]) < 0.2


def jumps(joints: np.ndarray) -> bool:
    """Nothing touches the floor by 10 cm, for less than a second, while the root goes up and down by 25 cm."""
    in_the_air = lowest(joints) > 0.1
    return 0 < in_the_air.sum() < FPS and np.ptp(joint(joints, "pelvis")[:, 1]) > 0.25


def punches(joints: np.ndarray) -> bool:
    """A fist goes forward from its shoulder at over 2 m/s and reaches further than 35 cm in front of it."""
    for side in OTHER:
        reach = along(joint(joints, f"{side}_wrist") - joint(joints, f"{side}_shoulder"), facing(joints))
        if reach.max() > 0.35 and np.diff(reach).max() * FPS > 2:
            return True
    return False


def kicks(joints: np.ndarray) -> bool:
    """A foot, not behind the body, gets above 60 cm while the other stands."""
    for side in OTHER:
        foot = joint(joints, f"{side}_foot")
        ahead = along(foot - joint(joints, "pelvis"), facing(joints)) > -0.1
        stands = joint(joints, f"{OTHER[side]}_foot")[:, 1] < 0.15
        if ((foot[:, 1] > 0.6) & ahead & stands).any():
            return True
    return False


def climbs(joints: np.ndarray) -> bool:
    """Nothing touches the floor by 20 cm for over half a second, and the root gets 30 cm higher."""
    return (lowest(joints) > 0.2).sum() > FPS / 2 and np.ptp(joint(joints, "pelvis")[:, 1]) > 0.3


def turns_over(joints: np.ndarray) -> bool:
    """The head gets lower than the pelvis, the feet higher than it."""
    upside_down = above(joints, "pelvis", "head")
    return (upside_down & above(joints, "left_foot", "pelvis") & above(joints, "right_foot", "pelvis")).any()
