"""Captures of any tool: what they are is found out, a wrong map is named, and every option says it otherwise."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

import motion.inspect
import wardrobe
from motion.captures import Reading, map_of, read_body
from motion.formats import read_capture, write_amass, write_bvh
from motion.formats.capture import TO_Y
from motion.rest_pose import swing
from motion.retarget import Source, load_skeleton_map, retarget
from motion.rotation import matrix_to_axis_angle, y_rotation
from motion.skeleton import JOINT_NAMES, OFFSETS, local_to_global
from motion.skeleton_map import check_map, shipped
from motion.skeletons import Tree, ends_by_shape, sources
from utils.errors import Note, run
from wardrobe import BY_NAMES, SKELETONS, dressed, walk

NAMED = dict(hdm05="cmu", smplh="smpl") | {"100style": "xsens"}    # skeletons that share a map with another tool's


def scaled(theirs: np.ndarray) -> np.ndarray:
    """Their joints (T, 22, 3) with legs as long as ours."""
    legs = np.linalg.norm(theirs[0, [4, 5, 7, 8]] - theirs[0, [1, 2, 4, 5]], axis=-1).sum()
    return theirs * np.linalg.norm(OFFSETS[[4, 5, 7, 8]], axis=-1).sum() / legs


def distances(joints: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Metres between ours (T, 22, 3) and theirs, frame by frame with the hips of both in one place; NaN for none."""
    theirs = scaled(theirs)[len(theirs) - len(joints):]
    there = joints - joints[:, [1, 2]].mean(1, keepdims=True) - theirs + theirs[:, [1, 2]].mean(1, keepdims=True)
    return np.linalg.norm(there, axis=-1)


def angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Degrees between global rotations (T, 22, 3, 3)."""
    traces = np.trace(first @ second.swapaxes(-1, -2), axis1=-2, axis2=-1)
    return np.degrees(np.arccos(((traces - 1) / 2).clip(-1, 1)))


def worn(tmp_path: Path, name: str, frames: int = 60, **changes: object) -> tuple[Path, np.ndarray, np.ndarray]:
    """A BVH of a tool, how its body is turned (T, 22, 3, 3), global, and where its joints are (T, 22, 3)."""
    skeleton = replace((SKELETONS | BY_NAMES)[name], **changes)
    rotations, joints = walk(frames, skeleton.t_pose)
    theirs = dressed(tmp_path / f"{name}.bvh", skeleton, rotations, joints[:, 0])
    return tmp_path / f"{name}.bvh", local_to_global(rotations), theirs


@pytest.mark.parametrize("name", SKELETONS)
def test_any_tools_skeleton_is_recognised(tmp_path, name):
    """By names or shape; the walk comes out within 5 cm, turned as it is, upright, feet on the floor."""
    path, turned, theirs = worn(tmp_path, name)
    body = read_body(path)
    assert body.skeleton == NAMED.get(name, name) if name != "nameless" else body.skeleton.startswith("by its shape")
    apart = distances(body.joints, theirs)
    assert np.nanmean(apart) < 0.03 and np.nanmax(np.nanmean(apart, axis=0)) < 0.05
    wrong = angles(local_to_global(body.rotations), turned[len(turned) - len(body.rotations):]).mean(0)
    limbs = [joint for joint, named in enumerate(JOINT_NAMES) if SKELETONS[name].ours[named]]
    assert wrong.mean() < 8 and wrong[limbs].max() < 25
    assert body.joints[..., 1].min() == 0 and np.percentile(body.joints[..., 1].min(1), 90) < 0.12
    went = (body.joints[-1, 0] - body.joints[0, 0]) / np.linalg.norm(scaled(theirs)[-1, 0] - scaled(theirs)[0, 0])
    assert went[2] > 0.85 or SKELETONS[name].up != "y"
    for said in (f"skeleton {body.skeleton}", "at 30 fps", f"{SKELETONS[name].up} up"):
        assert said in body.said


@pytest.mark.parametrize("rest", ["T", "A", "N"])
@pytest.mark.parametrize("name", BY_NAMES)
def test_words_tell_the_joints(tmp_path, name, rest):
    """Of tools without a map, whatever their prefixes, sides, twists and own pose."""
    path, turned, theirs = worn(tmp_path, name, 20, rest=rest)
    found, how = map_of(read_capture(path), Reading(), None)
    taken = {joint: entry.get("source") for joint, entry in found["joints"].items() if not joint.startswith("spine")}
    assert taken == {joint: BY_NAMES[name].ours[joint] for joint in taken} and how.startswith("by its names")
    body = read_body(path)
    assert np.nanmean(distances(body.joints, theirs)) < 0.03
    wrong = angles(local_to_global(body.rotations), turned[len(turned) - len(body.rotations):]).mean(0)
    assert wrong.mean() < 8 and wrong[[joint for joint, ours in enumerate(JOINT_NAMES) if taken.get(ours)]].max() < 25


@pytest.mark.parametrize("name", ["mixamo", "smpl", "lafan1", "unreal", "rigify", "nameless"])
@pytest.mark.parametrize("up", TO_Y)
def test_the_axis_along_which_the_body_stands_is_up(tmp_path, name, up):
    path, turned, theirs = worn(tmp_path, name, up=up)
    body = read_body(path)
    assert np.nanmean(distances(body.joints @ _heading(body, turned), theirs)) < 0.03 and f"{up} up" in body.said
    assert (body.joints[:, 15, 1] - body.joints[:, 0, 1]).min() > 0.5
    same = read_body(path, Reading(up=up))
    np.testing.assert_array_equal(same.joints, body.joints)
    if up != "y":
        assert "stands along" in body.said and "stands along" not in same.said
    wrong = read_body(path, Reading(up="-y" if up == "y" else "y"))
    assert f"the body lies along the file's {up} axis (--up {up} if it stands there)" in wrong.said


def _heading(body, turned: np.ndarray) -> np.ndarray:
    """A turn about y that brings the first frame to face where it faced before the file's axes changed."""
    ours = local_to_global(body.rotations)[0, 0] @ turned[len(turned) - len(body.rotations), 0].T
    return ours


@pytest.mark.parametrize("up", ["y", "z", "-y"])
def test_npz_of_any_usual_axis_stand(tmp_path, up):
    """AMASS' is z; y, of animators, and -y, of a camera, are turned about x."""
    rotations, joints = walk()
    write_amass(tmp_path / "z.npz", rotations, joints[:, 0])
    arrays = dict(np.load(tmp_path / "z.npz"))
    if up != "z":
        turn = TO_Y[up].T
        arrays["poses"][:, :3] = matrix_to_axis_angle(turn @ rotations[:, 0])
        arrays["trans"] = joints[:, 0] @ turn.T + [0.3, 0, 4] - OFFSETS[0]
        joints += turn.T @ [0.3, 0, 4]
    np.savez(tmp_path / "a.npz", **arrays)
    body = read_body(tmp_path / "a.npz")
    np.testing.assert_allclose(body.joints, joints - [0, joints[..., 1].min(), 0], atol=1e-9)
    assert f"{up} up" in body.said and np.allclose(read_body(tmp_path / "a.npz", Reading(up=up)).joints, body.joints)


@pytest.mark.parametrize("unit", [0.01, 0.001])
def test_a_path_of_another_unit_than_the_body_is_refused_or_told(tmp_path, unit):
    rotations, joints = walk()
    write_amass(tmp_path / "a.npz", rotations, joints[:, 0])
    expected, arrays = read_body(tmp_path / "a.npz").joints, dict(np.load(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", **arrays | {"trans": arrays["trans"] / unit})
    with pytest.raises(ValueError, match="a.npz: found a path of .* m/s.*--unit 0.01"):
        read_body(tmp_path / "a.npz")
    np.testing.assert_allclose(read_body(tmp_path / "a.npz", Reading(unit=unit)).joints, expected, atol=1e-9)


@pytest.mark.parametrize("stands", [False, True])
@pytest.mark.parametrize("side", [1, -1])
def test_npz_of_bodies_that_stay_where_they_are(tmp_path, side, stands):
    """Prone or on the back on the floor of a z-up file, at any place, a body lies; on the floor of y it stands."""
    rotations, joints = walk()
    rotations[:, 0], where = TO_Y["z" if side > 0 else "-z"], [0.3, 0.12, -2.0]
    if stands:
        rotations[:, 0], where = TO_Y["z"], TO_Y["z"] @ [0.3 * side, joints[0, 0, 1], 0.3]    # y of the file written
    write_amass(tmp_path / "a.npz", rotations, np.tile(where, (len(joints), 1)))
    found = read_body(tmp_path / "a.npz").joints
    tall = (found[:, 15, 1] - found[:, 0, 1]).mean()
    assert tall > 0.5 if stands else abs(tall) < 0.2


def lying(tmp_path: Path) -> Path:
    """A body that lies on its back in a file of y up, and does not move from the place."""
    rotations, joints = walk()
    back = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    rotations[:, 0] = back
    write_bvh(tmp_path / "lying.bvh", rotations, np.tile([0, 0.1, 0], (len(joints), 1)))
    return tmp_path / "lying.bvh"


def test_a_body_that_lies_is_not_stood_up_but_told_about(tmp_path):
    body = read_body(lying(tmp_path))
    assert np.abs(body.joints[:, 15, 1] - body.joints[:, 0, 1]).max() < 0.2
    assert "the body lies along the file's -z axis (--up -z if it stands there)" in body.said
    standing = read_body(lying(tmp_path), Reading(up="-z"))
    assert (standing.joints[:, 15, 1] - standing.joints[:, 0, 1]).min() > 0.5
    assert "lies" not in read_body(lying(tmp_path), Reading(up="y")).said


def rewritten(path: Path, *changes: tuple[str, str], roots: str = "", path_times: float = 1.0) -> Path:
    """The file with other words, another hierarchy behind its own, whose channels are 0, or a longer path."""
    head, motion = path.read_text().split("MOTION\n")
    for old, new in changes:
        head = head.replace(old, new)
    rows = [row.split() for row in motion.strip().split("\n")]
    more = ["0"] * sum(map(int, re.findall(r"CHANNELS (\d+)", roots)))
    rows = rows[:2] + [[str(path_times * float(value)) for value in row[:3]] + row[3:] + more for row in rows[2:]]
    path.write_text(f"{head}{roots}MOTION\n" + "\n".join(map(" ".join, rows)) + "\n")
    return path


PROP = """ROOT Prop
{
\tOFFSET 0 0 0
\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
\tEnd Site
\t{
\t\tOFFSET 0 0 9
\t}
}
"""


@pytest.mark.parametrize("name", ["mixamo", "nameless"])
@pytest.mark.parametrize("what", ["a prop", "another person"])
def test_of_several_roots_the_first_person_is_read_and_told(tmp_path, name, what):
    path, _, theirs = worn(tmp_path, name)
    alone, person = read_body(path), path.read_text().split("MOTION")[0].removeprefix("HIERARCHY\n")
    body = read_body(rewritten(path, roots=PROP if what == "a prop" else person))
    np.testing.assert_array_equal(body.joints, alone.joints)
    root = SKELETONS[name].ours["pelvis"]
    assert f"of its 2 roots {root} and what is below it is read" in body.said and "roots" not in alone.said


@pytest.mark.parametrize("times", [10, 100, 1000])
def test_a_path_of_another_unit_than_the_skeleton_is_refused(tmp_path, times):
    path = rewritten(worn(tmp_path, "mixamo")[0], path_times=1.2 * times)
    with pytest.raises(ValueError, match="mixamo.bvh: found a path of .* m/s, expected at most 12 m/s: .* one"):
        read_body(path)


def test_joints_that_are_placed_but_do_not_turn_are_refused(tmp_path):
    """A file of points: every rotation is 0, so limbs would stand still on our body."""
    skeleton, (rotations, joints) = SKELETONS["smpl"], walk(60)
    dressed(tmp_path / "a.bvh", skeleton, rotations, joints[:, 0])
    capture = read_capture(tmp_path / "a.bvh")
    with pytest.raises(ValueError, match="bones point elsewhere than the capture's .*knee by .* degrees"):
        retarget(replace(capture, rotations=np.broadcast_to(np.eye(3), capture.rotations.shape)),
                 load_skeleton_map("smpl") | {"rest_frame": "auto"})


def test_pieces_of_bones_taken_for_bones_are_refused(tmp_path):
    """Half a thigh and half a shin are as long as a person's: what is wrong is their distance from the pelvis."""
    path, *_ = worn(tmp_path, "Auto-Rig Pro")
    wrong = map_of(read_capture(path), Reading(), None)[0]
    for side in "lr":
        full = dict(l="left", r="right")[side]
        for ours, theirs in (("hip", "leg_stretch"), ("knee", "leg_twist"), ("shoulder", "forearm_stretch"),
                             ("elbow", "forearm_twist")):
            wrong["joints"][f"{full}_{ours}"] = {"source": f"{theirs}.{side}"}
    with pytest.raises(ValueError, match="the bones of pelvis and left_hip are to each other .* times as in a person"):
        retarget(read_capture(path), wrong)


@pytest.mark.parametrize("kind, degrees, most", [("ankle", 60, 0.03), ("ankle", 85, 0.03), ("spine1", 30, 0.07)])
def test_a_rest_pose_with_pointed_feet_or_a_bent_back(tmp_path, kind, degrees, most):
    """Feet that hang in the skeleton's own pose do not stand there; a bent back is none of the pelvis."""
    pose = {joint: [degrees, 0, 0] for joint in JOINT_NAMES if kind in joint}
    path, turned, theirs = worn(tmp_path, "mixamo", pose=pose)
    body = read_body(path)
    assert "own pose" in body.said and np.nanmean(distances(body.joints, theirs)) < most
    wrong = angles(local_to_global(body.rotations), turned).mean(0)
    assert wrong[0] < 1 and wrong.max() < 25


@pytest.mark.parametrize("unit", [1.0, 0.01, 0.001, 0.0254, 0.7])
def test_units_are_found_and_make_no_difference(tmp_path, unit):
    path, _, theirs = worn(tmp_path, "mixamo", unit=unit)
    body = read_body(path)
    assert np.nanmean(distances(body.joints, theirs)) < 0.03
    if unit < 0.7:
        assert {1.0: "metres", 0.01: "centimetres", 0.001: "millimetres", 0.0254: "inches"}[unit] in body.said
    assert "legs of 0.8" in read_body(path, Reading(unit=unit)).said
    with pytest.raises(ValueError, match="mixamo.bvh: a unit of .* expected 0.2 to 2.5"):
        read_body(path, Reading(unit=unit * 50))


def test_a_rest_pose_is_found_or_given(tmp_path):
    """Without a T-pose in its own skeleton: in the frame that is given, or in the straightest."""
    path, turned, theirs = worn(tmp_path, "rokoko")
    found, given = read_body(path), read_body(path, Reading(rest_frame=0))
    np.testing.assert_allclose(found.joints, given.joints, atol=1e-9)
    assert "rest rotations from frame 0" in given.said
    assert angles(local_to_global(given.rotations), turned).max() < 1
    with pytest.raises(ValueError, match="found 60 frames, expected a T-pose at frame 99: give another --rest-frame"):
        read_body(path, Reading(rest_frame=99))


def test_a_map_without_rests_is_no_wrong_body(tmp_path):
    """Joints by our names, but axes along the bones: the map's identity would bend it; rests are found, and printed."""
    path, _, theirs = worn(tmp_path, "smpl", rest="bones", t_pose=True)
    with pytest.warns(Note, match="rest rotations from frame 0"):
        _, joints = retarget(read_capture(path), load_skeleton_map("smpl"))
    assert np.nanmean(distances(joints, theirs)) < 0.03


def changed(tmp_path: Path, rest_frame: str | None, **entries: dict) -> dict:
    """The map of Mixamo's skeleton with other entries; with explicit rests of 0 but for rest_frame."""
    found = json.loads(json.dumps(load_skeleton_map("mixamo")))
    for entry in found["joints"].values():
        entry["source"] = f"mixamorig:{entry['source']}"
    found["joints"] |= entries
    found.pop("rest_frame")
    return found | ({"rest_frame": rest_frame} if rest_frame else {})


SIDES = {f"left_{part}": f"right_{part}" for part in wardrobe.SIDED}
MIXAMO = SKELETONS["mixamo"].ours


@pytest.mark.parametrize("entries, message", [
    ({name: {"source": MIXAMO[name], "rest": [0, 0, 90]} for name in ("pelvis", "spine1", "spine2", "spine3")},
     "the trunk of the retargeted body points .* the map lacks 'rest' of pelvis, spine1 to head"),
    ({"pelvis": {"source": MIXAMO["pelvis"], "rest": [0, 180, 0]}}, "the pelvis faces .* 'rest' of pelvis"),
    ({a: {"source": MIXAMO[b], "rest": [0, 0, 0]} for a, b in (SIDES | {b: a for a, b in SIDES.items()}).items()},
     "the map swaps left and right"),
    ({f"{side}_knee": {"source": MIXAMO[f"{side}_ankle"], "rest": [0, 0, 0]} for side in ("left", "right")}
     | {f"{side}_ankle": {"source": MIXAMO[f"{side}_foot"]} for side in ("left", "right")},
     "the map names other joints"),
    ({"left_elbow": {"source": MIXAMO["right_wrist"], "rest": [0, 0, 0]}}, "the map names other joints"),
    ({f"{side}_ankle": {"source": MIXAMO[f"{side}_ankle"], "rest": [120, 0, 0]} for side in ("left", "right")},
     "head or feet point elsewhere"),
    ({"head": {"source": "Kopf"}}, "no joint Kopf for head.*use the skeleton map that belongs to it")])
def test_wrong_maps_are_named(tmp_path, entries, message):
    path, *_ = worn(tmp_path, "mixamo")
    with pytest.raises(ValueError, match=message):
        retarget(read_capture(path), changed(tmp_path, None, **entries))
    check_map(changed(tmp_path, "auto", **entries), "map.json")


@pytest.mark.parametrize("kind", ["knees", "elbows", "straight"])
def test_sides_swapped_without_toes_are_told_by_knees_or_elbows(tmp_path, kind):
    """A body without toes; whose knees bend, or only its elbows, as arms that hang do; who is straight says nothing."""
    skeleton, (rotations, joints) = SKELETONS["noitom"], walk(60)
    if kind != "knees":
        rotations[:, [1, 2]] = np.eye(3)
        rotations[:, [4, 5]] = [swing(OFFSETS[7], OFFSETS[4]), swing(OFFSETS[8], OFFSETS[5])]    # in one line
    for side, sign in (("left", 1), ("right", -1)):
        elbow, wrist = (JOINT_NAMES.index(f"{side}_{joint}") for joint in ("elbow", "wrist"))
        bent = y_rotation(np.full(60, -sign * np.radians(70 if kind == "elbows" else 0)))
        rotations[:, elbow] = bent @ swing(OFFSETS[wrist], OFFSETS[elbow])
        hanging = Rotation.from_euler("z", -80 * sign, degrees=True).as_matrix()
        rotations[:, JOINT_NAMES.index(f"{side}_shoulder")] = hanging
    dressed(tmp_path / "a.bvh", skeleton, rotations, joints[:, 0])
    right = load_skeleton_map("noitom")
    retarget(read_capture(tmp_path / "a.bvh"), right)
    names, other = right["joints"], SIDES | {b: a for a, b in SIDES.items()}
    swapped = right | {"joints": {joint: names[joint if "foot" in joint else other.get(joint, joint)]
                                  for joint in names}}
    if kind == "straight":
        return retarget(read_capture(tmp_path / "a.bvh"), swapped)
    with pytest.raises(ValueError, match="feet or knees point .* the map swaps left and right"):
        retarget(read_capture(tmp_path / "a.bvh"), swapped)


def test_a_forearm_is_not_taken_for_a_hand(tmp_path):
    """Where hands are End Sites, the shape would have it so; another limb's bones are as like a person's."""
    path, *_ = worn(tmp_path, "optitrack", ours=SKELETONS["optitrack"].ours | dict.fromkeys(
        ("left_wrist", "right_wrist")))
    with pytest.raises(ValueError, match="no joint is called a left hand; .* the place of a hand is that of LFArm"):
        read_body(path)


def test_a_skeleton_without_a_person_is_one_sentence(tmp_path):
    path, *_ = worn(tmp_path, "mixamo")
    text = path.read_text()
    for side in ("Left", "Right"):
        text = text.replace(f"{side}Hand", f"{side}Claw").replace(f"{side}Foot", f"{side}Hoof")
    path.write_text(text)
    assert read_body(path).skeleton.startswith("by its shape")
    (tmp_path / "prop.bvh").write_text("HIERARCHY\nROOT ball\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition "
                                       "Zposition\n"
                                       "}\nMOTION\nFrames: 1\nFrame Time: 0.03\n0 0 0\n")
    with pytest.raises(ValueError, match="prop.bvh: Found no person's skeleton among the joints ball.*motion.inspect"):
        read_body(tmp_path / "prop.bvh")


@pytest.mark.parametrize("name", [name for name in SKELETONS if name not in ("daz", "rigify")])    # bones in pieces
def test_shape_alone_finds_what_names_do(tmp_path, name):
    path, *_ = worn(tmp_path, name, rest="T")
    capture = read_capture(path)
    found, _ = sources(capture)
    nameless = replace(capture, names=tuple(f"b{number}" for number in range(len(capture.names))))
    if SKELETONS[name].ours["left_foot"] is None:
        with pytest.raises(ValueError, match="left from right"):
            ends_by_shape(Tree(nameless))
        return
    guessed, how = sources(nameless)
    assert how == "shape"
    for joint in ("pelvis", "left_hip", "left_knee", "right_ankle", "left_shoulder", "right_elbow", "left_wrist"):
        theirs = capture.names[nameless.names.index(guessed[joint])]
        assert theirs == found[joint], joint


@pytest.mark.parametrize("name", shipped())
def test_maps_that_ship_are_sound(name):
    assert set(load_skeleton_map(name)["joints"]) == set(JOINT_NAMES)


@pytest.mark.parametrize("change, message", [
    (dict(skip_frames=0.5), "skip_frames 0.5, expected a whole number"), (dict(skip_frames=-5), "skip_frames -5"),
    (dict(skip_frames=True), "skip_frames True"), (dict(unit="cm"), "unit of 'cm'"), (dict(unit=0), "unit of 0"),
    (dict(unit=float("nan")), "unit of nan"), (dict(scale=2), r"the keys \['scale'\], expected some of unit"),
    (dict(up="up"), "the up axis 'up', expected one of y, z"), (dict(fps=0), "fps 0"),
    (dict(rest_frame=1.5), "rest_frame 1.5"),
    (dict(joints=[]), "joints of the type list"), (dict(joints={}), "either left out or no joints of ours"),
    (dict(spine1={"between": ["pelvis"]}), r"between \['pelvis'\] for spine1, expected two"),
    (dict(spine1={"between": ["pelvis", "tail"]}), "between .*tail.* for spine1"),
    (dict(spine1={"between": ["pelvis", "spine1"]}), "between .* for spine1, expected two other"),
    (dict(spine1={"between": ["pelvis", "spine2"], "source": "x"}), r"for \['spine1'\]"),
    (dict(spine1={"source": 7}), "the source 7 for spine1"), (dict(spine1={"source": []}), r"the source \[\]"),
    (dict(spine1={"source": "x", "rest": [0, 0]}), r"the rest \[0, 0\] for spine1"),
    (dict(spine1={"source": "x", "rest": [0, 0, "a"]}), "the rest"), (dict(spine1="x"), "'x' for"),
    (dict(spine1={"source": "x", "rot": [0, 0, 0]}), r"the keys \['rot'\] for spine1")])
def test_values_of_a_map_are_checked(tmp_path, change, message):
    found = load_skeleton_map("smpl")
    ours = {key: value for key, value in change.items() if key in JOINT_NAMES}
    found = found | {"joints": found["joints"] | ours} | {key: value for key, value in change.items()
                                                          if key not in ours}
    (tmp_path / "map.json").write_text("\ufeff" + json.dumps(found), encoding="utf-8")
    with pytest.raises(ValueError, match=f"map.json: found .*{message}.*expected|map.json: found .*{message}"):
        load_skeleton_map(tmp_path / "map.json")


def test_a_fault_of_a_map_is_told_once_and_not_of_the_capture(tmp_path):
    path, *_ = worn(tmp_path, "smpl")
    (tmp_path / "map.json").write_text("{}")
    with pytest.raises(ValueError, match=f"^{tmp_path / 'map.json'}: found no 'unit'"):
        read_body(path, Reading(skeleton=str(tmp_path / "map.json")))


@pytest.mark.parametrize("t_pose", [False, True])
def test_only_a_calibration_pose_is_left_out(tmp_path, t_pose):
    path, *_ = worn(tmp_path, "hdm05", t_pose=t_pose)
    body = read_body(path)
    assert len(body.joints) == (54 if t_pose else 60)
    assert ("its first 6 frames, a calibration pose, left out" in body.said) == t_pose


def test_bones_without_length_are_one_sentence(tmp_path):
    path, *_ = worn(tmp_path, "smpl")
    path.write_text(re.sub("OFFSET.*", "OFFSET 0 0 0", path.read_text()))
    for reading in (Reading(), Reading(skeleton="smpl")):
        with pytest.raises(ValueError, match="smpl.bvh: The capture's legs have no length"):
            read_body(path, reading)


def test_legs_in_no_unit_are_refused(tmp_path):
    path, *_ = worn(tmp_path, "mixamo", unit=30.0)
    with pytest.raises(ValueError, match="mixamo.bvh: an unknown unit: legs of .* --unit"):
        read_body(path)
    assert "legs of 0.8" in read_body(path, Reading(unit=30.0)).said


def test_what_a_map_says_holds(tmp_path):
    path, *_ = worn(tmp_path, "smpl", up="z")
    slow = retarget(read_capture(path), load_skeleton_map("smpl") | {"up": "z", "fps": 15.0})[1]
    assert len(slow) == 119 and (slow[:, 15, 1] - slow[:, 0, 1]).min() > 0.5
    assert len(read_body(path, Reading(fps=15)).joints) == 119


def test_skipped_frames_do_not_count_as_a_rest_frame(tmp_path):
    path, *_ = worn(tmp_path, "rokoko")
    source = Source(read_capture(path), load_skeleton_map("rokoko") | {"skip_frames": 10, "rest_frame": 0})
    assert source.said[-1] == "rest rotations from frame 0" and len(source.places) == 50


def row(name: str, path: Path, theirs: np.ndarray) -> str:
    """A line of the matrix in docs/captures.md."""
    skeleton, body = (SKELETONS | BY_NAMES)[name], read_body(path)
    by = re.match("by its (names|shape)", body.skeleton)
    apart, found = distances(body.joints, theirs), by[1] if by else f"map `{body.skeleton}`"
    how = dict(T="a T-pose", A="an A-pose", N="arms down", bones="none: axes along the bones")[skeleton.rest]
    how += ", T-pose in frame 0" * skeleton.t_pose
    return (f"| {name} | {path.read_text(encoding='utf-8').count('CHANNELS')} | {how} | {skeleton.up} | "
            f"{skeleton.unit:g} m | "
            f"{found} | {100 * np.nanmean(apart):.1f}, "
            f"{100 * np.nanmax(np.nanmean(apart, axis=0)):.1f} cm | "
            f"{100 * np.percentile(body.joints[..., 1].min(1), 50):.0f} cm |")


def test_the_matrix_of_the_docs_is_what_is_measured(tmp_path):
    rows = [row(name, *worn(tmp_path, name)[::2]) for name in SKELETONS | BY_NAMES]
    text = (Path(__file__).parents[1] / "docs" / "captures.md").read_text(encoding="utf-8")
    assert not [line for line in rows if line not in text], "\n".join(rows)


def inspected(monkeypatch, capsys, *words: str) -> str:
    monkeypatch.setattr("sys.argv", ["inspect", *map(str, words)])
    try:
        run(motion.inspect.main)
    except SystemExit:
        return capsys.readouterr().err
    return capsys.readouterr().out


def test_inspect_says_all_and_its_map_is_one(tmp_path, monkeypatch, capsys):
    path, *_ = worn(tmp_path, "xsens_mvn")
    said = inspected(monkeypatch, capsys, path, "--write-map")
    for part in ("Pelvis   -> pelvis", "LeftUpperLeg   -> left_hip", "skeleton xsens_mvn", "60 frames at 30 fps",
                 "centimetres",
                 "z up", "floor at", "xsens_mvn_joints.png", "xsens_mvn_map.json"):
        assert part in said
    with Image.open(tmp_path / "xsens_mvn_joints.png") as picture:
        assert len(picture.getcolors(1 << 20)) > 2
    written = load_skeleton_map(tmp_path / "xsens_mvn_map.json")
    assert written["up"] == "z"
    body = read_body(path, Reading(skeleton=str(tmp_path / "xsens_mvn_map.json")))
    np.testing.assert_array_equal(body.joints, read_body(path).joints)


def test_inspect_writes_a_map_to_fill_in_where_it_knows_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "prop.bvh").write_text("HIERARCHY\nROOT ball\n{\nOFFSET 0 0 0\nCHANNELS 3 Xposition Yposition "
                                       "Zposition\n"
                                       "}\nMOTION\nFrames: 1\nFrame Time: 0.03\n0 0 0\n")
    assert "error: Found no person's skeleton among the joints ball" in inspected(
        monkeypatch, capsys, tmp_path / "prop.bvh", "--write-map")
    assert load_skeleton_map(tmp_path / "prop_map.json")["joints"]["head"] == {"source": "?"}
