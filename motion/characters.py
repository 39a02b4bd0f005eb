"""Our motion on a user's own skeleton: their joints, rest pose, unit and axes, so that it plays on their character.

The way back of `motion.retarget`: what turns their joints into ours there, one constant rotation per joint, turns ours
into theirs here. Joints without a counterpart (fingers, twists, more of the spine) stay at rest on their parent.

Letters: T frames, N joints of theirs. Ours are the 22 of `motion.skeleton`, metres, y up, the floor at 0.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from motion.captures import Reading, given_map, map_of
from motion.formats.capture import TO_Y
from motion.formats.glb import Take
from motion.formats.own_bvh import OwnBVH, Posed, euler
from motion.formats.own_glb import OwnGLB
from motion.rest_pose import is_straight, straightest
from motion.retarget import Source, filled
from motion.skeleton import ANKLES, HIPS, KNEES, OFFSETS, forward_kinematics, local_to_global

STANDS = 0.12    # of a leg: how high the lowest joint of a body that stands may be over its file's height 0


class Character:
    """A user's skeleton, and how ours is put on it.

    raises   ValueError that names the file, if it is no person's, or cannot be read
    """

    def __init__(self, path: Path, skeleton: str = "auto"):
        self.own = own = OwnBVH(path) if path.suffix.lower() == ".bvh" else OwnGLB(path)
        self.kind = own.kind
        try:
            skeleton_map, self.skeleton = map_of(own.capture, Reading(skeleton), given_map(Reading(skeleton)))
            self.source = source = Source(own.capture, skeleton_map)
            local, _, _ = source.retargeted()
            self.mover = own.mover(source.theirs[0])
        except ValueError as error:
            raise ValueError(f"--skeleton-from {path}: {error} Of a character, up and rest_frame are said in a map: "
                             "--skeleton-from-map FILE.") from None
        self.ours = {theirs: joint for joint, theirs in enumerate(source.theirs) if joint not in source.missing}
        joints = f"{len(self.ours)} of its {len(own.capture.names)} joints move"
        self.said = f"{path.name}: skeleton {self.skeleton}, {joints}; {source.capture.up} up; {'; '.join(source.said)}"
        self.turn = TO_Y[source.capture.up] @ TO_Y[own.capture.up].T                # their axes to ours
        self.constants = source.rotations[0].mT @ local_to_global(local)[0]         # (22, 3, 3), theirs to ours
        self.frame, self.rest, self.offsets = self._at_rest()
        self.scale = source.legs / np.linalg.norm(OFFSETS[KNEES + ANKLES], axis=-1).sum() * 2
        self.lift = 0.0
        self.lift = self._lift()

    def _at_rest(self) -> tuple[int, np.ndarray, np.ndarray]:
        """The frame of their file that shows them at rest; rotations (N, 3, 3) and places (N, 3) from the parent."""
        capture, source = self.own.capture, self.source
        own = source.rest_places(capture)
        at_rest = own is not None and is_straight(own)          # as its OFFSETs say, nothing turned
        said = source.map.get("rest_frame")
        frame = 0 if at_rest else said if isinstance(said, int) else straightest(
            filled(capture.positions[:, source.theirs], source.between))
        rotations, places = capture.rotations[frame], capture.positions[frame]
        turns, offsets = rotations.copy(), places.copy()
        for joint, parent in enumerate(capture.parents):
            if parent >= 0:
                turns[joint] = rotations[parent].T @ rotations[joint]
                offsets[joint] = rotations[parent].T @ (places[joint] - places[parent])
        return frame, np.broadcast_to(np.eye(3), turns.shape) if at_rest else turns, offsets

    def _lift(self) -> float:
        """How much higher the body has to be so that, standing, it is on their floor as it is in their file; else 0."""
        ours = np.broadcast_to(np.eye(3), (1, 22, 3, 3))
        joints = forward_kinematics(ours, np.zeros((1, 3)))
        *_, places = self.on_theirs(ours, -joints[:, :, 1].min(1, keepdims=True) * [0, 1, 0])
        floor = float(np.median(self.source.places[..., 1].min(-1)))
        low = (filled(places[:, self.source.theirs], self.source.between) @ self.turn.T)[..., 1].min()
        return float(floor - low) if 0 <= floor < STANDS * self.source.legs else 0.0

    def on_theirs(self, rotations: np.ndarray, pelvis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Our pose on their skeleton, in their file's axes and unit.

        rotations  (T, 22, 3, 3) local; pelvis (T, 3) metres
        returns    rotations (T, N, 3, 3), local and global, and places (T, N, 3), global
        """
        world = self.turn.T @ local_to_global(rotations)
        wanted = {theirs: world[:, joint] @ self.constants[joint].T for theirs, joint in self.ours.items()}
        turns = np.repeat(self.rest[None], len(pelvis), axis=0)
        turned, places = np.empty_like(turns), np.repeat(self.offsets[None], len(pelvis), axis=0)
        for joint, parent in enumerate(self.own.capture.parents):
            above = turned[:, parent] if parent >= 0 else np.eye(3)
            if joint in wanted:
                turns[:, joint] = _allowed(above.mT @ wanted[joint], self.own.orders[joint])
            turned[:, joint] = above @ turns[:, joint]
            if parent >= 0:
                places[:, joint] = places[:, parent] + (above @ self.offsets[joint])
        hips = filled(places[:, self.source.theirs], self.source.between)[:, HIPS].mean(1)
        ours = pelvis + rotations[:, 0] @ OFFSETS[HIPS].mean(0)
        shift = (self.scale * ours + [0, self.lift, 0]) @ self.turn - hips
        below = [self.mover]                                   # what moves with it; parents come first
        for joint, parent in enumerate(self.own.capture.parents):
            below += [joint] * (parent in below)
        places[:, below] += shift[:, None]
        return turns, turned, places

    def posed(self, take: Take) -> Posed:
        """A take as their file has it."""
        turns, turned, places = self.on_theirs(take.rotations, take.pelvis)
        place, parent = places[:, self.mover], self.own.capture.parents[self.mover]
        if parent >= 0:
            place = (turned[:, parent].mT @ (place - places[:, parent])[..., None])[..., 0]
        return Posed(take.name, turns, place)

    def write(self, path: Path, takes: Sequence[Take]) -> None:
        """Write takes on this skeleton, in the format of its file, at 30 frames per second."""
        self.own.write(path, [self.posed(take) for take in takes], self.mover, sorted(self.ours), self.frame)


def _allowed(turns: np.ndarray, order: str) -> np.ndarray:
    """Rotations (T, 3, 3) about those axes alone that a joint's channels have."""
    if len(order) == 3:
        return turns
    if not order:
        return np.broadcast_to(np.eye(3), turns.shape)
    return Rotation.from_euler(order, euler(turns, order), degrees=True).as_matrix().reshape(turns.shape)


@cache
def read_character(path: Path, skeleton: str = "auto") -> Character:
    """A user's character, of a .bvh, or a .glb or .vrm with a skin.

    skeleton   whose skeleton it has: auto, the name of a map that ships, or a JSON file
    raises     FileNotFoundError; ValueError that names the file, what was found and expected
    """
    if not path.is_file():
        raise FileNotFoundError(f"--skeleton-from {path}: no such file; expected your character, .bvh, .glb or .vrm.")
    if path.suffix.lower() not in (".bvh", ".glb", ".vrm"):
        raise ValueError(f"--skeleton-from {path}: found the suffix {path.suffix!r}, expected .bvh, or .glb or .vrm "
                         "with a skin; Blender makes either of an .fbx.")
    return Character(path, skeleton)
