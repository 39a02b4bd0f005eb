"""benchmarks/calibration.py: real clips of a kind, and motions made of clips of two kinds, against the tests."""

import json

import numpy as np
import pytest

from benchmarks import calibration
from benchmarks.calibration import Clips, calibrate
from benchmarks.sentences import Kind, Sentences, read_test
from motion.representation_272 import pose_to_motion272
from test_says_does import pose, straight, wave

NOTHING = Sentences((), ())
WALKS, WAVES = ["walks", {"metres": 0.8}], ["waves", {"side": "left"}]


def kind(label: str, does: list, clips: dict | None) -> Kind:
    return Kind("plain", label, read_test(does), clips, NOTHING, NOTHING)


KINDS = (
    kind("walks", WALKS, {"groups": "walk"}),
    kind("waves", WAVES, {"groups": "wave", "id": "^slow", "frames": 60}),
    kind("walks, then waves", ["in_order", WALKS, WAVES], {"join": ["walks", "waves"]}),
    kind("walks while waving", ["at_once", WALKS, ["swings_hand", {"side": "left"}]],
         {"legs": "walks", "upper": "waves"}),
    kind("flies", ["climbs"], None),
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Three clips that walk or wave, and one of a group that nobody asks for."""
    (tmp_path / "motion_data").mkdir()
    clips = {"a_walk": ("walk", pose(90, path=straight(z=3, frames=90))),
             "slow_wave": ("wave", pose(90, left_shoulder=wave(90))),
             "slow_short": ("wave", pose(30)), "quick_wave": ("wave", pose(90)), "b": ("rest", pose(90))}
    for name, (_, motion) in clips.items():
        np.save(tmp_path / "motion_data" / f"{name}.npy", pose_to_motion272(*motion))
    (tmp_path / "groups.json").write_text(json.dumps({name: group for name, (group, _) in clips.items()}))
    monkeypatch.setattr(calibration, "load_kinds", lambda: KINDS)
    return tmp_path


def test_clips_of_a_kind_and_what_is_made_of_them_pass_their_tests(root):
    report = calibrate(KINDS, root)
    assert report["rows"] == ["walks", "waves", "walks, then waves", "walks while waving"]
    assert report["clips"] == [1, 1, calibration.MADE, calibration.MADE] and report["own"] == [1, 1, 1, 1]
    rates = dict(zip(report["rows"], np.array(report["rates"])[:, 1]))        # who passes as waving on the spot
    assert rates == {"walks": 0, "waves": 1, "walks, then waves": 0, "walks while waving": 0}


def test_a_kind_without_clips_is_told(root):
    missing = kind("rolls", WALKS, {"groups": "roll"})
    with pytest.raises(ValueError, match="no clips of 'rolls'"):
        Clips(root).of(missing)


@pytest.mark.filterwarnings("error")
def test_a_single_kind_has_no_others(root, capsys):
    report = calibrate(KINDS[:1], root)
    assert report["own"] == [1] and report["others"] == [None]
    assert "on average 100% of the own and - of the others' clips; without real clips: none" in capsys.readouterr().out


def test_kinds_that_have_no_clips_at_all_refuse(root):
    with pytest.raises(ValueError, match="has no clips of flies, expected some of a kind: give --kinds others"):
        calibrate(KINDS[-1:], root)
