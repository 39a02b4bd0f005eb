"""HumanML3D's 263-channel motion representation, and the joints that it holds.

| channels | what                                                                                    |
| 0        | minus half the turn about y to the next frame, radians                                  |
| 1:3      | root velocity in x and z, metres to the next frame, in the heading frame of that        |
| 3        | height of the root, metres                                                              |
| 4:67     | positions of joints 1 to 21, heading removed, root over the origin                      |
| 67:193   | joint rotations, 6-D                                                                    |
| 193:259  | joint velocities                                                                        |
| 259:263  | contacts of the feet                                                                    |

Letters: T frames at 20 per second, 22 joints as in `motion.skeleton`. Metres, radians, y up; frame 0 faces z+.
Source: Guo et al. 2022 (HumanML3D).
"""

import numpy as np

from motion.representation_272 import DIM, FPS, motion272_to_positions
from motion.rotation import y_rotation

DIM_263, FPS_263 = 263, 20


def motion263_to_positions(motion: np.ndarray) -> np.ndarray:
    """Integrate a clip (..., T, 263), denormalised -> joints (..., T, 22, 3), metres, y up; frame 0 over the origin.

    raises   ValueError if the last axis is not 263, or a value is not finite
    """
    if motion.shape[-1] != DIM_263 or not np.isfinite(motion).all():
        raise ValueError(f"motion of shape {motion.shape}: expected (..., T, {DIM_263}), all finite")
    facing = y_rotation(-2 * before(motion[..., 0]))                      # (..., T, 3, 3): heading frame to world
    step = np.stack([motion[..., 1], np.zeros_like(motion[..., 1]), motion[..., 2]], axis=-1)
    moved = np.concatenate([np.zeros_like(step[..., :1, :]), step[..., :-1, :]], axis=-2)
    path = (facing @ moved[..., None])[..., 0].cumsum(axis=-2)            # (..., T, 3)
    joints = motion[..., 4:67].reshape(*motion.shape[:-1], 21, 3) @ facing.mT + path[..., None, :]
    root = path + motion[..., 3:4] * np.array([0, 1, 0])
    return np.concatenate([root[..., None, :], joints], axis=-2).astype(motion.dtype)


def before(change: np.ndarray) -> np.ndarray:
    """The sum of all changes before each frame (..., T), float64."""
    total = change.cumsum(axis=-1, dtype=np.float64)
    return np.concatenate([np.zeros_like(total[..., :1]), total[..., :-1]], axis=-1)


def motion_to_positions(motion: np.ndarray) -> np.ndarray:
    """Joints (..., T, 22, 3) of a motion of 272 or 263 channels."""
    return motion263_to_positions(motion) if motion.shape[-1] == DIM_263 else motion272_to_positions(motion)


def fps_of(channels: int) -> int:
    """Frames per second of a representation."""
    return {DIM: FPS, DIM_263: FPS_263}[channels]
