"""Pairs for streams in both spellings, and what is wrong with bad ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from dataset.captions import Caption
from dataset.pairs import load_pairs, parse_pair


@pytest.mark.parametrize("line, expected", [
    ("walk*turn left#90", ("walk", "turn left", 90)),
    ("walk*turn left#walk/VERB turn/VERB#90", ("walk", "turn left", 90)),
    (" a man walks * he sits #120.0\n", ("a man walks", "he sits", 120)),
])
def test_both_forms_of_a_line(line, expected):
    assert parse_pair(line) == expected


@pytest.mark.parametrize("line, said", [
    ("walk#turn#90", "expected A_text"), ("walk*#90", "expected A_text"), ("*turn#90", "expected A_text"),
    ("walk*turn", "expected A_text"), ("walk*turn#soon", "expected A's number of frames"),
    ("walk*turn#0", "expected A's number of frames"), ("walk*turn#2.5", "expected A's number of frames"),
    ("walk*turn#nan", "expected A's number of frames"), ("walk*turn#inf", "expected A's number of frames"),
    ("", "expected A_text"),
])
def test_a_bad_line_refuses(line, said):
    with pytest.raises(ValueError, match=said):
        parse_pair(line)


def write_pairs(root: Path, pairs: dict[str, tuple], split: str = "train") -> None:
    """pairs: the motion's name -> (the text's name, line, motion)"""
    for folder in (f"{split}_stream", f"{split}_stream_text"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, (text, line, motion) in pairs.items():
        np.save(root / f"{split}_stream" / f"{name}.npy", motion)
        if text:
            (root / f"{split}_stream_text" / f"{text}.txt").write_text(line, encoding="utf-8")


def test_pairs_are_clips_with_a_past(tmp_path, capsys):
    """Whichever way motions and texts are numbered."""
    motion = np.random.default_rng(0).normal(size=(60, 272))
    write_pairs(tmp_path, dict(seq_1=("seq1", "walk*turn#20", motion), seq12=("seq_12", "walk*sit#x/Y#40", motion)))
    (tmp_path / "groups.json").write_text(json.dumps({"train/seq_1": "turn"}))
    pairs, groups = load_pairs(tmp_path, "train")
    assert [(pair.id, pair.captions, pair.past) for pair in pairs] == [
        ("train_stream-seq12", [Caption("sit")], 40), ("train_stream-seq_1", [Caption("turn")], 20)]
    np.testing.assert_array_equal(pairs[0].motion, motion.astype(np.float32))
    assert groups == {"train_stream-seq12": "stream ", "train_stream-seq_1": "stream turn"}
    assert "2 of 2 pairs" in capsys.readouterr().out


def test_bad_pairs_are_counted_and_named(tmp_path, capsys):
    good = np.zeros((60, 272), np.float32)
    broken = good.copy()
    broken[3, 7] = np.nan
    write_pairs(tmp_path, dict(
        seq0=("seq0", "walk*turn#20", good), seq1=("", "", good), seq2=("seq2", "walk#20", good),
        seq3=("seq3", "walk*turn#20", broken), seq4=("seq4", "walk*turn#20", good[:, :263]),
        seq5=("seq5", "walk*turn#60", good), seq6=("seq6", "walk*turn#3", good),
        seq7=("seq7", "walk*turn#57", good[:59]),
    ))
    assert [pair.id for pair in load_pairs(tmp_path, "train")[0]] == ["train_stream-seq0"]
    printed = capsys.readouterr().out
    for said in ("1 of 8 pairs", "1 text missing: train_stream-seq1", "1 text unreadable: train_stream-seq2",
                 "1 NaN, infinity or no numbers: train_stream-seq3", "1 shape other than (T, 272): train_stream-seq4",
                 "3 no latent of A or of B: train_stream-seq5, train_stream-seq6, train_stream-seq7"):
        assert said in printed


def test_no_pairs_refuse(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no .*val_stream, expected pairs for streams. Get it: hf"):
        load_pairs(tmp_path, "val")
    write_pairs(tmp_path, {})
    with pytest.raises(FileNotFoundError, match="0 of 0 pairs in .* are good. Get it: hf"):
        load_pairs(tmp_path, "train")
