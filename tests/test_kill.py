"""Runs that are killed, that lose a rank and that find the disk full: the same command ends with the same weights.

Kills need a process of their own that can be forked: it has imported what takes seconds, but started no thread.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor

import train_causal_tae
from test_engine import Objective, config, train
from utils.checkpoint import load_training_state, newest_whole, point, prune, save_checkpoint, step_folder, steps
from utils.errors import run
from utils.log import Log

resource = pytest.importorskip("resource")    # not on Windows, which has no fork and no kill either
ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | dict(PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'tests'}", OMP_NUM_THREADS="1")
STEPS = 140
TAE_FLAGS = ["--preset", "tiny", "--total-iter", str(STEPS), "--save-iter", "4", "--print-iter", "1",
             "--eval-iter", "20", "--device", "cpu"]


def in_own_process(function: Callable[..., None], *arguments: object) -> subprocess.CompletedProcess:
    """Call a function of this file; its last line on stdout is for the test that called."""
    code = f"import test_kill; test_kill.{function.__name__}(*{arguments!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, timeout=300)


def fork(function: Callable[[], None]) -> int:
    """Start a copy of this process that calls `function` and ends -> its number."""
    if number := os.fork():
        return number
    status = 1
    try:
        function()
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


def assert_same_run(found: Path, expected: Path) -> None:
    """Every bit of every checkpoint, what the links point at, and no litter; TensorBoard apart."""
    for folder in (found, expected):
        assert not list(folder.glob(".*"))
    assert [path.name for path in steps(found)] == [path.name for path in steps(expected)]
    for link in found.glob("[lb]*st"):
        assert os.readlink(link) == os.readlink(expected / link.name)
    for folder in steps(expected):
        for name in ("model.safetensors", "config.json"):
            assert (folder / name).read_bytes() == (found / folder.name / name).read_bytes(), folder
        assert bits(load_training_state(folder)) == bits(load_training_state(found / folder.name)), folder


def bits(value: Any) -> Any:
    """`value` with its tensors as bytes. (The file of equal values may differ: pickle writes the same string once.)"""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return {name: bits(one) for name, one in value.items()}
    return [bits(one) for one in value] if isinstance(value, (list, tuple)) else value


def scalars(run: Path, purge: bool = True) -> dict[str, list[tuple[int, float]]]:
    """Tag -> steps and values, but for what is of the machine, which has the steps only."""
    events = EventAccumulator(str(run), purge_orphaned_data=purge).Reload()
    return {tag: [(event.step, 0.0 if tag.startswith("run/") else event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]}


def kill_ten_times(data_root: str, folder: str) -> None:
    """Train a TAE in `whole`, uninterrupted, and in `killed`; print in how many saves a kill fell."""
    def training(out_dir: str) -> Callable[[], None]:
        sys.argv = ["train_causal_tae.py", *TAE_FLAGS, "--data-root", data_root, "--out-dir", out_dir]
        return train_causal_tae.main

    def wait_for(change: Callable[[], bool]) -> None:
        while not change():
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "the run ended before it was killed"
            time.sleep(0.0005)

    def leftover() -> list[Path]:
        return list(killed.glob(".step-*"))

    train_causal_tae.videos = lambda tae, clips: {}                # take time, and are not compared
    uninterrupted = fork(training(f"{folder}/whole"))
    killed, chance, in_saves = Path(folder) / "killed" / "tae_tiny", random.Random(0), 0
    for kill in range(10):
        time.sleep(1 - time.time() % 1)    # event files are ordered by their first second; imports usually take longer
        child = fork(training(f"{folder}/killed"))
        for _ in range(chance.randint(0, 3) if kill % 2 else 1):    # after some checkpoints
            last = newest(killed)
            wait_for(lambda: newest(killed) != last)
        if not kill % 2:                                            # in a save, each other time
            wait_for(lambda: not leftover())
            wait_for(leftover)
        time.sleep(chance.uniform(0, 0.1 if kill % 2 else 0.003))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        in_saves += bool(leftover())
    assert os.waitpid(fork(training(f"{folder}/killed")), 0)[1] == os.waitpid(uninterrupted, 0)[1] == 0
    print(f"\n{in_saves}")


def newest(run: Path) -> str:
    """What `last` points at; "" if there is none."""
    return os.readlink(run / "last") if (run / "last").is_symlink() else ""


def test_killed_ten_times_equals_uninterrupted_bit_for_bit(data, tmp_path):
    ended = in_own_process(kill_ten_times, str(data), str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.splitlines()[-1]) >= 1
    killed, whole = tmp_path / "killed" / "tae_tiny", tmp_path / "whole" / "tae_tiny"
    assert_same_run(killed, whole)
    expected = scalars(whole)
    assert [step for step, _ in expected["train/loss"]] == list(range(1, STEPS + 1))
    assert scalars(killed) == expected
    logged = scalars(killed, purge=False)    # what is there twice is there twice alike
    assert {tag: sorted(set(values)) for tag, values in logged.items()} == expected
    assert len(logged["train/loss"]) > STEPS


def test_an_event_file_that_ends_within_a_record(tmp_path):
    """As a kill leaves it. Steps up to the checkpoint, flushed before, are not in the record that is cut off."""
    file = None
    for first, last in ((1, 4), (3, 6)):
        log = Log(tmp_path, first, 6, 1, torch.device("cpu"))
        for step in range(first, last + 1):
            log.show_metrics(step, dict(loss=step))
        log.close()
        (file,) = set(tmp_path.iterdir()) - {file}
        if first == 1:
            file.write_bytes(file.read_bytes()[:-5])
            time.sleep(1.1)
    assert scalars(tmp_path) == {"val/loss": [(step, step) for step in range(1, 7)]}


def test_what_was_logged_is_on_disk_before_a_checkpoint_is(tmp_path, monkeypatch):
    """Else a kill after the save leaves a gap. TensorBoard's thread is made slow, as on a busy disk."""
    write, save = RecordWriter.write, save_checkpoint

    def checked(folder: Path, *what: Any) -> None:
        assert [step for step, _ in scalars(folder.parent)["train/loss"]] == list(range(1, int(folder.name[-8:]) + 1))
        save(folder, *what)

    monkeypatch.setattr(RecordWriter, "write", lambda writer, record: (time.sleep(0.02), write(writer, record)))
    monkeypatch.setattr("utils.checkpoint.save_checkpoint", checked)
    assert len(steps(train(Objective(), config(tmp_path)))) == 2


def kill_before_each_file_operation(folder: str) -> None:
    """Save step 2 after step 1, once for each operation of the save, and print how many there were."""
    def save() -> None:
        save_checkpoint(step_folder(folder, 2), dict(weight=torch.ones(9)), dict(width=2), dict(step=2))
        point(Path(folder) / "last", step_folder(folder, 2))
        prune(folder, keep=1)

    def killed_before(operation: int) -> Callable[[], None]:
        def count(event: str, _: tuple) -> None:
            nonlocal operation
            operation -= event == "open" or event.startswith(("os.", "shutil."))
            if not operation:
                os.kill(os.getpid(), signal.SIGKILL)

        return lambda: (sys.addaudithook(count), save())

    operation, status = 0, signal.SIGKILL
    while status:
        operation += 1
        save_checkpoint(step_folder(folder, 1), dict(weight=torch.zeros(9)), dict(width=1), dict(step=1))
        point(Path(folder) / "last", step_folder(folder, 1))
        prune(folder, keep=1)
        assert sorted(os.listdir(folder)) == ["last", "step-00000001"]
        status = os.waitpid(fork(killed_before(operation)), 0)[1]
        found, state, damaged = newest_whole(folder)
        assert state["step"] in (1, 2) and found == step_folder(folder, state["step"]) and not damaged
        save()
        assert sorted(os.listdir(folder)) == ["last", "step-00000002"]
    print(f"\n{operation - 1}")


def test_a_kill_before_any_file_operation_of_a_save(tmp_path):
    """There is always a whole checkpoint, the new one or the one before, and the next save clears up."""
    ended = in_own_process(kill_before_each_file_operation, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.splitlines()[-1]) > 20


LOSES_A_RANK = """
import os, signal, sys
from pathlib import Path
from test_engine import Objective, config, train
from utils.distributed import distributed, rank

class Dying(Objective):
    def forward(self, batch, step):    # rank 0, which writes, in the first attempt
        if (os.environ["TORCHELASTIC_RESTART_COUNT"], step, rank()) == ("0", 5, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch, step)

with distributed("cpu"):
    for name, kind in dict(killed=Dying, whole=Objective).items():
        train(kind(), config(Path(sys.argv[1], name), total_iter=8, save_iter=2))
"""


def test_torchrun_restarts_a_run_that_lost_a_rank(tmp_path):
    script = tmp_path / "two_ranks.py"
    script.write_text(LOSES_A_RANK)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=3"]
    ended = subprocess.run([*torchrun, script, tmp_path], env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert f"Resuming from {tmp_path / 'killed' / 'run' / 'step-00000004'}." in ended.stdout
    assert_same_run(tmp_path / "killed" / "run", tmp_path / "whole" / "run")
    assert scalars(tmp_path / "killed" / "run") == scalars(tmp_path / "whole" / "run")


class DiskFull(Objective):
    """From step 5 on no file may be larger than `limit` bytes. `ballast` makes the model's file larger."""

    def __init__(self, limit: int, ballast: int) -> None:
        super().__init__()
        self.limit, self.ballast = limit, ballast

    def forward(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        if step == 5 and self.limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.RLIM_INFINITY))
        return super().forward(batch, step)

    def checkpoint(self) -> tuple[dict[str, Tensor], dict]:
        tensors, described = super().checkpoint()
        return tensors | dict(ballast=torch.zeros(self.ballast)), described


FILES_TOO_LARGE = dict(training=(2500, 1), model=(4000, 9999), tensorboard=(100, 1))    # limit, ballast


def fill_the_disk(folder: str) -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, (limit, ballast) in FILES_TOO_LARGE.items():
        try:
            run(lambda: train(DiskFull(limit, ballast), config(Path(folder) / name)))
        except SystemExit as end:
            assert end.code == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
    ended = in_own_process(fill_the_disk, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    said = ("error: There is no space to write {} (File too large); what was written before is whole. Make space there "
            "and repeat the command.")
    runs = {name: tmp_path / name / "run" for name in FILES_TOO_LARGE}
    assert ended.stderr.splitlines() == [said.format(path) for path in (
        runs["training"] / "step-00000006", runs["model"] / "step-00000006", runs["tensorboard"])]
    for name, (_, ballast) in FILES_TOO_LARGE.items():
        found = runs[name]
        assert sorted(path.name for path in found.glob("[!e]*")) == ["config.json", "last", "step-00000003"]
        folder, _, damaged = newest_whole(found)
        assert folder == step_folder(found, 3) and not damaged
        train(DiskFull(0, ballast), config(tmp_path / name))
        expected = train(DiskFull(0, ballast), config(tmp_path / name / "whole"))
        assert_same_run(found, expected)
        assert scalars(found) == scalars(expected)


def test_a_checkpoint_of_another_model_refuses(tmp_path):
    """Also under the run's own config, where somebody copied it."""
    found = train(Objective(), config(tmp_path))
    other = Objective()
    other.net = torch.nn.Linear(4, 4)
    copied = train(other, config(tmp_path / "other"))
    shutil.rmtree(step_folder(found, 7))
    step_folder(copied, 7).rename(step_folder(found, 7))
    with pytest.raises(ValueError, match="step-00000007 is a checkpoint of another model than .*-name") as refusal:
        train(Objective(), config(tmp_path))
    assert "\n" not in str(refusal.value)
