"""Two things at once: the arms of one clip on the legs, the trunk and the path of another (SINC, ICCV 2023).

The arms' local rotations are taken, from the collars to the wrists; all else stays as it was. Of a bow it is the lean.
Letters: T frames at 30 fps, N frames of another clip, J joints. Metres, y up.
"""

from dataclasses import dataclass, replace

import numpy as np

from dataset.prepare.folder import LONGEST
from dataset.prepare.joining import Unfit, facing_of
from dataset.prepare.pieces import Arms, Piece, does
from motion import measures
from motion.representation_272 import motion272_to_pose
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle, y_rotation
from motion.skeleton import JOINT_NAMES, PARENTS, forward_kinematics, local_to_global

EASE = 12         # frames in which an arm leaves the walker's swing, and comes back to it
LEADS = 30        # frames at most that the legs move before the arms do
SWAY = 90         # frames in which a hand that is held up sways once
SHORTEST_LEGS = 60
DEEP = 20         # degrees that a bow leans further than the walk
SPINE = tuple(JOINT_NAMES.index(name) for name in ("spine1", "spine2", "spine3"))
ARM = {side: [JOINT_NAMES.index(f"{side}_{name}") for name in ("collar", "shoulder", "elbow", "wrist")]
       for side in measures.OTHER}


@dataclass(frozen=True)
class Pairing:
    """A clip to be made: arms, what the legs may be, and whether the hands are up from beginning to end."""
    arms: Arms
    legs: tuple[Piece, ...]
    held: bool
    lead: int        # frames before the arms act
    length: int      # frames, if the legs may be cut anywhere and the hands are up all the time
    where: float     # 0 to 1: from which part of such legs they are


@dataclass(frozen=True)
class Bowing:
    """A clip to be made: a bow on legs that walk."""
    bow: Piece
    legs: tuple[Piece, ...]
    lead: int        # frames before the bow
    where: float     # as for a pairing


def at_once(pairing: Pairing) -> tuple[tuple[np.ndarray, np.ndarray], Piece]:
    """The pose of a pairing, rotations (T, 22, 3, 3) and joints (T, 22, 3), and its legs as they were cut.

    raises   Unfit if with none of the legs the motion does all that will be said about it
    """
    problem = Unfit("no legs are long enough")
    for legs in pairing.legs:
        try:
            legs, source, share = _held(pairing, legs) if pairing.held else _acting(pairing, legs)
            rotations, pelvis = motion272_to_pose(legs.frames.astype(np.float64))
            if not does(legs.kind, forward_kinematics(rotations, pelvis)):
                raise Unfit("legs that do not all that they should, being cut")
            for side in pairing.arms.sides:
                arm = ARM[side]
                rotations[:, arm] = between(rotations[:, arm], source[:, arm], share[:, None])
            joints = forward_kinematics(rotations, pelvis)
            judge(pairing, joints)
            return (rotations, joints), legs
        except Unfit as found:
            problem = found
    raise problem


def _acting(pairing: Pairing, legs: Piece) -> tuple[Piece, np.ndarray, np.ndarray]:
    """Legs that are long enough for all the arms do, rotations of that (T, 22, 3, 3), and how far it shows (T,)."""
    arms = pairing.arms.piece
    acting = arms.end - arms.first
    total = min(legs.end - legs.first, LONGEST)
    if legs.kept is None:
        total = min(total, max(acting + 2 * pairing.lead, legs.shortest))
        legs = cut(legs, total, pairing.where)
    lead = min(pairing.lead, total - acting)
    if lead < 0:
        raise Unfit("no legs are long enough")
    frame = np.arange(total) - lead
    rotations = motion272_to_pose(arms.frames.astype(np.float64))[0][frame.clip(0, acting - 1)]
    share = smooth(np.minimum(frame + EASE, acting + EASE - 1 - frame) / EASE)
    return legs, rotations, share


def _held(pairing: Pairing, legs: Piece) -> tuple[Piece, np.ndarray, np.ndarray]:
    """Legs, rotations (T, 22, 3, 3) of raised arms that wave on, or stay up and sway a little, and that all shows."""
    first, end = pairing.arms.up
    up = motion272_to_pose(pairing.arms.piece.motion[first:end].astype(np.float64))[0]
    total = legs.end - legs.first
    if legs.kept is None:
        total = min(total, max(pairing.length, legs.shortest), len(up) if pairing.arms.waves else total)
        legs = cut(legs, total, pairing.where)
    if not max(SHORTEST_LEGS, legs.least) <= total <= (len(up) if pairing.arms.waves else LONGEST):
        raise Unfit("no legs are as long as hands are up")
    if pairing.arms.waves:
        late = (len(up) - total) // 2
        return legs, up[late:late + total], np.ones(total)
    turn = (1 - np.cos(2 * np.pi * np.arange(total) / SWAY)) / 2 * (len(up) - 1)
    before = turn.astype(int).clip(0, len(up) - 2)
    return legs, between(up[before], up[before + 1], (turn - before)[:, None]), np.ones(total)


def bow_walking(bowing: Bowing) -> tuple[tuple[np.ndarray, np.ndarray], Piece]:
    """As `at_once`, but legs whose trunk leans as another's does: by how the chest has turned since the bow began."""
    lean = _lean(bowing.bow)
    for legs in bowing.legs:
        total = min(legs.end - legs.first, max(len(lean) + 2 * bowing.lead, legs.least), LONGEST)
        begin = min(bowing.lead, total - len(lean))
        if begin < 0:
            continue
        legs = cut(legs, total, bowing.where)
        rotations, pelvis = motion272_to_pose(legs.frames.astype(np.float64))
        upright = measures.leaning(forward_kinematics(rotations, pelvis))
        turned, facing = local_to_global(rotations), y_rotation(facing_of(rotations))
        share = np.pad(lean, ((begin, total - begin - len(lean)), (0, 0)))
        for number, spine in enumerate(SPINE, start=1):
            turned[:, spine] = facing @ axis_angle_to_matrix(share * number / len(SPINE)) @ facing.mT @ turned[:, spine]
            rotations[:, spine] = turned[:, PARENTS[spine]].mT @ turned[:, spine]
        for collar, shoulder, *_ in ARM.values():    # the arms hang and swing as before
            rotations[:, shoulder] = (turned[:, SPINE[-1]] @ rotations[:, collar]).mT @ turned[:, shoulder]
        joints = forward_kinematics(rotations, pelvis)
        leaning = measures.leaning(joints) - upright.max()
        if leaning.max() > DEEP and max(leaning[0], leaning[-1]) < DEEP / 4 and does(legs.kind, joints):
            return (rotations, joints), legs
    raise Unfit("no legs are long enough for the bow, or upright before and behind it")


def _lean(bow: Piece) -> np.ndarray:
    """How a chest has turned (N, 3) since a bow began, axis-angle in the body's heading; it begins and ends at 0."""
    rotations, _ = motion272_to_pose(bow.frames.astype(np.float64))
    chest = y_rotation(facing_of(rotations)).mT @ local_to_global(rotations)[:, SPINE[-1]]
    lean = matrix_to_axis_angle(chest @ chest[0].T)
    lean[:, 1] = 0    # it does not twist
    ends = np.minimum(np.arange(len(lean)), np.arange(len(lean))[::-1])
    return lean * smooth(ends / EASE)[:, None]


def cut(legs: Piece, frames: int, where: float) -> Piece:
    """So many frames of a piece; `where` 0 its first, 1 its last."""
    first = legs.first + round(where * (legs.end - legs.first - frames))
    return replace(legs, first=first, end=first + frames)


def smooth(share: np.ndarray) -> np.ndarray:
    """From 0 to 1 without a jerk."""
    share = share.clip(0, 1)
    return share * share * (3 - 2 * share)


def between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) on the shortest way from the first, share (...) 0, to the second, share 1."""
    turn = matrix_to_axis_angle(second @ first.mT)
    return axis_angle_to_matrix(turn * share[..., None]) @ first


def judge(pairing: Pairing, joints: np.ndarray) -> None:
    """raises Unfit if a motion (T, 22, 3) does not do all that will be said about it"""
    arms = pairing.arms
    for side in arms.sides:
        up = measures.above(joints, f"{side}_wrist", "head" if arms.high and not arms.waves else f"{side}_shoulder")
        if pairing.held and up.mean() < 0.95:
            raise Unfit("a hand is not up all the time")
        if not up.any():
            raise Unfit("a hand does not rise")
        if arms.waves and measures.swings(joints, side) < 3:
            raise Unfit("a hand does not wave")
    for side in set(measures.OTHER) - set(arms.sides):
        if not measures.stays_down(joints, side):
            raise Unfit("the other hand rises, too")
