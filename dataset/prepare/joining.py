"""Joining motions: what follows goes on where and as fast as what came before, and nothing is torn.

Letters: T and S frames at 30 fps. Metres, radians, y up.
"""

import re

import numpy as np

from motion.representation_272 import POSITIONS, ROOT_VELOCITY, VELOCITIES, motion272_to_pose
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle, y_rotation
from motion.skeleton import PARENTS, forward_kinematics, local_to_global

BLEND = 14              # frames of the second motion that a join changes
SUNK = 0.01             # metres that a join's lowest joint may be off the floor
BENT = 150              # degrees that a blend may turn a joint: a raised hand may have to come down
AHEAD = 5               # frames: poses are compared as they are and as they will be
LOW, SLOW = 0.06, 0.015 # metres over the floor, metres per frame: toes that are lower and slower stand
LIFT, HIGHEST = 0.35, 0.08           # of the metres that a foot steps aside, and metres: how high it does
SOFT = 0.04             # of a leg's length: within that from its full stretch it resists
HINGE = 0.1             # how far the thigh's own x says about which axis a knee bends, which a straight one does not
FEET = ([7, 10], [8, 11])            # ankle and toes
LEGS = ((1, 4, 7), (2, 5, 8))        # hip, knee, ankle
PERFORMER = re.compile(r"(cmu|snu)_[^_]+|[^_]+")


class Unfit(Exception):
    """Why nothing plausible can be made of some motions."""


def unlikeness(last: np.ndarray, first: np.ndarray, next_: np.ndarray) -> np.ndarray:
    """How far the joints of a motion's last frame are from those of others, in place, speed and heading aside, metres.

    last          (..., 1, 272) or (272,)
    first, next_  (N, 272) frames, and those that follow; the speed is theirs, a clip's first frame having none
    returns       (..., N)
    """
    gap, change = last[..., POSITIONS] - first[:, POSITIONS], last[..., VELOCITIES] - next_[:, VELOCITIES]
    gap, change = (values.reshape(*values.shape[:-1], 22, 3) for values in (gap, change))
    change[..., [0, 2]] += (last[..., ROOT_VELOCITY] - next_[:, ROOT_VELOCITY])[..., None, :]
    return np.linalg.norm(gap, axis=-1).mean(axis=-1) + AHEAD * np.linalg.norm(change, axis=-1).mean(axis=-1)


def follow(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One motion after another that begins with its last frame, as one pose; nothing is blended.

    first, second  (T + 1, 272) and (S, 272)
    returns        rotations (T + S, 22, 3, 3) and joints (T + S, 22, 3)
    """
    rotations, pelvis = motion272_to_pose(first.astype(np.float64))
    later, path = _turned(*motion272_to_pose(second.astype(np.float64)), facing_of(rotations[-1]))
    rotations = np.concatenate([rotations[:-1], later])
    # Up, too: each window's floor is its own lowest point.
    pelvis = np.concatenate([pelvis[:-1], path + pelvis[-1] - path[0]])
    return rotations, forward_kinematics(rotations, pelvis)


def join(first: np.ndarray, second: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """One motion after another: the second is turned about y and moved to where the first goes, then blended.

    first, second  (T, 272) and (S, 272), at least 2 and BLEND frames
    returns        rotations (T + S, 22, 3, 3) and joints (T + S, 22, 3); the most that a joint is turned, degrees
    Inertialisation (Bollo, GDC 2018), with a cubic: the second motion's first frame is where the first one would be
    after one frame more, at the same speed, and what that changes of the second motion fades. So it is for the joints'
    rotations, the pelvis' path, and the ankles' paths: a foot that stands before and after does not slide.
    """
    rotations, pelvis = motion272_to_pose(first.astype(np.float64))
    later, path = motion272_to_pose(second.astype(np.float64))
    turn, step = rotations[-1] @ rotations[-2].mT, pelvis[-1] - pelvis[-2]
    onward = np.stack([turn @ rotations[-1], turn @ turn @ rotations[-1]])  # (2, 22, 3, 3)
    # A speed that fades takes the body on by a third of BLEND frames. The second motion begins there: if it began
    # where the first one ends, the body would be pulled back.
    facing, later_facing = facing_of(onward), facing_of(later[:2])
    later, path = _turned(later, path, facing[0] + BLEND / 3 * (np.diff(facing) - np.diff(later_facing))[0])
    before, after = (forward_kinematics(*pose) for pose in ((rotations[-3:], pelvis[-3:]), (later, path)))
    speed = step - (path[1] - path[0])
    gap = pelvis[-1] + step - path[0]
    ahead = forward_kinematics(onward, pelvis[-1] + step * [[1], [2]])    # (2, 22, 3)
    stood, stands = ([_stands(pose[:, foot]) for foot in FEET] for pose in (before, after[:3]))
    stand = [foot for foot, *both in zip(FEET, stood, stands) if all(both)]
    move = gap + BLEND / 3 * speed
    if stand:    # on the same spot, whichever way the body goes
        move = np.mean([before[-1, foot] - after[0, foot] for foot in stand], axis=(0, 1))
    move[1] = 0
    path, after = path + move, after + move
    path[:BLEND] += fade(gap - move, speed)
    gaps = matrix_to_axis_angle(onward @ later[:2].mT)  # (2, 22, 3)
    offsets = fade(gaps[0], gaps[1] - gaps[0])          # (BLEND, 22, 3)
    later[:BLEND] = axis_angle_to_matrix(offsets) @ later[:BLEND]
    for leg, *steps in zip(LEGS, stood, stands):
        off = ahead[:, leg[-1]] - after[:2, leg[-1]]
        target = after[:BLEND, leg[-1]] + fade(off[0], off[1] - off[0])
        if any(steps):
            moved = np.linalg.norm((target[-1] - target[0])[[0, 2]])
            target[:, 1] += min(LIFT * moved, HIGHEST) * np.sin(np.pi * np.arange(BLEND) / BLEND)**2
        later[:BLEND] = reach(later[:BLEND], path[:BLEND], leg, target)
    rotations = np.concatenate([rotations, later])
    joints = forward_kinematics(rotations, np.concatenate([pelvis, path]))
    return (rotations, joints), float(np.degrees(np.linalg.norm(offsets, axis=-1).max()))


def reach(rotations: np.ndarray, pelvis: np.ndarray, leg: tuple[int, int, int], target: np.ndarray) -> np.ndarray:
    """Bend and turn a leg so that its ankle is where it shall be, as far as the leg is long; its foot does not turn.

    rotations  (T, 22, 3, 3) local; pelvis and target (T, 3); leg its hip, knee and ankle
    returns    rotations with those of the three joints changed
    """
    hip, knee, ankle = leg
    joints, turned = forward_kinematics(rotations, pelvis), local_to_global(rotations)
    thigh, shin = joints[:, hip] - joints[:, knee], joints[:, ankle] - joints[:, knee]    # from the knee
    long, short = np.linalg.norm(thigh, axis=-1), np.linalg.norm(shin, axis=-1)
    aim, reached = target - joints[:, hip], np.linalg.norm(thigh - shin, axis=-1)
    distance = soft(np.linalg.norm(aim, axis=-1), reached, long + short).clip(abs(long - short) + 0.01, long + short)
    angle = np.arccos(((long**2 + short**2 - distance**2) / (2 * long * short)).clip(-1, 1))
    now = np.arccos(((thigh * shin).sum(-1) / (long * short)).clip(-1, 1))
    axis = np.cross(thigh, shin) / (long * short)[:, None] - HINGE * turned[:, hip, :, 0]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    bend = axis_angle_to_matrix(axis * (angle - now)[:, None])
    swing = _shortest_turn((bend @ shin[..., None])[..., 0] - thigh, aim)
    upper, lower = swing @ turned[:, hip], swing @ bend @ turned[:, knee]
    rotations = rotations.copy()
    rotations[:, hip] = turned[:, PARENTS[hip]].mT @ upper
    rotations[:, knee] = upper.mT @ lower
    rotations[:, ankle] = lower.mT @ turned[:, ankle]
    return rotations


def soft(distance: np.ndarray, now: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Distances (T,) that a leg is stretched to: the last of its length is hardly reached, so that no knee snaps.

    now   how far it is stretched already, which stays as it is if that is the distance
    """
    def resisted(wanted: np.ndarray) -> np.ndarray:
        over = (wanted / length - 1) / SOFT + 1
        return np.where(over > 0, length * (1 - SOFT * np.exp(-over.clip(0))), wanted)

    return resisted(distance) + (now - resisted(now)) * np.exp(-((distance - now) / (SOFT * length)) ** 2)


def _shortest_turn(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3) that turn vectors (T, 3) to the directions of others, not opposite ones."""
    first, second = (vector / np.linalg.norm(vector, axis=-1, keepdims=True) for vector in (first, second))
    axis = np.cross(first, second)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, (first * second).sum(-1, keepdims=True))
    return axis_angle_to_matrix(axis * angle / sine.clip(1e-12))


def _stands(foot: np.ndarray) -> bool:
    """Whether an ankle and its toes, (T, 2, 3), stay on the floor."""
    return foot[:, 1, 1].max() < LOW and np.linalg.norm(np.diff(foot, axis=0), axis=-1).max() < SLOW


def fade(value: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """The cubic that begins with a value (...) and its change per frame and ends at rest at 0: (BLEND, ...)."""
    frame = np.arange(BLEND).reshape(-1, *(1,) * value.ndim)
    return (1 - frame / BLEND) ** 2 * ((1 + 2 * frame / BLEND) * value + frame * speed)


def facing_of(rotations: np.ndarray) -> np.ndarray:
    """Where bodies (..., 22, 3, 3) face: radians (...) from z+ towards x+."""
    return np.arctan2(rotations[..., 0, 0, 2], rotations[..., 0, 2, 2])


def _turned(rotations: np.ndarray, pelvis: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """A decoded motion turned about y at its start, which is the origin."""
    turn, rotations = y_rotation(angle), rotations.copy()
    rotations[:, 0] = turn @ rotations[:, 0]
    return rotations, pelvis @ turn.T


def performer_of(name: str) -> str:
    """Who a clip shows: CMU numbers its subjects, SNU has several projects; others are known by their set alone."""
    return PERFORMER.match(name)[0]
