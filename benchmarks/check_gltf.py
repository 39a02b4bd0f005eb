"""Are our GLB and VRMA what their standards say, and do three.js and three-vrm show the motion that we mean?

    npm install --prefix benchmarks/gltf
    python -m benchmarks.check_gltf

Khronos' validator may have no error and no warning. three.js plays the GLB: joints to 1 mm at ten frames; three-vrm
plays the VRMA on a humanoid of other lengths: bones to 1 degree.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation

from benchmarks.check_blender import FRAMES, Check, checked_pose
from motion.formats.bones import BONES
from motion.formats.glb import Take, save, write_glb
from motion.formats.vrma import write_vrma
from motion.skeleton import forward_kinematics, local_to_global
from options import parse

TOOLS = Path(__file__).parent / "gltf"
MILLIMETRES, DEGREES = 1.0, 1.0
LONGER = 1.2                  # the humanoid's bones, in ours
WARNING = 1                   # severities from here down: warnings, errors


def main() -> None:
    config = parse({"check": Check()}, show=False)
    if not installed():
        sys.exit("error: found no node with the packages of benchmarks/gltf: npm install --prefix benchmarks/gltf")
    take = Take("a person walks", *checked_pose(config))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bad = validate(take, folder)
        away, off = played_glb(take, folder), played_vrma(take, folder)
    print(f"validator: {len(bad)} errors and warnings {bad or ''}")
    print(f"three.js: joints within {away:.4f} mm of ours\nthree-vrm: bones within {off:.4f} degrees of ours")
    if bad or away > MILLIMETRES or off > DEGREES:
        sys.exit(1)


def installed() -> bool:
    packages = json.loads((TOOLS / "package.json").read_text())["dependencies"]
    return bool(shutil.which("node")) and all((TOOLS / "node_modules" / name).is_dir() for name in packages)


def node(script: str, *arguments: str | Path) -> list | dict:
    """What a script of benchmarks/gltf prints."""
    return json.loads(subprocess.run(["node", TOOLS / script, *arguments], check=True, capture_output=True).stdout)


def validate(take: Take, folder: Path) -> list[str]:
    """The validator's errors and warnings about all kinds of files that we write."""
    files = [folder / f"{bones}.glb" for bones in BONES]
    for bones, path in zip(BONES, files):
        write_glb(path, [take, Take("another", take.rotations[:1], take.pelvis[:1])], bones)
    write_vrma(folder / "clip.vrma", [take])
    found = node("validate.mjs", *files, folder / "clip.vrma")
    return [f"{Path(file).name}: {message['message']}" for file, messages in dict(found).items() for message in messages
            if message["severity"] <= WARNING]


def sampled(take: Take) -> tuple[list[int], str]:
    """Some frames, and their times as JSON."""
    frames = np.linspace(0, len(take.pelvis) - 1, FRAMES).astype(int).tolist()
    return frames, json.dumps([frame / 30 for frame in frames])


def played_glb(take: Take, folder: Path) -> float:
    """Largest distance of three.js' bones from our joints, in millimetres."""
    frames, times = sampled(take)
    write_glb(folder / "clip.glb", [take], "vrm")
    places = [[bones[name]["place"] for name in BONES["vrm"]] for bones in node("play.mjs", times, folder / "clip.glb")]
    joints = forward_kinematics(take.rotations[frames], take.pelvis[frames])
    return 1000 * float(np.linalg.norm(np.array(places) - joints, axis=-1).max())


def played_vrma(take: Take, folder: Path) -> float:
    """Largest angle between the bones of a VRM humanoid that plays our VRMA and our joints, in degrees."""
    frames, times = sampled(take)
    write_vrma(folder / "clip.vrma", [take])
    write_humanoid(folder / "model.vrm")
    found = node("play.mjs", times, folder / "clip.vrma", folder / "model.vrm")
    turns = Rotation.from_quat([bones[name]["turn"] for bones in found for name in BONES["smpl"]])
    ours = Rotation.from_matrix(local_to_global(take.rotations[frames]).reshape(-1, 3, 3))
    return float(np.degrees((turns * ours.inv()).magnitude().max()))


def write_humanoid(path: Path) -> None:
    """A VRM 1.0 model: our body with other lengths, and the extension that says which bone is which."""
    write_glb(path.with_suffix(".glb"), [Take("rest", np.tile(np.eye(3), (1, 22, 1, 1)), np.zeros((1, 3)))])
    gltf = GLTF2().load(str(path.with_suffix(".glb")))
    assert gltf is not None
    gltf.animations = []
    for bone in gltf.nodes[:len(BONES["vrm"])]:
        bone.translation = [LONGER * metres for metres in bone.translation]
    bones = {name: {"node": node} for node, name in enumerate(BONES["vrm"])}
    meta = {"name": "model", "authors": ["nobody"], "licenseUrl": "https://vrm.dev/licenses/1.0/"}
    gltf.extensions = {"VRMC_vrm": {"specVersion": "1.0", "meta": meta, "humanoid": {"humanBones": bones}}}
    gltf.extensionsUsed = ["VRMC_vrm"]
    save(path, gltf)


if __name__ == "__main__":
    main()
