"""Retargeting: our own body comes back as it went in, whatever axes, unit and rate it was dressed in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from conftest import captured
from motion.formats import Capture, read_capture, write_amass, write_bvh
from motion.retarget import load_skeleton_map, resample, retarget, swing
from motion.rotation import axis_angle_to_matrix, y_rotation
from motion.skeleton import JOINT_NAMES, OFFSETS, PARENTS, forward_kinematics, local_to_global

MAPS = ("smpl", "bandai_namco", "cmu", "cmu_arms_down", "cmu_daz", "snu_basketball", "snu_bboy", "snu_boxer",
        "snu_martial", "snu_woody")
WRISTS, HEAD, NECK, SPINE3, SPINE1, FEET = (20, 21), 15, 12, 9, 3, (10, 11)


def dance(frames: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Smooth local rotations (T, 22, 3, 3), pelvis (T, 3); what some maps lack is halfway between its neighbours."""
    rng = np.random.default_rng(0)
    rotations = axis_angle_to_matrix(np.cumsum(rng.normal(0, 0.1, (frames, 22, 3)), axis=0))
    rotations[:, 6] = rotations[:, SPINE1]
    rotations[:, NECK] = rotations[:, HEAD] = rotations[:, SPINE3]
    rotations[:, FEET] = np.eye(3)
    return rotations, [0, 1, 0] + np.cumsum(rng.normal(0, 0.03, (frames, 3)), axis=0)


def dressed(name: str, rotations: np.ndarray, joints: np.ndarray) -> Capture:
    """Our motion as a capture on the skeleton of a map: their names, their axes, their unit, 30 fps."""
    skeleton_map = load_skeleton_map(name)
    names, theirs = [], []
    for joint, entry in enumerate(skeleton_map["joints"].values()):
        if "source" in entry:
            names.append(entry["source"] if isinstance(entry["source"], str) else entry["source"][-1])
            theirs.append(joint)
    rests = [skeleton_map["joints"][JOINT_NAMES[joint]].get("rest", [0, 0, 0]) for joint in theirs]
    rests = Rotation.from_euler("xyz", rests, degrees=True).as_matrix()
    turned, places = local_to_global(rotations)[:, theirs] @ rests, joints[:, theirs] / skeleton_map["unit"]
    skipped = [0] * skeleton_map.get("skip_frames", 0)  # the calibration pose: the first frame, a few times
    order = skipped + list(range(len(joints)))
    return Capture(tuple(names), (-1,) * len(names), turned[order], places[order], 30.0)


@pytest.mark.parametrize("name", MAPS)
def test_our_own_body_comes_back(name):
    rotations, pelvis = dance()
    joints = forward_kinematics(rotations, pelvis)
    back, placed = retarget(dressed(name, rotations, joints), load_skeleton_map(name))
    np.testing.assert_allclose(back, rotations, atol=1e-9)
    np.testing.assert_allclose(placed, joints - [0, joints[..., 1].min(), 0], atol=1e-9)


def test_size_of_the_source_does_not_matter():
    rotations, pelvis = dance()
    capture = dressed("cmu", rotations, forward_kinematics(rotations, pelvis))
    _, placed = retarget(capture, load_skeleton_map("cmu"))
    _, larger = retarget(replace(capture, positions=1.7 * capture.positions), load_skeleton_map("cmu"))
    np.testing.assert_allclose(larger, placed, atol=1e-9)


@pytest.mark.parametrize("name", MAPS)
def test_limbs_point_where_theirs_do(name):
    """From a body of other proportions come its directions and our lengths; the lowest joint is at 0."""
    rotations, pelvis = dance()
    other = OFFSETS * np.random.default_rng(1).uniform(0.7, 1.3, OFFSETS.shape)
    joints = [pelvis]
    for joint, parent in enumerate(PARENTS[1:], start=1):
        joints.append(joints[parent] + local_to_global(rotations)[:, parent] @ other[joint])
    joints = np.stack(joints, axis=1)
    _, placed = retarget(dressed(name, rotations, joints), load_skeleton_map(name))
    for low, high in ((18, 16), (19, 17), (20, 18), (21, 19), (4, 1), (5, 2), (7, 4), (8, 5)):
        ours, theirs = placed[:, low] - placed[:, high], joints[:, low] - joints[:, high]
        np.testing.assert_allclose(np.linalg.norm(ours, axis=-1), np.linalg.norm(OFFSETS[low]), atol=1e-9)
        cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
        np.testing.assert_allclose(cosine, 1, atol=1e-9)
    assert placed[..., 1].min() == 0


def test_files_of_our_own_come_back(tmp_path):
    rotations, pelvis = dance()
    write_bvh(tmp_path / "a.bvh", rotations, pelvis)
    write_amass(tmp_path / "a.npz", rotations, pelvis)
    for path in (tmp_path / "a.bvh", tmp_path / "a.npz"):
        back, _ = retarget(read_capture(path), load_skeleton_map("smpl"))
        np.testing.assert_allclose(back, rotations, atol=1e-6)


def turning(frames: int, fps: float) -> Capture:
    """A joint that turns by 40 degrees a second about y and moves by 1 a second along x."""
    seconds = np.arange(frames) / fps
    rotations = y_rotation(np.radians(40) * seconds)[:, None]
    return Capture(("joint",), (-1,), rotations, seconds[:, None, None] * [1.0, 0, 0], fps)


@pytest.mark.parametrize("fps", [12.5, 24, 30, 59.94, 100, 120])
def test_resampling_keeps_the_speed(fps):
    capture = turning(50, fps)
    rotations, positions = resample(capture, [0])
    assert len(positions) == int(49 / fps * 30 + 1e-9) + 1
    expected = turning(len(positions), 30)
    np.testing.assert_allclose(rotations, expected.rotations, atol=1e-6)
    np.testing.assert_allclose(positions, expected.positions, atol=1e-6)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_frames_that_are_there_are_copied(every):
    capture = turning(50, 30 * every)
    for found, given in zip(resample(capture, [0], skip=3), (capture.rotations, capture.positions)):
        np.testing.assert_array_equal(found, given[3::every])


def test_swing():
    quarter = swing(np.array([0, 2.0, 0]), np.array([5.0, 0, 0]))
    np.testing.assert_allclose(quarter @ [0, 1, 0], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(quarter @ [0, 0, 1], [0, 0, 1], atol=1e-12)
    np.testing.assert_array_equal(swing(np.array([0, 2.0, 0]), np.array([0, 1.0, 0])), np.eye(3))


def test_wrong_captures_and_maps_are_named(tmp_path):
    rotations, pelvis = dance()
    capture = dressed("cmu", rotations, forward_kinematics(rotations, pelvis))
    with pytest.raises(ValueError, match="no joint Hips for pelvis, only root, .*: use the skeleton map"):
        retarget(capture, load_skeleton_map("bandai_namco"))
    with pytest.raises(ValueError, match="first 30 are a calibration pose"):
        retarget(capture, {**load_skeleton_map("cmu"), "skip_frames": 30})
    with pytest.raises(ValueError, match="legs have no length"):
        retarget(replace(capture, positions=0 * capture.positions), load_skeleton_map("cmu"))
    with pytest.raises(FileNotFoundError, match="or one of bandai_namco, cmu, cmu_arms_down, .*, smpl, snu_"):
        load_skeleton_map("nobody")
    joints = load_skeleton_map("cmu")["joints"]
    without_head = {name: entry for name, entry in joints.items() if name != "head"}
    for text, message in (("{", "found no readable"), ('{"unit": 1}', "'joints'"),
                          (json.dumps({"unit": 1, "joints": without_head}), r"\['head'\]"),
                          (json.dumps({"unit": 1, "joints": joints | {"head": {}}}), r"\['head'\]"),
                          (json.dumps({"unit": 0, "joints": joints}), "unit of 0.0")):
        (tmp_path / "map.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            load_skeleton_map(tmp_path / "map.json")


WALKS = {    # archive -> files of captured walks and their skeleton maps; 39.asf is the skeleton of 39_03.amc
    "bandai_namco.tar.xz": {"dataset-1_walk_normal_001.bvh": "bandai_namco"},
    "cmu.tar.xz": {"39_03.amc": "cmu", "35_32.bvh": "cmu", "39.asf": ""},
    "cmu_extra.tar.xz": {"69_02.bvh": "cmu"},
    "snu.tar.xz": {"Samsung_wd2_middle_walking.bvh": "snu_woody", "Physics2_wd2_WalkForwardVFast01.bvh": "snu_woody"},
}


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> dict[str, Path]:
    """Where they are unpacked; each archive is read once, which takes seconds."""
    folder = tmp_path_factory.mktemp("walks")
    return {path.name: path for archive, names in WALKS.items() for path in captured(archive, list(names), folder)}


@pytest.mark.parametrize("name, skeleton_map", [pair for names in WALKS.values() for pair in names.items() if pair[1]])
def test_captured_walks_look_like_walks(walks, name, skeleton_map):
    """They go where the pelvis faces, knees bend forward, toes are ahead, arms hang, feet touch the floor."""
    rotations, joints = retarget(read_capture(walks[name]), load_skeleton_map(skeleton_map))
    facing = local_to_global(rotations)[:, 0, :, 2]  # (T, 3)
    speed = (np.diff(joints[:, 0], axis=0) * facing[1:]).sum(-1).mean() * 30
    assert 0.8 < speed < 1.8
    for hip, knee, ankle, foot, shoulder, wrist in ((1, 4, 7, 10, 16, 20), (2, 5, 8, 11, 17, 21)):
        bend = joints[:, knee] - (joints[:, hip] + joints[:, ankle]) / 2
        assert ((bend * facing).sum(-1) > -0.02).all() and (bend * facing).sum(-1).max() > 0.1
        assert ((joints[:, foot] - joints[:, ankle]) * facing).sum(-1).mean() > 0.08
        assert (joints[:, shoulder] - joints[:, wrist])[:, 1].mean() > 0.3
    assert np.percentile(joints[..., 1].min(1), 5) < 0.03
    assert 0.85 < joints[:, 0, 1].mean() < 1.0
