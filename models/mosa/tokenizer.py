"""CAQ-VAE, MoSa's tokenizer: convolutions with attention, and codes of every scale in between (arXiv 2511.01200).

B clips, T frames of the longest motion, D channels, W channels of a level, C channels of a latent, L = T/4 latents.
Every motion is padded to T frames once it is normalised, so that all have the same codes in number. Inside, channels
come before time.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mosa.quantizer import Quantized, Quantizer
from options.models import CAQ

# Channels -> those of the joints' positions, and those of the root, which weigh more.
POSITIONS = {272: slice(8, 74), 263: slice(4, 67)}
ROOT = {272: list(range(8)), 263: [*range(4), *range(259, 263)]}


class MotionCodes(NamedTuple):
    """A batch of motions as codes: ids [(B, s_q)] of each scale, and the frames that they are of."""
    ids: list[Tensor]
    frames: int


def conv3(inputs: int, outputs: int) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, 3, padding=1)


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(4, width, eps=1e-6)


class Block(nn.Module):
    """x + conv3(silu(norm(conv3(silu(norm(x)))))); x by a 1 x 1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), conv3(inputs, outputs)
        self.norm2, self.conv2 = norm(outputs), conv3(outputs, outputs)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """x + one head over all of time."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = norm(width)
        self.qkv, self.out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).mT.chunk(3, dim=-1)              # (B, T, W) each
        return x + self.out(F.scaled_dot_product_attention(q, k, v).mT)


class Down(nn.Module):
    """Half the frames: one zero on the right, then a convolution of stride 2."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1)))


class Up(nn.Module):
    """Every frame twice, then a convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = conv3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.repeat_interleave(2, dim=-1))


class Level(nn.Module):
    """Residual blocks, each with attention behind it on the level of the fewest frames; then `resample`."""

    def __init__(self, inputs: int, outputs: int, depth: int, attends: bool, resample: nn.Module):
        super().__init__()
        self.blocks = nn.ModuleList(Block(outputs if place else inputs, outputs) for place in range(depth))
        self.attentions = nn.ModuleList(Attention(outputs) if attends else nn.Identity() for _ in range(depth))
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        for block, attention in zip(self.blocks, self.attentions):
            x = attention(block(x))                                       # (B, W, T)
        return self.resample(x)


def middle(width: int) -> nn.Sequential:
    return nn.Sequential(Block(width, width), Attention(width), Block(width, width))


class Encoder(nn.Module):
    """Motion (B, D, T) -> latents (B, C, L)."""

    def __init__(self, config: CAQ):
        super().__init__()
        widths = [config.width * factor for factor in config.width_mul]
        last = len(widths) - 1
        self.conv_in = conv3(config.channels, config.width)
        self.levels = nn.ModuleList(
            Level(before, after, config.depth, level == last, Down(after) if level < last else nn.Identity())
            for level, (before, after) in enumerate(zip([config.width, *widths], widths)))
        self.middle, self.norm = middle(widths[-1]), norm(widths[-1])
        self.conv_out = conv3(widths[-1], config.codes.code_dim)

    def forward(self, motion: Tensor) -> Tensor:
        x = self.conv_in(motion)                                          # (B, W, T)
        for level in self.levels:
            x = level(x)                                                  # (B, W, T), (B, W, T/2), (B, W, L)
        return self.conv_out(F.silu(self.norm(self.middle(x))))           # (B, C, L)


class Decoder(nn.Module):
    """Latents (B, C, L) -> motion (B, D, T). Its levels are numbered as the encoder's, and come in the other order."""

    def __init__(self, config: CAQ):
        super().__init__()
        widths = [config.width * factor for factor in config.width_mul]
        last = len(widths) - 1
        self.conv_in, self.middle = conv3(config.codes.code_dim, widths[-1]), middle(widths[-1])
        self.levels = nn.ModuleList(
            Level(before, after, config.depth + 1, level == last, Up(after) if level else nn.Identity())
            for level, (before, after) in enumerate(zip([*widths[1:], widths[-1]], widths)))
        self.norm, self.conv_out = norm(widths[0]), conv3(widths[0], config.channels)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.middle(self.conv_in(latents))                            # (B, W, L)
        for level in reversed(self.levels):
            x = level(x)                                                  # (B, W, T/2), (B, W, T), (B, W, T)
        return self.conv_out(F.silu(self.norm(x)))                        # (B, D, T)


class CAQVAE(nn.Module):
    """Encoder, quantizer and decoder.

    mean, std       (D,) what motions are normalised by, buffers: the training set's, the root's std divided by
                    `feat_bias` once; 0 and 1 until set
    padding         (T, D) what stands behind a motion's end, normalised: zeros; the authors' weights have others
    """

    mean: Tensor
    std: Tensor
    padding: Tensor

    def __init__(self, config: CAQ):
        super().__init__()
        self.config = config
        self.encoder, self.quantizer, self.decoder = Encoder(config), Quantizer(config), Decoder(config)
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("std", torch.ones(config.channels))
        self.register_buffer("padding", torch.zeros(config.frames, config.channels))

    @property
    def frames_per_code(self) -> int:
        return self.config.frames_per_code

    @property
    def has_statistics(self) -> bool:
        return bool((self.std != 1).any())

    def set_statistics(self, mean: Tensor, std: Tensor) -> "CAQVAE":
        """Take the mean and std (D,) of the training set, as its files have them; returns the network."""
        std = std.clone()
        std[ROOT.get(self.config.channels, [])] /= self.config.feat_bias
        self.mean.copy_(mean)
        self.std.copy_(std)
        return self

    def encode(self, motion: Tensor, lengths: Tensor | None = None) -> MotionCodes:
        """motion (B, t, D), t a multiple of 4 and at most T -> its codes.

        lengths  (B,) frames of each row that count; None: all t
        raises   ValueError for another shape
        """
        return MotionCodes(self.quantize(motion, lengths).ids, motion.shape[1])

    def decode(self, codes: MotionCodes) -> Tensor:
        """Codes -> motion (B, t, D), denormalised."""
        return self.decode_latents(self.quantizer.inputs(codes.ids)[1], codes.frames)

    def quantize(self, motion: Tensor, lengths: Tensor | None = None) -> Quantized:
        """As `encode`, but all that the quantizer has of it."""
        if motion.shape[-1] != self.config.channels or motion.shape[1] % self.frames_per_code:
            raise ValueError(f"motion has shape {tuple(motion.shape)}; expected (B, T, {self.config.channels}) with T "
                             f"a multiple of {self.frames_per_code}: cut the clip to whole latents")
        if motion.shape[1] > self.config.frames:
            raise ValueError(f"a motion of {motion.shape[1]} frames: this tokenizer takes {self.config.frames} at "
                             "most: cut it")
        lengths = motion.new_tensor([motion.shape[1]]) if lengths is None else lengths
        return self.quantizer(self.encode_normalised(self.pad((motion - self.mean) / self.std, lengths)))

    def pad(self, motion: Tensor, lengths: Tensor) -> Tensor:
        """motion (B, t, D), normalised -> (B, T, D) with the padding from each row's length on."""
        count = self.config.frames
        motion = F.pad(motion, (0, 0, 0, count - motion.shape[1]))
        inside = torch.arange(count, device=motion.device) < lengths[:, None]             # (B, T)
        return torch.where(inside[..., None], motion, self.padding)

    def encode_normalised(self, motion: Tensor) -> Tensor:
        """motion (B, T, D), normalised and padded -> latents (B, C, L)"""
        return self.encoder(motion.mT)

    def decode_latents(self, latents: Tensor, frames: int | None = None) -> Tensor:
        """latents (B, C, L) -> the first `frames` of their motion (B, 4 L, D), denormalised."""
        return self.decode_normalised(latents)[:, :frames] * self.std + self.mean

    def decode_normalised(self, latents: Tensor) -> Tensor:
        """latents (B, C, L) -> motion (B, 4 L, D), normalised"""
        return self.decoder(latents).mT

    def forward(self, motion: Tensor, beta: float = 1.0) -> tuple[Tensor, Quantized]:
        """motion (B, T, D), normalised and padded -> reconstructed (B, T, D), and what the quantizer found."""
        quantized = self.quantizer(self.encode_normalised(motion), beta)
        return self.decode_normalised(quantized.latents), quantized
