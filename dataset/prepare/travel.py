"""Where a body goes: the parts of a motion that travel, each with its gait, way, shape, pace and steps.

Letters: T frames, 30 per second; joints (T, 22, 3) in metres, y up. Degrees, positive to the left. What is not sure
is left empty: a part that is neither surely a walk nor surely a run is a "move".
"""

from dataclasses import dataclass, replace

import numpy as np

from motion.measures import OTHER, facing, flown, heading, joint, rate, smooth, spells
from motion.representation_272 import FPS

SWAY = 8             # frames: what a path is smoothed by, to be free of the gait's sway
YAW = 10             # frames: what a heading is smoothed by
WAYS = ("forward", "forward-left", "left", "backward-left", "backward", "backward-right", "right", "forward-right")


@dataclass(frozen=True)
class Event:
    """Something that a body does from frame `first` to before frame `end`."""
    kind: str
    first: int
    end: int
    side: str = ""           # left, right or both: of a limb, or where a turn or a curve goes
    way: str = ""            # one of WAYS, seen from the body
    shape: str = ""          # of a path: straight, curve, circle, ...
    how: str = ""            # a pace, a height, ...
    metres: float = 0
    degrees: float = 0
    count: int = 0
    open: bool = False       # it had begun before the clip, or goes on after it

    @property
    def frames(self) -> int:
        return self.end - self.first


def side_of(degrees: float) -> str:
    return "left" if degrees > 0 else "right"


def steps(joints: np.ndarray, side: str) -> list[tuple[int, int]]:
    """Times in which a foot is carried to another place: (first frame, frame behind the last)."""
    foot = (joint(joints, f"{side}_foot") + joint(joints, f"{side}_ankle"))[:, [0, 2]] / 2
    pace = np.linalg.norm(rate(smooth(foot, 1.5)), axis=-1)
    return [(first, end) for first, end in spells(pace, 0.7, 0.35, 4)
            if np.linalg.norm(foot[end - 1] - foot[first]) > 0.12]


def turns(joints: np.ndarray) -> list[Event]:
    """When the body turns, by 30 degrees at least, and by how much; also while it travels."""
    angles = smooth(heading(joints), YAW)
    found = []
    for sign in (1, -1):
        for first, end in spells(sign * rate(angles), 25, 12, 6):
            degrees = float(angles[end - 1] - angles[first])
            if abs(degrees) >= 30:
                found.append(Event("turn", first, end, side_of(degrees), degrees=degrees))
    return sorted(found, key=lambda turn: turn.first)


def travels(joints: np.ndarray) -> list[Event]:
    """The parts of a motion that go somewhere on foot, in order."""
    pelvis = smooth(joint(joints, "pelvis")[:, [0, 2]], SWAY)
    velocity = rate(pelvis)
    speed = np.linalg.norm(velocity, axis=-1)
    ahead = smooth(facing(joints), SWAY)
    across = np.stack([ahead[:, 1], -ahead[:, 0]], axis=-1)
    course = smooth(np.stack([(velocity * ahead).sum(-1), (velocity * across).sum(-1)], axis=-1), 4)  # ahead, left
    quarter = np.round(np.degrees(np.arctan2(course[:, 1], course[:, 0])) / 90).astype(int) % 4
    running = np.convolve(flown(joints), np.ones(FPS) / FPS, "same") > 0.1
    carried = {side: steps(joints, side) for side in OTHER}
    turned, found = turns(joints), []
    for first, end in spells(speed, 0.3, 0.15, 10):
        for start, stop in _parts(2 * quarter + running, first, end, 14):
            part = _travel(joints, start, stop, pelvis, speed, course, carried)
            if part is not None:
                part = replace(part, open=part.open or start > first or stop < end)
                found.append(_shaped(part, turned, pelvis))
    return found


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
            carried: dict[str, list[tuple[int, int]]]) -> Event | None:
    """One part that goes one way; None if it is no going on foot."""
    metres = float(np.linalg.norm(np.diff(pelvis[first:end], axis=0), axis=-1).sum())
    within = sorted((start, stop, side) for side, found in carried.items() for start, stop in found
                    if first <= (start + stop) / 2 < end)
    if metres < 0.4 or not within or np.median(joints[first:end, 0, 1]) < 0.62:
        return None
    angle = np.degrees(np.arctan2(*course[first:end].sum(0)[::-1]))
    spread = np.abs((np.degrees(np.arctan2(course[first:end, 1], course[first:end, 0])) - angle + 180) % 360 - 180)
    pace = float(np.median(np.sort(speed[first:end])[(end - first) // 2:]))
    flight = flown(joints)[first:end].mean()
    cadence = len(within) / (end - first) * FPS
    kind = "run" if flight > 0.08 and pace > 1.4 else "walk" if flight < 0.02 and pace < 1.9 and cadence < 2.5 else "move"
    alternate = all(a[2] != b[2] for a, b in zip(within, within[1:]))
    open_ = first < 8 or end > len(joints) - 8
    return Event(kind, first, end, way=WAYS[round(angle / 45) % 8] if np.median(spread) < 25 else "",
                 how=_pace(kind, pace), metres=metres, open=open_,
                 count=len(within) if alternate and not open_ else 0)


def _pace(kind: str, speed: float) -> str:
    """A word for a gait's metres per second; empty between two."""
    bounds = {"walk": [(0.62, "slow"), (0.75, ""), (1.4, "normal"), (1.5, ""), (9, "fast")],
              "run": [(2.4, "jog"), (3.2, ""), (4.3, "fast"), (99, "sprint")], "move": [(99, "")]}
    return next(word for bound, word in bounds[kind] if speed < bound)


def _shaped(part: Event, turned: list[Event], pelvis: np.ndarray) -> Event:
    """The part with the shape of its path, from the turns in it."""
    if part.way not in ("forward", "backward"):
        return part
    inside = [replace(turn, first=max(turn.first, part.first), end=min(turn.end, part.end)) for turn in turned
              if min(turn.end, part.end) - max(turn.first, part.first) > 0.6 * turn.frames]
    path = pelvis[part.first:part.end]
    degrees = sum(turn.degrees for turn in inside)
    share = sum(turn.frames for turn in inside) / part.frames
    sides = [turn.side for turn in inside]
    if not inside:
        straight = np.linalg.norm(path[-1] - path[0]) > 0.97 * part.metres
        return replace(part, shape="straight" if straight else "")
    if len(set(sides)) == 1:
        part = replace(part, side=sides[0], degrees=degrees)
        if abs(degrees) >= 300 and share > 0.7:
            return replace(part, shape=_round(path, degrees))
        if 150 <= abs(degrees) <= 215 and share > 0.7 and part.metres > 1.5:
            return replace(part, shape="semicircle")
        if abs(degrees) < 150 and share > 0.65:
            return replace(part, shape="curve")
        if len(inside) == 1 and inside[0].frames < 80:
            return replace(part, shape=_corner(part, inside[0], path, pelvis))
        return replace(part, shape="turns", side="", count=0)
    bends = len(sides) >= 3 and all(a != b for a, b in zip(sides, sides[1:]))
    return replace(part, shape="weave" if bends and max(abs(turn.degrees) for turn in inside) < 120 else "turns", count=0)


def _corner(part: Event, turn: Event, path: np.ndarray, pelvis: np.ndarray) -> str:
    """The shape of a part with a single turn: a corner, there and back, or unsure."""
    before, after = turn.first - part.first, part.end - turn.end
    gone = [np.linalg.norm(path[before] - path[0]), np.linalg.norm(path[-1] - pelvis[turn.end - 1])]
    if min(gone) < 0.4:
        return "turning"
    back = 150 <= abs(turn.degrees) <= 215
    if back and np.linalg.norm(path[-1] - path[0]) < 0.5 * max(gone):
        return "there-and-back"
    return "about-turn" if back else "corner"


def _round(path: np.ndarray, degrees: float) -> str:
    """A circle, a spiral inwards or outwards, or unsure, for a path that turns all the way round."""
    turns_ = abs(degrees) / 360
    span = [np.ptp(piece, axis=0).max() for piece in np.array_split(path, max(2, round(turns_)))]
    size = np.ptp(path, axis=0)
    if turns_ >= 1.6 and span[0] > 1.6 * span[-1]:
        return "spiral-in"
    if turns_ >= 1.6 and span[-1] > 1.6 * span[0]:
        return "spiral-out"
    return "circle" if size.min() > 0.6 * size.max() else "around"
