"""BVH (Biovision hierarchy) files: read any, write SMPL-22.

Letters: T frames, J joints, C channels. Angles in files are degrees. A joint's rotation channels multiply in
their order: the last is applied first. Its position channels replace its OFFSET.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from motion.formats.bones import BONES
from motion.formats.capture import Capture, chain, check_frames
from motion.skeleton import OFFSETS, PARENTS
from utils.checkpoint import write_whole


def read_bvh(path: str | Path) -> Capture:
    """Read a BVH with any channels on any joint and any frame rate.

    returns  rotations and positions in the file's axes and unit; End Sites are left out
    raises   ValueError that names the file, what was found and what was expected
    """
    path = Path(path)
    text = path.read_text(encoding="latin-1")
    hierarchy, *motion = re.split(r"^\s*MOTION\s*$", text, maxsplit=1, flags=re.MULTILINE | re.IGNORECASE)
    names, parents, offsets, channels = _read_hierarchy(path, hierarchy)
    values, fps = _read_motion(path, "".join(motion), sum(map(len, channels)))

    offsets = np.repeat(np.array(offsets)[None], len(values), axis=0)  # (T, J, 3)
    rotations = np.broadcast_to(np.eye(3), (len(values), len(names), 3, 3)).copy()
    columns_of_order = {}  # "ZYX": {joint: its columns}; joints of one order are turned at once
    column = 0
    for joint, kinds in enumerate(channels):
        turns = {}
        for kind in kinds:
            axis = kind[0].upper()
            if kind.lower().endswith("position"):
                offsets[:, joint, "XYZ".index(axis)] = values[:, column]
            else:
                turns[axis] = column
            column += 1
        if turns:
            columns_of_order.setdefault("".join(turns), {})[joint] = list(turns.values())
    for order, columns in columns_of_order.items():
        angles = values[:, list(columns.values())]  # (T, joints of this order, up to 3)
        turned = Rotation.from_euler(order, angles.reshape(-1, len(order)), degrees=True).as_matrix()
        rotations[:, list(columns)] = turned.reshape(len(values), -1, 3, 3)
    return chain(names, parents, rotations, offsets, fps)


def _read_hierarchy(path: Path, text: str) -> tuple[list[str], list[int], list[list[float]], list[list[str]]]:
    """Names, parents, offsets and channels of every joint."""
    names, parents, offsets, channels = [], [], [], []
    opened = []  # the joints whose brace is open; None is an End Site
    current = None
    for line in re.sub(r"[{}]", r"\n\g<0>\n", text).splitlines():
        word, *rest = line.split(maxsplit=1) or [""]
        rest = "".join(rest).strip()
        match word.upper():
            case "ROOT" | "JOINT" if None not in opened:
                current = len(names)
                names.append(rest)
                parents.append(opened[-1] if opened else -1)
                offsets.append([0.0, 0.0, 0.0])
                channels.append([])
            case "END":
                current = None
            case "{":
                opened.append(current)
            case "}" if opened:
                opened.pop()
            case "OFFSET" if opened:
                if opened[-1] is not None:
                    offsets[opened[-1]] = _offset(path, rest)
            case "CHANNELS" if opened and opened[-1] is not None:
                channels[opened[-1]] = _channels(path, rest)
            case "HIERARCHY" | "":
                pass
            case _:
                raise ValueError(f"{path}: found {line.strip()[:40]!r} in the hierarchy of a BVH, expected "
                                 "ROOT, JOINT, End Site, OFFSET or CHANNELS.")
    if not names or opened:
        raise ValueError(f"{path}: found {len(names)} joints and {len(opened)} braces left open before "
                         "MOTION, expected a whole BVH hierarchy.")
    return names, parents, offsets, channels


def _offset(path: Path, text: str) -> list[float]:
    try:
        x, y, z = map(float, text.split())
    except ValueError:
        raise ValueError(f"{path}: found OFFSET {text!r}, expected three numbers.") from None
    return [x, y, z]


def _channels(path: Path, text: str) -> list[str]:
    count, *kinds = text.split() or [""]
    known = all(re.fullmatch("[XYZ](position|rotation)", kind, re.IGNORECASE) for kind in kinds)
    if count != str(len(kinds)) or not known or len({kind.lower() for kind in kinds}) < len(kinds):
        raise ValueError(f"{path}: found CHANNELS {text!r}, expected their number and that many different "
                         "ones of Xposition, Yposition, ... Zrotation.")
    return kinds


def _read_motion(path: Path, text: str, channels: int) -> tuple[np.ndarray, float]:
    """Values (T, C) and frames per second."""
    head = re.match(r"\s*Frames:\s*(\d+)\s*Frame Time:\s*(\S+)[^\S\n]*\n?", text, re.IGNORECASE)
    if not head:
        raise ValueError(f"{path}: found {text.strip()[:40]!r} after the hierarchy, expected the lines "
                         "MOTION, Frames: and Frame Time:.")
    frames, frame_time = int(head[1]), _seconds(path, head[2])
    lines = [line for line in text[head.end():].splitlines() if line.strip()]
    try:
        values = np.loadtxt(lines, ndmin=2, comments=None) if lines else np.zeros((0, channels))
    except ValueError as error:
        raise ValueError(f"{path}: found frames unlike the others ({str(error).split(';')[0]}), expected "
                         f"{channels} numbers in each. Is the file whole?") from None
    if values.shape != (frames, channels):
        raise ValueError(f"{path}: found {len(values)} frames of {values.shape[1]} numbers, expected "
                         f"{frames} frames of {channels} as its header says. Is the file whole?")
    check_frames(path, values)
    return values, round(1 / frame_time, 2)  # files round the frame time: 0.0333333 is 30 fps


def _seconds(path: Path, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1e-4 < seconds < 10:
        raise ValueError(f"{path}: found the frame time {text!r}, expected seconds between 0.0001 and 10.")
    return seconds


# What is written: SMPL-22 and two unmoving palms (from the wrists, metres) that give the hands a length.
WRITTEN_PARENTS = (*PARENTS, 20, 21)
WRITTEN_OFFSETS = (*OFFSETS, (0.084042, -0.008162, -0.014945), (-0.084622, -0.006117, -0.010315))
PALMS = {"smpl": ("Left_palm", "Right_palm"), "mixamo": ("mixamorig:LeftHandMiddle1", "mixamorig:RightHandMiddle1"),
         "vrm": ("leftMiddleProximal", "rightMiddleProximal")}
UNITS = {"m": 1.0, "cm": 100.0}


def write_bvh(path: str | Path, rotations: np.ndarray, pelvis: np.ndarray, fps: float = 30,
              published: bool = False, bones: str = "smpl", unit: str = "m") -> None:
    """Write SMPL-22 motion as a BVH of 24 joints, y up. The root's OFFSET is 0: some readers add it to its channels.

    rotations  (T, 22, 3, 3) local
    pelvis     (T, 3) its position, metres
    published  the authors' OFFSET, added to the root channel too, as their converter does by mistake: its character
               stands 22 cm in the floor
    bones      whose names: see `motion.formats.bones`; smpl's begin with a capital letter
    unit       of the file's lengths: m or cm
    raises     ValueError for other shapes
    Source: the converter of Li-xingXiao/272-dim-Motion-Representation.
    """
    frames = len(pelvis)
    if rotations.shape != (frames, 22, 3, 3) or pelvis.shape != (frames, 3):
        raise ValueError(f"Found rotations {rotations.shape} and pelvis {pelvis.shape} for a BVH, expected "
                         "(T, 22, 3, 3) and (T, 3).")
    scale, start = UNITS[unit], OFFSETS[0] if published else np.zeros(3)
    angles = np.zeros((frames, len(WRITTEN_PARENTS), 3))
    turned = Rotation.from_matrix(rotations.reshape(-1, 3, 3))
    # At gimbal lock one of many right answers is given, which needs no warning.
    angles[:, :22] = turned.as_euler("ZYX", degrees=True, suppress_warnings=True).reshape(frames, 22, 3)
    names = [name.capitalize() if bones == "smpl" else name for name in BONES[bones]]
    lines, order = _hierarchy_lines((*names, *PALMS[bones]), scale * np.array([start, *WRITTEN_OFFSETS[1:]]))
    values = np.concatenate([scale * (pelvis + start), angles[:, order].reshape(frames, -1)], axis=1)
    with write_whole(path) as temporary, open(temporary, "w", encoding="ascii") as file:
        print("HIERARCHY", *lines, "MOTION", f"Frames: {frames}", f"Frame Time: {1 / fps:f}", sep="\n",
              file=file)
        np.savetxt(file, values, fmt="%.6f")


def _hierarchy_lines(names: Sequence[str], offsets: np.ndarray, joint: int = 0, depth: int = 0
                     ) -> tuple[list[str], list[int]]:
    """The lines of a joint and all below it, and those joints in the order of the lines."""
    rotation, position = "Zrotation Yrotation Xrotation", "Xposition Yposition Zposition"
    channels = f"3 {rotation}" if joint else f"6 {position} {rotation} "  # the published one ends in a blank
    below = [_hierarchy_lines(names, offsets, child, depth + 1)
             for child, parent in enumerate(WRITTEN_PARENTS) if parent == joint]
    inner = ["OFFSET {:f} {:f} {:f}".format(*offsets[joint]), f"CHANNELS {channels}"]
    if not below:
        inner += ["End Site", "{", "\tOFFSET 0.000000 0.000000 0.000000", "}"]
    indent = "\t" * depth
    lines = [indent + ("JOINT " if joint else "ROOT ") + names[joint], indent + "{"]
    lines += [indent + "\t" + line for line in inner]
    lines += [line for below_lines, _ in below for line in below_lines] + [indent + "}"]
    return lines, [joint, *(child for _, below_order in below for child in below_order)]
