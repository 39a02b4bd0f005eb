"""A motion as the page shows it and as exports hold it: its pose, latent by latent, as the bytes of the wire.

T frames, four a latent; L latents.
"""

import copy
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from models.causal_tae import FRAMES_PER_LATENT as FRAMES
from motion.footing import Footing

ROW = 3 + 22 * 4            # numbers of a frame on the wire: the pelvis' position, and quaternions (x, y, z, w)


class Shown(NamedTuple):
    """The frames (4, 272) of a latent, their rows (4, 91) as bytes, and how the body stands behind them."""

    motion: np.ndarray
    rows: bytes
    footing: Footing


def show(frames: np.ndarray, before: Shown | None) -> Shown:
    """The frames (4, 272) of a latent behind `before`, or of the first."""
    footing = copy.deepcopy(before.footing) if before else Footing()
    rotations, pelvis = footing.pose(frames)
    quaternions = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat().reshape(len(pelvis), -1)
    return Shown(frames, np.concatenate([pelvis, quaternions], axis=1).astype("<f4").tobytes(), footing)


def show_all(motion: np.ndarray) -> list[Shown]:
    """A motion (T, 272), T = 4 L, as L pieces."""
    shown: list[Shown] = []
    for first in range(0, len(motion), FRAMES):
        shown.append(show(motion[first:first + FRAMES], shown[-1] if shown else None))
    return shown


def pack(first: int, shown: Sequence[Shown]) -> bytes:
    """Frames for the page: the number of the first, then float32 (T, 91): the pelvis' position, metres, and the
    joints' local rotations as quaternions (x, y, z, w)."""
    return struct.pack("<I", first) + b"".join(one.rows for one in shown)
