"""Tests of what arms, trunk and legs do, by plain geometry: a test for each kind of action.

Letters as in `motion.measures`: joints (T, 22, 3) in metres, 30 frames per second, y up; angles in degrees, turns
positive to the left. `benchmarks/sentences.json` names these functions and those of `benchmarks.travel`. The thresholds
were set on real clips: `python -m benchmarks.says_does --calibrate` shows how these pass.
"""

import numpy as np

from motion.measures import (
    OTHER, above, along, facing, joint, leaning, longest, lowest, on_the_spot, stays_down, swings, to_the_left,
    travelled
)
from motion.representation_272 import FPS


SWING = 4       # frames over which the speed of an arm is measured


# Measures that only the judge needs.

def between(joints: np.ndarray, name: str) -> np.ndarray:
    """From the right to the left one of two joints (T, 3)."""
    return joint(joints, f"left_{name}") - joint(joints, f"right_{name}")


def hand(joints: np.ndarray, side: str, origin: str = "pelvis") -> np.ndarray:
    """A wrist against another joint (T, 3)."""
    return joint(joints, f"{side}_wrist") - joint(joints, origin)


def over_head(joints: np.ndarray, side: str) -> np.ndarray:
    """Metres (T,) by which a wrist is higher than the head."""
    return hand(joints, side, "head")[:, 1]


def root_height(joints: np.ndarray) -> np.ndarray:
    """The pelvis' height (T,) over the clip's floor."""
    return joint(joints, "pelvis")[:, 1] - joints[..., 1].min()


def standing(joints: np.ndarray) -> np.ndarray:
    """Whether (T,) the pelvis is as high as on two legs, straight or slightly bent."""
    return root_height(joints) > 0.75


def speeds(points: np.ndarray) -> np.ndarray:
    """points (T, 3) -> metres per second (T - 1,)."""
    return np.linalg.norm(np.diff(points, axis=0), axis=-1) * FPS


def dips(values: np.ndarray, below: float, by: float) -> int:
    """How often values (T,) fall below a limit, each time after they rose by so much above where they were lowest."""
    count, lowest_yet, ready = 0, np.inf, True
    for value in values:
        lowest_yet = min(lowest_yet, value)
        if ready and value < below:
            count, ready, lowest_yet = count + 1, False, value
        elif not ready and value > lowest_yet + by:
            ready = True
    return count


def off_the_floor(joints: np.ndarray, metres: float) -> float:
    """Seconds of the longest time that both feet are that much higher than the lower one is at its lowest."""
    feet = np.minimum(joint(joints, "left_foot"), joint(joints, "right_foot"))[:, 1]
    return longest(feet - feet.min() > metres)


def throwing_speed(joints: np.ndarray, side: str) -> float:
    """The most metres per second by which a wrist is swung ahead of its shoulder, over it or from far behind."""
    arm = hand(joints, side, f"{side}_shoulder")
    ahead = along(arm, facing(joints))
    found = 0.0
    for frame in range(len(joints) - SWING):
        after = slice(frame, frame + 3 * SWING)
        over, behind = arm[after, 1].max() > 0.05, ahead[max(frame - 2 * SWING, 0):frame + 1].min() < -0.37
        if (over or behind) and ahead[after].max() > 0.25:
            found = max(found, (ahead[frame + SWING] - ahead[frame]) * FPS / SWING)
    return found


# Arms.

def raises(joints: np.ndarray, side: str, over: float = 0) -> bool:
    """That wrist is higher than the head, by so many metres, and the other one stays below its shoulder."""
    return (over_head(joints, side) > over).any() and stays_down(joints, OTHER[side])


def raises_both(joints: np.ndarray, over: float = 0) -> bool:
    return ((over_head(joints, "left") > over) & (over_head(joints, "right") > over)).any()


def waves(joints: np.ndarray, side: str, wide: float = 0.04) -> bool:
    return swings(joints, side, wide) >= 3 and stays_down(joints, OTHER[side]) and on_the_spot(joints)


def waves_both(joints: np.ndarray) -> bool:
    return min(swings(joints, "left"), swings(joints, "right")) >= 3 and on_the_spot(joints)


def waves_goodbye(joints: np.ndarray) -> bool:
    """Either hand or both, also with small movements."""
    return any(swings(joints, side, wide=0.02) >= 2 for side in OTHER) and on_the_spot(joints)


def swings_hand(joints: np.ndarray, side: str, times: int = 2, up: float = 0.7) -> bool:
    """Waves that hand so often, held above its elbow for such a share of the time or more, wherever the body goes."""
    return swings(joints, side) >= times and above(joints, f"{side}_wrist", f"{side}_elbow").mean() > up


def holds_up(joints: np.ndarray, side: str) -> bool:
    """That wrist is higher than its shoulder by 10 cm, four fifths of the time."""
    return (hand(joints, side, f"{side}_shoulder")[:, 1] > 0.1).mean() > 0.8


def punches(joints: np.ndarray) -> bool:
    """An arm stretches at over 0.8 m/s and is straight and level within a sixth of a second."""
    for side in OTHER:
        arm = hand(joints, side, f"{side}_shoulder")
        length = np.linalg.norm(arm, axis=-1)
        straight_and_level = (length > 0.45) & (abs(arm[:, 1]) < 0.2)
        for frame in np.flatnonzero(np.diff(length) * FPS > 0.8):
            if straight_and_level[frame + 1:frame + 6].any():
                return True
    return False


def throws(joints: np.ndarray, side: str | None = None) -> bool:
    """An arm is swung ahead at over 2 m/s, faster than the other one where a side is asked for."""
    if side is None:
        return max(throwing_speed(joints, one) for one in OTHER) > 2
    return throwing_speed(joints, side) > max(2, throwing_speed(joints, OTHER[side]))


def claps(joints: np.ndarray) -> bool:
    """The wrists meet within 15 cm three times, 6 cm further apart in between, not below the pelvis."""
    high = above(joints, "left_wrist", "pelvis") & above(joints, "right_wrist", "pelvis")
    return dips(np.linalg.norm(between(joints, "wrist"), axis=-1)[high], below=0.15, by=0.06) >= 3


def drinks(joints: np.ndarray) -> bool:
    """One wrist is within 32 cm of the head for half a second, at the mouth's height, the other one is not."""
    near = {side: np.linalg.norm(hand(joints, side, "head"), axis=-1) < 0.32 for side in OTHER}
    return max(longest(near[side] & ~near[OTHER[side]] & (over_head(joints, side) > -0.25)) for side in OTHER) > 0.5


def stretches(joints: np.ndarray) -> bool:
    """For a third of a second both arms are nearly straight above the shoulders, or one hand is over the head and the
    trunk bends sideways by over 15 degrees."""
    arms = [hand(joints, side, f"{side}_shoulder") for side in OTHER]
    both = np.all([(np.linalg.norm(arm, axis=-1) > 0.42) & (arm[:, 1] > 0) for arm in arms], axis=0)
    trunk = joint(joints, "neck") - joint(joints, "pelvis")
    sideways = np.degrees(np.arctan2(abs(along(trunk, to_the_left(facing(joints)))), trunk[:, 1]))
    one = np.maximum(over_head(joints, "left"), over_head(joints, "right")) > 0
    return max(longest(both), longest(one & (sideways > 15))) > 0.3


def spreads_arms(joints: np.ndarray) -> bool:
    """The wrists are over 1.1 m apart for half a second."""
    return longest(np.linalg.norm(between(joints, "wrist"), axis=-1) > 1.1) > 0.5


def reaches_forward(joints: np.ndarray) -> bool:
    """Both wrists are 30 cm or more ahead of their shoulders for half a second."""
    forward = facing(joints)
    return longest(np.all([along(hand(joints, side, f"{side}_shoulder"), forward) > 0.3 for side in OTHER],
                          axis=0)) > 0.5


# Trunk and legs.

def bows(joints: np.ndarray) -> bool:
    """Leans forward by over 20 degrees and straightens as much, on the spot and without crouching."""
    lean = leaning(joints)
    deepest = lean.argmax()
    deep = lean[deepest] - max(lean[:deepest + 1].min(), lean[deepest:].min()) > 20
    return deep and on_the_spot(joints) and np.ptp(joint(joints, "pelvis")[:, 1]) < 0.2


def leans(joints: np.ndarray, degrees: float = 20) -> bool:
    """The trunk is that much further forward than at another time."""
    return np.ptp(leaning(joints)) > degrees


def jumps(joints: np.ndarray) -> bool:
    """The whole body leaves the floor by 10 cm for less than a second; the root's height varies by 25 cm."""
    return 0 < longest(lowest(joints) > 0.1) < 1 and np.ptp(joint(joints, "pelvis")[:, 1]) > 0.25


def jumps_forward(joints: np.ndarray, metres: float = 0.4) -> bool:
    """Both feet leave the floor by 8 cm for less than a second; the body stands and goes ahead."""
    return 0 < off_the_floor(joints, 0.08) < 1 and standing(joints).mean() > 0.5 and travelled(joints)[0] > metres


def hops(joints: np.ndarray) -> bool:
    """One foot stays 10 cm above the other for most of a second, while that one leaves the floor by 5 cm twice."""
    for side in OTHER:
        other = joint(joints, f"{OTHER[side]}_foot")[:, 1] - joints[..., 1].min()
        up = joint(joints, f"{side}_ankle")[:, 1] - joint(joints, f"{OTHER[side]}_ankle")[:, 1] > 0.1
        if longest(up) > 0.8 and dips(-other[up], below=-0.05, by=0.04) >= 2:
            return True
    return False


def balances(joints: np.ndarray) -> bool:
    """One ankle is over 15 cm higher than the other for more than a second; the body stands and stays where it is."""
    apart = between(joints, "ankle")[:, 1]
    return (max(longest(apart > 0.15), longest(apart < -0.15)) > 1 and on_the_spot(joints)
            and lowest(joints).max() < 0.1 and standing(joints).mean() > 0.8)


def kicks(joints: np.ndarray, side: str | None = None) -> bool:
    """A foot, not behind the body, is higher than 60 cm while the other one stands."""
    for one in ((side,) if side else OTHER):
        foot = joint(joints, f"{one}_foot")
        in_front = along(foot - joint(joints, "pelvis"), facing(joints)) > -0.1
        stands = joint(joints, f"{OTHER[one]}_foot")[:, 1] < 0.15
        if ((foot[:, 1] > 0.6) & in_front & stands).any():
            return True
    return False


def kicks_out(joints: np.ndarray, side: str | None = None) -> bool:
    """A foot is swung ahead at over 6 m/s; or it is 40 cm high on a nearly straight leg, not behind the body, while the
    other one stands."""
    floor = joints[..., 1].min()
    for one in ((side,) if side else OTHER):
        foot, forward = joint(joints, f"{one}_foot"), facing(joints)
        leg = joint(joints, f"{one}_ankle") - joint(joints, f"{one}_hip")
        out = (along(leg, forward) > -0.1) & (np.linalg.norm(leg[:, [0, 2]], axis=-1) > 0.35)
        straight = np.linalg.norm(leg, axis=-1) > 0.65
        stands = joint(joints, f"{OTHER[one]}_foot")[:, 1] - floor < 0.2
        fast = np.diff(along(foot - joint(joints, "pelvis"), forward)).max() * FPS > 6
        if fast or (out & straight & stands & (foot[:, 1] - floor > 0.4)).any():
            return True
    return False


def marches(joints: np.ndarray) -> bool:
    """Each knee comes up to 25 cm below its hip, or higher, twice; the body stands."""
    lifts = [dips((joint(joints, f"{side}_hip") - joint(joints, f"{side}_knee"))[:, 1], below=0.25, by=0.1)
             for side in OTHER]
    return min(lifts) >= 2 and standing(joints).all()


def does_jumping_jacks(joints: np.ndarray) -> bool:
    """Both wrists go over the head twice, and the feet apart by over half a metre."""
    up = np.minimum(over_head(joints, "left"), over_head(joints, "right"))
    return dips(-up, below=0, by=0.3) >= 2 and np.linalg.norm(between(joints, "ankle"), axis=-1).max() > 0.5


def sits(joints: np.ndarray) -> bool:
    """The pelvis is low and behind the feet, or on the floor, for half a second; the trunk is up."""
    feet = (joint(joints, "left_ankle") + joint(joints, "right_ankle")) / 2
    behind = along(feet - joint(joints, "pelvis"), facing(joints)) > 0.2
    low = root_height(joints)
    return longest(((low < 0.78) & behind | (low < 0.35)) & (abs(leaning(joints)) < 60)) > 0.5


def stands_up(joints: np.ndarray) -> bool:
    """The pelvis was low for half a second, comes up by 20 cm or more and stands at the end; no jump."""
    low, stands = root_height(joints), standing(joints)
    return low[-1] - low.min() > 0.2 and longest(~stands) > 0.5 and stands[-5:].all() and not off_the_floor(joints, 0.1)


def squats(joints: np.ndarray) -> bool:
    """The pelvis goes down by 25 cm or more, at its lowest above the feet, which stay on the floor; the trunk is up."""
    low = root_height(joints)
    feet = (joint(joints, "left_ankle") + joint(joints, "right_ankle")) / 2
    behind, deepest = along(feet - joint(joints, "pelvis"), facing(joints)), low < low.min() + 0.03
    return (low.min() < min(low.max() - 0.25, 0.65) and behind[deepest].mean() < 0.25
            and leaning(joints)[deepest].mean() < 70 and lowest(joints).max() < 0.1)


def picks_up(joints: np.ndarray) -> bool:
    """A wrist goes down to below 40 cm, having been 30 cm higher, and comes up again; the feet stay down."""
    for side in OTHER:
        low = joint(joints, f"{side}_wrist")[:, 1] - joints[..., 1].min()
        down = low.argmin()
        if low[down] < min(0.4, low[:down + 1].max() - 0.3, low[down:].max() - 0.3):
            return standing(joints).any() and off_the_floor(joints, 0.1) == 0
    return False


def lies_down(joints: np.ndarray) -> bool:
    """Pelvis and head are both lower than 45 cm for a third of a second."""
    return longest((root_height(joints) < 0.45) & (joint(joints, "head")[:, 1] < 0.45)) > 0.3


def crawls(joints: np.ndarray) -> bool:
    """For a second the trunk is level and low with a hand near the floor; the body gets 30 cm away."""
    level = (joint(joints, "neck") - joint(joints, "pelvis"))[:, 1] < 0.35
    reaches = np.minimum(joint(joints, "left_wrist"), joint(joints, "right_wrist"))[:, 1] < 0.25
    away = np.linalg.norm((joint(joints, "pelvis") - joint(joints, "pelvis")[0])[:, [0, 2]], axis=-1)
    return longest(level & reaches & (root_height(joints) < 0.75)) > 1 and away.max() > 0.3


def kneels(joints: np.ndarray) -> bool:
    """A knee is on the floor for a third of a second, below a trunk that is up."""
    knee = np.minimum(joint(joints, "left_knee"), joint(joints, "right_knee"))[:, 1] - joints[..., 1].min()
    return longest((knee < 0.15) & (abs(leaning(joints)) < 60) & (root_height(joints) > 0.3)) > 0.3


def dances(joints: np.ndarray) -> bool:
    """Feet and hands, of which one is above the pelvis, keep moving; the pelvis is slower than in walking and stays."""
    pelvis, seconds = joint(joints, "pelvis"), len(joints) / FPS
    hands = {side: hand(joints, side) for side in OTHER}
    feet = np.mean([speeds(joint(joints, f"{side}_ankle") - pelvis) for side in OTHER], axis=0)
    moves = np.median(np.mean([speeds(one) for one in hands.values()], axis=0)) > 0.3 and np.median(feet) > 0.2
    held = np.median(np.maximum(hands["left"], hands["right"])[:, 1]) > 0
    stays = np.linalg.norm((pelvis[-1] - pelvis[0])[[0, 2]]) / seconds < 0.45
    return moves and held and stays and speeds(pelvis * [1, 0, 1]).mean() < 0.8


def climbs(joints: np.ndarray) -> bool:
    """The whole body leaves the floor by 20 cm for over half a second; the root's height varies by 20 cm."""
    return longest(lowest(joints) > 0.2) > 0.5 and np.ptp(joint(joints, "pelvis")[:, 1]) > 0.2


def turns_over(joints: np.ndarray) -> bool:
    """At some time the head is lower than the pelvis and both feet are higher."""
    upside_down = above(joints, "pelvis", "head")
    return (upside_down & above(joints, "left_foot", "pelvis") & above(joints, "right_foot", "pelvis")).any()
