"""Does Blender see the motion that we mean? Imports our BVH headless, compares bone heads with our joints.

    sudo apt-get install blender
    python -m benchmarks.check_blender [MOTION.npy]    (T, 272), denormalised; default: made-up, in a circle

Prints the largest distance at ten frames and fails if it is over 1 mm.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from motion.formats import write_bvh
from motion.representation_272 import motion272_to_pose
from motion.rotation import axis_angle_to_matrix, y_rotation
from motion.skeleton import JOINT_NAMES, forward_kinematics

FRAMES, TOLERANCE = 10, 1e-3  # metres
IN_BLENDER = """
import bpy, io_anim_bvh.import_bvh, json, sys
# Debian 12's Blender 3.4 opens files with a mode, "rU", that its Python 3.11 no longer knows.
io_anim_bvh.import_bvh.open = lambda path, mode: open(path, mode.replace("U", ""))
bvh, frames, out = sys.argv[sys.argv.index("--") + 1:]
bpy.ops.import_anim.bvh(filepath=bvh, axis_forward="-Z", axis_up="Y", frame_start=1)
body = bpy.context.object
heads = []
for frame in json.loads(frames):
    bpy.context.scene.frame_set(frame + 1)
    heads.append({bone.name: list(body.matrix_world @ bone.head) for bone in body.pose.bones})
json.dump(heads, open(out, "w"))
"""


def main() -> None:
    motion = [np.load(path, allow_pickle=False).astype(np.float64) for path in sys.argv[1:]]
    rotations, pelvis = motion272_to_pose(motion[0]) if motion else circle()
    joints = forward_kinematics(rotations, pelvis)
    frames = np.linspace(0, len(joints) - 1, FRAMES).astype(int).tolist()
    with tempfile.TemporaryDirectory() as folder:
        bvh, script, out = (Path(folder) / name for name in ("motion.bvh", "heads.py", "heads.json"))
        write_bvh(bvh, rotations, pelvis)
        script.write_text(IN_BLENDER)
        subprocess.run(["blender", "--background", "--factory-startup", "--python-exit-code", "1", "--python",
                        script, "--", bvh, json.dumps(frames), out], check=True, stdout=subprocess.DEVNULL)
        heads = json.loads(out.read_text())
    heads = np.array([[frame[name.capitalize()] for name in JOINT_NAMES] for frame in heads])
    heads = heads[..., [0, 2, 1]] * [1, 1, -1]  # Blender's z up to y up
    distance = np.linalg.norm(heads - joints[frames], axis=-1)
    print(f"{distance.size} bone heads, frames {frames}: within {1000 * distance.max():.4f} mm of our joints")
    if distance.max() > TOLERANCE:
        sys.exit(f"over {1000 * TOLERANCE:g} mm")


def circle(frames: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Local rotations (T, 22, 3, 3) and pelvis (T, 3) of a body that goes round and swings every joint."""
    time = np.linspace(0, 2 * np.pi, frames)
    swing = 0.5 * np.sin(time[:, None, None] * np.arange(1, 4) + np.arange(22)[:, None])
    rotations = axis_angle_to_matrix(swing)
    rotations[:, 0] = y_rotation(time) @ rotations[:, 0]
    return rotations, np.stack([np.cos(time), 0.9 + 0.05 * np.sin(4 * time), np.sin(time)], axis=-1)


if __name__ == "__main__":
    main()
