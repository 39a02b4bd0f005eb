"""Capture files: hand-made ones by hand, what is written is read back, and what is broken is named."""

import lzma
import os
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from conftest import GOLDEN
from motion.formats import read_amc, read_capture, write_amass, write_bvh
from motion.formats.bones import BONES
from motion.representation_272 import motion272_to_pose
from motion.rotation import axis_angle_to_matrix
from motion.skeleton import JOINT_NAMES, forward_kinematics, local_to_global

ARM = """HIERARCHY
ROOT hip {{
  OFFSET 5 5 5
  CHANNELS 6 Xposition Yposition Zposition {order}
  JOINT upper arm
  {{
    OFFSET 0 2 0
    CHANNELS {channels}
    End Site
    {{
      OFFSET 9 9 9
    }}
  }}
}}
MOTION
Frames: {frames}
Frame Time: {time}
{rows}
"""
HAND = """:version 1.10
:units
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name arm
    direction 0 1 0
    length 2
    axis 0 0 90 XYZ
    dof rx rz
    limits (-90 90)
           (-90 90)
  end
  begin
    id 2
    name hand
    direction 1 0 0
    length 1
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root arm
    arm hand
  end
"""
WAVE = ":FULLY-SPECIFIED\n:DEGREES\n1\nroot 1 2 3 0 0 0\narm 90 0\n2\nroot 1 2 3 0 90 0\narm 0 90\n"


def arm(path: Path, order: str = "Zrotation Yrotation Xrotation",
        channels: str = "3 Xrotation Yrotation Zrotation", rows: str = "1 2 3 90 0 0 0 0 0",
        frames: int = 1, time: str = "0.0333333") -> Path:
    path.write_text(ARM.format(order=order, channels=channels, rows=rows, frames=frames, time=time))
    return path


def dance(frames: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return axis_angle_to_matrix(rng.normal(0, 0.6, (frames, 22, 3))), rng.normal(0, 1, (frames, 3))


@pytest.mark.parametrize("order", list(permutations("XYZ")))
def test_bvh_angles_multiply_in_the_order_of_their_channels(tmp_path, order):
    channels = " ".join(f"{axis}rotation" for axis in order)
    capture = read_capture(arm(tmp_path / "a.bvh", order=channels, rows="1 2 3 10 20 30 0 0 0"))
    first, second, third = (Rotation.from_euler(axis, angle, degrees=True)
                            for axis, angle in zip(order, (10, 20, 30)))
    np.testing.assert_allclose(capture.rotations[0, 0], (first * second * third).as_matrix(), atol=1e-12)


def test_bvh_by_hand(tmp_path):
    """A quarter turn about z takes the arm, 2 above, to the root's side; position channels replace OFFSET."""
    capture = read_capture(arm(tmp_path / "a.bvh"))
    assert (capture.names, capture.parents, capture.fps) == (("hip", "upper arm"), (-1, 0), 30)
    np.testing.assert_allclose(capture.positions[0], [[1, 2, 3], [-1, 2, 3]], atol=1e-12)
    path = arm(tmp_path / "b.bvh", channels="2 Zposition Yrotation", rows="1 2 3 90 0 0 7 90")
    capture = read_capture(path)
    np.testing.assert_allclose(capture.positions[0], [[1, 2, 3], [-1, 2, 10]], atol=1e-12)
    np.testing.assert_allclose(capture.rotations[0, 1] @ [0, 0, 1], [0, 1, 0], atol=1e-12)


def test_bvh_round_trip(tmp_path):
    rotations, pelvis = dance()
    write_bvh(tmp_path / "a.bvh", rotations, pelvis, fps=60)
    capture = read_capture(tmp_path / "a.bvh")
    order = [capture.names.index(name.capitalize()) for name in JOINT_NAMES]
    assert capture.fps == 60 and len(capture.names) == 24 and os.listdir(tmp_path) == ["a.bvh"]
    np.testing.assert_allclose(capture.positions[:, order], forward_kinematics(rotations, pelvis), atol=3e-6)
    np.testing.assert_allclose(capture.rotations[:, order], local_to_global(rotations), atol=1e-6)

@pytest.mark.parametrize("unit, length", [("m", 1), ("cm", 100)])
@pytest.mark.parametrize("bones", list(BONES))
def test_bvh_has_other_names_and_lengths(tmp_path, bones, unit, length):
    rotations, pelvis = dance()
    write_bvh(tmp_path / "a.bvh", rotations, pelvis, bones=bones, unit=unit)
    capture = read_capture(tmp_path / "a.bvh")
    order = [[name.lower() for name in capture.names].index(name.lower()) for name in BONES[bones]]
    np.testing.assert_allclose(capture.positions[:, order] / length, forward_kinematics(rotations, pelvis), atol=3e-6)
    assert len(set(capture.names)) == 24


def test_readers_that_add_the_roots_offset_see_the_same(tmp_path):
    write_bvh(tmp_path / "a.bvh", *dance())
    root = (tmp_path / "a.bvh").read_text().split("OFFSET")[1]
    assert [float(value) for value in root.split()[:3]] == [0, 0, 0]


def test_published_bvh_is_the_authors(tmp_path):
    motion = np.load(GOLDEN / "representation_272.npz")["motion_272"]
    rotations, pelvis = motion272_to_pose(motion.astype(np.float64))
    theirs = lzma.open(GOLDEN / "representation_272.bvh.xz", "rt").read().splitlines()
    write_bvh(tmp_path / "a.bvh", rotations, pelvis, fps=60, published=True)
    ours = (tmp_path / "a.bvh").read_text().splitlines()
    start = theirs.index("MOTION") + 3
    assert ours[:start] == theirs[:start]
    np.testing.assert_allclose(np.loadtxt(ours[start:]), np.loadtxt(theirs[start:]), atol=5e-6)
    write_bvh(tmp_path / "a.bvh", rotations, pelvis, fps=60)
    np.testing.assert_allclose(read_capture(tmp_path / "a.bvh").positions[:, 0], pelvis, atol=1e-6)


def test_amc_by_hand(tmp_path):
    """The arm's axes are turned by 90 degrees about z: its rx turns about the root's y, its rz about z."""
    (tmp_path / "hand.asf").write_text(HAND)
    (tmp_path / "wave.amc").write_text(WAVE)
    capture = read_capture(tmp_path / "wave.amc")
    assert (capture.names, capture.parents, capture.fps) == (("root", "arm", "hand"), (-1, 0, 1), 120)
    np.testing.assert_allclose(capture.rotations[0, 1] @ [1, 0, 0], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(capture.positions[0], [[1, 2, 3], [1, 2, 3], [1, 4, 3]], atol=1e-12)
    np.testing.assert_allclose(capture.positions[1, 2], [1, 2, 5], atol=1e-12)  # by rz to -x, by root to z
    np.testing.assert_array_equal(capture.rotations[:, 2], capture.rotations[:, 1])
    assert read_amc(tmp_path / "wave.amc", fps=60).fps == 60


def test_amc_in_radians_is_the_same(tmp_path):
    (tmp_path / "hand.asf").write_text(HAND)
    (tmp_path / "degrees.amc").write_text(WAVE)
    (tmp_path / "radians.amc").write_text(WAVE.replace("DEGREES", "RADIANS").replace("90", repr(np.pi / 2)))
    degrees, radians = (read_capture(tmp_path / f"{name}.amc") for name in ("degrees", "radians"))
    np.testing.assert_allclose(radians.rotations, degrees.rotations, atol=1e-12)


def test_npz_round_trip(tmp_path):
    rotations, pelvis = dance()
    write_amass(tmp_path / "a.npz", rotations, pelvis, fps=60)
    capture = read_capture(tmp_path / "a.npz")
    assert capture.fps == 60 and capture.names == JOINT_NAMES
    np.testing.assert_allclose(capture.positions, forward_kinematics(rotations, pelvis), atol=1e-12)
    np.testing.assert_allclose(capture.rotations, local_to_global(rotations), atol=1e-12)


def test_npz_is_z_up(tmp_path):
    """A body at rest lies on its back in a z-up world; `trans` is the pelvis less its place in SMPL."""
    np.savez(tmp_path / "a.npz", poses=np.zeros((1, 156)), trans=[[0.001795, 0.223333 + 2, -0.028219 + 1]],
             mocap_frame_rate=120)
    capture = read_capture(tmp_path / "a.npz")
    np.testing.assert_allclose(capture.positions[0, 0], [0, 1, -2], atol=1e-12)
    np.testing.assert_allclose(capture.rotations[0, 0] @ [0, 1, 0], [0, 0, -1], atol=1e-12)
    write_amass(tmp_path / "b.npz", np.eye(3)[None, None].repeat(22, 1), np.array([[0, 1.0, -2]]))
    written = np.load(tmp_path / "b.npz")
    np.testing.assert_allclose(written["poses"][0, :3], [np.pi / 2, 0, 0])
    np.testing.assert_allclose(written["trans"], [[0.001795, 0.223333 + 2, -0.028219 + 1]], atol=1e-12)


@pytest.mark.parametrize("change, message", [
    (dict(frames=2), "found 1 frames of 9 numbers, expected 2 frames of 9"),
    (dict(rows="1 2 3 90 0 0 0 0"), "expected 1 frames of 9"),
    (dict(rows="1 2 3 90 0 0 0 0 0\n1 2 3 90 0 0", frames=2), "expected 9 numbers in each"),
    (dict(rows="1 2 3 90 0 0 0 0 nan"), "found NaN or infinity in 1 of 1 frames"),
    (dict(rows="1 2 3 90 0 0 0 zero 0"), "expected 9 numbers in each"),
    (dict(rows="", frames=0), "found 0 frames"),
    (dict(time="0"), "found the frame time '0'"),
    (dict(channels="4 Xrotation Yrotation Zrotation"), "found CHANNELS '4 Xrotation"),
    (dict(channels="3 Xrotation Yrotation Wrotation"), "found CHANNELS '3 Xrotation"),
])
def test_broken_bvh_is_named(tmp_path, change, message):
    path = arm(tmp_path / "broken.bvh", **change)
    with pytest.raises(ValueError) as error:
        read_capture(path)
    assert "broken.bvh" in str(error.value) and message in str(error.value) and "expected" in str(error.value)


@pytest.mark.parametrize("part", [0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.96])
def test_cut_bvh_is_named(tmp_path, part):
    whole = arm(tmp_path / "cut.bvh").read_text().strip()
    (tmp_path / "cut.bvh").write_text(whole[:int(part * len(whole))])
    with pytest.raises(ValueError, match="cut.bvh.*expected"):
        read_capture(tmp_path / "cut.bvh")


@pytest.mark.parametrize("asf, amc, message", [
    (HAND, WAVE[:-5], "Is the file whole"),
    (HAND, WAVE.replace("arm 0 90", "arm 0"), "Is the file whole"),
    (HAND, WAVE.replace("arm 0 90\n", ""), "Is the file whole"),
    (HAND, WAVE.replace("arm", "leg"), "found other joints than in hand.asf: arm, leg"),
    (HAND, WAVE.replace("arm 90", "arm nan"), "found NaN or infinity"),
    (HAND, "", "found no frames"),
    (HAND.replace("direction 0 1 0", ""), WAVE, "expected an ASF"),
    (HAND[:300], WAVE, "expected an ASF"),
    (HAND.replace("dof rx rz", "dof rx l"), WAVE, "found the degrees of freedom"),
])
def test_broken_amc_is_named(tmp_path, asf, amc, message):
    (tmp_path / "hand.asf").write_text(asf)
    (tmp_path / "hand_1.amc").write_text(amc)
    with pytest.raises(ValueError, match="hand.*expected") as error:
        read_capture(tmp_path / "hand_1.amc")
    assert message in str(error.value)


@pytest.mark.parametrize("arrays, message", [
    (dict(trans=np.zeros((2, 3))), "found the arrays trans"),
    (dict(poses=np.zeros((2, 60)), trans=np.zeros((2, 3)), mocap_framerate=30), "found poses (2, 60)"),
    (dict(poses=np.zeros((2, 66)), trans=np.zeros((3, 3)), mocap_framerate=30), "trans (3, 3)"),
    (dict(poses=np.zeros((2, 66)), trans=np.zeros((2, 3)), mocap_framerate=0), "and 0.0 fps"),
    (dict(poses=np.full((2, 66), np.nan), trans=np.zeros((2, 3)), mocap_framerate=30), "found NaN"),
    (dict(poses=np.array([None]), trans=np.zeros((2, 3)), mocap_framerate=30), "allow_pickle"),
])
def test_broken_npz_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "broken.npz", **arrays)
    with pytest.raises(ValueError, match="broken.npz.*expected") as error:
        read_capture(tmp_path / "broken.npz")
    assert message in str(error.value)


def test_a_given_rate_replaces_the_files(tmp_path):
    path = tmp_path / "a.bvh"
    write_bvh(path, np.broadcast_to(np.eye(3), (5, 22, 3, 3)), np.zeros((5, 3)), fps=24)
    assert read_capture(path).fps == pytest.approx(24, abs=0.01) and read_capture(path, fps=30).fps == 30


def test_missing_files(tmp_path):
    (tmp_path / "wave.amc").write_text(WAVE)
    (tmp_path / "wave.fbx").write_text("")
    (tmp_path / "wave.npz").write_text("no archive")
    with pytest.raises(FileNotFoundError, match="nothing.bvh.*no such file"):
        read_capture(tmp_path / "nothing.bvh")
    with pytest.raises(FileNotFoundError, match="wave.amc: found 0 .asf"):
        read_capture(tmp_path / "wave.amc")
    with pytest.raises(FileNotFoundError, match="other.asf"):
        read_capture(tmp_path / "wave.amc", skeleton=tmp_path / "other.asf")
    with pytest.raises(ValueError, match="'.fbx', expected .bvh, .amc or .npz"):
        read_capture(tmp_path / "wave.fbx")
    with pytest.raises(ValueError, match="wave.npz.*expected an npz"):
        read_capture(tmp_path / "wave.npz")


def test_wrong_shapes_are_not_written(tmp_path):
    rotations, pelvis = dance()
    for write in (write_bvh, write_amass):
        with pytest.raises(ValueError, match="expected"):
            write(tmp_path / "a", rotations[:, :21], pelvis)
    assert not os.listdir(tmp_path)
