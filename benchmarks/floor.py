"""What a latent, as it is sampled here, needs of the machine: the weights that its linear layers read and the
operations that they do, and how long that would take if nothing else did.

Norms, sums and the attention itself are left out; they are small. Both rates are measured on the machine: bytes a
second by summing as many as the model's weights, operations a second by a large matmul of the same precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.timing import timed
from generation.fast.layers import PACKED, packed

SIDE, ROWS = 2048, 512         # of the large matmul; four times as large on a GPU
REPEATS = 5
QUEUED = 50                    # calls that a GPU is given at once, so that it works all the time


@dataclass
class Needs:
    """Of some work, all its linear layers together."""
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
        large, calls = (1, 1) if device.type == "cpu" else (4, QUEUED)
        weights = torch.ones(sum(map(bytes_of, linear_layers(model))) // 4, device=device)
        layer = packed(torch.randn(large * SIDE, large * SIDE, device=device), None, precision, large * ROWS)
        x = torch.randn(large * ROWS, large * SIDE, device=device)

        def rate(work: Callable[[], object], gigas: float) -> float:
            seconds = [timed(lambda: [work() for _ in range(calls)])[0] for _ in range(1 + REPEATS)]
            return calls * gigas / median(seconds[1:])

        return cls(rate(weights.sum, weights.nbytes / 1e9), rate(lambda: layer(x), 2 * x.numel() * len(x.T) / 1e9))


def needs(model: nn.Module, rates: Rates, work: Callable[[], object]) -> Needs:
    """What a model's linear layers need while it does some work, each the longer of its reading and its operations."""
    found = Needs()

    def count(layer: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
        gigabytes = bytes_of(layer) / 1e9
        operations = 2 * given[0].numel() * result.shape[-1] / 1e9
        found.megabytes += 1000 * gigabytes
        found.gigaoperations += operations
        found.seconds += max(gigabytes / rates.bytes, operations / rates.operations)

    hooks = [layer.register_forward_hook(count) for layer in linear_layers(model)]
    work()
    for hook in hooks:
        hook.remove()
    return found


def linear_layers(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, PACKED)]


def bytes_of(layer: nn.Module) -> int:
    """Of its weights."""
    return layer.inputs * layer.outputs * layer.bytes_each
