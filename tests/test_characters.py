"""Motion on a user's own skeleton: what plays there is ours, and all else of the file is theirs."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks.check_blender import circle
from motion.captures import read_body
from motion.characters import Character, read_character
from motion.formats.capture import TO_Y
from motion.formats.export import Files, check_files, export
from motion.formats.glb import Take
from motion.formats.own_bvh import OwnBVH
from motion.formats.own_glb import OwnGLB, append, read_glb, save_glb
from motion.representation_272 import pose_to_motion272
from motion.retarget import filled
from motion.skeleton import forward_kinematics, local_to_global
from wardrobe import SKELETONS, dressed, walk


def bvh_of(tmp_path: Path, name: str) -> Path:
    rotations, joints = walk(40, SKELETONS[name].t_pose)
    dressed(tmp_path / f"{name}.bvh", SKELETONS[name], rotations, joints[:, 0])
    return tmp_path / f"{name}.bvh"


def moved(t_pose: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and pelvis of a body that goes round and swings every joint; perhaps from a T-pose."""
    rotations, pelvis = circle(60)
    if t_pose:
        rotations[0] = np.eye(3)
    return rotations, pelvis


def local(own: OwnBVH | OwnGLB) -> np.ndarray:
    """Rotations (T, N, 3, 3) relative to the parent."""
    rotations, parents = own.capture.rotations, own.capture.parents
    return np.stack([rotations[:, joint] if parent < 0 else rotations[:, parent].mT @ rotations[:, joint]
                     for joint, parent in enumerate(parents)], axis=1)


def apart(character: Character, places: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Metres (T, J) between ours and their joints, places (T, N, 3) as in their file, scaled by the legs."""
    source = character.source
    theirs = filled(places[:, source.theirs], source.between) @ character.turn.T / character.scale
    return np.linalg.norm(theirs - ours, axis=-1)[:, [joint for joint in range(22) if joint not in source.missing]]


@pytest.mark.parametrize("name", SKELETONS)
def test_a_bvh_of_any_tool_moves_as_ours(tmp_path, name):
    """Read back by our reader: the hierarchy is theirs, bones are turned as ours, joints are where ours are."""
    path, (rotations, pelvis) = bvh_of(tmp_path, name), moved(SKELETONS[name].rest == "bones")
    character, out = read_character(path), tmp_path / "out.bvh"
    character.write(out, [Take("", rotations, pelvis)])
    assert out.read_bytes().split(b"MOTION")[0] == path.read_bytes().split(b"MOTION")[0]
    assert b"Frames: 60\nFrame Time: 0.033333\n" in out.read_bytes()
    ours = forward_kinematics(rotations, pelvis)
    distances = apart(character, OwnBVH(out).capture.positions, ours)
    whole = all(SKELETONS[name].ours.values())              # of fewer joints the trunk bends otherwise
    assert distances.mean() < (0.03 if whole else 0.05)

    body = read_body(out)
    turned = local_to_global(rotations)[len(rotations) - len(body.rotations):]
    traces = np.trace(turned @ local_to_global(body.rotations).mT, axis1=-2, axis2=-1)
    wrong = np.degrees(np.arccos(((traces - 1) / 2).clip(-1, 1)))[1:].mean(0)
    assert wrong[sorted(character.ours.values())].max() < 1 or SKELETONS[name].rest == "bones"    # and no T-pose
    assert body.skeleton == character.skeleton
    bones = body.joints[..., 1:, :] - body.joints[..., :1, :] - (ours[:, 1:] - ours[:, :1])[-len(body.joints):]
    assert np.linalg.norm(bones, axis=-1).mean() < 0.045


@pytest.mark.parametrize("name", ["mixamo", "metahuman", "daz", "rigify", "rokoko"])
def test_joints_that_we_have_not_stay_on_their_parent(tmp_path, name):
    path = bvh_of(tmp_path, name)
    character = read_character(path)
    character.write(tmp_path / "out.bvh", [Take("", *moved())])
    before, after = local(OwnBVH(path)), local(OwnBVH(tmp_path / "out.bvh"))
    others = [joint for joint in range(before.shape[1]) if joint not in character.ours]
    assert len(others) > (name == "rokoko") - 1 and others
    np.testing.assert_allclose(after[:, others], np.repeat(before[character.frame:][:1, others], 60, axis=0), atol=1e-6)


@pytest.mark.parametrize("up", TO_Y)
def test_axes_and_unit_are_the_files(tmp_path, up):
    rotations, joints = walk(40)
    dressed(tmp_path / "a.bvh", replace(SKELETONS["mixamo"], up=up, unit=0.0254), rotations, joints[:, 0])
    character = read_character(tmp_path / "a.bvh")
    turns, pelvis = moved()
    character.write(tmp_path / "out.bvh", [Take("", turns, pelvis)])
    written = OwnBVH(tmp_path / "out.bvh").capture.positions
    assert apart(character, written, forward_kinematics(turns, pelvis)).mean() < 0.02
    tall, ours = written @ TO_Y[up][1] * 0.0254, forward_kinematics(turns, pelvis)[..., 1]
    assert abs(tall.min() - ours.min()) < 0.02 and abs(tall.max() - ours.max()) < 0.1


def test_who_stands_stands_on_the_floor_of_the_file(tmp_path):
    """The lowest joint is as high over height 0 as it is in the file, when our body stands on its floor."""
    path = bvh_of(tmp_path, "mixamo")
    text = path.read_text()
    head, rows = text[:text.index("Frame Time")], text[text.index("Frame Time"):].split("\n")
    values = np.array([row.split() for row in rows[1:] if row], float)
    low = np.median(OwnBVH(path).capture.positions[..., 1].min(-1))
    values[:, 1] += 3 - low                                       # toes 3 cm over the floor
    path.write_text("\n".join([head + rows[0], *(" ".join(map(str, row)) for row in values)]))
    character = read_character(path)
    rest = np.broadcast_to(np.eye(3), (1, 22, 3, 3))
    joints = forward_kinematics(rest, np.zeros((1, 3)))
    character.write(tmp_path / "out.bvh", [Take("", rest, [0, -joints[..., 1].min(), 0] * np.ones((1, 3)))])
    theirs = OwnBVH(tmp_path / "out.bvh").capture.positions[0, character.source.theirs]
    assert abs(theirs[:, 1].min() - 3) < 0.01


def rewritten(path: Path, *changes: tuple[str, str]) -> Path:
    text = path.read_text()
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text, flags=re.DOTALL)
        assert count
    path.write_text(text, newline="")
    return path


@pytest.mark.parametrize("end", ["", "MOTION\n", "MOTION\nFrames: 0\nFrame Time: 0.033\n"])
def test_a_skeleton_without_frames_is_enough(tmp_path, end):
    path = rewritten(bvh_of(tmp_path, "mixamo"), ("MOTION.*", end))
    character = read_character(path)
    rotations, pelvis = moved()
    character.write(tmp_path / "out.bvh", [Take("", rotations, pelvis)])
    distances = apart(character, OwnBVH(tmp_path / "out.bvh").capture.positions, forward_kinematics(rotations, pelvis))
    assert distances.mean() < 0.02


@pytest.mark.parametrize("encoding, newline", [("utf-8-sig", "\r\n"), ("utf-16", "\n"), ("cp932", "\r\n")])
def test_encoding_and_line_breaks_stay(tmp_path, encoding, newline):
    path = bvh_of(tmp_path, "mmd")
    path.write_bytes(path.read_text(encoding="utf-8").replace("\n", newline).encode(encoding))
    character = read_character(path)
    assert "左足" in character.own.capture.names
    character.write(tmp_path / "out.bvh", [Take("", *moved())])
    content = (tmp_path / "out.bvh").read_bytes()
    assert content.count(newline.encode()) == content.count(b"\n")
    assert content.split(b"MOTION")[0] == path.read_bytes().split(b"MOTION")[0] or encoding == "utf-16"
    assert OwnBVH(tmp_path / "out.bvh").capture.names == character.own.capture.names


def test_hinges_turn_about_their_axis_and_end_sites_keep_their_channels(tmp_path):
    path = rewritten(bvh_of(tmp_path, "smpl"), ("MOTION.*", ""), (
        r"(JOINT left_knee.*?CHANNELS )3 Zrotation Xrotation Yrotation", r"\g<1>1 Xrotation"), (
        r"(End Site\n\t*\{\n[^\n]*)", r"\g<1>\nCHANNELS 3 Zrotation Xrotation Yrotation"))
    character = read_character(path)
    rotations, joints = walk(20)                              # whose knees turn about x
    character.write(tmp_path / "out.bvh", [Take("", rotations, joints[:, 0])])
    own = OwnBVH(tmp_path / "out.bvh")
    assert len(own.read.ends) == 15 and own.read.values.shape == (20, 3 + 3 * 21 + 1)
    assert apart(character, own.capture.positions, joints).mean() < 0.02


def test_a_body_that_cannot_leave_its_place_is_refused(tmp_path):
    path = rewritten(bvh_of(tmp_path, "smpl"), ("MOTION.*", ""), (r"CHANNELS 6( .position){3}", "CHANNELS 3"))
    with pytest.raises(ValueError, match="--skeleton-from .*smpl.bvh: found no position channels from pelvis to"):
        read_character(path)


def glb_of(tmp_path: Path, name: str, armature: dict | None = None, matrices: bool = False) -> Path:
    """A GLB of a tool's skeleton at rest, below nodes as Blender or Mixamo write them, with a mesh and an animation."""
    own = OwnBVH(bvh_of(tmp_path, name))
    rest = own.capture.positions[0] if SKELETONS[name].rest == "bones" else own.capture.rest
    turns = local(own)[0] if SKELETONS[name].rest == "bones" else np.broadcast_to(np.eye(3), (len(rest), 3, 3))
    turned = own.capture.rotations[0] if SKELETONS[name].rest == "bones" else turns
    nodes = []
    for joint, parent in enumerate(own.capture.parents):
        place = rest[joint] if parent < 0 else turned[parent].T @ (rest[joint] - rest[parent])
        node = dict(name=own.capture.names[joint], translation=place.tolist(), children=[
            child for child, above in enumerate(own.capture.parents) if above == joint])
        if matrices:
            whole = np.eye(4)
            whole[:3, :3], whole[:3, 3] = turns[joint], node.pop("translation")
            node["matrix"] = whole.T.ravel().tolist()
        else:
            node["rotation"] = Rotation.from_matrix(turns[joint]).as_quat().tolist()
        nodes.append({key: value for key, value in node.items() if value != []})
    if armature:
        nodes.append(dict(name="Armature", children=[0], **armature))
    gltf: dict = dict(asset=dict(version="2.0", extras=dict(of="theirs")), scene=0, nodes=nodes,
                      scenes=[dict(nodes=[len(nodes) - 1 if armature else 0, len(nodes)])],
                      extensionsUsed=["X_own"], extensions=dict(X_own=[1]),
                      skins=[dict(joints=list(range(len(own.capture.names))))])
    gltf["buffers"], blob = [], bytearray()
    triangle = append(gltf, blob, np.eye(3), "VEC3")
    times = append(gltf, blob, np.array([[0.0], [1.0]]), "SCALAR")
    gltf["meshes"] = [dict(primitives=[dict(attributes=dict(POSITION=triangle))])]
    gltf["nodes"] = [*nodes, dict(name="Körper", mesh=0, skin=0)]
    turn = append(gltf, blob, np.array([[0, 0, 0, 1], [0, 0, 1, 0.0]]), "VEC4")
    gltf["animations"] = [dict(name="idle", samplers=[dict(input=times, output=turn)],
                               channels=[dict(sampler=0, target=dict(node=0, path="rotation"))])]
    save_glb(tmp_path / f"{name}.glb", gltf, bytes(blob))
    return tmp_path / f"{name}.glb"


def played(path: Path, frame: int) -> dict[str, np.ndarray]:
    """Where every node is at a key of the first animation, by the specification."""
    gltf, blob = read_glb(path)
    nodes = [dict(node) for node in gltf["nodes"]]

    def array(accessor: int) -> np.ndarray:
        one = gltf["accessors"][accessor]
        width = dict(SCALAR=1, VEC3=3, VEC4=4)[one["type"]]
        start = gltf["bufferViews"][one["bufferView"]]["byteOffset"]
        return np.frombuffer(bytes(blob), "<f4", one["count"] * width, start).reshape(-1, width)

    animation = gltf["animations"][0]
    for channel in animation["channels"]:
        node = nodes[channel["target"]["node"]]
        assert "matrix" not in node
        node[channel["target"]["path"]] = array(animation["samplers"][channel["sampler"]]["output"])[frame]
    parents = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}

    def world(number: int) -> np.ndarray:
        node, matrix = nodes[number], np.eye(4)
        if "matrix" in node:
            matrix = np.array(node["matrix"]).reshape(4, 4).T
        else:
            matrix[:3, :3] = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
            matrix[:3, :3] *= node.get("scale", [1, 1, 1])
            matrix[:3, 3] = node.get("translation", [0, 0, 0])
        return world(parents[number]) @ matrix if number in parents else matrix

    return {node.get("name", ""): world(number)[:3, 3] for number, node in enumerate(nodes)}


CENTIMETRES = dict(scale=[0.01] * 3)
Z_UP = dict(scale=[0.01] * 3, rotation=[-(0.5 ** 0.5), 0, 0, 0.5 ** 0.5], translation=[0, 0, 0.2])


@pytest.mark.parametrize("name, armature, matrices", [
    ("mixamo", CENTIMETRES, False), ("unreal", Z_UP, False), ("unity", None, True), ("rokoko", CENTIMETRES, True),
    ("vrm", None, False)])
def test_a_glb_with_a_skin_moves_as_ours_and_stays_theirs(tmp_path, name, armature, matrices):
    path, out = glb_of(tmp_path, name, armature, matrices), tmp_path / "out.glb"
    character, (rotations, pelvis) = read_character(path), moved()
    character.write(out, [Take("first", rotations[:30], pelvis[:30]), Take("second", rotations[30:], pelvis[30:])])
    ours = forward_kinematics(rotations, pelvis)
    for frame in (0, 17):
        found = played(out, frame)
        places = np.array([found[one] for one in character.own.capture.names])[None]
        assert apart(character, places, ours[[frame]]).mean() < 0.02

    (before, blob), (after, longer) = read_glb(path), read_glb(out)
    assert [one["name"] for one in after["animations"]] == ["first", "second", "idle"]
    assert bytes(longer[:len(blob)]) == bytes(blob)
    for key in ("accessors", "bufferViews"):
        after[key] = after[key][:len(before[key])]
    after["animations"], after["buffers"] = after["animations"][2:], before["buffers"]
    after["nodes"] = before["nodes"] if matrices else after["nodes"]
    assert after == before
    assert f"{len(character.ours)} of its" in character.said and "y up" in character.said


def test_unmoved_nodes_are_not_animated(tmp_path):
    character = read_character(glb_of(tmp_path, "mixamo", CENTIMETRES))
    character.write(tmp_path / "out.glb", [Take("", *moved())])
    gltf, _ = read_glb(tmp_path / "out.glb")
    targets = [(channel["target"]["path"], gltf["nodes"][channel["target"]["node"]]["name"])
               for channel in gltf["animations"][0]["channels"]]
    assert len(targets) == len(set(targets)) == 23 and ("translation", "mixamorig:Hips") in targets
    assert not any("Thumb" in name or name == "Armature" for _, name in targets)


@pytest.mark.parametrize("change, message", [
    (lambda gltf: gltf.pop("skins"), "found no skin"),
    (lambda gltf: gltf["skins"][0].update(joints=[9999]), "cannot be read at"),
    (lambda gltf: gltf["nodes"][3].update(scale=[1, 2, 1]), "stretched or mirrored"),
    (lambda gltf: gltf["nodes"][3].update(rotation=[0, 0, 0, 0]), "cannot be read|stretched"),
    (lambda gltf: gltf["nodes"][5].setdefault("children", []).append(0), "hang on themselves"),
    (lambda gltf: gltf["buffers"][0].update(uri="a.bin"), "arrays in other files"),
    (lambda gltf: gltf.update(nodes=7), "cannot be read at"),
    (lambda gltf: [node.update(name=f"n{number}") for number, node in enumerate(gltf["nodes"])] and
     gltf["skins"][0].update(joints=[0, 1, 2]), "no person's skeleton")])
def test_a_glb_that_is_no_character_is_one_sentence(tmp_path, change, message):
    gltf, blob = read_glb(glb_of(tmp_path, "unity"))
    change(gltf)
    save_glb(tmp_path / "bad.glb", gltf, bytes(blob))
    with pytest.raises(ValueError, match=f"bad.glb.*({message})"):
        read_character(tmp_path / "bad.glb")


def test_other_files_are_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file; expected your character"):
        read_character(tmp_path / "a.bvh")
    for name, content in (("a.fbx", b"x"), ("a.glb", b"glTF"), ("b.glb", struct.pack("<4sIIII", b"glTF", 2, 99, 9, 1)),
                          ("c.bvh", b"HIERARCHY")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            read_character(tmp_path / name)


def test_demos_write_the_characters_file(tmp_path, capsys):
    path = glb_of(tmp_path, "mixamo", CENTIMETRES)
    rotations, joints = walk(20)
    files = Files(out=tmp_path / "out", format="npy,bvh", skeleton_from=path, takes="prompt")
    check_files(files)
    assert "mixamo.glb: skeleton mixamo, 22 of its 35 joints move; y up" in capsys.readouterr().out
    paths = export(files, "walk", pose_to_motion272(rotations, joints), [(0, "walk"), (8, "run")])
    assert [one.name for one in paths] == ["walk.npy", "walk.bvh", "walk.glb"]
    assert [one["name"] for one in read_glb(paths[2])[0]["animations"]] == ["walk", "run", "idle"]
    assert b"Left_hip" in paths[1].read_bytes()
    export(Files(out=tmp_path / "out", format="bvh", skeleton_from=bvh_of(tmp_path, "unity")), "walk",
           pose_to_motion272(rotations, joints), [(0, "walk"), (8, "run")])
    assert b"LeftUpperLeg" in paths[1].read_bytes() and b"Frames: 20" in paths[1].read_bytes()


def test_a_map_of_the_users_says_which_joint_is_which(tmp_path):
    path = bvh_of(tmp_path, "nameless")
    ours = {joint: {"source": name} for joint, name in SKELETONS["nameless"].ours.items()}
    (tmp_path / "map.json").write_text(json.dumps(dict(unit=1.0, rest_frame="auto", up="y", joints=ours)))
    assert read_character(path, str(tmp_path / "map.json")).source.theirs == list(read_character(path).source.theirs)
    ours["left_hip"] = {"source": "b04"}
    (tmp_path / "map.json").write_text(json.dumps(dict(unit=1.0, joints=ours)))
    with pytest.raises(ValueError, match="--skeleton-from .* does not fit .*--skeleton-from-map"):
        Character(path, str(tmp_path / "map.json"))
