"""Rotations that stand where the positions do: legs corrected towards the shown feet, feet locked where they rest.

A network writes a motion twice, as positions and as rotations, and forward kinematics of the one misses the other by
one to two centimetres. Whatever is shown or exported takes its pose from here, so that all stand in the same place.

Letters: T frames at 30 per second, S the two sides, left first. Metres, y up, the floor at y = 0.
"""

import numpy as np

from motion.representation_272 import Motion272Decoder
from motion.rotation import axis_angle_to_matrix
from motion.skeleton import ANKLES, HIPS, KNEES, OFFSETS, TOES, forward_kinematics, global_to_local, local_to_global

FEET = ANKLES + TOES
OTHERS = [joint for joint in range(22) if joint not in FEET]
LOW, SLOW = 0.05, 0.012      # metres, metres per frame: a toe below both comes to rest,
HIGH, FAST = 0.07, 0.025     # and above either it leaves
EASE, DECAY = 0.7, 0.9       # what a frame leaves of a resting toe's speed, and of a free one's correction
DRIFT = 0.06                 # metres that a locked toe may be from the shown one, then it is dragged along
BEARING = (0.05, 0.20)       # heights of a toe at which its leg decides all and hardly anything about the pelvis
CATCH_UP = 0.3               # of what the pelvis has to go, in a frame
STRAIGHT = 0.9995            # of a leg's length: its longest reach
YIELD = 0.02                 # metres before that from which on the pelvis sinks


def grounded_pose(motion: np.ndarray, lock: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A motion's rotations and pelvis, corrected so that its feet are where its positions show them.

    motion   (T, 272), denormalised
    lock     hold a toe that rests on the floor where it came to rest, too
    returns  local rotations (T, 22, 3, 3) and the pelvis' position (T, 3), float64
    raises   ValueError as `motion272_to_pose`
    """
    return Footing(lock).pose(motion)


class Footing:
    """`grounded_pose` piece by piece, however a motion is cut: it looks at the past only."""

    def __init__(self, lock: bool = True):
        self.lock = lock
        self.shown, self.turned = Motion272Decoder(), Motion272Decoder()
        self.toes = None                       # (S, 3), shown in the frame before
        self.offset = np.zeros((2, 2))         # of the locked toes from the shown, along the floor
        self.shift = None                      # (3,) of the pelvis, in the frame before
        self.age = np.full(2, -1)              # frames for which a toe is locked; -1: it is not

    def pose(self, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next frames (t, 272) -> rotations (t, 22, 3, 3), pelvis (t, 3)."""
        motion = np.asarray(motion, dtype=np.float64)
        joints = self.shown.positions(motion)
        rotations, pelvis = self.turned.pose(motion)
        ankles, toes = joints[:, ANKLES], joints[:, TOES]                       # (t, S, 3)
        if self.lock:
            held = self.held(toes)
            ankles, toes = ankles + held - toes, held
        direction = (toes - ankles) / np.linalg.norm(toes - ankles, axis=-1, keepdims=True).clip(1e-6)
        ankles = toes - direction * np.linalg.norm(OFFSETS[TOES], axis=-1)[:, None]
        sunk = np.minimum(ankles[..., 1:2], toes[..., 1:2]).clip(max=0) * [0, 1, 0]
        ankles, toes = ankles - sunk, toes - sunk
        joints = forward_kinematics(rotations, pelvis)
        bearing = ((BEARING[1] - toes[..., 1]) / (BEARING[1] - BEARING[0])).clip(0.02, 1)
        shift = self.followed(joints[:, ANKLES], ankles, bearing)
        shift[:, 1] -= shortfall(joints[:, HIPS] + shift[:, None], ankles, bearing)
        shift[:, 1] += (-joints[:, OTHERS, 1].min(axis=1) - shift[:, 1]).clip(0)          # nothing is in the floor
        return reach(rotations, pelvis + shift, ankles, direction), pelvis + shift

    def followed(self, joints: np.ndarray, ankles: np.ndarray, bearing: np.ndarray) -> np.ndarray:
        """The way (t, 3) of the pelvis after which legs reach their ankles as bent as they are, smoothed.

        joints   (t, S, 3) the ankles by forward kinematics; bearing (t, S) how much each leg says
        """
        wanted = (bearing[..., None] * (ankles - joints)).sum(axis=1) / bearing.sum(axis=1, keepdims=True)
        followed = np.empty_like(wanted)
        for frame, goal in enumerate(wanted):
            self.shift = goal if self.shift is None else self.shift + CATCH_UP * (goal - self.shift)
            followed[frame] = self.shift
        return followed

    def held(self, toes: np.ndarray) -> np.ndarray:
        """The toes (t, S, 3) without their slides: each locked one stays, and catches up when it is free again."""
        held = toes.copy()
        for frame, now in enumerate(toes):
            step = (now - (now if self.toes is None else self.toes))[:, [0, 2]]
            self.toes = now
            speed, height = np.linalg.norm(step, axis=-1), now[:, 1]
            locked = (self.age >= 0) & (height < HIGH) & (speed < FAST)
            locked |= (height < LOW) & (speed < SLOW)
            self.age = np.where(locked, self.age + 1, -1)
            kept = EASE ** (self.age + 1.0)[:, None]                            # of its step
            offset = np.where(locked[:, None], self.offset - step * (1 - kept), self.offset * DECAY)
            far = np.linalg.norm(offset, axis=-1, keepdims=True)
            self.offset = offset * np.minimum(1, DRIFT / far.clip(1e-9))
            held[frame][:, [0, 2]] += self.offset
        return held


def shortfall(hips: np.ndarray, ankles: np.ndarray, bearing: np.ndarray) -> np.ndarray:
    """By how much the hips (T, S, 3) have to sink (T,) so that legs that bear, bearing (T, S), reach their ankles."""
    longest = STRAIGHT * sum(np.linalg.norm(OFFSETS[part], axis=-1) for part in (KNEES, ANKLES))    # (S,)
    along = np.linalg.norm((hips - ankles)[..., [0, 2]], axis=-1)
    over = hips[..., 1] - ankles[..., 1] - np.sqrt((longest ** 2 - along ** 2).clip(0))
    gently = (over + YIELD).clip(0, 2 * YIELD) ** 2 / (4 * YIELD)          # from 0 at -YIELD to YIELD at +YIELD
    return (bearing * np.maximum(over, gently)).max(axis=1).clip(0)


def reach(rotations: np.ndarray, pelvis: np.ndarray, ankles: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Bend knees and swing hips until the ankles are at `ankles` (T, S, 3); feet point in `direction` (T, S, 3).

    Who cannot reach stretches. The knee turns about its hinge, the thigh's x axis; hip and ankle turn the shortest way.
    """
    turned = local_to_global(rotations)
    joints = forward_kinematics(rotations, pelvis)
    hips, thighs, shins = joints[:, HIPS], joints[:, KNEES] - joints[:, HIPS], joints[:, ANKLES] - joints[:, KNEES]
    far = np.linalg.norm(ankles - hips, axis=-1)
    bend = knee_turn(thighs, shins, turned[:, HIPS][..., 0], far)
    swing = shortest(thighs + (bend @ shins[..., None])[..., 0], ankles - hips)
    feet = shortest(joints[:, TOES] - joints[:, ANKLES], direction)
    turned[:, HIPS] = swing @ turned[:, HIPS]
    turned[:, KNEES] = swing @ bend @ turned[:, KNEES]
    turned[:, FEET] = np.concatenate([feet, feet], axis=1) @ turned[:, FEET]
    return global_to_local(turned)


def knee_turn(thighs: np.ndarray, shins: np.ndarray, hinges: np.ndarray, far: np.ndarray) -> np.ndarray:
    """The turn (T, S, 3, 3) of the shin about a unit axis after which the ankle is so `far` (T, S) from the hip.

    |thigh + turn shin|² = far² is a + b cos φ + c sin φ = 0 in the angle φ; of its two answers the one that bends the
    knee forward is taken, and where there is none, the nearest.
    """
    inner = lambda x, y: (x * y).sum(axis=-1)
    aside = inner(shins, hinges)
    b = inner(thighs, shins) - aside * inner(thighs, hinges)
    c = inner(thighs, np.cross(hinges, shins))
    wanted = (far ** 2 - inner(thighs, thighs) - inner(shins, shins)) / 2 - aside * inner(thighs, hinges)
    angle = np.arctan2(c, b) + np.arccos((wanted / np.hypot(b, c).clip(1e-9)).clip(-1, 1))
    return axis_angle_to_matrix(hinges * angle[..., None])


def shortest(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The shortest turns (..., 3, 3) of the directions of start (..., 3) to those of end (..., 3)."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, (start * end).sum(axis=-1, keepdims=True))
    return axis_angle_to_matrix(axis * np.where(sine > 1e-12, angle / sine.clip(1e-12), 0))
