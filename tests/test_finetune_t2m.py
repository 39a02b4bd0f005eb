"""Fine-tuning on a few captures, from them to a model that the demo takes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dataset.captions import words
from dataset.prepare.grammar import phrase_table
from finetune_t2m import Finetune, known_sentences, rehearse
from generation.pipeline import MotionStreamer
from models.checkpoints import load_ar
from test_prepare import captures    # noqa: F401, a fixture


@pytest.fixture(scope="module")
def weights(chain, tmp_path_factory):
    """The tiny models as a folder that ships would hold them."""
    folder = tmp_path_factory.mktemp("weights")
    for name, run in (("tae", "tae_tiny"), ("ar", "t2m_tiny")):
        (folder / name).symlink_to(chain.folder / "output" / run / "last", target_is_directory=True)
    return folder


def test_five_captures_make_another_model_of_the_same_kind(weights, captures, tmp_path, script, monkeypatch,
                                                           capsys):    # noqa: F811
    monkeypatch.setattr(MotionStreamer, "longest", 48)                       # the tiny model does not end by itself
    flags = ["--source", str(captures), "--out-dir", str(tmp_path / "mine"), "--weights", str(weights), "--rehearsed",
             "20", "--total-iter", "2", "--batch-size", "4", "--skeleton", "smpl", "--device", "cpu"]
    assert script("finetune_t2m", *flags) == 0
    assert "demo_t2m.py --resume-pth" in capsys.readouterr().out
    before, after = load_ar(weights / "ar"), load_ar(tmp_path / "mine" / "weights" / "ar")
    assert (before.calibration, before.sampling, before.text_encoder) == (
        after.calibration, after.sampling, after.text_encoder)
    assert any((one != other).any() for one, other in zip(before.model.parameters(), after.model.parameters()))
    motion = MotionStreamer.from_pretrained(tmp_path / "mine" / "weights").generate("a person walks", length=8)
    assert motion.shape == (8, 272) and np.isfinite(motion).all()
    groups = json.loads((tmp_path / "mine" / "both_272" / "groups.json").read_text())
    assert set(groups.values()) == {"captured", "rehearsed"}


def test_a_command_that_is_repeated_rehearses_once(weights, tmp_path, monkeypatch, capsys):
    """The same motions stay; of other sentences, or of other weights, they are made again."""
    class Rehearsed(Exception):
        pass

    def load(*_):
        raise Rehearsed

    config = Finetune(weights=weights, rehearsed=20, device="cpu")
    rehearse(config, tmp_path / "made")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(MotionStreamer, "from_pretrained", load)
    rehearse(config, tmp_path / "made")
    assert "20 motions are rehearsed already" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for other in (replace(config, seed=7), replace(config, rehearsed=21),
                  replace(config, weights=Path(__file__).parents[1] / "weights" / "mocap_stream")):
        with pytest.raises(Rehearsed):
            rehearse(other, tmp_path / "made")
    assert (tmp_path / "made" / "skipped.txt").is_file()                   # a failure leaves what was there


def test_too_little_to_rehearse_is_refused(captures, tmp_path, script, capsys):    # noqa: F811
    assert script("finetune_t2m", "--source", str(captures), "--out-dir", str(tmp_path), "--rehearsed", "3") == 2
    assert "--rehearsed is 3; expected 20" in capsys.readouterr().err


def test_known_sentences_are_the_grammars_and_free_ones():
    found = known_sentences(40, seed=1)
    assert len(set(found)) > 35 and found == known_sentences(40, seed=1) != known_sentences(40, seed=2)
    free = {words(text) for name in ("free", "wordings") for texts in phrase_table(name).values() for text in texts}
    assert all((words(text) in free) == bool(number % 2) for number, text in enumerate(found))
