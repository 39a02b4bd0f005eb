"""What drawing a latent needs at least: the weights that its products read and the operations that they do, and how long
that takes where nothing else does.

Norms, sums and the attention's own products are left out; they are small. Both rates are measured on the machine: bytes
a second by summing as many as the model's weights, operations a second by a large product of the same precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.timing import timed
from models.precision import PRODUCTS, packed

SIDE, ROWS = 2048, 512         # of the large product
REPEATS = 5


@dataclass
class Needs:
    """Of some work, all its products together."""
    megabytes: float = 0.0
    gigaoperations: float = 0.0
    seconds: float = 0.0


@dataclass
class Rates:
    """Gigabytes and gigaoperations a second at best."""
    bytes: float
    operations: float

    @classmethod
    @torch.inference_mode()
    def of(cls, model: nn.Module, precision: str, device: torch.device) -> "Rates":
        """For a model at its precision."""
        weights = torch.ones(sum(map(bytes_of, products(model))) // 4, device=device)
        layer = packed(torch.randn(SIDE, SIDE, device=device), None, precision, ROWS)
        x = torch.randn(ROWS, SIDE, device=device)
        seconds = [median([timed(work)[0] for _ in range(1 + REPEATS)][1:])
                   for work in (weights.sum, lambda: layer(x))]
        return cls(weights.nbytes / 1e9 / seconds[0], 2 * ROWS * SIDE ** 2 / 1e9 / seconds[1])


def needs(model: nn.Module, rates: Rates, work: Callable[[], object]) -> Needs:
    """What the products of a model need while it does some work, each the longer of its reading and its operations."""
    found = Needs()

    def count(layer: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
        gigabytes = bytes_of(layer) / 1e9
        operations = 2 * given[0].numel() * result.shape[-1] / 1e9
        found.megabytes += 1000 * gigabytes
        found.gigaoperations += operations
        found.seconds += max(gigabytes / rates.bytes, operations / rates.operations)

    hooks = [layer.register_forward_hook(count) for layer in products(model)]
    work()
    for hook in hooks:
        hook.remove()
    return found


def products(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, PRODUCTS)]


def bytes_of(layer: nn.Module) -> int:
    """Of its weights."""
    return layer.inputs * layer.outputs * layer.bytes_each
