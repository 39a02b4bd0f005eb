"""benchmarks/latency.py, on a tiny random model."""

import json
import sys

import pytest

from benchmarks import latency
from test_demo import model    # noqa: F401, a fixture
from utils.errors import run


def test_the_first_frame_comes_before_the_last(model, tmp_path, monkeypatch):    # noqa: F811
    monkeypatch.setattr(latency, "FRAMES", (8, 32))
    weights = model[1].removesuffix("/tae")
    monkeypatch.setattr(sys, "argv", ["latency.py", "--weights", weights, "--repetitions", "2", "--device", "cpu",
                                      "--out", str(tmp_path)])
    run(latency.main)
    report = json.loads((tmp_path / "latency.json").read_text())
    assert report["frames"] == [8, 32] and set(report["sha256"]) == {"tae", "ar"}
    assert all(0 < first < last for first, last in zip(report["first_frame_s"], report["last_frame_s"]))
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_no_repetition_refuses(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["latency.py", "--repetitions", "0"])
    with pytest.raises(SystemExit):
        run(latency.main)
    assert "--repetitions is 0; expected 1 or more." in capsys.readouterr().err
