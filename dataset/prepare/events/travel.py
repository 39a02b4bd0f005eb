"""What the legs do with the whole body: ways and turns, jumps and hops, steps on the spot.

Letters: T frames, 30 per second; joints (T, 22, 3) in metres, y up, the floor at 0. Degrees, positive to the left.
A part of a way that is neither surely walked nor surely run is a "move".
"""

from dataclasses import replace

import numpy as np

from dataset.prepare.events.event import WAYS, Event, cut_off, side_of
from motion.measures import (
    OTHER, above, along, facing, foot_paces, heading, joint, rate, smooth, spells, to_the_left,
)
from motion.representation_272 import FPS

SWAY = 8             # frames: what a path is smoothed by, to be free of the gait's sway
YAW = 10             # frames: what a heading is smoothed by
CARRIED = 0.35       # metres per second: a foot that moves faster over the floor does not stand
WALK, RUN = 0.22, 0.42   # shares of the frames in which both feet are carried: at most in a walk, at least in a run
PACES = {"walk": ((0.62, "slow"), (0.75, ""), (1.4, "normal"), (1.5, ""), (9, "fast")),    # metres per second
         "run": ((2.4, "jog"), (3.2, ""), (4.3, "fast"), (99, "sprint")), "move": ((99, ""),)}


def steps(joints: np.ndarray) -> list[tuple[int, int, str]]:
    """Times in which a foot is carried to another place, in order: first frame, frame behind the last, side."""
    found = []
    for side, pace in zip(OTHER, foot_paces(joints)):
        ankle = joint(joints, f"{side}_ankle")[:, [0, 2]]
        found += [(first, end, side) for first, end in spells(pace, 0.7, CARRIED, 4)
                  if np.linalg.norm(ankle[end - 1] - ankle[first]) > 0.12]
    return sorted(found)


def turns(joints: np.ndarray) -> list[Event]:
    """When the hips turn, by 30 degrees at least, and by how much; what pauses for a step is one turn."""
    angles = smooth(heading(joints), YAW)
    found = []
    for sign in (1, -1):
        rows = []
        for first, end in spells(sign * rate(angles), 20, 10, 4):
            if rows and first - rows[-1][1] < 20 and sign * (angles[first] - angles[rows[-1][1] - 1]) > -5:
                rows[-1] = (rows[-1][0], end)
            else:
                rows.append((first, end))
        found += [Event("turn", first, end, side_of(sign), degrees=float(angles[end - 1] - angles[first]),
                        **cut_off(first, end, len(joints)))
                  for first, end in rows if abs(angles[end - 1] - angles[first]) >= 30]
    return sorted(found, key=lambda turn: turn.first)


def on_the_spot(joints: np.ndarray, turned: list[Event], ways: list[Event]) -> list[Event]:
    """The turns of the whole body that belong to none of the ways; a mere twist leaves the feet as they are."""
    toes = np.stack([joint(joints, f"{side}_foot") - joint(joints, f"{side}_ankle") for side in OTHER])
    feet = np.degrees(np.unwrap(np.arctan2(toes[..., 0], toes[..., 2]), axis=1)).mean(axis=0)
    found = []
    for turn in turned:
        change = feet[min(turn.end + 5, len(joints)) - 1] - feet[max(turn.first - 5, 0)]
        if not turn.during(ways, 0.6) and abs(change - turn.degrees) < 0.35 * abs(turn.degrees):
            found.append(turn)
    return found


def travels(joints: np.ndarray, turned: list[Event]) -> list[Event]:
    """The parts of a motion that go somewhere on foot, in order."""
    pelvis = smooth(joint(joints, "pelvis")[:, [0, 2]], SWAY)
    velocity, ahead = rate(pelvis), smooth(facing(joints), SWAY)
    speed = np.linalg.norm(velocity, axis=-1)
    course = smooth(np.stack([(velocity * way).sum(-1) for way in (ahead, to_the_left(ahead))], axis=-1), 4)
    quarter = np.round(np.degrees(np.arctan2(course[:, 1], course[:, 0])) / 90).astype(int) % 4
    carried, swings, found = foot_paces(joints).min(axis=0) > CARRIED, steps(joints), []
    running = np.convolve(carried, np.ones(FPS) / FPS, "same") > RUN
    for start, stop in spells(speed, 0.3, 0.15, 10):
        for first, end in _parts(2 * quarter + running, start, stop, 14):
            part = _travel(joints, first, end, pelvis, speed, course, swings, carried)
            if part is not None and found and _goes_on(found[-1], part):
                main = max(found[-1], part, key=lambda travel: travel.frames * (travel.kind != "move"))
                found[-1] = replace(main, first=found[-1].first, end=end, count=0, begun=found[-1].begun,
                                    metres=found[-1].metres + part.metres, lasting=part.lasting)
            elif part is not None:
                found.append(part)
    return [_shaped(part, turned, pelvis) for part in found]


def _goes_on(part: Event, after: Event) -> bool:
    """Whether a part is the one before, going on: the same gait, or a first or last step of it."""
    unsure = [travel.frames < 45 for travel in (part, after) if travel.kind == "move"]
    return after.first - part.end < 3 and part.way == after.way != "" and (part.kind == after.kind or any(unsure))


def _parts(labels: np.ndarray, first: int, end: int, shortest: int) -> list[tuple[int, int]]:
    """Cut a time where labels (T,) change; parts under `shortest` frames join the one before."""
    cuts = [first, *(first + 1 + np.flatnonzero(np.diff(labels[first:end]))).tolist(), end]
    parts = []
    for start, stop in zip(cuts, cuts[1:]):
        if parts and (stop - start < shortest or labels[start] == labels[parts[-1][0]]):
            parts[-1] = (parts[-1][0], stop)
        elif parts and parts[-1][1] - parts[-1][0] < shortest:
            parts[-1] = (start, stop)
        else:
            parts.append((start, stop))
    return parts


def _travel(joints: np.ndarray, first: int, end: int, pelvis: np.ndarray, speed: np.ndarray, course: np.ndarray,
            swings: list[tuple[int, int, str]], carried: np.ndarray) -> Event | None:
    """One part that goes one way; None if it is no going on foot."""
    metres = float(np.linalg.norm(np.diff(pelvis[first:end], axis=0), axis=-1).sum())
    taken = [swing for swing in swings if first <= (swing[0] + swing[1]) / 2 < end]
    if metres < 0.3 or not taken or np.median(joints[first:end, 0, 1]) < 0.62:
        return None
    angle = np.degrees(np.arctan2(*course[first:end].sum(0)[::-1]))
    spread = (np.degrees(np.arctan2(course[first:end, 1], course[first:end, 0])) - angle + 180) % 360 - 180
    pace = float(np.median(np.sort(speed[first:end])[(end - first) // 2:]))
    together = carried[first:end].mean()
    kind = "run" if together > RUN and pace > 1 else "walk" if together < WALK and pace < 1.9 else "move"
    alternate = all(before[2] != after[2] for before, after in zip(taken, taken[1:]))
    off = abs((angle + 22.5) % 45 - 22.5)    # from the middle of the nearest of WAYS
    way = WAYS[round(angle / 45) % 8] if abs(spread).mean() < 30 and (off < 17 or abs(angle) < 22) else ""
    limits = cut_off(first - 6, end + 6, len(joints))
    whole = not any(limits.values()) and speed[first] < 0.4 > speed[end - 1]
    how = _trend(speed[first:end], **limits)
    return Event(kind, first, end, way=way, how=how or next(word for bound, word in PACES[kind] if pace < bound),
                 shape="straight" if way and off < 16 else "", metres=metres, **limits,
                 count=len(taken) if alternate and whole else 0)


def _trend(speed: np.ndarray, begun: bool, lasting: bool) -> str:
    """Faster or slower, if the last third of a time goes at another speed than the first; without start and stop."""
    usual = 0.6 * np.median(speed)
    speed = speed[0 if begun and speed[0] > usual else 25:len(speed) if lasting and speed[-1] > usual else -25]
    if len(speed) < 45:
        return ""
    third = len(speed) // 3
    start, stop = speed[:third].mean(), speed[-third:].mean()
    return "faster" if stop > 1.6 * start else "slower" if start > 1.6 * stop else ""


def _shaped(part: Event, turned: list[Event], pelvis: np.ndarray) -> Event:
    """The part with the shape of its path, from the turns in it."""
    path = pelvis[part.first:part.end]
    chord = float(np.linalg.norm(path[-1] - path[0]))
    if part.way not in ("forward", "backward"):
        return replace(part, shape="straight" if part.shape and chord > 0.95 * part.metres else "")
    inside = [replace(turn, first=max(turn.first, part.first), end=min(turn.end, part.end)) for turn in turned
              if turn.share(part) > 0.6]
    if not inside:
        return replace(part, shape="straight" if part.shape and chord > 0.97 * part.metres else "")
    degrees, sides = sum(turn.degrees for turn in inside), [turn.side for turn in inside]
    share = sum(turn.frames for turn in inside) / part.frames
    about = [150 <= abs(turn.degrees) <= 215 for turn in inside]
    if len(inside) > 1 and all(about) and share < 0.7:
        return replace(part, shape="pacing", count=0)
    largest, around = max(abs(turn.degrees) for turn in inside), sum(abs(turn.degrees) for turn in inside)
    if len(set(sides)) > 1:
        bends = len(sides) > 2 and all(a != b for a, b in zip(sides, sides[1:]))
        if len(sides) == 2 and min(abs(turn.degrees) for turn in inside) > 45 and largest < 150:
            return replace(part, shape="s-curve", side=sides[0], count=0)
        return replace(part, shape="weave" if bends and largest < 120 else "turns" if around > 180 else "", count=0)
    part = replace(part, side=sides[0], degrees=degrees)
    if abs(_bent(path) - degrees) > 25 + 0.35 * abs(degrees):    # the body turns, but not its path
        return replace(part, shape="turning", count=0)
    if share > 0.6 and part.metres > 0.8:
        if abs(degrees) >= 300:
            return replace(part, shape=_round(path, degrees), count=0)
        names = ((215, "around"), (150, "semicircle"), (0, "curve"))
        return replace(part, shape=next(name for least, name in names if abs(degrees) >= least))
    if len(inside) == 1 and inside[0].frames < 110:
        return replace(part, shape=_corner(part, inside[0], pelvis))
    return replace(part, shape="turning", count=0)


def _bent(path: np.ndarray) -> float:
    """Degrees by which a path (T, 2), x and z, bends to the left."""
    step = np.gradient(path, axis=0)
    pace = np.linalg.norm(step, axis=-1)
    step = step[pace > 0.5 * np.median(pace)]    # where it hardly moves it has no course
    course = np.degrees(np.unwrap(np.arctan2(step[:, 0], step[:, 1])))
    return float(course[-1] - course[0])


def _corner(part: Event, turn: Event, pelvis: np.ndarray) -> str:
    """The shape of a part with a single turn: a corner, there and back, or only a turn at its start or end."""
    start, stop = pelvis[part.first], pelvis[part.end - 1]
    before, after = (np.linalg.norm(pelvis[turn.first] - start), np.linalg.norm(stop - pelvis[turn.end - 1]))
    if min(before, after) < 0.4:
        return "turning"
    if not 150 <= abs(turn.degrees) <= 215:
        return "corner"
    return "there-and-back" if np.linalg.norm(stop - start) < 0.5 * max(before, after) else "about-turn"


def _round(path: np.ndarray, degrees: float) -> str:
    """A circle, a spiral inwards or outwards, or unsure, for a path that turns all the way round."""
    rounds, size, step = abs(degrees) / 360, np.ptp(path, axis=0), np.gradient(path, axis=0)
    bend = abs(np.gradient(np.unwrap(np.arctan2(step[:, 0], step[:, 1]))))
    third = len(path) // 3
    first, last = (np.linalg.norm(step[part], axis=-1).sum() / bend[part].sum() for part in (
        slice(5, third), slice(-third, -5)))    # radii, metres
    if rounds >= 1.2 and max(first, last) > 1.5 * min(first, last):
        return "spiral-in" if first > last else "spiral-out"
    return "around" if size.min() < 0.6 * size.max() else "circles" if rounds >= 1.6 else "circle"


def returns(joints: np.ndarray, ways: list[Event], spins: list[Event]) -> list[Event]:
    """Ways there, half a turn on the spot, and back again, made one each; and the other ways and turns."""
    pelvis = joint(joints, "pelvis")[:, [0, 2]]
    row = sorted(ways + spins, key=lambda event: event.first)
    for there, turn, back in zip(row, row[1:], row[2:]):
        gone = np.linalg.norm(pelvis[there.first] - pelvis[there.end - 1])
        left = np.linalg.norm(pelvis[there.first] - pelvis[back.end - 1])
        if (turn.kind == "turn" and 150 <= abs(turn.degrees) <= 215 and there.kind == back.kind != "turn" and
                there.way == back.way == "forward" and gone > 0.7 and left < 0.5 * gone):
            row = [event for event in row if event not in (there, turn, back)]
            row.append(replace(there, end=back.end, shape="there-and-back", side=turn.side, degrees=turn.degrees,
                               metres=there.metres + back.metres, count=0, lasting=back.lasting))
            return returns(joints, [event for event in row if event.kind != "turn"],
                           [event for event in row if event.kind == "turn"])
    return row


def climbed(joints: np.ndarray, ways: list[Event]) -> list[Event]:
    """The ways, those as climbs that end at another height than they began at: up or down steps."""
    heights = (smooth(joint(joints, "pelvis")[:, 1], 6),
               np.minimum(joint(joints, "left_foot")[:, 1], joint(joints, "right_foot")[:, 1]))
    found = []
    for way in ways:
        rises = [np.median(height[way.end - 8:way.end]) - np.median(height[way.first:way.first + 8])
                 for height in heights]
        if way.frames > FPS and (min(rises) > 0.15 or max(rises) < -0.15):
            steep = max(abs(rises[0]), abs(rises[1])) > 0.35 * way.metres
            way = replace(way, kind="climb", way="up" if rises[0] > 0 else "down", shape="",
                          how="steep" if steep else "")
        found.append(way)
    return found


def jumps(joints: np.ndarray, turned: list[Event]) -> list[Event]:
    """Flights with both feet off the floor, several in a row as one: jumps, and hops on one leg, the side."""
    toes = np.stack([joint(joints, f"{side}_foot")[:, 1] for side in OTHER], axis=1)     # (T, 2)
    height = smooth(joint(joints, "pelvis")[:, 1], 1.5)
    pace = np.linalg.norm(rate(smooth(joint(joints, "pelvis")[:, [0, 2]], 4)), axis=-1)
    upright, rows = above(joints, "neck", "pelvis"), []
    falls = spells(-rate(rate(height)), 6, 3, 4)    # near free fall
    for first, end in (fall for fall in falls if fall[1] - fall[0] > 4):
        before, after = toes[max(first - 9, 0):first + 1], toes[end - 1:end + 9]
        clear = toes[first:end].min(axis=1).max() - max(before.min(), after.min())
        rise = height[first:end].max() - height[[first, end - 1]].max()
        alone = not any(0 < abs(other - first) < 25 for other, _ in falls) and clear > 0.15
        if pace[first:end].mean() > 1.6 and not alone and (rise < 0.08 or end - first < 10):    # a step of a run
            continue
        if clear > (0.07 if end - first < 7 else 0.055) and rise > 0.02 and upright[first:end].all():
            if rows and first - rows[-1][-1][1] < 45:
                rows[-1].append((first, end))
            else:
                rows.append([(first, end)])
    return [_jump(joints, row, toes, turned) for row in rows]


def _jump(joints: np.ndarray, row: list[tuple[int, int]], toes: np.ndarray, turned: list[Event]) -> Event:
    first, end = max(row[0][0] - 6, 0), min(row[-1][1] + 6, len(joints))
    pelvis = joint(joints, "pelvis")
    moved, forward = (pelvis[row[-1][1] - 1] - pelvis[row[0][0]])[None], facing(joints)[row[0][0]][None]
    ahead, left = along(moved, forward)[0], along(moved, to_the_left(forward))[0]
    far = max(0.3, 0.22 * len(row))
    if abs(ahead) > far and abs(ahead) > 2 * abs(left):
        way = "forward" if ahead > 0 else "backward"
    elif abs(left) > far and abs(left) > 2 * abs(ahead):
        way = side_of(left)
    else:
        way = "" if np.hypot(ahead, left) > 0.25 else "up"
    lifted = [side for column, side in enumerate(OTHER) if toes[first:end, column].min() > toes[first:end].min() + 0.1]
    whole = Event("", first - 10, end + 10)
    degrees = [turn.degrees for turn in turned if turn.share(whole) > 0.6 and abs(turn.degrees) > 60]
    rise = pelvis[first:end, 1].max() - np.median(pelvis[:, 1])
    return Event("hop" if lifted else "jump", first, end, OTHER[lifted[0]] if len(lifted) == 1 else "", way,
                 how="high" if rise > 0.35 else "", metres=float(np.hypot(ahead, left)), count=len(row),
                 degrees=degrees[0] if len(degrees) == len(row) == 1 else 0)


def in_place(joints: np.ndarray, others: list[Event]) -> list[Event]:
    """Walking, marching and running that goes nowhere: feet that are lifted in turn."""
    lifts = [(first, end, side) for side in OTHER
             for first, end in spells(smooth(joint(joints, f"{side}_ankle")[:, 1], 1), 0.17, 0.12, 3)
             if end - first < 40 and not Event("", first, end).during(others, 0)]
    rows = []
    for lift in sorted(lifts):
        if rows and lift[2] != rows[-1][-1][2] and lift[0] - rows[-1][-1][1] < 20:
            rows[-1].append(lift)
        else:
            rows.append([lift])
    found, toes = [], np.minimum(joint(joints, "left_foot")[:, 1], joint(joints, "right_foot")[:, 1]) > 0.06
    for row in (row for row in rows if len(row) >= 4):
        first, end = row[0][0], row[-1][1]
        knees = np.mean([(joint(joints, f"{side}_knee") - joint(joints, f"{side}_hip"))[start:stop, 1].max()
                         for start, stop, side in row])
        gone = np.ptp(joint(joints, "pelvis")[first:end, ::2], axis=0).max()
        kind = "run-in-place" if toes[first:end].mean() > 0.1 else "walk-in-place"
        if gone < 0.6:
            found.append(Event(kind, first, end, count=len(row), how="high" if knees > -0.12 else "",
                               **cut_off(first, end, len(joints))))
    return found
