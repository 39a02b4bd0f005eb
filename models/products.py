"""Products of float32 in training on a CPU, by oneDNN: the library that PyTorch takes for them, Intel's MKL, knows no
instructions of 512 bits on an AMD processor, and needs twice as long there."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (for_x, for_weight, for_bias) = ctx.saved_tensors, ctx.needs_input_grad
        rows, x = gradient.reshape(-1, len(weight)), x.reshape(-1, x.shape[-1])
        return (product(gradient, weight.T) if for_x else None,
                sum(product(of_rows.T, of_x.T) for of_rows, of_x in zip(rows.split(PART), x.split(PART)))
                if for_weight else None,
                rows.sum(dim=0) if for_bias else None)


class Convolution(torch.autograd.Function):
    """What each of K taps sees of x (B, T, I), at its frames (K slices), side by side, times weight (O, K I), and bias
    (O,): (B, T', O). Weight and bias may have more bits than x; their gradients are sums, and keep them.

    What taps see is K times as much as x. So it is made for a few clips at a time, and made again for the gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, frames: list[slice]) -> Tensor:
        ctx.frames, ctx.dtype = frames, weight.dtype
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        ctx.save_for_backward(x, weight)
        found = [product(taps(part, frames), weight, bias) for part in x.split(clips_at_once(x, frames))]
        return found[0] if len(found) == 1 else torch.cat(found)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), frames = ctx.saved_tensors, ctx.frames
        of_x, of_weight = torch.zeros_like(x) if ctx.needs_input_grad[0] else None, None
        count = clips_at_once(x, frames)
        for first in range(0, len(x), count):
            part = slice(first, first + count)
            seen, rows = taps(x[part], frames), gradient[part].flatten(0, 1)
            found = product(rows.T, seen.flatten(0, 1).T).to(ctx.dtype)
            of_weight = found if of_weight is None else of_weight.add_(found)
            if of_x is not None:
                of_seen = product(rows, weight.T).view_as(seen)
                for at, of_tap in zip(frames, of_seen.chunk(len(frames), dim=-1)):
                    of_x[part, at] += of_tap
        return of_x, of_weight, gradient.sum(dim=(0, 1), dtype=ctx.dtype), None


def taps(x: Tensor, frames: list[slice]) -> Tensor:
    """x (B, T, I) at the frames of each tap, side by side (B, T', K I)."""
    return torch.cat([x[:, at] for at in frames], dim=-1)


def clips_at_once(x: Tensor, frames: list[slice]) -> int:
    """Of x (B, T, I): as many as have `PART` frames to be seen, or on a GPU all."""
    return max(1, PART // x[0, frames[0]].shape[0] if x.device.type == "cpu" else len(x))


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` without gradients."""
    if suits_onednn(x):
        return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def suits_onednn(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0 and torch.backends.mkldnn.is_available()
