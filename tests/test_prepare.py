"""Making data sets: the same bytes each time, true captions, and nothing of a test clip in training."""

import json
import re
import tarfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataset.captions import Caption, read_captions, swap_left_right
from dataset.prepare import amass, bandai_namco, bvh_folder, cmu, snu
from dataset.prepare.__main__ import main
from dataset.prepare.archive import unpacked
from dataset.prepare.folder import LONGEST, Segment, Trial, described_by, merge, prepare, split_by_strata, windows
from dataset.prepare.grammar import inflect, sentences
from motion.formats import write_amass, write_bvh
from motion.representation_272 import motion272_to_positions
from motion.skeleton import MIRROR


def pose(frames, seed=0):
    """A person who turns, sways and moves: rotations (T, 22, 3, 3), pelvis (T, 3)."""
    time = np.arange(frames)[:, None] / 30
    angles = 0.4 * np.sin(time * np.linspace(0.5, 2, 22) + np.arange(22) + seed)
    rotations = np.zeros((frames, 22, 3, 3))
    rotations[..., 1, 1] = 1
    rotations[..., 0, 0] = rotations[..., 2, 2] = np.cos(angles)
    rotations[..., 0, 2] = np.sin(angles)
    rotations[..., 2, 0] = -np.sin(angles)
    return rotations, np.concatenate([0.5 * time, 0.9 + 0 * time, time], axis=1)


@pytest.fixture
def captures(tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    for number, frames in enumerate((60, 80, 70, 350)):
        write_bvh(folder / f"c{number}.bvh", *pose(frames, number))
    write_bvh(folder / "short.bvh", *pose(20))
    (folder / "torn.bvh").write_text("HIERARCHY\nnothing\n")
    (folder / "c0.txt").write_text("raise the left hand\nlift an arm, the left one\n")
    (folder / "c1.txt").write_text("turn right#turn/VERB right/ADV#0.0#0.0\n")
    return folder


def contents_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def ids(folder: Path, split: str) -> list[str]:
    return (folder / "split" / f"{split}.txt").read_text().split()


def contents_ids(folder: Path) -> set[str]:
    return {name for split in ("train", "val", "test") for name in ids(folder, split)}


def test_same_bytes_alone_and_in_parallel(captures, tmp_path):
    trials = bvh_folder.trials(captures, "smpl")
    prepare(*trials, tmp_path / "a", workers=0)
    prepare(*trials, tmp_path / "b", workers=2)
    assert contents_of(tmp_path / "a") == contents_of(tmp_path / "b")


def test_bad_captures_are_named(captures, tmp_path, capsys):
    (captures / "walk.npz").touch()
    (captures / "c1.fbx").touch()    # c1.bvh is there
    prepare(*bvh_folder.trials(captures, "smpl"), tmp_path / "out", workers=0)
    skipped = (tmp_path / "out" / "skipped.txt").read_text()
    assert len(skipped.splitlines()) == 3
    assert "short.bvh: found 20 frames" in skipped and "torn.bvh" in skipped
    assert "walk.npz: expected .bvh or .amc; the command amass reads it" in skipped
    printed = capsys.readouterr().out
    assert all(line in printed for line in skipped.splitlines())


def test_mirrored_clips_are_mirrored_in_motion_words_and_label(captures, tmp_path):
    trials, skipped = bvh_folder.trials(captures, "smpl")
    out = tmp_path / "out"
    prepare(trials, skipped, out, workers=0)
    plain, mirrored = (motion272_to_positions(np.load(out / "motion_data" / f"{name}.npy"))
                       for name in ("c0", "Mc0"))
    np.testing.assert_allclose(mirrored, plain[:, MIRROR] * [-1, 1, 1], atol=1e-5)
    texts = [caption.text for caption in read_captions(out / "texts" / "Mc0.txt")]
    assert texts[:2] == ["raise the right hand", "lift an arm, the right one"]
    assert read_captions(out / "texts" / "Mc1.txt")[0] == Caption("turn left")
    groups = json.loads((out / "groups.json").read_text())
    assert set(groups) == {path.stem for path in (out / "motion_data").iterdir()}


def test_everything_of_a_trial_is_in_one_split(captures, tmp_path):
    segments = Segment("part", 1.0, 4.0, ("step left",)), Segment("blink", 1.0, 1.5, ("blink",))
    captions = described_by(Path("none"), "walk left")
    trial = Trial("long", captures / "c3.bvh", "smpl", "test", "walk-left", captions, segments=segments)
    other = Trial("other", captures / "c1.bvh", "smpl", "train", "walk", captions)
    out = tmp_path / "out"
    prepare([trial, other], [], out, workers=0)
    assert ids(out, "train") == ["Mother", "other"]
    assert len(ids(out, "test")) >= 6 and {"part", "Mpart"} < set(ids(out, "test"))
    assert np.load(out / "motion_data" / "part.npy").shape == (90, 272)
    assert json.loads((out / "groups.json").read_text())["Mpart"] == "walk-right"
    assert "blink" in (out / "skipped.txt").read_text()
    mean = np.load(out / "mean_std" / "Mean.npy")    # of train alone
    train = np.concatenate([np.load(out / "motion_data" / f"{name}.npy") for name in ids(out, "train")])
    np.testing.assert_allclose(mean, train.mean(0, dtype=np.float64), atol=1e-6)


def test_a_take_is_cut_where_it_leaps_and_the_rest_is_kept(captures, tmp_path):
    rotations, pelvis = pose(200)
    pelvis[60:, 0] += 2
    write_bvh(captures / "leap.bvh", rotations, pelvis)
    trials = bvh_folder.trials(captures, "smpl")
    prepare(*trials, tmp_path / "out", workers=0)
    assert re.search(r"leap.bvh: left out 8 of 200 frames: found a leap of 2\.\d+ m after frame 59, expected at most "
                     "0.4 m", (tmp_path / "out" / "skipped.txt").read_text())
    found = {name: len(np.load(tmp_path / "out" / "motion_data" / f"{name}.npy"))
             for name in contents_ids(tmp_path / "out") if name.startswith("leap")}
    assert found == {"leap_00000": 56, "leap_00064": 136}


def test_only_an_earlier_data_set_is_replaced(captures, tmp_path):
    trials, out = bvh_folder.trials(captures, "smpl"), tmp_path / "out"
    prepare(*trials, out, workers=0)
    first = contents_of(out)
    (out / "stale.txt").write_text("old")
    prepare(*trials, out, workers=0)
    assert contents_of(out) == first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="choose another --out"):
        prepare(*trials, tmp_path / "mine", workers=0)
    assert contents_of(tmp_path / "mine") == {"thesis.txt": b"dear"}


def test_merge_joins_and_refuses_an_id_twice(captures, tmp_path):
    trials, _ = bvh_folder.trials(captures, "smpl")
    good = [replace(trial, split="train") for trial in trials if trial.id in ("c0", "c1")]
    for trial in good:
        prepare([trial], [f"{trial.id}: nothing"], tmp_path / trial.id, workers=0)
    merge([tmp_path / "c0", tmp_path / "c1"], tmp_path / "both")
    prepare(good, ["c0: nothing", "c1: nothing"], tmp_path / "at_once", workers=0)
    assert contents_of(tmp_path / "both") == contents_of(tmp_path / "at_once")
    with pytest.raises(ValueError, match="c0"):
        merge([tmp_path / "c0", tmp_path / "both"], tmp_path / "again")
    with pytest.raises(FileNotFoundError, match="dataset.prepare"):
        merge([tmp_path / "c0", captures], tmp_path / "again")


@pytest.mark.parametrize("kind", ["tar.xz", "zip"])
def test_archives_are_read_like_folders(captures, tmp_path, kind):
    archive = tmp_path / f"captures.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in captures.iterdir():
                file.write(path, path.name)
    else:
        with tarfile.open(archive, "w:xz") as file:
            file.add(captures, ".")
    with unpacked(archive) as folder:
        assert contents_of(folder) == contents_of(captures)
    assert not folder.exists()
    with pytest.raises(ValueError, match="whole .tar"), unpacked(captures / "c0.txt"):
        pass


def test_amass_takes_texts_or_the_folders_name(tmp_path):
    source, texts, out = tmp_path / "amass", tmp_path / "texts", tmp_path / "out"
    (source / "slow walk").mkdir(parents=True)
    texts.mkdir()
    for name in ("a", "b"):
        write_amass(source / "slow walk" / f"{name}.npz", *pose(120), fps=60)
    (texts / "slow_walk_a.txt").write_text("stand on the left leg\n")
    prepare(*amass.trials(source, texts), out, workers=0)
    assert read_captions(out / "texts" / "Mslow_walk_a.txt")[0] == Caption("stand on the right leg")
    assert read_captions(out / "texts" / "slow_walk_b.txt")[0] == Caption("slow walk")
    assert np.load(out / "motion_data" / "slow_walk_a.npy").shape == (60, 272)
    with pytest.raises(FileNotFoundError, match="--texts"):
        amass.trials(source, tmp_path / "nowhere")


@pytest.mark.parametrize("frames", [40, 300, 301, 302, 330, 450, 1901])
@pytest.mark.parametrize("shortest", [60, 150])
def test_windows_cover_a_trial_and_overlap(frames, shortest):
    for key in "abcdefgh":
        cuts = windows(frames, key, shortest)
        assert cuts[0][0] == 0 and cuts[-1][1] == frames
        starts = [start for start, _ in cuts]
        assert starts == sorted(set(starts))
        assert all(min(shortest, frames) <= end - start <= LONGEST for start, end in cuts)
        assert all(later < end for (_, end), (later, _) in zip(cuts, cuts[1:]))


def test_strata_are_divided_alike_whatever_the_order():
    sizes = {"few": 3, "some": 10, "many": 100}
    strata = {f"{kind}{number}": kind for kind, size in sizes.items() for number in range(size)}
    splits = split_by_strata(strata, val=0.04, test=0.06)
    assert splits == split_by_strata(dict(reversed(strata.items())), val=0.04, test=0.06)
    counts = Counter((strata[name], split) for name, split in splits.items() if split != "train")
    assert counts == {("some", "val"): 1, ("some", "test"): 1, ("many", "val"): 4, ("many", "test"): 6}


def test_bandai_namcos_names_are_read_and_corrected(tmp_path):
    names = ["dataset-1_walk_giant_001", "dataset-2_walk-turn-left_masculine_006",
             "dataset-2_walk-turn-left_normal_031",
             "dataset-2_swim_normal_001", "notes"]
    for name in names:
        (tmp_path / f"{name}.bvh").touch()
    trials, skipped = bandai_namco.trials(tmp_path)
    assert {trial.id: trial.group for trial in trials} == {names[0]: "walk", names[1]: "walk-turn-right"}
    assert not any("left" in text for text in trials[1].captions("clip"))
    assert len(skipped) == 3 and all(any(name in line for line in skipped) for name in names[2:])


@pytest.fixture
def cmu_source(tmp_path):
    source = tmp_path / "cmu"
    source.mkdir()
    for name in ("07_01", "07_02", "16_17", "99_01"):
        (source / f"{name}.bvh").write_text("HIERARCHY\nROOT Hips\n")
    (source / "13_11.bvh").write_text("HIERARCHY\nROOT hip\n")
    (tmp_path / "cmu_descriptions.csv").write_text(
        'trial,description,subject\n07_01,walk,x\n07_02,walk,x\n13_11,forward jump,x\n'
        '16_17,"walk, 90-degree left turn",x\n')
    told = [("07_01", "train"), ("07_01", "test"), ("07_02", "train")]
    rows = [dict(id=f"{number}", trial=trial, start_frame_20fps=0, end_frame_20fps=40, split=split,
                 captions=["he walks"]) for number, (trial, split) in enumerate(told)]
    (tmp_path / "humanml3d_for_cmu.json").write_text(json.dumps(rows))
    return source


def test_no_trial_with_a_test_caption_is_trained_on(cmu_source, tmp_path):
    descriptions, captions = cmu.texts_beside([cmu_source])
    trials, skipped = cmu.trials([cmu_source], descriptions, cmu.read_humanml3d(captions))
    found = {trial.id: trial for trial in trials}
    assert {name: trial.split for name, trial in found.items()} == {
        "cmu_07_01": "test", "cmu_07_02": "train", "cmu_13_11": "train", "cmu_16_17": "train"}
    assert [(segment.start, segment.end) for segment in found["cmu_07_01"].segments] == [(0, 2)] * 2
    assert found["cmu_16_17"].group == "walk-turn-left" and found["cmu_13_11"].skeleton_map == "cmu_daz"
    assert skipped == ["99_01.bvh: found no description of '99_01' in a cmu_descriptions.csv"]


def test_amc_of_cmu_has_the_rate_that_is_given(cmu_source, tmp_path):
    """120 by default; what a description says stands before both."""
    (cmu_source / "16_17.bvh").rename(cmu_source / "16_17.amc")
    descriptions, _ = cmu.texts_beside([cmu_source])
    for given, expected in (((), 120.0), ((60.0,), 60.0)):
        rates = {trial.id: trial.fps for trial in cmu.trials([cmu_source], descriptions, [], *given)[0]}
        assert rates.pop("cmu_16_17") == expected and set(rates.values()) == {None}
    (tmp_path / "more.csv").write_text("trial,description,subject,fps\n16_17,walk,(walk),90\n")
    found, _ = cmu.trials([cmu_source], [*descriptions, tmp_path / "more.csv"], [], 60.0)
    assert {trial.fps for trial in found} == {None, 90.0}
    (tmp_path / "more.csv").write_text("\ufefftrial;description;subject;fps\n16_17;walk, slow;(walk);90\n", "utf-8")
    found, _ = cmu.trials([cmu_source], [*descriptions, tmp_path / "more.csv"], [])
    assert {trial.fps for trial in found} == {None, 90.0}
    (tmp_path / "more.csv").write_text("trial,description,subject,fps\n16_17,walk,(walk),fast\n")
    with pytest.raises(ValueError, match="more.csv: found the fps 'fast' of 16_17, expected a number or nothing"):
        cmu.trials([cmu_source], [*descriptions, tmp_path / "more.csv"], [])


def test_cmu_is_read_from_several_sources(cmu_source, tmp_path):
    """Each brings its descriptions and captions; partners of one scene are in one split; a rate may be given."""
    more = tmp_path / "elsewhere" / "more"
    more.mkdir(parents=True)
    (more / "60_02.bvh").write_text("HIERARCHY\nROOT Hips\n{\n JOINT LeftHip\n")
    for name in ("61_02", "07_01"):
        (more / f"{name}.bvh").write_text("HIERARCHY\nROOT Hips\n")
    (more / "cmu_descriptions.csv").write_text("trial,description,subject,fps\n60_02,salsa dance,(salsa),60\n"
                                               "61_02,Unknown,(indian dance),\n")
    row = dict(id="9", trial="60_02", start_frame_20fps=0, end_frame_20fps=40, split="test", captions=["she dances"])
    (more.parent / "humanml3d_for_cmu_extra.json").write_text(json.dumps([row]))
    sources = [cmu_source, more]
    descriptions, captions = cmu.texts_beside(sources)
    assert [path.name for path in captions] == ["humanml3d_for_cmu.json", "humanml3d_for_cmu_extra.json"]
    trials, skipped = cmu.trials(sources, descriptions, cmu.read_humanml3d(captions))
    found = {trial.id: trial for trial in trials}
    assert found["cmu_60_02"].split == found["cmu_61_02"].split == "test"
    assert (found["cmu_60_02"].fps, found["cmu_61_02"].fps) == (60, None)
    assert found["cmu_60_02"].skeleton_map == "cmu_arms_down" and found["cmu_61_02"].group == "indian-dance"
    assert "cmu_16_17" in found and any("found the trial also as 07_01.bvh" in line for line in skipped)


def test_sides_of_a_description_reach_its_sentences():
    group, phrases = cmu.phrases_of("16_19", "walk, 90-degree right turn")
    assert group == "walk-turn-right" and not any("left" in phrase for phrase in phrases)
    mirrored = cmu.phrases_of("16_17", "walk, 90-degree left turn")[1]
    assert phrases == [swap_left_right(phrase) for phrase in mirrored]
    assert sentences("clip", cmu.phrases_of("00_00",
                                            "juggle three torches")[1])    # unknown: in its own words


@pytest.fixture
def snu_source(tmp_path):
    """Takes of Seoul's names: a player of a game, both persons of scenes, a take that is left out."""
    source = tmp_path / "snu"
    rows = [(f"tiling/multi_{person}_box_{number}.bvh", "box") for person in ("hys", "mmk") for number in (2, 3, 4)]
    rows += [("tiling/1_walk_left_90degree.bvh", "walk left 90degree"), ("tiling/1_Take_001.amc", "take"),
             ("tiling/1_lost.bvh", "lost"), ("basketball/basketData_s_003_3_1.bvh", "basketball")]
    for file, _ in rows:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        if "lost" not in file:
            write_bvh(source / file, *pose(90))
    (source / "index.csv").write_text("file,fps,frames,skeleton,words\n" + "".join(
        f"{file},30,90,{'asf/wd2.asf' if file.endswith('amc') else ''},{words}\n" for file, words in rows))
    (source / "labels.csv").write_text("file,start_frame,end_frame,type,subtype\n" + "".join(
        f"basketball/basketData_s_003_3_1.bvh,{row}\n"
        for row in ("5,20,dribble,", "60,75,dribble,", "25,50,dribble,", "20,40,b_left,", "52,70,pass_long,")))
    return source


def test_seouls_takes_are_listed_with_their_scenes_and_actions(snu_source):
    trials, skipped = snu.trials(snu_source)
    assert skipped == ["1_Take_001.amc: found a body that does not move",
                       "1_lost.bvh: found no such file, though index.csv lists it"]
    found = {trial.id: trial for trial in trials}
    for number in (2, 3, 4):
        assert len({found[f"snu_tiling_multi_{person}_box_{number}"].split for person in ("hys", "mmk")}) == 1
    game = found["snu_basketball_basketData_s_003_3_1"]
    assert [(segment.id.rsplit("_", 2)[1:], segment.start, segment.end) for segment in game.segments] == [
        (["dribble", "00005"], 5 / 30, 75 / 30), (["pass", "00052"], 22 / 30, 100 / 30)]
    turn = found["snu_tiling_1_walk_left_90degree"]
    assert turn.group == "walk-turn-left" and turn.fps == 30 and turn.t_poses
    assert any("left" in text for text in turn.captions(turn.id))
    assert not any("left" in text for text in turn.captions(f"{turn.id}_00040"))    # a part may not hold the turn


def test_what_is_true_of_a_whole_take_is_said_of_no_part(snu_source, tmp_path):
    trial = next(trial for trial in snu.trials(snu_source)[0] if "walk_left" in trial.id)
    trial = replace(trial, skeleton_map="smpl", split="train")
    prepare([trial], [], tmp_path / "whole", workers=0)
    rotations, pelvis = pose(200)
    pelvis[100:, 0] += 2
    write_bvh(trial.path, rotations, pelvis)
    prepare([trial], [], tmp_path / "parts", workers=0)
    whole, parts = (json.loads((tmp_path / name / "phrases.json").read_text()) for name in ("whole", "parts"))
    told = [*trial.phrases, *trial.whole]
    assert whole[trial.id]["phrases"][:len(told)] == told
    assert set(map(swap_left_right, trial.whole)) < set(whole[f"M{trial.id}"]["phrases"])
    assert len(parts) == 4
    for name, row in parts.items():
        assert not set(row["phrases"]) & {*trial.whole, *map(swap_left_right, trial.whole)}, name


SEOUL = snu.KNOWN["takes"]


@pytest.mark.parametrize("rule", SEOUL, ids=[rule["takes"] for rule in SEOUL])
def test_seouls_phrases_are_phrases_of_the_rules_side(rule):
    re.compile(rule["takes"])
    phrases = rule.get("phrases", []) + rule.get("whole", [])
    assert phrases and len(set(phrases)) == len(phrases)
    for phrase in phrases:
        said = inflect(phrase, "third", "his")
        assert "{" in phrase and not re.search(r"[{}@]", said), phrase
        sides = set(re.findall("left|right", rule["group"]))
        assert not sides or not set(re.findall(r"\b(left|right)\b", phrase)) - sides or "turn" in phrase
    assert set(rule) <= {"takes", "group", "phrases", "whole", "shortest", "style", "free"}


def test_a_rule_holds_for_the_other_side_too():
    left, right = (snu.rule_of(f"tiling/1_run_{side}_90degree_1.amc") for side in ("left", "right"))
    assert (left["group"], right["group"]) == ("run-turn-left", "run-turn-right")
    assert right["whole"] == [swap_left_right(phrase) for phrase in left["whole"]]
    assert snu.rule_of("tiling/3_duck.amc") is snu.UNNAMED
    assert snu.captions(snu.UNNAMED, "take", "take") == []


def test_mistakes_of_the_command_line_end_in_one_line(cmu_source, tmp_path, refused):
    out, other = tmp_path / "out", tmp_path / "other.csv"
    other.write_text("trial,text\n01_01,walk\n")
    assert cmu.read_humanml3d([]) == []
    for words, said in ((("cmu", "--source", cmu_source, "--captions", "none.json"), "none.json"),
                        (("cmu", "--source", cmu_source, "--descriptions", "none.csv"), "none.csv"),
                        (("cmu", "--source", cmu_source, "--descriptions", other), "no column description, subject"),
                        (("bandai-namco", "--source", tmp_path / "none"), "archive or a folder"),
                        (("snu", "--source", cmu_source), "index.csv"),
                        (("amass", "--source", cmu_source), "0 captures"),
                        (("bvh-folder", "--source", cmu_source, "--skeleton-map", "none"), "none")):
        assert said in refused(main, *words, "--out", out)
    assert not out.exists()
