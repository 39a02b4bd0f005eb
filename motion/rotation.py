"""Rotations of column vectors as matrices, as two rows (6-D), as axis-angle and about the vertical axis.

Where a function takes `Array`, a NumPy array or a torch tensor comes in and the same kind, dtype and device
goes out: NumPy and torch share the names used here, so `namespace` picks the library and the code is one.
"""

from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.spatial.transform import Rotation

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def namespace(x: Array) -> ModuleType:
    """The library whose functions take x: torch for tensors, else NumPy."""
    return torch if isinstance(x, torch.Tensor) else np


def as_like(values: Any, x: Array) -> Array:
    """values as the same kind, dtype and device as x."""
    if isinstance(x, torch.Tensor):
        return torch.as_tensor(values, dtype=x.dtype, device=x.device)
    return np.asarray(values, dtype=x.dtype)


def matrix_to_rotation6d(matrix: Array) -> Array:
    """The first two rows of a rotation matrix, concatenated.

    matrix   (..., 3, 3)
    returns  (..., 6); many codebases take columns instead, which is the inverse rotation's 6-D
    Source: Zhou et al. 2019, section 4.2, with rows as in Li-xingXiao/272-dim-Motion-Representation.
    """
    return matrix[..., :2, :].reshape(*matrix.shape[:-2], 6)


def rotation6d_to_matrix(d6: Array) -> Array:
    """The rotation matrix whose first two rows are nearest to these, by Gram-Schmidt.

    d6       (..., 6) two rows, of any length, neither zero nor parallel
    returns  (..., 3, 3)
    """
    first = _unit(d6[..., :3])
    second = _unit(d6[..., 3:] - (first * d6[..., 3:]).sum(-1)[..., None] * first)
    xp = namespace(d6)
    return xp.stack([first, second, xp.linalg.cross(first, second)], axis=-2)


def y_rotation(angle: Array) -> Array:
    """Y(angle) = [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], the turn about the vertical axis.

    angle    (...) radians; positive turns z+ towards x+
    returns  (..., 3, 3)
    """
    xp = namespace(angle)
    cos, sin = xp.cos(angle), xp.sin(angle)
    zero, one = xp.zeros_like(cos), xp.ones_like(cos)
    return xp.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], axis=-1).reshape(*cos.shape, 3, 3)


def axis_angle_to_matrix(axis_angle: np.ndarray) -> np.ndarray:
    """axis_angle (..., 3) radians along the axis -> matrices (..., 3, 3) float64."""
    axis_angle = np.asarray(axis_angle, dtype=np.float64)
    matrix = Rotation.from_rotvec(axis_angle.reshape(-1, 3)).as_matrix()
    return matrix.reshape(*axis_angle.shape, 3)


def matrix_to_axis_angle(matrix: np.ndarray) -> np.ndarray:
    """matrix (..., 3, 3) -> axis times angle (..., 3), radians in [0, pi], float64."""
    matrix = np.asarray(matrix, dtype=np.float64)
    axis_angle = Rotation.from_matrix(matrix.reshape(-1, 3, 3)).as_rotvec()
    return axis_angle.reshape(matrix.shape[:-1])


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """(T, J, 3, 3) -> (T, J, 4) as x, y, z, w; of the two signs the one nearer to the frame before."""
    found = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat().reshape(*rotations.shape[:2], 4)
    turned_over = (found[1:] * found[:-1]).sum(axis=-1) < 0
    signs = np.where(np.cumsum(turned_over, axis=0) % 2, -1, 1)
    found[1:] *= signs[..., None]
    return found


def _unit(vector: Array) -> Array:
    return vector / namespace(vector).sqrt((vector * vector).sum(-1))[..., None]
