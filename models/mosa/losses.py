"""What MoSa's two networks are trained on.

B clips, T frames, D channels, Q scales of s_q positions and V_q codes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.distributed import mean_of_all, own_rows


def smooth_l1(reconstructed: Tensor, motion: Tensor, counts: Tensor | None = None) -> Tensor:
    """Mean over the channels and frames of the whole batch (B, T, D); of those frames (B, T) that count."""
    loss = F.smooth_l1_loss(reconstructed, motion, reduction="none")
    return mean_of_all(loss if counts is None else loss[counts])


def scale_losses(logits: Sequence[Tensor], ids: Sequence[Tensor],
                 counts: Sequence[Tensor] | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Cross-entropy and accuracy of each scale, means over positions of the whole batch.

    logits  [(B, s_q, V_q)]; ids [(B, s_q)] the true codes; counts [(B, s_q)] which positions count, all if None
    """
    losses, accuracies = [], []
    for q, (found, true) in enumerate(zip(logits, ids)):
        loss = F.cross_entropy(found.float().flatten(0, 1), true.flatten(), reduction="none").view_as(true)    # (B, s)
        right = (found.argmax(dim=-1) == true).float()
        if counts is not None:
            loss, right = loss[counts[q]], right[counts[q]]
        losses.append(mean_of_all(loss))
        accuracies.append(mean_of_all(right))
    return losses, accuracies


def sar_loss(losses: Sequence[Tensor], finest_weight: float = 1.0) -> Tensor:
    """mean of the coarse scales' losses + `finest_weight` times the finest's, or that alone."""
    coarse, finest = losses[:-1], losses[-1]
    return (torch.stack(list(coarse)).mean() if coarse else 0) + finest_weight * finest


def corrupted(ids: Sequence[Tensor], counts: Sequence[int], keep: float) -> list[Tensor]:
    """Codes [(B, s_q)] of which each is kept with probability `keep`, else any of the V_q; -1: one probability for each
    scale, itself uniform."""
    def corrupt(one: Tensor, count: int) -> Tensor:
        share = torch.rand((), device=one.device) if keep < 0 else keep
        kept = own_rows(lambda rows: torch.rand(rows, one.shape[1], device=one.device), len(one)) < share
        other = own_rows(lambda rows: torch.randint(count, (rows, one.shape[1]), device=one.device), len(one))
        return torch.where(kept, one, other)

    return [corrupt(one, count) for one, count in zip(ids, counts)]
