"""How fast latents are sampled, by precision, steps, place in the stream and number of streams, against the plain loop.

    python -m benchmarks.generate --size small --json small.json
    python -m benchmarks.generate --size full --json full.json
    python -m benchmarks.generate --size small --streams 1 8 32 --steps 50 --positions 40      several in one batch

small is the model that ships; full has the published sizes and random weights; tiny is for the tests. All without
text encoding, on the CPU or, with `--device cuda`, on a GPU. Each precision has a process of its own. There each plain
latent (benchmarks/plain.py), at position 30, is followed by a share of all the fast ones, so that both have the same of
a noisy machine; what counts are medians. A row of the table and of the JSON file:

streams, position    streams in one batch, and latents that each has before the timed ones; several streams are timed at
                     the last of the positions only
seconds_per_latent   the AR model's work, transformer and head; of several streams their share of a batch's
decode_seconds       the TAE's work for that latent, likewise
frames_per_second    with decoding, of all streams together
first_frame_seconds  from a known embedding to four denormalised frames, of every stream
peak_memory_mb       the most that the process (with CUDA: PyTorch on the GPU) has held from its start to the first
                     frames of so many streams, loading the float32 weights included, the plain loop's model not. CUDA
                     graphs are captured then, and no part of the first frame's seconds
times_plain          by how much a latent takes the plain loop longer. At full size on a CPU a plain latent counts as
                     4.5 s at most: the published code needs 3.3 to 4.5 s on two cores of another machine
plain_seconds        as measured here, interleaved with this row
largest_difference   from the plain loop's latents for the same noise, at position 30; for 50 ancestral steps only
megabytes            of weights that a latent reads, each time that a layer needs them; a mean over some latents
gigaoperations       of its linear layers, likewise
floor_seconds        what these take at the rates that this machine reaches (benchmarks/floor.py)
times_floor          by how much a latent takes longer
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from unittest.mock import patch
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.floor import Needs, Rates, needs
from benchmarks.plain import plain_latent
from benchmarks.streaming import memory_mb
from benchmarks.timing import processor, table, timed
from generation.fast.graphs import Graphs
from generation.pipeline import MotionStreamer
from models.causal_tae import FRAMES_PER_LATENT, CausalTAE
from models.checkpoints import ARCheckpoint, load_ar, load_tae
from models.transformer import StreamingTransformer
from options import opt, parse
from options.models import AR, TAE
from options.sampling import PRECISIONS, SOLVERS, STEPS, Calibration, Compute, Sampling
from utils.checkpoint import write_json
from utils.distributed import pick_device
from utils.errors import run

PLAIN_POSITION = 30
PUBLISHED_SECONDS = 4.5        # of the published code's latent, at most
ROUNDS = 3                     # of a plain latent and a share of the fast ones
TEXT = "a person walks"
TOKENS = 12                    # of a sentence, where the model reads these
SIZES = {                      # random networks: predicting the velocity costs the same, and their noise would explode
    "full": (TAE(), AR(prediction="velocity")),
    "tiny": (TAE(width=64), AR(text_dim=8, width=64, layers=2, heads=2, head_width=64, head_depth=2,
                               prediction="velocity")),
}
COLUMNS = {                    # of the printed table: heading and format
    "precision": ("precision", ""), "steps": ("steps", ""), "solver": ("solver", ""), "streams": ("streams", ""),
    "position": ("position", ""), "seconds_per_latent": ("s/latent", ".4f"), "decode_seconds": ("s/decode", ".4f"),
    "frames_per_second": ("frames/s", ".1f"), "first_frame_seconds": ("s to first", ".4f"),
    "peak_memory_mb": ("peak MB", ".0f"), "times_plain": ("times plain", ".1f"), "plain_seconds": ("s/plain", ".4f"),
    "largest_difference": ("difference", ".1e"), "megabytes": ("MB", ".0f"), "gigaoperations": ("GOP", ".1f"),
    "times_floor": ("times floor", ".1f"),
}


@dataclass(frozen=True)
class Generate:
    """Time latents and frames against the plain loop."""

    size: str = opt("small", "which model", choices=("small", *SIZES))
    weights: Path = opt(Path("weights/mocap_stream"), "small: folder with the checkpoints tae/ and ar/")
    device: str = opt("cpu", "cpu, cuda, mps")
    cuda_graphs: bool = opt(False, "on CUDA, a few streams as CUDA graphs")
    precision: tuple[str, ...] | None = opt(None, "precisions of the fast path; None: all that the device has",
                                            choices=PRECISIONS)
    steps: tuple[int, ...] = opt((50, 25, 10, 5, 3), "diffusion steps of a latent")
    solver: str | None = opt(None, "how they go; None: ancestral if they are 50, else dpm++", choices=SOLVERS)
    tolerance: float | None = opt(None, "of steps worked on together; 0: one after another; None: the precision's")
    positions: tuple[int, ...] = opt((1, 40, 78, 1000), "latents that a stream has before the timed ones")
    streams: tuple[int, ...] = opt((1,), "streams in one batch")
    latents: int = opt(9, "latents (batches of them) whose median counts, rounded up to whole rounds of the plain loop")
    threads: int | None = opt(None, "of the CPU; None: torch's own number")
    json: Path | None = opt(None, "file for all rows")


class RandomTexts:
    """In the place of a text encoder: each sentence has an embedding of its own, of norm 1, or states of TOKENS tokens,
    at no cost."""
    name = "random"

    def __init__(self, dim: int, tokens: bool):
        self.dim, self.tokens = dim, tokens

    @classmethod
    def of(cls, model: AR) -> "RandomTexts":
        return cls(model.text_dim, model.text == "tokens")

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        seeds = [crc32(sentence.encode()) for sentence in sentences]
        shape = (TOKENS, self.dim) if self.tokens else (self.dim,)
        found = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return F.normalize(torch.stack(found), dim=-1)


def main() -> None:
    config = parse({"generate": Generate()})
    if min(config.latents, *config.streams) < 1 or min(config.positions) < 0:
        raise ValueError(f"{config.latents} latents of {min(config.streams)} streams at position "
                         f"{min(config.positions)}: expected 1 or more latents and streams, positions of 0 or more")
    rows, config = [], replace(config, device=pick_device(config.device).type)
    for precision in config.precision or (PRECISIONS if config.device == "cpu" else ("float32", "bfloat16")):
        with ProcessPoolExecutor(1, get_context("spawn")) as own:         # a process never forgets its peak of memory
            found = own.submit(measure, config, precision).result()
        rows += found
        print(f"\n{config.size}, {found[0]['processor']}, threads: {found[0]['threads']}\n{table(found, COLUMNS)}",
              flush=True)
        if config.json:
            write_json(config.json, rows)


def measure(config: Generate, precision: str) -> list[dict]:
    """The rows of one precision."""
    if config.threads:
        torch.set_num_threads(config.threads)
    ar = ar_of(config.size, config.weights)
    model = MotionStreamer(tae_of(config.size, config.weights), ar.model, RandomTexts.of(ar.model.config),
                           ar.calibration, ar.sampling,
                           Compute(config.device, precision, config.tolerance, config.cuda_graphs))
    samplings = [ar.sampling.but(steps=steps, solver=config.solver or ("ancestral" if steps == STEPS else "dpm++"))
                 for steps in config.steps]
    memory = {}
    for count in sorted(config.streams):
        for sampling in samplings:
            model.sampling = sampling
            first_frames(model, count)
        memory[count] = torch.cuda.max_memory_reserved() / 2 ** 20 if config.device == "cuda" else memory_mb()
    plain = ar_of(config.size, config.weights).model.to(model.device)        # only now: it is no part of that memory
    rates = Rates.of(model.ar, precision, model.device)
    cases = [Case(model, config.positions, count, sampling) for count in config.streams for sampling in samplings]
    least = {case: case.needs(rates) for case in cases}
    slow = [plain_and_fast(model, plain, cases, -(-config.latents // ROUNDS), seed) for seed in range(ROUNDS)]
    about = dict(size=config.size, precision=precision, plain_seconds=median(slow),
                 threads=torch.get_num_threads(), processor=processor(model.device))
    rows = [about | row | dict(peak_memory_mb=memory[case.count], megabytes=least[case].megabytes,
                               gigaoperations=least[case].gigaoperations, floor_seconds=least[case].seconds)
            for case in cases for row in case.rows()]
    for row in rows:
        row["times_plain"] = counted(config, row["plain_seconds"]) / row["seconds_per_latent"]
        row["times_floor"] = row["seconds_per_latent"] / row["floor_seconds"]
    return rows


class Case:
    """`count` streams that sample by `sampling`, and how long they took at each position."""

    def __init__(self, model: MotionStreamer, positions: Sequence[int], count: int, sampling: Sampling):
        self.model, self.count, self.sampling = model, count, sampling
        self.positions = positions if count == 1 else positions[-1:]
        self.streams = model.latent_streams(sampling)
        self.decoder = model.tae.new_cache(count, model.device)
        for seed in range(count):
            self.streams.start(model.new_row(model.embed([TEXT]), seed, hold=True, past=past_of(model)))
        self.streams.step()                # each further one reads the latent before it
        self.step, self.decode, self.first, self.differences = defaultdict(list), [], [], []

    def time(self, latents: int) -> None:
        """The first frames once, then as many latents at each position."""
        self.model.sampling = self.sampling
        self.first.append(timed(first_frames, self.model, self.count)[0])
        for position in latents * list(self.positions):
            self.streams.cache.seen = torch.full_like(self.streams.cache.seen, position)
            seconds, (latents, _) = timed(self.streams.step)
            self.step[position].append(seconds / self.count)
            self.decode.append(timed(self.model.decode, latents[:, None], self.decoder)[0] / self.count)

    def needs(self, rates: Rates) -> Needs:
        """What a stream's share of a latent needs; without CUDA graphs, so that its layers show."""
        with patch.object(Graphs, "fit", lambda rows: False):
            found = needs(self.model.ar, rates, lambda: [self.streams.step() for _ in range(ROUNDS)])
        return Needs(*(value / ROUNDS / self.count for value in vars(found).values()))

    def compare(self, noise: Tensor, expected: Tensor) -> None:
        """With the plain loop's latent for that noise, where it can be the same."""
        if (self.sampling.steps, self.sampling.solver) == (STEPS, "ancestral"):
            found = fast_latents(self.model, self.sampling, noise, self.count)
            self.differences.append(float((found - expected).abs().max()))

    def rows(self) -> list[dict]:
        decode = median(self.decode)
        return [dict(steps=self.sampling.steps, solver=self.sampling.solver, streams=self.count, position=position,
                     seconds_per_latent=median(self.step[position]), decode_seconds=decode,
                     frames_per_second=FRAMES_PER_LATENT / (median(self.step[position]) + decode),
                     first_frame_seconds=median(self.first),
                     largest_difference=max(self.differences, default=None)) for position in self.positions]


def plain_and_fast(model: MotionStreamer, plain: StreamingTransformer, cases: Sequence[Case], latents: int,
                   seed: int) -> float:
    """One round: seconds of a plain latent, then `latents` of each case at each position."""
    sampling = cases[0].sampling
    noise = torch.randn(STEPS + 1, plain.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    noise = noise.to(model.device)
    seconds, expected = timed(plain_latent, plain, past_of(model)[:PLAIN_POSITION], model.embed([TEXT])[0], model.empty,
                              sampling.guidance, sampling.temperature, noise)
    for case in cases:
        case.time(latents)
        case.compare(noise, expected)
    return seconds


def past_of(model: MotionStreamer) -> Tensor:
    """As many latents (L, C) as a stream remembers, always the same."""
    last, generator = model.ar.most_latents, torch.Generator().manual_seed(0)
    return torch.randn(last, model.ar.config.latent_dim, generator=generator).to(model.device)


def fast_latents(model: MotionStreamer, sampling: Sampling, noise: Tensor, count: int) -> Tensor:
    """What `count` equal streams sample at the plain loop's position, all with the noise (51, C): (count, C)."""
    streams = model.latent_streams(sampling)
    for _ in range(count):
        row = model.new_row(model.embed([TEXT]), seed=0, hold=True, past=past_of(model)[:PLAIN_POSITION])
        row.sample_noise = lambda: noise
        streams.start(row)
    return streams.step()[0]


def first_frames(model: MotionStreamer, count: int) -> None:
    """Start `count` streams and pull four frames of each."""
    streams = model.streams()
    for seed in range(count):
        streams.start(TEXT, seed, hold=True)
    next(streams)


def tae_of(size: str, weights: Path) -> CausalTAE:
    """The TAE of a size, always the same."""
    if size == "small":
        return load_tae(weights / "tae")
    torch.manual_seed(0)
    return CausalTAE(SIZES[size][0])


def ar_of(size: str, weights: Path) -> ARCheckpoint:
    """The AR model of a size, always the same: motions never end, streams read all their past."""
    if size == "small":
        ar = load_ar(weights / "ar")
    else:
        torch.manual_seed(0)
        ar = ARCheckpoint(StreamingTransformer(SIZES[size][1]).eval(), Calibration(), Sampling(), "")
        for layer in (*ar.model.head.modulations(), ar.model.head.output):
            nn.init.normal_(layer.weight, std=0.02)                       # as built they are zero
    return ar._replace(calibration=replace(ar.calibration, stop_threshold=0.0),
                       sampling=replace(ar.sampling, past=ar.model.most_latents))


def counted(config: Generate, seconds: float) -> float:
    """What a plain latent of so many seconds counts as."""
    return min(seconds, PUBLISHED_SECONDS) if (config.size, config.device) == ("full", "cpu") else seconds


if __name__ == "__main__":
    run(main)
