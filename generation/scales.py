"""The codes of motions, sampled scale by scale: guidance, filters, and a source of which parts are kept.

B clips, s_q positions and V_q codes of scale q, C channels, T latents. Scales are numbered from 0 here.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.mosa.quantizer import Quantizer
from models.mosa.transformer import Cache, ScaleTransformer
from options.sampling import MoSaSampling

Noise = Callable[[int, tuple[int, ...]], Tensor]      # scale, shape -> uniform numbers in [0, 1)
Pick = Callable[[int, Tensor, float], Tensor]         # scale, guided logits (B, s, V), rho


class SampledCodes(NamedTuple):
    """The codes of motions, and the latents that they stand for."""
    latents: Tensor           # (B, C, T)
    ids: list[Tensor]         # [(B, s_q)] what was sampled, also where a source was kept
    logits: list[Tensor]      # [(B, s_q, V_q)] guided


@torch.no_grad()
def sample_codes(quantizer: Quantizer, transformer: ScaleTransformer, text: Tensor, lengths: Tensor, pick: Pick,
                 sampling: MoSaSampling, source: Sequence[Tensor] | None = None, count: int | None = None,
                 short: bool = False) -> SampledCodes:
    """Sample codes with a text (B, N, E), or zeros for none, and lengths (B,) in latents, one pass for each scale.

    logits = (1 + t) text - t none, t = cond_scale * rho, where rho goes from 0 to 1 along the scales

    pick     takes guided logits to ids (B, s), or to weights of all codes (B, s, V)
    source   [(B, s_q)] codes that are kept; -1 where a code is to be sampled
    count    scales of a preview; None: all
    short    a preview's latents are as many as its last scale's positions, instead of T
    """
    count = len(quantizer.scales) if count is None else count
    length = quantizer.scales[count - 1] if short else quantizer.scales[-1]
    words, both = transformer.read(torch.cat([text, torch.zeros_like(text)]), lengths.repeat(2))
    cache: Cache = {}
    inputs, found = None, SampledCodes(text.new_zeros(()), [], [])
    for q in range(count):
        rho = q / max(count - 1, 1)
        logits, none = transformer.logits(q, inputs, words, both, cache).float().chunk(2)                 # (B, s, V)
        weight = sampling.cond_scale * (1.0 if sampling.guide_first else rho)
        logits = (1 + weight) * logits - weight * none
        picked, codes = pick(q, logits, rho), quantizer.book(q).codes
        vectors = codes[picked] if picked.ndim == 2 else picked @ codes                                   # (B, s, C)
        if source is not None:
            free = (source[q] < 0)[..., None]
            vectors = torch.where(free, vectors, codes[source[q].clamp(min=0)])
        total = found.latents + quantizer.contribution(q, vectors, length)                                # (B, C, T)
        found = SampledCodes(total, [*found.ids, picked if picked.ndim == 2 else picked.argmax(dim=-1)],
                        [*found.logits, logits])
        if q + 1 < count:
            inputs = quantizer.next_input(total, q + 1).repeat(2, 1, 1)
    return found


def sampler(sampling: MoSaSampling, noise: Noise) -> Pick:
    """How `sample_codes` picks codes by these options and this noise."""
    def sample(q: int, logits: Tensor, rho: float) -> Tensor:
        return sample_ids(probabilities(logits, sampling), noise(q, tuple(logits.shape[:2])))

    def mix(q: int, logits: Tensor, rho: float) -> Tensor:
        return smooth_weights(logits, -(-noise(q, tuple(logits.shape)).log()).log(), rho)

    return mix if sampling.more_smooth else sample


def probabilities(logits: Tensor, sampling: MoSaSampling) -> Tensor:
    """Logits (..., V) -> the probabilities that temperature, top-k and then top-p leave."""
    logits = logits / sampling.temperature
    if sampling.top_k:
        kept = max(int(logits.shape[-1] * (1 - sampling.top_k)), 1)
        logits = logits.masked_fill(logits < logits.topk(kept, dim=-1).values[..., -1:], -torch.inf)
    if sampling.top_p:
        rising, order = logits.sort(dim=-1)
        drop = rising.softmax(dim=-1).cumsum(dim=-1) <= 1 - sampling.top_p
        drop[..., -1] = False
        logits = logits.masked_fill(drop.gather(-1, order.argsort(dim=-1)), -torch.inf)
    return logits.softmax(dim=-1)


def sample_ids(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Probabilities (..., V) and uniform numbers (...) -> ids: the number of cumulative probabilities <= u."""
    cumulative = probabilities.cumsum(dim=-1)
    return ((cumulative <= uniform[..., None]) & (cumulative < cumulative[..., -1:])).sum(dim=-1)


def smooth_weights(logits: Tensor, gumbel: Tensor, rho: float) -> Tensor:
    """Weights of all codes (..., V) that are nearer to one code the finer the scale is."""
    return ((logits * (1 + rho) + gumbel) / max(0.27 * (1 - 0.95 * rho), 0.005)).softmax(dim=-1)


def noise_of_rows(seeds: Sequence[int], device: torch.device) -> Noise:
    """Noise of each row by its own seed, so that a motion is the same whatever its neighbours are."""
    def noise(q: int, shape: tuple[int, ...]) -> Tensor:
        rows = [np.random.default_rng([seed, q]).random(shape[1:], dtype=np.float32) for seed in seeds]
        return torch.from_numpy(np.stack(rows)).to(device)
    return noise


def kept_codes(ids: Sequence[Tensor], mask: Tensor, first: int = 0, any_overlap: bool = False) -> list[Tensor]:
    """A source's codes [(B, s_q)], -1 where they are to be sampled.

    mask         (B, T) 1 where the motion is to change
    first        so many coarse scales are kept whole
    any_overlap  a position is sampled if any of its latents is to change; else if the mask, interpolated, is above 0.5,
                 as published, so that coarse scales do not see a narrow mask
    """
    kept = []
    for q, found in enumerate(ids):
        if any_overlap:
            free = F.adaptive_max_pool1d(mask[:, None].float(), found.shape[1])[:, 0] > 0
        else:
            free = F.interpolate(mask[:, None].float(), size=found.shape[1], mode="linear", align_corners=False)[:, 0]
            free = free > 0.5
        kept.append(found.masked_fill(free, -1) if q >= first else found)
    return kept
