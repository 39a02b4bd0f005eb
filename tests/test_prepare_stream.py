"""Pairs for streams: seams that cannot be seen, motion that is not touched elsewhere, and splits kept apart."""

import json
import re

import numpy as np
import pytest

from dataset.captions import format_caption
from dataset.prepare.__main__ import main
from dataset.prepare.joining import BLEND, fade, follow, join
from dataset.prepare.stream import LATENT, LEAD, LONGEST, LONGEST_A, SHORTEST, prepare_pairs
from motion.representation_272 import HEADING, ROOT_VELOCITY, VELOCITIES, motion272_to_positions, pose_to_motion272
from motion.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from motion.skeleton import forward_kinematics


def pose(frames, seed=0, size=0.15):
    """A person who sways and walks a bend: rotations (T, 22, 3, 3) and joints (T, 22, 3)."""
    time, rng = np.arange(frames)[:, None, None] / 30, np.random.default_rng(seed)
    turns = size * np.sin(time * rng.uniform(1, 3, (22, 3)) + rng.uniform(0, 6, (22, 3)))
    turns[:, 0] = np.array([0, 1, 0]) * (seed + time[:, 0])
    rotations = axis_angle_to_matrix(turns)
    pelvis = np.concatenate([np.sin(time[:, 0]), 0.9 + 0.05 * np.sin(3 * time[:, 0]), time[:, 0]], axis=1)
    return rotations, forward_kinematics(rotations, pelvis)


def motion(frames, seed=0, size=0.15):
    return pose_to_motion272(*pose(frames, seed, size))


def prepared(folder):
    """A prepared set: two performers, three clips each of train and two of val, and a trial of three windows."""
    for name in ("motion_data", "texts", "split"):
        (folder / name).mkdir(parents=True)
    whole = pose(300, 9, size=0.0)
    cuts = {"ann_long_00000": (0, 110), "ann_long_00051": (51, 201), "ann_long_00130": (130, 300)}
    clips = {name: pose_to_motion272(*(values[start:end] for values in whole)) for name, (start, end) in cuts.items()}
    clips |= {f"{who}_{what}": motion(length, seed, size=0.02) for seed, (who, what, length) in enumerate(
        (who, what, length) for who in ("ann", "bob") for what, length in (("walk", 90), ("kick", 61), ("bow", 47),
                                                                        ("valwalk", 80), ("valkick", 72)))}
    val = [name for name in clips if "val" in name]
    splits = {"train": [name for name in clips if name not in val], "val": val}
    for split, names in splits.items():
        (folder / "split" / f"{split}.txt").write_text("\n".join(names))
    for name, values in clips.items():
        np.save(folder / "motion_data" / f"{name}.npy", values.astype(np.float32))
        (folder / "texts" / f"{name}.txt").write_text(format_caption(f"this is {name}") + "\n")
    (folder / "groups.json").write_text(json.dumps({name: name.split("_")[1] for name in clips}))
    return folder


@pytest.fixture
def source(tmp_path):
    return prepared(tmp_path / "mocap_272")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared set, and the pairs of each split that were made of it."""
    source, out = prepared(tmp_path_factory.mktemp("made") / "mocap_272"), tmp_path_factory.mktemp("out")
    prepare_pairs(source, out, pairs=40, workers=0)
    return source, out, {split: list(pairs_of(out, split)) for split in ("train", "val")}


def contents_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pairs_of(folder, split):
    """Each pair: its name, motion (T, 272), A's and B's clip, frames of A."""
    for path in sorted((folder / f"{split}_stream").iterdir()):
        line, = (folder / f"{split}_stream_text" / f"{path.stem}.txt").read_text().splitlines()
        first, second, length = re.fullmatch(r"this is (\w+)\*this is (\w+)#(\d+)", line).groups()
        yield f"{split}/{path.stem}", np.load(path), first, second, int(length)


def test_a_join_goes_on_at_the_place_and_speed_of_the_first():
    first, second = motion(60, 1), motion(80, 2)
    (rotations, joints), _ = join(first, second)
    pelvis = joints[:, 0]
    np.testing.assert_allclose(pelvis[60] - pelvis[59], pelvis[59] - pelvis[58], atol=1e-12)
    turns = matrix_to_axis_angle(rotations[1:] @ rotations[:-1].mT)
    np.testing.assert_allclose(turns[59], turns[58], atol=1e-12)
    # A cubic bends most where it begins, by 6 / BLEND^2 of what it bridges: here up to 0.3 m and 0.3 rad of a limb.
    bends = np.abs(np.diff(joints, 2, axis=0)).max(axis=(1, 2))
    assert bends[58] < 2 * bends[:58].max() and bends[59] < 0.04
    assert np.abs(joints[60] - joints[59]).max() < 2 * np.abs(np.diff(joints[:60], axis=0)).max()


def test_only_the_blend_is_changed():
    first, second = motion(60, 1), motion(80, 2)
    (rotations, joints), bent = join(first, second)
    joined = pose_to_motion272(rotations, joints)
    rise = np.zeros(272)
    rise[9:74:3] = -joints[..., 1].min()    # the floor is the lowest joint of both
    assert abs(rise).max() < 0.05 and 0 < bent < 90
    np.testing.assert_allclose(joined[:60], first + rise, atol=1e-9)
    # Turning and moving changes none of the channels; the first speed of all that is not blended is the next frame's.
    np.testing.assert_allclose(joined[60 + BLEND + 1:], second[BLEND + 1:] + rise, atol=1e-9)
    assert np.abs(joined[60:60 + BLEND] - second[:BLEND] - rise).max() > 0.01


def test_joined_to_its_own_next_frame_a_motion_goes_on_as_it_was():
    whole = motion(120, 3)
    (rotations, joints), bent = join(whole[:60], _starting(whole[60:]))
    np.testing.assert_allclose(pose_to_motion272(rotations, joints), whole, atol=0.015)
    assert bent < 1


def _starting(part):
    """A cut-off end of a motion as a clip of its own, whose first frame has none before."""
    part = part.copy()
    part[0, ROOT_VELOCITY] = part[0, VELOCITIES] = 0
    part[0, HEADING] = [1, 0, 0, 0, 1, 0]
    return part


def test_windows_that_follow_one_another_become_the_capture_again():
    rotations, joints = pose(200, 4)
    first, second = (pose_to_motion272(rotations[cut], joints[cut]) for cut in (slice(0, 120), slice(70, 200)))
    assert abs(first[70:, 9].mean() - second[:50, 9].mean()) > 0.001    # each on a floor of its own
    np.testing.assert_allclose(pose_to_motion272(*follow(first[:71], second)), pose_to_motion272(rotations, joints),
                               atol=1e-9)


def test_what_fades_begins_with_its_value_and_speed_and_ends_at_rest():
    value, speed = np.array([1.0, -2.0]), np.array([0.02, 0.1])
    faded = fade(value, speed)
    assert faded.shape == (BLEND, 2)
    np.testing.assert_array_equal(faded[0], value)
    np.testing.assert_allclose(faded[1] - faded[0], speed, atol=3 * np.abs(value).max() / BLEND**2 + 0.2 * 0.1)
    assert np.abs(faded[-1]).max() < 3.5 * np.abs(value).max() / BLEND**2


def test_pairs_are_whole_latents_of_both_and_fit_the_model(made):
    source, out, found = made
    kinds, recorded = json.loads((out / "groups.json").read_text()), (out / "recorded.txt").read_text().split()
    assert [len(pairs) for pairs in found.values()] == [40, 4]
    assert {name for pairs in found.values() for name, *_ in pairs} == set(kinds)
    for name, values, first, second, length in found["train"] + found["val"]:
        clip = np.load(source / "motion_data" / f"{second}.npy")
        assert values.dtype == np.float32 and values.shape[1] == 272 and len(values) <= LONGEST
        assert length % LATENT == 0 and SHORTEST <= length <= LONGEST_A
        left_out = len(clip) - (len(values) - length)
        assert len(values) % LATENT == 0 and len(values) - length >= SHORTEST
        assert 0 <= left_out <= LATENT - 1 + LEAD * (name not in recorded)
        assert kinds[name] == second.split("_")[1] and first.split("_")[0] == second.split("_")[0]
        np.testing.assert_allclose(values[0, :8], [0, 0, 1, 0, 0, 0, 1, 0], atol=1e-6)
        assert motion272_to_positions(values)[..., 1].min() == pytest.approx(0, abs=1e-4)


def test_neighbours_are_as_they_were_captured(made):
    recorded = {(first, second): (values, length) for _, values, first, second, length in made[2]["train"]
                if "long" in first and "long" in second}
    assert set(recorded) == {("ann_long_00000", "ann_long_00051"), ("ann_long_00051", "ann_long_00130")}
    rotations, joints = pose(300, 9, size=0.0)
    values, length = recorded["ann_long_00000", "ann_long_00051"]
    assert length == 48
    np.testing.assert_allclose(values, pose_to_motion272(rotations[3:199], joints[3:199]), atol=1e-4)


def test_b_begins_where_it_goes_on_best(source, tmp_path):
    """Two cuts of one motion become it again, wherever in the second the first ends."""
    rotations, joints = pose(150, 3)
    for name, cut in (("cat_one", slice(0, 61)), ("cat_two", slice(40, 150))):
        np.save(source / "motion_data" / f"{name}.npy", pose_to_motion272(rotations[cut], joints[cut]))
        (source / "texts" / f"{name}.txt").write_text(format_caption(f"this is {name}") + "\n")
    (source / "split" / "train.txt").write_text("cat_one\ncat_two")
    prepare_pairs(source, tmp_path / "out", pairs=30, workers=0)
    found = [(values, length) for _, values, first, _, length in pairs_of(tmp_path / "out", "train")
             if first == "cat_one" and length >= 40]
    assert len({length for _, length in found}) > 3
    for values, length in found:
        assert len(values) == length + (150 - length) // LATENT * LATENT
        frames = slice(0, len(values))
        whole = pose_to_motion272(rotations[frames], joints[frames])
        np.testing.assert_allclose(values, whole, atol=0.03)    # each is on a floor of its own


def test_a_split_has_pairs_of_its_own_clips_alone(made):
    source, _, found = made
    for split, pairs in found.items():
        own = set((source / "split" / f"{split}.txt").read_text().split())
        assert all({first, second} <= own for _, _, first, second, _ in pairs)


def test_mirrored_performers_are_others(source, tmp_path):
    train = source / "split" / "train.txt"
    for name in ("ann_walk", "ann_kick"):
        for kind in ("motion_data/{}.npy", "texts/{}.txt"):
            (source / kind.format(f"M{name}")).write_bytes((source / kind.format(name)).read_bytes())
        (source / "texts" / f"M{name}.txt").write_text(format_caption(f"this is M{name}") + "\n")
        train.write_text(f"{train.read_text()}\nM{name}")
    groups = json.loads((source / "groups.json").read_text())
    (source / "groups.json").write_text(json.dumps(groups | {"Mann_walk": "walk", "Mann_kick": "kick"}))
    prepare_pairs(source, tmp_path / "out", pairs=24, workers=0)
    found = [(first[0], second[0]) for _, _, first, second, _ in pairs_of(tmp_path / "out", "train")]
    assert ("M", "M") in found and all((first == "M") == (second == "M") for first, second in found)


def test_same_bytes_alone_and_in_parallel(source, tmp_path):
    prepare_pairs(source, tmp_path / "a", pairs=20, workers=0)
    prepare_pairs(source, tmp_path / "b", pairs=20, workers=2)
    assert contents_of(tmp_path / "a") == contents_of(tmp_path / "b")


def test_captions_that_do_not_fit_are_left_out_and_counted(source, tmp_path, capsys):
    (source / "texts" / "ann_walk.txt").write_text(format_caption("five * stars") + "\n")
    (source / "texts" / "ann_kick.txt").write_text(format_caption("he kicks", 0.5, 1.5) + "\n")
    prepare_pairs(source, tmp_path / "out", pairs=20, workers=0)
    used = {clip for _, _, *clips, _ in pairs_of(tmp_path / "out", "train") for clip in clips}
    assert used and not used & {"ann_walk", "ann_kick"}
    printed = capsys.readouterr().out
    assert "1 caption with a *" in printed and "2 no caption of the whole clip: ann_walk, ann_kick" in printed
    assert "ann_kick: no caption of the whole clip" in (tmp_path / "out" / "skipped.txt").read_text()


def test_only_earlier_pairs_are_replaced(source, tmp_path):
    for _ in range(2):
        prepare_pairs(source, tmp_path / "out", pairs=10, workers=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    before = contents_of(source)
    for out in (tmp_path / "mine", source):
        with pytest.raises(ValueError, match="choose another --out"):
            prepare_pairs(source, out, pairs=10, workers=0)
    assert contents_of(tmp_path / "mine") == {"thesis.txt": b"dear"} and contents_of(source) == before


@pytest.mark.parametrize("arguments, said", [
    (["--source", "nowhere"], "found no nowhere/motion_data, expected a prepared data set. Make it first: "),
    (["--source", "mocap_272", "--pairs", "0"], "expected at least 1"),
])
def test_a_callers_mistake_is_one_sentence(source, tmp_path, monkeypatch, refused, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(main, "stream", "--out", "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_split_without_pairs_is_told(source, tmp_path):
    (source / "split" / "val.txt").write_text("ann_valwalk\n")
    with pytest.raises(ValueError, match="found 0 pairs for val(.|\n)*no other trial: ann_valwalk"):
        prepare_pairs(source, tmp_path / "out", pairs=10, workers=0)
    assert not (tmp_path / "out").exists()
