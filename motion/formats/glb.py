"""GLB: the body and its motion in one file that browsers, Blender, Unity, Unreal and Windows' viewer open.

The skeleton's nodes rest in the T-pose in which the body is bound, without rotation or scale; metres, y up, the body
faces z+. Source: Khronos' glTF 2.0 specification.

Letters: T frames, V vertices, F triangles.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pygltflib as gl

from motion.body import REST, Body, rest_body
from motion.formats.bones import BONES
from motion.rotation import quaternions
from motion.skeleton import OFFSETS, PARENTS
from utils.checkpoint import write_whole

KINDS = {np.dtype(np.float32): gl.FLOAT, np.dtype(np.uint16): gl.UNSIGNED_SHORT, np.dtype(np.uint8): gl.UNSIGNED_BYTE}
TYPES = {(): gl.SCALAR, (3,): gl.VEC3, (4,): gl.VEC4, (4, 4): gl.MAT4}


class Take(NamedTuple):
    """One animation: a name, local rotations (T, 22, 3, 3) and the pelvis' position (T, 3) in metres."""

    name: str
    rotations: np.ndarray
    pelvis: np.ndarray


def write_glb(path: str | Path, takes: Sequence[Take], bones: str = "smpl", fps: float = 30,
              body: Body | None = None) -> None:
    """Write the skinned body with one animation for each take.

    bones   whose names the joints get: see `motion.formats.bones`
    body    whose mesh; None: `motion.body.rest_body`
    raises  ValueError for no takes, other shapes or no frames
    """
    gltf = animated_skeleton(takes, bones, fps)
    body = body or rest_body()
    binds = np.tile(np.eye(4, dtype=np.float32), (len(REST), 1, 1))
    binds[:, 3, :3] = -body.rest                                        # stored by columns
    attributes = gl.Attributes(
        POSITION=add(gltf, body.vertices, gl.ARRAY_BUFFER, bounds=True),
        NORMAL=add(gltf, body.normals, gl.ARRAY_BUFFER), COLOR_0=add(gltf, linear(body.colours), gl.ARRAY_BUFFER),
        JOINTS_0=add(gltf, body.joints, gl.ARRAY_BUFFER), WEIGHTS_0=add(gltf, body.weights, gl.ARRAY_BUFFER))
    triangles = add(gltf, body.faces.reshape(-1), gl.ELEMENT_ARRAY_BUFFER)
    gltf.materials = [gl.Material(name="body", pbrMetallicRoughness=gl.PbrMetallicRoughness(
        metallicFactor=0.0, roughnessFactor=0.8), alphaCutoff=None)]
    surface = gl.Primitive(attributes=attributes, indices=triangles, material=0)
    gltf.meshes = [gl.Mesh(name="body", primitives=[surface])]
    gltf.skins = [gl.Skin(joints=list(range(len(REST))), skeleton=0, inverseBindMatrices=add(gltf, binds))]
    gltf.scenes = [gl.Scene(nodes=[0, len(gltf.nodes)])]                # a skinned mesh has no place of its own
    gltf.nodes.append(gl.Node(name="body", mesh=0, skin=0))
    save(path, gltf)


def animated_skeleton(takes: Sequence[Take], bones: str, fps: float) -> gl.GLTF2:
    """A glTF of 22 nodes at rest, pelvis first, and an animation for each take. Errors as of `write_glb`."""
    if not takes:
        raise ValueError("Found no takes to write, expected one or more.")
    offsets = [REST[0], *OFFSETS[1:]]
    children = [[child for child, parent in enumerate(PARENTS) if parent == joint] for joint in range(len(PARENTS))]
    gltf = gl.GLTF2(asset=gl.Asset(generator="streaming-text-to-motion"), scene=0, scenes=[gl.Scene(nodes=[0])],
                    buffers=[gl.Buffer(byteLength=0)],
                    nodes=[gl.Node(name=name, translation=offset.tolist(), children=below)
                           for name, offset, below in zip(BONES[bones], offsets, children)])
    gltf.set_binary_blob(b"")
    for take in takes:
        gltf.animations.append(animation(gltf, take, fps))
    return gltf


def animation(gltf: gl.GLTF2, take: Take, fps: float) -> gl.Animation:
    """A take as glTF has it: where the pelvis is, and how each joint is turned, at the same times."""
    frames = len(take.pelvis)
    if take.rotations.shape != (frames, 22, 3, 3) or take.pelvis.shape != (frames, 3) or not frames:
        raise ValueError(f"Found rotations {take.rotations.shape} and pelvis {take.pelvis.shape} for a glTF, expected "
                         "(T, 22, 3, 3) and (T, 3), T at least 1.")
    times = add(gltf, (np.arange(frames) / fps).astype(np.float32), bounds=True)
    tracks = [(0, "translation", take.pelvis)]
    tracks += [(joint, "rotation", turns) for joint, turns in enumerate(quaternions(take.rotations).swapaxes(0, 1))]
    samplers = [gl.AnimationSampler(input=times, output=add(gltf, values.astype(np.float32)), interpolation="LINEAR")
                for _, _, values in tracks]
    channels = [gl.AnimationChannel(sampler=number, target=gl.AnimationChannelTarget(node=node, path=what))
                for number, (node, what, _) in enumerate(tracks)]
    return gl.Animation(name=take.name, samplers=samplers, channels=channels)


def linear(colours: np.ndarray) -> np.ndarray:
    """sRGB bytes as glTF wants colours of vertices: linear light from 0 to 1, float32."""
    share = colours / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4).astype(np.float32)


def add(gltf: gl.GLTF2, values: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
    """Append an array to the binary part; returns the number of its accessor.

    target  what a mesh uses it for; bounds: with its smallest and largest values, which positions and times need
    """
    blob = gltf.binary_blob()
    assert blob is not None
    gltf.bufferViews.append(gl.BufferView(buffer=0, byteOffset=len(blob), byteLength=values.nbytes, target=target))
    low, high = (np.atleast_1d(found(axis=0)).tolist() if bounds else None for found in (values.min, values.max))
    gltf.accessors.append(gl.Accessor(
        bufferView=len(gltf.bufferViews) - 1, componentType=KINDS[values.dtype], count=len(values),
        type=TYPES[values.shape[1:]], min=low, max=high))
    gltf.set_binary_blob(blob + values.tobytes() + bytes(-values.nbytes % 4))
    gltf.buffers[0].byteLength = len(gltf.binary_blob() or b"")
    return len(gltf.accessors) - 1


def save(path: str | Path, gltf: gl.GLTF2) -> None:
    """Write a glTF as GLB, whole or not at all."""
    with write_whole(path) as temporary:
        temporary.write_bytes(b"".join(gltf.save_to_bytes()))
