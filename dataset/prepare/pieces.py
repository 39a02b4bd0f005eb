"""Which frames of a clip may become a part of a composed one: all that its phrase says must happen in them.

A steady walk may be cut anywhere, a turn only around its turning, a bow not at all; standing still is a motion, too.
Letters: T frames at 30 fps; joints (T, 22, 3). Metres, y up; metres per second.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d

from dataset.prepare.joining import BLEND, join, performer_of, unlikeness
from motion import measures
from motion.measures import stretches
from motion.representation_272 import FPS, VELOCITIES, motion272_to_positions, pose_to_motion272
from motion.skeleton import JOINT_NAMES

SHORTEST = 36        # frames of a part
MARGIN = 10          # frames that a part may have before and behind its action
LONGEST_ACTION = 250 # frames of an action that is never cut
LASTING = 75         # frames of an action that goes on and on, of which such a stretch is as true as the whole
WALKING = 0.35       # m/s; a clip whose median speed is higher travels, and a part of it at least a metre
STEADY = 0.6, 1.5    # of the median speed are the least and the most of a steady gait
TURNING = 35         # degrees; less is still straight ahead
ONCE_ROUND = 300     # degrees that make a circle
DRIFTING = 60        # degrees by which a steady gait may go aside from its kind's way, as the body sees it
TURNS_AT = 2         # degrees in a frame; less is the sway of steps
WAVING = 50, 80      # frames of a hand that waves, of which the middle is cut out
ALIKE = 0.08         # metres by which the poses and coming poses may differ there
SHORTEST_UP = 8      # frames of a raised hand
HIGH = 0.05          # metres above the head joint that a wrist is held high
MOVING = 0.3         # m/s of the fastest joint; less before and behind an action is waiting
STILL = 0.2          # m/s of the fastest joint that a standing person sways with
PACES = "stand", "walk", "run"
RUNNING = 1.7        # m/s; a faster body runs
CHANGES = {(1, 0): (0.5, 0.15), (2, 1): (1.9, 1.5)}    # from a pace to a slower one: the speeds of both
CHANGING = 50        # frames in which a body comes from one to the other, at most
RUN_UP = 40          # frames before and behind that with which it is joined
SMOOTH = 9           # frames over which speeds are averaged
STANDING = 0.88      # metres of the pelvis over the floor, at least
LIFTED = 0.12        # metres of toes that are not on the floor
# Kinds of which any steady stretch will do, and kinds that go on and on. The others happen once in a clip.
GAITS = re.compile(r"(walk|run|jog|dash|sneak|march|catwalk)"
                   r"(?!.*(around|duck|jump|stop|sidestep|start|turn-back|to-|reach|aside))")
GOES_ON = re.compile(r"animal|balance|basketball|box|breakdance|carry|catwalk|chicken|clap|(indian-)?dance|direct|"
                     r"dodge|drink|exercise|fight|laugh|march|martial|mop|pantomime|play|punch|push|queue|salsa|scold|"
                     r"signal|sneak|sword|table|tag|tennis|walk|wash")
# Where gaits go, in degrees to the left of where the body faces, if not ahead; those that turn; and of these those that
# go round, of which once is as true as often.
WAYS = {r"walk-back$": 180, r"walk-left$": 90, r"walk-right$": -90}
TURNS = re.compile(r"turn|veer|circle|spiral")
ROUND = re.compile(r"walk-(circle|spiral)")
# Kinds in which even those who walk do something else, and clips of which nobody knows what they show.
BUSY = re.compile(r"ball|tennis|box|fight|martial|punch|dan[cs]|salsa|sword|slash|animal|laugh|balance|push|hit|carry|"
                  r"pass|pick|tag|five|style|catwalk|duck|hands|march|wide|spin|crawl|fall|get-up|slip|throw|other|hop")
STILL_KIND = "still"
# What a body must do that is said to do it: the window of a long take may miss it, and a stretch of that.
DOES = {
    r"walk|run|jog|dash|sneak": lambda joints: np.ptp(joints[:, 0], axis=0).max() > 0.8,
    r"walk-(circle|spiral)": lambda joints: abs(measures.turned(joints)) > 0.8 * ONCE_ROUND,
    r"walk-back$": lambda joints: measures.travelled(joints)[0] < -0.4,
    r"walk-left$": lambda joints: measures.travelled(joints)[1] > 0.4,
    r"walk-right$": lambda joints: measures.travelled(joints)[1] < -0.4,
    r"walk-turn-back": lambda joints: np.ptp(gait(joints)[1]) > 120,
    r"walk-aside-left": lambda joints: _gone_left(joints) > 0.4,
    r"walk-aside-right": lambda joints: _gone_left(joints) < -0.4,
    r"pick": lambda joints: joints[:, WRISTS, 1].min() < 0.6,
    r"sit|squat|crouch": lambda joints: (joints[:, 0, 1] - joints[:, KNEES, 1].max(axis=1)).min() < 0.3,
    r"jump|hop|leap": lambda joints: measures.lowest(joints).max() > 0.08,
    r"kick(?!-ball)": lambda joints: joints[:, FEET, 1].max() > 0.4,
    r"bow": lambda joints: measures.leaning(joints).max() > 20,
    r"raise|wave|bye": lambda joints: any(measures.above(joints, f"{side}_wrist", f"{side}_elbow").any()
                                          for side in measures.OTHER),
    r".*turn.*left": lambda joints: measures.turned(joints) > TURNING,
    r".*turn.*right": lambda joints: measures.turned(joints) < -TURNING,
}
# What is high when something is done: around it a part is cut from a long clip.
HEIGHTS = {r"kick": lambda joints: joints[:, FEET, 1].max(axis=1), r"jump|hop|leap": measures.lowest,
           r"pick": lambda joints: -joints[:, WRISTS, 1].min(axis=1)}
FEET, KNEES, WRISTS = ([JOINT_NAMES.index(f"{side}_{name}") for side in measures.OTHER]
                       for name in ("foot", "knee", "wrist"))


@dataclass(frozen=True)
class Piece:
    """Frames `first` to `end` of a clip; a part must hold those of `kept`, or any `shortest` ones if that is None."""
    folder: Path
    id: str
    kind: str
    style: str
    phrases: tuple[str, ...]
    first: int
    end: int
    kept: tuple[int, int] | None
    speed: float = 0.0   # m/s at which the body goes
    drift: float = 0.0   # degrees to the left of where it faces to which it goes
    shortest: int = SHORTEST
    without: tuple[int, int] = (0, 0)    # frames of the clip that are left out before all else is counted

    @property
    def motion(self) -> np.ndarray:
        """All of its clip (T, 272), which may be mapped, but for what is left out."""
        motion = np.load(self.folder / "motion_data" / f"{self.id}.npy", mmap_mode="r", allow_pickle=False)
        if self.without[1] > self.without[0]:
            pose, _ = join(motion[:self.without[0]], motion[self.without[1]:])
            return pose_to_motion272(*pose)
        return motion

    @property
    def frames(self) -> np.ndarray:
        """(end - first, 272)"""
        return self.motion[self.first:self.end]

    @property
    def travels(self) -> bool:
        return self.speed > WALKING

    @property
    def pace(self) -> int:
        """Which of PACES it has."""
        return int(self.travels) + (self.speed > RUNNING)

    @property
    def performer(self) -> str:
        return performer_of(self.id)

    @property
    def least(self) -> int:
        """Frames of its shortest part."""
        return self.kept[1] - self.kept[0] if self.kept else self.shortest


@dataclass(frozen=True)
class Arms:
    """What a clip's arms do on the spot."""
    piece: Piece
    sides: tuple[str, ...]
    up: tuple[int, int]     # frames of the clip in which every acting hand is high above its shoulder
    high: bool              # and above the head
    waves: bool

    @property
    def kind(self) -> str:
        return self.piece.kind


@dataclass(frozen=True)
class Survey:
    """What a clip is good for."""
    pieces: tuple[Piece, ...]     # its action, and the same shortened
    stands: tuple[Piece, ...]     # stretches in which the body stands still
    changes: tuple[Piece, ...]    # where it goes over from one pace to another
    arms: tuple[Arms, ...]        # what the arms do, if they are all that moves


def survey(task: tuple[Path, str, str, dict]) -> Survey:
    """What a clip is good for, given its folder, id, kind and row of phrases.json; no action if that has no phrases."""
    folder, name, kind, known = task
    motion = np.load(folder / "motion_data" / f"{name}.npy", allow_pickle=False)
    joints = motion272_to_positions(motion.astype(np.float64))
    whole = Piece(folder, name, kind, known["style"], tuple(known["phrases"]), 0, len(joints), None)
    stands = tuple(replace(whole, kind=STILL_KIND, phrases=(), first=first, end=end)
                   for first, end in still_stretches(motion, joints))
    if not whole.phrases:
        return Survey((), stands, changes(whole, joints), ())
    action = _action(whole, motion, joints)
    arms = [_arms(action, joints)]
    if arms[0] and arms[0].waves:
        shortened = _shortened(whole, arms[0].up, motion)
        if shortened:
            motion = shortened.motion
            joints = motion272_to_positions(motion.astype(np.float64))
            arms.append(_arms(_action(shortened, motion, joints), joints))
    arms = [found for found in arms if found]
    pieces = dict.fromkeys([action, *(found.piece for found in arms[1:] if found.waves)])
    return Survey(tuple(piece for piece in pieces if 2 * BLEND <= piece.least <= LONGEST_ACTION
                        and does(kind, motion272_to_positions(piece.frames))),
                  stands, changes(whole, joints), tuple(arms))


def does(kind: str, joints: np.ndarray) -> bool:
    """Whether a body does what a kind says, as far as that is easily measured."""
    return all(done(joints) for kinds, done in DOES.items() if re.match(kinds, kind))


def _gone_left(joints: np.ndarray) -> float:
    """Metres that a body ends up to the left of where it was, as it faced then."""
    aside = measures.to_the_left(measures.facing(joints[:1]))
    return float(measures.along(joints[-1:, 0] - joints[:1, 0], aside)[0])


def still_stretches(motion: np.ndarray, joints: np.ndarray) -> list[tuple[int, int]]:
    """First frames and ends of all stretches in which a body stands on both feet, arms down, and only sways."""
    feet_down = np.all([measures.joint(joints, f"{side}_foot")[:, 1] < LIFTED for side in measures.OTHER], axis=0)
    return stretches(feet_down & at_ease(joints, "elbow", STANDING, 20) & (pace(motion) < STILL), SHORTEST)


def at_ease(joints: np.ndarray, below: str, height: float, lean: float) -> np.ndarray:
    """Whether (T,) hands are below another joint of their arms, the pelvis above a height, and the trunk leans less."""
    hands_up = [measures.above(joints, f"{side}_wrist", f"{side}_{below}") for side in measures.OTHER]
    return (joints[:, 0, 1] > height) & (abs(measures.leaning(joints)) < lean) & ~np.any(hands_up, axis=0)


def slowings(speed: np.ndarray, easy: np.ndarray, fast: float, slow: float) -> list[tuple[int, int]]:
    """First and last frames of all times in which a speed (T,) falls from above one to below another, at ease."""
    goes, found = speed > fast, []
    for last in np.flatnonzero(goes[:-1] & ~goes[1:]).tolist():
        slowed = last + int(np.argmax(speed[last:last + CHANGING] < slow))
        if slowed > last and not goes[last + 1:slowed].any() and easy[max(0, last - FPS // 2):slowed + 1].all():
            found.append((last, slowed))
    return found


def changes(whole: Piece, joints: np.ndarray) -> tuple[Piece, ...]:
    """The pieces of a clip in which the body goes over from one pace to another, as their kind says."""
    if BUSY.search(whole.kind):
        return ()
    found, frames = [], len(joints)
    speed, heading, drift = gait(joints)
    easy = at_ease(joints, "shoulder", 0.75 * STANDING, 40)
    for onward in (1, -1):    # what slows down, seen backwards, speeds up
        for (faster, slower), (fast, slow) in CHANGES.items():
            for first, last in slowings(speed[::onward], easy[::onward], fast, slow):
                cuts = (max(0, first - RUN_UP), first, last + 1, min(frames, last + 1 + (RUN_UP if slower else MARGIN)))
                begin, *kept, end = cuts if onward > 0 else [frames - cut for cut in reversed(cuts)]
                running = slice(begin, kept[0] + 1) if onward > 0 else slice(kept[1] - 1, end)
                if np.ptp(heading[begin:end]) < TURNING and np.ptp(drift[running]) < DRIFTING:
                    kind = change_kind(*(faster, slower)[::onward])
                    found.append(replace(whole, kind=kind, phrases=(), first=begin, end=end, kept=tuple(kept),
                                         speed=float(np.median(speed[running])), drift=_angle(drift[running])))
    return tuple(found)


def _angle(drift: np.ndarray) -> float:
    """The median of angles in degrees, between -180 and 180."""
    return float((np.median(drift) + 180) % 360 - 180)


def change_kind(before: int, after: int) -> str:
    """What pieces are called in which a body goes over from one pace to another; a run, too, ends as a walk."""
    if not before or not after:
        before, after = min(before, 1), min(after, 1)
    return f"{PACES[before]} to {PACES[after]}"


def pace(motion: np.ndarray) -> np.ndarray:
    """How fast (T,) the fastest joint moves in the body's own frame and through the world, smoothed."""
    moved = motion[:, VELOCITIES].reshape(-1, 22, 3).astype(np.float64)
    moved[..., [0, 2]] += motion[:, None, :2]
    speed = np.linalg.norm(moved, axis=-1) * FPS
    speed[0] = speed[1]
    return uniform_filter1d(speed, SMOOTH, axis=0, mode="nearest").max(axis=-1)


def gait(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How a root goes, smoothed over half a second: its level speed (T,) in metres per second, where the body faces and
    how far to the left of that it goes, both (T,) in degrees without leaps."""
    x, z = measures.facing(joints).T
    course = np.concatenate([joints[:, 0][:, [0, 2]], np.degrees(np.unwrap(np.arctan2(x, z)))[:, None]], axis=1)
    half = FPS // 4
    course = np.pad(course, ((half, half), (0, 0)), mode="reflect", reflect_type="odd")    # goes on beyond its ends
    course = uniform_filter1d(course, 2 * half + 1, axis=0)[half:-half]
    x, z = np.gradient(course[:, :2], axis=0).T
    drift = np.degrees(np.unwrap(np.arctan2(x, z))) - course[:, 2]
    return np.hypot(x, z) * FPS, course[:, 2], drift


def _shortened(whole: Piece, up: tuple[int, int], motion: np.ndarray) -> Piece | None:
    """A clip without the middle of its waving, cut out from a pose to one alike; None if there are no such poses."""
    middle = range(up[0] + FPS // 2, up[1] - FPS // 2, 2)
    found = []
    for last in middle:
        left = [frame for frame in middle if frame > last and WAVING[0] <= up[1] - up[0] - (frame - last) <= WAVING[1]]
        if len(left):
            unlike = unlikeness(motion[last - 1], motion[np.array(left) - 1], motion[left])
            found.append((float(unlike.min()), last, left[unlike.argmin()]))
    if not found or min(found)[0] > ALIKE:
        return None
    _, *without = min(found)
    return replace(whole, without=tuple(without), end=whole.end - (without[1] - without[0]))


def _action(whole: Piece, motion: np.ndarray, joints: np.ndarray) -> Piece:
    """The piece in which the clip's action happens."""
    speed, heading, drift = gait(joints)
    whole, frames = replace(whole, speed=float(np.median(speed)), drift=_angle(drift)), len(joints)
    if GAITS.match(whole.kind):
        go = _turning if TURNS.search(whole.kind) else _straight
        if going := go(whole, speed, heading, drift):
            return going
    active = np.flatnonzero(pace(motion) > MOVING)
    kept = (int(active[0]), int(active[-1]) + 1) if len(active) and np.ptp(active) >= SHORTEST // 2 else (0, frames)
    for kinds, height in HEIGHTS.items():
        if kept[1] - kept[0] > 2 * LASTING and re.match(kinds, whole.kind):
            highest = int(height(joints).argmax())
            kept = max(kept[0], highest - LASTING // 2), min(kept[1], highest + LASTING // 2)
    if kept[1] - kept[0] > 2 * LASTING and GOES_ON.match(whole.kind):
        return replace(whole, first=kept[0], end=kept[1], shortest=LASTING)
    return replace(whole, kept=kept, first=max(0, kept[0] - MARGIN), end=min(frames, kept[1] + MARGIN))


def _straight(whole: Piece, speed: np.ndarray, heading: np.ndarray, drift: np.ndarray) -> Piece | None:
    """The longest steady stretch in which a body goes where its kind says, any part of which is as true."""
    way = next((degrees for kinds, degrees in WAYS.items() if re.match(kinds, whole.kind)), 0)
    ahead, straight = abs((drift - way + 180) % 360 - 180) < DRIFTING, abs(np.gradient(heading)) < TURNS_AT
    goes = ahead & straight & (speed > WALKING)
    if not goes.any():
        return None
    least, most = (share * np.median(speed[goes]) for share in STEADY)
    found = stretches(goes & (least < speed) & (speed < most), SHORTEST)
    if not found:
        return None
    first, end = max(found, key=lambda stretch: stretch[1] - stretch[0])
    if np.ptp(heading[first:end]) > TURNING:
        return None
    median = float(np.median(speed[first:end]))
    return replace(whole, first=first, end=end, speed=median, drift=_angle(drift[first:end]),
                   shortest=max(SHORTEST, min(end - first, round(FPS / median))))


def _turning(whole: Piece, speed: np.ndarray, heading: np.ndarray, drift: np.ndarray) -> Piece | None:
    """A steady walk around its turning, or once round; None if it is not steady or hardly turns."""
    least, most = (share * whole.speed for share in STEADY)
    turned = heading - heading[0]
    steady = least < speed.min() and speed.max() < most and np.ptp(drift) < 2 * DRIFTING
    if not whole.travels or not steady or abs(turned[-1]) < TURNING:
        return None
    frames = len(speed)
    if ROUND.match(whole.kind):
        return replace(whole, shortest=min(frames, round(frames * ONCE_ROUND / abs(turned[-1]))))
    done = turned / turned[-1]
    kept = int(np.argmax(done > 0.05)), frames - int(np.argmax(done[::-1] < 0.95))
    kept = max(0, kept[0] - MARGIN // 2), min(frames, kept[1] + MARGIN // 2)
    return replace(whole, kept=kept, first=max(0, kept[0] - FPS), end=min(frames, kept[1] + FPS))


def _arms(piece: Piece, joints: np.ndarray) -> Arms | None:
    """What the arms of a piece do, None if they do nothing on the spot that legs may walk away with."""
    part = joints[piece.first:piece.end]
    spread = np.ptp(part[:, 0], axis=0)
    if piece.travels or max(spread) > 0.25 or abs(measures.leaning(part)).max() > 30:
        return None
    told = " ".join([piece.kind, *(phrase for phrase in piece.phrases if "while" not in phrase)])
    sides = tuple(side for side in measures.OTHER if re.search(rf"\b({side}|both|two)\b", told))
    if not sides:
        return None
    if len(sides) == 1 and not measures.stays_down(part, measures.OTHER[sides[0]]):
        return None
    waves = all(measures.swings(part, side) >= 3 for side in sides)
    hands, heads, shoulders = (np.stack([measures.joint(joints, name.format(side))[:, 1] for side in sides])
                               for name in ("{}_wrist", "head", "{}_shoulder"))
    lift = (hands - heads).min(axis=0)    # (T,)
    high = lift[piece.first:piece.end].max() > HIGH
    lift = lift if high else (hands - shoulders).min(axis=0)
    lift[:piece.first] = lift[piece.end:] = 0
    found = stretches(lift > lift.max() * (0.2 if waves else 0.6), SHORTEST_UP) if lift.max() > 0 else []
    if not found:
        return None
    longest = max(found, key=lambda stretch: stretch[1] - stretch[0])
    return Arms(piece, sides, longest, high, waves)
