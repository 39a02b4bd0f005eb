"""Training in float32 on a CPU: linear layers and convolutions by oneDNN, and no work for padding.

The library that PyTorch takes for them, Intel's MKL, needs twice as long on an AMD EPYC with AVX-512 (Zen 5, two
cores): 17 against 7 ms for (512, 3072) times (3072, 1024). Without AVX-512 (Zen 3) it is the quicker one, by a third,
and stays. A convolution is one such layer over what its taps see, on any device.

In bfloat16 a processor with AMX multiplies so fast that all else counts: so the AR model and MoSa's transformer can be
compiled, at a few shapes, since a batch's clips, tokens and rows differ in number each time.
"""

from collections.abc import Callable
from functools import cache, reduce
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from generation.fast.layers import frames_of_taps, taps
from models.causal_tae import CausalConv1d
from models.head import DiffusionHead
from models.mosa.transformer import Block, ScaleTransformer
from models.text_transformer import Prompt
from models.transformer import StreamingTransformer

Network = TypeVar("Network", bound=nn.Module)
PART = 1024     # rows that stay in the cache while they are worked on
TOKENS, LATENTS, ROWS = 32, 16, 256    # of whose multiples the compiled parts see as many


def accelerate_training(model: Network) -> Network:
    """Change the classes of a network's parts, in place; parameters stay the same, with their names. Returned too."""
    for module in model.modules():
        if type(module) is CausalConv1d:
            module.weight.data = module.weight.data.mT.contiguous().mT    # so that the taps lie side by side
        module.__class__ = FASTER.get(type(module), type(module))
    return model


def compile_training(model: StreamingTransformer | ScaleTransformer) -> None:
    """Let an AR model's steps, or MoSa's, be compiled, in place; what it does without gradients is not."""
    for module in model.modules():
        module.__class__ = COMPILED.get(type(module), type(module))


class Conv(CausalConv1d):
    """CausalConv1d by `Convolution`."""

    def forward(self, x: Tensor, cache: dict | None = None) -> Tensor:
        x, matrix = self.pad(x, cache), self.weight.mT.flatten(1)         # (outputs, kernel * inputs)
        frames = frames_of_taps(self, x.shape[1])
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return F.linear(taps(x, frames), matrix, self.bias)
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return Convolution.apply(x, matrix, self.bias, frames)


class PackedTransformer(StreamingTransformer):
    """Norms and linear layers see the valid positions only, side by side (N, D); the attention sees them laid out."""

    def conditions(self, latents: Tensor, prompt: Prompt, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            return super().conditions(latents, prompt)
        first, x = self.config.text_positions - 1, self.prefix(latents, prompt)
        padding = Padding(torch.arange(x.shape[1], device=x.device) <= first + lengths[:, None])    # text and latents
        rope, x = self.rope[:, :x.shape[1]], padding.remove(x)                            # (N, D)
        for block, text in zip(self.blocks, self.text_of_blocks(prompt)):
            attention = block.attention
            qkv = attention.split_heads(padding.restore(attention.qkv(block.norm_attention(x))))
            x = x + attention.out(padding.remove(attention.attend(*qkv, rope)))
            if block.cross is not None:
                q = padding.restore(block.cross.query(block.norm_cross(x)))               # (B, L, D)
                x = x + block.cross.out(padding.remove(block.cross.attend(q, *text)))
            x = x + block.mlp(block.norm_mlp(x))
        return padding.restore(self.out(self.norm(x)))[:, first:]


class CompiledTransformer(StreamingTransformer):
    """What has a gradient is compiled, at one of a few shapes: zeros fill the tokens and the latents up to it."""

    def prompt(self, text: Tensor) -> Prompt:
        if not torch.is_grad_enabled():
            return super().prompt(text)
        return compiled(StreamingTransformer.prompt)(self, text if self.text is None else filled(text, 1, TOKENS))

    def conditions(self, latents: Tensor, prompt: Prompt, lengths: Tensor | None = None) -> Tensor:
        if lengths is not None or not torch.is_grad_enabled():
            return super().conditions(latents, prompt, lengths)
        filled_up = filled(latents, 1, LATENTS)[:, :self.most_latents]
        return compiled(StreamingTransformer.conditions)(self, filled_up, prompt)[:, :latents.shape[1] + 1]


class CompiledHead(DiffusionHead):
    """Likewise, with the rows filled up."""

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return super().forward(x, t, condition)
        return compiled(DiffusionHead.forward)(self, *(filled(one, 0, ROWS) for one in (x, t, condition)))[:len(x)]


class CompiledScales(ScaleTransformer):
    """MoSa's transformer, whose texts are filled up; rows of zeros count for nothing there."""

    def read(self, text: Tensor, lengths: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return super().read(filled(text, 1, TOKENS) if torch.is_grad_enabled() else text, lengths)


class CompiledBlock(Block):
    """One of its blocks; all are alike."""

    def forward(self, x: Tensor, *others: Any) -> Tensor:
        return (compiled(Block.forward) if torch.is_grad_enabled() else Block.forward)(self, x, *others)


@cache
def compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=False)


def filled(x: Tensor, dim: int, multiple: int) -> Tensor:
    """x with zeros behind, along a dimension, up to a multiple of so many."""
    shape = list(x.shape)
    shape[dim] = -shape[dim] % multiple
    return torch.cat([x, x.new_zeros(shape)], dim)


class Padding:
    """Which positions of (B, L) are valid, to take the others out and to put them back as zeros."""

    def __init__(self, valid: Tensor):
        self.shape = valid.shape                                          # (B, L)
        self.rows = valid.flatten().nonzero()[:, 0]                       # (N,)

    def remove(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (N, D)"""
        return x.flatten(0, 1).index_select(0, self.rows)

    def restore(self, x: Tensor) -> Tensor:
        """(N, D) -> (B, L, D)"""
        return x.new_zeros(self.shape.numel(), x.shape[-1]).index_copy(0, self.rows, x).unflatten(0, self.shape)


class Linear(nn.Linear):
    """nn.Linear by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., I) -> x weight^T + bias (..., O), for weight (O, I) and bias (O,), as `F.linear`."""
    by_onednn = (not torch.compiler.is_compiling() and torch.is_grad_enabled() and suits_onednn(x)
                 and not torch.is_autocast_enabled("cpu"))
    return LinearFunction.apply(x, weight, bias) if by_onednn else F.linear(x, weight, bias)


class LinearFunction(torch.autograd.Function):
    """`F.linear` and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        for_x, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        return matmul(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), rows = ctx.saved_tensors, gradient.reshape(-1, gradient.shape[-1])
        return (matmul(gradient, weight.T) if weight is not None else None,
                outer_sum(rows, x.reshape(-1, x.shape[-1])) if x is not None else None,
                rows.sum(dim=0) if ctx.needs_input_grad[2] else None)


def outer_sum(y: Tensor, x: Tensor) -> Tensor:
    """y^T x (O, I) for y (R, O) and x (R, I)."""
    return reduce(Tensor.add_, (matmul(y_part.T, x_part.T) for y_part, x_part in zip(y.split(PART), x.split(PART))))


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
        found = [matmul(taps(part, frames), weight, bias) for part in x.split(clips_at_once(x, frames))]
        return found[0] if len(found) == 1 else torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), frames = ctx.saved_tensors, ctx.frames
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        x_grad, weight_grad, count = torch.zeros_like(x) if for_x else None, None, clips_at_once(x, frames)
        for first in range(0, max(1, len(x)), count):
            part = slice(first, first + count)
            seen, rows = taps(x[part], frames), gradient[part].flatten(0, 1)
            if for_weight:
                found = matmul(rows.T, seen.flatten(0, 1).T).to(ctx.dtype)
                weight_grad = found if weight_grad is None else weight_grad.add_(found)
            if for_x:
                seen_grad = matmul(rows, weight.T).view_as(seen)
                for at, tap_grad in zip(frames, seen_grad.chunk(len(frames), dim=-1)):
                    x_grad[part, at] += tap_grad
        return x_grad, weight_grad, gradient.sum(dim=(0, 1), dtype=ctx.dtype) if for_bias else None, None


def clips_at_once(x: Tensor, frames: list[slice]) -> int:
    """Of x (B, T, I): on a CPU as many as give `PART` rows of a layer, but one at least; elsewhere all."""
    rows = len(range(*frames[0].indices(x.shape[1])))
    return max(1, PART // max(1, rows) if x.device.type == "cpu" else len(x))


def matmul(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` without gradients."""
    if suits_onednn(x):
        return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def suits_onednn(x: Tensor) -> bool:
    available = (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
                 and torch.backends.cpu.get_cpu_capability() == "AVX512")
    return available and x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0


COMPILED = {StreamingTransformer: CompiledTransformer, PackedTransformer: CompiledTransformer,
            DiffusionHead: CompiledHead, ScaleTransformer: CompiledScales, Block: CompiledBlock}
FASTER = {nn.Linear: Linear, CausalConv1d: Conv, StreamingTransformer: PackedTransformer}
