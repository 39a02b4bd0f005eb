"""Products of float32 in training on a CPU, by oneDNN. The library that PyTorch takes for them, Intel's MKL, needs twice as
long on an AMD EPYC (Zen 5, two cores): 17 against 7 ms for (512, 3072) times (3072, 1024)."""

from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PART = 1024     # rows that stay in the cache while they are worked on


class Linear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., I) -> x weight^T + bias (..., O), for weight (O, I) and bias (O,), as `F.linear`."""
    by_onednn = (not torch.compiler.is_compiling() and torch.is_grad_enabled() and suits_onednn(x)
                 and not torch.is_autocast_enabled("cpu"))
    return Product.apply(x, weight, bias) if by_onednn else F.linear(x, weight, bias)


class Product(torch.autograd.Function):
    """`F.linear` and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        for_x, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), rows = ctx.saved_tensors, gradient.reshape(-1, gradient.shape[-1])
        return (product(gradient, weight.T) if weight is not None else None,
                sum_of_products(rows, x.reshape(-1, x.shape[-1])) if x is not None else None,
                rows.sum(dim=0) if ctx.needs_input_grad[2] else None)


def sum_of_products(y: Tensor, x: Tensor) -> Tensor:
    """y^T x (O, I) for y (R, O) and x (R, I)."""
    return reduce(Tensor.add_, (product(of_y.T, of_x.T) for of_y, of_x in zip(y.split(PART), x.split(PART))))


class Convolution(torch.autograd.Function):
    """What each of K taps sees of x (B, T, I), at its frames (K slices), side by side, times weight (O, K I), and bias
    (O,): (B, T', O). Weight and bias may have more bits than x, and their gradients' sums have as many.

    What taps see is K times as much as x. So it is made, on a CPU for a few clips at a time, and made again for the
    gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, frames: list[slice]) -> Tensor:
        ctx.frames, ctx.dtype = frames, weight.dtype
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        ctx.save_for_backward(x, weight)
        found = [product(taps(part, frames), weight, bias) for part in x.split(clips_at_once(x, frames))]
        return found[0] if len(found) == 1 else torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), frames = ctx.saved_tensors, ctx.frames
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        of_x, of_weight, count = torch.zeros_like(x) if for_x else None, None, clips_at_once(x, frames)
        for first in range(0, max(1, len(x)), count):
            part = slice(first, first + count)
            seen, rows = taps(x[part], frames), gradient[part].flatten(0, 1)
            if for_weight:
                found = product(rows.T, seen.flatten(0, 1).T).to(ctx.dtype)
                of_weight = found if of_weight is None else of_weight.add_(found)
            if for_x:
                of_seen = product(rows, weight.T).view_as(seen)
                for at, of_tap in zip(frames, of_seen.chunk(len(frames), dim=-1)):
                    of_x[part, at] += of_tap
        return of_x, of_weight, gradient.sum(dim=(0, 1), dtype=ctx.dtype) if for_bias else None, None


def taps(x: Tensor, frames: list[slice]) -> Tensor:
    """x (B, T, I) at the frames of each tap, side by side (B, T', K I)."""
    seen = [x[:, at] for at in frames]
    return seen[0] if len(seen) == 1 else torch.cat(seen, dim=-1)


def clips_at_once(x: Tensor, frames: list[slice]) -> int:
    """Of x (B, T, I): on a CPU as many as give `PART` rows of a product, but one at least; elsewhere all."""
    rows = len(range(*frames[0].indices(x.shape[1])))
    return max(1, PART // max(1, rows) if x.device.type == "cpu" else len(x))


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` without gradients."""
    if suits_onednn(x):
        return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def suits_onednn(x: Tensor) -> bool:
    available = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    return available and x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0
