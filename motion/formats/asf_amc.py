"""ASF/AMC (Acclaim skeleton and motion) files.

Letters: T frames, J joints. A bone carries the name of the joint where it begins: `lfemur` is the left hip.
Its values turn it about axes of its own, C M C^-1 seen from the root's axes; so with all values zero every
global rotation here is the identity and the body stands in its rest pose.
Words in any case; commas and parentheses are white space, # begins a comment. A bone's translation moves where it
begins, along its own axes; its length channel is its length, or what it is longer.
Sources: the CMU database's ASF/AMC description, mocap.cs.cmu.edu; Acclaim's format, version 1.10.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from motion.formats.capture import LARGEST, Capture, chain, check_frames, check_rate, placed
from utils.errors import note
from utils.text import read_text

FPS = 120.0


class Bone(NamedTuple):
    """A bone, and the joint in which it begins."""
    name: str
    parent: int
    end: np.ndarray           # (3,) from where it begins
    axis: Rotation            # C
    channels: list[str]       # "rx", "tz", "l" ...


def read_amc(path: str | Path, skeleton: str | Path | None = None, fps: float | None = None) -> Capture:
    """Read an AMC with its ASF, in any spelling of the format's version 1.10.

    skeleton  the .asf; by default the one of its name, the one its name begins with (35_01: 35), or the only one beside
    fps       most AMC files do not say theirs; CMU's are 120, which is taken then
    returns   positions in the ASF's unit (CMU: times 0.056444 are metres)
    raises    FileNotFoundError without an ASF; ValueError that names the file, what was found and expected
    """
    path = Path(path)
    skeleton = Path(skeleton) if skeleton else _find_skeleton(path)
    bones, degrees = _read_asf(skeleton)
    header, body = _parts(path)
    values = _read_values(path, body, bones, skeleton)
    angles = re.search(r":(DEGREES|RADIANS)\b", header, re.IGNORECASE)
    degrees = angles[1].upper() == "DEGREES" if angles else degrees
    if fps is None:
        said = re.search(r"(?:SAMPLES[-_ ]?PER[-_ ]?SECOND|FRAME[-_ ]?RATE|FPS)\W{1,3}(\d[\d.]*)", header,
                         re.IGNORECASE)
        fps = _rate(path, said[1]) if said else FPS
        if not said:
            note(f"{path}: an AMC does not say its rate, {FPS:g} frames per second are taken as CMU's: give --fps for "
                 "another.")

    names, parents = [bone.name for bone in bones], [bone.parent for bone in bones]
    rotations = np.broadcast_to(np.eye(3), (len(values[0]), len(bones), 3, 3)).copy()
    ends = np.repeat(np.array([bone.end for bone in bones])[None], len(rotations), axis=0)  # (T, J, 3) from its start
    moved = np.zeros_like(ends)
    for joint, (bone, frames) in enumerate(zip(bones, values)):
        turns = [column for column, kind in enumerate(bone.channels) if kind[0] == "r"]
        if turns:
            order = "".join(bone.channels[column][1] for column in turns)  # lower case: about fixed axes, first first
            turned = Rotation.from_euler(order, frames[:, turns], degrees=degrees)
            rotations[:, joint] = (bone.axis * turned * bone.axis.inv()).as_matrix()
        for column, kind in enumerate(bone.channels):
            if kind[0] == "t":
                way = np.eye(3)["xyz".index(kind[1])]
                moved[:, joint] += frames[:, column, None] * (way if joint == 0 else bone.axis.apply(way))
            elif kind == "l":
                length = np.array([np.linalg.norm(bone.end)])
                ends[:, joint] *= placed(frames[:, [column]], length, False) / np.maximum(length, 1e-12)
    starts = np.array([bone.end if bone.parent < 0 else bones[bone.parent].end for bone in bones])
    places = ends[:, [max(parent, 0) for parent in parents]]
    places[:, 0] = starts[0]
    return chain(names, parents, rotations, places + moved, check_rate(path, fps), starts)


def _rate(path: Path, said: str) -> float:
    try:
        return float(said)
    except ValueError:
        raise ValueError(f"{path}: found the rate {said!r}, expected a number: give the frames per second, "
                         "--fps.") from None


def _find_skeleton(path: Path) -> Path:
    beside = [asf for asf in sorted(path.parent.iterdir()) if asf.suffix.lower() == ".asf" and asf.name[:2] != "._"]
    for name in (path.stem, path.stem.split("_")[0]):
        if named := [asf for asf in beside if asf.stem.lower() == name.lower()]:
            return named[0]
    if len(beside) != 1:
        raise FileNotFoundError(f"{path}: found {len(beside)} .asf files beside it, expected one, or one "
                                "named like it or the beginning of its name.")
    return beside[0]


def _read_asf(path: Path) -> tuple[list[Bone], bool]:
    """The bones, the root first, and whether angles are degrees; the root's `end` is its place, the others' from where
    they begin."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the .asf skeleton of an .amc.")
    parts = re.split(r"^[ \t]*:(\w+)", _text(path), flags=re.MULTILINE)
    sections = {name.lower(): text for name, text in zip(parts[1::2], parts[2::2])}
    zeros = ["0", "0", "0"]
    try:
        degrees = not re.search(r"angle\s+rad", sections.get("units", ""), re.IGNORECASE)
        blocks = [re.split(r"\bend\b", block, maxsplit=1, flags=re.IGNORECASE)[0]
                  for block in re.split(r"\bbegin\b", sections["bonedata"], flags=re.IGNORECASE)[1:]]
        fields = {bone["name"][0].lower(): bone for bone in map(_fields, blocks)}
        root = _fields(sections["root"])
        bones = [Bone("root", -1, _numbers(root.get("position", zeros)),
                      _axis([*root.get("orientation", zeros), *root.get("axis", ["XYZ"])], degrees),
                      [kind.lower() for kind in root["order"]])]
        places = {"root": 0}
        for line in sections["hierarchy"].split("\n"):
            parent, *children = line.split() or [""]
            if parent.lower() in ("", "begin", "end"):
                continue
            above = places[parent.lower()]
            for name in children:
                bone = fields[name.lower()]
                places[name.lower()] = len(bones)
                bones.append(Bone(name, above, _numbers(bone["direction"], bone["length"][0]),
                                  _axis(bone.get("axis", [*zeros, "XYZ"]), degrees),
                                  [kind.lower() for kind in bone.get("dof", [])]))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{path}: found a skeleton that cannot be read at {str(error)[:90]}, expected an ASF with "
                         ":root, :bonedata and :hierarchy.") from None
    strange = {kind for bone in bones for kind in bone.channels} - {"rx", "ry", "rz", "tx", "ty", "tz", "l"}
    if strange:
        raise ValueError(f"{path}: found the degrees of freedom {sorted(strange)}, expected some of tx, ty, tz, rx, "
                         "ry, rz, l.")
    if lost := sorted(set(fields) - set(places)):
        note(f"{path}: the bones {', '.join(lost)} are not in its hierarchy and left out.")
    return bones, degrees


def _text(path: Path) -> str:
    """The file without comments; commas and parentheses are white space."""
    return re.sub(r"[,()]", " ", re.sub(r"#.*", "", read_text(path, otherwise="latin-1")))


def _fields(text: str) -> dict[str, list[str]]:
    """First word of a line -> the other words."""
    return {words[0].lower(): words[1:] for line in text.split("\n") if (words := line.split())}


def _numbers(words: list[str], length: str = "1") -> np.ndarray:
    found = np.array([float(word) for word in words]) * float(length)
    if len(found) != 3 or not (np.abs(found) < LARGEST).all():
        raise ValueError(f"the numbers {' '.join(words)} and a length of {length}")
    return found


def _axis(words: list[str], degrees: bool) -> Rotation:
    """["180", "-30", "-90", "XYZ"] -> the rotation C of a bone's own axes."""
    return Rotation.from_euler(words[3].lower(), _numbers(words[:3]), degrees=degrees)


def _parts(path: Path) -> tuple[str, list[str]]:
    """The header with its comments, and the words of the frames."""
    text = read_text(path, otherwise="latin-1").replace("\x1a", "").replace("\0", "")
    start = re.search(r"^\s*\d+\s*(?:#.*)?$", text, flags=re.MULTILINE)
    if not start:
        raise ValueError(f"{path}: found no frames, expected an AMC: a line with the frame's number, then a "
                         "line for each joint.")
    return text[:start.start()], re.sub(r"[,()]", " ", re.sub(r"#.*", "", text[start.start():])).split()


def _read_values(path: Path, words: list[str], bones: list[Bone], skeleton: Path) -> list[np.ndarray]:
    """The channels (T, C) of each bone."""
    widths = {bone.name.lower(): len(bone.channels) for bone in bones}
    moving = [name for name, width in widths.items() if width]
    named = {word.lower() for word in words if re.match(r"[^\W\d]", word)} - {"nan", "inf", "infinity"}
    wrong = sorted((named ^ set(moving)) - {name for name, width in widths.items() if not width})
    if wrong:
        raise ValueError(f"{path}: found other joints than in {skeleton.name}: {', '.join(wrong)[:300]}; expected "
                         "its own skeleton.")
    found: dict[str, list[str]] = {name: [] for name in moving}
    numbers: list[int] = []
    place = 0
    while place < len(words):
        name = words[place].lower()
        place += 1
        if name in widths:
            found.setdefault(name, []).extend(words[place:place + widths[name]])
            place += widths[name]
        elif re.fullmatch(r"\d{1,9}", name) and len(numbers) * sum(widths.values()) == sum(map(len, found.values())):
            numbers.append(int(name))
        else:
            place -= 1
            break
    frames = len(numbers)
    try:
        if place < len(words):
            raise ValueError(f"{words[place]} after {words[place - 1]}")
        values = [np.array(found.get(bone.name.lower(), ()), np.float64).reshape(frames, -1) if bone.channels else
                  np.zeros((frames, 0)) for bone in bones]
        if not all(block.shape[1] == len(bone.channels) for block, bone in zip(values, bones)):
            raise ValueError("joints are missing")
    except ValueError as error:
        raise ValueError(f"{path}: found frames unlike the others (frame {frames}: {str(error)[:90]}), expected "
                         f"{len(moving)} joints and {sum(widths.values())} numbers in each. Is the file whole?"
                         ) from None
    check_frames(path, np.concatenate(values, axis=1))
    gaps = [f"{after} behind {number}" for number, after in zip(numbers, numbers[1:]) if after != number + 1]
    if gaps:
        note(f"{path}: its frames are not numbered one after another, {len(gaps)} times, first {gaps[0]}: some may be "
             "missing.")
    return values
