"""The causal temporal autoencoder (TAE): four frames of motion <-> one latent (MotionStreamer, section 3.2).

B clips, T frames, L = T/4 latents, C latent channels, W hidden channels. Every convolution looks left only, so
latent l depends on frames < 4(l+1) and frame t on latents <= t/4: both halves can run as a stream.
Motion is denormalised unless a name says so; the statistics of the training set are buffers of the network.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion.representation_272 import DIM
from options.models import TAE
from utils.distributed import mean_of_all, noise_like, sum_over_ranks

FRAMES_PER_LATENT = 4
DILATIONS = (9, 3, 1)


class CausalConv1d(nn.Conv1d):
    """A convolution over frames that looks left only: pad on the left with (kernel - 1) * dilation + 1 - stride frames,
    then convolve. Channels come last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1):
        super().__init__(inputs, outputs, kernel, stride=stride, dilation=dilation)
        self.context = (kernel - 1) * dilation + 1 - stride

    def forward(self, x: Tensor, cache: dict | None = None) -> Tensor:  # type: ignore[override]
        """x (B, T, inputs) -> (B, T / stride, outputs). `cache` keeps the left context between calls of a stream."""
        x = self.pad(x, cache)                                            # (B, context + T, inputs)
        return F.conv1d(x.mT, self.weight, self.bias, self.stride, dilation=self.dilation).mT

    def pad(self, x: Tensor, cache: dict | None = None) -> Tensor:
        """x (B, T, inputs) behind its left context: zeros, or what the calls before have left in the cache."""
        if not self.context:
            return x
        past = cache.get(self) if cache else None
        past = x.new_zeros(x.shape[0], self.context, x.shape[2]) if past is None else past
        x = torch.cat([past, x], dim=1)
        if cache is not None:
            cache[self] = x[:, x.shape[1] - self.context:]
        return x


class Upsample(nn.Module):
    """Every frame twice: (B, T, W) -> (B, 2T, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=1)


class CausalSequential(nn.Sequential):
    """nn.Sequential that hands the cache to the layers that keep context."""

    def forward(self, x: Tensor, cache: dict | None = None) -> Tensor:  # type: ignore[override]
        for layer in self:
            keeps_context = isinstance(layer, (CausalConv1d, CausalSequential, ResidualBlock))
            x = layer(x, cache) if keeps_context else layer(x)
        return x


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(relu(x)))), of kernels 3, dilated, and 1."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.conv1 = CausalConv1d(width, width, 3, dilation=dilation)
        self.conv2 = CausalConv1d(width, width, 1)

    def forward(self, x: Tensor, cache: dict | None = None) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x), cache)))


def residual_stack(width: int) -> CausalSequential:
    return CausalSequential(*(ResidualBlock(width, dilation) for dilation in DILATIONS))


class CausalTAE(nn.Module):
    """Two stages down, each halving the frames, and two up; 16 channels in between.

    mean, std       (272,) of the training set, buffers that checkpoints keep beside the network; 0 and 1 until set
    has_statistics  whether they are set: the authors' file has none, they lie with the data
    """

    frames_per_code = FRAMES_PER_LATENT
    mean: Tensor
    std: Tensor

    def __init__(self, config: TAE):
        super().__init__()
        self.config = config
        width = config.width
        self.encoder = CausalSequential(
            CausalConv1d(DIM, width, 3), nn.ReLU(),
            *(CausalSequential(CausalConv1d(width, width, 4, stride=2), residual_stack(width)) for _ in range(2)),
            CausalConv1d(width, width, 3),
        )
        self.to_moments = nn.Linear(width, 2 * config.latent_dim)
        self.from_latent = nn.Linear(config.latent_dim, width)
        self.decoder = CausalSequential(
            CausalConv1d(width, width, 3), nn.ReLU(),
            *(CausalSequential(residual_stack(width), Upsample(), CausalConv1d(width, width, 3))
              for _ in range(2)),
            CausalConv1d(width, width, 3), nn.ReLU(),
            CausalConv1d(width, DIM, 3),
        )

        self.register_buffer("mean", torch.zeros(DIM), persistent=False)
        self.register_buffer("std", torch.ones(DIM), persistent=False)
        self.has_statistics = False

    def set_statistics(self, mean: Tensor, std: Tensor) -> "CausalTAE":
        """Take the mean and std (272,) of the training set; returns the network."""
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.has_statistics = True
        return self

    def encode(self, motion: Tensor) -> Tensor:
        """motion (B, T, 272), T a multiple of 4 -> latents (B, T/4, C), the means of their distributions."""
        refuse_other_shapes(motion)
        return self.encode_normalised((motion - self.mean) / self.std)[0]

    def decode(self, latents: Tensor, cache: dict | None = None) -> Tensor:
        """latents (B, L, C) -> motion (B, 4L, 272); `cache` as in `decode_normalised`."""
        return self.decode_normalised(latents, cache) * self.std + self.mean

    def encode_normalised(self, motion: Tensor) -> tuple[Tensor, Tensor]:
        """motion (B, T, 272), normalised, T a multiple of 4 -> mean, logvar of its latents, each (B, T/4, C)."""
        refuse_other_shapes(motion)
        x = self.encoder(motion)                                          # (B, L, W)
        mean, logvar = self.to_moments(x).chunk(2, dim=-1)                # (B, L, C) each
        return mean, logvar.clamp(-30, 20)

    def decode_normalised(self, latents: Tensor, cache: dict | None = None) -> Tensor:
        """latents (B, L, C) -> motion (B, 4L, 272), normalised.

        With a `cache` (an empty dict at the start of a stream) the calls continue one another: however the latents
        are cut into calls, the frames are those of one whole decode.
        """
        if latents.shape[-1] != self.config.latent_dim:
            raise ValueError(f"latents have {latents.shape[-1]} channels; this TAE decodes {self.config.latent_dim}: "
                             "use the TAE that encoded them")
        return self.decoder(self.from_latent(latents), cache)

    def new_cache(self, rows: int, device: torch.device | str = "cpu") -> dict[CausalConv1d, Tensor]:
        """What `decode` goes on from at the start of `rows` streams: the left context (rows, T, W) of each layer."""
        layers = [layer for layer in self.decoder.modules() if isinstance(layer, CausalConv1d) and layer.context]
        return {layer: torch.zeros(rows, layer.context, layer.in_channels, device=device) for layer in layers}

    def forward(self, motion: Tensor, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """motion (B, T, 272), normalised -> reconstructed (B, T, 272), normalised too, from one sample of the latents;
        mean and logvar (B, L, C).

        spread  factor of the deviation of the sample
        """
        mean, logvar = self.encode_normalised(motion)
        return self.decode_normalised(sample_latents(mean, logvar, spread * noise_like(mean))), mean, logvar


def refuse_other_shapes(motion: Tensor) -> None:
    """ValueError unless motion is (B, T, 272), of whole latents."""
    if motion.shape[-1] != DIM or motion.shape[1] % FRAMES_PER_LATENT:
        raise ValueError(f"motion has shape {tuple(motion.shape)}; expected (B, T, {DIM}) with T a multiple "
                         f"of {FRAMES_PER_LATENT}: cut the clip to whole latents")


def sample_latents(mean: Tensor, logvar: Tensor, noise: Tensor | None = None) -> Tensor:
    """mean + exp(logvar / 2) * noise, the noise standard normal unless given."""
    return mean + (logvar / 2).exp() * (noise_like(mean) if noise is None else noise)


def sigma_nll(reconstructed: Tensor, motion: Tensor) -> Tensor:
    """Gaussian negative log-likelihood with the whole batch's own optimal sigma, summed (sigma-VAE, arXiv 2006.13202).

    log sigma = softclip(log(MSE) / 2, -6);  sum of ((x - y) / sigma)^2 / 2 + log sigma + log(2 pi) / 2
    """
    log_sigma = mean_of_all((reconstructed - motion) ** 2).log() / 2
    log_sigma = -6 + F.softplus(log_sigma + 6)
    nll = ((motion - reconstructed) / log_sigma.exp()) ** 2 / 2 + log_sigma + math.log(2 * math.pi) / 2
    return sum_over_ranks(nll.sum())


def gaussian_kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)): sum over latents and channels, mean over the whole batch."""
    return mean_of_all((-0.5 * (1 + logvar - mean ** 2 - logvar.exp())).sum(dim=(1, 2)))
