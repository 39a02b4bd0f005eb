"""Skeleton maps: which joint of a kind of capture is which of ours, as JSON files.

    unit         metres in the file's unit of length
    skip_frames  how many frames at the beginning are a calibration pose (default 0)
    up           the axis of the file that points up: x, y, z, -x, -y, -z (default: found out)
    fps          frames per second, where files do not say theirs rightly
    rest_frame   a frame in which the body stands in a T-pose, or "auto": the skeleton's own pose if that is one, else
                 the straightest frame. Rest rotations are then found out, and those below do not count
    joints       our joint -> {"source": their joint, or a list of the names by which files know it,
                               "rest": [x, y, z]} degrees of R = Rz Ry Rx (default 0, 0, 0): their joint's
                 global rotation when the body stands as ours at rest: T-pose, facing z+, y up, feet flat;
                 or -> {"between": [our joint, our joint]} where they have none: halfway between those two
"""

import json
import math
from pathlib import Path
from typing import Any

from motion.formats.capture import TO_Y
from motion.skeleton import JOINT_NAMES
from utils.text import read_text

FOLDER = Path(__file__).parent / "skeleton_maps"
KEYS = ("unit", "skip_frames", "up", "fps", "rest_frame", "joints")


def shipped() -> list[str]:
    """The names of the maps that ship."""
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def load_skeleton_map(name: str | Path) -> dict:
    """Read a skeleton map: one that ships with the project, by name, or a JSON file.

    raises   FileNotFoundError; ValueError that names the file, what was found and what was expected
    """
    path = FOLDER / f"{name}.json"
    path = path if path.is_file() else Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"{name}: no such skeleton map; expected a JSON file or one of {', '.join(shipped())}.")
    try:
        skeleton_map = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: found no readable JSON ({error}), expected a skeleton map.") from None
    check_map(skeleton_map, str(path))
    return skeleton_map


def check_map(skeleton_map: Any, path: str) -> None:
    """ValueError that names the file and the first value of a map that cannot be used."""
    def expect(good: bool, found: object, expected: str) -> None:
        if not good:
            raise ValueError(f"{path}: found {str(found)[:300]}, expected {expected}.")

    expect(isinstance(skeleton_map, dict), type(skeleton_map).__name__, "a JSON object with unit and joints")
    strange = sorted(set(skeleton_map) - set(KEYS))
    expect(not strange, f"the keys {strange}", f"some of {', '.join(KEYS)}")
    for key in ("unit", "joints"):
        expect(key in skeleton_map, f"no {key!r}", "a skeleton map with unit and joints")
    unit, skip, joints = skeleton_map["unit"], skeleton_map.get("skip_frames", 0), skeleton_map["joints"]
    expect(_is_number(unit) and unit > 0, f"a unit of {float(unit) if _is_number(unit) else repr(unit)}",
           "metres in the file's unit, a number above 0")
    expect(_is_integer(skip) and skip >= 0, f"skip_frames {skip!r}", "a whole number of frames, 0 or more")
    up, fps, rest = (skeleton_map.get(key) for key in ("up", "fps", "rest_frame"))
    expect(up is None or up in TO_Y, f"the up axis {up!r}", f"one of {', '.join(TO_Y)}")
    expect(fps is None or _is_number(fps) and 0.1 <= fps <= 10_000, f"fps {fps!r}", "a number from 0.1 to 10000")
    expect(rest in (None, "auto") or _is_integer(rest), f"rest_frame {rest!r}", "the number of a frame, or \"auto\"")
    expect(isinstance(joints, dict), f"joints of the type {type(joints).__name__}", "an object: our joint -> theirs")
    wrong = sorted(set(JOINT_NAMES) ^ set(joints))
    expect(not wrong, f"these, either left out or no joints of ours: {wrong}", "a source or between for each of "
           f"{', '.join(JOINT_NAMES)}, and nothing else")
    for name, entry in joints.items():
        _check_entry(name, entry, expect)


def _check_entry(name: str, entry: Any, expect: Any) -> None:
    kinds = "{\"source\": a joint or several, \"rest\": [x, y, z]} or {\"between\": [our joint, our joint]}"
    expect(isinstance(entry, dict), f"{entry!r} for {[name]}", kinds)
    strange = sorted(set(entry) - {"source", "rest", "between"})
    expect(not strange, f"the keys {strange} for {name}", kinds)
    expect(("source" in entry) != ("between" in entry), f"{sorted(entry)} for {[name]}", f"{kinds}, one of them")
    if "between" in entry:
        ends = entry["between"]
        good = isinstance(ends, list) and len(ends) == 2 and all(end in JOINT_NAMES and end != name for end in ends)
        expect(good, f"between {ends!r} for {name}", f"two other joints of {', '.join(JOINT_NAMES)}")
        return
    source, rest = entry["source"], entry.get("rest", [0, 0, 0])
    names = source if isinstance(source, list) else [source]
    expect(bool(names) and all(isinstance(one, str) and one for one in names), f"the source {source!r} for {name}",
           "the name of a joint, or a list of names")
    expect(isinstance(rest, list) and len(rest) == 3 and all(map(_is_number, rest)), f"the rest {rest!r} for {name}",
           "three numbers, degrees about x, y and z")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
