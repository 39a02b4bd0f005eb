"""Any captured skeleton to SMPL-22: its bone directions and twists on our default body.

Letters: T frames, J joints (22). A skeleton map is a JSON file:

    unit         metres in the file's unit of length
    skip_frames  how many frames at the beginning are a calibration pose (default 0)
    joints       our joint -> {"source": their joint, or a list of the names by which files know it,
                               "rest": [x, y, z]} degrees of R = Rz Ry Rx (default 0, 0, 0): their joint's
                 global rotation when the body stands as ours at rest: T-pose, facing z+, y up, feet flat;
                 or -> {"between": [our joint, our joint]} where they have none: halfway between those two

What the two rests differ by is one constant rotation per bone; limbs, whose directions show, are then swung
the shortest way, by one more, so that at all times they point exactly where theirs do.
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from motion.formats import Capture
from motion.representation_272 import FPS
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from motion.skeleton import JOINT_NAMES, OFFSETS, forward_kinematics, global_to_local

# Bones that point where theirs do. The trunk, hands and feet turn as theirs do but keep our own shape.
LIMBS = {13: 16, 14: 17, 16: 18, 17: 19, 18: 20, 19: 21, 1: 4, 2: 5, 4: 7, 5: 8}
HIPS, KNEES, ANKLES = [1, 2], [4, 5], [7, 8]


def load_skeleton_map(name: str | Path) -> dict:
    """Read a skeleton map: one that ships with the project, by name, or a JSON file.

    raises   FileNotFoundError; ValueError if it is no skeleton map
    """
    folder = Path(__file__).parent / "skeleton_maps"
    path = folder / f"{name}.json"
    path = path if path.is_file() else Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(file.stem for file in folder.glob("*.json")))
        raise FileNotFoundError(f"{name}: no such skeleton map; expected a JSON file or one of {shipped}.")
    try:
        skeleton_map = json.loads(path.read_text(encoding="utf-8"))
        missing = set(JOINT_NAMES) ^ set(skeleton_map["joints"])
        unit = float(skeleton_map["unit"])
        missing |= {name for name, entry in skeleton_map["joints"].items()
                    if not {"source", "between"} & set(entry)}
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: found no readable {error}, expected a skeleton map: JSON with unit and "
                         "joints.") from None
    if missing or not unit > 0:
        raise ValueError(f"{path}: found a unit of {unit} and no use for the joints "
                         f"{sorted(missing)}; expected a positive unit and a source (or between) for each of "
                         f"{', '.join(JOINT_NAMES)}.")
    return skeleton_map


def retarget(capture: Capture, skeleton_map: dict) -> tuple[np.ndarray, np.ndarray]:
    """Put a capture on our default body, at 30 fps.

    returns  local rotations (T, 22, 3, 3) and joints (T, 22, 3), metres, y up, the lowest joint at y = 0
    raises   ValueError if the capture lacks a joint of the map, or its legs have no length
    The root's path is scaled by the length of the legs.
    """
    theirs, rests, between = find_joints(capture, skeleton_map)
    rotations, places = resample(capture, theirs, skeleton_map.get("skip_frames", 0))
    places *= skeleton_map["unit"]  # (T, 22, 3) metres; no meaning at the joints of `between`

    rotations = rotations @ rests.mT  # (T, 22, 3, 3), as our joints turn from our rest
    for joint, child in LIMBS.items():
        if joint in between or child in between:
            continue
        bone = (rotations[:, joint].mT @ (places[:, child] - places[:, joint])[..., None]).mean(0)[:, 0]
        rotations[:, joint] = rotations[:, joint] @ swing(OFFSETS[child], bone)
    for joint, (first, second) in between.items():
        rotations[:, joint] = slerp(rotations[:, first], rotations[:, second], 0.5)

    legs = places[:, KNEES + ANKLES] - places[:, HIPS + KNEES]
    length = np.linalg.norm(legs, axis=-1).sum(-1).mean()
    if not length > 0:
        raise ValueError("The capture's legs have no length: hips, knees and ankles are in the same place.")
    scale = np.linalg.norm(OFFSETS[KNEES + ANKLES], axis=-1).sum() / length
    # Their hips and ours are in the same place, so that equal legs reach the same floor.
    pelvis = scale * places[:, HIPS].mean(1) - rotations[:, 0] @ OFFSETS[HIPS].mean(0)
    local = global_to_local(rotations)
    joints = forward_kinematics(local, pelvis)
    return local, joints - np.array([0, joints[..., 1].min(), 0])


def find_joints(capture: Capture, skeleton_map: dict) -> tuple[list[int], np.ndarray, dict[int, list[int]]]:
    """Which joint of the capture is each of ours, how it is turned at rest, and which of ours it has not.

    returns  J indices (0 where it has none), rotations (J, 3, 3), {our joint: the two it is halfway between}
    raises   ValueError if a joint of the map is not in the capture
    """
    theirs, rests, between = [0] * len(JOINT_NAMES), np.zeros((len(JOINT_NAMES), 3)), {}
    for joint, name in enumerate(JOINT_NAMES):
        entry = skeleton_map["joints"][name]
        if "between" in entry:
            between[joint] = [JOINT_NAMES.index(end) for end in entry["between"]]
            continue
        sources = entry["source"] if isinstance(entry["source"], list) else [entry["source"]]
        found = [source for source in sources if source in capture.names]
        if not found:
            raise ValueError(f"The capture has no joint {' or '.join(sources)} for {name}, only "
                             f"{', '.join(capture.names)}: use the skeleton map that belongs to it.")
        theirs[joint] = capture.names.index(found[0])
        rests[joint] = entry.get("rest", [0, 0, 0])
    return theirs, Rotation.from_euler("xyz", rests, degrees=True).as_matrix(), between


def resample(capture: Capture, joints: list[int], skip: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Global rotations (T, J, 3, 3) and positions (T, J, 3) of some joints at 30 fps, from frame `skip` on.

    Frames that are there already are taken as they are; between frames rotations turn at a constant rate.
    raises   ValueError if nothing is left
    """
    rotations, positions = capture.rotations[skip:, joints], capture.positions[skip:, joints]
    if not len(rotations):
        raise ValueError(f"The capture has {len(capture.rotations)} frames of which the first {skip} are a "
                         "calibration pose: nothing is left.")
    last = len(rotations) - 1
    count = int(last * FPS / capture.fps + 1e-6) + 1
    frames = np.round(np.arange(count) * capture.fps / FPS, 6)  # of theirs, with fractions
    before = frames.astype(int)
    after, fraction = np.minimum(before + 1, last), frames - before
    moved = slerp(rotations[before], rotations[after], fraction[:, None])
    return moved, positions[before] + fraction[:, None, None] * (positions[after] - positions[before])


def slerp(start: np.ndarray, end: np.ndarray, fraction: float | np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) at a fraction (...) of the shortest way from start to end; 0 is start exactly."""
    fraction = np.broadcast_to(fraction, start.shape[:-2])
    result, on_the_way = start.copy(), fraction > 0
    turn = matrix_to_axis_angle(start[on_the_way].mT @ end[on_the_way])
    result[on_the_way] = start[on_the_way] @ axis_angle_to_matrix(fraction[on_the_way][:, None] * turn)
    return result


def swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotation (3, 3) that turns the direction of start (3,) the shortest way to that of end (3,)."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    angle = np.arctan2(sine, start @ end)
    return axis_angle_to_matrix(axis * (angle / sine) if sine > 0 else np.zeros(3))
