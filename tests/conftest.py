"""What several test files share."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

# Numbers computed with the published code; the environment may name a fuller set than the one beside the tests.
GOLDEN = Path(os.environ.get("MOTION_GOLDEN") or Path(__file__).parent / "golden")

torch.set_num_threads(1)    # the networks here are too small to be worth sharing between cores


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same numbers, alone or among others."""
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
