"""What the evaluator is trained to do (TMR, arXiv 2305.00976; MotionStreamer's weights).

B pairs of motion and sentence, D channels of a latent. All is taken over the pairs of all ranks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.distributed import mean_of_all, of_all_ranks, sum_over_ranks

TEMPERATURE = 0.1
ALIKE = 0.85       # cosine of two captions above which neither is a negative of the other's motion


def gaussian_kl(mean: Tensor, logvar: Tensor, other_mean: Tensor, other_logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(other)), mean over all elements."""
    ratio = (logvar - other_logvar).exp()
    return 0.5 * mean_of_all(ratio + (mean - other_mean) ** 2 / other_logvar.exp() - 1 - logvar + other_logvar)


def info_nce(text: Tensor, motion: Tensor, captions: Tensor) -> Tensor:
    """Each text finds its motion among those of the batch, and the other way round; the mean of both.

    text, motion  (B, D) means
    captions      (B, K) sentence embeddings: pairs whose captions are nearly alike are no negatives
    """
    text, motion, captions = of_all_ranks(text), of_all_ranks(motion), of_all_ranks(captions)
    logits = F.normalize(text, dim=-1) @ F.normalize(motion, dim=-1).mT / TEMPERATURE            # (B, B)
    captions = F.normalize(captions, dim=-1)
    alike = (captions @ captions.mT > ALIKE).fill_diagonal_(False)
    logits = logits.masked_fill(alike, -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.mT, own)) / 2


def reconstruction_error(reconstructed: Tensor, motion: Tensor, lengths: Tensor) -> Tensor:
    """SmoothL1 over the valid frames of motion (B, T, 272); `reconstructed` is zero past them, as is the padding."""
    error = F.smooth_l1_loss(reconstructed, motion, reduction="sum")
    return sum_over_ranks(error) / (sum_over_ranks(lengths.sum()) * motion.shape[-1])
