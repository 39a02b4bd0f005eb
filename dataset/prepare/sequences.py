"""Two or three parts one after another, each cut where the next one goes on best.

Letters: T frames at 30 fps. Metres, y up.
"""

from dataclasses import dataclass, replace

import numpy as np

from dataset.prepare.folder import LONGEST
from dataset.prepare.joining import BENT, BLEND, SUNK, Unfit, join, unlikeness
from dataset.prepare.pieces import Piece, does
from motion.representation_272 import FPS, ROOT_VELOCITY, motion272_to_positions, pose_to_motion272

UNLIKE = 0.40     # metres by which the poses and coming poses of a join may differ
ABRUPT = 0.7      # m/s by which the body's velocity may change
SNAP = 150        # m/s²: no joint of a runner is faster to change
STEP = 3          # frames between the places that are tried
SLACK = 12        # frames that a part in the middle may be longer or shorter
UNJOINED = f"not joined: all poses differ by more than {UNLIKE} m, or speeds by {ABRUPT} m/s"
TRIES = 4         # joins that are made before a chain is given up


@dataclass(frozen=True)
class Chain:
    """A sequence to be made: what each part may be, and its frames if it may be cut anywhere."""
    options: tuple[tuple[Piece, ...], ...]
    lengths: tuple[int, ...]
    detour: "Chain | None" = None      # the same with halts and starts between, to be made if this one cannot


@dataclass(frozen=True)
class Seam:
    """A piece that is cut, and one that goes on from its own frame `first`."""
    unlike: float
    before: Piece
    after: Piece


def in_sequence(chain: Chain) -> tuple[np.ndarray, list[Piece]]:
    """The motion (T, 272) of a chain and its parts as they were cut.

    raises   Unfit if no parts go on from one another
    """
    problem = Unfit(UNJOINED)
    for seam in _seams(chain, 0, chain.options[0], False)[:TRIES]:
        try:
            return _follow(chain, seam)
        except Unfit as found:
            problem = found
    if chain.detour:
        return in_sequence(chain.detour)
    raise problem


def _follow(chain: Chain, seam: Seam) -> tuple[np.ndarray, list[Piece]]:
    """A chain whose first seam is given; each later one is the best."""
    parts, motion = [seam.before], seam.before.frames
    for number in range(1, len(chain.options)):
        part = seam.after
        if number + 1 < len(chain.options):
            seams = _seams(chain, number, (part,), True)
            if not seams:
                raise Unfit(UNJOINED)
            seam = seams[0]
            part = seam.before
        elif part.kept is None:
            part = replace(part, end=min(part.end, part.first + max(chain.lengths[number], part.shortest)))
        pose, bent = join(motion, part.frames)
        if bent > BENT or abs(pose[1][..., 1].min()) > SUNK:
            raise Unfit(f"not joined: the blend turns a joint by {BENT} degrees or sinks {100 * SUNK:g} cm")
        changes = np.diff(pose[1][len(motion) - 2:len(motion) + BLEND + 2], 2, axis=0) * FPS**2
        if np.linalg.norm(changes, axis=-1).max() > SNAP:
            raise Unfit(f"not joined: the blend snaps a joint by {SNAP} m/s² or more")
        motion = pose_to_motion272(*pose)
        parts.append(part)
    if len(motion) > LONGEST:
        raise Unfit(f"longer than {LONGEST} frames")
    for part in parts:
        if not does(part.kind, motion272_to_positions(part.frames)):
            raise Unfit("a part that does not all that it should, being cut")
    return motion, parts


def _seams(chain: Chain, number: int, befores: tuple[Piece, ...], begun: bool) -> list[Seam]:
    """The likely seams of part `number` and the next, one for each two clips, the best first.

    begun   the part's first frame is settled
    """
    found = []
    for before in befores:
        for after in chain.options[number + 1]:
            lengths = [min(max(length, piece.shortest), piece.end - piece.first, LONGEST - other.least)
                       for length, piece, other in zip(chain.lengths[number:], (before, after), (after, before))]
            seam = _best(before, after, *lengths, begun)
            if seam.unlike < UNLIKE:
                found.append(seam)
    return sorted(found, key=lambda seam: seam.unlike)


def _best(before: Piece, after: Piece, length: int, later: int, begun: bool) -> Seam:
    """The best place to go from one piece to another, whose frames they have if they may be cut anywhere."""
    if before.kept:
        ends = range(before.kept[1], before.end + 1, STEP)
    elif begun:
        ends = range(min(before.end, before.first + max(before.shortest, length - SLACK)),
                     min(before.end, before.first + length + SLACK) + 1, STEP)
    else:
        ends = range(before.first + length, before.end + 1, STEP)
    if begun:
        ends = [end for end in ends if end - before.first > BLEND]
    starts = np.arange(after.first, max(after.kept[0] if after.kept else after.end - later, after.first + 1), 2)
    motion, next_ = before.motion, after.motion
    if not ends:
        return Seam(np.inf, before, after)
    last = motion[np.array(ends) - 1, None]
    unlike = unlikeness(last, next_[starts], next_[starts + 1])
    change = last[..., ROOT_VELOCITY] - next_[starts + 1, ROOT_VELOCITY]
    unlike[np.linalg.norm(change, axis=-1) > ABRUPT / FPS] = np.inf
    place, start = np.unravel_index(unlike.argmin(), unlike.shape)
    end = ends[place]
    first = before.first if before.kept or begun else end - length
    after = replace(after, first=int(starts[start]) + 1)
    return Seam(float(unlike.min()), replace(before, first=first, end=end), after)
