"""What the trunk does: sitting, squatting, kneeling and lying, bows and reaches to the floor, balance, rest.

Letters as in `dataset.prepare.events.travel`. The rest body stands with the pelvis at 0.93 m, the shoulders at 1.4 m
and the head at 1.5 m.
"""

from dataclasses import replace

import numpy as np

from dataset.prepare.events.event import Event, cut_off
from motion.measures import OTHER, above, along, facing, joint, knee_angle, leaning, rate, smooth, spells
from motion.representation_272 import FPS


def lows(joints: np.ndarray) -> list[Event]:
    """Low postures, and getting down to them and up from them."""
    height, found = smooth(joint(joints, "pelvis")[:, 1], 2), []
    for first, end in spells(-height, -0.70, -0.78, 8):
        still = first + np.flatnonzero(height[first:end] < height[first:end].min() + 0.06)
        pose, side = posture(joints[still])
        if not pose:
            continue
        start, stop = int(still[0]), int(still[-1]) + 1
        ends = cut_off(first, end, len(joints))
        if not ends["begun"]:
            found.append(Event(f"{pose}-down", max(first - 8, 0), start + 1, side))
        found.append(Event(pose, start, stop, side, **ends))
        if not ends["lasting"]:
            found.append(Event(f"{pose}-up", stop - 1, min(end + 8, len(joints)), side))
    return found


def posture(joints: np.ndarray) -> tuple[str, str]:
    """What a low body does in all these frames: a name, and the side of a single knee; empty if unsure."""
    middle = {name: float(np.median(joint(joints, name)[:, 1])) for name in (
        "pelvis", "head", "left_knee", "right_knee", "left_wrist", "right_wrist")}
    lean = float(np.median(leaning(joints)))
    moved = np.linalg.norm(np.ptp(joint(joints, "pelvis")[:, ::2], axis=0))
    if middle["head"] < 0.45 and middle["pelvis"] < 0.4:
        return "lie", ""
    hands_down = max(middle["left_wrist"], middle["right_wrist"]) < 0.25
    if hands_down and max(middle["left_knee"], middle["right_knee"]) < 0.3 < middle["pelvis"] and abs(lean) > 50:
        return "crawl" if moved > 0.5 else "fours", ""
    down = [side for side in OTHER if middle[f"{side}_knee"] < 0.17]
    if down and 0.18 < middle["pelvis"] and abs(lean) < 60:
        return "kneel", down[0] if len(down) == 1 else "both"
    if middle["pelvis"] < 0.25 and middle["head"] > 0.5:
        return "sit-floor", ""
    behind = float(np.median(along(feet(joints) - balance_point(joints), facing(joints))))
    knees = sorted(float(np.median(knee_angle(joints, side))) for side in OTHER)
    if moved > 0.5:
        return "duck-walk" if middle["pelvis"] < 0.62 and knees[1] < 130 else "", ""
    if behind > 0.15 and knees[1] < min(115, knees[0] + 40) and 0.3 < middle["pelvis"] < 0.66 and abs(lean) < 30:
        return "sit" if len(joints) > 8 else "", ""
    slid = max(np.ptp(joint(joints, f"{side}_ankle"), axis=0).max() for side in OTHER)
    if behind < 0.04 and knees[1] < 120 and slid < 0.15 and len(joints) < 3 * FPS:    # who stays so long may sit
        return "squat" if middle["pelvis"] < 0.62 else "crouch", ""
    return "", ""


def seats(joints: np.ndarray) -> list[Event]:
    """Sitting on something high: a still pelvis while both feet are off the floor for a second at least."""
    hang = np.minimum(joint(joints, "left_foot")[:, 1], joint(joints, "right_foot")[:, 1])
    bent = np.minimum(*(180 - knee_angle(joints, side) for side in OTHER)) > 40
    still = (np.linalg.norm(rate(smooth(joint(joints, "pelvis"), 3)), axis=-1) < 0.25) & (abs(leaning(joints)) < 40)
    for side in OTHER:    # or it hangs on to something
        still &= ~above(joints, f"{side}_wrist", f"{side}_shoulder")
    found = []
    for first, end in spells(hang * (bent & still), 0.16, 0.08, FPS):
        if above(joints, "head", "pelvis")[first:end].all() and joint(joints, "pelvis")[first:end, 1].min() > 0.72:
            found.append(Event("sit", first, end, **cut_off(first, end, len(joints))))
    return found


def feet(joints: np.ndarray) -> np.ndarray:
    """(T, 3), between the ankles."""
    return (joint(joints, "left_ankle") + joint(joints, "right_ankle")) / 2


def balance_point(joints: np.ndarray) -> np.ndarray:
    """(T, 3), about the centre of mass."""
    knees = (joint(joints, "left_knee") + joint(joints, "right_knee")) / 2
    return 0.35 * joint(joints, "pelvis") + 0.4 * joint(joints, "spine3") + 0.1 * joint(joints, "head") + 0.15 * knees


def bends(joints: np.ndarray) -> list[Event]:
    """Bows, bending over, and reaching down to the floor from an upright body and back to it."""
    lean, height = smooth(leaning(joints), 2), joint(joints, "pelvis")[:, 1]
    wrists = np.stack([joint(joints, f"{side}_wrist")[:, 1] for side in OTHER])     # (2, T)
    upright, found = (height > 0.8) & (lean < 35), []
    for first, end in spells(-wrists.min(axis=0), -0.26, -0.34, 2):
        before = np.flatnonzero(upright[max(first - 60, 0):first])
        after = np.flatnonzero(upright[end:end + 60])
        if joint(joints, "head")[first:end, 1].min() > 0.4 and len(before) and len(after):
            sides = [side for row, side in enumerate(OTHER) if wrists[row, first:end].min() < 0.34]
            found.append(Event("pick", max(first - 60, 0) + int(before[-1]), end + int(after[0]),
                               sides[0] if len(sides) == 1 else "both", count=1))
    for first, end in spells(lean - np.percentile(lean, 20), 18, 7, 10):
        bend = Event("bend", first, end, count=1, **cut_off(first, end, len(joints)))
        knee = min(np.median(knee_angle(joints, side)[first:end]) for side in OTHER)
        moved = np.linalg.norm(np.ptp(joint(joints, "pelvis")[first:end, ::2], axis=0)) > 0.5
        if bend.during(found, 0.3) or moved or knee < 125:
            continue
        deep, reach = lean[first:end].max(), wrists[:, first:end]
        whole = not (bend.begun or bend.lasting) and end - first < 5 * FPS
        if knee > 148 and whole and reach.min() > 0.55 and reach.max() < 1.25:
            kind = "bow" if reach.max() < 1 or deep >= 35 else "lean"
            found.append(replace(bend, kind=kind, how="deep" if deep > 60 else "slight" if deep < 35 else ""))
        elif deep > 50:
            found.append(bend)
    return found


def ducks(joints: np.ndarray, ways: list[Event]) -> list[Event]:
    """Dips of the head below the chest's height on the way, as under a bar; or a whole way bent over."""
    head, found = joint(joints, "head")[:, 1], []
    pace = np.linalg.norm(rate(smooth(joint(joints, "pelvis")[:, ::2], 4)), axis=-1)
    for first, end in spells(-head, -1.1, -1.3, 6):
        dip = Event("duck", first, end, count=1, **cut_off(first, end, len(joints)))
        if dip.during(ways, 0.5) and pace[first:end].mean() > 0.5:
            if end - first < 50 and not dip.begun and not dip.lasting:
                found.append(dip)
            elif end - first > FPS and np.median(leaning(joints)[first:end]) > 40:
                found.append(replace(dip, kind="stoop"))
    return found


def inversions(joints: np.ndarray) -> list[Event]:
    """Times with the head below the pelvis and the feet above it: cartwheels, flips, rolls, handstands."""
    pelvis, head = joint(joints, "pelvis")[:, 1], joint(joints, "head")[:, 1]
    toes = np.minimum(joint(joints, "left_ankle")[:, 1], joint(joints, "right_ankle")[:, 1])
    wrists = np.minimum(joint(joints, "left_wrist")[:, 1], joint(joints, "right_wrist")[:, 1])
    apart = np.linalg.norm(joint(joints, "left_ankle") - joint(joints, "right_ankle"), axis=-1)
    found = []
    for first, end in spells(pelvis - head, 0.2, 0.05, 3):
        if (toes - pelvis)[first:end].max() < 0.1:
            continue
        moved = np.linalg.norm(np.ptp(joint(joints, "pelvis")[first:end, ::2], axis=0))
        if wrists[first:end].min() > 0.35:
            kind = "flip"
        elif pelvis[first:end].min() < 0.45:
            kind = "roll"
        elif moved < 0.5:
            kind = "handstand"
        else:
            kind = "cartwheel" if apart[first:end].max() > 0.8 else "handspring"
        found.append(Event(kind, max(first - 10, 0), min(end + 10, len(joints)), count=1))
    return found


def balances(joints: np.ndarray) -> list[Event]:
    """Standing on one leg for a second at least; the side is the standing leg's."""
    found = []
    for side, other in OTHER.items():
        lifted = np.minimum(joint(joints, f"{side}_foot")[:, 1], joint(joints, f"{side}_ankle")[:, 1] - 0.06)
        stands = joint(joints, f"{other}_ankle")
        still = np.linalg.norm(rate(smooth(stands, 2)), axis=-1) < 0.25
        over = np.linalg.norm((balance_point(joints) - stands)[:, [0, 2]], axis=-1) < 0.2
        on_floor = joint(joints, f"{other}_foot")[:, 1] < 0.1
        for first, end in spells(lifted * (still & over & on_floor), 0.15, 0.08, FPS):
            if joint(joints, "pelvis")[first:end, 1].min() > 0.75:
                found.append(Event("balance", first, end, other, **cut_off(first, end, len(joints))))
    return found


def rests(joints: np.ndarray) -> list[Event]:
    """Times of four fifths of a second at least in which a standing body, arms down, keeps still."""
    pace = np.linalg.norm(rate(smooth(joints, 2)), axis=-1).max(axis=-1)
    still = (joint(joints, "pelvis")[:, 1] > 0.8) & (joint(joints, "head")[:, 1] > 1.2)
    for side in OTHER:
        still &= ~above(joints, f"{side}_wrist", f"{side}_elbow")
    return [Event("stand", first, end, **cut_off(first, end, len(joints)))
            for first, end in spells(np.where(still, 0.25 - pace, -1), 0.1, 0, 24)
            if np.ptp(joints[first:end], axis=0).max() < 0.15]
