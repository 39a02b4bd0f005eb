"""What a body does, measured: `events` finds it in the joints of any clip, with frames, sides and numbers.

Conservative: what is near a threshold is no event. Letters as in `dataset.prepare.travel`; heights are above the
clip's lowest joint. The rest body stands with the pelvis at 0.93 m, the shoulders at 1.4 m and the head at 1.5 m.
"""

from dataclasses import replace

import numpy as np

from dataset.prepare.travel import Event, side_of, travels, turns
from motion.measures import (
    OTHER, above, along, facing, flown, joint, knee_angle, leaning, rate, smooth, spells, to_the_left,
)
from motion.representation_272 import FPS

ENDS = 6          # frames: what begins before this is taken to have begun before the clip
GRAVITY = 9.8


def events(joints: np.ndarray) -> list[Event]:
    """All that is found in a clip, in order of its beginning. joints (T, 22, 3) metres, y up, 30 fps."""
    joints = joints - [0, joints[..., 1].min(), 0]
    jumped = jumps(joints)
    gone = [travel for travel in travels(joints) if travel.kind == "run" or not any(
        _overlap(travel, jump) > 0.3 for jump in jumped)]
    low = [event for event in lows(joints) if not any(_overlap(event, jump) > 0.1 for jump in jumped)]
    bent = bends(joints)
    low = [event for event in low if not any(_overlap(event, other) > 0.5 for other in bent if other.kind == "pick")]
    kicked = [kick for kick in kicks(joints) if not any(_overlap(kick, travel) > 0.5 for travel in gone)]
    found = climbs(joints, gone) + jumped + low + bent + kicked + balances(joints)
    punched = punches(joints)
    found += [event for event in hands(joints) if not any(_overlap(blow, event) > 0.5 for blow in punched)]
    found += punched + claps(joints) + in_place(joints, gone, jumped)
    found += [turn for turn in on_the_spot(joints, gone) if not any(_overlap(turn, jump) > 0.3 for jump in jumped)]
    found += rests(joints)
    return sorted(found, key=lambda event: (event.first, event.end, event.kind, event.side))


def _overlap(event: Event, other: Event) -> float:
    """The share of an event's frames that another one has too."""
    return max(0, min(event.end, other.end) - max(event.first, other.first)) / event.frames


def _open(joints: np.ndarray, first: int, end: int) -> bool:
    return first < ENDS or end > len(joints) - ENDS


def on_the_spot(joints: np.ndarray, gone: list[Event]) -> list[Event]:
    """Turns of the whole body that are no part of a travel; a mere twist leaves the feet as they are."""
    toes = np.stack([joint(joints, f"{side}_foot") - joint(joints, f"{side}_ankle") for side in OTHER])
    feet = np.degrees(np.unwrap(np.arctan2(toes[..., 0], toes[..., 2]), axis=1)).mean(axis=0)
    found = []
    for turn in turns(joints):
        first, end = max(turn.first - 5, 0), min(turn.end + 5, len(joints)) - 1
        walked = max((_overlap(turn, travel) for travel in gone), default=0)
        if walked < 0.6 and abs(feet[end] - feet[first] - turn.degrees) < 0.35 * abs(turn.degrees):
            found.append(replace(turn, open=_open(joints, turn.first, turn.end)))
    return found


def jumps(joints: np.ndarray) -> list[Event]:
    """Flights with both feet off the floor, several in a row as one: jumps, and hops on one leg (its side)."""
    toes = np.stack([joint(joints, f"{side}_foot")[:, 1] for side in OTHER], axis=1)     # (T, 2)
    height = smooth(joint(joints, "pelvis")[:, 1], 1.5)
    falling = -rate(rate(height))
    pace = np.linalg.norm(rate(smooth(joint(joints, "pelvis")[:, [0, 2]], 4)), axis=-1)
    upright = above(joints, "neck", "pelvis")
    flights = []
    for first, end in spells(falling, 6, 3, 4):
        before, after = max(first - 9, 0), min(end + 9, len(joints))
        clear = toes[first:end].min(axis=1).max() - max(toes[before:first + 1].min(), toes[end - 1:after].min())
        rise = height[first:end].max() - height[[first, end - 1]].max()
        fast = pace[first:end].mean() > 1.6    # then it may be a step of a run
        if clear > 0.07 and rise > (0.1 if fast else 0.02) and end - first >= (10 if fast else 5) and upright[first:end].all():
            flights.append((first, end))
    rows = []
    for flight in flights:
        if rows and flight[0] - rows[-1][-1][1] < 22:
            rows[-1].append(flight)
        else:
            rows.append([flight])
    return [_jump(joints, row, toes) for row in rows]


def _jump(joints: np.ndarray, row: list[tuple[int, int]], toes: np.ndarray) -> Event:
    first, end = max(row[0][0] - 6, 0), min(row[-1][1] + 6, len(joints))
    pelvis = joint(joints, "pelvis")
    moved = pelvis[row[-1][1] - 1] - pelvis[row[0][0]]
    forward = facing(joints)[row[0][0]]
    ahead, left = along(moved[None], forward[None])[0], along(moved[None], to_the_left(forward[None]))[0]
    far = max(0.35, 0.25 * len(row))
    way = ("forward" if ahead > 0 else "backward") if abs(ahead) > far and abs(ahead) > 2 * abs(left) else \
        side_of(left) if abs(left) > far and abs(left) > 2 * abs(ahead) else "" if np.hypot(ahead, left) > 0.3 else "up"
    lifted = [side for column, side in enumerate(OTHER) if toes[first:end, column].min() > toes[first:end].min() + 0.1]
    turned = [turn.degrees for turn in turns(joints) if _overlap(turn, Event("", first - 10, end + 10)) > 0.6]
    rise = pelvis[first:end, 1].max() - np.median(pelvis[:, 1])
    return Event("hop" if lifted else "jump", first, end, side=OTHER[lifted[0]] if len(lifted) == 1 else "", way=way,
                 how="high" if rise > 0.35 else "", metres=float(np.hypot(ahead, left)), count=len(row),
                 degrees=turned[0] if len(turned) == len(row) == 1 else 0)


def climbs(joints: np.ndarray, gone: list[Event]) -> list[Event]:
    """The travels, those as climbs that end at another height than they began at: up or down steps."""
    height = smooth(joint(joints, "pelvis")[:, 1], 6)
    feet = np.minimum(joint(joints, "left_foot")[:, 1], joint(joints, "right_foot")[:, 1])
    found = []
    for travel in gone:
        rises = [np.median(values[travel.end - 8:travel.end]) - np.median(values[travel.first:travel.first + 8])
                 for values in (height, feet)]
        if min(rises) > 0.15 or max(rises) < -0.15:
            travel = replace(travel, kind="climb", way="up" if rises[0] > 0 else "down")
        found.append(travel)
    return found


def lows(joints: np.ndarray) -> list[Event]:
    """Sitting, squatting, kneeling, lying and all fours; and getting down to it and up from it."""
    height, found = smooth(joint(joints, "pelvis")[:, 1], 2), []
    for first, end in spells(-height, -0.70, -0.78, 8):
        deepest = height[first:end].min()
        still = first + np.flatnonzero(height[first:end] < deepest + 0.06)
        pose, side = _posture(joints, still)
        if not pose:
            continue
        begins, ends = first < ENDS, end > len(joints) - ENDS
        if not begins:
            found.append(Event(f"{pose}-down", max(first - 8, 0), int(still[0]) + 1, side))
        found.append(Event(pose, int(still[0]), int(still[-1]) + 1, side, open=begins or ends))
        if not ends:
            found.append(Event(f"{pose}-up", int(still[-1]), min(end + 8, len(joints)), side))
    return found


def _posture(joints: np.ndarray, still: np.ndarray) -> tuple[str, str]:
    """What a low body does in the frames `still`: a name and the side of a single knee; empty if unsure."""
    joints = joints[still]
    middle = lambda name: float(np.median(joint(joints, name)[:, 1]))
    pelvis, head = middle("pelvis"), middle("head")
    knees = {side: middle(f"{side}_knee") for side in OTHER}
    hands_down = max(middle("left_wrist"), middle("right_wrist")) < 0.25
    lean = float(np.median(leaning(joints)))
    if head < 0.45 and pelvis < 0.4:
        return "lie", ""
    if hands_down and max(knees.values()) < 0.3 and pelvis > 0.3 and abs(lean) > 50:
        return "fours", ""
    down = [side for side in OTHER if knees[side] < 0.17]
    if down and 0.18 < pelvis and abs(lean) < 60:
        return "kneel", down[0] if len(down) == 1 else "both"
    if pelvis < 0.25 and head > 0.5:
        return "sit-floor", ""
    ankles = (joint(joints, "left_ankle") + joint(joints, "right_ankle")) / 2
    weight = 0.35 * joint(joints, "pelvis") + 0.4 * joint(joints, "spine3") + 0.1 * joint(joints, "head") + 0.15 * (
        joint(joints, "left_knee") + joint(joints, "right_knee")) / 2
    behind = float(np.median(along(ankles - weight, facing(joints))))
    knee = max(np.median(knee_angle(joints, side)) for side in OTHER)
    if behind > 0.09 and knee < 140 and 0.3 < pelvis < 0.72:
        return "sit", ""
    feet = max(np.ptp(joint(joints, f"{side}_ankle"), axis=0).max() for side in OTHER)
    if behind < 0.04 and knee < 120 and feet < 0.15:
        return ("squat" if pelvis < 0.62 else "crouch"), ""
    return "", ""


def bends(joints: np.ndarray) -> list[Event]:
    """Bows, bending over, and reaching down to the floor, each with its count of repetitions left at 1."""
    lean, height = smooth(leaning(joints), 2), joint(joints, "pelvis")[:, 1]
    wrists = {side: joint(joints, f"{side}_wrist")[:, 1] for side in OTHER}
    found = []
    for first, end in spells(-np.minimum(*wrists.values()), -0.26, -0.34, 2):
        if np.minimum(height, joint(joints, "head")[:, 1])[first:end].max() < 0.4:
            continue
        sides = [side for side in OTHER if wrists[side][first:end].min() < 0.34]
        start, stop = _rise(height, lean, first, end)
        if start is not None and stop is not None:
            found.append(Event("pick", start, stop, sides[0] if len(sides) == 1 else "both"))
    usual = float(np.percentile(lean, 20))
    for first, end in spells(lean - usual, 18, 7, 10):
        if any(_overlap(other, Event("", first, end)) > 0.3 for other in found):
            continue
        straight = min(np.median(knee_angle(joints, side)[first:end]) for side in OTHER) > 148
        low = min(values[first:end].min() for values in wrists.values()) < 0.4
        moved = np.linalg.norm(np.ptp(joint(joints, "pelvis")[first:end, ::2], axis=0)) > 0.5
        whole, deep = not _open(joints, first, end), lean[first:end].max()
        if whole and straight and not low and not moved and end - first < 150:
            hands_up = max(values[first:end].max() for values in wrists.values()) > 1.2
            found.append(Event("bend" if hands_up else "bow", first, end, how="deep" if deep > 60 else "slight" if deep < 35 else ""))
        elif deep > 50 and not moved and straight:
            found.append(Event("bend", first, end, open=not whole))
    return found


def _rise(height: np.ndarray, lean: np.ndarray, first: int, end: int) -> tuple[int | None, int | None]:
    """The frames, within two seconds, in which a body was upright last before and is first after a time."""
    upright = (height > 0.8) & (lean < 35)
    before = np.flatnonzero(upright[max(first - 60, 0):first])
    after = np.flatnonzero(upright[end:end + 60])
    return (max(first - 60, 0) + int(before[-1]) if len(before) else None, end + int(after[0]) if len(after) else None)


def kicks(joints: np.ndarray) -> list[Event]:
    """A stretched leg that flies out to the front or the side and comes back, the other one standing."""
    found, forward = [], facing(joints)
    for side, other in OTHER.items():
        foot = joint(joints, f"{side}_ankle") - joint(joints, "pelvis")
        ahead, aside = along(foot, forward), along(foot, to_the_left(forward)) * (1 if side == "left" else -1)
        height = joint(joints, f"{side}_ankle")[:, 1]
        pace = np.linalg.norm(rate(smooth(foot, 1)), axis=-1)
        out = np.hypot(ahead, aside) * (height > 0.33) * (knee_angle(joints, side) > 125)
        for first, end in spells(out, 0.5, 0.38):
            quick = pace[max(first - 8, 0):end].max()
            stands = joint(joints, f"{other}_ankle")[first:end, 1].max() < 0.25
            if quick > 2.3 and stands and end - first < 25:
                peak = first + int(out[first:end].argmax())
                way = "forward" if ahead[peak] > 1.7 * aside[peak] else "side" if aside[peak] > 1.7 * ahead[peak] else ""
                found.append(Event("kick", max(first - 8, 0), min(end + 6, len(joints)), side, way,
                                   how="high" if height[peak] > 0.85 else "low" if height[peak] < 0.5 else ""))
    return found


def balances(joints: np.ndarray) -> list[Event]:
    """Standing on one leg for a second at least; the side is the standing leg's."""
    found = []
    for side, other in OTHER.items():
        on_floor = joint(joints, f"{other}_foot")[:, 1] < 0.1
        lifted = on_floor * np.minimum(joint(joints, f"{side}_foot")[:, 1], joint(joints, f"{side}_ankle")[:, 1] - 0.06)
        stands = joint(joints, f"{other}_ankle")
        still = np.linalg.norm(rate(smooth(stands, 2)), axis=-1) < 0.25
        for first, end in spells(lifted * still, 0.15, 0.08, 30):
            if joint(joints, "pelvis")[first:end, 1].min() > 0.75:
                found.append(Event("balance", first, end, other, open=_open(joints, first, end)))
    return found


def hands(joints: np.ndarray) -> list[Event]:
    """Raised, stretched-out and waving hands; what both do at once is one event of both."""
    found = {side: _one_hand(joints, side) for side in OTHER}
    both, left, right = [], list(found["left"]), list(found["right"])
    for event in found["left"]:
        match = next((other for other in right if other.kind == event.kind and other.way == event.way
                      and min(_overlap(event, other), _overlap(other, event)) > 0.65), None)
        if match:
            both.append(replace(event, side="both", first=min(event.first, match.first), end=max(event.end, match.end),
                                how=event.how if event.how == match.how else "", open=event.open or match.open))
            left.remove(event)
            right.remove(match)
    return both + left + right


def _one_hand(joints: np.ndarray, side: str) -> list[Event]:
    wrist, shoulder = joint(joints, f"{side}_wrist"), joint(joints, f"{side}_shoulder")
    head = joint(joints, "head")[:, 1]
    elbow = joint(joints, f"{side}_elbow")[:, 1]
    up, found = smooth(wrist[:, 1] - shoulder[:, 1], 1), []
    upright = joint(joints, "neck")[:, 1] - joint(joints, "pelvis")[:, 1] > 0.35
    for first, end in spells(np.where(upright, up, -1), 0.04, -0.08, 9):
        top = (wrist[first:end, 1] - head[first:end]).max()
        how = "overhead" if top > 0.2 else "head" if -0.02 < top < 0.13 else "shoulder" if top < -0.08 else ""
        waves = _swings(joints, side, first, end)
        if waves >= 3:
            found.append(Event("wave", first, end, side, how=how, count=waves, open=_open(joints, first, end)))
        else:
            found.append(Event("raise", first, end, side, how=how, open=_open(joints, first, end)))
    half = np.where(upright & (up < 0), np.minimum(wrist[:, 1] - elbow, wrist[:, 1] - joint(joints, "spine1")[:, 1]), -1)
    for first, end in spells(half, 0.03, -0.03, 15):
        if not any(event.first - 12 < end and first < event.end + 12 for event in found):
            if _swings(joints, side, first, end, 0.04) >= 3:
                found.append(Event("wave", first, end, side, how="low", open=_open(joints, first, end)))
            else:
                found.append(Event("raise", first, end, side, how="low", open=_open(joints, first, end)))
    reach = smooth(wrist - shoulder, 1)
    forward = facing(joints)
    ahead, aside = along(reach, forward), along(reach, to_the_left(forward)) * (1 if side == "left" else -1)
    for way, far in (("forward", ahead), ("side", aside)):
        for first, end in spells(far * upright, 0.42, 0.36, 10):
            if abs(np.median(up[first:end])) < 0.2:
                found.append(Event("stretch", first, end, side, way, open=_open(joints, first, end)))
    return found


def punches(joints: np.ndarray) -> list[Event]:
    """Fists that shoot out level to the front from beside the body and come back; a row of them is one event."""
    found, forward = [], facing(joints)
    for side in OTHER:
        arm = joint(joints, f"{side}_wrist") - joint(joints, f"{side}_shoulder")
        far, ahead = np.linalg.norm(arm, axis=-1), along(arm, forward)
        quick = rate(smooth(far, 1))
        for first, end in spells(far, 0.43, 0.38, 2):
            before, after = far[max(first - 10, 0):first + 1].min(), far[end - 1:end + 12].min()
            level = abs(arm[first:end, 1]).max() < 0.25 and ahead[first:end].max() > 0.22
            if level and before < 0.33 and after < 0.36 and end - first < 18 and quick[max(first - 6, 0):end].max() > 1.5:
                found.append(Event("punch", max(first - 4, 0), min(end + 4, len(joints)), side, count=1))
    rows = []
    for blow in sorted(found, key=lambda event: event.first):
        if rows and blow.first - rows[-1].end < 45:
            side = blow.side if blow.side == rows[-1].side else "both"
            rows[-1] = replace(rows[-1], end=blow.end, side=side, count=rows[-1].count + 1)
        else:
            rows.append(blow)
    return rows


def _swings(joints: np.ndarray, side: str, first: int, end: int, wide: float = 0.06) -> int:
    """How often a hand changes its direction sideways after moving over `wide` metres."""
    hand = (joint(joints, f"{side}_wrist") - joint(joints, "spine3"))[first:end]
    place = along(hand, to_the_left(facing(joints))[first:end])
    outward = np.median(place) * (1 if side == "left" else -1)
    if place.std() < 1.2 * along(hand, facing(joints)[first:end]).std() or outward < 0.15:
        return 0    # a punch goes to and fro, a guard is before the face
    changes, direction, furthest = 0, 0, place[0]
    for value in place:
        if (value - furthest) * direction > 0:
            furthest = value
        elif abs(value - furthest) > wide:
            changes += direction != 0
            direction, furthest = np.sign(value - furthest), value
    return changes


def claps(joints: np.ndarray) -> list[Event]:
    """Hands that meet again and again, and hands that stay together."""
    gap = np.linalg.norm(joint(joints, "left_wrist") - joint(joints, "right_wrist"), axis=-1)
    meets = [(first, end) for first, end in spells(-gap, -0.16, -0.24) if end - first < 20]
    rows = []
    for first, end in meets:
        apart = rows and gap[rows[-1][-1][1]:first + 1].max() > 0.28
        if apart and first - rows[-1][-1][1] < 30:
            rows[-1].append((first, end))
        else:
            rows.append([(first, end)])
    return [Event("clap", row[0][0], row[-1][1], "both", count=len(row)) for row in rows if len(row) >= 2]


def in_place(joints: np.ndarray, gone: list[Event], jumped: list[Event]) -> list[Event]:
    """Walking, marching or running without going anywhere: feet that are lifted in turn."""
    lifts = []
    for side in OTHER:
        foot = joint(joints, f"{side}_ankle")[:, 1]
        lifts += [(first, end, side) for first, end in spells(smooth(foot, 1), 0.17, 0.12, 3) if end - first < 40]
    rows = []
    for lift in sorted(lifts):
        if any(travel.first <= lift[0] < travel.end for travel in gone + jumped):
            continue
        if rows and lift[2] != rows[-1][-1][2] and lift[0] - rows[-1][-1][1] < 20:
            rows[-1].append(lift)
        else:
            rows.append([lift])
    found = []
    for row in rows:
        first, end = row[0][0], row[-1][1]
        if len(row) < 4:
            continue
        knees = np.mean([(joint(joints, f"{side}_knee") - joint(joints, f"{side}_hip"))[a:b, 1].max() for a, b, side in row])
        running = flown(joints)[first:end].mean() > 0.08
        found.append(Event("run-in-place" if running else "walk-in-place", first, end, count=len(row),
                           how="high" if knees > -0.1 else ""))
    return found


def rests(joints: np.ndarray) -> list[Event]:
    """Times of a second at least in which a standing body keeps still."""
    pace = np.linalg.norm(rate(smooth(joints, 2)), axis=-1).max(axis=-1)
    upright = (joint(joints, "pelvis")[:, 1] > 0.8) & (joint(joints, "head")[:, 1] > 1.2)
    hands_down = ~(above(joints, "left_wrist", "left_elbow") | above(joints, "right_wrist", "right_elbow"))
    calm = np.where(upright & hands_down, 0.25 - pace, -1)
    return [Event("stand", first, end, open=_open(joints, first, end)) for first, end in spells(calm, 0.1, 0, 24)
            if np.ptp(joints[first:end], axis=0).max() < 0.15]
