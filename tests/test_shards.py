"""Shards: read once, mapped by all, made again when anything changes, and nothing in them runs."""

import gc
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from benchmarks import startup
from benchmarks.startup import mapped_by_workers
from dataset import shards
from dataset.clips import load_clips
from dataset.pairs import load_pairs
from options.data import Data
from test_clips import make_folder
from test_pairs import write_pairs
from utils.cache import cache_folder

ROOT = Path(__file__).parents[1]
MOTIONS = {name: np.random.default_rng(seed).normal(size=(40 + seed, 272)).astype(np.float32)
           for seed, name in enumerate("abcd")}


def values(clips) -> dict[str, float]:
    return {clip.id: float(clip.motion.sum()) for clip in clips}


def shard_files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in (folder / ".shards").iterdir() if path.name != ".lock")


def test_the_search_for_garbage_goes_on_afterwards(tmp_path):
    searched = []
    make_folder(tmp_path, MOTIONS)
    with shards.many_made():
        searched.append(gc.isenabled())
        load_clips(Data("mocap_272", tmp_path))
        searched.append(gc.isenabled())
    with pytest.raises(FileNotFoundError):
        load_clips(Data("mocap_272", tmp_path / "nowhere"))
    assert searched == [False, False] and gc.isenabled()


class Code:
    """What makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_motions_are_read_once(tmp_path, capsys):
    """Files whose names, sizes and times stay are not read again."""
    make_folder(tmp_path, MOTIONS)
    first = values(load_clips(Data("t2m_272", tmp_path)))
    printed = capsys.readouterr().out
    assert "4 clips indexed into" in printed and "GB; delete it freely" in printed and "again" not in printed
    for path in (tmp_path / "motion_data").iterdir():
        stat = path.stat()
        path.write_bytes(bytes(stat.st_size))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = load_clips(Data("t2m_272", tmp_path))
    assert values(again) == first and [clip.captions[0].text for clip in again] == [f"clip {name}" for name in "abcd"]
    assert capsys.readouterr().out == "t2m_272 train: 4 of 4 clips\n"
    with pytest.raises(ValueError, match="read-only"):
        again[0].motion[0] = 0
    moved = tmp_path.with_name("moved")
    shutil.move(tmp_path, moved)
    assert values(load_clips(Data("t2m_272", moved))) == first and "indexed" not in capsys.readouterr().out


@pytest.mark.parametrize("change, left, said", [
    ("vanished", "acd", "1 motion missing: b"), ("wordless", "acd", "1 text missing: b"),
    ("replaced", "abcd", "4 of 4"), ("another caption", "abcd", "4 of 4"),
    ("added", "abcde", "5 of 5"), ("taken off the list", "ab", "2 of 2"),
])
def test_a_set_that_changed_is_indexed_again(tmp_path, capsys, change, left, said):
    make_folder(tmp_path, MOTIONS)
    before = load_clips(Data("t2m_272", tmp_path))
    if change == "vanished":
        (tmp_path / "motion_data" / "b.npy").unlink()
    elif change == "wordless":
        (tmp_path / "texts" / "b.txt").unlink()
    elif change == "replaced":
        np.save(tmp_path / "motion_data" / "b.npy", 2 * MOTIONS["b"])
    elif change == "another caption":
        (tmp_path / "texts" / "b.txt").write_text("another#another/OTHER#0.0#0.0")
    else:
        make_folder(tmp_path, MOTIONS | dict(e=MOTIONS["a"]) if change == "added" else
                    {name: MOTIONS[name] for name in "ab"})
    capsys.readouterr()
    for first in (True, False):    # what is wrong is said each time
        found = load_clips(Data("t2m_272", tmp_path))
        assert [clip.id for clip in found] == list(left)
        printed = capsys.readouterr().out
        assert said in printed and ("again, as its files have changed, into" in printed) == first
    np.testing.assert_array_equal(before[1].motion, MOTIONS["b"])    # who has the old shard keeps it
    np.testing.assert_array_equal(found[0].motion, MOTIONS["a"])
    assert change != "replaced" or (found[1].motion == 2 * MOTIONS["b"]).all()
    assert change != "another caption" or found[1].captions[0].text == "another"
    assert shard_files(tmp_path) == [".json", ".npy"]


@pytest.mark.parametrize("suffix, damage", [
    (".npy", lambda whole: whole[:-8]), (".npy", lambda whole: whole + bytes(8 * 272)), (".npy", lambda whole: b""),
    (".json", lambda whole: whole[:-8]), (".json", lambda whole: b"[]"), (".json", lambda whole: b"{}"),
    (".json", lambda whole: whole.replace(b'"frames": 40', b'"frames": 39')),
])
def test_a_damaged_shard_is_made_again(tmp_path, capsys, suffix, damage):
    make_folder(tmp_path, MOTIONS)
    first = values(load_clips(Data("t2m_272", tmp_path)))
    path, = (tmp_path / ".shards").glob(f"*{suffix}")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert values(load_clips(Data("t2m_272", tmp_path))) == first and path.read_bytes() == whole
    assert "4 clips indexed again, being damaged, into" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["clip", "shard", "index"])
def test_a_pickle_does_not_run(tmp_path, capsys, where):
    make_folder(tmp_path, MOTIONS)
    load_clips(Data("t2m_272", tmp_path))
    path, = (tmp_path / "motion_data").glob("b.npy") if where == "clip" else (tmp_path / ".shards").glob(
        "*.npy" if where == "shard" else "*.json")
    for content in ("array", "bare"):
        if content == "array":
            with path.open("wb") as file:
                np.save(file, np.array([Code(tmp_path / "ran")], dtype=object), allow_pickle=True)
        else:
            path.write_bytes(pickle.dumps(Code(tmp_path / "ran")))
        capsys.readouterr()
        assert len(load_clips(Data("t2m_272", tmp_path))) == (3 if where == "clip" else 4)
        assert where != "clip" or "1 unreadable: b" in capsys.readouterr().out
    assert not (tmp_path / "ran").exists()


def test_where_data_cannot_be_written_the_cache_has_the_shard(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MOTION_CACHE", str(tmp_path / "cache"))
    make_folder(tmp_path / "set", MOTIONS)
    (tmp_path / "set" / ".shards").write_text("not a folder, so that nothing can be made in it")
    first = values(load_clips(Data("t2m_272", tmp_path / "set")))
    assert len(list(cache_folder().glob("shards/*/train-*.npy"))) == 1
    capsys.readouterr()
    assert values(load_clips(Data("t2m_272", tmp_path / "set"))) == first and "indexed" not in capsys.readouterr().out


def test_no_room_says_how_much_and_where(tmp_path, monkeypatch):
    make_folder(tmp_path, MOTIONS)
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(OSError, match="found no room for 0.0 GB in .*shards or .*MOTION_CACHE"):
        load_clips(Data("t2m_272", tmp_path))


def test_of_many_processes_one_makes_the_shard(tmp_path):
    make_folder(tmp_path, MOTIONS)
    (tmp_path / ".shards").mkdir()
    code = ("from dataset.clips import load_clips; from options.data import Data; print('ready', flush=True); "
            f"print(len(load_clips(Data('t2m_272', {str(tmp_path)!r}))))")
    with shards._locked(tmp_path / ".shards"):    # all find no shard, and wait for one another
        started = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
                   for _ in range(3)]
        assert [process.stdout.readline() for process in started] == ["ready\n"] * 3
        time.sleep(1)
        assert not list(tmp_path.glob(".shards/train*"))
    printed = [process.communicate()[0] for process in started]
    assert sum("indexed" in text for text in printed) == 1
    assert all(text.endswith("4 of 4 clips\n4\n") for text in printed)


def test_pairs_lie_in_shards_too(tmp_path, capsys):
    write_pairs(tmp_path, dict(seq_1=("seq1", "walk*turn#20", MOTIONS["a"]),
                               seq2=("seq_2", "run*sit#24", MOTIONS["b"])))
    first, groups = load_pairs(tmp_path, "train")
    assert "2 clips indexed into" in capsys.readouterr().out
    again, same_groups = load_pairs(tmp_path, "train")
    assert capsys.readouterr().out == f"{tmp_path} train: 2 of 2 pairs\n" and groups == same_groups
    for one, other in zip(first, again):
        assert (one.id, one.captions, one.past, one.texts) == (other.id, other.captions, other.past, other.texts)
        np.testing.assert_array_equal(one.motion, other.motion)
    (tmp_path / "train_stream_text" / "seq1.txt").rename(tmp_path / "train_stream_text" / "seq3.txt")
    assert len(load_pairs(tmp_path, "train")[0]) == 1
    printed = capsys.readouterr().out
    for said in ("1 of 3 pairs", "1 text missing: train_stream-seq_1", "1 motion missing: train_stream-seq3"):
        assert said in printed


def test_workers_share_the_memory_of_the_data(tmp_path):
    """What is mapped of the shard, over all processes, is its size once, however many they are."""
    make_folder(tmp_path, {str(number): MOTIONS["a"] for number in range(300)})
    motions = [clip.motion for clip in load_clips(Data("t2m_272", tmp_path))]
    path, = (tmp_path / ".shards").glob("*.npy")
    one, four = (mapped_by_workers(motions, workers, path) for workers in (1, 4))
    assert one > 0.9 * path.stat().st_size and four < 1.5 * one


def test_other_processes_get_a_place_not_a_copy(tmp_path):
    """As DataLoader's workers do where they are spawned, not forked."""
    make_folder(tmp_path, MOTIONS)
    clips = load_clips(Data("t2m_272", tmp_path))
    sent = ForkingPickler.dumps(clips)
    assert len(sent) < 0.02 * sum(clip.motion.nbytes for clip in clips)
    for clip, received in zip(clips, pickle.loads(sent)):
        np.testing.assert_array_equal(clip.motion, received.motion)
        assert (clip.id, clip.captions) == (received.id, received.captions) and not received.motion.flags.writeable
    motion = clips[2].motion
    for part in (motion[5:20], motion[::3, 4:9], motion[7], motion.copy(), motion - 1):
        np.testing.assert_array_equal(pickle.loads(ForkingPickler.dumps(part)), part)


def test_the_benchmark_leaves_its_rows_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["startup.py", "--clips", "20", "--workers", "2", "--folder",
                                      str(tmp_path / "made"), "--json", str(tmp_path / "rows.json")])
    startup.main()
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["data"], row["clips"]) for row in rows] == [("motions", 20), ("latents", 20)]
    assert all(0.5 < row["ratio"] < 1.5 for row in rows) and not os.listdir(tmp_path / "made")
    assert "20 clips indexed into" in capsys.readouterr().out
