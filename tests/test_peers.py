"""benchmarks/peers.py: clips of all systems are of one length, and times are what they say."""

import json

import pytest

from benchmarks import peers
from generation.mosa import MoSa
from generation.pipeline import MotionStream, MotionStreamer


def called(monkeypatch, *flags) -> None:
    monkeypatch.setattr("sys.argv", ["peers", *map(str, flags)])
    peers.main()


def test_the_peers_script(tmp_path, monkeypatch, capsys):
    lengths, streamed, passes, pull = [], [], [], MotionStream.__next__
    monkeypatch.setattr(peers, "SECONDS", 0.8)
    for system in (MotionStreamer, MoSa):
        monkeypatch.setattr(system, "generate", lambda self, *given, generate=system.generate, **named: lengths.append(
            len(generate(self, *given, **named))))
    monkeypatch.setattr(MotionStream, "__next__", lambda self: streamed.append(0) or pull(self))
    monkeypatch.setattr(peers.nn.TransformerEncoder, "forward", lambda self, x: passes.append(tuple(x.shape)) or x)
    called(monkeypatch, "--rounds", 2, "--precision", "float32", "--steps", 4, 3, "--json", tmp_path / "rows.json")
    mdm, momask, *ours, mosa = json.loads((tmp_path / "rows.json").read_text())
    # 0.8 s; two of ours and MoSa, three rounds, one not counted
    assert lengths == [24] * 3 * 3 and len(streamed) == 6 * 2 * 3
    assert passes == 3 * (50 * [(2, 17, 512)] + 15 * [(2, 5, 384)])
    assert [row["system"] for row in ours] == ["ours, float32, 4 steps", "ours, float32, 3 steps"]
    assert mosa["system"] in ("our MoSa, float32", "our MoSa, untrained, float32")
    for row in (mdm, momask, mosa):
        assert row["first_frame_seconds"] == row["stream_seconds"] == row["clip_seconds"] > 0
    for row in ours:
        assert 0 < row["first_frame_seconds"] < row["stream_seconds"]
    assert max(row["of_slowest"] for row in (mdm, momask, *ours, mosa)) == 1
    assert len(capsys.readouterr().out.split("of the slowest")[1].splitlines()) == 6


def test_peers_refuses(monkeypatch):
    with pytest.raises(ValueError, match="--rounds 0: expected 1 or more"):
        called(monkeypatch, "--rounds", 0)
