"""What every reader returns: a captured motion on its own skeleton."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

# The rotation that turns an axis of a file to y.
TO_Y = {"y": np.eye(3), "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
        "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])}
LARGEST = 1e9    # of the numbers of a file: larger ones are faults, and overflow
TO_Y |= {f"-{axis}": np.diag([-1.0, -1, 1]) @ turn for axis, turn in TO_Y.items()}


@dataclass(frozen=True)
class Capture:
    """T frames of J joints as a capture file holds them; parents come before their children."""
    names: tuple[str, ...]  # J
    parents: tuple[int, ...]  # J, -1 for a root
    rotations: np.ndarray  # (T, J, 3, 3) float64, global: they turn the joint's frame into the world's
    positions: np.ndarray  # (T, J, 3) float64, global, in the file's unit of length
    fps: float
    rest: np.ndarray | None = None  # (J, 3) where they are if nothing is turned, as far as the file says
    up: str = "y"  # the axis of the file that is y here
    axes: tuple[str, ...] = tuple(TO_Y)  # those that may point up in files of this kind


def turned(capture: Capture, up: str) -> Capture:
    """The same capture, turned so that this axis of its file is y; ValueError for what is no axis."""
    if up not in TO_Y:
        raise ValueError(f"found the axis {up!r}, expected one of {', '.join(TO_Y)}: give --up.")
    if up == capture.up:
        return capture
    turn = TO_Y[up] @ TO_Y[capture.up].T
    return replace(capture, rotations=turn @ capture.rotations, positions=capture.positions @ turn.T, up=up)


def unlike(numbers: dict[str, int], name: str) -> str:
    """The name, with a number behind it if another joint has it already; numbers holds the names and their next."""
    found = name
    while found in numbers:
        numbers[name] = max(2, numbers[name] + 1)
        found = f"{re.sub(r' [(][0-9]+[)]$', '', name)} ({numbers[name]})"
    numbers[found] = 1
    return found


def check_rate(path: Path, fps: float) -> float:
    """ValueError that names `path` unless the rate is one that a capture can have."""
    if not 0.1 <= fps <= 10_000:
        raise ValueError(f"{path}: found {fps} frames per second, expected a number from 0.1 to 10000: give --fps.")
    return float(fps)


def placed(values: np.ndarray, rest: np.ndarray, root: bool) -> np.ndarray:
    """Position or length channels (T, C) as what they mean: they replace the skeleton's own (C,), or add to it.

    Programs write either. Of a joint that is no root, values that stay near zero, a tenth of the skeleton's own, add.
    """
    near_zero = len(values) and np.linalg.norm(values, axis=1).max() <= 0.1 * np.linalg.norm(rest)
    return values + rest if not root and near_zero else values


def check_frames(path: Path, values: np.ndarray) -> None:
    """Raise a ValueError that names `path` if the values (T, C) are no frames or are not all finite."""
    if not len(values):
        raise ValueError(f"{path}: found 0 frames, expected at least 1.")
    broken = ~(np.abs(values) < LARGEST).all(axis=1)
    if broken.any() and np.isfinite(values).all():
        raise ValueError(f"{path}: found {np.abs(values).max():.3g} in frame {broken.argmax()}, expected numbers of a "
                         "body's size.")
    if broken.any():
        raise ValueError(f"{path}: found NaN or infinity in {broken.sum()} of {len(values)} frames, first in "
                         f"frame {broken.argmax()}; expected finite numbers.")


def chain(names: Sequence[str], parents: Sequence[int], rotations: np.ndarray, offsets: np.ndarray,
          fps: float, rest: np.ndarray | None = None) -> Capture:
    """Put local rotations (T, J, 3, 3), offsets from the parent (T, J, 3) and at rest (J, 3) together to a Capture."""
    rotations, positions = rotations.copy(), offsets.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            bone = rotations[:, parent] @ offsets[:, joint, :, None]  # (T, 3, 1)
            positions[:, joint] = positions[:, parent] + bone[..., 0]
            rotations[:, joint] = rotations[:, parent] @ rotations[:, joint]
    rest = None if rest is None else rest.copy()
    for joint, parent in enumerate(parents):
        if rest is not None and parent >= 0:
            rest[joint] += rest[parent]
    return Capture(tuple(names), tuple(parents), rotations, positions, fps, rest)
