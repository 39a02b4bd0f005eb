"""The evaluator's networks: motions and sentences to Gaussians in one space, and back to motion for training.

B clips, T frames, L positions, D channels of a latent, K channels of a token state.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.text_encoder import TextBackbone
from motion.representation_272 import DIM
from options.models import EvaluatorModel
from utils.distributed import Dropout, drop, padded_alike, sharing


def sinusoids(count: int, channels: int, device: torch.device) -> Tensor:
    """Positional encoding (count, channels): sines at even channels, cosines at odd, period up to 10000 * 2 pi."""
    frequency = torch.exp(-math.log(10000) * torch.arange(0, channels, 2, device=device) / channels)
    angle = torch.arange(count, device=device)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def padding_mask(lengths: Tensor, count: int) -> Tensor:
    """(B, count) bool, true where a position is past its row's length."""
    return torch.arange(count, device=lengths.device) >= lengths[:, None]


class Attention(nn.MultiheadAttention):
    """The library's; where ranks share a batch and some weights are dropped, plainly: the library does not say which.

    On a CPU one rank drops the same ones; on CUDA the library's fused attention samples in its own way.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
                **options) -> tuple[Tensor, Tensor | None]:
        """query (B, L, K), key and value (B, M, K), key_padding_mask (B, M) -> (B, L, K), None"""
        if not self.training or not self.dropout or sharing() == 1:
            return super().forward(query, key, value, key_padding_mask, **options)
        projections = zip((query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3))
        q, k, v = (F.linear(*given).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for given in projections)
        weights = q @ k.mT / math.sqrt(self.head_dim)                         # (B, H, L, M)
        if key_padding_mask is not None:                                      # true, or -inf, where there is padding
            weights = weights.masked_fill(key_padding_mask.bool()[:, None, None], -torch.inf)
        x = drop(weights.softmax(dim=-1), self.dropout) @ v
        return self.out_proj(x.transpose(1, 2).flatten(-2)), None


def drops_as_one_rank(layer: nn.Module) -> nn.Module:
    """A layer of the library with the dropout above in place of its own; its weights keep their names."""
    for name, part in list(layer.named_children()):
        if isinstance(part, nn.Dropout):
            setattr(layer, name, Dropout(part.p))
        if isinstance(part, nn.MultiheadAttention):
            setattr(layer, name, Attention(part.embed_dim, part.num_heads, part.dropout, batch_first=True))
    return layer


class LatentEncoder(nn.Module):
    """A sequence to the mean and the log-variance of one latent, read off two learned tokens in front of it."""

    def __init__(self, config: EvaluatorModel):
        super().__init__()
        width = config.latent_dim
        self.mean_token = nn.Parameter(torch.randn(width))
        self.logvar_token = nn.Parameter(torch.randn(width))
        self.dropout = Dropout(config.dropout)
        layer = nn.TransformerEncoderLayer(width, config.heads, config.feed_forward, config.dropout, "gelu",
                                           batch_first=True)
        self.blocks = nn.TransformerEncoder(drops_as_one_rank(layer), config.layers, enable_nested_tensor=False)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, L, D) of `lengths` (B,) valid positions -> mean, logvar (B, D)."""
        tokens = torch.stack([self.mean_token, self.logvar_token]).to(x.dtype).expand(len(x), -1, -1)
        x = torch.cat([tokens, x], dim=1)                                     # (B, 2 + L, D)
        x = self.dropout(x + sinusoids(x.shape[1], x.shape[2], x.device))
        x = self.blocks(x, src_key_padding_mask=padding_mask(lengths + 2, x.shape[1]))
        return x[:, 0], x[:, 1]


class MotionDecoder(nn.Module):
    """A latent to a motion of a given length: positions ask, the one latent answers."""

    def __init__(self, config: EvaluatorModel):
        super().__init__()
        self.dropout = Dropout(config.dropout)
        layer = nn.TransformerDecoderLayer(config.latent_dim, config.heads, config.feed_forward, config.dropout, "gelu",
                                           batch_first=True)
        self.blocks = nn.TransformerDecoder(drops_as_one_rank(layer), config.layers)
        self.out = nn.Linear(config.latent_dim, DIM)

    def forward(self, latent: Tensor, lengths: Tensor) -> Tensor:
        """latent (B, D), lengths (B,) -> motion (B, longest, 272), zero past each length."""
        positions = sinusoids(int(lengths.max()), latent.shape[1], latent.device).expand(len(latent), -1, -1)
        positions = padded_alike(positions)                                   # (B, longest of all ranks, D)
        padding = padding_mask(lengths, positions.shape[1])
        x = self.blocks(self.dropout(positions), latent[:, None], tgt_key_padding_mask=padding)
        return self.out(x).masked_fill(padding[..., None], 0)


class Evaluator(nn.Module):
    """Motions and sentences to their places in one space, where a motion lies near the sentences that tell it."""

    def __init__(self, config: EvaluatorModel, decodes: bool = True):
        """decodes   whether it has the motion decoder, which only training needs"""
        super().__init__()
        self.config = config
        self.motion_embed = nn.Linear(DIM, config.latent_dim)
        self.motion_encoder = LatentEncoder(config)
        self.text_embed = nn.Linear(config.text_dim, config.latent_dim)
        self.text_encoder = LatentEncoder(config)
        self.decoder = MotionDecoder(config) if decodes else None
        self.backbone: TextBackbone | None = None                             # frozen, no module of this one

    def motion_moments(self, motion: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """motion (B, T, 272), normalised, of `lengths` (B,) valid frames -> mean, logvar (B, D)."""
        return self.motion_encoder(self.motion_embed(motion), lengths)

    def load_backbone(self) -> TextBackbone:
        """The frozen text encoder, loaded when it is first asked for, on the device of this network.

        raises   ValueError if it cannot be loaded or gives other channels than this network reads
        """
        device = self.text_embed.weight.device
        if self.backbone is None:
            self.backbone = TextBackbone(self.config.text_backbone, device)
        if self.backbone.dim != self.config.text_dim:
            raise ValueError(f"the text backbone {self.config.text_backbone} gives {self.backbone.dim} channels, the "
                             f"evaluator reads {self.config.text_dim}: give the backbone it was trained with, or train "
                             f"with --text-dim {self.backbone.dim}")
        self.backbone.model.to(device)
        return self.backbone

    def text_moments(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sentences (B) -> mean, logvar (B, D)."""
        states, lengths = self.load_backbone()(texts)
        return self.text_encoder(self.text_embed(F.relu(padded_alike(states))), lengths)

    @torch.no_grad()
    def encode_motion(self, motion: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """motion (B, T, 272), normalised as in training, of `lengths` valid frames -> means (B, D).

        raises   ValueError for another shape, lengths outside 1 .. T, or a number that is not finite
        """
        if motion.ndim != 3 or motion.shape[-1] != DIM:
            raise ValueError(f"motion has shape {tuple(motion.shape)}; expected (B, T, {DIM})")
        device = self.motion_embed.weight.device
        motion, lengths = motion.to(device), torch.as_tensor(lengths, device=device)
        if lengths.shape != motion.shape[:1] or lengths.min() < 1 or lengths.max() > motion.shape[1]:
            raise ValueError(f"lengths are {lengths.tolist()}; expected {len(motion)} numbers from 1 to "
                             f"{motion.shape[1]}")
        motion = motion.masked_fill(padding_mask(lengths, motion.shape[1])[..., None], 0)
        if not motion.isfinite().all():
            bad = (~motion.isfinite().all(dim=2).all(dim=1)).nonzero()[:, 0].tolist()
            raise ValueError(f"the motions {bad} hold numbers that are not finite: leave them out and count them")
        return self.motion_moments(motion, lengths)[0]

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Sentences (B) -> means (B, D). ValueError for an empty sentence."""
        if any(not text.strip() for text in texts):
            raise ValueError("a sentence to judge by is empty: give every motion a caption")
        return self.text_moments(texts)[0]
