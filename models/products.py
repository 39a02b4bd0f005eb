"""Products of float32 in training on a CPU, by oneDNN: the library that PyTorch takes for them, Intel's MKL, knows no
instructions of 512 bits on an AMD processor, and needs twice as long there."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PART = 1024     # rows


class Linear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., I) -> x weight^T + bias (..., O), for weight (O, I) and bias (O,), as `F.linear`."""
    by_onednn = (not torch.compiler.is_compiling() and torch.is_grad_enabled() and x.device.type == "cpu"
                 and x.dtype == weight.dtype == torch.float32 and x.numel() and torch.backends.mkldnn.is_available()
                 and not torch.is_autocast_enabled("cpu"))
    return Product.apply(x, weight, bias) if by_onednn else F.linear(x, weight, bias)


class Product(torch.autograd.Function):
    """`F.linear` and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (for_x, for_weight, for_bias) = ctx.saved_tensors, ctx.needs_input_grad
        rows, x = gradient.reshape(-1, len(weight)), x.reshape(-1, x.shape[-1])
        return (onednn(gradient, weight.T) if for_x else None,
                sum_of_products(rows, x) if for_weight else None,
                rows.sum(dim=0) if for_bias else None)


def sum_of_products(y: Tensor, x: Tensor) -> Tensor:
    """y^T x (O, I) for y (R, O) and x (R, I). A part of the rows stays in the cache while it is worked on."""
    parts = (onednn(of_y.T, of_x.T) for of_y, of_x in zip(y.split(PART), x.split(PART)))
    total = next(parts)
    for part in parts:
        total += part
    return total


def onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
