"""Some broken files of each kind: a sound result or one sentence; `benchmarks.fuzz_readers` reads thousands."""

import io
import random
import tarfile
import zipfile

import pytest

from benchmarks.fuzz_readers import READERS, broken, judged, outcomes, walk
from dataset.prepare.archive import unpacked
from motion.captures import Reading, read_body
from motion.formats import read_capture, write_bvh


@pytest.mark.parametrize("kind", READERS)
def test_broken_files_are_sound_or_one_sentence(kind):
    """The good files that they are made of read; so do some of the broken ones, and the others say why not."""
    found = list(outcomes(kind, range(150)))
    assert not [(number, outcome) for number, outcome, *_ in found if outcome not in ("result", "sentence")]
    counts = [outcome for _, outcome, *_ in found]
    assert 3 < counts.count("result") < 150 and counts.count("sentence") > 3


def test_what_is_no_sentence_is_told(tmp_path):
    path = tmp_path / "a.bvh"
    assert judged(ValueError("a.bvh: found nothing, expected a hierarchy."), path) == "sentence"
    for error in (ValueError("nothing"), ValueError("a.bvh:\nnothing"), ValueError("a.bvh" * 999), KeyError("a.bvh")):
        assert judged(error, path).startswith("no sentence")


def test_the_same_number_is_the_same_file():
    goods = READERS["bvh"].good()
    assert broken(random.Random(5), goods) == broken(random.Random(5), goods) != broken(random.Random(6), goods)


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dataset.prepare.archive.UNPACKED", 10 ** 6)
    for name, size in (("fine", 10 ** 6), ("bomb", 3 * 10 ** 6)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.bvh", bytes(size))
        with tarfile.open(tmp_path / f"{name}.tar.xz", "w:xz") as archive:
            info = tarfile.TarInfo("a.bvh")
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    for kind in ("zip", "tar.xz"):
        with unpacked(tmp_path / f"fine.{kind}") as folder:
            assert (folder / "a.bvh").stat().st_size == 10 ** 6
        with pytest.raises(ValueError, match="bomb.* cannot be unpacked .* hold more than 3e.06, as no captures do"), (
                unpacked(tmp_path / f"bomb.{kind}")):
            pass


def test_a_rate_that_makes_a_capture_last_for_days_is_refused(tmp_path):
    rotations, pelvis = walk(4000)
    write_bvh(tmp_path / "a.bvh", rotations, pelvis, fps=0.11)
    with pytest.raises(ValueError, match="a.bvh: found 4000 frames at 0.11 .* hours, expected 8 at most: .*--fps"):
        read_body(tmp_path / "a.bvh", Reading(fps=0.11))


def test_few_bytes_that_are_many_joints_are_refused(tmp_path):
    """Frames of one number, of two thousand joints: 200 kB that would take 28 GB."""
    text = io.StringIO()
    text.write("HIERARCHY\nROOT a\n{\nCHANNELS 1 Xrotation\n")
    for number in range(1999):
        text.write(f"JOINT b{number}\n{{\nOFFSET 0 1 0\n}}\n")
    text.write("}\nMOTION\nFrames: 100000\nFrame Time: 0.03\n" + "0\n" * 100_000)
    (tmp_path / "a.bvh").write_text(text.getvalue())
    with pytest.raises(ValueError, match="a.bvh: found 100000 frames of 2000 joints, expected at most 20 million"):
        read_capture(tmp_path / "a.bvh")
