"""The training loop: stopped and resumed equals never stopped, many ranks equal one."""

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from options import to_json
from options.training import Training
from utils.checkpoint import load_checkpoint, load_training_state, steps
from utils.engine import batches, clip_gradients, ema_decay, fit, learning_rate, seed_step
from utils.log import Log
from utils.run import lay_alike, optimizers

ROOT = Path(__file__).resolve().parents[1]


class Items:
    """Random vectors; a sample is one of them with noise of the sample's own generator."""

    def __init__(self, count: int = 10, rarity: np.ndarray | None = None) -> None:
        self.values = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
        self.rarity = rarity

    def __len__(self) -> int:
        return len(self.values)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        return index, self.values[index] + rng.normal(size=4).astype(np.float32)

    def collate(self, samples: list) -> dict[str, Tensor]:
        items, vectors = zip(*samples)
        return dict(items=torch.tensor(items), vectors=torch.from_numpy(np.stack(vectors)))


class Objective(nn.Module):
    """A small autoencoder. `noise` adds torch's own random numbers; `plug` pulls the plug in that step."""

    def __init__(self, noise: float = 0.1, plug: int = 0, poison: int = 0) -> None:
        super().__init__()
        seed_step(7)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
        self.noise, self.plug, self.poison = noise, plug, poison

    def forward(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        if step == self.plug:
            raise KeyboardInterrupt
        vectors = batch["vectors"]
        reconstructed = self.net(vectors + self.noise * torch.randn_like(vectors))
        return dict(loss=(reconstructed - vectors).square().mean() * (float("nan") if step == self.poison else 1.0))

    def checkpoint(self) -> tuple[dict[str, Tensor], dict]:
        return self.net.state_dict(), dict(width=8)


def config(folder: Path, **changes) -> Training:
    common = dict(out_dir=str(folder), total_iter=7, batch_size=4, lr=1e-2, warmup=3,
                  schedule="cosine", clip=1.0, eval_iter=2, save_iter=3, print_iter=1, device="cpu")
    return Training(**{**common, **changes})


def train(objective: Objective, options: Training, data: Items | None = None, **more) -> Path:
    return fit(objective, data or Items(), options, to_json(options), **more)


@pytest.mark.parametrize("changes", [{}, dict(workers=1), dict(precision="bfloat16"), dict(ema=0.9),
                                     dict(accumulate=2), dict(accumulate=2, ema=0.9, workers=1),
                                     dict(optimizer="muon")])
@pytest.mark.parametrize("plug", [2, 5, 7])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, monkeypatch, plug, changes):
    """Also when the plug is pulled more than once, and with samples from worker processes."""
    monkeypatch.setattr("utils.run.WIDE", 4)
    whole, resumed = config(tmp_path / "whole", **changes), config(tmp_path / "resumed", **changes)
    train(Objective(), whole)
    for step in (plug, plug):
        with pytest.raises(KeyboardInterrupt):
            train(Objective(plug=step), resumed)
    train(Objective(), resumed)
    lasts = [f"{options.out_dir}/run/last" for options in (whole, resumed)]
    expected, found = map(load_training_state, lasts)
    assert expected["step"] == found["step"] == 7
    for one, other in zip(expected["averages"], found["averages"], strict=True):
        assert torch.equal(one, other)
    one, other = (load_checkpoint(folder)[0] for folder in lasts)
    assert all(torch.equal(one[name], other[name]) for name in one)
    for name, tensor in expected["objective"].items():
        assert torch.equal(tensor, found["objective"][name]), name
    for one, other in zip(expected["optimizer"], found["optimizer"], strict=True):
        for number, moments in one["state"].items():
            for name, tensor in moments.items():
                assert torch.equal(tensor, other["state"][number][name]), (number, name)


def test_muon_steps_by_the_matrices_of_wide_layers_alone():
    net = nn.Sequential(nn.Embedding(99, 64), nn.Linear(64, 64), nn.Linear(64, 8), nn.Conv1d(64, 64, 1))
    net.append(nn.Linear(64, 64).requires_grad_(False))
    assert [len(adamw.param_groups[0]["params"]) for adamw in optimizers(net, Training())] == [7]
    muon, adamw = optimizers(net, Training(optimizer="muon", weight_decay=0.5))
    assert isinstance(muon, torch.optim.Muon) and muon.param_groups[0]["params"] == [net[1].weight]
    assert len(adamw.param_groups[0]["params"]) == 6 and adamw.defaults["weight_decay"] == 0.5
    before = net[1].weight.detach().clone()
    net[1].weight.grad = torch.randn(64, 64)
    muon.step()
    step = net[1].weight - before * (1 - 0.5 * muon.defaults["lr"])
    assert 0.1 < step.square().mean().sqrt() / muon.defaults["lr"] < 0.4            # AdamW's are of about 0.2


def test_the_step_reseeds_the_noise(tmp_path):
    """The test above can fail: another seed gives other weights."""
    runs = [train(Objective(), config(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    first, second = (load_checkpoint(run / "last")[0]["0.weight"] for run in runs)
    assert not torch.equal(first, second)


def test_parts_of_a_batch_equal_the_whole(tmp_path):
    """The same samples, and for a mean over them the same weights; what is logged is the mean of the parts."""
    runs = {parts: train(Objective(noise=0.0), config(tmp_path / str(parts), accumulate=parts)) for parts in (1, 2, 4)}
    whole, *others = (load_checkpoint(run / "last")[0] for run in runs.values())
    logged, *again = ([event.value for name in ("loss", "gradient_norm") for event in events.Scalars(f"train/{name}")]
                      for events in (EventAccumulator(str(run)).Reload() for run in runs.values()))
    for weights, values in zip(others, again):
        for name in whole:
            torch.testing.assert_close(weights[name], whole[name], rtol=0, atol=1e-6)
        assert values == pytest.approx(logged, rel=1e-5)


def test_parts_sample_their_own_noise(tmp_path):
    """Two halves of a batch that are the same sample see other noise, and every step another."""
    seen = []

    class Recorder(Objective):
        def forward(self, batch, step):
            seen.append(torch.rand(1).item())
            return super().forward(batch, step)

    train(Recorder(), config(tmp_path, accumulate=2))
    assert len(set(seen)) == len(seen) == 2 * 7


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_part_is_the_same_block_for_any_number_of_ranks(tmp_path, monkeypatch, ranks):
    options, found = config(tmp_path, batch_size=8, accumulate=2), []
    whole = [batch["items"] for batch in batches(Items(), config(tmp_path, batch_size=8))]
    monkeypatch.setattr("utils.engine.world_size", lambda: ranks)
    for rank in range(ranks):
        monkeypatch.setattr("utils.engine.rank", lambda: rank)
        found.append([batch["items"] for batch in batches(Items(), options)])
    parts = [torch.cat(shares) for shares in zip(*found)]
    assert len(parts) == 2 * len(whole)
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat(parts[2 * step:2 * step + 2]), batch)


def test_the_average_is_evaluated_and_written_and_the_weights_go_on(tmp_path):
    """average += (1 - min(ema, (1 + s) / (10 + s))) (weights - average), followed here step by step."""
    objective, followed, evaluated = Objective(), [], []

    def evaluate(step: int) -> dict[str, float]:
        evaluated.append(objective.net[0].weight.clone())
        return {}

    average = objective.net[0].weight.detach().clone()
    options = config(tmp_path, ema=0.5, eval_iter=1, save_iter=1, keep=7)
    run = train(objective, options, evaluate=evaluate)
    for step, folder in enumerate(reversed(steps(run)), start=1):
        weights = load_training_state(folder)["objective"]["net.0.weight"]
        average += (1 - min(0.5, (1 + step) / (10 + step))) * (weights - average)
        followed.append(weights)
        assert not any(saved.requires_grad for saved in load_training_state(folder)["averages"])   # or memory grows
        for found in (load_checkpoint(folder)[0]["0.weight"], evaluated[step - 1]):
            torch.testing.assert_close(found, average, rtol=0, atol=1e-6)
    assert ema_decay(1, options) < ema_decay(3, options) < ema_decay(8, options) == 0.5
    plain = train(Objective(), config(tmp_path / "plain", save_iter=1, keep=7))
    for weights, folder in zip(followed, reversed(steps(plain)), strict=True):
        assert torch.equal(weights, load_training_state(folder)["objective"]["net.0.weight"])


def test_as_many_checkpoints_are_kept_as_asked(tmp_path):
    run = train(Objective(), config(tmp_path, save_iter=1, keep=3))
    assert [path.name[-1] for path in steps(run)] == ["7", "6", "5"]


@pytest.mark.parametrize("changes, said", [
    (dict(ema=1.0), "--ema is 1.0; expected 0, for none, or a decay below 1"),
    (dict(keep=0), "--keep is 0; expected 1 or more"),
    (dict(accumulate=0), "--accumulate is 0; expected 1 or more"),
])
def test_options_out_of_range_refuse(changes, said):
    with pytest.raises(ValueError, match=said):
        Training(**changes)


def test_best_and_last(tmp_path):
    """`best` follows the lowest metric, also over a resume; old checkpoints go, the best one stays."""
    score = {2: 3.0, 4: 1.0, 6: 2.0, 7: 5.0}.get
    options = config(tmp_path, save_iter=1, total_iter=7)

    def evaluate(step: int) -> dict[str, float]:
        assert not torch.is_grad_enabled()
        return dict(error=score(step))

    with pytest.raises(KeyboardInterrupt):
        train(Objective(plug=6), options, evaluate=evaluate, best="error")
    run = train(Objective(), options, evaluate=evaluate, best="error")
    assert (run / "best").resolve().name == "step-00000004"
    assert (run / "last").resolve().name == "step-00000007"
    assert [path.name[-1] for path in steps(run)] == ["7", "6", "4"]
    assert load_checkpoint(run / "best")[1] == dict(width=8)


def test_an_improvement_is_saved_at_once(tmp_path):
    run = train(Objective(), config(tmp_path, save_iter=100), evaluate=lambda step: dict(error=abs(step - 4)),
                best="error")
    assert (run / "best").resolve().name == "step-00000004"


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(tmp_path, capsys):
    options = config(tmp_path)
    run = train(Objective(), options)
    expected = load_training_state(run / "last")["objective"]
    damaged = run / "step-00000007" / "training.pt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    train(Objective(), options)
    assert "step-00000007/training.pt is damaged" in (printed := capsys.readouterr().out)
    assert "Resuming from" in printed and "step-00000006" in printed
    found = load_training_state(run / "last")["objective"]
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_only_damaged_checkpoints_refuse(tmp_path):
    options = config(tmp_path, save_iter=100)
    run = train(Objective(), options)
    (run / "last" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="No checkpoint in .* is whole"):
        train(Objective(), options)


def test_another_runs_folder_refuses_and_names_the_difference(tmp_path):
    options = config(tmp_path)
    train(Objective(), options)
    with pytest.raises(ValueError, match=r"lr was 0.01, now 0.5; total_iter was 7, now 9\. Repeat its"):
        train(Objective(), replace(options, lr=0.5, total_iter=9))
    train(Objective(), replace(options, workers=1, print_iter=5))  # these change nothing that is learnt


def test_nan_stops_before_the_weights(tmp_path):
    with pytest.raises(ValueError, match="Step 5: the loss is nan.*last good checkpoint is .*step-00000003"):
        train(Objective(poison=5), config(tmp_path))


def test_tensorboard_has_no_gap_and_no_double(tmp_path):
    options = config(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(Objective(plug=6), options)
    run = train(Objective(), options)
    events = EventAccumulator(str(run)).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6, 7]


def test_what_people_look_at(tmp_path, capsys):
    """Plain lines with the time left; in TensorBoard losses, rate, memory, gradient, metrics and a moving picture."""
    picture, file = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")], BytesIO()
    picture[0].save(file, "GIF", save_all=True, append_images=picture[1:])
    run = train(Objective(), config(tmp_path), evaluate=lambda step: dict(error=1.0, clip=file.getvalue()))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert re.fullmatch(r"step 1/7  loss .*  lr 0.00333  \d+ samples/s  \d+:\d\d:\d\d left", lines[0])
    assert lines[-1] == "step 7: error 1"
    events = EventAccumulator(str(run)).Reload()
    assert {"train/loss", "train/gradient_norm", "run/lr", "run/samples_per_second", "run/peak_memory_gb",
            "val/error"} == set(events.Tags()["scalars"])
    image = events.Images("video/clip")[-1]
    assert (image.step, image.width, image.height) == (7, 20, 10)
    assert Image.open(BytesIO(image.encoded_image_string)).n_frames == 2


def test_the_time_left_is_that_of_the_steps_left(tmp_path, monkeypatch, capsys):
    """A run that went on at step 11 has taken 100 s for ten steps; 90 are left."""
    now = [1000.0]
    monkeypatch.setattr("utils.log.time.perf_counter", lambda: now[0])
    with closing(Log(tmp_path, 11, 110, 4, torch.device("cpu"))) as log:
        for _ in range(10):
            log.add(dict(loss=torch.ones(())))
        now[0] += 100
        log.show_averages(20, 0.1)
    assert capsys.readouterr().out == "step 20/110  loss 1  lr 0.1  0 samples/s  0:15:00 left\n"


def test_evaluations_do_not_slow_the_rate(tmp_path, monkeypatch):
    """By a clock that goes on by a second in each step of four samples, and by a hundred in each evaluation."""
    now = [0.0]
    monkeypatch.setattr("utils.log.time.perf_counter", lambda: now[0])

    class Slow(Objective):
        def forward(self, batch, step):
            now[0] += 1
            return super().forward(batch, step)

    def evaluate(step: int) -> dict[str, float]:
        now[0] += 100
        return {}

    run = train(Slow(), config(tmp_path, eval_iter=1, total_iter=3), evaluate=evaluate)
    rates = [event.value for event in EventAccumulator(str(run)).Reload().Scalars("run/samples_per_second")]
    assert rates == [4.0, 4.0, 4.0]


def test_learning_rate():
    options = Training(lr=1.0, warmup=10, total_iter=110)
    assert [learning_rate(step, options) for step in (1, 5, 10, 110)] == [0.1, 0.5, 1.0, 1.0]
    cosine = replace(options, schedule="cosine")
    assert [learning_rate(step, cosine) for step in (5, 10, 60, 110)] == pytest.approx([0.5, 1.0, 0.5, 0.0])
    drops = replace(options, lr_scheduler=(50, 100), gamma=0.1)
    assert [learning_rate(step, drops) for step in (50, 51, 101)] == pytest.approx([1.0, 0.1, 0.01])


def test_two_ranks_equal_one(tmp_path):
    """Same samples, averaged gradients: after 20 steps of two parts the same parameters, from `torchrun` on gloo."""
    options = config(tmp_path / "two", total_iter=20, save_iter=20, accumulate=2, ema=0.5)
    train(Objective(noise=0.0), replace(options, out_dir=str(tmp_path / "one")),
          evaluate=lambda step: dict(error=1.0))
    script = tmp_path / "two_ranks.py"
    script.write_text(f"""
from tests.test_engine import Objective, config, train
from utils.distributed import distributed, rank
with distributed("cpu"):
    train(Objective(noise=0.0), config({str(tmp_path / "two")!r}, total_iter=20, save_iter=20, accumulate=2, ema=0.5),
          evaluate=lambda step: dict(error=rank() + 0.5))
""")
    environment = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, str(script)], check=True, env=environment, cwd=tmp_path, capture_output=True,
                   timeout=300)
    one, two = (load_checkpoint(tmp_path / name / "run" / "last")[0] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5)
    events = [EventAccumulator(str(tmp_path / name / "run")).Reload() for name in ("one", "two")]
    for name in ("train/loss", "val/error"):  # metrics are averaged over ranks, logged by one of them
        first, second = ([(event.step, event.value) for event in run.Scalars(name)] for run in events)
        assert len(first) == len(second) and np.allclose(first, second, atol=1e-5)


def test_a_batch_that_ranks_cannot_share_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr("utils.engine.world_size", lambda: 3)
    with pytest.raises(ValueError, match="of 4 does not divide by 3 ranks; give --batch-size a multiple"):
        batches(Items(), config(tmp_path))
    with pytest.raises(ValueError, match="of 12 does not divide by 3 ranks in 8 parts; give .* a multiple of 24"):
        batches(Items(), config(tmp_path, batch_size=12, accumulate=8))


def test_the_run_stores_its_config(tmp_path):
    options = config(tmp_path)
    run = train(Objective(), options)
    assert json.loads((run / "config.json").read_text()) == to_json(options)


def test_what_decides_nothing_may_change_and_an_older_run_says_what_it_lacks(tmp_path):
    options, record = config(tmp_path), dict(training=dict(lr=0.1, keep=3), tae=None, latents=dict(tae="a"))
    fit(Objective(), Items(), options, record)
    free = dict(training=dict(lr=0.1, keep=4), tae="weights", evaluator="weights", latents=dict(tae="a"))
    fit(Objective(), Items(), options, free)
    other = free | dict(training=dict(lr=0.1, ema=0.9), latents=dict(tae="b"))
    with pytest.raises(ValueError, match="latents.tae was 'a', now 'b'; training.ema was no option, now 0.9. Rep"):
        fit(Objective(), Items(), options, other)


def test_a_run_from_before_options_were_renamed_goes_on(tmp_path):
    """And its data may have moved since, but not be others."""
    options, steps = config(tmp_path), dict(total_iter=7)
    fit(Objective(), Items(), options, dict(training=dict(dataname="a", data_root="x", **steps), rebuild_weight=1.0))
    record = dict(training=dict(data=dict(name="a", root="y"), **steps), reconstruction_weight=1.0)
    fit(Objective(), Items(), options, record)
    record["training"]["data"]["name"] = "b"
    with pytest.raises(ValueError, match="other options: training.data.name was 'a', now 'b'. Repeat"):
        fit(Objective(), Items(), options, record)


def test_moments_that_a_run_laid_otherwise_are_laid_as_the_parameter():
    """Fused AdamW goes by the order in memory, and says nothing if the two differ."""
    weight = nn.Parameter(torch.randn(2, 4, 3).mT)
    optimizer, resumed = (torch.optim.AdamW([weight], fused=True) for _ in range(2))
    weight.grad = torch.randn(2, 4, 3).mT
    optimizer.step()
    saved, moments = optimizer.state_dict(), optimizer.state[weight]
    saved["state"][0] = {name: moment.contiguous() for name, moment in moments.items()}
    resumed.load_state_dict(saved)
    assert resumed.state[weight]["exp_avg"].stride() != weight.stride()
    lay_alike(resumed)
    for name in ("exp_avg", "exp_avg_sq"):
        found = resumed.state[weight][name]
        assert found.stride() == weight.stride() and torch.equal(found, moments[name])


@pytest.mark.parametrize("longest, left", [(0.0, 5.0), (2.0, 2.0), (6.0, 5.0)])
def test_gradients_are_shortened_together(longest, left):
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([0.0, 3.0]), torch.tensor([-4.0])
    assert clip_gradients(parameters, longest) == 5
    expected = [torch.tensor([0.0, 3.0]) * left / 5, torch.tensor([-4.0]) * left / 5]
    torch.testing.assert_close([parameter.grad for parameter in parameters[:2]], expected)


def test_compile_is_asked_for_once_and_changes_no_name(tmp_path, monkeypatch):
    """The compiler itself needs a C++ compiler, which a machine that runs the tests need not have."""
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **how: asked.append((module, how)))
    objective = Objective()
    folder = train(objective, config(tmp_path, compile=True))
    assert asked == [(objective, dict(dynamic=True))]
    assert set(load_checkpoint(folder / "last")[0]) == set(objective.net.state_dict())
    train(Objective(), config(tmp_path, compile=False))    # the same run, whichever way it goes on


@pytest.mark.parametrize("able", [True, False])
def test_a_processor_without_bfloat16_trains_in_float32(tmp_path, monkeypatch, capsys, able):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: able)
    seen, autocast = [], torch.autocast
    monkeypatch.setattr(torch, "autocast",
                        lambda *given, enabled: seen.append(enabled) or autocast(*given, enabled=enabled))
    train(Objective(), config(tmp_path, precision="bfloat16", optimizer="muon"))
    said = capsys.readouterr().out
    assert set(seen) == {able} and ("training in float32" in said) != able and ("--optimizer adamw" in said) != able
