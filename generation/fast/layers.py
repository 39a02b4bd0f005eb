"""Linear layers and convolutions for inference: weights packed once for the processor, and low precision if asked.

Activations stay float32 between the layers, norms and sums too; only what is multiplied loses bits. What counts is how
fast the weights come from memory: each pass needs them all, for two rows or, in the diffusion head, twelve and more.

float32   on a CPU the weights in oneDNN's own order. The library that PyTorch takes for float32, Intel's MKL, needs
          three times as long for two rows on an AMD EPYC (Zen 4, two cores). On an Intel Xeon it is the quicker of
          the two for two rows (17 against 36 us for 256 x 256, 456 against 500 for 1792 x 1792) and the slower from
          four on
bfloat16  16 bits. On an x86 CPU without AMX the layers that see two rows keep float16 instead (FBGEMM), which is more
          exact, and faster: 3.9 against 5.2 ms for 18 layers of 1792 x 1792 on that EPYC; for eight rows 7.1 against 5.
          On the Xeon all layers keep it (twelve rows: 10 against 18 ms)
int8      a CPU's alone: weights with a scale for each output, activations with one for each call (FBGEMM). So rows that
          are multiplied together change one another's last of 8 bits: here alone a motion depends on its neighbours
"""

import warnings
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.fast.timesteps import ROWS, ParallelHead
from models.attention import SwiGLU
from models.causal_tae import CausalConv1d
from options.sampling import PRECISIONS

Network = TypeVar("Network", bound=nn.Module)
NARROW = 64         # a layer with fewer inputs or outputs than this stays as it is: the latents go through these


def pack(model: Network, precision: str) -> Network:
    """Change the layers of a network in place, which then serves inference only, where it is; returned too.

    raises  ValueError for an unknown precision, one that the model's device cannot do, and a network packed before
    """
    if any(isinstance(layer, PACKED) for layer in model.modules()):
        raise ValueError("this network was changed for inference before: load it again")
    device = next(model.parameters()).device.type
    if precision not in PRECISIONS:
        raise ValueError(f"the precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if precision == "int8" and device != "cpu":
        raise ValueError(f"int8 is for CPUs, and the model is on {device}: give --device cpu or --precision bfloat16")
    if precision == "int8" and torch.backends.quantized.engine == "none":
        raise ValueError("this build of PyTorch has no linear layers of 8 bits: give --precision bfloat16")
    in_heads = {part for head in model.modules() if isinstance(head, ParallelHead) for part in head.modules()
                if not isinstance(part, nn.Linear)}
    # A list without the linear layers, so that each is freed once it is packed.
    for parent in [module for module in model.modules() if not isinstance(module, nn.Linear)]:
        if isinstance(parent, SwiGLU):
            PackedSwiGLU.take(parent, precision)
        if isinstance(parent, ParallelHead):
            join_modulations(parent, precision)
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, packed(layer.weight, layer.bias, precision, ROWS if parent in in_heads else 2))
        if isinstance(parent, CausalConv1d):
            PackedConv.take(parent, precision)
    return model.requires_grad_(False)


@torch.no_grad()
def join_modulations(head: ParallelHead, precision: str) -> None:
    """One layer in place of all that depend on step and condition."""
    weight, bias = (torch.cat(parts) for parts in zip(*((layer.weight, layer.bias) for layer in head.modulations())))
    for block in head.blocks:
        block.modulation = None
    head.final_modulation = None                            # freed before more is made
    head.joined = packed(weight, bias, precision, ROWS)


class PackedSwiGLU(SwiGLU):
    """Gate and value in one layer."""

    @classmethod
    def take(cls, layer: SwiGLU, precision: str) -> None:
        layer.gate_and_value = packed(torch.cat([layer.gate.weight, layer.value.weight]), None, precision)
        layer.gate = layer.value = None
        layer.__class__ = cls

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.gate_and_value(x).chunk(2, dim=-1)
        return self.out(F.silu(gate) * value)


class PackedConv(CausalConv1d):
    """What each tap sees, side by side, through one linear layer: on a CPU faster than the library's convolution."""

    @classmethod
    def take(cls, layer: CausalConv1d, precision: str) -> None:
        layer.linear = packed(layer.weight.mT.flatten(1), layer.bias, precision)
        layer.weight = layer.bias = None
        layer.__class__ = cls

    def forward(self, x: Tensor, cache: dict | None = None) -> Tensor:
        x = self.pad(x, cache)
        return self.linear(taps(x, frames_of_taps(self, x.shape[1])))


def frames_of_taps(layer: CausalConv1d, count: int) -> list[slice]:
    """Which of `count` padded frames each tap of a convolution sees."""
    (kernel,), (stride,), (dilation,) = layer.kernel_size, layer.stride, layer.dilation
    reach = count - (kernel - 1) * dilation                  # from the first input of a tap to its last
    return [slice(tap * dilation, tap * dilation + reach, stride) for tap in range(kernel)]


def taps(x: Tensor, frames: list[slice]) -> Tensor:
    """x (B, T, I) at the frames of each tap, side by side (B, T', K I)."""
    seen = [x[:, at] for at in frames]
    return seen[0] if len(seen) == 1 else torch.cat(seen, dim=-1)


@torch.no_grad()
def packed(weight: Tensor, bias: Tensor | None, precision: str, rows: int = 2) -> nn.Module:
    """x (..., I) -> x weight^T + bias (..., O), both float32, for weight (O, I) and bias (O,); best for `rows` rows."""
    weight, bias = weight.detach(), None if bias is None else bias.detach()
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    if min(weight.shape) < NARROW:
        return Cast(weight, bias, torch.float32)
    if precision == "int8":
        return Int8(weight, bias)
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return Cast(weight, bias, dtype)
    processor = torch.cpu.get_capabilities()
    intel = "Intel" in processor.get("cpu_name", "")
    if precision == "bfloat16" and "fbgemm" in torch.backends.quantized.supported_engines:
        if not processor.get("avx512_bf16") or (rows <= 2 or intel) and not processor.get("amx_bf16"):
            return Float16(weight, bias)
    if precision == "float32" and rows <= 2 and intel:
        return Cast(weight, bias, dtype)
    return OneDNN(weight, bias, dtype, rows)


class Cast(nn.Module):
    """PyTorch's own linear layer, in another type."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype):
        super().__init__()
        (self.outputs, self.inputs), self.bytes_each = weight.shape, dtype.itemsize
        self.register_buffer("weight", weight.to(dtype))
        self.register_buffer("bias", None if bias is None else bias.to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias).to(x.dtype)


class OneDNN(nn.Module):
    """float32 or bfloat16, packed for so many rows; others are right too."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, rows: int):
        super().__init__()
        (self.outputs, self.inputs), self.bytes_each = weight.shape, dtype.itemsize
        self.dtype = dtype
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype).contiguous(), rows)
        self.bias = None if bias is None else bias.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.ops.mkldnn._linear_pointwise.default(x.to(self.dtype), self.weight, self.bias, "none", [], "")
        return found.to(x.dtype)


class Float16(nn.Module):
    """Weights of 16 bits, multiplied in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        (self.outputs, self.inputs), self.bytes_each = weight.shape, 2
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic_fp16.default(x, self.packed)


class Int8(nn.Module):
    """Weights and activations of 8 bits, sums in 32; activations of 7 where the processor would overflow."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        (self.outputs, self.inputs), self.bytes_each = weight.shape, 1
        scale = torch.linalg.vector_norm(weight, torch.inf, dim=1).clamp(min=1e-12).double() / 127
        with warnings.catch_warnings():                     # that quantised tensors will go: torch is pinned
            warnings.simplefilter("ignore", UserWarning)
            zero = torch.zeros(self.outputs, dtype=torch.long)
            weight = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
            self.packed = torch.ops.quantized.linear_prepack(weight, bias)
        self.reduce_range = not torch.cpu._is_vnni_supported()

    def forward(self, x: Tensor) -> Tensor:
        try:
            return torch.ops.quantized.linear_dynamic.default(x, self.packed, self.reduce_range)
        except RuntimeError:
            if x.isfinite().all():
                raise
            return x.new_full((*x.shape[:-1], self.outputs), torch.nan)    # as the other precisions would go on


PACKED = (Cast, OneDNN, Float16, Int8)         # each of `inputs` and `outputs`, with `bytes_each` weight
