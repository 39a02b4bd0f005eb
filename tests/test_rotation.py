"""Rotation laws, for arrays and tensors in float32 and float64."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motion.rotation import (
    as_like, axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_rotation6d, rotation6d_to_matrix,
    y_rotation,
)

every_kind = pytest.mark.parametrize("kind", [
    np.zeros(0, np.float32), np.zeros(0, np.float64), torch.zeros(0), torch.zeros(0, dtype=torch.float64),
], ids=["numpy32", "numpy64", "torch32", "torch64"])


def random_rotations(*shape: int) -> np.ndarray:
    return Rotation.random(int(np.prod(shape)), random_state=0).as_matrix().reshape(*shape, 3, 3)


def assert_like(found, expected, kind, atol_in_eps=80):
    """Same kind and dtype as `kind`, and equal to within rounding: 1e-5 in float32, 2e-14 in float64."""
    assert type(found) is type(kind) and found.dtype == kind.dtype
    atol = atol_in_eps * torch.finfo(torch.as_tensor(kind).dtype).eps
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=atol)


@every_kind
def test_rotation6d_round_trip(kind):
    matrix = random_rotations(2, 50)
    assert_like(rotation6d_to_matrix(matrix_to_rotation6d(as_like(matrix, kind))), matrix, kind)


@every_kind
def test_rotation6d_is_the_first_two_rows(kind):
    """A quarter turn about z takes x to y: rows (0, -1, 0), (1, 0, 0). Columns would be the other turn."""
    quarter = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    assert_like(matrix_to_rotation6d(as_like(quarter, kind)), [0, -1, 0, 1, 0, 0], kind)
    assert_like(rotation6d_to_matrix(as_like([0, -1, 0, 1, 0, 0], kind)), quarter, kind)


@every_kind
def test_rotation6d_of_any_rows_is_a_rotation(kind):
    """Networks write rows that are neither unit nor orthogonal; the first one's direction is kept."""
    d6 = np.random.default_rng(0).normal(size=(4, 30, 6))
    matrix = rotation6d_to_matrix(as_like(d6, kind))
    assert_like(matrix @ matrix.mT, np.broadcast_to(np.eye(3), (4, 30, 3, 3)), kind)
    np.testing.assert_allclose(np.linalg.det(np.asarray(matrix)), 1, atol=1e-5)
    first = d6[..., :3] / np.linalg.norm(d6[..., :3], axis=-1, keepdims=True)
    assert_like(matrix[..., 0, :], first, kind)


@every_kind
def test_y_rotation(kind):
    angle = np.random.default_rng(0).uniform(-3, 3, (2, 5))
    expected = Rotation.from_euler("y", angle.reshape(10, 1)).as_matrix().reshape(2, 5, 3, 3)
    assert_like(y_rotation(as_like(angle, kind)), expected, kind)
    assert_like(y_rotation(as_like(np.pi / 2, kind)) @ as_like([0, 0, 1], kind), [1, 0, 0], kind)  # z+ to x+


def test_axis_angle_round_trip():
    matrix = random_rotations(3, 20)
    np.testing.assert_allclose(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=1e-12)
    np.testing.assert_allclose(axis_angle_to_matrix(np.zeros((2, 3))), [np.eye(3)] * 2)
    quarter = axis_angle_to_matrix([0, 0, np.pi / 2])
    np.testing.assert_allclose(quarter, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
