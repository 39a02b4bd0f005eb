"""A test for each kind of motion: does a body do it, by plain geometry.

Letters as in `motion.measures`: joints (T, 22, 3) in metres, 30 frames per second, y up; angles in degrees, turns
positive to the left. `benchmarks/sentences.json` names these functions. The thresholds were set on real clips:
`python -m benchmarks.says_does --calibrate` shows how these pass.
"""

import numpy as np

from motion.measures import (
    OTHER, above, along, facing, joint, leaning, longest, lowest, on_the_spot, speed, stays_down, swings, to_the_left,
    travelled, turned
)
from motion.representation_272 import FPS


# How somebody moves: what geometry sees of a style.

def slower(joints: np.ndarray, than: float) -> bool:
    return speed(joints) < than


def bent(joints: np.ndarray, degrees: float) -> bool:
    """The trunk leans forward that much or more, half of the time."""
    return np.median(leaning(joints)) >= degrees


def upright(joints: np.ndarray, degrees: float) -> bool:
    """The trunk leans forward less, half of the time."""
    return np.median(leaning(joints)) < degrees


def hands_faster(joints: np.ndarray, than: float) -> bool:
    return _hand_speed(joints) > than


def hands_slower(joints: np.ndarray, than: float) -> bool:
    return _hand_speed(joints) < than


def _hand_speed(joints: np.ndarray) -> float:
    """Metres per second of the faster wrist against the pelvis, reached in a tenth of the frames."""
    return max(np.quantile(_speeds(joint(joints, f"{side}_wrist") - joint(joints, "pelvis")), 0.9) for side in OTHER)


def _speeds(points: np.ndarray) -> np.ndarray:
    """points (T, 3) -> metres per second (T - 1,)."""
    return np.linalg.norm(np.diff(points, axis=0), axis=-1) * FPS


# Where somebody goes.

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
    return (abs(_headings(joints)) > 130).any()


def spins(joints: np.ndarray) -> bool:
    """Turns by most of a circle without going round one."""
    return np.ptp(_headings(joints)) > 270 and _spread(joints).max() < 1


def circles(joints: np.ndarray, side: str | None = None) -> bool:
    """Walks and turns by most of a circle to one side, along a path that is wide in both directions."""
    round_ = _headings(joints)[-1] * (-1 if side == "right" else 1)
    round_ = abs(round_) if side is None else round_
    return round_ > 270 and _length(joints) > 2 and _spread(joints).min() > 0.5


def spirals(joints: np.ndarray) -> bool:
    """Circles, and the radius at one end is over a quarter more than at the other."""
    if not circles(joints):
        return False
    heading, steps = np.radians(_headings(joints)), _steps(joints)
    third = len(steps) // 3
    radii = [part.sum() / max(abs(turn[-1] - turn[0]), 0.1)
             for part, turn in ((steps[:third], heading[:third]), (steps[-third:], heading[-third:]))]
    return max(radii) > 1.25 * min(radii)


def wanders(joints: np.ndarray) -> bool:
    """Walks over two metres and changes the direction by 90 degrees or more on the way."""
    return _length(joints) > 2 and np.ptp(_headings(joints)) > 90


def returns(joints: np.ndarray) -> bool:
    """Gets a metre away, or further, and comes at least halfway back."""
    away = _away(joints)
    return away.max() > 1 and away[-1] < 0.5 * away.max()


def curves(joints: np.ndarray, side: str) -> bool:
    """Walks and turns to that side on the way, by 20 to 270 degrees: a quarter of it in each half of the path."""
    heading = _headings(joints) * (1 if side == "left" else -1)
    return _length(joints) > 1 and 20 < heading[-1] < 270


def goes_diagonally(joints: np.ndarray, side: str) -> bool:
    """Ends over half a metre away, 20 to 70 degrees to that side of where the body faced first."""
    x, z = (joint(joints, "pelvis")[-1] - joint(joints, "pelvis")[0])[[0, 2]]
    forward = facing(joints)[0]
    ahead, left = x * forward[0] + z * forward[1], x * forward[1] - z * forward[0]
    return np.hypot(ahead, left) > 0.5 and 20 < np.degrees(np.arctan2(left if side == "left" else -left, ahead)) < 70


def goes_straight(joints: np.ndarray) -> bool:
    """Walks a metre or more ahead, hardly any way around, and ends as it faced."""
    return travelled(joints)[0] > 1 and _away(joints)[-1] > 0.95 * _length(joints) and abs(turned(joints)) < 30


def stands_still(joints: np.ndarray) -> bool:
    """Neither the root nor a foot nor a hand gets far from where it was, and the body stands."""
    places = joints - joints[:1]
    return bool(_standing(joints).all()) and all(
        np.linalg.norm(joint(places, name), axis=-1).max() < far
        for name, far in (("pelvis", 0.2), ("left_ankle", 0.2), ("right_ankle", 0.2),
                          ("left_wrist", 0.35), ("right_wrist", 0.35)))


def speeds_up(joints: np.ndarray) -> bool:
    return _gains(joints) > 0.6


def slows_down(joints: np.ndarray) -> bool:
    return _gains(joints[::-1]) > 0.6


def stops(joints: np.ndarray) -> bool:
    """Goes at over 0.6 m/s and then, in the last third of a second, hardly at all."""
    speeds = _smooth_speeds(joints)
    return speeds.max() > 0.6 and speeds[-10:].mean() < 0.25


def _gains(joints: np.ndarray) -> float:
    """By how much the last third's speed is above the first third's, metres per second."""
    speeds = _smooth_speeds(joints)
    third = max(len(speeds) // 3, 1)
    return np.median(speeds[-third:]) - np.median(speeds[:third])


def _smooth_speeds(joints: np.ndarray) -> np.ndarray:
    """The root's speed over the floor, metres per second, mean of half a second each."""
    steps = _steps(joints)
    window = min(15, len(steps))
    return np.convolve(steps, np.ones(window) / window, "valid") * FPS


def _steps(joints: np.ndarray) -> np.ndarray:
    """Metres (T - 1,) that the root moves over the floor from frame to frame."""
    return np.linalg.norm(np.diff(joint(joints, "pelvis")[:, [0, 2]], axis=0), axis=-1)


def _length(joints: np.ndarray) -> float:
    return _steps(joints).sum()


def _away(joints: np.ndarray) -> np.ndarray:
    """Metres (T,) over the floor from where the root was first."""
    return np.linalg.norm((joint(joints, "pelvis") - joint(joints, "pelvis")[0])[:, [0, 2]], axis=-1)


def _spread(joints: np.ndarray) -> np.ndarray:
    """How wide the root's path is along its longest direction and across it, metres (2,)."""
    path = joint(joints, "pelvis")[:, [0, 2]]
    axes = np.linalg.svd(path - path.mean(axis=0), full_matrices=False)[2]
    return np.ptp(path @ axes.T, axis=0)


def _headings(joints: np.ndarray) -> np.ndarray:
    """Degrees (T,) to the left of where the body faces first."""
    x, z = facing(joints).T
    heading = np.degrees(np.unwrap(np.arctan2(x, z)))
    return heading - heading[0]


# What arms do.

def raises(joints: np.ndarray, side: str, over: float = 0) -> bool:
    """That wrist is higher than the head, by so many metres, and the other one stays below its shoulder."""
    return (_over_head(joints, side) > over).any() and stays_down(joints, OTHER[side])


def raises_both(joints: np.ndarray, over: float = 0) -> bool:
    return ((_over_head(joints, "left") > over) & (_over_head(joints, "right") > over)).any()


def waves(joints: np.ndarray, side: str) -> bool:
    return swings(joints, side) >= 3 and stays_down(joints, OTHER[side]) and on_the_spot(joints)


def waves_both(joints: np.ndarray) -> bool:
    return min(swings(joints, "left"), swings(joints, "right")) >= 3 and on_the_spot(joints)


def waves_goodbye(joints: np.ndarray) -> bool:
    """Either hand or both, also with small movements."""
    return any(swings(joints, side, wide=0.02) >= 2 for side in OTHER) and on_the_spot(joints)


def swings_hand(joints: np.ndarray, side: str) -> bool:
    """Waves that hand, wherever the body goes."""
    return swings(joints, side) >= 2 and above(joints, f"{side}_wrist", f"{side}_elbow").mean() > 0.7


def holds_up(joints: np.ndarray, side: str) -> bool:
    """That wrist is higher than its shoulder by 10 cm, four fifths of the time."""
    height = joint(joints, f"{side}_wrist") - joint(joints, f"{side}_shoulder")
    return (height[:, 1] > 0.1).mean() > 0.8


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


def throws(joints: np.ndarray, side: str | None = None) -> bool:
    """A wrist is swung ahead at over 3 m/s against the body, from beside or behind it, faster than the other."""
    sides = (side,) if side else tuple(OTHER)
    return any(_swing_ahead(joints, one) > max(3, _swing_ahead(joints, OTHER[one])) for one in sides)


def _swing_ahead(joints: np.ndarray, side: str) -> float:
    """The most metres per second by which a wrist goes ahead of the pelvis."""
    ahead = along(joint(joints, f"{side}_wrist") - joint(joints, "pelvis"), facing(joints))
    return np.diff(ahead).max() * FPS


def claps(joints: np.ndarray) -> bool:
    """The wrists come within 25 cm at least twice, having been 8 cm further apart in between, not below the pelvis."""
    apart = np.linalg.norm(joint(joints, "left_wrist") - joint(joints, "right_wrist"), axis=-1)
    high = above(joints, "left_wrist", "pelvis") & above(joints, "right_wrist", "pelvis")
    return _dips(apart[high], below=0.25, by=0.08) >= 2


def _dips(values: np.ndarray, below: float, by: float) -> int:
    """How often values (T,) fall below a limit, having risen by so much since they were lowest."""
    count, least, ready = 0, np.inf, True
    for value in values:
        least = min(least, value)
        if ready and value < below:
            count, ready, least = count + 1, False, value
        elif not ready and value > least + by:
            ready, least = True, np.inf
    return count


def drinks(joints: np.ndarray) -> bool:
    """A wrist is within 25 cm of the head for half a second."""
    return max(longest(np.linalg.norm(joint(joints, f"{side}_wrist") - joint(joints, "head"), axis=-1) < 0.25)
               for side in OTHER) > 0.5


def stretches(joints: np.ndarray) -> bool:
    """Both arms are nearly straight, and raised above the shoulders, for a third of a second."""
    return longest(np.all([_straight(joints, side) & above(joints, f"{side}_wrist", f"{side}_shoulder")
                           for side in OTHER], axis=0)) > 0.3


def spreads_arms(joints: np.ndarray) -> bool:
    """The wrists are over 1.1 m apart for half a second."""
    return longest(np.linalg.norm(joint(joints, "left_wrist") - joint(joints, "right_wrist"), axis=-1) > 1.1) > 0.5


def reaches_forward(joints: np.ndarray) -> bool:
    """Both wrists are 30 cm or more ahead of their shoulders, for half a second."""
    forward = facing(joints)
    return longest(np.all([along(joint(joints, f"{side}_wrist") - joint(joints, f"{side}_shoulder"), forward) > 0.3
                           for side in OTHER], axis=0)) > 0.5


def _straight(joints: np.ndarray, side: str) -> np.ndarray:
    return np.linalg.norm(joint(joints, f"{side}_wrist") - joint(joints, f"{side}_shoulder"), axis=-1) > 0.42


def _over_head(joints: np.ndarray, side: str) -> np.ndarray:
    """Metres (T,) by which a wrist is higher than the head."""
    return joint(joints, f"{side}_wrist")[:, 1] - joint(joints, "head")[:, 1]


# What the trunk and the legs do.

def bows(joints: np.ndarray) -> bool:
    """Leans forward by over 20 degrees and straightens as much, on the spot and without crouching."""
    lean = leaning(joints)
    deepest = lean.argmax()
    deep = lean[deepest] - max(lean[:deepest + 1].min(), lean[deepest:].min()) > 20
    return deep and on_the_spot(joints) and np.ptp(_height(joints)) < 0.2


def leans(joints: np.ndarray) -> bool:
    """Leans forward by over 20 degrees more than at another time."""
    return np.ptp(leaning(joints)) > 20


def jumps(joints: np.ndarray) -> bool:
    """The whole body leaves the floor by 10 cm for less than a second; the root's height varies by 25 cm."""
    return 0 < longest(lowest(joints) > 0.1) < 1 and np.ptp(_height(joints)) > 0.25


def jumps_forward(joints: np.ndarray, metres: float = 0.4) -> bool:
    """Leaves the floor with both feet, by 5 cm, and goes ahead meanwhile."""
    return 0 < longest(lowest(joints) > 0.05) < 1 and np.ptp(_height(joints)) > 0.2 and travelled(joints)[0] > metres


def hops(joints: np.ndarray) -> bool:
    """One foot stays 10 cm up for over a second, while the other leaves the floor twice."""
    for side in OTHER:
        up, other = joint(joints, f"{side}_ankle")[:, 1], joint(joints, f"{OTHER[side]}_foot")[:, 1]
        held = up - joint(joints, f"{OTHER[side]}_ankle")[:, 1] > 0.1
        if longest(held) > 1 and _dips(-other[held], below=-0.05, by=0.04) >= 2:
            return True
    return False


def balances(joints: np.ndarray) -> bool:
    """One ankle is over 15 cm higher than the other for more than a second, and the root stays where it is."""
    height = joint(joints, "left_ankle")[:, 1] - joint(joints, "right_ankle")[:, 1]
    return max(longest(height > 0.15), longest(height < -0.15)) > 1 and on_the_spot(joints)


def kicks(joints: np.ndarray, side: str | None = None) -> bool:
    """A foot, not behind the body, is higher than 60 cm while the other one stands."""
    for foot_side in (side,) if side else tuple(OTHER):
        foot = joint(joints, f"{foot_side}_foot")
        in_front = along(foot - joint(joints, "pelvis"), facing(joints)) > -0.1
        stands = joint(joints, f"{OTHER[foot_side]}_foot")[:, 1] < 0.15
        if ((foot[:, 1] > 0.6) & in_front & stands).any():
            return True
    return False


def marches(joints: np.ndarray) -> bool:
    """Each knee comes up to 25 cm below its hip, or higher, twice; the trunk stays up."""
    lifts = [_dips(joint(joints, f"{side}_hip")[:, 1] - joint(joints, f"{side}_knee")[:, 1], below=0.25, by=0.1)
             for side in OTHER]
    return min(lifts) >= 2 and bool(_standing(joints).all())


def does_jumping_jacks(joints: np.ndarray) -> bool:
    """Both wrists go over the head twice, and the feet apart by over half a metre."""
    up = np.minimum(_over_head(joints, "left"), _over_head(joints, "right"))
    apart = np.linalg.norm(joint(joints, "left_ankle") - joint(joints, "right_ankle"), axis=-1)
    return _dips(-up, below=0, by=0.3) >= 2 and apart.max() > 0.5


def sits(joints: np.ndarray) -> bool:
    """The pelvis is low for half a second, and behind the feet or on the floor."""
    back = -along(joint(joints, "pelvis") - (joint(joints, "left_ankle") + joint(joints, "right_ankle")) / 2,
                  facing(joints))
    height = _height(joints)
    return longest((height < 0.75) & (back > 0.25) & (leaning(joints) < 60) | (height < 0.35)) > 0.5


def stands_up(joints: np.ndarray, already: bool = False) -> bool:
    """The pelvis comes up by 20 cm or more, to a standing height, where it is at the end."""
    height = _height(joints)
    return height[-1] - height.min() > 0.2 and bool(_standing(joints)[-5:].all())


def squats(joints: np.ndarray) -> bool:
    """The pelvis goes down by 25 cm or more over feet that stay on the floor."""
    height = _height(joints)
    return np.ptp(height) > 0.25 and height.min() < 0.65 and lowest(joints).max() < 0.1


def picks_up(joints: np.ndarray) -> bool:
    """A wrist goes down below half a metre and comes up again by 30 cm, on feet."""
    for side in OTHER:
        height = joint(joints, f"{side}_wrist")[:, 1] - joints[..., 1].min()
        down = height.argmin()
        if height[down] < 0.5 and height[down:].max() - height[down] > 0.3:
            return bool(_height(joints).max() > 0.7)
    return False


def lies_down(joints: np.ndarray) -> bool:
    """Pelvis and head are both lower than 45 cm at some time."""
    return ((_height(joints) < 0.45) & (joint(joints, "head")[:, 1] < 0.45)).any()


def crawls(joints: np.ndarray) -> bool:
    """The trunk is level, a hand and a knee near the floor, for a second; the body moves."""
    level = joint(joints, "neck")[:, 1] - joint(joints, "pelvis")[:, 1] < 0.35
    low = np.minimum(joint(joints, "left_wrist")[:, 1], joint(joints, "right_wrist")[:, 1]) < 0.25
    return longest(level & low & (_height(joints) < 0.75)) > 1 and _length(joints) > 0.3


def kneels(joints: np.ndarray) -> bool:
    """A knee is on the floor for a third of a second while the trunk is up."""
    knee = np.minimum(joint(joints, "left_knee")[:, 1], joint(joints, "right_knee")[:, 1]) - joints[..., 1].min()
    return longest((knee < 0.15) & (abs(leaning(joints)) < 60)) > 0.3


def dances(joints: np.ndarray) -> bool:
    """Hands and feet keep moving, and the body does not go far."""
    pelvis = joint(joints, "pelvis")
    hands = np.mean([_speeds(joint(joints, f"{side}_wrist") - pelvis) for side in OTHER], axis=0)
    feet = np.mean([_speeds(joint(joints, f"{side}_ankle") - pelvis) for side in OTHER], axis=0)
    return np.median(hands) > 0.5 and np.median(feet) > 0.2 and _spread(joints).max() < 3


def climbs(joints: np.ndarray) -> bool:
    """The whole body leaves the floor by 20 cm for over half a second; the root's height varies by 20 cm."""
    return longest(lowest(joints) > 0.2) > 0.5 and np.ptp(_height(joints)) > 0.2


def turns_over(joints: np.ndarray) -> bool:
    """At some time the head is lower than the pelvis and both feet are higher."""
    upside_down = above(joints, "pelvis", "head")
    return (upside_down & above(joints, "left_foot", "pelvis") & above(joints, "right_foot", "pelvis")).any()


def _height(joints: np.ndarray) -> np.ndarray:
    """The pelvis' height (T,) over the clip's floor."""
    return joint(joints, "pelvis")[:, 1] - joints[..., 1].min()


def _standing(joints: np.ndarray) -> np.ndarray:
    """Whether (T,) the pelvis is as high as on two straight or slightly bent legs."""
    return _height(joints) > 0.75
