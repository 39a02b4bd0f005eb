"""How well MoSa's tokenizer reconstructs, and how it uses its codes.

Q scales, V_q codes of scale q, T_i frames of a motion, D channels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from models.mosa.quantizer import perplexity, usage_percent
from models.mosa.tokenizer import CAQVAE
from utils.distributed import gather

Counts = list[Tensor]      # [(V_q,)] how often each code of each scale occurs


class CodeUse:
    """Counts of the codes of all motions that were reconstructed, on all ranks."""

    def __init__(self, tokenizer: CAQVAE):
        self.tokenizer = tokenizer
        self.used, self.near = ([torch.zeros(count, dtype=torch.int64) for count in tokenizer.config.codes.nb_codes]
                                for _ in range(2))

    @torch.no_grad()
    def reconstruct(self, motions: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Motions (T_i, D), whole latents and none too long -> as they come back from their codes, denormalised."""
        device = self.tokenizer.mean.device
        batch = torch.nn.utils.rnn.pad_sequence([torch.tensor(motion) for motion in motions], batch_first=True)
        lengths = torch.tensor([len(motion) for motion in motions], device=device)
        found = self.tokenizer.quantize(batch.to(device), lengths)
        for counts, new in zip((self.used, self.near), self.tokenizer.quantizer.used(found)):
            for total, one in zip(counts, new):
                total += one.cpu()
        decoded = self.tokenizer.decode_latents(found.sums[-1]).cpu().numpy()
        return [frames[:len(motion)] for frames, motion in zip(decoded, motions)]

    def measures(self) -> dict[str, float]:
        """The share of the codes that were used, in percent, and perplexity; every rank calls it."""
        used, near = (list(map(sum, zip(*of_ranks))) for of_ranks in zip(*gather((self.used, self.near))))
        return dict(usage_percent=usage_percent(used), perplexity=perplexity(near))
