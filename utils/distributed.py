"""One process or many: the same script under `python` and under `torchrun`.

W ranks that share a batch train as one would, since each computes the loss of the whole batch: its sums and rows are
taken over all ranks, with their gradients, and its random numbers are sampled for all rows, by all ranks alike. The
gradient that a rank finds is then W times its own rows' part, as W equal losses depend on them; and
DistributedDataParallel averages these to the gradient of the one loss. In evaluation, without gradients, each rank
works by itself.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import PrefixStore    # pyright: ignore[reportPrivateImportUsage]  it is documented
from torch.distributed.rendezvous import rendezvous


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
    # A restart by torchrun comes with the store that still holds the dead ranks' addresses, so each attempt has a part
    # of its own. Several nodes count attempts each for itself: there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 is needed.
    store, number, count = next(rendezvous("env://"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else "0"
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", store=PrefixStore(attempt, store),
                            rank=number, world_size=count)
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


def sharing() -> int:
    """The number of ranks that share a batch: all in training; one under no_grad, so sample before such a block."""
    return world_size() if torch.is_grad_enabled() else 1


class _Sum(torch.autograd.Function):
    """Every rank's loss depends on every rank's x, so the gradients are summed like the values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:    # pyright: ignore[reportIncompatibleMethodOverride]
        return _Sum.apply(gradient)


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of all ranks' x, of one shape, elementwise."""
    return _Sum.apply(x) if sharing() > 1 else x


def mean_of_all(x: Tensor) -> Tensor:
    """The mean over all elements of all ranks' x, however many each has."""
    if sharing() == 1:
        return x.mean()
    total, count = sum_over_ranks(torch.stack([x.sum(), x.new_tensor(x.numel())]))
    return total / count


def of_all_ranks(x: Tensor) -> Tensor:
    """The rows of the whole batch: x (B, ...) of all ranks -> (W B, ...), in the order of the ranks."""
    if sharing() == 1:
        return x
    before, after = rank() * len(x), (world_size() - 1 - rank()) * len(x)
    return sum_over_ranks(F.pad(x, (0, 0) * (x.ndim - 1) + (before, after)))


def own_rows(sample: Callable[[int], Tensor], count: int) -> Tensor:
    """This rank's `count` rows of `sample(rows of the whole batch)`, which is alike on ranks that are seeded alike."""
    return sample(sharing() * count).chunk(sharing())[rank() % sharing()]


def noise_like(x: Tensor) -> Tensor:
    """Standard normal numbers for x (B, ...), its rows of those of the whole batch."""
    return own_rows(lambda rows: x.new_empty(rows, *x.shape[1:]).normal_(), len(x))


def drop(x: Tensor, share: float) -> Tensor:
    """F.dropout of this rank's rows x (B, ...), sampled for the whole batch."""
    if sharing() == 1:
        return F.dropout(x.contiguous(), share)                               # the strides would change what is sampled
    return x * own_rows(lambda rows: F.dropout(x.new_ones(rows, *x.shape[1:]), share), len(x))


class Dropout(nn.Dropout):
    """nn.Dropout by `drop`."""

    def forward(self, x: Tensor) -> Tensor:    # pyright: ignore[reportIncompatibleMethodOverride]  another name
        return drop(x, self.p) if self.training and self.p else x


def padded_alike(x: Tensor) -> Tensor:
    """x (B, L, C) with zeros behind, up to the longest L of all ranks."""
    if sharing() == 1:
        return x
    longest = torch.tensor(x.shape[1], device=x.device)
    dist.all_reduce(longest, dist.ReduceOp.MAX)
    return F.pad(x, (0, 0, 0, int(longest) - x.shape[1]))


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
