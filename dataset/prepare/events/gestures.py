"""What single limbs do: hands that are raised, wave, reach, clap, punch or throw; legs that kick or are lifted.

Letters as in `dataset.prepare.events.travel`. An arm is 0.51 m from shoulder to wrist.
"""

from dataclasses import replace

import numpy as np

from dataset.prepare.events.event import Event, cut_off
from motion.measures import OTHER, along, facing, joint, knee_angle, rate, reversals, smooth, spells, to_the_left
from motion.representation_272 import FPS

SIGN = {"left": 1, "right": -1}


def outward(points: np.ndarray, joints: np.ndarray, side: str) -> np.ndarray:
    """How far points (T, 3) lie to the side of the body that is the limb's: (T,)."""
    return SIGN[side] * along(points, to_the_left(facing(joints)))


def arm(joints: np.ndarray, side: str) -> np.ndarray:
    """(T, 3), from a shoulder to its wrist."""
    return joint(joints, f"{side}_wrist") - joint(joints, f"{side}_shoulder")


def hands(joints: np.ndarray) -> list[Event]:
    """Raised, waving, stretched-out hands; what both do at once is one event of both."""
    left, right = (raises(joints, side) + stretches(joints, side) for side in OTHER)
    both = []
    for event in list(left):
        match = next((other for other in right if min(event.share(other), other.share(event)) > 0.65 and
                      (other.kind, other.way, other.how == "low") == (event.kind, event.way, event.how == "low")), None)
        if match is not None:
            left.remove(event)
            right.remove(match)
            first, end = min(event.first, match.first), max(event.end, match.end)
            both.append(replace(event, side="both", how=event.how if event.how == match.how else "",
                                **cut_off(first, end, len(joints)), first=first, end=end))
    return both + left + right


def raises(joints: np.ndarray, side: str) -> list[Event]:
    """Times in which a hand is above its shoulder, or at least held up before the body ("low")."""
    wrist, up = joint(joints, f"{side}_wrist"), smooth(arm(joints, side)[:, 1], 1)
    over_head = wrist[:, 1] - joint(joints, "head")[:, 1]
    upright = joint(joints, "neck")[:, 1] - joint(joints, "pelvis")[:, 1] > 0.35
    found = []
    for first, end in spells(np.where(upright, up, -1), 0.04, -0.08, 9):
        top = over_head[first:end].max()
        how = "overhead" if top > 0.2 else "head" if -0.02 < top < 0.13 else "shoulder" if top < -0.08 else ""
        swung = swings(joints, side, first, end)
        found.append(Event("wave" if swung >= 3 else "raise", first, end, side, how=how, count=1,
                           **cut_off(first, end, len(joints))))
    half = np.minimum(wrist[:, 1] - joint(joints, f"{side}_elbow")[:, 1], wrist[:, 1] - joint(joints, "spine1")[:, 1])
    for first, end in spells(np.where(upright & (up < 0), half, -1), 0.03, -0.03, 15):
        event = Event("raise", first, end, side, how="low", count=1, **cut_off(first, end, len(joints)))
        if not replace(event, first=first - 12, end=end + 12).during(found, 0):
            still = np.ptp(joint(joints, f"{side}_elbow")[first:end], axis=0).max() < 0.15
            waved = still and swings(joints, side, first, end, 0.04) >= 4
            found.append(replace(event, kind="wave" if waved else "raise"))
    return found


def swings(joints: np.ndarray, side: str, first: int, end: int, wide: float = 0.06) -> int:
    """How often a hand changes its direction sideways after moving over `wide` metres; 0 for what is no waving."""
    hand = joint(joints, f"{side}_wrist") - joint(joints, "spine3")
    place, ahead = outward(hand, joints, side)[first:end], along(hand, facing(joints))[first:end]
    other = joint(joints, f"{side}_wrist") - joint(joints, f"{OTHER[side]}_wrist")
    if place.std() < 1.2 * ahead.std() or np.median(np.linalg.norm(other[first:end], axis=-1)) < 0.42:
        return 0    # a punch goes forward and back, a guard's fists are close together
    if np.median(place) < 0.15:
        return 0
    changes = reversals(place, wide)
    return changes if changes > 0.9 * (end - first) / FPS else 0


def stretches(joints: np.ndarray, side: str) -> list[Event]:
    """Times in which an arm is stretched out level, to the front or the side."""
    reach, found = smooth(arm(joints, side), 1), []
    upright = joint(joints, "neck")[:, 1] - joint(joints, "pelvis")[:, 1] > 0.35
    for way, far in (("forward", along(reach, facing(joints))), ("side", outward(reach, joints, side))):
        for first, end in spells(far * upright, 0.42, 0.36, 12):
            if abs(np.median(reach[first:end, 1])) < 0.2:
                found.append(Event("stretch", first, end, side, way, count=1, **cut_off(first, end, len(joints))))
    return found


def touches(joints: np.ndarray) -> list[Event]:
    """Hands that rest for a while on the head, the hips, each other or the back, or arms that are crossed."""
    wrists = {side: joint(joints, f"{side}_wrist") for side in OTHER}
    found = []

    def near(kind: str, side: str, distance: np.ndarray, far: float, shortest: int) -> None:
        found.extend(Event(kind, first, end, side, count=1, **cut_off(first, end, len(joints)))
                     for first, end in spells(-distance, -far, -far - 0.04, shortest))

    crown = joint(joints, "head") + [0, 0.08, 0]
    gaps = {side: np.linalg.norm(wrists[side] - crown, axis=-1) for side in OTHER}
    both = np.maximum(gaps["left"], gaps["right"])
    near("touch-head", "both", both, 0.2, 12)
    for side, other in OTHER.items():
        near("touch-head", side, np.where(gaps[other] > 0.35, gaps[side], 1), 0.19, 12)
    on_hips, crossed, behind = [], [], []
    for side, other in OTHER.items():
        hip, elbow = joint(joints, f"{side}_hip") + [0, 0.1, 0], joint(joints, f"{side}_elbow")
        ahead = along(wrists[side] - joint(joints, "spine1"), facing(joints))
        aside = outward(wrists[side] - joint(joints, f"{side}_hip"), joints, side)
        akimbo = (outward(elbow - wrists[side], joints, side) > 0.1) & (ahead > -0.06) & (aside > 0.04)
        on_hips.append(np.where(akimbo, np.linalg.norm(wrists[side] - hip, axis=-1), 1))
        crossed.append(np.linalg.norm(wrists[side] - joint(joints, f"{other}_elbow"), axis=-1))
        low = abs(wrists[side][:, 1] - joint(joints, "pelvis")[:, 1]) < 0.25
        middle = abs(outward(wrists[side] - joint(joints, "pelvis"), joints, side))
        behind.append(np.where(low & (ahead < -0.1), middle, 1))
    near("hips", "both", np.maximum(*on_hips), 0.17, 20)
    near("behind", "both", np.maximum(*behind), 0.14, 20)
    near("cross", "both", np.maximum(*crossed), 0.17, 20)
    gap = np.linalg.norm(wrists["left"] - wrists["right"], axis=-1)
    near("clasp", "both", np.where(np.maximum(*crossed) > 0.2, gap, 1), 0.13, 40)
    return found


def claps(joints: np.ndarray) -> list[Event]:
    """Hands that meet shortly again and again."""
    gap = np.linalg.norm(joint(joints, "left_wrist") - joint(joints, "right_wrist"), axis=-1)
    rows = []
    for first, end in spells(-gap, -0.15, -0.22):
        apart = rows and gap[rows[-1][-1][1]:first + 1].max() > 0.26 and first - rows[-1][-1][1] < FPS
        if end - first > 20:
            continue
        if apart:
            rows[-1].append((first, end))
        else:
            rows.append([(first, end)])
    return [Event("clap", row[0][0], row[-1][1], "both", count=len(row), **cut_off(row[0][0], row[-1][1], len(joints)))
            for row in rows if len(row) > 2 or len(row) == 2 and row[1][0] - row[0][1] < 12]


def punches(joints: np.ndarray) -> list[Event]:
    """Fists that shoot out level and come back; several in a row are one event."""
    blows = []
    for side in OTHER:
        reach = arm(joints, side)
        far, ahead = np.linalg.norm(reach, axis=-1), along(reach, facing(joints))
        quick = rate(smooth(far, 1))
        for first, end in spells(far, 0.43, 0.38, 2):
            level = abs(reach[first:end, 1]).max() < 0.25 and ahead[first:end].max() > 0.22
            bent = far[max(first - 10, 0):first + 1].min() < 0.33 and far[end - 1:end + 12].min() < 0.36
            if level and bent and end - first < 18 and quick[max(first - 6, 0):end].max() > 1.5:
                blows.append(Event("punch", max(first - 4, 0), min(end + 4, len(joints)), side, count=1))
    rows = []
    for blow in sorted(blows, key=lambda event: event.first):
        if rows and blow.first - rows[-1].end < 45:
            side = blow.side if blow.side == rows[-1].side else "both"
            rows[-1] = replace(rows[-1], end=blow.end, side=side, count=rows[-1].count + 1)
        else:
            rows.append(blow)
    return rows


def throws(joints: np.ndarray) -> list[Event]:
    """A single arm that flies forward from behind the body, fast: a throw if the hand comes over the shoulder."""
    found, forward = [], facing(joints)
    for side, other in OTHER.items():
        hand, pelvis = joint(joints, f"{side}_wrist"), joint(joints, "pelvis")
        ahead, height = along(hand - joint(joints, "neck"), forward), arm(joints, side)[:, 1]
        speed = smooth(rate(along(hand - pelvis, forward)), 1)
        idle = np.linalg.norm(rate(smooth(joint(joints, f"{other}_wrist") - pelvis, 1)), axis=-1)
        for first, end in spells(speed, 3.5, 1.2, 3):
            start = max(first - 4, 0)
            thrown = ahead[start:first + 1].min() < 0 and ahead[first:end + 3].max() > 0.3
            if thrown and idle[first:end].max() < 0.55 * speed[first:end].max() and height[first:end + 3].max() > -0.2:
                kind = "throw" if height[start:first + 1].max() > 0.08 else "swing"
                found.append(Event(kind, max(first - 12, 0), min(end + 8, len(joints)), side, count=1))
    return found


def kicks(joints: np.ndarray) -> list[Event]:
    """A stretched leg that flies out to the front or the side and comes back, the other one standing."""
    found, forward = [], facing(joints)
    for side, other in OTHER.items():
        foot = joint(joints, f"{side}_ankle") - joint(joints, "pelvis")
        ahead, aside = along(foot, forward), outward(foot, joints, side)
        height = joint(joints, f"{side}_ankle")[:, 1]
        pace = np.linalg.norm(rate(smooth(foot, 1)), axis=-1)
        out = np.hypot(ahead, aside) * (height > 0.33) * (knee_angle(joints, side) > 125)
        for first, end in spells(out, 0.5, 0.38):
            stands = joint(joints, f"{other}_ankle")[first:end, 1].max() < 0.25
            if first > 2 and stands and end - first < 25 and pace[max(first - 8, 0):end].max() > 2.3:
                peak = first + int(out[first:end].argmax())
                way = "forward" if ahead[peak] > 1.7 * aside[peak] else ""
                way = "side" if aside[peak] > 1.7 * ahead[peak] else way
                how = "high" if height[peak] > 0.85 else "low" if height[peak] < 0.5 else ""
                found.append(Event("kick", max(first - 8, 0), min(end + 6, len(joints)), side, way, how=how, count=1))
    return found


def knees(joints: np.ndarray) -> list[Event]:
    """A knee that is lifted to the hip's height, the other foot standing."""
    found = []
    for side, other in OTHER.items():
        rise = (joint(joints, f"{side}_knee") - joint(joints, f"{side}_hip"))[:, 1]
        stands = joint(joints, f"{other}_ankle")[:, 1] < 0.2
        high = np.where(stands & (knee_angle(joints, side) < 125) & (joint(joints, "pelvis")[:, 1] > 0.8), rise, -1)
        found += [Event("knee", max(first - 6, 0), min(end + 6, len(joints)), side, count=1)
                  for first, end in spells(high, -0.06, -0.14, 3) if end - first < 40]
    return found


def jacks(joints: np.ndarray) -> list[Event]:
    """Jumping jacks: feet that go apart as the hands go over the head, together as they come down, thrice at least."""
    gap = np.linalg.norm(joint(joints, "left_ankle") - joint(joints, "right_ankle"), axis=-1)
    low_hand = np.minimum(*(joint(joints, f"{side}_wrist")[:, 1] for side in OTHER)) - joint(joints, "head")[:, 1]
    open_ = [(first, end) for first, end in spells(np.minimum(gap - 0.45, low_hand), 0.0, -0.1, 2) if end - first < 30]
    rows = []
    for first, end in open_:
        between = slice(rows[-1][-1][1], first) if rows else slice(0, 0)
        if rows and first - between.start < 30 and gap[between].min() < 0.35 and low_hand[between].min() < -0.4:
            rows[-1].append((first, end))
        else:
            rows.append([(first, end)])
    return [Event("jacks", max(row[0][0] - 8, 0), min(row[-1][1] + 8, len(joints)), count=len(row))
            for row in rows if len(row) >= 3]
