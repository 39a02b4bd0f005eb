"""The multi-scale residual quantizer of MoSa: each scale encodes what the coarser ones have left.

B clips, T latents, C channels, Q scales of s_1 ... s_Q = T positions, V_q codes of scale q, N = B T columns of a batch.
Codebooks are moving averages of what they stand for, not learned by gradients; ranks share their statistics.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from options.models import CAQ
from utils.distributed import mean_of_all, rank, sharing, sum_over_ranks


class Quantized(NamedTuple):
    """What the quantizer makes of latents."""
    latents: Tensor           # (B, C, T) the sum of all scales, with the gradient of what went in
    ids: list[Tensor]         # [(B, s_q)]
    sums: list[Tensor]        # [(B, C, T)] of the scales so far
    entered: list[Tensor]     # [(B, T, C)] the residual that each scale was given
    commit: Tensor            # how far the sums are from the latents, and the latents from them, on average


class Codebook(nn.Module):
    """V codes (V, C), each the average of the columns that are nearest to it: sums / counts, both moving averages."""

    codes: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self, count: int, channels: int, cosine: bool):
        super().__init__()
        self.cosine = cosine
        self.register_buffer("codes", torch.zeros(count, channels))
        self.register_buffer("sums", torch.zeros(count, channels))
        self.register_buffer("counts", torch.ones(count))

    def nearest(self, x: Tensor) -> Tensor:
        """x (..., C) -> the ids (...) of the codes of the largest cosine, or the smallest distance."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if self.cosine:
                return (F.normalize(x, dim=-1) @ F.normalize(self.codes, dim=-1).T).argmax(dim=-1)
            return ((self.codes ** 2).sum(dim=-1) - 2 * x @ self.codes.T).argmin(dim=-1)   # |x|^2 is the same for all

    def statistics(self, x: Tensor, ids: Tensor) -> Tensor:
        """Columns x (N, C) with their codes (N,) -> (V, C + 1): of each code the sum of its columns, and their count.

        By a matmul, which sums in the same order every time.
        """
        member = F.one_hot(ids, len(self.codes)).to(x.dtype)                              # (N, V)
        return member.T @ torch.cat([x, x.new_ones(len(x), 1)], dim=-1)                   # (V, C + 1)

    def take(self, columns: Tensor) -> None:
        """Begin with these codes (V, C), each counted once."""
        self.codes.copy_(columns)
        self.sums.copy_(columns)
        self.counts.fill_(1.0)

    def average(self, statistics: Tensor, mu: float, spare: Tensor) -> None:
        """Move the averages by `statistics` of a batch; `spare` (V, C) takes the place of codes that count below 1."""
        self.sums.mul_(mu).add_(statistics[:, :-1], alpha=1 - mu)
        self.counts.mul_(mu).add_(statistics[:, -1], alpha=1 - mu)
        alive = self.counts[:, None] >= 1
        self.codes.copy_(torch.where(alive, self.sums / self.counts[:, None], spare))


class Quantizer(nn.Module):
    """Q codebooks, and for each scale the convolutions that its codes go through before they are summed.

    In training each call gathers what the codebooks are to average, and `update` moves them: a batch that comes in
    parts moves them once.
    """

    initialised: Tensor

    def __init__(self, config: CAQ):
        super().__init__()
        self.config, self.scales = config, config.codes.scales
        counts, width = config.codes.nb_codes, config.codes.code_dim
        self.books = nn.ModuleList(Codebook(count, width, config.using_znorm)
                                   for count in (counts[:1] if config.codes.shared_codebook else counts))
        self.phis = nn.ModuleList(Phi(width, config.phi_k, config.phi_depth, config.phi_relu) for _ in counts)
        self.register_buffer("initialised", torch.tensor(False))
        self.gathered: list[tuple[Tensor, Tensor]] = []     # of each codebook: statistics, columns for dead codes

    def book(self, q: int) -> Codebook:
        """The codebook of scale q, from 0."""
        return self.books[0 if self.config.codes.shared_codebook else q]    # pyright: ignore[reportReturnType]

    def forward(self, z: Tensor, beta: float = 1.0) -> Quantized:
        """Latents z (B, C, T) -> their codes and what these stand for.

        beta  weight of the part of `commit` that pulls the latents towards the codes
        """
        if self.training and not self.initialised:
            self.initialise(z)
        residual, total = z.detach().float(), torch.zeros_like(z).float()
        found, commit = Quantized(z, [], [], [], z.new_zeros(())), z.new_zeros(())
        for q, size in enumerate(self.scales):
            found.entered.append(residual.mT)                                             # (B, T, C)
            pooled = F.adaptive_avg_pool1d(residual, size).mT                             # (B, s, C)
            ids = self.book(q).nearest(pooled)                                            # (B, s)
            part = self.contribution(q, self.book(q).codes[ids]).float()                  # (B, C, T)
            if self.training:
                self.gather(q, residual.mT if self.config.ema_of == "full" else pooled, ids)
            total, residual = total + part, residual - part.detach()
            found.ids.append(ids)
            found.sums.append(total)
            commit = commit + mean_of_all(beta * (total.detach() - z) ** 2 + (total - z.detach()) ** 2)
        return found._replace(latents=z + (total - z).detach(), commit=commit / len(self.scales))

    def contribution(self, q: int, vectors: Tensor, length: int | None = None) -> Tensor:
        """Code vectors (B, s, C) of scale q -> what they add to the latents (B, C, T); another `length` than T."""
        spread = F.interpolate(vectors.mT, size=length or self.scales[-1], mode="linear", align_corners=False)
        return self.phis[q](spread)

    def next_input(self, total: Tensor, q: int) -> Tensor:
        """The sum of the scales before q (B, C, T), averaged to scale q (B, s_q, C): what a transformer reads there."""
        return F.adaptive_avg_pool1d(total, self.scales[q]).mT

    def inputs(self, ids: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Codes [(B, s_q)] -> what a transformer reads at scales 2 to Q (B, L - s_1, C), L = s_1 + ... + s_Q; and the
        latents (B, C, T)."""
        total, following = torch.zeros(()), []
        for q, found in enumerate(ids):
            total = total + self.contribution(q, self.book(q).codes[found])               # (B, C, T)
            if q + 1 < len(self.scales):
                following.append(self.next_input(total, q + 1))
        empty = total.new_zeros(len(total), 0, total.shape[1])
        return torch.cat([empty, *following], dim=1), total

    def initialise(self, z: Tensor) -> None:
        """The codes of every scale begin as the first columns of the first batch's latents."""
        columns = z.detach().float().mT.flatten(0, 1)                                     # (N, C)
        for book in self.books:
            book.take(columns_of_all_ranks(columns, len(book.codes), random=False))       # pyright: ignore
        self.initialised.fill_(True)

    def gather(self, q: int, x: Tensor, ids: Tensor) -> None:
        """Remember what entered scale q, x (B, T, C), for the codes nearest to it; or what it encoded, of `ids`."""
        book, columns = self.book(q), x.detach().float().flatten(0, 1)                    # (N, C)
        ids = book.nearest(columns) if self.config.ema_of == "full" else ids.flatten()
        with torch.autocast(x.device.type, enabled=False):
            statistics = sum_over_ranks(book.statistics(columns, ids))
        place = 0 if self.config.codes.shared_codebook else q
        if place < len(self.gathered):
            self.gathered[place] = self.gathered[place][0] + statistics, self.gathered[place][1]
        else:
            spare = columns_of_all_ranks(columns, len(book.codes), self.config.dead_codes == "random")
            self.gathered.append((statistics, spare))

    def update(self) -> None:
        """Move the codebooks by what was gathered since the last time."""
        for book, (statistics, spare) in zip(self.books, self.gathered):
            book.average(statistics, self.config.mu, spare)                               # pyright: ignore
        self.gathered = []

    def used(self, found: Quantized) -> tuple[list[Tensor], list[Tensor]]:
        """How often each code of each scale was used [(V_q,)]; and how often it is the nearest to what entered its
        scale, latent by latent, which perplexity goes by."""
        nearest = [self.book(q).nearest(x) for q, x in enumerate(found.entered)]
        counts = self.config.codes.nb_codes
        used, near = ([ids.flatten().bincount(minlength=count) for ids, count in zip(every, counts)]
                      for every in (found.ids, nearest))
        return used, near


def usage_percent(used: Sequence[Tensor]) -> float:
    """The share of the codes that were used at all, in percent, on average over scales; counts as of `used`."""
    return float(torch.stack([100 * (counts > 0).float().mean() for counts in used]).mean())


def perplexity(near: Sequence[Tensor]) -> float:
    """exp of the entropy of the codes, on average over scales; counts as of `used`."""
    shares = [counts / counts.sum() for counts in near]
    return float(torch.stack([(-(p * (p + 1e-7).log()).sum()).exp() for p in shares]).mean())


class Phi(nn.Sequential):
    """Convolutions over time with a ReLU after each, or after each but the last."""

    def __init__(self, width: int, kernel: int, depth: int, last_relu: bool):
        super().__init__(*(
            nn.Sequential(nn.Conv1d(width, width, kernel, padding=kernel // 2),
                          nn.ReLU() if last_relu or place < depth - 1 else nn.Identity())
            for place in range(depth)))


def columns_of_all_ranks(x: Tensor, count: int, random: bool) -> Tensor:
    """`count` of the columns of the whole batch, x (N, C) of each rank: the first, or random ones (count, C).

    Where there are fewer they are repeated, with a little noise.
    """
    every = sharing() * len(x)
    places = torch.randint(every, (count,), device=x.device) if random else torch.arange(count, device=x.device) % every
    mine = places // len(x) == rank() % sharing()
    columns = sum_over_ranks(x[places % len(x)] * mine[:, None])
    if every < count:
        columns = columns + 0.01 / math.sqrt(x.shape[1]) * torch.randn_like(columns)      # on all ranks alike
    return columns
