"""ASF/AMC (Acclaim skeleton and motion) files, as the CMU database has them.

Letters: T frames, J joints. A bone carries the name of the joint where it begins: `lfemur` is the left hip.
Its values turn it about axes of its own, C M C^-1 seen from the root's axes; so with all values zero every
global rotation here is the identity and the body stands in its rest pose.
Source: the CMU database's ASF/AMC description, mocap.cs.cmu.edu.
"""

import re
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from motion.formats.capture import Capture, chain, check_frames


def read_amc(path: str | Path, skeleton: str | Path | None = None, fps: float = 120.0) -> Capture:
    """Read an AMC with its ASF.

    skeleton  the .asf; by default the only one beside the .amc, or the one its name begins with (35_01: 35)
    fps       AMC files do not say theirs; CMU's are 120
    returns   positions in the ASF's unit (CMU: times 0.056444 are metres)
    raises    FileNotFoundError without an ASF; ValueError that names the file, what was found and expected
    """
    path = Path(path)
    skeleton = Path(skeleton) if skeleton else _find_skeleton(path)
    names, parents, offsets, axes, channels = _read_asf(skeleton)
    values, degrees = _read_values(path, dict(zip(names, channels)), skeleton)

    rotations = np.broadcast_to(np.eye(3), (len(values[names[0]]), len(names), 3, 3)).copy()
    places = np.repeat(np.array(offsets)[None], len(rotations), axis=0)  # (T, J, 3)
    for joint, (name, axis, kinds) in enumerate(zip(names, axes, channels)):
        turns = [column for column, kind in enumerate(kinds) if kind[0] == "r"]
        if turns:
            order = "".join(kinds[column][1] for column in turns)  # lower case: about fixed axes, first first
            turned = Rotation.from_euler(order, values[name][:, turns], degrees=degrees)
            rotations[:, joint] = (axis * turned * axis.inv()).as_matrix()
        for column, kind in enumerate(kinds):
            if kind[0] == "t":
                places[:, joint, "xyz".index(kind[1])] += values[name][:, column]
    return chain(names, parents, rotations, places, fps)


def _find_skeleton(path: Path) -> Path:
    beside = sorted(path.parent.glob("*.asf"))
    named = [asf for asf in beside if asf.stem == path.stem.split("_")[0]]
    found = named or beside
    if len(found) != 1:
        raise FileNotFoundError(f"{path}: found {len(found)} .asf files beside it, expected one, or one "
                                "named like the beginning of its name.")
    return found[0]


def _read_asf(path: Path) -> tuple[list[str], list[int], list[np.ndarray], list[Rotation], list[list[str]]]:
    """Names, parents, offsets, axes and channels ("rx", "tz", ...) of every joint."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the .asf skeleton of an .amc.")
    text = re.sub(r"#.*", "", path.read_text(encoding="latin-1"))
    parts = re.split(r"^\s*:(\w+)", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2]))
    zeros = ["0", "0", "0"]
    try:
        degrees = not re.search(r"angle\s+rad", sections.get("units", ""))
        blocks = re.findall(r"\bbegin\b(.*?)\bend\b", sections["bonedata"], re.DOTALL)
        bones = {bone["name"][0]: bone for bone in map(_fields, blocks)}
        root = _fields(sections["root"])
        names, parents = ["root"], [-1]
        offsets = [_numbers(root.get("position", zeros))]
        axes = [_axis([*root.get("orientation", zeros), *root["axis"]], degrees)]
        channels = [[kind.lower() for kind in root["order"]]]
        for line in sections["hierarchy"].splitlines():
            parent, *children = line.split() or [""]
            above = bones.get(parent)  # a bone begins where the one above it ends; the root has no length
            end = _numbers(above["direction"]) * float(above["length"][0]) if above else np.zeros(3)
            for name in children:
                names.append(name)
                parents.append(names.index(parent))
                offsets.append(end)
                axes.append(_axis(bones[name]["axis"], degrees))
                channels.append([kind.lower() for kind in bones[name].get("dof", [])])
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{path}: found a skeleton that cannot be read at {error}, expected an ASF with "
                         ":root, :bonedata and :hierarchy.") from None
    strange = {kind for kinds in channels[1:] for kind in kinds} - {"rx", "ry", "rz"}
    strange |= set(channels[0]) - {"rx", "ry", "rz", "tx", "ty", "tz"}
    if strange:
        raise ValueError(f"{path}: found the degrees of freedom {sorted(strange)}, expected rx, ry, rz "
                         "(and tx, ty, tz of the root).")
    return names, parents, offsets, axes, channels


def _fields(text: str) -> dict[str, list[str]]:
    """First word of a line -> the other words."""
    return {words[0].lower(): words[1:] for line in text.splitlines() if (words := line.split())}


def _numbers(words: list[str]) -> np.ndarray:
    x, y, z = map(float, words)
    return np.array([x, y, z])


def _axis(words: list[str], degrees: bool) -> Rotation:
    """["180", "-30", "-90", "XYZ"] -> the rotation C of a bone's own axes."""
    return Rotation.from_euler(words[3].lower(), _numbers(words[:3]), degrees=degrees)


def _read_values(path: Path, channels: dict[str, list[str]], skeleton: Path) -> tuple[dict, bool]:
    """{joint: (T, its channels)}, and whether their angles are degrees."""
    text = path.read_text(encoding="latin-1")
    start = re.search(r"^\s*\d+\s*$", text, flags=re.MULTILINE)
    if not start:
        raise ValueError(f"{path}: found no frames, expected an AMC: a line with the frame's number, then a "
                         "line for each joint.")
    header, body = text[:start.start()], text[start.start():]
    degrees = ":RADIANS" not in header.upper()
    named = re.findall(r"^\s*([A-Za-z_]\S*)", body, flags=re.MULTILINE)
    order = list(dict.fromkeys(named))
    moving = [name for name, kinds in channels.items() if kinds]
    if sorted(order) != sorted(moving):
        wrong = sorted(set(order) ^ set(moving))
        raise ValueError(f"{path}: found other joints than in {skeleton.name}: {', '.join(wrong)}; expected "
                         "its own skeleton.")
    # Without line breaks and names each frame is one row: its number and all values.
    rows = re.sub(r"\n\s*[A-Za-z_]\S*", " ", body).splitlines()
    width = 1 + sum(len(channels[name]) for name in order)
    try:
        values = np.loadtxt([row for row in rows if row.strip()], ndmin=2, comments=None)
    except ValueError as error:
        raise ValueError(f"{path}: found frames unlike the others ({str(error).split(';')[0]}), expected "
                         f"{width} numbers in each. Is the file whole?") from None
    if values.shape[1] != width or named != order * len(values):
        raise ValueError(f"{path}: found {len(values)} frames of {values.shape[1]} numbers and {len(named)} "
                         f"joint lines, expected {width} numbers and {len(order)} lines for each. Is the "
                         "file whole?")
    check_frames(path, values)
    ends = np.cumsum([1, *(len(channels[name]) for name in order)])
    return {name: values[:, start:end] for name, start, end in zip(order, ends, ends[1:])}, degrees
