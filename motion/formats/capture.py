"""What every reader returns: a captured motion on its own skeleton."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Capture:
    """T frames of J joints as a capture file holds them; parents come before their children."""
    names: tuple[str, ...]  # J
    parents: tuple[int, ...]  # J, -1 for a root
    rotations: np.ndarray  # (T, J, 3, 3) float64, global: they turn the joint's frame into the world's
    positions: np.ndarray  # (T, J, 3) float64, global, in the file's unit of length
    fps: float


def check_frames(path: Path, values: np.ndarray) -> None:
    """Raise a ValueError that names `path` if the values (T, C) are no frames or are not all finite."""
    if not len(values):
        raise ValueError(f"{path}: found 0 frames, expected at least 1.")
    broken = ~np.isfinite(values).all(axis=1)
    if broken.any():
        raise ValueError(f"{path}: found NaN or infinity in {broken.sum()} of {len(values)} frames, first in "
                         f"frame {broken.argmax()}; expected finite numbers.")


def chain(names: Sequence[str], parents: Sequence[int], rotations: np.ndarray, offsets: np.ndarray,
          fps: float) -> Capture:
    """Put local rotations (T, J, 3, 3) and offsets from the parent (T, J, 3) together to a Capture."""
    rotations, positions = rotations.copy(), offsets.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            bone = rotations[:, parent] @ offsets[:, joint, :, None]  # (T, 3, 1)
            positions[:, joint] = positions[:, parent] + bone[..., 0]
            rotations[:, joint] = rotations[:, parent] @ rotations[:, joint]
    return Capture(tuple(names), tuple(parents), rotations, positions, fps)
