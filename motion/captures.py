"""Any capture file to our default body: the one way in, for demos and data sets.

    body = read_body("clip.bvh", Reading())      # rotations, joints, and in one line what was found out

What a `Reading` leaves open is found out: whose skeleton it is, which axis is up, the unit, the rest pose.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from motion.formats import Capture, read_capture
from motion.formats.capture import TO_Y
from motion.representation_272 import FPS
from motion.rest_pose import is_straight
from motion.retarget import Source, filled, find_joints
from motion.skeleton import ANKLES, HIPS, JOINT_NAMES, KNEES
from motion.skeleton_map import load_skeleton_map, shipped
from motion.skeletons import sources
from options import opt

UNITS = {1.0: "metres", 0.056444: "CMU's units", 0.01: "centimetres", 0.001: "millimetres", 0.0254: "inches",
         0.3048: "feet", 0.1: "decimetres"}
LEG = 0.81                    # metres of an adult's leg, from hip to ankle
FAST, HIGH = 12, 5            # metres a second, metres over the floor: beyond either no body goes for a whole clip
TIGHT = 20                    # degrees within which a known skeleton's rests must fit, head and feet thrice that


@dataclass(frozen=True)
class Reading:
    """How a capture file is read; what is not said is found out."""

    skeleton: str = opt("auto", "whose skeleton the capture has: auto, the name of a map that ships, or a JSON file",
                        flag="skeleton past-skeleton skeleton-map")
    up: str = opt("auto", "the axis of the file that points up", choices=("auto", *TO_Y), flag="up past-up")
    fps: float | None = opt(None, "frames per second; None: what the file says", flag="fps past-fps")
    unit: float | None = opt(None, "metres in the file's unit of length, of an npz in its path's; None: from the "
                                   "length of the legs, and of an npz metres or what its scale says")
    rest_frame: int | None = opt(None, "the number of a frame in T-pose; None: the skeleton's own pose, or the "
                                       "straightest")
    asf: Path | None = opt(None, "the .asf skeleton of an .amc; None: the one beside it")


class Body(NamedTuple):
    """A capture on our default body, at 30 fps."""
    rotations: np.ndarray     # (T, 22, 3, 3) local
    joints: np.ndarray        # (T, 22, 3) metres, y up, the lowest at 0
    said: str                 # one line: what the file is taken for
    skeleton: str             # its map's name, or how it was recognised


def read_body(path: str | Path, reading: Reading = Reading()) -> Body:
    """Read any capture and put it on our default body.

    raises   FileNotFoundError; ValueError that names the file, what was found and which option says it otherwise
    """
    path = Path(path)
    capture = read_capture(path, reading.asf, reading.fps, unit=reading.unit)
    npz = path.suffix.lower() == ".npz"        # its body is in metres, whatever its path is in
    given = given_map(reading)                 # a fault of the map is none of the capture
    try:
        skeleton_map, skeleton = map_of(capture, reading, given)
        source = Source(capture, skeleton_map)
        rotations, joints, _ = source.retargeted()
        unit = unit_of(source, None if npz else reading.unit)
        if not npz or reading.unit is None:
            check_path(source, npz)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    skip = skeleton_map.get("skip_frames", 0)
    said = [f"{len(capture.names)} joints, skeleton {skeleton}", *one_of_several(capture, source),
            f"{len(capture.positions)} frames at {capture.fps:g} fps", unit, f"{source.capture.up} up",
            *[f"its first {skip} frames, a calibration pose, left out"] * (skip > 0), *source.said]
    return Body(rotations, joints, f"{path.name}: {'; '.join(said)}", skeleton)


def given_map(reading: Reading) -> dict | None:
    """The skeleton map that a reading names; None: it is found out."""
    return None if reading.skeleton == "auto" else load_skeleton_map(reading.skeleton)


def map_of(capture: Capture, reading: Reading, given: dict | None) -> tuple[dict, str]:
    """The skeleton map of a capture, `given` or found out, with what the reading says, and its name."""
    said: dict[str, Any] = {} if reading.up == "auto" else {"up": reading.up}
    if reading.rest_frame is not None:
        said["rest_frame"] = reading.rest_frame
    if given is not None:
        said |= {} if reading.fps is None else {"fps": reading.fps}
        return given | said, reading.skeleton
    skeleton_map, name = recognised(capture, said)
    return skeleton_map | said, name


def recognised(capture: Capture, said: dict) -> tuple[dict, str]:
    """The map that ships for this skeleton, else one made of its names or its tree; and what it is called.

    Of several maps whose joints are all there, the one that uses most of them, whose rests fit the capture.
    raises   ValueError if this is no person's skeleton
    """
    try:
        joints, how = sources(capture)
        unknown = None
    except ValueError as error:
        joints, how, unknown = {}, "", error
    some = np.linspace(0, len(capture.positions) - 1, min(60, len(capture.positions))).astype(int)
    thin = replace(capture, rotations=capture.rotations[some], positions=capture.positions[some], fps=30.0)
    fits = []
    for name in shipped():
        found = load_skeleton_map(name)
        named = with_names_of(capture, found)
        if named is None:
            continue
        theirs = {joint: entry["source"] for joint, entry in named["joints"].items() if "source" in entry}
        rank = len(theirs), sum(joints.get(joint) == source for joint, source in theirs.items())
        if "rest_frame" in named:
            fits.append((*rank, 1, name, named))
        elif _fits(thin, named | said):
            fits.append((*rank, 2, name, named))
        else:
            fits.append((*rank, 0, name, named | {"rest_frame": "auto"}))
    if fits:
        *_, name, named = max(fits, key=lambda fit: fit[:3])
        return calibrated(capture, named), name
    if unknown:
        raise unknown
    entries = {name: {"between": joints[name]} if isinstance(joints[name], list) else {"source": joints[name]}
               for name in JOINT_NAMES}
    return {"unit": 1.0, "rest_frame": "auto", "joints": entries}, f"by its {how} ({_limbs(joints)})"


def calibrated(capture: Capture, skeleton_map: dict) -> dict:
    """The map, which skips the frames of a calibration pose only if the capture begins with a straight one."""
    skip = skeleton_map.get("skip_frames", 0)
    theirs, _, between = find_joints(capture, skeleton_map)
    posed = 0 < skip < len(capture.positions) and is_straight(filled(capture.positions[0, theirs], between))
    return skeleton_map | {"skip_frames": skip if posed else 0}


def with_names_of(capture: Capture, skeleton_map: dict) -> dict | None:
    """The map with the names that the capture has, whatever their namespace and case; None if one is not there."""
    known = {plain(name): name for name in reversed(capture.names)}
    joints = {}
    for joint, entry in skeleton_map["joints"].items():
        if "source" in entry:
            names = entry["source"] if isinstance(entry["source"], list) else [entry["source"]]
            found = next((known[plain(name)] for name in names if plain(name) in known), None)
            if found is None:
                return None
            entry = entry | {"source": found}
        joints[joint] = entry
    return skeleton_map | {"joints": joints}


def plain(name: str) -> str:
    """A joint's name without namespace, case and separators."""
    return "".join(letter for letter in name.rpartition(":")[2].lower() if letter.isalnum())


def unit_of(source: Source, given: float | None) -> str:
    """What the file's unit of length is, in words; ValueError if a given one makes legs that nobody has."""
    places = source.places
    legs = np.linalg.norm(places[:, KNEES + ANKLES] - places[:, HIPS + KNEES], axis=-1).sum(-1).mean() / 2
    unit = given or min(UNITS, key=lambda unit: abs(np.log(unit * legs / LEG)))
    if given is not None and not 0.2 < given * legs < 2.5:
        raise ValueError(f"a unit of {given} m makes legs of {given * legs:.3g} m, expected 0.2 to 2.5: give another "
                         "--unit, or none.")
    if not 0.2 < unit * legs < 2.5:
        raise ValueError(f"an unknown unit: legs of {legs:.3g} are a person's in none of {', '.join(UNITS.values())}: "
                         "give metres in the file's unit, --unit.")
    return f"{UNITS.get(unit, f'units of {unit} m')}, legs of {unit * legs:.2f} m"


def check_path(source: Source, npz: bool) -> None:
    """ValueError if a body's path cannot be in the unit of its skeleton; an npz' path has one of its own."""
    places = source.places * (1 if npz else LEG / source.legs)
    speed = np.linalg.norm(np.diff(places[:, 0], axis=0), axis=-1).mean() * FPS if len(places) > 1 else 0.0
    height = np.abs(places[:, 0, 1]).min() if npz else 0.0
    if speed > FAST or height > HIGH:
        above = f", {height:.3g} m above the floor" * npz
        what = "give its unit, --unit 0.01 for centimetres, 1 if this is right" if npz else (
            "the root's path and the skeleton are in different units, export it again with one")
        raise ValueError(f"found a path of {speed:.3g} m/s{above}, expected at most {FAST} m/s"
                         f"{f' and {HIGH} m' * npz}: {what}.")


def one_of_several(capture: Capture, source: Source) -> list[str]:
    """Of a file with several persons or things: which is read, in words."""
    root = source.theirs[0]
    while capture.parents[root] >= 0:
        root = capture.parents[root]
    count = capture.parents.count(-1)
    return [f"of its {count} roots {capture.names[root]} and what is below it is read"] * (count > 1)


def _fits(capture: Capture, skeleton_map: dict) -> bool:
    try:
        source = Source(capture, skeleton_map | {"skip_frames": 0})
        found = source.put_on_us()[2]
    except ValueError:
        return False
    found.pop("swapped", None)
    return all(angle < TIGHT * (3 if name in ("neck", "left_ankle", "right_ankle") else 1)
               for name, angle in found.items())


def _limbs(joints: dict) -> str:
    """The chains of a recognised skeleton, in short."""
    chains = [("legs", ("left_hip", "left_knee", "left_ankle")),
              ("spine", ("spine1", "spine2", "spine3", "neck", "head")),
              ("arms", ("left_shoulder", "left_elbow", "left_wrist"))]
    return ", ".join(f"{what} {'-'.join(joints[name] for name in names if isinstance(joints[name], str))}"
                     for what, names in [("pelvis", ("pelvis",)), *chains])
