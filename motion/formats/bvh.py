"""BVH (Biovision hierarchy) files: read any, write SMPL-22.

Letters: T frames, J joints, C channels. Angles in files are degrees. A joint's rotation channels multiply in
their order: the last is applied first. Its position channels replace its OFFSET, as in Blender, but for channels below
the root that stay near zero: those add to it.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from motion.formats.bones import BONES
from motion.formats.capture import LARGEST, Capture, chain, check_frames, check_rate, placed, unlike
from motion.skeleton import OFFSETS, PARENTS
from utils.checkpoint import write_whole
from utils.errors import note
from utils.text import read_text

MOTION = re.compile(r"\bMOTION(?:\s*:)?\s+(?=Frames?(?:\b|_|Time))", re.IGNORECASE)    # after the hierarchy
SLOW = 5       # frames per second below which a file is hardly right
MOST = 2000    # joints of a file
AT_ONCE = 20_000_000    # joints of all frames: 1.5 GB of rotations
# As Windows' C and others write it.
NO_NUMBER = re.compile(r"#IO|#IND|#QNAN|#SNAN|#INF|nan\(\w{1,40}\)|^(?:none|null|n/a)$", re.IGNORECASE)
RATES = (30.0, 60.0, 120.0, 24.0, 25.0, 50.0, 100.0, 90.0, 240.0, 48.0, 72.0, 144.0, 200.0)    # the likelier first


class Channels(NamedTuple):
    """The joints of a BVH (parents first, End Sites left out), and what its channels hold."""
    names: list[str]
    parents: list[int]
    offsets: list[list[float]]
    channels: list[list[str]]    # of each joint, such as Zrotation
    ends: list[int]              # before which channel End Sites claim one more each
    values: np.ndarray           # (T, C), degrees and the file's unit
    fps: float


def read_bvh(path: str | Path, fps: float | None = None) -> Capture:
    """Read a BVH with any channels on any joint and any frame rate, as loosely as Blender and three.js do.

    fps      frames per second, where the file does not say its rate rightly
    returns  rotations and positions in the file's axes and unit; End Sites are left out
    raises   ValueError that names the file, what was found and what was expected
    """
    return capture_of(read_channels(path, fps))


def read_channels(path: str | Path, fps: float | None = None, still: bool = False) -> Channels:
    """Read a BVH as `read_bvh` does, without putting its channels together.

    still    a file without frames is taken as one in which nothing is turned, and every joint is at its OFFSET
    """
    path = Path(path)
    hierarchy, *motion = MOTION.split(_text_of(path), maxsplit=1)
    joints = names, parents, offsets, channels, ends = _read_hierarchy(path, re.sub(r"\bMOTION\s*$", "", hierarchy))
    if still and not re.search(r"\bTime\b[^\n]*\n\s*[-+.\d]", "".join(motion), re.IGNORECASE):
        values = [offset["XYZ".index(kind[0].upper())] if kind.lower().endswith("position") else 0.0
                  for offset, kinds in zip(offsets, channels) for kind in kinds]
        return Channels(*joints, np.array([values]), 30.0)
    values, fps = _read_motion(path, "".join(motion), sum(map(len, channels)), ends, fps)
    if len(values) * len(names) > AT_ONCE:
        raise ValueError(f"{path}: found {len(values)} frames of {len(names)} joints, expected at most "
                         f"{AT_ONCE // 10 ** 6} million of both together: cut it into parts.")
    return Channels(*joints, values, fps)


def capture_of(read: Channels) -> Capture:
    """What the channels mean: where every joint is and how it is turned."""
    names, parents, offsets, channels, _, values, fps = read
    rest = np.array(offsets)
    offsets = np.repeat(rest[None], len(values), axis=0)  # (T, J, 3)
    rotations = np.broadcast_to(np.eye(3), (len(values), len(names), 3, 3)).copy()
    columns_of_order = {}  # "ZYX": {joint: its columns}; joints of one order are turned at once
    column = 0
    for joint, kinds in enumerate(channels):
        turns, moves = {}, {}
        for kind in kinds:
            (moves if kind.lower().endswith("position") else turns)[kind[0].upper()] = column
            column += 1
        if moves:
            axes = ["XYZ".index(axis) for axis in moves]
            offsets[:, joint, axes] = placed(values[:, list(moves.values())], rest[joint, axes], parents[joint] < 0)
        if turns:
            columns_of_order.setdefault("".join(turns), {})[joint] = list(turns.values())
    for order, columns in columns_of_order.items():
        angles = values[:, list(columns.values())]  # (T, joints of this order, up to 3)
        turned = Rotation.from_euler(order, angles.reshape(-1, len(order)), degrees=True).as_matrix()
        rotations[:, list(columns)] = turned.reshape(len(values), -1, 3, 3)
    return chain(names, parents, rotations, offsets, fps, rest)


def _text_of(path: Path) -> str:
    """The file with points in its numbers and without lines of comments."""
    text = read_text(path, otherwise="latin-1")
    for encoding in ("cp932", "gbk") if re.search("[\x80-\xff]{2}|[\x80-\xff][@-~]", text) else ():
        with suppress(UnicodeError):                       # as old tools of MikuMikuDance write it
            asian = text.encode("latin-1").decode(encoding)
            if re.search("[\u3040-\u30ff\u4e00-\u9fff]{2}|[左右]", asian):
                text = asian
                break
    text = text.replace("\u2212", "-")                                    # a minus that is no hyphen
    if ";" in text:
        text = re.sub(r"(?<=[\d.]);", " ", text)
    if "," in text:
        decimal = not re.search(r"\d\.\d", text)
        text = re.sub(r"(Time\s*:?\s*\d*),(?=\d)", r"\1.", text, flags=re.IGNORECASE)    # one list, one number
        text = re.sub(r"(?<=[\d.]),(?=[\d.])" if decimal else r"(?<=[\d.]),(?=[\s\d.+-]|$)", "." if decimal else " ",
                      text)
    return re.sub(r"^[^\S\n]*(?:#|//|;).*", "", text, flags=re.MULTILINE) if re.search("#|//|;", text) else text


KEYWORDS = re.compile(r"""\s*(?:(?P<brace>[{}])|HIERARCHY\b|(?P<end>END)\b[^\n{]*|END_?SITE\b[^\n{]*
    |(?P<joint>ROOT|JOINT)[^\S\n]+(?P<name>[^\n{]*)|(?:\#|//|;)[^\n]*
    |OFFSET\b(?P<offset>(?:[\s:]+(?!CHANNELS|JOINT|END(?:_?SITE)?\b|\#|//|;)[^\s{}]+)*)
    |CHANNELS\b(?P<channels>(?:[\s:]+(?!OFFSET|JOINT|END(?:_?SITE)?\b|\#|//|;)[^\s{}]+)*)
    |(?P<other>\S.*)|$)""", re.I | re.X)


def _read_hierarchy(path: Path, text: str) -> tuple[list[str], list[int], list[list[float]], list[list[str]],
                                                    list[int]]:
    """Names, parents, offsets and channels of every joint; before which channel End Sites claim one more each."""
    names, parents, offsets, channels, ends = [], [], [], [], []
    numbers: dict[str, int] = {}  # of the joints of one name so far
    opened = []  # the joints whose brace is open; None is an End Site
    current = None
    for found in KEYWORDS.finditer(text):
        if found["joint"] and None not in opened:
            current = len(names)
            if current == MOST:
                raise ValueError(f"{path}: found more than {MOST} joints, expected a body's: give a file with fewer.")
            names.append(unlike(numbers, found["name"].strip()))
            parents.append(opened[-1] if opened else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
        elif found["brace"] == "{":
            opened.append(current)
            current = None
        elif found["brace"] and opened:
            opened.pop()
        elif found["offset"] is not None and opened:
            if opened[-1] is not None:
                offsets[opened[-1]] = _offset(path, found["offset"])
        elif found["channels"] is not None and opened:
            if opened[-1] is None:
                ends += [sum(map(len, channels))] * len(_channels(path, found["channels"]))
            else:
                channels[opened[-1]] = _channels(path, found["channels"])
        elif any(found.groupdict().values()) and not found["end"]:
            raise ValueError(f"{path}: found {found[0].strip()[:40]!r} in the hierarchy of a BVH, expected "
                             "ROOT, JOINT, End Site, OFFSET or CHANNELS.")
    if not names or opened:
        raise ValueError(f"{path}: found {len(names)} joints and {len(opened)} braces left open before "
                         "MOTION, expected a whole BVH hierarchy.")
    return names, parents, offsets, channels, ends


def _offset(path: Path, text: str) -> list[float]:
    try:
        x, y, z = map(float, text.strip(" \n\t:").split())
    except ValueError:
        raise ValueError(f"{path}: found OFFSET {text.strip()[:60]!r}, expected three numbers.") from None
    if not all(abs(value) < LARGEST for value in (x, y, z)):        # nor NaN, which max would pass over
        raise ValueError(f"{path}: found OFFSET {text.strip()[:60]!r}, expected three numbers of a body's size.")
    return [x, y, z]


def _channels(path: Path, text: str) -> list[str]:
    count, *kinds = text.strip(" \n\t:").split() or [""]
    known = all(re.fullmatch("[XYZ](position|rotation)", kind, re.IGNORECASE) for kind in kinds)
    if count != str(len(kinds)) or not known or len({kind.lower() for kind in kinds}) < len(kinds):
        raise ValueError(f"{path}: found CHANNELS {' '.join(text.split())[:90]!r}, expected their number and that many "
                         "different ones of Xposition, Yposition, ... Zrotation.")
    return kinds


def _read_motion(path: Path, text: str, channels: int, ends: list[int], fps: float | None) -> tuple[np.ndarray, float]:
    """Values (T, C) and frames per second; what End Sites claim is skipped, should it be there at all."""
    count = re.search(r"\bFrames?\s*:?\s*([-+\d][-+\d.e]*)", text, re.IGNORECASE)
    time = re.search(r"\bFrame[\s_]*Time\s*:?\s*(\S*\d\.?|\S+)[^\S\n]*(?:seconds|sec|s)?[^\S\n]*\n?", text,
                     re.IGNORECASE)
    if not time or not channels:
        raise ValueError(f"{path}: found {channels} channels and {text.strip()[:40]!r} after the hierarchy, expected "
                         "the lines MOTION, Frames: and Frame Time:.")
    frames = _count(count[1]) if count else 0
    fps = check_rate(path, fps) if fps is not None else _rate(path, time[1])
    start = max(found.end() for found in (count, time) if found)
    rows = [line.split() for line in text[start:].rstrip("\0\x1a\n\t ").split("\n") if line.strip("\0\x1a\t ")]
    numbers, strange = _numbers([word for row in rows for word in row])
    if ends and frames and len(numbers) == frames * (channels + len(ends)):
        columns = [column + number for number, column in enumerate(ends)]
        numbers = np.delete(numbers.reshape(frames, -1), columns, axis=1).ravel()
    whole, more = divmod(len(numbers), channels)
    widths = {len(row) for row in rows}
    uneven = 0 < len(rows) == frames and not strange and sum(map(len, rows)) == len(numbers) and widths != {channels}
    if whole < frames or uneven or not whole and more:
        what = f"{whole} frames of {channels} numbers and {more} more"
        if strange:
            what = f"{strange[:40]!r} in frame {whole + 1}"
        elif len(widths) == 1:
            what = f"{len(rows)} frames of {len(rows[0])} numbers"
        raise ValueError(f"{path}: found {what}, expected {frames} frames of {channels} as its header says, so "
                         f"expected {channels} numbers in each. Is the file whole?")
    if whole > frames and count:
        note(f"{path}: its header says {frames} frames, {whole} are there and read.")
    if more or strange:
        note(f"{path}: found {(strange or f'{more} numbers')[:40]!r} behind the last frame, which is left out.")
    values = numbers[:whole * channels].reshape(whole, channels)
    check_frames(path, values)
    return values, fps


def _count(text: str) -> int:
    try:
        return max(0, int(float(text)))
    except (ValueError, OverflowError):
        return 0


def _numbers(words: list[str]) -> tuple[np.ndarray, str | None]:
    """The numbers that the words begin with, and the first word that is none."""
    try:
        return np.array(words, dtype=np.float64), None
    except ValueError:
        words = ["nan" if NO_NUMBER.search(word) else word for word in words]
        words = re.sub(r"(?<=[\d.])-", " -", " ".join(words)).split()    # 0.000000-68.754935: too long for its field
    for count, word in enumerate(words):
        try:
            float(word)
        except ValueError:
            return np.array(words[:count], dtype=np.float64), word
    return np.array(words, dtype=np.float64), None


def _rate(path: Path, text: str) -> float:
    """Frames per second of a frame time, which files round: 0.0333333 and 0.033 are 30; or cut: 0.016 is 60."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1e-4 < seconds <= 1:
        raise ValueError(f"{path}: found the frame time {text[:40]!r}, expected seconds between 0.0001 and 1: give "
                         "the frames per second, --fps.")
    rate, digits = round(1 / seconds, 2), len(text.partition(".")[2])
    if 2 <= digits <= 5 and "e" not in text.lower() and rate not in RATES:
        near = [usual for usual in RATES if abs(1 / usual - seconds) < 10.0 ** -digits]
        rate = next((usual for usual in near if round(1 / usual, digits) == seconds), near[0] if near else rate)
    if rate < SLOW:
        note(f"{path}: its frame time is {text} s, {rate:g} frames per second: give --fps if that is not so.")
    return rate


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
