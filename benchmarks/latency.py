"""How long until the first frame, and until the last, against the number of frames.

    python -m benchmarks.latency --repetitions 5

Writes OUT/latency.json, and OUT/latency.png beside it. Medians of the repetitions, with the model loaded.
"""

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.timing import processor
from Evaluator_272.report import hash_of, versions
from generation.pipeline import MotionStreamer
from models.causal_tae import FRAMES_PER_LATENT
from options import opt, parse, to_json
from options.sampling import Compute, SamplingFlags
from utils.checkpoint import write_json, write_whole
from utils.errors import run

FRAMES = (32, 64, 96, 128, 160, 192, 224, 256, 288)
TEXT = "a person walks forward"


@dataclass(frozen=True)
class Latency:
    """Measure the time from a sentence to its first and its last frame, as a stream."""

    weights: Path = opt(Path("weights/mocap_stream"), "folder with the checkpoints tae/ and ar/")
    repetitions: int = opt(20, "streams of each length, with the seeds 0, 1, ...")
    sampling: SamplingFlags = SamplingFlags()
    compute: Compute = Compute()
    out: Path = opt(Path("output/latency"), "folder of the results")


def main() -> None:
    config = parse({"latency": Latency()})
    if config.repetitions < 1:
        raise ValueError(f"--repetitions is {config.repetitions}; expected 1 or more.")
    model = MotionStreamer.from_pretrained(config.weights, **vars(config.compute))
    model.sampling = config.sampling.over(model.sampling)
    report = measure(model, config.repetitions) | dict(
        config=to_json(config), device=str(model.device), processor=processor(model.device),
        threads=torch.get_num_threads(), versions=versions(),
        sha256={name: hash_of(config.weights / name) for name in ("tae", "ar")})
    for frames, first, last in zip(report["frames"], report["first_frame_s"], report["last_frame_s"]):
        print(f"{frames:4} frames: the first after {first:.3f} s, the last after {last:.3f} s")
    plot(report, config.out / "latency.png")
    write_json(config.out / "latency.json", report)
    print(f"written to {config.out / 'latency.json'}")


def measure(model: MotionStreamer, repetitions: int) -> dict:
    """Medians over the repetitions for each number of frames."""
    first_and_last(model, FRAMES[0], 0)                                   # the first time is slower: caches, threads
    times = [[first_and_last(model, frames, seed) for seed in range(repetitions)]
             for frames in tqdm(FRAMES, unit="length")]
    first, last = np.median(times, axis=1).T.tolist()
    return dict(frames=FRAMES, first_frame_s=first, last_frame_s=last)


def first_and_last(model: MotionStreamer, frames: int, seed: int) -> tuple[float, float]:
    """Seconds from a sentence to its motion's first four frames, and to the last of `frames`, as a stream."""
    start, first = time.perf_counter(), 0.0
    for _ in islice(model.stream(TEXT, seed, hold=True), frames // FRAMES_PER_LATENT):
        first = first or time.perf_counter() - start
    return first, time.perf_counter() - start


def plot(report: dict, path: Path) -> None:
    from matplotlib.figure import Figure                                  # imported late: it takes a second

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(report["frames"], report["last_frame_s"], "o--", color="tab:gray", label="last frame")
    axes.plot(report["frames"], report["first_frame_s"], "o-", label="first frame")
    axes.set(xlabel="frames of the motion (30 a second)", ylabel="seconds after the sentence", ylim=(0, None))
    axes.legend()
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=150)


if __name__ == "__main__":
    run(main)
