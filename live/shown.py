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
from motion.representation_272 import DIM, Start

ROW = 3 + 22 * 4            # numbers of a frame on the wire: the pelvis' position, and quaternions (x, y, z, w)
BYTES = FRAMES * ROW * 4    # of a latent's frames there


class Shown(NamedTuple):
    """The frames (4, 272) of a latent, their rows (4, 91) as bytes, how the body stands behind them, and where in the
    world their motion began."""

    motion: np.ndarray
    rows: bytes
    footing: Footing
    start: Start = Start()


class Stretch(NamedTuple):
    """Some frames: their motion (T, 272), their rows (T, 91), and from which on each prompt holds."""

    motion: np.ndarray
    rows: np.ndarray
    title: list[tuple[int, str]]

    @property
    def pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Local rotations (T, 22, 3, 3) and the pelvis (T, 3), where the page shows them."""
        turns = Rotation.from_quat(self.rows[:, 3:].reshape(-1, 4)).as_matrix()
        return turns.reshape(len(self.rows), -1, 3, 3), self.rows[:, :3].astype(float)


def show(frames: np.ndarray, before: Shown | None, start: Start = Start()) -> Shown:
    """The frames (4, 272) of a latent behind `before`, or of the first, which begins at `start`."""
    footing, start = (copy.deepcopy(before.footing), before.start) if before else (Footing(), start)
    rotations, pelvis = footing.pose(frames)
    quaternions = Rotation.from_matrix(start.turned(rotations).reshape(-1, 3, 3)).as_quat().reshape(len(pelvis), -1)
    rows = np.concatenate([start.moved(pelvis), quaternions], axis=1)
    return Shown(frames, rows.astype("<f4").tobytes(), footing, start)


def show_all(motion: np.ndarray, start: Start = Start(), before: Shown | None = None) -> list[Shown]:
    """A motion (T, 272), T = 4 L, as L pieces behind `before`, or from `start`."""
    shown = [before] if before else []
    for first in range(0, len(motion), FRAMES):
        shown.append(show(motion[first:first + FRAMES], shown[-1] if shown else None, start))
    return shown[1:] if before else shown


def join(shown: Sequence[Shown], title: Sequence[tuple[int, str]] = ()) -> Stretch:
    """All frames of these pieces."""
    rows = np.frombuffer(b"".join(one.rows for one in shown), "<f4").reshape(-1, ROW)
    return Stretch(np.concatenate([np.empty((0, DIM), np.float32), *(one.motion for one in shown)]), rows, list(title))


def pack(first: int, shown: Sequence[Shown]) -> bytes:
    """Frames for the page: the number of the first, then float32 (T, 91): the pelvis' position, metres, and the
    joints' local rotations as quaternions (x, y, z, w)."""
    return struct.pack("<I", first) + b"".join(one.rows for one in shown)
