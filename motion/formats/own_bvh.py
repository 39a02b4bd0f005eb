"""A user's own BVH as a skeleton to write on: its hierarchy stays as it is, byte for byte; the motion is new.

Letters: T frames, N joints of the file, C channels.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from motion.formats.bvh import MOTION, capture_of, read_channels
from motion.formats.capture import Capture
from utils.checkpoint import write_whole


class Posed(NamedTuple):
    """A motion on a user's skeleton: local rotations (T, N, 3, 3), and one joint's place (T, 3) from its parent."""
    name: str
    turns: np.ndarray
    place: np.ndarray


class OwnBVH:
    """A BVH of the user's. Which of its frames shows the skeleton at rest, whoever writes on it says."""

    kind = "bvh"

    def __init__(self, path: Path):
        self.path, self.read = path, read_channels(path, still=True)
        self.capture: Capture = capture_of(self.read)
        self.orders = ["".join(kind[0].upper() for kind in kinds if kind.lower().endswith("rotation"))
                       for kinds in self.read.channels]

    def mover(self, pelvis: int) -> int:
        """The joint whose place moves the body: the first, from the root to the pelvis, that has all three channels.

        raises   ValueError if there is none
        """
        way = [pelvis]
        while self.read.parents[way[0]] >= 0:
            way.insert(0, self.read.parents[way[0]])
        free = [joint for joint in way if len(self.read.channels[joint]) - len(self.orders[joint]) == 3]
        if not free:
            raise ValueError(f"found no position channels from {self.read.names[way[0]]} to {self.read.names[pelvis]}, "
                             "expected three of one joint: without them the body cannot leave its place")
        return free[0]

    def write(self, path: Path, motions: Sequence[Posed], mover: int, turning: Sequence[int], frame: int = 0,
              fps: float = 30) -> None:
        """Write the motions, one after the other, on this skeleton.

        mover, turning   the joint whose place moves the body; those that turn, which here are all
        frame            of the file's own, whose position channels the other joints keep
        """
        turns, place = (np.concatenate([getattr(one, what) for one in motions]) for what in ("turns", "place"))
        values = np.repeat(self.read.values[[frame]], len(place), axis=0)               # (T, C)
        column = 0
        for joint, kinds in enumerate(self.read.channels):
            order = self.orders[joint]
            angles = euler(turns[:, joint], order)
            for kind in kinds:
                if kind.lower().endswith("rotation"):
                    values[:, column] = angles[:, order.index(kind[0].upper())]
                elif joint == mover:
                    values[:, column] = place[:, "XYZ".index(kind[0].upper())]
                column += 1
        values = np.insert(values, self.read.ends, 0.0, axis=1)
        hierarchy, newline = self.hierarchy()
        header = newline.join(["MOTION", f"Frames: {len(place)}", f"Frame Time: {1 / fps:f}", ""])
        with write_whole(path) as temporary, open(temporary, "wb") as file:
            file.write(hierarchy + header.encode())
            np.savetxt(file, values, fmt="%.6f", newline=newline)

    def hierarchy(self) -> tuple[bytes, str]:
        """What stands before MOTION, and how the file ends its lines; UTF-16 and -32 become UTF-8."""
        content = self.path.read_bytes()
        if b"\0" in content[:200]:
            content = content.decode("utf-32" if b"\0\0" in content[:200] else "utf-16").encode()
        newline = "\r\n" if b"\r\n" in content else "\n"
        end = re.search(MOTION.pattern.encode() + rb"|\bMOTION\s*\Z", content, re.IGNORECASE)
        before = content[:end.start()] if end else content
        return before if before.endswith((b"\n", b"\r")) else before + newline.encode(), newline


def euler(turns: np.ndarray, order: str) -> np.ndarray:
    """Degrees (T, len(order)) of rotations (T, 3, 3) about axes in this order, such as ZXY, without jumps by 360.

    Of a joint with fewer than three axes, those of them in the nearest order of three.
    """
    whole = order + "".join(axis for axis in "XYZ" if axis not in order)
    angles = Rotation.from_matrix(turns).as_euler(whole, degrees=True, suppress_warnings=True)
    return np.unwrap(angles[:, :len(order)], period=360, axis=0)
