"""Ids of clips: no two alike, whatever the files are called, and small sets say which split is empty."""

from dataclasses import replace

import pytest

from dataset.clips import load_clips
from dataset.prepare import bvh_folder
from dataset.prepare.folder import prepare, say_empty_splits, with_val
from motion.formats import write_bvh
from options.data import Data
from test_prepare import captures, ids, pose    # noqa: F401, a fixture


@pytest.mark.parametrize("names, message", [
    (("000001", "M000001"), "M000001 twice: of M000001.bvh and of the mirror image of 000001.bvh|M000001 twice: of the "
     "mirror image of 000001.bvh and of M000001.bvh"),
    (("walk slow", "walk_slow"), "walk_slow twice: of walk slow.bvh and of walk_slow.bvh"),
    (("Walk", "walk"), "twice: of Walk.bvh and of walk.bvh"),
    (("mWalk", "walk"), "twice: of mWalk.bvh and of the mirror image of walk.bvh")])
def test_ids_that_collide_are_named(tmp_path, names, message):
    (tmp_path / "src").mkdir()
    for name in names:
        write_bvh(tmp_path / "src" / f"{name}.bvh", *pose(60))
    with pytest.raises(ValueError, match=message):
        prepare(*bvh_folder.trials(tmp_path / "src", "smpl"), tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


def test_windows_that_collide_with_a_file_are_named(tmp_path):
    """A long take's windows are named after their first frames."""
    (tmp_path / "src").mkdir()
    write_bvh(tmp_path / "src" / "a.bvh", *pose(350))
    write_bvh(tmp_path / "src" / "a_00000.bvh", *pose(60))
    with pytest.raises(ValueError, match="a_00000 twice: of a clip of a.bvh and of a clip of a_00000.bvh"):
        prepare(*bvh_folder.trials(tmp_path / "src", "smpl"), tmp_path / "out", workers=0)


def test_what_macos_puts_beside_files_is_no_capture(tmp_path):
    (tmp_path / "src" / "__MACOSX").mkdir(parents=True)
    for name in ("a.bvh", "b.BVH"):
        write_bvh(tmp_path / "src" / name, *pose(60))
        (tmp_path / "src" / "__MACOSX" / f"._{name}").write_bytes(b"\0\5\x16\7")
    found, skipped = bvh_folder.trials(tmp_path / "src", "smpl")
    assert [trial.id for trial in found] == ["a", "b"] and not skipped


@pytest.mark.parametrize("name", ["walk\u00a0slow", "walk\u2028slow", "walk\tslow", "walk slow", "#1 walk", "a\u0301"])
def test_any_file_name_gives_an_id_that_loads(tmp_path, name):
    (tmp_path / "src").mkdir()
    write_bvh(tmp_path / "src" / f"{name}.bvh", *pose(60))
    prepare(*bvh_folder.trials(tmp_path / "src", "smpl"), tmp_path / "out", workers=0)
    assert len(load_clips(Data("mocap_272", tmp_path / "out"))) == 2


def test_few_captures_say_that_val_is_empty(captures, tmp_path, capsys):
    trials, skipped = bvh_folder.trials(captures, "smpl")
    few = [replace(trial, split="train") for trial in trials if trial.id in ("c0", "c1")]
    prepare(few, skipped, tmp_path / "few", workers=0)
    say_empty_splits(tmp_path / "few")
    assert "val and test are empty" in capsys.readouterr().out
    prepare(with_val(few, 1), skipped, tmp_path / "few", workers=0)
    say_empty_splits(tmp_path / "few")
    assert "test is empty" in capsys.readouterr().out and len(ids(tmp_path / "few", "val")) == 2
    with pytest.raises(ValueError, match="--val 2"):
        with_val(few, 2)
    assert with_val(trials, 0) == trials
