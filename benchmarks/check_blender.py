"""Does Blender see the motion that we mean? Imports our BVH, GLB and FBX headless, compares with our joints and body.

    sudo apt-get install blender python3-numpy
    python -m benchmarks.check_blender

Prints the largest distances at ten frames, of bone heads and of the body's vertices, and fails if one is over 1 mm.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from motion.body import pose_body, rest_body
from motion.footing import grounded_pose
from motion.formats import write_bvh
from motion.formats.bones import BONES
from motion.formats.glb import Take, write_glb
from motion.rotation import axis_angle_to_matrix, y_rotation
from motion.skeleton import forward_kinematics
from options import opt, parse

FRAMES, TOLERANCE = 10, 1e-3  # metres
TO_FBX = Path(__file__).parent.parent / "scripts" / "to_fbx.py"
IN_BLENDER = """
import bpy, json, sys
source, scripts, frames, out = sys.argv[sys.argv.index("--") + 1:]
sys.path.insert(0, scripts)
import to_fbx
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = 30
if source.endswith(".fbx"):
    bpy.ops.preferences.addon_enable(module="io_scene_fbx")
    bpy.ops.import_scene.fbx(filepath=source)
else:
    to_fbx.load(bpy, source)
first = int(min(action.frame_range[0] for action in bpy.data.actions))
body = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")
mesh = next((thing for thing in bpy.data.objects if thing.type == "MESH" and thing.find_armature()), None)
found = []
for frame in json.loads(frames):
    bpy.context.scene.frame_set(frame + first)
    heads = {bone.name: list(body.matrix_world @ bone.head) for bone in body.pose.bones}
    posed = mesh and mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    found.append((heads, posed and [list(posed.matrix_world @ vertex.co) for vertex in posed.data.vertices]))
json.dump(found, open(out, "w"))
"""


@dataclass(frozen=True)
class Check:
    """Compare what other tools read in our files with what we mean."""

    motion: Path | None = opt(None, "an .npy (T, 272), denormalised; None: a made-up one, in a circle")


def checked_pose(config: Check) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, 22, 3, 3) and pelvis (T, 3) of the motion that is checked."""
    return grounded_pose(np.load(config.motion, allow_pickle=False)) if config.motion else circle()


def main() -> None:
    pose = checked_pose(parse({"check": Check()}, show=False))
    with tempfile.TemporaryDirectory() as folder:
        found = distances(*pose, Path(folder))
    for what, worst in found.items():
        print(f"{what} at {FRAMES} frames within {1000 * worst:.4f} mm of ours")
    if max(found.values()) > TOLERANCE:
        sys.exit(f"over {1000 * TOLERANCE:g} mm")


def installed() -> bool:
    return bool(shutil.which("blender"))


def distances(rotations: np.ndarray, pelvis: np.ndarray, folder: Path) -> dict[str, float]:
    """Largest distances, in metres, of bone heads and vertices of each kind of file in Blender from ours."""
    frames = np.linspace(0, len(pelvis) - 1, FRAMES).astype(int).tolist()
    joints = forward_kinematics(rotations, pelvis)[frames]
    vertices, _ = pose_body(rest_body(), rotations[frames], pelvis[frames])
    write_bvh(folder / "clip.bvh", rotations, pelvis, bones="mixamo")
    write_glb(folder / "clip.glb", [Take("clip", rotations, pelvis)], "mixamo")
    blender("--python", TO_FBX, "--", folder / "clip.glb", folder / "clip.fbx")
    (folder / "heads.py").write_text(IN_BLENDER)
    worst = {}
    for kind in ("bvh", "glb", "fbx"):
        blender("--python", folder / "heads.py", "--", folder / f"clip.{kind}", TO_FBX.parent, json.dumps(frames),
                folder / "found.json")
        found = json.loads((folder / "found.json").read_text())
        heads = upright([[heads[bone] for bone in BONES["mixamo"]] for heads, _ in found])
        worst[f"{kind}: bone heads"] = farthest(heads - joints)
        if kind != "bvh":
            worst[f"{kind}: vertices"] = farthest(upright([mesh for _, mesh in found]) - vertices)
    return worst


def blender(*arguments: str | Path) -> None:
    subprocess.run(["blender", "--background", "--factory-startup", "--python-exit-code", "1", *arguments], check=True,
                   stdout=subprocess.DEVNULL)


def upright(points: list) -> np.ndarray:
    """Blender's z up to y up."""
    return np.array(points)[..., [0, 2, 1]] * [1, 1, -1]


def farthest(differences: np.ndarray) -> float:
    return float(np.linalg.norm(differences, axis=-1).max())


def circle(frames: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, 22, 3, 3) and pelvis (T, 3) of a body that goes round and swings every joint."""
    time = np.linspace(0, 2 * np.pi, frames)
    swing = 0.5 * np.sin(time[:, None, None] * np.arange(1, 4) + np.arange(22)[:, None])
    rotations = axis_angle_to_matrix(swing)
    rotations[:, 0] = y_rotation(time) @ rotations[:, 0]
    return rotations, np.stack([np.cos(time), 0.9 + 0.05 * np.sin(4 * time), np.sin(time)], axis=-1)


if __name__ == "__main__":
    main()
