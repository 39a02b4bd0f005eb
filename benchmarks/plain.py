"""The plain loop: how a latent is sampled without any of what makes it fast. Everything is compared with it.

It stands for the published demo: each latent runs the whole prefix through the transformer twice, under the text and
under the empty text, without a cache; then each of the 50 steps runs two rows through the whole diffusion head, what
depends on the condition alone included. Eager float32, ancestral sampling. It shares no more with the fast path than
the networks' forward passes, so that equal latents mean that the fast path is right.

L latents, C latent channels, D width.
"""

import math
from itertools import accumulate, pairwise
from operator import mul

import torch
from torch import Tensor

from models.transformer import StreamingTransformer
from options.sampling import STEPS

COSINE = [math.cos((t / STEPS + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(STEPS + 1)]
KEPT = list(accumulate((max(after / before, 0.001) for before, after in pairwise(COSINE)), mul))    # alpha_bar


@torch.no_grad()
def plain_latent(ar: StreamingTransformer, latents: Tensor, text: Tensor, empty: Tensor, guidance: float,
                 temperature: float, noise: Tensor) -> Tensor:
    """The next latent (C,) after latents (L, C), L less than the context.

    text, empty  (text_dim,) embeddings of the prompt and of the empty text
    noise        (51, C), the start, then that of t = 49, 48, ..., 0
    """
    condition = torch.cat([ar(latents[None], prompt[None])[:, -1] for prompt in (text, empty)])          # (2, D)
    x = noise[:1]                                                                                         # (1, C)
    for t, step_noise in zip(reversed(range(STEPS)), noise[1:]):
        with_text, without = ar.head(torch.cat([x, x]), torch.full((2,), t, device=x.device), condition).chunk(2)
        guided = without + guidance * (with_text - without)
        kept, before = KEPT[t], KEPT[t - 1] if t else 1.0
        beta = 1 - kept / before
        if ar.config.prediction == "velocity":
            start = math.sqrt(kept) * x - math.sqrt(1 - kept) * guided
        else:
            start = (x - math.sqrt(1 - kept) * guided) / math.sqrt(kept)
        mean = (beta * math.sqrt(before) * start + (1 - before) * math.sqrt(1 - beta) * x) / (1 - kept)
        x = mean + temperature * math.sqrt(beta * (1 - before) / (1 - kept)) * step_noise
    return x[0]
