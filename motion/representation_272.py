"""The 272-channel motion representation: poses to channels and, whole or as a stream, back.

| channels | what                                                                                        |
| 0:2      | root velocity in x and z, metres per frame, in the heading frame of the frame before        |
| 2:8      | heading change since the frame before, 6-D                                                  |
| 8:74     | joint positions, heading removed, root over the origin, y = height above the lowest point   |
| 74:140   | differences of 8:74 from frame to frame, metres per frame                                   |
| 140:272  | local joint rotations, 6-D; the root's with heading removed                                 |

Letters: T frames at 30 per second, J joints (22). Metres, radians, y up. Frame 0 has no frame before: zeros.
The heading of a frame is the angle theta for which `y_rotation(theta)` turns the pelvis' z axis to z+.
Source: Li-xingXiao/272-dim-Motion-Representation.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from motion.rotation import (
    Array, as_like, matrix_to_rotation6d, namespace, rotation6d_to_matrix, y_rotation,
)
from motion.skeleton import MIRROR

FPS = 30
DIM = 272
ROOT_VELOCITY = slice(0, 2)
HEADING = slice(2, 8)
POSITIONS = slice(8, 74)
VELOCITIES = slice(74, 140)
ROTATIONS = slice(140, 272)
GROUPS = (ROOT_VELOCITY, HEADING, POSITIONS, VELOCITIES, ROTATIONS)
ROOT = slice(0, 8)  # what moves the body through the world


def pose_to_motion272(rotations: Array, joints: Array) -> Array:
    """Encode a clip; where it starts, where it faces and where its floor is do not matter.

    rotations  (..., T, 22, 3, 3) local joint rotations (SMPL pose), the root's in the world's frame
    joints     (..., T, 22, 3) positions of the same clip, metres, y up, 30 fps
    returns    (..., T, 272), kind and dtype of joints; decoded, frame 0 faces z+ over the origin and the
               clip's lowest joint is at height 0
    raises     ValueError for other shapes, no frames, and values that are not finite
    """
    _check("rotations", rotations, ("T", 22, 3, 3))
    _check("joints", joints, ("T", 22, 3))
    if rotations.shape[:-2] != joints.shape[:-1]:
        raise ValueError(f"rotations of shape {tuple(rotations.shape)} and joints of shape "
                         f"{tuple(joints.shape)} are not of the same frames.")
    if not joints.shape[-3]:
        raise ValueError("The clip has 0 frames: at least 1 is needed.")
    xp, rotations = namespace(joints), as_like(rotations, joints)

    # Turning the clip to face z+ first would change nothing: all that is stored has its heading removed.
    heading = -xp.arctan2(rotations[..., 0, 0, 2], rotations[..., 0, 2, 2])  # (..., T)
    change = xp.diff(heading, axis=-1, prepend=heading[..., :1])
    facing = y_rotation(heading)
    root = joints[..., 0, :]
    step = xp.diff(root, axis=-2, prepend=root[..., :1, :])
    step = (y_rotation(heading - change) @ step[..., None])[..., 0]

    floor = xp.amin(joints[..., 1], axis=(-2, -1), keepdims=True)[..., 0]  # (..., 1)
    corner = xp.stack([root[..., 0], xp.zeros_like(heading) + floor, root[..., 2]], axis=-1)  # (..., T, 3)
    positions = _flat((joints - corner[..., None, :]) @ facing.mT)
    velocities = xp.diff(positions, axis=-2, prepend=positions[..., :1, :])
    turned = _with_root(rotations, facing @ rotations[..., 0, :, :])
    return xp.concatenate([
        step[..., [0, 2]],
        matrix_to_rotation6d(y_rotation(change)),
        positions,
        velocities,
        _flat(matrix_to_rotation6d(turned)),
    ], axis=-1)


def motion272_to_positions(motion: Array) -> Array:
    """Integrate a 272-channel clip into global joint positions.

    motion   (..., T, 272) denormalised; root channels are metres per frame, not second
    returns  (..., T, 22, 3) metres, y up; frame 0 over the origin
    raises   ValueError if the last axis is not 272, or a value is not finite
    Inverse of `pose_to_motion272`.
    """
    return Motion272Decoder().positions(motion)


def motion272_to_pose(motion: Array) -> tuple[Array, Array]:
    """Integrate a 272-channel clip into SMPL pose parameters: no inverse kinematics.

    motion   (..., T, 272) denormalised
    returns  local rotations (..., T, 22, 3, 3) and the pelvis' position (..., T, 3), metres;
             SMPL's `trans` is the latter less `skeleton.OFFSETS[0]`
    raises   ValueError if the last axis is not 272, or a value is not finite
    """
    return Motion272Decoder().pose(motion)


class Start(NamedTuple):
    """Where a clip begins in the world: its heading as above, radians, and its root's place, metres."""
    heading: float = 0.0
    x: float = 0.0
    z: float = 0.0

    def moved(self, joints: np.ndarray) -> np.ndarray:
        """Positions (..., 3) of a decoded clip, which begins at Start(), from here on."""
        return joints @ y_rotation(np.asarray(self.heading)) + [self.x, 0, self.z] if any(self) else joints

    def turned(self, rotations: np.ndarray) -> np.ndarray:
        """Its local rotations (..., 22, 3, 3) likewise."""
        root = y_rotation(np.asarray(-self.heading)) @ rotations[..., 0, :, :]
        return _with_root(rotations, root) if any(self) else rotations


def start_of(rotations: np.ndarray, joints: np.ndarray) -> Start:
    """Where a pose (T, 22, 3, 3), (T, 22, 3) begins, which its channels do not say."""
    x, _, z = joints[0, 0]
    return Start(float(-np.arctan2(rotations[0, 0, 0, 2], rotations[0, 0, 2, 2])), float(x), float(z))


def end_of(motion: np.ndarray, start: Start = Start()) -> Start:
    """Where a motion (T, 272) that begins at `start` ends: what goes on from it begins there."""
    decoder = Motion272Decoder()
    decoder.positions(motion)
    heading, x, z = (float(np.ravel(value)[0]) for value in (decoder.heading, decoder.x, decoder.z))
    x, _, z = start.moved(np.array([x, 0.0, z]))
    return Start(start.heading + heading, float(x), float(z))


def check_denormalised(motion: np.ndarray, name: str) -> None:
    """ValueError that names a motion (T, 272) whose rotations are none: it is normalised, or something else."""
    rows = np.linalg.norm(motion[..., ROTATIONS].reshape(*motion.shape[:-1], -1, 3), axis=-1)
    if not 0.8 < np.median(rows) < 1.2 or np.mean(np.abs(rows - 1) < 0.3) < 0.9:
        raise ValueError(f"{name}: found rotations whose rows have lengths of about {np.median(rows):.2g}, expected "
                         "1: the motion is normalised, or of another representation. Give motion * std + mean.")


class Motion272Decoder:
    """Decodes a stream piece by piece, however it is cut, to what decoding it whole gives.

    Feed each piece (..., t, 272), denormalised, once and in order, to either `positions` or `pose`; all of
    one kind, arrays or tensors. Heading and root path are carried, in float64: hours do not drift.
    """

    def __init__(self):
        self.heading = self.x = self.z = 0.0  # after the first piece (..., 1)

    def positions(self, motion: Array) -> Array:
        """motion (..., t, 272) -> global joint positions (..., t, 22, 3), as `motion272_to_positions`."""
        heading, path = self._advance(motion)
        local = motion[..., POSITIONS].reshape(*motion.shape[:-1], 22, 3)
        return local @ as_like(y_rotation(heading), motion) + as_like(path, motion)[..., None, :]

    def pose(self, motion: Array) -> tuple[Array, Array]:
        """motion (..., t, 272) -> rotations (..., t, 22, 3, 3), pelvis (..., t, 3): `motion272_to_pose`."""
        heading, path = self._advance(motion)
        rotations = rotation6d_to_matrix(motion[..., ROTATIONS].reshape(*motion.shape[:-1], 22, 6))
        root = as_like(y_rotation(-heading), motion) @ rotations[..., 0, :, :]
        height = motion[..., POSITIONS][..., 1:2] * as_like([0, 1, 0], motion)
        return _with_root(rotations, root), as_like(path, motion) + height

    def _advance(self, motion: Array) -> tuple[Array, Array]:
        """Heading (..., t) and root path (..., t, 3), y = 0, of the next frames, both float64."""
        _check("motion", motion, ("T", DIM))
        xp = namespace(motion)
        # The spec multiplies matrices H_t = D_t H_{t-1}. Turns about y add up, so the angle of D_t's first
        # row (cos, 0, sin) is enough; and where a network wrote a D_t that tilts, the body stays upright.
        row = motion[..., HEADING]
        change = xp.arctan2(row[..., 2], row[..., 0])
        heading = self.heading + xp.cumsum(change, axis=-1, dtype=xp.float64)
        before = heading - change
        cos, sin = xp.cos(before), xp.sin(before)
        step_x, step_z = motion[..., 0], motion[..., 1]
        x = self.x + xp.cumsum(cos * step_x - sin * step_z, axis=-1)
        z = self.z + xp.cumsum(sin * step_x + cos * step_z, axis=-1)
        if motion.shape[-2]:
            self.heading, self.x, self.z = heading[..., -1:], x[..., -1:], z[..., -1:]
        return heading, xp.stack([x, xp.zeros_like(x), z], axis=-1)


def mirror_pose(rotations: Array, joints: Array) -> tuple[Array, Array]:
    """The clip seen in a mirror: left and right change places, x changes sign.

    rotations  (..., 22, 3, 3) local; joints (..., 22, 3) metres
    returns    the same two; mirroring twice gives the clip back
    """
    flip = as_like([-1, 1, 1], joints)
    # With F = diag(-1, 1, 1), F R F keeps the axis-angle's x and negates y and z.
    return rotations[..., MIRROR, :, :] * (flip[:, None] * flip), joints[..., MIRROR, :] * flip


def statistics(clips: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What normalises motion for the networks: (motion - mean) / std.

    clips    each (T, 272), any number of them; every frame weighs the same
    returns  mean (272,) and std (272,) float32; std is averaged within each of the five GROUPS, so that
             within a group the large channels stay large
    raises   ValueError if there are no frames, or a group never changes
    """
    frames, total, squares = 0, np.zeros(DIM), np.zeros(DIM)
    for clip in clips:
        _check("clip", clip, ("T", DIM))
        frames += len(clip)
        total += clip.sum(0, dtype=np.float64)
        squares += np.square(clip, dtype=np.float64).sum(0)
    if not frames:
        raise ValueError("Statistics of 0 frames: at least one clip is needed.")
    mean = total / frames
    std = np.sqrt(np.maximum(squares / frames - mean**2, 0))
    for group in GROUPS:
        std[group] = std[group].mean()
        if std[group.start] == 0:
            raise ValueError(f"Channels {group.start}:{group.stop} never change in {frames} frames, so they "
                             "cannot be normalised: use clips that move.")
    return mean.astype(np.float32), std.astype(np.float32)


def _check(name: str, values: Array, expected: tuple) -> None:
    """The last axes must be as expected ("T" is any number) and the values finite."""
    found = tuple(values.shape)
    wanted = [size for size in expected if size != "T"]
    if len(found) < len(expected) or list(found[-len(wanted):]) != wanted:
        raise ValueError(f"{name} of shape {found}: expected (..., {', '.join(map(str, expected))}).")
    if not namespace(values).isfinite(values).all():
        raise ValueError(f"{name} of shape {found} has values that are not finite (NaN or infinity).")


def _flat(x: Array) -> Array:
    """(..., J, C) -> (..., J C)."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _with_root(rotations: Array, root: Array) -> Array:
    """rotations (..., 22, 3, 3) with joint 0's replaced by root (..., 3, 3)."""
    others = rotations[..., 1:, :, :]
    return namespace(rotations).concatenate([root[..., None, :, :], others], axis=-3)
