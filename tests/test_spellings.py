"""Capture files in every spelling that tools write: read like the plain one, or refused in one sentence."""

import re
import warnings

import numpy as np
import pytest

from motion.formats import read_amass, read_amc, read_bvh, read_capture
from motion.rotation import axis_angle_to_matrix
from test_formats import HAND, WAVE, arm, dance
from utils.errors import Note

BASE = dict(rows="1.5 2 3 90.25 0 0 0 0 0\n1.5 2 3 -68.75 0 0 0 -0.5 0", frames=2)


def same(found, expected):
    assert found.names == expected.names and found.parents == expected.parents
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-9)
    np.testing.assert_allclose(found.rotations, expected.rotations, atol=1e-9)


def swapped(*pairs: tuple[str, str]):
    def change(text: str) -> str:
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new)
        return text
    return change


SPELLINGS = {
    "byte order mark": lambda text: "\ufeff" + text,
    "Windows line breaks": swapped(("\n", "\r\n")),
    "old Macintosh line breaks": swapped(("\n", "\r")),
    "blank before colons": swapped(("Frames:", "Frames :"), ("Time:", "Time :")),
    "no colons": swapped(("Frames:", "Frames"), ("Time:", "Time")),
    "two blanks and tabs": swapped(("Frame Time:", "Frame  Time:\t"), ("OFFSET 0 2 0", "OFFSET\t0  2 0 ")),
    "capitals": str.upper,
    "small letters": lambda text: text.lower(),
    "frames as a float": swapped(("Frames: 2", "Frames: 2.0")),
    "comments": swapped(("HIERARCHY", "# a tool\nHIERARCHY\n// of a studio"), ("MOTION", "; next\nMOTION")),
    "Ctrl-Z at the end": lambda text: text + "\x1a",
    "zeros at the end": lambda text: text + "\0\0\0",
    "words behind the end": lambda text: text + "\nEND OF FILE 7\n",
    "numbers that touch": swapped(("3 -68.75", "3-68.75"), ("0 -0.5", "0-0.5")),
    "frames over several lines": swapped((" 3 ", " 3\n")),
    "one line": lambda text: text.partition("MOTION")[0].replace("\n", " ") + "\nMOTION" + text.partition("MOTION")[2],
    "braces beside names": swapped(("upper arm\n  {", "upper arm {")),
    "an End Site with 0 channels": swapped(("OFFSET 9 9 9", "OFFSET 9 9 9\nCHANNELS 0")),
    "an End Site with channels but no values": swapped(("OFFSET 9 9 9", "OFFSET 9 9 9\nCHANNELS 3 Zrotation Xrotation "
                                                                        "Yrotation")),
    "a named End Site": swapped(("End Site", "End Site upper arm tip")),
    "decimal commas": lambda text: text.replace(".", ","),
    "commas between numbers": swapped(("1.5 2 3 90.25 0", "1.5, 2, 3, 90.25, 0"), ("OFFSET 5 5 5", "OFFSET 5, 5, 5")),
    "commas at the ends of lines": lambda text: re.sub("(?m) 0$", " 0,", text.rstrip("\n")),
    "channels over two lines": swapped(("Zposition", "Zposition\n")),
    "an offset over two lines": swapped(("OFFSET 0 2 0", "OFFSET 0\n 2 0")),
    "time before frames": swapped(("Frames: 2\nFrame Time: 0.0333333", "Frame Time: 0.0333333\nFrames: 2")),
    "no number of frames": swapped(("Frames: 2\n", "")),
    "exponents": swapped(("90.25", "9.025E+01"), ("-0.5", "-5e-1")),
    "a decimal comma in the frame time alone": swapped(("0.0333333", "0,0333333")),
    "a unit behind the frame time": swapped(("0.0333333", "0.0333333 s")),
    "a unit that touches": swapped(("0.0333333", "0.0333333sec")),
    "words that touch": swapped(("Frame Time:", "FrameTime:"), ("End Site", "EndSite")),
    "underscores": swapped(("Frame Time:", "Frame_Time:"), ("End Site", "End_Site")),
    "a colon behind MOTION": swapped(("MOTION", "MOTION:")),
    "semicolons between numbers": swapped(("1.5 2 3 90.25 0", "1.5;2;3;90.25;0")),
    "comments behind numbers": swapped(("OFFSET 0 2 0", "OFFSET 0 2 0 # inches"),
                                       ("CHANNELS 3 Xrotation Yrotation Zrotation",
                                        "CHANNELS 3 Xrotation Yrotation Zrotation // order")),
    "a minus that is no hyphen": swapped(("-68.75", "\u221268.75"), ("-0.5", "\u22120.5")),
}


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["byte order mark", "blank before colons"])
def test_bvh_in_any_unicode(tmp_path, name, encoding):
    test_bvh_spellings(tmp_path, name, encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_bvh_spellings(tmp_path, name, encoding):
    expected = read_bvh(arm(tmp_path / "plain.bvh", **BASE))
    text = SPELLINGS[name]((tmp_path / "plain.bvh").read_text())
    (tmp_path / "other.bvh").write_bytes(text.encode(encoding))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Note)
        found = read_bvh(tmp_path / "other.bvh")
    names = {"capitals": str.upper}.get(name, str)
    assert found.names == tuple(map(names, expected.names)) and found.fps == 30
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-9)
    np.testing.assert_allclose(found.rotations, expected.rotations, atol=1e-9)


@pytest.mark.parametrize("counted", ["0", "1", "-1"])
def test_more_frames_than_announced_are_read_with_a_note(tmp_path, counted):
    expected = read_bvh(arm(tmp_path / "a.bvh", **BASE))
    text = (tmp_path / "a.bvh").read_text().replace("Frames: 2", f"Frames: {counted}")
    (tmp_path / "a.bvh").write_text(text)
    with pytest.warns(Note, match="a.bvh: its header says . frames, 2 are there"):
        same(read_bvh(tmp_path / "a.bvh"), expected)


@pytest.mark.parametrize("change, message", [
    (("Frames: 2", "Frames: 1000000000"), "expected 1000000000 frames of 9"), (("90.25", "1.#QNAN"), "found NaN"),
    (("90.25", "-nan(ind)"), "found NaN"), (("90.25", "None"), "found NaN"),
    (("1.5 2", "0 1.5 2"), "found 2 frames of 10 numbers"), (("90.25 ", ""), "Is the file whole"),
    (("0.0333333", "33.3"), "--fps"), (("0.0333333", "8.333"), "--fps"),
    (("0.0333333", 3000 * "[a"), "--fps"),
    (("OFFSET 0 2 0", "OFFSET 0 2"), "found OFFSET"), (("OFFSET 0 2 0", "OFFSET 0 nan 0"), "found OFFSET"),
    (("OFFSET 0 2 0", "OFFSET 0 2 inf"), "found OFFSET"), (("OFFSET 0 2 0", "OFFSET nan 2 0"), "found OFFSET"),
    (("HIERARCHY", "<html>"), "found '<html>'")])
def test_what_cannot_be_read_is_one_sentence(tmp_path, change, message):
    text = arm(tmp_path / "a.bvh", **BASE).read_text()
    (tmp_path / "a.bvh").write_text(text.replace(*change))
    with pytest.raises(ValueError, match="a.bvh.*expected") as error:
        read_bvh(tmp_path / "a.bvh")
    assert message in str(error.value) and len(str(error.value)) < 400


def test_names_of_any_language(tmp_path):
    """In cp932 and gbk some letters hold the bytes of braces: those of ボ, マ, 倇 and 剓."""
    for encoding, hip, upper in [("utf-8", "センター", "左腕"), ("cp932", "センター", "左腕"),
                                 ("cp932", "腰", "ボタンマ"), ("gbk", "骨盆", "左臂"),
                                 ("gbk", "倇骨", "上臂剓")]:
        text = arm(tmp_path / "b.bvh").read_text().replace("upper arm", upper).replace("hip", hip)
        (tmp_path / "a.bvh").write_bytes(text.encode(encoding))
        assert read_bvh(tmp_path / "a.bvh").names == (hip, upper), encoding
    (tmp_path / "hand.asf").write_text(HAND.replace("arm", "左腕"), encoding="utf-8")
    (tmp_path / "wave.amc").write_text(f":FPS 60\n{WAVE}".replace("arm", "左腕"), encoding="utf-8")
    assert read_amc(tmp_path / "wave.amc").names == ("root", "左腕", "hand")
    (tmp_path / "a.bvh").write_bytes(arm(tmp_path / "b.bvh").read_text().replace("hip", "Hüfte").encode("latin-1"))
    assert read_bvh(tmp_path / "a.bvh").names[0] == "Hüfte"


def test_joints_of_one_name_are_told_apart(tmp_path):
    (tmp_path / "a.bvh").write_text(arm(tmp_path / "b.bvh").read_text().replace("upper arm", "hip"))
    assert read_bvh(tmp_path / "a.bvh").names == ("hip", "hip (2)")


@pytest.mark.parametrize("depth", [2000, 10_000])
def test_thousands_of_joints_deep(tmp_path, depth):
    joints = "".join(f"{'JOINT' if number else 'ROOT'} bone\n{{\nOFFSET 0 1 0\nCHANNELS 1 Xrotation\n"
                     for number in range(depth))
    values = " ".join(["0"] * depth)
    end = f"MOTION\nFrames: 1\nFrame Time: 0.1\n{values}\n"
    (tmp_path / "deep.bvh").write_text(f"HIERARCHY\n{joints}" + depth * "}" + "\n" + end)
    if depth > 2000:
        with pytest.raises(ValueError, match="deep.bvh: found more than 2000 joints, expected"):
            read_bvh(tmp_path / "deep.bvh")
        return
    found = read_bvh(tmp_path / "deep.bvh")
    assert found.positions.shape == (1, depth, 3) and len(set(found.names)) == depth


def test_positions_below_the_root_replace_or_add(tmp_path):
    """One answer for both ways of writing a bone that keeps its OFFSET of 0 2 0, with a little stretch."""
    channels = "6 Xposition Yposition Zposition Xrotation Yrotation Zrotation"
    replaces = read_bvh(arm(tmp_path / "a.bvh", channels=channels,
                            rows="1 2 3 0 0 0 0 2.1 0 0 0 0"))
    adds = read_bvh(arm(tmp_path / "b.bvh", channels=channels,
                        rows="1 2 3 0 0 0 0 0.1 0 0 0 0"))
    np.testing.assert_allclose(replaces.positions, adds.positions, atol=1e-12)
    np.testing.assert_allclose(adds.positions[0, 1] - adds.positions[0, 0], [0, 2.1, 0], atol=1e-12)


@pytest.mark.parametrize("time, fps", [("0.0333333", 30), ("0.033333", 30), ("0.033", 30), ("0.0333", 30),
                                       ("0.008", 120), ("0.016", 60), ("0.00833", 120), ("1", 1),
                                       ("0.0083", 120),
                                       ("0.008333", 120), ("0.0167", 60), ("0.017", 60), ("0.04", 25), ("0.0417", 24),
                                       ("0.042", 24), ("0.01", 100), ("0.033367", 29.97), ("0.02", 50),
                                       ("3.3333e-2", 30)])
@pytest.mark.filterwarnings("ignore:.*--fps")
def test_frame_times_are_rounded_rates(tmp_path, time, fps):
    path = arm(tmp_path / "a.bvh", time=time)
    assert read_capture(path).fps == pytest.approx(fps, abs=0.005) and read_capture(path, fps=48).fps == 48


def test_a_given_rate_reads_a_file_with_a_broken_one(tmp_path):
    assert read_capture(arm(tmp_path / "a.bvh", time="0"), fps=60).fps == 60
    with pytest.raises(ValueError,
                       match="a.bvh: found -5 frames per second, expected .* --fps"):
        read_capture(arm(tmp_path / "a.bvh"), fps=-5)


def test_frames_that_are_missing_from_an_amc_are_told(tmp_path):
    (tmp_path / "hand.asf").write_text(HAND)
    (tmp_path / "wave.amc").write_text(":SAMPLES-PER-SECOND 60\n" + WAVE.replace("\n2\n", "\n4\n"))
    with pytest.warns(Note, match="wave.amc: its frames are not numbered one after another, 1 times, first 4 behind 1"):
        assert len(read_amc(tmp_path / "wave.amc").positions) == 2


def in_radians(text: str) -> str:
    """An ASF or AMC with its angles, which are multiples of 90 here, in radians."""
    text = re.sub(r"(?<=\s)-?90(?=\s)", lambda angle: str(np.radians(float(angle[0]))), text)
    return text.replace("angle deg", "angle rad").replace(":DEGREES\n", "")


ACCLAIM = {
    "radians that the ASF alone says": (in_radians, in_radians),
    "radians that the AMC alone says": (str, lambda text: in_radians(text).replace("1\nroot", ":RADIANS\n1\nroot")),
    "comments": (swapped((":bonedata", "# the bones\n:bonedata"), ("length 2", "length 2 # inches")),
                 swapped(("2\nroot", "# take two\n2\nroot"), ("arm 90 0", "arm 90 0 # up"))),
    "capitals": (swapped((":bonedata", ":BONEDATA"), ("begin", "BEGIN"), ("direction", "Direction"), ("  end", "  End"),
                         ("dof rx rz", "DOF RX RZ"), ("angle deg", "ANGLE DEG")), swapped((":DEGREES", ":Degrees"))),
    "names in another case": (swapped(("name arm", "name ARM")), swapped(("arm 90", "Arm 90"))),
    "commas and parentheses": (swapped(("direction 0 1 0", "direction (0, 1, 0)"),
                                       ("axis 0 0 90 XYZ", "axis 0, 0, 90 XYZ")),
                               swapped(("root 1 2 3", "root 1, 2, 3,"))),
    "Windows and a byte order mark": (lambda text: "\ufeff" + text.replace("\n", "\r\n"),
                                      lambda text: "\ufeff" + text.replace("\n", "\r\n") + "\x1a"),
    "a frame on one line": (str, swapped(("root 1 2 3 0 0 0\narm", "root 1 2 3 0 0 0 arm"))),
    "a length channel that replaces": (swapped(("dof rx rz", "dof rx rz l")), swapped(("90 0\n2", "90 0 2\n2"), (
        "arm 0 90", "arm 0 90 2"))),
    "a length channel that adds": (swapped(("dof rx rz", "dof rx rz l")), swapped(("90 0\n2", "90 0 0\n2"), (
        "arm 0 90", "arm 0 90 0"))),
    "a translation": (swapped(("dof rx rz", "dof tx ty tz rx rz")), swapped(("arm 90", "arm 0 0 0 90"), (
        "arm 0 90", "arm 0 0 0 0 90"))),
}


@pytest.mark.parametrize("name", ACCLAIM)
@pytest.mark.filterwarnings("ignore::utils.errors.Note")
def test_acclaim_spellings(tmp_path, name):
    (tmp_path / "hand.asf").write_text(HAND)
    (tmp_path / "wave.amc").write_text(WAVE)
    expected = read_amc(tmp_path / "wave.amc")
    skeleton, motion = ACCLAIM[name]
    (tmp_path / "hand.asf").write_text(skeleton(HAND), encoding="utf-8")
    (tmp_path / "wave.amc").write_text(motion(WAVE), encoding="utf-8")
    same(read_amc(tmp_path / "wave.amc"), expected)


@pytest.mark.filterwarnings("ignore::utils.errors.Note")
def test_acclaim_lengths_and_translations_move_what_is_below(tmp_path):
    """The arm, 2 along y, is 3 long in frame 1; and it moves by 1 along its own x, the root's y."""
    (tmp_path / "hand.asf").write_text(HAND.replace("dof rx rz", "dof tx rx rz l"))
    (tmp_path / "wave.amc").write_text(WAVE.replace("arm 90 0", "arm 1 0 0 3").replace("arm 0 90", "arm 0 0 0 2"))
    capture = read_amc(tmp_path / "wave.amc")
    np.testing.assert_allclose(capture.positions[0] - [1, 2, 3], [[0, 0, 0], [0, 1, 0], [0, 4, 0]], atol=1e-12)
    np.testing.assert_allclose(capture.rotations[1, 0].T @ (capture.positions[1] - [1, 2, 3])[2], [0, 2, 0], atol=1e-12)


@pytest.mark.parametrize("old, new", [("direction 0 1 0", "direction 0 nan 0"), ("length 2", "length nan"),
                                      ("axis 0 0 90 XYZ", "axis 0 nan 90 XYZ"), ("position 0 0 0", "position 0 0 nan"),
                                      ("length 2", "length 1e300")])
def test_a_skeleton_with_numbers_that_are_none_is_refused(tmp_path, old, new):
    (tmp_path / "hand.asf").write_text(HAND.replace(old, new))
    (tmp_path / "wave.amc").write_text(WAVE)
    with pytest.raises(ValueError, match="hand.asf: found a skeleton that cannot be read at"):
        read_amc(tmp_path / "wave.amc")


@pytest.mark.filterwarnings("ignore::utils.errors.Note")
@pytest.mark.parametrize("own", ["wave_01.asf", "WAVE_01.ASF", "wave.asf", "Wave.Asf"])
def test_the_skeleton_of_an_amc_has_its_name_or_the_beginning_of_it(tmp_path, own):
    (tmp_path / own).write_text(HAND)
    (tmp_path / "wave_01.amc").write_text(WAVE)
    for name in ("other.asf", "wave_02.asf", "._wave_01.asf"):
        (tmp_path / name).write_text("no skeleton")
    assert read_amc(tmp_path / "wave_01.amc").names == ("root", "arm", "hand")
    (tmp_path / own).unlink()
    with pytest.raises(FileNotFoundError, match="wave_01.amc: found 2 .asf files beside it, expected one"):
        read_amc(tmp_path / "wave_01.amc")


def test_the_rate_of_an_amc(tmp_path):
    (tmp_path / "hand.asf").write_text(HAND)
    (tmp_path / "wave.amc").write_text(WAVE)
    with pytest.warns(Note,
                      match="does not say its rate, 120 .* --fps"):
        assert read_capture(tmp_path / "wave.amc").fps == 120
    (tmp_path / "wave.amc").write_text(":SAMPLES-PER-SECOND 60.0.1\n" + WAVE)
    assert read_capture(tmp_path / "wave.amc", fps=30).fps == 30
    with pytest.raises(ValueError, match="wave.amc: found the rate '60.0.1', expected a number: .* --fps"):
        read_capture(tmp_path / "wave.amc")
    (tmp_path / "wave.amc").write_text(":SAMPLES-PER-SECOND 60\n" + WAVE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_capture(tmp_path / "wave.amc").fps == 60 and read_capture(tmp_path / "wave.amc", fps=30).fps == 30


def smpl(frames: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.3, (frames, 52, 3)), rng.normal(0, 1,
                                                           (frames, 3))


def test_npz_variants_are_the_same(tmp_path):
    poses, trans = smpl()
    np.savez(tmp_path / "plain.npz", poses=poses.reshape(6, -1), trans=trans, mocap_framerate=30.0)
    expected = read_amass(tmp_path / "plain.npz")
    flat, matrices = poses.reshape(6, -1), axis_angle_to_matrix(poses)
    variants = [
        dict(poses=poses, trans=trans, fps=30), dict(poses=flat[:, :72], trans=trans, mocap_frame_rate=np.array([30])),
        dict(poses=matrices, transl=trans, frame_rate=np.float32(30)), dict(fullpose=flat, trans=trans, mocap_fps="30"),
        dict(root_orient=flat[:, :3], pose_body=flat[:, 3:66], trans=trans, fps=30),
        dict(global_orient=poses[:, :1], body_pose=poses[:, 1:24], transl=trans, fps=30),
        dict(global_orient=flat[:, None, :3], body_pose=flat[:, None, 3:66], transl=trans, fps=30),
        dict(poses=flat[:, 3:72], global_orient=flat[:, :3], trans=trans, fps=30),
        dict(poses=flat.astype(">f8"), trans=np.asfortranarray(trans), fps=np.array(30, ">i4")),
        dict(global_orient=matrices[:, 0], body_pose=matrices[:, 1:22], transl=trans[:, None], fps=b"30"),
        dict(poses=flat[None], trans=trans[None], fps=30), dict(poses=flat, trans=trans.T, fps=30),
        dict(poses=flat, trans=94 * trans, smpl_scaling=[94.0], fps=30), dict(poses=flat, trans=trans * 5, scale=5,
                                                                              fps=30),
        dict(poses=matrices[:, :22].reshape(6, -1), trans=trans, fps=30),
        dict(poses=matrices[:, :24].reshape(6, -1, 9), trans=trans, sampling_rate=30),
        dict(Poses=flat, Trans=trans, FPS=30),
        dict(pose=flat.astype(np.float32), trans=trans, framerate=30, betas=np.zeros(16), gender="neutral")]
    for number, arrays in enumerate(variants):
        np.savez(tmp_path / f"{number}.npz", **arrays)
        found = read_amass(tmp_path / f"{number}.npz")
        assert found.fps == 30, number
        np.testing.assert_allclose(found.positions, expected.positions, atol=1e-5, err_msg=str(number))
    np.savez(tmp_path / "cm.npz", poses=flat, trans=100 * trans, fps=30)
    np.testing.assert_allclose(read_amass(tmp_path / "cm.npz", unit=0.01).positions, expected.positions, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_frames_in_any_shape(tmp_path, count):
    poses, trans = smpl(count)
    np.savez(tmp_path / "plain.npz", poses=poses.reshape(count, -1), trans=trans, fps=30)
    expected, matrices = read_amass(tmp_path / "plain.npz"), axis_angle_to_matrix(poses)
    shapes = [poses[:, :24], matrices, poses.reshape(count, -1)[:, :72], poses[None], matrices[None]]
    shapes += [poses[0], matrices[0], poses[0].ravel()] if count == 1 else []
    for found in shapes:
        np.savez(tmp_path / "a.npz", poses=found, trans=trans, fps=30)
        np.testing.assert_allclose(read_amass(tmp_path / "a.npz").positions, expected.positions, atol=1e-9)


@pytest.mark.parametrize("change, message", [
    (dict(fps=np.inf), "inf"), (dict(fps=np.nan), "nan fps"), (dict(fps=-30), "-30.0 fps"),
    (dict(fps=[30, 60]), "a rate of shape"),
    (dict(fps="fast"), "fast"), (dict(fps=None), "give --fps"), (dict(poses=None), "found the arrays"),
    (dict(poses=np.zeros((6, 96))), "found poses (6, 96)"), (dict(poses=np.ones((6, 198))), "found poses (6, 198)"),
    (dict(poses=90 * np.ones((6, 66))), "no radians"), (dict(trans=np.zeros((6, 3, 2))), "trans (6, 3, 2)"),
    (dict(poses=np.zeros((6, 22, 6))), "found poses (6, 22, 6)"),
    (dict(poses=np.zeros((0, 66)), trans=np.zeros((0, 3))), "found 0 frames"),
    (dict(poses=np.where(np.arange(6)[:, None] == 4, np.nan, np.zeros((6, 66)))), "in 1 of 6 frames, first in frame 4"),
    (dict(poses=np.array([["a"] * 66] * 6)), "other things than numbers"),
    (dict(trans=np.zeros((6, 2))), "trans (6, 2)")])
def test_npz_that_cannot_be_read_is_one_sentence(tmp_path, change, message):
    poses, trans = smpl()
    arrays = dict(poses=poses.reshape(6, -1), trans=trans, fps=30) | change
    np.savez(tmp_path / "a.npz", **{key: value for key, value in arrays.items() if value is not None})
    with pytest.raises(ValueError, match="a.npz.*expected") as error:
        read_amass(tmp_path / "a.npz")
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["a.bvh", "a.amc", "a.npz"])
def test_random_bytes_and_cut_files_are_refused_in_one_sentence(tmp_path, name):
    """Whatever stands in a file: a capture, or one sentence that names it."""
    (tmp_path / "hand.asf").write_text(HAND)
    rotations, pelvis = dance(3)
    np.savez(tmp_path / "whole.npz", poses=np.zeros((3, 66)), trans=pelvis, fps=30)
    whole = {"a.bvh": arm(tmp_path / "b.bvh", **BASE).read_bytes(), "a.amc": WAVE.encode(),
             "a.npz": (tmp_path / "whole.npz").read_bytes()}[name]
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            place = rng.integers(len(content))
            content[place:place + rng.integers(0, 9)] = rng.bytes(rng.integers(0, 9))
        (tmp_path / name).write_bytes(bytes(content[:rng.integers(1, len(content) + 1)]))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert np.isfinite(read_capture(tmp_path / name).positions).all()
        except ValueError as error:
            assert name in str(error) or "hand.asf" in str(error)
