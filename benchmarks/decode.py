"""How fast the TAE decodes: a lone latent, the next latent of a stream however old it is, and a whole motion.

    python -m benchmarks.decode --size small --json decode.json
    python -m benchmarks.decode --size full --precision float32 int8

Sizes as in benchmarks/generate.py, on the CPU. A stream's latent costs the same at every position: `ratio`, of the
slowest of them to the fastest, is at most 1.3. What counts are medians of latents, runs interleaved.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from benchmarks.generate import SIZES, tae_of
from benchmarks.timing import processor, table, timed
from generation.fast import accelerate
from models.causal_tae import CausalTAE
from options import opt, parse
from options.sampling import PRECISIONS
from utils.checkpoint import write_json
from utils.errors import run

POSITIONS = (1, 10, 100, 1000)    # of a stream's latent: the first, the tenth, ...
WHOLE = 77                        # latents of the longest motion that ends by itself
STEADY = 1.3                      # the ratio, at most
COLUMNS = {
    "precision": ("precision", ""), "lone_seconds": ("s lone", ".5f"),
    **{f"seconds_at_{position}": (f"s at {position}", ".5f") for position in POSITIONS},
    "ratio": ("ratio", ".2f"), "whole_seconds": (f"s for {WHOLE}", ".4f"),
}


@dataclass(frozen=True)
class Decode:
    """Time decoding."""

    size: str = opt("small", "which model", choices=("small", *SIZES))
    weights: Path = opt(Path("weights/mocap_stream"), "small: folder with the checkpoint tae/")
    precision: tuple[str, ...] = opt(PRECISIONS, "precisions", choices=PRECISIONS)
    latents: int = opt(31, "latents whose median counts")
    threads: int | None = opt(None, "of the CPU; None: torch's own number")
    json: Path | None = opt(None, "file for all rows")


def main() -> None:
    config = parse({"decode": Decode()})
    if config.latents < 1:
        raise ValueError(f"--latents {config.latents}: expected 1 or more")
    if config.threads:
        torch.set_num_threads(config.threads)
    rows = [measure(config, precision) for precision in config.precision]
    print(f"\n{config.size}, {rows[0]['processor']}, threads: {rows[0]['threads']}\n{table(rows, COLUMNS)}")
    for row in rows:
        if row["ratio"] > STEADY:
            print(f"{row['precision']}: the ratio is {row['ratio']:.2f}, expected {STEADY} at most")
    if config.json:
        write_json(config.json, rows)


@torch.no_grad()
def measure(config: Decode, precision: str) -> dict:
    """One row."""
    tae = accelerate(tae_of(config.size, config.weights), precision)
    latents = torch.randn(1, max(POSITIONS), tae.config.latent_dim, generator=torch.Generator().manual_seed(0))
    caches, spent = {position: cache_at(tae, latents, position) for position in POSITIONS}, defaultdict(list)
    for _ in range(config.latents + 1):
        spent["lone_seconds"].append(timed(tae.decode, latents[:, :1])[0])
        for position, cache in caches.items():
            at_position = partial(tae.decode, latents[:, position - 1:position], dict(cache))
            spent[f"seconds_at_{position}"].append(timed(at_position)[0])
        spent["whole_seconds"].append(timed(tae.decode, latents[:, :WHOLE])[0])
    found = {name: median(seconds[1:]) for name, seconds in spent.items()}     # the first time is slower
    at_positions = [found[f"seconds_at_{position}"] for position in POSITIONS]
    return dict(size=config.size, precision=precision, **found, ratio=max(at_positions) / min(at_positions),
                threads=torch.get_num_threads(), processor=processor())


def cache_at(tae: CausalTAE, latents: Tensor, position: int) -> dict:
    """What the stream of the latents (1, L, C) goes on from at its `position`-th."""
    cache = tae.new_cache(rows=1)
    if position > 1:
        tae.decode(latents[:, :position - 1], cache)
    return {layer: context.clone() for layer, context in cache.items()}        # not a view of all that was decoded


if __name__ == "__main__":
    run(main)
