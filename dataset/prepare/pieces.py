"""Which frames of a clip may become a part of a composed one: all that its phrase says must happen in them.

A steady walk may be cut anywhere, a turn only around its turning, and a bow not at all; standing still is a motion, too.
Letters: T frames at 30 fps; joints (T, 22, 3). Metres, y up; metres per second.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d

from dataset.prepare.joining import join, performer_of, unlikeness
from motion import measures
from motion.representation_272 import FPS, VELOCITIES, motion272_to_positions, pose_to_motion272

SHORTEST = 36        # frames of a part
MARGIN = 10          # frames that a part may have before and behind its action
LONGEST_ACTION = 220 # frames of an action that is never cut
LASTING = 75         # frames of an action that goes on and on, as dancing does, of which a stretch is as true as the whole
WALKING = 0.35       # m/s; a clip whose median speed is higher travels
STEADY = 0.5         # of the median speed is the least of a steady gait
TURNING = 35         # degrees; less is still straight ahead
WAVING = 50, 80      # frames of a hand that waves, of which the middle is cut out
ALIKE = 0.08         # metres by which the poses and coming poses may differ there
MOVING = 0.3         # m/s of the fastest joint; less before and behind an action is waiting
STILL = 0.2          # m/s of the fastest joint that a standing person sways with
SMOOTH = 9           # frames over which speeds are averaged
STANDING = 0.88      # metres of the pelvis over the floor, at least
# Kinds of which any steady stretch will do, and kinds that go on and on. The others happen once in a clip.
GAITS = re.compile(r"(walk|run|dash|sneak)(?!.*(around|duck|jump|stop|sidestep|start))")
GOES_ON = re.compile(r"acrobatics|animal|basketball|clap|climb|crawl|dance|direct-traffic|drink|exercise|fight|"
                     r"laugh|martial|mop|motorcycle|pantomime|play|punch|signal|sneak|sword|walk|wash|balance")
STILL_KIND = "still"


@dataclass(frozen=True)
class Piece:
    """Frames `first` to `end` of a clip, of which a part must hold `kept`, or any `shortest` frames if that is None."""
    folder: Path
    id: str
    kind: str
    style: str
    phrases: tuple[str, ...]
    first: int
    end: int
    kept: tuple[int, int] | None
    travels: bool
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
    def performer(self) -> str:
        return performer_of(self.id)

    @property
    def least(self) -> int:
        """Frames of its shortest part."""
        return self.kept[1] - self.kept[0] if self.kept else self.shortest


@dataclass(frozen=True)
class Arms:
    """What a clip's arms do on the spot: in `kept` all of it, in `up` with every acting hand above its shoulder."""
    piece: Piece
    sides: tuple[str, ...]
    up: tuple[int, int]
    waves: bool


@dataclass(frozen=True)
class Survey:
    """What a clip is good for."""
    pieces: tuple[Piece, ...]     # its action, and the same shortened
    stands: tuple[Piece, ...]     # stretches in which the body stands still
    arms: tuple[Arms, ...]        # what the arms do, if they are all that moves


def survey(task: tuple[Path, str, str, dict]) -> Survey:
    """What a clip is good for, given its folder, id, kind, and row of phrases.json."""
    folder, name, kind, known = task
    motion = np.load(folder / "motion_data" / f"{name}.npy", allow_pickle=False)
    joints = motion272_to_positions(motion.astype(np.float64))
    whole = Piece(folder, name, kind, known["style"], tuple(known["phrases"]), 0, len(joints), None, False)
    stands = tuple(replace(whole, kind=STILL_KIND, phrases=(), first=first, end=end)
                   for first, end in still_stretches(motion, joints))
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
    return Survey(tuple(piece for piece in pieces if piece.least <= LONGEST_ACTION and piece.end - piece.first >= SHORTEST),
                  stands, tuple(arms))


def still_stretches(motion: np.ndarray, joints: np.ndarray) -> list[tuple[int, int]]:
    """First frames and ends of all stretches in which a body stands upright, arms down, and does no more than sway."""
    upright = (joints[:, 0, 1] > STANDING) & (abs(measures.leaning(joints)) < 20)
    hands_down = ~(measures.above(joints, "left_wrist", "left_elbow") | measures.above(joints, "right_wrist", "right_elbow"))
    return stretches(upright & hands_down & (pace(motion) < STILL), SHORTEST)


def stretches(happens: np.ndarray, shortest: int) -> list[tuple[int, int]]:
    """First frames and ends of the times for which happens (T,) is true for `shortest` frames or more."""
    edges = np.flatnonzero(np.diff(happens, prepend=False, append=False)).tolist()
    return [(first, end) for first, end in zip(edges[::2], edges[1::2]) if end - first >= shortest]


def pace(motion: np.ndarray) -> np.ndarray:
    """How fast (T,) the fastest joint moves in the body's own frame and through the world, smoothed."""
    moved = motion[:, VELOCITIES].reshape(-1, 22, 3).astype(np.float64)
    moved[..., [0, 2]] += motion[:, None, :2]
    speed = np.linalg.norm(moved, axis=-1) * FPS
    speed[0] = speed[1]
    return uniform_filter1d(speed, SMOOTH, axis=0, mode="nearest").max(axis=-1)


def gait(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The root's level speed (T,) in metres per second and the heading (T,) in degrees, both smoothed over half a second."""
    path = uniform_filter1d(joints[:, 0][:, [0, 2]], FPS // 2, axis=0, mode="nearest")
    x, z = measures.facing(joints).T
    heading = uniform_filter1d(np.degrees(np.unwrap(np.arctan2(x, z))), FPS // 2, mode="nearest")
    return np.linalg.norm(np.gradient(path, axis=0), axis=-1) * FPS, heading


def _shortened(whole: Piece, up: tuple[int, int], motion: np.ndarray) -> Piece | None:
    """A clip without the middle of its waving, cut out from a pose to one alike; None if there are no such poses."""
    middle = range(up[0] + FPS // 2, up[1] - FPS // 2, 2)
    found = []
    for last in middle:
        left = np.array([frame for frame in middle if WAVING[0] <= up[1] - up[0] - (frame - last) <= WAVING[1]], dtype=int)
        if len(left):
            unlike = unlikeness(motion[last - 1], motion[left - 1], motion[left])
            found.append((float(unlike.min()), last, int(left[unlike.argmin()])))
    if not found or min(found)[0] > ALIKE:
        return None
    _, *without = min(found)
    return replace(whole, without=tuple(without), end=whole.end - (without[1] - without[0]))


def _action(whole: Piece, motion: np.ndarray, joints: np.ndarray) -> Piece:
    """The piece in which the clip's action happens."""
    speed, heading = gait(joints)
    inner = slice(FPS // 4, -FPS // 4)    # smoothing halts a motion at its ends
    median = float(np.median(speed))
    travels = median > WALKING
    frames = len(joints)
    if travels and GAITS.match(whole.kind) and speed[inner].min() > STEADY * median:
        turned = heading - heading[0]
        if np.ptp(turned) < TURNING:
            return replace(whole, travels=True)
        done = turned / turned[-1] if abs(turned[-1]) >= TURNING else None
        if done is None:
            return replace(whole, kept=(0, frames), travels=True)
        kept = int(np.argmax(done > 0.05)), frames - int(np.argmax(done[::-1] < 0.95))
        kept = max(0, kept[0] - MARGIN // 2), min(frames, kept[1] + MARGIN // 2)
        return replace(whole, kept=kept, first=max(0, kept[0] - FPS), end=min(frames, kept[1] + FPS), travels=True)
    active = np.flatnonzero(pace(motion) > MOVING)
    kept = (int(active[0]), int(active[-1]) + 1) if len(active) and np.ptp(active) >= SHORTEST // 2 else (0, frames)
    if kept[1] - kept[0] > 2 * LASTING and GOES_ON.match(whole.kind):
        return replace(whole, first=kept[0], end=kept[1], shortest=LASTING, travels=travels)
    return replace(whole, kept=kept, first=max(0, kept[0] - MARGIN), end=min(frames, kept[1] + MARGIN), travels=travels)


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
    up = np.all([measures.above(joints, f"{side}_wrist", f"{side}_shoulder") for side in sides], axis=0)
    up[:piece.first] = up[piece.end:] = False
    found = stretches(up, 8)
    if not found or (len(sides) == 1 and not measures.stays_down(part, measures.OTHER[sides[0]])):
        return None
    longest = max(found, key=lambda stretch: stretch[1] - stretch[0])
    waves = all(measures.swings(part, side) >= 3 for side in sides)
    return Arms(piece, sides, longest, waves)
