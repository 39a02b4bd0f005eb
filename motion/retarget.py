"""Any captured skeleton to SMPL-22: its bone directions and twists on our default body.

Letters: T frames, J joints (22). Which joint is which, a skeleton map says (`motion.skeleton_map`).

What the two rests differ by is one constant rotation per bone; limbs, whose directions show, are then swung
the shortest way, by one more, so that at all times they point exactly where theirs do.
"""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from motion.agreement import angles, faults, lies, proportions
from motion.formats import Capture
from motion.formats.capture import TO_Y, turned
from motion.representation_272 import FPS
from motion.rest_pose import is_straight, pose_of, standing_axis, straightest, swing, up_axis
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from motion.skeleton import ANKLES, HIPS, JOINT_NAMES, KNEES, OFFSETS, TOES, forward_kinematics, global_to_local
from motion.skeleton_map import load_skeleton_map
from utils.errors import note

__all__ = ["Source", "load_skeleton_map", "retarget"]
LONGEST = 8 * 3600 * FPS    # frames of a capture: 2 GB and more
# Bones that point where theirs do. The trunk, hands and feet turn as theirs do but keep our own shape.
LIMBS = {13: 16, 14: 17, 16: 18, 17: 19, 18: 20, 19: 21, 1: 4, 2: 5, 4: 7, 5: 8}


def retarget(capture: Capture, skeleton_map: dict) -> tuple[np.ndarray, np.ndarray]:
    """Put a capture on our default body, at 30 fps.

    returns  local rotations (T, 22, 3, 3) and joints (T, 22, 3), metres, y up, the lowest joint at y = 0
    raises   ValueError if the capture lacks a joint of the map, its legs have no length, or the result does something
             else than the capture
    The root's path is scaled by the length of the legs. What was found out about the capture is a `Note`.
    """
    body = Source(capture, skeleton_map)
    local, joints, _ = body.retargeted()
    for line in body.said:
        note(line)
    return local, joints


class Source:
    """A capture as the body of a map: which joints, how turned at rest, which axis is up; found out, unless it is said.

    theirs, missing   J indices of its joints; ours that it has not
    rotations, places at 30 fps (T, J, 3, 3) and (T, J, 3), y up, in the file's unit
    said              what was found out, in sentences
    """

    def __init__(self, capture: Capture, skeleton_map: dict):
        self.map, self.said = skeleton_map, []
        self.theirs, self.rests, self.between = find_joints(capture, skeleton_map)
        self.missing = set(self.between)
        capture = replace(capture, fps=skeleton_map.get("fps", capture.fps))
        self.capture = self.stood_up(capture)
        rotations, places = resample(self.capture, self.theirs, skeleton_map.get("skip_frames", 0))
        self.rotations, self.places = rotations, filled(places, self.between)
        self.has_toes = not {*TOES, *ANKLES} & self.missing
        self.rest_from = skeleton_map.get("rest_frame")
        self.legs = np.linalg.norm(np.diff(self.places[:, [HIPS, KNEES, ANKLES]], axis=1), axis=-1).sum(1).mean()
        if not self.legs > 0:
            raise ValueError("The capture's legs have no length: hips, knees and ankles are in the same place.")
        if self.rest_from is not None:
            self.find_rests()

    def stood_up(self, capture: Capture) -> Capture:
        """The capture with y up: along which axis it stands, or what the map says."""
        if self.map.get("up"):
            return turned(capture, self.map["up"])
        places = filled(capture.positions[:, self.theirs] @ TO_Y[capture.up], self.between)  # in the file's own axes
        rest = self.rest_places(capture)
        up = up_axis(places, rest, capture.up, capture.axes)
        other = None if rest is None else standing_axis(rest)
        if up != capture.up:
            self.said.append(f"the body stands along the file's {up} axis, which is taken as up (--up {capture.up} if "
                             "the person lies)")
        elif other not in (None, up):
            self.said.append(f"the skeleton's own pose stands along the file's {other} axis (--up {other} if the "
                             "person lies)")
        return turned(capture, up)

    def rest_places(self, capture: Capture) -> np.ndarray | None:
        return None if capture.rest is None else filled(capture.rest[self.theirs], self.between)

    def find_rests(self) -> None:
        """Take the rest rotations from a pose: a frame that is given, the skeleton's own, or the straightest frame."""
        own = self.rest_places(self.capture)
        if self.rest_from in ("auto", None) and own is not None and is_straight(own):
            pose, turned_by = pose_of(own, self.has_toes, level=True, aligned=True), np.eye(3)
            self.said.append("rest rotations from the skeleton's own pose")
        else:
            places = filled(self.capture.positions[:, self.theirs], self.between)
            frame = straightest(places) if self.rest_from in ("auto", None) else self.rest_from
            if not -len(places) <= frame < len(places):
                raise ValueError(f"found {len(places)} frames, expected a T-pose at frame {frame}: give another "
                                 "--rest-frame.")
            pose = pose_of(places[frame], self.has_toes, level=is_straight(places[frame]), aligned=False)
            turned_by = self.capture.rotations[frame, self.theirs]
            self.said.append(f"rest rotations from frame {frame % len(places)}")
        self.rests = pose.mT @ turned_by

    def retargeted(self) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """As `retarget`, and the angles between result and capture; other rests are tried where the map says none."""
        local, joints, found = self.put_on_us()
        ratios = proportions(self.places, self.missing)
        wrong = faults(found, ratios)
        explicit = any("rest" in entry for entry in self.map["joints"].values())
        if wrong and self.rest_from is None and not explicit:
            said = list(self.said)
            self.find_rests()
            local, joints, found = self.put_on_us()
            if faults(found, ratios):
                self.said = said
            else:
                wrong = []
        if axis := lies(self.places, self.capture.up, sure=bool(self.map.get("up"))):
            self.said.append(f"the body lies along the file's {axis} axis (--up {axis} if it stands there)")
        if wrong:
            raise ValueError(f"The map does not fit the capture: {'; '.join(wrong)}. Try --skeleton auto, or "
                             "--rest-frame with the number of a frame in T-pose.")
        return local, joints, found

    def put_on_us(self) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Local rotations, joints and the angles, with the present rests."""
        places = self.places * self.map["unit"]  # (T, 22, 3) metres
        rotations = self.rotations @ self.rests.mT  # (T, 22, 3, 3), as our joints turn from our rest
        for joint, child in LIMBS.items():
            if joint in self.between or child in self.between:
                continue
            bone = (rotations[:, joint].mT @ (places[:, child] - places[:, joint])[..., None]).mean(0)[:, 0]
            rotations[:, joint] = rotations[:, joint] @ swing(OFFSETS[child], bone)
        for joint, (first, second) in self.between.items():
            rotations[:, joint] = slerp(rotations[:, first], rotations[:, second], 0.5)

        legs = places[:, KNEES + ANKLES] - places[:, HIPS + KNEES]
        length = np.linalg.norm(legs, axis=-1).sum(-1).mean()
        scale = np.linalg.norm(OFFSETS[KNEES + ANKLES], axis=-1).sum() / length
        # Their hips and ours are in the same place, so that equal legs reach the same floor.
        pelvis = scale * places[:, HIPS].mean(1) - rotations[:, 0] @ OFFSETS[HIPS].mean(0)
        local = global_to_local(rotations)
        joints = forward_kinematics(local, pelvis)
        found = angles(rotations, joints, places, self.missing)
        return local, joints - np.array([0, joints[..., 1].min(), 0]), found


def filled(places: np.ndarray, between: dict[int, list[int]]) -> np.ndarray:
    """places (..., J, 3) with those that are between two others halfway, also where these are between others."""
    places = places.copy(order="K")    # sums over frames depend on the order in memory, in the last digit
    for _ in range(3):
        for joint, ends in between.items():
            places[..., joint, :] = places[..., ends, :].mean(-2)
    return places


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
    raises   ValueError if nothing is left, or it lasts longer than LONGEST
    """
    rotations, positions = capture.rotations[skip:, joints], capture.positions[skip:, joints]
    if not len(rotations):
        raise ValueError(f"The capture has {len(capture.rotations)} frames of which the first {skip} are a "
                         "calibration pose: nothing is left.")
    last = len(rotations) - 1
    count = int(last * FPS / capture.fps + 1e-6) + 1
    if count > LONGEST:
        raise ValueError(f"found {len(rotations)} frames at {capture.fps:g} frames per second, which last "
                         f"{count / FPS / 3600:.3g} hours, expected {LONGEST / FPS / 3600:.0f} at most: give another "
                         "--fps, or cut the capture into parts.")
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
