"""The rasteriser against every pixel tried by hand."""

import numpy as np
import pytest

from motion.raster import rasterise

SIZE = (23, 17)


def by_hand(points: np.ndarray, nearness: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(H, W) the front triangle of every pixel, -1 where there is none."""
    owner, best = np.full(SIZE[::-1], -1), np.full(SIZE[::-1], -np.inf)
    y, x = np.mgrid[:SIZE[1], :SIZE[0]] + 0.5
    for number, face in enumerate(faces):
        (ax, ay), (bx, by), (cx, cy) = points[face].astype(float)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0:
            continue
        b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        near = (1 - b - c) * nearness[face[0]] + b * nearness[face[1]] + c * nearness[face[2]]
        front = (b >= 0) & (c >= 0) & (b + c <= 1) & (near > best)
        owner[front], best[front] = number, near[front]
    return owner


@pytest.mark.parametrize("seed", range(20))
def test_front_triangles_are_those_found_by_hand(seed):
    """Triangles that pierce each other, reach out of the picture, or show their inside."""
    rng = np.random.default_rng(seed)
    points = (rng.uniform(-6, 28, (24, 2))).astype(np.float32)
    nearness, faces = rng.uniform(0.1, 1, 24).astype(np.float32), rng.permutation(24).reshape(8, 3)
    values = np.stack([points[:, 0], 3 - 2 * points[:, 1]], axis=1)
    pixels, triangles, found = rasterise(points, nearness, faces, SIZE, values)
    owner = np.full(SIZE[0] * SIZE[1], -1)
    owner[pixels] = triangles
    expected = by_hand(points, nearness, faces).ravel()
    assert (owner != expected).sum() <= 2               # a centre on an edge, or two triangles equally near
    y, x = np.divmod(pixels, SIZE[0])
    np.testing.assert_allclose(found, np.stack([x + 0.5, 3 - 2 * (y + 0.5)], axis=1), atol=2e-2)


def test_neighbours_leave_no_gap_and_share_no_pixel():
    """A square of two triangles: each pixel once."""
    points = np.array([[2, 3], [18, 3], [18, 13], [2, 13]], np.float32)
    pixels, triangles, _ = rasterise(points, np.ones(4, np.float32), np.array([[0, 2, 1], [0, 3, 2]]), SIZE, points)
    assert len(pixels) == len(set(pixels)) == 16 * 10 and set(triangles) == {0, 1}


def test_nothing_to_draw():
    points = np.full((3, 2), 100, np.float32) + np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    for faces in (np.array([[0, 2, 1]]), np.array([[0, 1, 2]]), np.zeros((0, 3), int)):
        pixels, triangles, values = rasterise(points, np.ones(3, np.float32), faces, SIZE, points)
        assert len(pixels) == len(triangles) == len(values) == 0
