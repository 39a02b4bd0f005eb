"""Measures of motion: pure functions of arrays, no model in sight."""

import numpy as np


def mpjpe(real: np.ndarray, rebuilt: np.ndarray) -> float:
    """Mean per-joint position error in millimetres, each frame's pelvis moved to the origin first.

    real, rebuilt  (..., 22, 3) joint positions in metres, joint 0 the pelvis
    """
    real, rebuilt = (joints - joints[..., :1, :] for joints in (real, rebuilt))
    return 1000 * float(np.linalg.norm(real - rebuilt, axis=-1).mean())
