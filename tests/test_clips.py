"""Data sets on disk: all three layouts are read, and nothing bad is silent."""

import numpy as np
import pytest

from dataset.captions import format_caption
from dataset.clips import dataset_root, load_clips, load_groups, load_kinds, load_statistics
from options.data import Data

MOTION = np.random.default_rng(0).normal(size=(50, 272)).astype(np.float32)


def make_folder(folder, motions, split="train", statistics="mean_std", mean=0.0):
    for name in ("motion_data", "texts", "split", statistics):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, motion in motions.items():
        np.save(folder / "motion_data" / f"{name}.npy", motion)
        (folder / "texts" / f"{name}.txt").write_text(format_caption(f"clip {name}") + "\n")
    (folder / "split" / f"{split}.txt").write_text("".join(f"{name}\n" for name in motions), encoding="utf-8")
    np.save(folder / statistics / "Mean.npy", np.full(272, mean))
    np.save(folder / statistics / "Std.npy", np.ones(272))


@pytest.mark.parametrize("dataname", ["t2m_272", "mocap_272"])
def test_clips_come_as_they_are_on_disk(tmp_path, dataname):
    make_folder(tmp_path, {"b": MOTION, "a": 2 * MOTION[:40].astype(np.float64)})
    clips = load_clips(Data(dataname, tmp_path), "train")
    assert [clip.id for clip in clips] == ["b", "a"]
    np.testing.assert_array_equal(clips[1].motion, 2 * MOTION[:40])
    assert clips[1].motion.dtype == np.float32 and clips[1].captions[0].text == "clip a"
    assert load_groups(Data(dataname, tmp_path)) == {}


def test_a_kind_is_a_group_in_a_style(tmp_path):
    make_folder(tmp_path, {"a": MOTION, "b": MOTION})
    (tmp_path / "groups.json").write_text('{"a": "walk", "b": "walk", "c": "run"}')
    assert load_kinds(Data("t2m_272", tmp_path)) == dict(a="walk", b="walk", c="run")
    (tmp_path / "phrases.json").write_text('{"a": {"style": "old", "phrases": []}, "b": {"phrases": []}}')
    assert load_kinds(Data("t2m_272", tmp_path)) == dict(a="walk old", b="walk", c="run")


def test_two_sets_are_one_with_babels_statistics(tmp_path):
    make_folder(tmp_path / "humanml3d_272", {"1": MOTION, "2": MOTION}, "test", mean=1.0)
    make_folder(tmp_path / "babel_272", {"2": 3 * MOTION}, "val", "t2m_babel_mean_std", mean=2.0)
    clips = load_clips(Data("t2m_babel_272", tmp_path), "test")    # BABEL has no test: its val
    assert [clip.id for clip in clips] == ["1", "2", "babel_272-2"]
    np.testing.assert_array_equal(clips[2].motion, 3 * MOTION)
    assert load_statistics(Data("t2m_babel_272", tmp_path))[0][0] == 2.0


def test_every_bad_clip_is_counted_and_named(tmp_path, capsys):
    broken = MOTION.copy()
    broken[3, 5] = np.nan
    make_folder(tmp_path, {"good": MOTION, "nan": broken, "narrow": MOTION[:, :263], "flat": MOTION[0],
                           "torn": MOTION,
                           "mute": MOTION, "wordless": MOTION, "gone": MOTION, "half": MOTION,
                           "pickled": MOTION})
    (tmp_path / "motion_data" / "torn.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "motion_data" / "gone.npy").unlink()
    np.save(tmp_path / "motion_data" / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "texts" / "mute.txt").unlink()
    (tmp_path / "texts" / "wordless.txt").write_text("")
    (tmp_path / "texts" / "half.txt").write_text("#x/OTHER#0.0#0.0\n" + format_caption("whole") + "\n")
    assert [clip.id for clip in load_clips(Data("t2m_272", tmp_path))] == ["good", "half"]
    printed = capsys.readouterr().out
    for words in ("2 of 10 clips", "1 motion missing: gone", "1 text missing: mute", "1 no caption: wordless",
                  "1 NaN, infinity or no numbers: nan",
                  "2 shape other than (T, 272): narrow (50, 263), flat (272,)",
                  "2 unreadable: torn", "pickled", "1 caption left out: half (line 1: empty caption)"):
        assert words in printed


def test_no_good_clip_tells_the_next_command(tmp_path):
    make_folder(tmp_path, {"nan": MOTION * np.nan})
    with pytest.raises(FileNotFoundError, match="(?s)0 of 1 .*dataset.prepare"):
        load_clips(Data("mocap_272", tmp_path))


def test_missing_data_tells_the_next_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="humanml3d_272.*hf"):
        dataset_root(Data("t2m_272"))
    with pytest.raises(FileNotFoundError, match="--data-root"):
        dataset_root(Data("t2m_babel_272", tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="t2m_272, t2m_babel_272, mocap_272"):
        dataset_root(Data("kit"))
    make_folder(tmp_path / "data" / "mocap_272", {"a": MOTION})
    assert dataset_root(Data("mocap_272")).as_posix() == "data/mocap_272"
    with pytest.raises(FileNotFoundError, match="split/val.txt"):
        load_clips(Data("mocap_272"), split="val")


def test_statistics_that_cannot_normalise_are_refused(tmp_path):
    make_folder(tmp_path, {"a": MOTION})
    np.save(tmp_path / "mean_std" / "Std.npy", np.zeros(272))
    with pytest.raises(ValueError, match="above 0"):
        load_statistics(Data("t2m_272", tmp_path))
    (tmp_path / "mean_std" / "Mean.npy").unlink()
    with pytest.raises(FileNotFoundError, match="Mean.npy"):
        load_statistics(Data("t2m_272", tmp_path))


def test_ids_may_hold_white_space(tmp_path):
    names = ["walk slow", "walk\u00a0slow", "walk\u2003fast", "\u6b69\u304f"]
    make_folder(tmp_path, dict.fromkeys(names, MOTION))
    assert [clip.id for clip in load_clips(Data("t2m_272", tmp_path))] == names


def test_an_empty_split_is_no_missing_set(tmp_path):
    """An empty test.txt has val for it, as an absent one; an empty val.txt says what to do."""
    make_folder(tmp_path, {"a": MOTION})
    make_folder(tmp_path, {}, split="test")
    make_folder(tmp_path, {}, split="val")
    for split in ("val", "test"):
        with pytest.raises(FileNotFoundError, match="^val.txt of mocap_272 .* is empty.*--val 1"):
            load_clips(Data("mocap_272", tmp_path), split)
    make_folder(tmp_path, {"b": MOTION}, split="val")
    assert [clip.id for clip in load_clips(Data("mocap_272", tmp_path), "test")] == ["b"]


@pytest.mark.parametrize("val", [{}, {"b": MOTION[:3]}])
@pytest.mark.parametrize("name", ["train_causal_tae", "train_mosa_tokenizer"])
def test_training_without_a_val_clip_is_one_sentence(tmp_path, script, capsys, name, val):
    make_folder(tmp_path, {str(number): np.tile(MOTION, (3, 1)) for number in range(4)})
    make_folder(tmp_path, val, split="val")
    assert script(name, "--preset", "tiny", "--dataname", "mocap_272", "--data-root", str(tmp_path), "--out-dir",
                  str(tmp_path / "out"), "--device", "cpu") == 2
    said = capsys.readouterr().err
    assert "val" in said and "move some lines of train.txt to val.txt" in said and "--val 1" in said
    assert said.count("\n") == 1 and ("none of 1 clips of val has" in said) == bool(val)
