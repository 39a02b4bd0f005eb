"""The training loop: stopped and resumed equals never stopped, many ranks equal one."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from options import to_json
from options.training import Training
from utils.checkpoint import load_checkpoint, load_training_state, steps
from utils.engine import batches, fit, learning_rate, seed_step

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
        rebuilt = self.net(vectors + self.noise * torch.randn_like(vectors))
        return dict(loss=(rebuilt - vectors).square().mean() * (float("nan") if step == self.poison else 1.0))

    def checkpoint(self) -> tuple[dict[str, Tensor], dict]:
        return self.net.state_dict(), dict(width=8)


def config(folder: Path, **changes) -> Training:
    common = dict(out_dir=str(folder), total_iter=7, batch_size=4, lr=1e-2, warmup=3,
                  schedule="cosine", clip=1.0, eval_iter=2, save_iter=3, print_iter=1, device="cpu")
    return Training(**{**common, **changes})


def train(objective: Objective, options: Training, data: Items | None = None, **more) -> Path:
    return fit(objective, data or Items(), options, to_json(options), **more)


@pytest.mark.parametrize("changes", [{}, dict(workers=1), dict(precision="bfloat16")])
@pytest.mark.parametrize("plug", [2, 5, 7])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, plug, changes):
    """Also when the plug is pulled more than once, and with samples from worker processes."""
    whole, resumed = config(tmp_path / "whole", **changes), config(tmp_path / "resumed", **changes)
    train(Objective(), whole)
    for step in (plug, plug):
        with pytest.raises(KeyboardInterrupt):
            train(Objective(plug=step), resumed)
    train(Objective(), resumed)
    expected, found = (load_training_state(f"{options.out_dir}/run/last") for options in (whole, resumed))
    assert expected["step"] == found["step"] == 7
    for name, tensor in expected["objective"].items():
        assert torch.equal(tensor, found["objective"][name]), name
    for number, moments in expected["optimizer"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(tensor, found["optimizer"]["state"][number][name]), (number, name)


def test_the_step_reseeds_the_noise(tmp_path):
    """The test above can fail: another seed gives other weights."""
    runs = [train(Objective(), config(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    first, second = (load_checkpoint(run / "last")[0]["0.weight"] for run in runs)
    assert not torch.equal(first, second)


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


def test_every_item_once_an_epoch(tmp_path):
    """10 items, batches of 4: 5 steps are two epochs, though one batch spans both."""
    drawn = torch.cat([batch["items"] for batch in batches(Items(10), config(tmp_path, total_iter=5))])
    assert sorted(drawn[:10].tolist()) == sorted(drawn[10:].tolist()) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()


def test_every_draw_of_an_item_is_another_sample(tmp_path):
    drawn = torch.cat([batch["vectors"] for batch in batches(Items(1), config(tmp_path))])
    assert len(drawn.unique(dim=0)) == len(drawn) == 7 * 4


def test_batches_depend_on_the_step_alone(tmp_path):
    for options in (config(tmp_path), config(tmp_path, balance=1.0)):
        data = Items(10, rarity=np.arange(10))
        whole, tail = list(batches(data, options)), list(batches(data, options, first_step=4))
        for one, other in zip(whole[3:], tail, strict=True):
            assert torch.equal(one["vectors"], other["vectors"])


@pytest.mark.parametrize("balance, ratio", [(0.5, 3), (1.0, 9)])
def test_balance_draws_the_rare_more_often(tmp_path, balance, ratio):
    rarity = np.array([0.0, 1.0, 9.0])
    drawn = Counter(torch.cat([batch["items"] for batch in batches(
        Items(3, rarity), config(tmp_path, balance=balance, total_iter=1000))]).tolist())
    assert drawn[0] == 0 and 0.85 * ratio < drawn[2] / drawn[1] < 1.15 * ratio
    with pytest.raises(ValueError, match="no groups to balance"):
        batches(Items(3), config(tmp_path, balance=1.0))


def test_learning_rate():
    options = Training(lr=1.0, warmup=10, total_iter=110)
    assert [learning_rate(step, options) for step in (1, 5, 10, 110)] == [0.1, 0.5, 1.0, 1.0]
    cosine = replace(options, schedule="cosine")
    assert [learning_rate(step, cosine) for step in (5, 10, 60, 110)] == pytest.approx([0.5, 1.0, 0.5, 0.0])
    drops = replace(options, lr_scheduler=(50, 100), gamma=0.1)
    assert [learning_rate(step, drops) for step in (50, 51, 101)] == pytest.approx([1.0, 0.1, 0.01])


def test_two_ranks_equal_one(tmp_path):
    """Same samples, averaged gradients: after 20 steps the same parameters, from `torchrun` on gloo."""
    options = config(tmp_path / "two", total_iter=20, save_iter=20)
    train(Objective(noise=0.0), replace(options, out_dir=str(tmp_path / "one")),
          evaluate=lambda step: dict(error=1.0))
    script = tmp_path / "two_ranks.py"
    script.write_text(f"""
from tests.test_engine import Objective, config, train
from utils.distributed import distributed, rank
with distributed("cpu"):
    train(Objective(noise=0.0), config({str(tmp_path / "two")!r}, total_iter=20, save_iter=20),
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


def test_the_run_stores_its_config(tmp_path):
    options = config(tmp_path)
    run = train(Objective(), options)
    assert json.loads((run / "config.json").read_text()) == to_json(options)


def test_compile_is_asked_for_once_and_changes_no_name(tmp_path, monkeypatch):
    """The compiler itself needs a C++ compiler, which a machine that runs the tests need not have."""
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **how: asked.append((module, how)))
    objective = Objective()
    folder = train(objective, config(tmp_path, compile=True))
    assert asked == [(objective, dict(dynamic=True))]
    assert set(load_checkpoint(folder / "last")[0]) == set(objective.net.state_dict())
    train(Objective(), config(tmp_path, compile=False))    # the same run, whichever way it goes on
