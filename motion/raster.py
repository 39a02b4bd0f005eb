"""Triangles to pixels in NumPy: which one is in front, in every pixel of a picture.

Letters: V vertices, F triangles, N pixels that show one, H and W pixels of the picture.
"""

import numpy as np


def rasterise(points: np.ndarray, nearness: np.ndarray, faces: np.ndarray, size: tuple[int, int],
              values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest triangle that covers a pixel's centre, for all pixels that have one.

    points    (V, 2) float32, x and y in pixels, y down
    nearness  (V,) one over the depth, as that is linear in a picture
    faces     (F, 3), counterclockwise seen from outside: those that show their inside are left out
    size      width and height
    values    (V, K) to interpolate in the picture's plane
    returns   pixels (N,), y W + x, each once and in order; their triangles (N,); their values (N, K)
    """
    width, height = size
    corners = points[faces]                                                             # (F, 3, 2)
    ahead, beside = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = ahead[:, 0] * beside[:, 1] - ahead[:, 1] * beside[:, 0]
    seen = np.flatnonzero(area < -1e-6)
    faces, corners, area = faces[seen], corners[seen], area[seen]
    low, high = corners[..., 1].min(axis=1), corners[..., 1].max(axis=1)
    top = np.ceil(low - 0.5).clip(0, height).astype(np.int32)                           # rows of pixel centres
    rows = np.ceil(high - 0.5).clip(0, height).astype(np.int32) - top

    owner = np.repeat(np.arange(len(faces), dtype=np.int32), rows)                      # a span: one row of a triangle
    row = counted(rows) + top[owner]
    left, right = span_ends(corners, owner, row, width)
    count = np.maximum(right - left, 0)
    span = np.repeat(np.arange(len(owner), dtype=np.int32), count)
    place = counted(count) + (row * width + left)[span]
    a, b, c = (coefficient[owner] for coefficient in planes(corners, area, nearness[faces]))
    near = (a * left + b * row + c)[span] + a[span] * counted(count)

    low = near.min(initial=np.inf)
    steps = ((near - low) * (65535 / max(near.max(initial=-np.inf) - low, 1e-9))).astype(np.uint16)
    order = np.argsort(steps, kind="stable")                                            # a radix sort: fast
    front = np.full(width * height, -1, np.int32)
    front[place[order]] = span[order]                                                   # the last one written stays
    pixels = np.flatnonzero(front >= 0)
    triangles = owner[front[pixels]]
    y, x = np.divmod(pixels.astype(np.int32), np.int32(width))
    found = np.empty((len(pixels), values.shape[1]), np.float32)
    for column, value in enumerate(values.T):
        a, b, c = (coefficient[triangles] for coefficient in planes(corners, area, value[faces]))
        found[:, column] = a * x + b * y + c
    return pixels, seen[triangles], found


def counted(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... for each of the lengths (N,), one after another."""
    ends = np.cumsum(lengths, dtype=np.int32)
    return np.arange(ends[-1] if len(ends) else 0, dtype=np.int32) - np.repeat(ends - lengths.astype(np.int32), lengths)


def span_ends(corners: np.ndarray, owner: np.ndarray, row: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """First pixel and the one behind the last of each span (S,), inside of all three edges of its triangle.

    corners  (F, 3, 2); owner, row (S,) the spans' triangles and rows
    """
    left, right = np.zeros(len(owner), np.float32), np.full(len(owner), np.float32(width))
    for start, end in ((0, 1), (1, 2), (2, 0)):
        x, y = corners[:, start].T
        rise = corners[:, end, 1] - y
        slope = np.divide(corners[:, end, 0] - x, rise, out=np.zeros_like(x), where=rise != 0)
        crossing = (x - slope * (y - np.float32(0.5)))[owner] + slope[owner] * row
        upward = rise[owner]
        np.maximum(left, crossing, out=left, where=upward > 0)
        np.minimum(right, crossing, out=right, where=upward < 0)
    return np.ceil(left - np.float32(0.5)).astype(np.int32), np.ceil(right - np.float32(0.5)).astype(np.int32)


def planes(corners: np.ndarray, area: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b, c (F,) of a x + b y + c = the values (F, 3) at the corners (F, 3, 2); whole x, y are pixels' centres."""
    first, second = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    ahead, beside = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    a = (first * beside[:, 1] - second * ahead[:, 1]) / area
    b = (second * ahead[:, 0] - first * beside[:, 0]) / area
    centre = corners[:, 0] - np.float32(0.5)
    return a, b, values[:, 0] - a * centre[:, 0] - b * centre[:, 1]
