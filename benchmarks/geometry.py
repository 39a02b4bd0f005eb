"""A test for each kind of motion: does a body do it, by plain geometry.

Letters as in `motion.measures`. The thresholds were set on real clips: `python -m benchmarks.says_does --calibrate`
shows how these pass.
"""

import numpy as np

from motion.measures import (
    OTHER, above, along, facing, joint, leaning, longest, lowest, on_the_spot, speed, stays_down, swings, travelled, turned
)
from motion.representation_272 import FPS


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
    return swings(joints, side) >= 3 and stays_down(joints, OTHER[side]) and on_the_spot(joints)


def waves_both(joints: np.ndarray) -> bool:
    return min(swings(joints, "left"), swings(joints, "right")) >= 3 and on_the_spot(joints)


def waves_goodbye(joints: np.ndarray) -> bool:
    """Either hand or both, also with small movements."""
    return any(swings(joints, side, wide=0.02) >= 2 for side in OTHER) and on_the_spot(joints)


def bows(joints: np.ndarray) -> bool:
    """Leans forward by over 20 degrees and straightens as much, on the spot and without crouching."""
    lean = leaning(joints)
    deepest = lean.argmax()
    deep = lean[deepest] - max(lean[:deepest + 1].min(), lean[deepest:].min()) > 20
    return deep and on_the_spot(joints) and np.ptp(joint(joints, "pelvis")[:, 1]) < 0.2


def jumps(joints: np.ndarray) -> bool:
    """The whole body leaves the floor by 10 cm for less than a second; the root's height varies by 25 cm."""
    return 0 < longest(lowest(joints) > 0.1) < 1 and np.ptp(joint(joints, "pelvis")[:, 1]) > 0.25


def punches(joints: np.ndarray) -> bool:
    """An arm stretches at over 0.8 m/s and is straight and level within a sixth of a second."""
    for side in OTHER:
        arm = joint(joints, f"{side}_wrist") - joint(joints, f"{side}_shoulder")
        length = np.linalg.norm(arm, axis=-1)
        straight_and_level = (length > 0.45) & (abs(arm[:, 1]) < 0.2)
        for frame in np.flatnonzero(np.diff(length) * FPS > 0.8):
            if straight_and_level[frame + 1:frame + 6].any():
                return True
    return False


def kicks(joints: np.ndarray) -> bool:
    """A foot, not behind the body, is higher than 60 cm while the other one stands."""
    for side in OTHER:
        foot = joint(joints, f"{side}_foot")
        in_front = along(foot - joint(joints, "pelvis"), facing(joints)) > -0.1
        stands = joint(joints, f"{OTHER[side]}_foot")[:, 1] < 0.15
        if ((foot[:, 1] > 0.6) & in_front & stands).any():
            return True
    return False


def climbs(joints: np.ndarray) -> bool:
    """The whole body leaves the floor by 20 cm for over half a second; the root's height varies by 20 cm."""
    return longest(lowest(joints) > 0.2) > 0.5 and np.ptp(joint(joints, "pelvis")[:, 1]) > 0.2


def turns_over(joints: np.ndarray) -> bool:
    """At some time the head is lower than the pelvis and both feet are higher."""
    upside_down = above(joints, "pelvis", "head")
    return (upside_down & above(joints, "left_foot", "pelvis") & above(joints, "right_foot", "pelvis")).any()
