"""Tests of how a body goes and where to: the styles and paths of `benchmarks/sentences.json`.

Letters as in `motion.measures`: joints (T, 22, 3) in metres, 30 frames per second, y up; angles in degrees, turns
positive to the left. The thresholds were set on real clips: `python -m benchmarks.says_does --calibrate` shows how
these pass.
A style is seen by few of its traits: old walkers take short steps or are bent, old arms are slow; the tired are low and
slow; the young swing their arms far; the graceful keep elbows in and the strong feet apart; the energetic are fast.
"""

import numpy as np

from benchmarks.geometry import between, hand, speeds, standing
from motion.measures import (
    OTHER, along, facing, heading, joint, leaning, speed, stays_down, to_the_left, travelled, turned
)
from motion.representation_272 import FPS


# How: the traits of a style.

def slower(joints: np.ndarray, than: float) -> bool:
    return speed(joints) < than


def steps_shorter(joints: np.ndarray, than: float) -> bool:
    """The ankles are hardly ever further apart, ahead and back."""
    return np.quantile(abs(along(between(joints, "ankle"), facing(joints))), 0.95) < than


def feet_apart(joints: np.ndarray, over: float) -> bool:
    """The ankles are further apart sideways, half of the time."""
    return np.median(abs(along(between(joints, "ankle"), to_the_left(facing(joints))))) > over


def arms_close(joints: np.ndarray, within: float) -> bool:
    """The elbows are less far apart, half of the time."""
    return np.median(np.linalg.norm(between(joints, "elbow"), axis=-1)) < within


def arms_swing(joints: np.ndarray, over: float) -> bool:
    """A wrist goes further, ahead and back."""
    return max(np.ptp(along(hand(joints, side), facing(joints))) for side in OTHER) > over


def hands_faster(joints: np.ndarray, than: float) -> bool:
    return hand_speed(joints) > than


def hands_slower(joints: np.ndarray, than: float) -> bool:
    return hand_speed(joints) < than


def head_below(joints: np.ndarray, metres: float) -> bool:
    """Half of the time, over the clip's floor."""
    return np.median(joint(joints, "head")[:, 1]) - joints[..., 1].min() < metres


def bounces(joints: np.ndarray, over: float) -> bool:
    """The pelvis goes up and down by more."""
    return np.ptp(np.quantile(joint(joints, "pelvis")[:, 1], (0.05, 0.95))) > over


def bent(joints: np.ndarray, degrees: float) -> bool:
    """The trunk leans forward that much or more, half of the time."""
    return np.median(leaning(joints)) >= degrees


def upright(joints: np.ndarray, degrees: float) -> bool:
    """The trunk leans forward less, half of the time; backward is below 0."""
    return np.median(leaning(joints)) < degrees


def hand_speed(joints: np.ndarray) -> float:
    """Metres per second of the faster wrist against the pelvis, reached in a tenth of the frames."""
    return max(np.quantile(speeds(hand(joints, side)), 0.9) for side in OTHER)


# Where to.

def walks(joints: np.ndarray, metres: float = 1) -> bool:
    return travelled(joints)[0] > metres


def runs(joints: np.ndarray, faster_than: float = 1.8) -> bool:
    return speed(joints) > faster_than


def walks_backwards(joints: np.ndarray, metres: float = 0.5) -> bool:
    return travelled(joints)[0] < -metres


def walks_sideways(joints: np.ndarray, side: str, metres: float = 0.5) -> bool:
    """So far to that side while facing the same way."""
    left = travelled(joints)[1]
    return (left if side == "left" else -left) > metres and abs(turned(joints)) < 45


def turns(joints: np.ndarray, side: str, least: float = 45) -> bool:
    return (turned(joints) if side == "left" else -turned(joints)) >= least


def turns_around(joints: np.ndarray) -> bool:
    """At some time faces the other way."""
    return abs(heading(joints)).max() > 130


def spins(joints: np.ndarray) -> bool:
    """Turns by most of a circle without going round one."""
    return np.ptp(heading(joints)) > 270 and spread(joints).max() < 1


def circles(joints: np.ndarray, side: str | None = None) -> bool:
    """Walks and turns by most of a circle, to that side if one is given, along a path that is wide both ways."""
    left = heading(joints)[-1]
    around = {"left": left, "right": -left, None: abs(left)}[side]
    return around > 270 and path_length(joints) > 2 and spread(joints).min() > 0.5


def spirals(joints: np.ndarray) -> bool:
    """Circles, and the radius of one end's third is over a quarter more than of the other's."""
    angles, steps = np.radians(heading(joints)), step_lengths(joints)
    third = max(len(steps) // 3, 1)
    first, last = (steps[part].sum() / max(np.ptp(angles[part]), 0.1) for part in (slice(third), slice(-third, None)))
    return circles(joints) and max(first, last) > 1.25 * min(first, last)


def wanders(joints: np.ndarray) -> bool:
    """Walks over a metre and a half and, on the way, changes the direction by 90 degrees or more."""
    return path_length(joints) > 1.5 and np.ptp(heading(joints)) > 90


def returns(joints: np.ndarray) -> bool:
    """Gets a metre away, or further, and comes at least halfway back."""
    far = distances(joints)
    return far.max() > 1 and far[-1] < 0.5 * far.max()


def curves(joints: np.ndarray, side: str) -> bool:
    """Walks over a metre and turns to that side on the way, by 20 to 270 degrees."""
    left = turned(joints)
    return path_length(joints) > 1 and 20 < (left if side == "left" else -left) < 270


def goes_diagonally(joints: np.ndarray, side: str) -> bool:
    """Ends over half a metre away, 20 to 70 degrees to that side of where the body faced first."""
    way, forward = (joint(joints, "pelvis")[-1:] - joint(joints, "pelvis")[0]), facing(joints)[:1]
    ahead, left = along(way, forward)[0], along(way, to_the_left(forward))[0]
    return np.hypot(ahead, left) > 0.5 and 20 < np.degrees(np.arctan2(left if side == "left" else -left, ahead)) < 70


def goes_straight(joints: np.ndarray) -> bool:
    """Walks a metre or more ahead, hardly to a side and hardly any way around, and faces at the end as before."""
    ahead, left = travelled(joints)
    return (ahead > 1 and abs(left) < 0.35 * ahead and distances(joints)[-1] > 0.95 * path_length(joints)
            and abs(turned(joints)) < 30)


def stands_still(joints: np.ndarray) -> bool:
    """Stands on two feet with slow hands below the shoulders, and gets no further than shifting the weight; no turn."""
    places = joints - joints[:1]
    far = dict(pelvis=0.25, left_ankle=0.15, right_ankle=0.15, left_wrist=0.6, right_wrist=0.6, head=0.3)
    return (standing(joints).all() and abs(between(joints, "ankle")[:, 1]).max() < 0.1
            and abs(heading(joints)).max() < 35 and stays_down(joints, "left") and stays_down(joints, "right")
            and hand_speed(joints) < 0.9
            and all(np.linalg.norm(joint(places, name), axis=-1).max() < most for name, most in far.items()))


def speeds_up(joints: np.ndarray) -> bool:
    """The last third is faster than the first by over 0.45 m/s, and more than a start: from a walk or to a run."""
    first, last = thirds(joints)
    return last - first > 0.45 and (first > 0.3 or last > 1.6)


def slows_down(joints: np.ndarray) -> bool:
    """The last third is slower than the first by over 0.45 m/s."""
    first, last = thirds(joints)
    return first - last > 0.45


def stops(joints: np.ndarray) -> bool:
    """Goes at over 0.6 m/s and, in the last third of a second, hardly at all."""
    steady = steady_speeds(joints)
    return steady.max() > 0.6 and steady[-10:].mean() < 0.25


def thirds(joints: np.ndarray) -> tuple[float, float]:
    """The root's usual speed in the first and in the last third of the motion, metres per second."""
    steady = steady_speeds(joints)
    third = max(len(steady) // 3, 1)
    return np.median(steady[:third]), np.median(steady[-third:])


def steady_speeds(joints: np.ndarray) -> np.ndarray:
    """The root's speed over the floor, metres per second, each a mean of half a second."""
    steps = step_lengths(joints)
    window = min(FPS // 2, len(steps))
    return np.convolve(steps, np.ones(window) / window, "valid") * FPS


def step_lengths(joints: np.ndarray) -> np.ndarray:
    """Metres (T - 1,) that the root moves over the floor from frame to frame."""
    return np.linalg.norm(np.diff(joint(joints, "pelvis")[:, [0, 2]], axis=0), axis=-1)


def path_length(joints: np.ndarray) -> float:
    return step_lengths(joints).sum()


def distances(joints: np.ndarray) -> np.ndarray:
    """Metres (T,) over the floor from where the root was first."""
    return np.linalg.norm((joint(joints, "pelvis") - joint(joints, "pelvis")[0])[:, [0, 2]], axis=-1)


def spread(joints: np.ndarray) -> np.ndarray:
    """How wide the root's path is along its longest direction and across it, metres (2,)."""
    path = joint(joints, "pelvis")[:, [0, 2]]
    axes = np.linalg.svd(path - path.mean(axis=0), full_matrices=False)[2]
    return np.ptp(path @ axes.T, axis=0)
