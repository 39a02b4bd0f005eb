"""GLB and VRMA: read back by hand and played, they show our joints and body; Khronos' and three.js' tools agree."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from benchmarks import check_blender, check_gltf
from benchmarks.check_blender import circle
from motion.body import pose_body, rest_body
from motion.formats.bones import BONES
from motion.formats.export import cut
from motion.formats.glb import Take, linear, quaternions, write_glb
from motion.formats.vrma import write_vrma
from motion.rotation import axis_angle_to_matrix
from motion.skeleton import forward_kinematics

NUMBERS = {5121: "u1", 5123: "u2", 5126: "f4"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read(path: Path) -> tuple[dict, list[np.ndarray]]:
    """The JSON of a GLB and its arrays, by the specification: header, JSON chunk, binary chunk."""
    data = path.read_bytes()
    magic, version, length, json_length, json_kind = struct.unpack("<4sIIII", data[:20])
    assert (magic, version, length, json_kind) == (b"glTF", 2, len(data), 0x4E4F534A)
    gltf, blob = json.loads(data[20:20 + json_length]), data[28 + json_length:]
    arrays = []
    for accessor in gltf["accessors"]:
        view, kind = gltf["bufferViews"][accessor["bufferView"]], NUMBERS[accessor["componentType"]]
        width = WIDTHS[accessor["type"]]
        arrays.append(np.frombuffer(blob, f"<{kind}", accessor["count"] * width, view.get("byteOffset", 0))
                      .reshape(-1, width))
    return gltf, arrays


def play(gltf: dict, arrays: list[np.ndarray], take: int, frame: int) -> np.ndarray:
    """World matrices (nodes, 4, 4) of a glTF at a key of one of its animations."""
    local = [dict(translation=node.get("translation", [0, 0, 0]), rotation=node.get("rotation", [0, 0, 0, 1]))
             for node in gltf["nodes"]]
    animation = gltf["animations"][take]
    for channel in animation["channels"]:
        output = arrays[animation["samplers"][channel["sampler"]]["output"]]
        local[channel["target"]["node"]][channel["target"]["path"]] = output[frame]
    parents = {child: node for node, one in enumerate(gltf["nodes"]) for child in one.get("children", [])}
    matrices = np.tile(np.eye(4), (len(local), 1, 1))
    for node, one in enumerate(local):                  # parents come first
        matrices[node, :3, :3] = Rotation.from_quat(one["rotation"]).as_matrix()
        matrices[node, :3, 3] = one["translation"]
        if node in parents:
            matrices[node] = matrices[parents[node]] @ matrices[node]
    return matrices


@pytest.mark.parametrize("bones", list(BONES))
def test_a_player_sees_our_joints_and_our_body(tmp_path, bones):
    rotations, pelvis = circle(30)
    write_glb(tmp_path / "a.glb", [Take("round", rotations, pelvis), Take("part", rotations[7:9], pelvis[7:9])], bones)
    gltf, arrays = read(tmp_path / "a.glb")
    assert [node["name"] for node in gltf["nodes"]] == [*BONES[bones], "body"]
    primitive, skin = gltf["meshes"][0]["primitives"][0], gltf["skins"][0]
    position, joints, weights = (arrays[primitive["attributes"][name]]
                                 for name in ("POSITION", "JOINTS_0", "WEIGHTS_0"))
    binds = arrays[skin["inverseBindMatrices"]].reshape(-1, 4, 4).mT
    np.testing.assert_array_equal(arrays[primitive["indices"]].reshape(-1, 3), rest_body().faces)
    for take, frame, ours in ((0, 0, 0), (0, 29, 29), (1, 1, 8)):
        matrices = play(gltf, arrays, take, frame)
        np.testing.assert_allclose(matrices[:22, :3, 3], forward_kinematics(rotations[ours], pelvis[ours]), atol=1e-5)
        skinning = np.einsum("vk,vkij->vij", weights, (matrices[skin["joints"]] @ binds)[joints])
        posed = (skinning @ np.c_[position, np.ones(len(position))][:, :, None])[:, :3, 0]
        np.testing.assert_allclose(posed, pose_body(rest_body(), rotations[ours], pelvis[ours])[0], atol=1e-5)


def test_it_rests_as_it_is_bound(tmp_path):
    """A viewer that plays nothing shows the T-pose; no node is turned or scaled."""
    write_glb(tmp_path / "a.glb", [Take("round", *circle(5))])
    gltf, arrays = read(tmp_path / "a.glb")
    assert not any({"rotation", "scale", "matrix"} & set(node) for node in gltf["nodes"])
    places = play(gltf | {"animations": [dict(channels=[])]}, arrays, 0, 0)[:22]
    binds = arrays[gltf["skins"][0]["inverseBindMatrices"]].reshape(-1, 4, 4).mT
    np.testing.assert_allclose(places @ binds, np.broadcast_to(np.eye(4), (22, 4, 4)), atol=1e-6)


def test_thirty_frames_are_a_second(tmp_path):
    write_glb(tmp_path / "a.glb", [Take("round", *circle(31))])
    gltf, arrays = read(tmp_path / "a.glb")
    times = arrays[gltf["animations"][0]["samplers"][0]["input"]][:, 0]
    np.testing.assert_allclose(times, np.arange(31) / 30, atol=1e-6)
    assert gltf["accessors"][gltf["animations"][0]["samplers"][0]["input"]]["max"] == [times[-1]]


def test_vrma_says_which_bone_is_which_and_moves_the_hips_alone(tmp_path):
    rotations, pelvis = circle(10)
    write_vrma(tmp_path / "a.vrma", [Take("round", rotations, pelvis)])
    gltf, arrays = read(tmp_path / "a.vrma")
    assert gltf["extensionsUsed"] == ["VRMC_vrm_animation"] and "meshes" not in gltf
    bones = gltf["extensions"]["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    assert list(bones) == list(BONES["vrm"])
    targets = [channel["target"] for channel in gltf["animations"][0]["channels"]]
    moved = [target for target in targets if target["path"] != "rotation"]
    assert moved == [dict(node=bones["hips"]["node"], path="translation")]
    places = play(gltf, arrays, 0, 9)[:, :3, 3]
    joints = dict(zip(BONES["vrm"], forward_kinematics(rotations[9], pelvis[9])))
    for name, bone in bones.items():
        np.testing.assert_allclose(places[bone["node"]], joints[name], atol=1e-5)


def test_quaternions_never_jump():
    """Two turns about one axis: the angle passes half a turn, where the usual quaternion changes its sign."""
    turn = np.linspace(0, 4 * np.pi, 200)[:, None, None] * np.array([0.6, 0, 0.8])
    rotations = axis_angle_to_matrix(turn)
    found = quaternions(rotations)
    assert np.abs(np.diff(found, axis=0)).max() < 0.05
    np.testing.assert_allclose(Rotation.from_quat(found[:, 0]).as_matrix(), rotations[:, 0], atol=1e-9)


def test_colours_are_linear_light():
    np.testing.assert_allclose(linear(np.array([[0, 128, 255]], np.uint8)), [[0, 0.21586, 1]], atol=1e-5)


@pytest.mark.parametrize("title, takes, expected", [
    ([(0, "walk"), (8, "wave")], "prompt", [("walk", 8), ("wave", 4)]),
    ([(0, "walk"), (8, "wave")], "all", [("walk, then wave", 12)]),
    ("walk", "prompt", [("walk", 12)]),
])
def test_takes_are_the_prompts(title, takes, expected):
    assert [(take.name, len(take.pelvis)) for take in cut(*circle(12), title, takes)] == expected


@pytest.mark.parametrize("takes", [[], [Take("none", np.zeros((0, 22, 3, 3)), np.zeros((0, 3)))],
                                   [Take("short", np.zeros((5, 22, 3, 3)), np.zeros((4, 3)))]])
def test_what_is_no_motion_is_not_written(tmp_path, takes):
    for write in (write_glb, write_vrma):
        with pytest.raises(ValueError, match="expected"):
            write(tmp_path / "a.glb", takes)
    assert not list(tmp_path.iterdir())


def test_khronos_and_three_js_agree(tmp_path):
    if not check_gltf.installed():
        pytest.skip("there is no node, or not its packages: npm install --prefix benchmarks/gltf")
    take = Take("round", *circle(40))
    assert check_gltf.validate(take, tmp_path) == []
    assert check_gltf.played_glb(take, tmp_path) < check_gltf.MILLIMETRES
    assert check_gltf.played_vrma(take, tmp_path) < check_gltf.DEGREES


def test_blender_agrees(tmp_path):
    if not check_blender.installed():
        pytest.skip("there is no Blender: sudo apt-get install blender python3-numpy")
    assert max(check_blender.distances(*circle(40), tmp_path).values()) < check_blender.TOLERANCE
