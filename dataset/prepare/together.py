"""Two things at once: the arms of one clip on the legs, the trunk and the path of another (SINC, ICCV 2023).

The arms' local rotations are taken, from the collars to the wrists; all else stays as it was. Of a bow it is the trunk's lean.
Letters: T frames at 30 fps, N frames of another clip, J joints. Metres, y up.
"""

from dataclasses import dataclass, replace

import numpy as np

from dataset.prepare.folder import LONGEST
from dataset.prepare.pieces import Arms, Piece
from dataset.prepare.sequences import frames, load
from motion import measures
from motion.representation_272 import FPS, motion272_to_pose
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from motion.skeleton import JOINT_NAMES, forward_kinematics

EASE = 12         # frames in which an arm leaves the walker's swing, and comes back to it
LEADS = 30        # frames at most that the legs move before the arms do
SWAY = 90         # frames in which a hand that is held up sways once
SHORTEST_LEGS = 60
ARM = ("collar", "shoulder", "elbow", "wrist")


@dataclass(frozen=True)
class Pairing:
    """A clip to be made: arms, what the legs may be, and whether the hands are up from beginning to end."""
    arms: Arms
    legs: tuple[Piece, ...]
    held: bool
    lead: int        # frames before the arms act
    length: int      # frames, if the legs may be cut anywhere and the hands are up all the time


def at_once(pairing: Pairing) -> tuple[tuple[np.ndarray, np.ndarray], Piece] | str:
    """The pose of a pairing, rotations (T, 22, 3, 3) and joints (T, 22, 3), and its legs; or why there is none."""
    problem = "no legs are long enough"
    for legs in pairing.legs:
        made = _held(pairing, legs) if pairing.held else _acting(pairing, legs)
        if made is None:
            continue
        legs, source, share = made
        rotations, pelvis = motion272_to_pose(load(legs).astype(np.float64))
        places = [JOINT_NAMES.index(f"{side}_{name}") for side in pairing.arms.sides for name in ARM]
        rotations[:, places] = between(rotations[:, places], source[:, places], share[:, None])
        joints = forward_kinematics(rotations, pelvis)
        problem = wrong(pairing, joints)
        if problem is None:
            return (rotations, joints), legs
    return problem


def _acting(pairing: Pairing, legs: Piece) -> tuple[Piece, np.ndarray, np.ndarray] | None:
    """Legs that are long enough for all the arms do, that at each of their frames, and how far it shows (T,)."""
    arms = pairing.arms.piece
    acting = arms.end - arms.first
    total = min(legs.end - legs.first, LONGEST)
    if legs.kept is None:
        total = min(total, acting + 2 * pairing.lead)
        legs = replace(legs, end=legs.first + total)
    lead = min(pairing.lead, total - acting)
    if lead < 0:
        return None
    frame = np.arange(total) - lead
    rotations = motion272_to_pose(load(arms).astype(np.float64))[0][frame.clip(0, acting - 1)]
    share = smooth(np.minimum(frame + EASE, acting + EASE - 1 - frame) / EASE)
    return legs, rotations, share


def _held(pairing: Pairing, legs: Piece) -> tuple[Piece, np.ndarray, np.ndarray] | None:
    """Legs, raised arms that wave on or, held up, sway a little, at each of their frames, and how far it shows: all."""
    first, end = pairing.arms.up
    total = legs.end - legs.first
    if legs.kept is None:
        total = min(total, pairing.length)
        legs = replace(legs, end=legs.first + total)
    up = motion272_to_pose(frames(pairing.arms.piece)[first:end].astype(np.float64))[0]
    if total < SHORTEST_LEGS or total > LONGEST:
        return None
    if pairing.arms.waves:
        if len(up) < total:
            return None
        late = (len(up) - total) // 2
        return legs, up[late:late + total], np.ones(total)
    turn = (1 - np.cos(2 * np.pi * np.arange(total) / SWAY)) / 2 * (len(up) - 1)
    before = turn.astype(int).clip(0, len(up) - 2)
    return legs, between(up[before], up[before + 1], (turn - before)[:, None]), np.ones(total)


def smooth(share: np.ndarray) -> np.ndarray:
    """From 0 to 1 without a jerk."""
    share = share.clip(0, 1)
    return share * share * (3 - 2 * share)


def between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) on the shortest way from the first, share (...) 0, to the second, share 1."""
    turn = matrix_to_axis_angle(second @ first.mT)
    return axis_angle_to_matrix(turn * share[..., None]) @ first


def wrong(pairing: Pairing, joints: np.ndarray) -> str | None:
    """What the motion does not do of all that will be said about it."""
    arms = pairing.arms
    for side in arms.sides:
        up = measures.above(joints, f"{side}_wrist", f"{side}_shoulder")
        if pairing.held and up.mean() < 0.95:
            return "a hand is not up all the time"
        if not up.any():
            return "a hand does not rise"
        if arms.waves and measures.swings(joints, side) < 3:
            return "a hand does not wave"
    for side in set(measures.OTHER) - set(arms.sides):
        if not measures.stays_down(joints, side):
            return "the other hand rises, too"
    return None
