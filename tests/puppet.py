"""Motions of known content for tests: a body that walks on footprints, and poses of its single joints.

Letters: T frames at 30 fps, joints (T, 22, 3) in metres, y up, the floor near 0. Angles in degrees, to the left.
"""

import numpy as np

from motion.rotation import axis_angle_to_matrix, y_rotation
from motion.skeleton import JOINT_NAMES, OFFSETS, forward_kinematics

HANGING = dict(left_shoulder=(0, 0, -75), right_shoulder=(0, 0, 75))
THIGH, SHIN, ANKLE = 0.38, 0.40, 0.08   # metres; the ankle's height over the floor
SIGN = {"left": 1, "right": -1}
HEIGHT = 0.935


def body(frames: int, pelvis: np.ndarray, heading: np.ndarray | float = 0, ankles: dict[str, np.ndarray] | None = None,
         **turns: np.ndarray | tuple) -> np.ndarray:
    """Joints (T, 22, 3) of a body whose pelvis is at `pelvis` (T, 3) and faces `heading` (T,).

    ankles   side = (T, 3), where the ankles are: the legs reach for them, the feet are level
    turns    joint name = (T, 3) or (3,), an axis-angle in degrees in the parent's frame; arms hang otherwise
    """
    rotations = np.tile(np.eye(3), (frames, 22, 1, 1))
    for name, turn in (HANGING | turns).items():
        rotations[:, JOINT_NAMES.index(name)] = axis_angle_to_matrix(np.radians(np.broadcast_to(turn, (frames, 3))))
    facing = y_rotation(np.radians(np.broadcast_to(heading, frames)))
    rotations[:, 0] = facing @ rotations[:, 0]
    pelvis = np.broadcast_to(pelvis, (frames, 3))
    for side, ankle in (ankles or {}).items():
        hip = pelvis + rotations[:, 0] @ OFFSETS[JOINT_NAMES.index(f"{side}_hip")]
        reach = np.einsum("tji,tj->ti", rotations[:, 0], ankle - hip)
        for name, turn in zip(("hip", "knee", "ankle"), leg(reach)):
            rotations[:, JOINT_NAMES.index(f"{side}_{name}")] = turn
        upper = rotations[:, JOINT_NAMES.index(f"{side}_hip")] @ rotations[:, JOINT_NAMES.index(f"{side}_knee")]
        level = np.einsum("tji,tjk->tik", rotations[:, 0], facing)
        rotations[:, JOINT_NAMES.index(f"{side}_ankle")] = upper.swapaxes(1, 2) @ level
    return forward_kinematics(rotations, pelvis)


def leg(reach: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations (T, 3, 3) of hip, knee and ankle that bring the ankle to `reach` (T, 3) from the hip."""
    far = np.linalg.norm(reach, axis=-1).clip(0.2, THIGH + SHIN - 1e-3)
    bend = np.pi - np.arccos((THIGH ** 2 + SHIN ** 2 - far ** 2) / (2 * THIGH * SHIN))
    down, back = THIGH + SHIN * np.cos(bend), SHIN * np.sin(bend)       # of the bent leg, before the hip turns
    swing = np.arcsin((reach[:, 2] / far).clip(-1, 1)) + np.arctan2(back, down)
    aside = np.arctan2(reach[:, 0], -reach[:, 1])
    zero = np.zeros_like(far)
    flexed, knee = (axis_angle_to_matrix(np.stack([angle, zero, zero], -1)) for angle in (-swing, bend))
    hip = axis_angle_to_matrix(np.stack([zero, zero, aside], -1)) @ flexed
    return hip, knee, np.broadcast_to(np.eye(3), knee.shape)


def ahead(heading: np.ndarray | float) -> np.ndarray:
    """Level unit vectors (..., 3) to where a heading faces."""
    angle = np.radians(np.asarray(heading, dtype=float))
    return np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=-1)


def smooth_step(frames: int) -> np.ndarray:
    """From 0 to 1, slow at both ends."""
    time = np.linspace(0, 1, frames)
    return time * time * (3 - 2 * time)


def stride(route: np.ndarray, heading: np.ndarray, steps: int, step_frames: int = 16, duty: float = 0.6,
           wait: int = 20, lift: float = 0.1, height: float = HEIGHT, **turns: np.ndarray | tuple) -> np.ndarray:
    """Stand, go along a route in so many steps, the left foot first, and stand again.

    route     (N, 3) where the pelvis comes along, y ignored; heading (N,) where it faces there
    wait      frames of standing, before and after
    duty      the part of a step in which the other foot stands still: under 0.5 both fly for a while
    """
    frames = steps * step_frames
    whole = np.concatenate([np.zeros(wait), smooth_ramp(frames), np.ones(wait)])
    gone = np.linalg.norm(np.diff(route, axis=0), axis=-1) + abs(np.diff(heading)) / 200    # turning takes time too
    gone = np.concatenate([[0], np.cumsum(gone)]) / gone.sum()

    def place(share: np.ndarray | float) -> np.ndarray:
        return np.stack([np.interp(share, gone, route[:, axis]) for axis in range(3)], axis=-1) * [1, 0, 1]

    def footprint(share: float, side: str) -> np.ndarray:
        beside = SIGN[side] * 0.09 * ahead(np.interp(share, gone, heading) + 90)
        return place(share) + beside + [0, ANKLE, 0]

    ankles = {side: np.tile(footprint(0.0, side), (len(whole), 1)) for side in SIGN}
    for step in range(steps):    # left, right, left, ...; each lands where the pelvis will be half a step later
        where, side = ankles[list(SIGN)[step % 2]], list(SIGN)[step % 2]
        first, length = wait + step * step_frames, round(step_frames * (1 if duty > 0.5 else 2 - 2 * duty))
        later = whole[min(first + length + step_frames // 2, len(whole) - 1)] if step < steps - 2 else 1.0
        share, end = smooth_step(length)[:, None], min(first + length, len(where))
        swing = where[first] + share * (footprint(later, side) - where[first])
        where[first:end] = (swing + lift * np.sin(np.pi * share) * [0, 1, 0])[:end - first]
        where[end:] = footprint(later, side)
    return body(len(whole), place(whole) + [0, height, 0], np.interp(whole, gone, heading), ankles, **turns)


def smooth_ramp(frames: int) -> np.ndarray:
    """From 0 to 1 at one speed but for the first and last fifth."""
    speed = np.minimum(1, np.minimum(np.arange(frames) + 1, np.arange(frames)[::-1] + 1) / (frames / 5))
    return np.cumsum(speed) / speed.sum()


def line(metres: float, way: float = 0, heading: float = 0, count: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """A straight route; `way` is where it goes from where the body faces: 90 to the left, 180 backward."""
    return np.linspace(0, metres, count)[:, None] * ahead(heading + way), np.full(count, heading)


def arc(radius: float, degrees: float, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A route that bends to the left by so many degrees (negative: to the right), facing along it."""
    heading = np.linspace(0, degrees, count)
    step = np.radians(abs(degrees)) / (count - 1) * radius
    steps = step * ahead((heading[1:] + heading[:-1]) / 2)
    return np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)]), heading


def joined(*routes: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Routes one after another, each from where the one before ends and faces."""
    place, heading = routes[0]
    for way, faced in routes[1:]:
        turn = y_rotation(np.radians(heading[-1]))
        place = np.concatenate([place, place[-1] + way @ turn.T])
        heading = np.concatenate([heading, heading[-1] + faced])
    return place, heading


def there(*keys: tuple[int, tuple | float]) -> np.ndarray:
    """Values that ease from one key (frame, value) to the next: (T, ...), T the last key's frame."""
    frames = keys[-1][0]
    found = np.empty((frames, *np.shape(keys[0][1])))
    for (first, value), (end, later) in zip(keys, keys[1:]):
        share = smooth_step(max(end - first, 1)).reshape(-1, *[1] * np.ndim(value))
        found[first:end] = np.asarray(value) + share * (np.asarray(later) - np.asarray(value, dtype=float))
    return found


def standing(frames: int, pelvis: np.ndarray | tuple = (0, HEIGHT, 0), ankles: dict[str, np.ndarray] | None = None,
             **turns: np.ndarray | tuple) -> np.ndarray:
    """A body on the spot; its feet stay where they are."""
    feet = {side: np.array([sign * 0.09, ANKLE, 0.0]) for side, sign in SIGN.items()} | (ankles or {})
    feet = {side: np.broadcast_to(foot, (frames, 3)) for side, foot in feet.items()}
    return body(frames, pelvis, 0, feet, **turns)
