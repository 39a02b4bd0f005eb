"""One process or many: the same script under `python` and under `torchrun`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist


@contextmanager
def distributed(device: str = "auto") -> Iterator[torch.device]:
    """Yield this process's device; under torchrun join the other ranks first and part from them afterwards.

    Ranks talk over NCCL on CUDA and over gloo elsewhere. Raises ValueError as `pick_device`.
    """
    chosen = pick_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield chosen
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        dist.destroy_process_group()


def pick_device(device: str = "auto") -> torch.device:
    """"cuda", "mps" or "cpu"; "auto" takes the first of them that this machine has.

    Raises ValueError if the device that was asked for is not there.
    """
    present = dict(cuda=torch.cuda.is_available(), mps=torch.backends.mps.is_available(), cpu=True)
    if device == "auto":
        device = next(name for name in present if present[name])
    if not present.get(device, False):
        names = ", ".join(name for name in present if present[name])
        raise ValueError(f"There is no device {device!r} here, only {names}; give one or --device auto.")
    return torch.device(device)


def rank() -> int:
    """This process's number, 0 when it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def mean_over_ranks(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Average each value over all ranks; every rank calls it with the same keys and gets the same answer."""
    if world_size() == 1 or not values:
        return values
    numbers = torch.tensor(list(values.values()), dtype=torch.float32, device=device)  # MPS knows no float64
    dist.all_reduce(numbers)
    return dict(zip(values, (numbers / world_size()).tolist()))


def wait_for_all() -> None:
    """Return once every rank has called this."""
    if world_size() > 1:
        dist.barrier()


def gather(value: Any) -> list[Any]:
    """Every rank's value, in the order of the ranks; every rank calls it."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values
