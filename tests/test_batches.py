"""Which samples a training step sees, and what happens when one is bad."""

import os
import shutil
import signal
from collections import Counter

import numpy as np
import pytest
import torch

from test_engine import Items, Objective, config, train
from utils.engine import batches


def test_every_item_once_an_epoch(tmp_path):
    """10 items, batches of 4: 5 steps are two epochs, though one batch spans both."""
    sampled = torch.cat([batch["items"] for batch in batches(Items(10), config(tmp_path, total_iter=5))])
    assert sorted(sampled[:10].tolist()) == sorted(sampled[10:].tolist()) == list(range(10))
    assert sampled[:10].tolist() != sampled[10:].tolist()


def test_every_draw_of_an_item_is_another_sample(tmp_path):
    sampled = torch.cat([batch["vectors"] for batch in batches(Items(1), config(tmp_path))])
    assert len(sampled.unique(dim=0)) == len(sampled) == 7 * 4


def test_batches_depend_on_the_step_alone(tmp_path):
    for options in (config(tmp_path), config(tmp_path, balance=1.0)):
        data = Items(10, rarity=np.arange(10))
        whole, tail = list(batches(data, options)), list(batches(data, options, first_step=4))
        for one, other in zip(whole[3:], tail, strict=True):
            assert torch.equal(one["vectors"], other["vectors"])


@pytest.mark.parametrize("balance, ratio", [(0.5, 3), (1.0, 9)])
def test_balance_samples_the_rare_more_often(tmp_path, balance, ratio):
    rarity = np.array([0.0, 1.0, 9.0])
    sampled = Counter(torch.cat([batch["items"] for batch in batches(
        Items(3, rarity), config(tmp_path, balance=balance, total_iter=1000))]).tolist())
    assert sampled[0] == 0 and 0.85 * ratio < sampled[2] / sampled[1] < 1.15 * ratio
    with pytest.raises(ValueError, match="no groups to balance"):
        batches(Items(3), config(tmp_path, balance=1.0))


class Bad(Items):
    """Items whose samples fail in one way."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def name(self, index: int) -> str:
        return f"clip_{index}"

    def sample(self, index: int, rng: np.random.Generator) -> tuple[int, np.ndarray]:
        if self.how == "gone":
            raise FileNotFoundError("no such file")
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return index, self.values[index] * np.nan


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how, said", [
    ("nan", r"^Step 1: the clip clip_\d holds NaN or infinity. Fix it, or take it off its split.$"),
    ("gone", r"^Step 1: the clip clip_\d cannot be sampled \(FileNotFoundError: no such file\). Fix it, .*$"),
])
def test_a_bad_sample_stops_with_the_clips_name(tmp_path, how, said, workers):
    """In one line, also from a worker process."""
    with pytest.raises(ValueError, match=said) as stop:
        train(Objective(), config(tmp_path, workers=workers), Bad(how))
    assert "\n" not in str(stop.value)


def test_a_worker_that_is_killed_names_the_last_good_checkpoint(tmp_path):
    options = config(tmp_path, workers=1)
    shutil.rmtree(train(Objective(), options) / "step-00000007")
    with pytest.raises(ValueError, match="DataLoader worker .* Perhaps memory ran out: repeat the command with fewer "
                                         "--workers; .* last good checkpoint, .*step-00000006.$") as stop:
        train(Objective(), options, Bad("killed"))
    assert "\n" not in str(stop.value)
