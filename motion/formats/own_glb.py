"""A user's own GLB (or VRM) as a skeleton to write on: one animation more, all else stays as it is, mesh and skin too.

Letters: T frames, N joints: those of the largest skin and all nodes above them. Source: Khronos' glTF 2.0.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from motion.formats.capture import Capture, unlike
from motion.formats.own_bvh import Posed
from motion.rotation import quaternions
from utils.checkpoint import write_whole

JSON, BINARY, FLOAT = 0x4E4F534A, 0x004E4942, 5126


class OwnGLB:
    """A GLB of the user's with a skin; at rest its nodes stand as the file says."""

    kind = "glb"

    def __init__(self, path: Path):
        self.path = path
        self.gltf, _ = read_glb(path)
        try:
            self._read_nodes()
        except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path}: found a glTF that cannot be read at {error!r}, expected nodes and skins as the "
                             "specification has them.") from None

    def _read_nodes(self) -> None:
        nodes, skins = self.gltf.get("nodes", []), self.gltf.get("skins", [])
        if not skins:
            raise ValueError(f"{self.path}: found no skin, expected a character whose mesh hangs on a skeleton.")
        above = {child: node for node, one in enumerate(nodes) for child in one.get("children", [])}
        ways: dict[int, list[int]] = {}                      # of each node that counts, from the root to it
        for joint in max((skin["joints"] for skin in skins), key=len):
            way = [joint]
            while way[0] in above and len(way) <= len(nodes):
                way.insert(0, above[way[0]])
            if len(way) > len(nodes):
                raise ValueError(f"{self.path}: found nodes that hang on themselves, expected a tree.")
            ways |= {node: way[:depth + 1] for depth, node in enumerate(way)}
        self.nodes = sorted(ways, key=lambda node: len(ways[node]))
        place_of = {node: place for place, node in enumerate(self.nodes)}
        parents = [place_of[ways[node][-2]] if len(ways[node]) > 1 else -1 for node in self.nodes]
        rotations, positions = np.zeros((len(self.nodes), 3, 3)), np.zeros((len(self.nodes), 3))
        self.scales = np.ones(len(self.nodes))                               # of the frame in which a node is placed
        below = np.ones(len(self.nodes))
        for joint, (node, parent) in enumerate(zip(self.nodes, parents)):
            translation, turn, scale = self._placed(nodes[node])
            if parent >= 0:
                self.scales[joint] = below[parent]
                translation = positions[parent] + rotations[parent] @ (translation * below[parent])
                turn = rotations[parent] @ turn
            positions[joint], rotations[joint], below[joint] = translation, turn, self.scales[joint] * scale
        numbers: dict[str, int] = {}
        names = [unlike(numbers, str(nodes[node].get("name") or f"node {node}")) for node in self.nodes]
        self.capture = Capture(tuple(names), tuple(parents), rotations[None], positions[None], 30.0, axes=("y",))
        self.orders = ["XYZ"] * len(names)

    def _placed(self, node: dict) -> tuple[np.ndarray, np.ndarray, float]:
        """Translation (3,), rotation (3, 3) and scale of a node, from its parts or its matrix."""
        if "matrix" in node:
            matrix = np.array(node["matrix"], np.float64).reshape(4, 4).T
            translation, scales = matrix[:3, 3], np.linalg.norm(matrix[:3, :3], axis=0)
            turn = matrix[:3, :3] / np.maximum(scales, 1e-12)
        else:
            translation, scales = (np.array(node.get(what, otherwise), np.float64).reshape(3) for what, otherwise in (
                ("translation", [0, 0, 0]), ("scale", [1, 1, 1])))
            turn = np.array(node.get("rotation", [0, 0, 0, 1]), np.float64).reshape(4)
            turn = Rotation.from_quat(turn).as_matrix() if turn.any() else np.zeros((3, 3))
        even = np.isfinite(translation).all() and scales.min() > 0 and scales.max() < 1.01 * scales.min()
        if not even or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3) or np.linalg.det(turn) < 0:
            raise ValueError(f"{self.path}: found a node {node.get('name', '')!r} that is stretched or mirrored (scale "
                             f"{scales.round(3).tolist()}), expected one scale for all axes: apply it in your tool.")
        return translation, turn, float(scales.mean())

    def mover(self, pelvis: int) -> int:
        """The joint whose place moves the body: the pelvis."""
        return pelvis

    def write(self, path: Path, motions: Sequence[Posed], mover: int, turning: Sequence[int], frame: int = 0,
              fps: float = 30) -> None:
        """Write the file with an animation more for each motion, in front of its own: viewers play the first.

        turning   the joints that turn; the others are left alone
        """
        gltf, blob = read_glb(self.path)
        added = []
        for motion in motions:
            times = append(gltf, blob, (np.arange(len(motion.place)) / fps)[:, None], "SCALAR")
            moving = [(mover, "translation", motion.place / self.scales[mover])]
            moving += [(joint, "rotation", quaternions(motion.turns[:, [joint]])[:, 0]) for joint in turning]
            for joint, _, _ in moving:
                self._part(gltf["nodes"][self.nodes[joint]])
            samplers = [dict(input=times, interpolation="LINEAR", output=append(
                gltf, blob, values, "VEC3" if what == "translation" else "VEC4")) for _, what, values in moving]
            channels = [dict(sampler=number, target=dict(node=self.nodes[joint], path=what))
                        for number, (joint, what, _) in enumerate(moving)]
            added.append(dict(name=motion.name, samplers=samplers, channels=channels))
        gltf["animations"] = added + gltf.get("animations", [])
        save_glb(path, gltf, bytes(blob))

    def _part(self, node: dict) -> None:
        """Write a node's matrix as its parts, for glTF lets only these move."""
        if "matrix" in node:
            translation, turn, scale = self._placed(node)
            del node["matrix"]
            node |= dict(translation=translation.tolist(), rotation=Rotation.from_matrix(turn).as_quat().tolist(),
                         scale=[scale] * 3)


def read_glb(path: Path) -> tuple[dict[str, Any], bytearray]:
    """The JSON and the binary part of a GLB. ValueError that names the file if it is none."""
    data = path.read_bytes()
    expected = "expected a binary glTF 2.0, .glb or .vrm, whole"
    try:
        magic, version, length, size, kind = struct.unpack_from("<4sIIII", data)
        if (magic, version, kind) != (b"glTF", 2, JSON) or length > len(data) or 20 + size > length:
            raise ValueError("another kind of file")
        gltf, blob = json.loads(data[20:20 + size]), bytearray()
        if 28 + size <= length:
            more, kind = struct.unpack_from("<II", data, 20 + size)
            if kind == BINARY:
                blob += data[28 + size:28 + size + more]
        if not isinstance(gltf, dict):
            raise ValueError("JSON that is no object")
        buffers = gltf.setdefault("buffers", [])
        if buffers and ("uri" in buffers[0] or buffers[0]["byteLength"] > len(blob)):
            raise ValueError("its arrays in other files")
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise ValueError(f"{path}: found {error}; {expected}.") from None
    return gltf, blob


def append(gltf: dict[str, Any], blob: bytearray, values: np.ndarray, kind: str) -> int:
    """Add an array (T, C) to the first buffer, with its smallest and largest; returns the number of its accessor."""
    values = values.astype("<f4")
    blob += bytes(-len(blob) % 4)
    views, accessors = gltf.setdefault("bufferViews", []), gltf.setdefault("accessors", [])
    views.append(dict(buffer=0, byteOffset=len(blob), byteLength=values.nbytes))
    accessors.append(dict(bufferView=len(views) - 1, componentType=FLOAT, count=len(values), type=kind,
                          min=values.min(0).tolist(), max=values.max(0).tolist()))
    blob += values.tobytes()
    gltf["buffers"][:1] = [gltf["buffers"][0] | dict(byteLength=len(blob))] if gltf["buffers"] else [
        dict(byteLength=len(blob))]
    return len(accessors) - 1


def save_glb(path: Path, gltf: dict[str, Any], blob: bytes) -> None:
    """Write a GLB of its JSON and binary part, whole or not at all."""
    text = json.dumps(gltf, ensure_ascii=False, separators=(",", ":")).encode()
    text, blob = text + b" " * (-len(text) % 4), blob + bytes(-len(blob) % 4)
    with write_whole(path) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(blob), len(text), JSON) + text)
        file.write(struct.pack("<II", len(blob), BINARY) + blob)
