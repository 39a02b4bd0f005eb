"""How a stream behaves: its speed, its changes of prompt, and five minutes of it.

    python -m benchmarks.streaming --measure speed
    python -m benchmarks.streaming --measure changes --streams data/mocap_272_stream
    python -m benchmarks.streaming --measure endurance --data-root data/mocap_272

speed      seconds to the first frames and to ten seconds of motion; the cost of a latent after 10 and after 1,000 of
           them, in turn; how much more memory 10,000 frames need than 1,000
changes    a second sentence after two seconds of the first: does plain geometry find in the next three seconds what it
           says, and how much does the motion jerk around the change, against recorded pairs and all pairs (`--streams`)
endurance  five minutes of 30 random prompts of the plain kinds: finite, feet on the floor, speed and each joint's turn
           within the data's range, and within 99.9% of it

T frames, 30 per second.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.sentences import load_changes, load_kinds
from dataset.clips import load_clips
from dataset.pairs import load_pairs
from Evaluator_272.streams import WINDOW, Scene, play
from models.causal_tae import FRAMES_PER_LATENT
from generation.pipeline import MotionStream, MotionStreamer
from motion.representation_272 import FPS, motion272_to_positions, motion272_to_pose
from motion.rotation import matrix_to_axis_angle
from motion.skeleton import JOINT_NAMES
from options import opt, parse
from Evaluator_272 import metrics
from options.data import Data
from options.sampling import Compute, SamplingFlags
from utils.checkpoint import write_json
from utils.errors import run

REPEATS = 5
BEFORE, AFTER = 60, 92         # frames of the first prompt, and of the second: three seconds in whole latents
PROMPTS, EACH = 30, 300        # endurance: prompts, and frames of each
QUANTILE = 0.999               # of speeds and angles: what is usual at most


@dataclass(frozen=True)
class Streaming:
    """Measure a stream."""

    measure: str = opt("speed", "what to measure", choices=("speed", "changes", "endurance"))
    weights: Path = opt(Path("weights/mocap_stream"), "folder with the checkpoints tae/ and ar/")
    seeds: int = opt(5, "changes: streams for each change, with the seeds 0, 1, ...")
    validation: bool = opt(False, "changes: other sentences than the reported, by which to choose how to sample")
    sampling: SamplingFlags = SamplingFlags()
    compute: Compute = Compute()
    past: int | None = opt(None, "latents that a new prompt goes on from; None: what is stored")
    streams: str | None = opt(None, "changes: folder of real pairs, to compare the jerk with")
    data_root: str | None = opt(None, "endurance: folder of mocap_272, to compare speeds and angles with")
    json: Path | None = opt(None, "file for all that is printed")


def main() -> None:
    config = parse({"streaming": Streaming()})
    if config.seeds < 1:
        raise ValueError(f"--seeds {config.seeds}: expected 1 or more streams for each change")
    model = MotionStreamer.from_pretrained(config.weights, **vars(config.compute))
    past = model.sampling.past if config.past is None else config.past
    model.sampling = replace(config.sampling.over(model.sampling), past=past)
    report = dict(speed=speed, changes=changes, endurance=endurance)[config.measure](model, config)
    print(json.dumps(report, indent=2))
    if config.json:
        write_json(config.json, report)


def pull(stream: MotionStream, frames: int) -> np.ndarray:
    """The next frames (T, 272), whole latents."""
    return np.concatenate(list(islice(stream, frames // FRAMES_PER_LATENT)))


def speed(model: MotionStreamer, config: Streaming) -> dict:
    """Medians of REPEATS runs; early and late latents are interleaved."""
    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    text = "a person walks forward"
    pull(model.stream(text, hold=True), 40)                               # the first time is slower
    first, ten = [], []
    for seed in range(REPEATS):
        start = time.perf_counter()
        stream = model.stream(text, seed, hold=True)
        next(stream)
        first.append(time.perf_counter() - start)
        pull(stream, 10 * FPS - FRAMES_PER_LATENT)
        ten.append(time.perf_counter() - start)
    late = model.stream(text, hold=True)
    pull(late, 1000)
    before = memory_mb()
    pull(late, 1000 * FRAMES_PER_LATENT - 1000)
    ratios = []
    for seed in range(4 * REPEATS):
        early = model.stream(text, seed, hold=True)
        pull(early, 8 * FRAMES_PER_LATENT)
        costs = [seconds(partial(pull, stream, 4 * FRAMES_PER_LATENT)) for stream in (early, late, late, early)]
        ratios.append((costs[1] + costs[2]) / (costs[0] + costs[3]))
    for _ in islice(late, 10_000 // FRAMES_PER_LATENT - 1000):
        pass                                                              # not kept: it is the stream that is measured
    return dict(first_frames_s=float(np.median(first)), ten_seconds_s=float(np.median(ten)),
                first_of_ten=float(np.median(np.divide(first, ten))),
                frames_per_second=10 * FPS / float(np.median(ten)), latent_1000_to_10=float(np.median(ratios)),
                memory_growth_mb=memory_mb() - before)


def memory_mb() -> float:
    """The most that this process has held."""
    import resource                 # not on Windows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 ** 2 if sys.platform == "darwin" else 1024)


def changes(model: MotionStreamer, config: Streaming) -> dict:
    """How many of the second sentences come true, by change; and the jerk around the changes."""
    found, windows = {}, []
    for change in load_changes(config.validation):
        scenes = [Scene((change.before, change.after), (BEFORE, AFTER))] * config.seeds
        joints = [motion272_to_positions(motion.astype(np.float64))
                  for motion in play(model, scenes, range(config.seeds))]
        found[f"{change.before} -> {change.after}"] = sum(change.test(one[BEFORE:]) for one in joints)
        windows += [around(one, BEFORE) for one in joints]
    report = dict(passed=sum(found.values()) / (len(found) * config.seeds), seeds=config.seeds, changes=found,
                  peak_jerk=metrics.peak_jerk(np.stack(windows)))
    if config.streams:
        recorded = {f"{split}_stream-{name}" for split, name in (line.split("/") for line in Path(
            config.streams, "recorded.txt").read_text(encoding="utf-8").split())}
        pairs = load_pairs(config.streams, "val")[0]
        for kind, chosen in (("recorded", [pair for pair in pairs if pair.id in recorded]), ("all", pairs)):
            real = [around(motion272_to_positions(pair.motion.astype(np.float64)), pair.past) for pair in chosen]
            real = metrics.peak_jerk(np.stack([window for window in real if len(window) == WINDOW]))
            report |= {f"peak_jerk_of_{kind}_pairs": real, f"jerk_to_{kind}_pairs": report["peak_jerk"] / real}
    return report


def around(joints: np.ndarray, change: int) -> np.ndarray:
    """The WINDOW frames around a change, fewer if they do not fit."""
    return joints[max(change - WINDOW // 2, 0):change + WINDOW // 2]


def endurance(model: MotionStreamer, config: Streaming) -> dict:
    """One stream of random prompts, against the data's own speeds and angles."""
    rng = np.random.default_rng(0)
    kinds = [tuple(kind.reported) for kind in load_kinds(("plain",))]
    prompts = [kinds[kind][rng.integers(2)] for kind in rng.integers(len(kinds), size=PROMPTS)]
    stream, pieces = model.stream(prompts[0], hold=True), []
    for text in prompts:
        stream.prompt(text)
        pieces.append(pull(stream, EACH))
    motion = np.concatenate(pieces)
    lowest = motion272_to_positions(motion)[..., 1].min(axis=1)
    data = [speeds_and_angles(clip.motion) for clip in load_clips(Data("mocap_272", config.data_root), "train")]
    data, found = np.concatenate(data), speeds_and_angles(motion)                    # (frames, 22) of root and joints
    usual, highest = (np.quantile(one, QUANTILE, axis=0) for one in (data, found))
    most, furthest = (one.max(axis=0) for one in (data, found))

    def beyond(ours: np.ndarray, theirs: np.ndarray) -> dict[str, list[float]]:
        return {JOINT_NAMES[joint]: [float(ours[joint]), float(theirs[joint])]
                for joint in range(1, len(ours)) if ours[joint] > theirs[joint]}

    return dict(frames=len(motion), finite=bool(np.isfinite(motion).all()),
                lowest_joint_5th_percentile_cm=100 * float(np.quantile(lowest, 0.05)),
                speed_m_s=float(highest[0]), data_speed_m_s=float(usual[0]),
                most_speed_m_s=float(furthest[0]), data_most_speed_m_s=float(most[0]),
                joints_out_of_the_data_deg=beyond(furthest, most), joints_beyond_the_usual_deg=beyond(highest, usual))


def speeds_and_angles(motion: np.ndarray) -> np.ndarray:
    """The root's speed over the floor, metres a second, and every other joint's turn from rest, degrees: (T-1, 22)."""
    rotations, pelvis = motion272_to_pose(motion)
    speeds = np.linalg.norm(np.diff(pelvis[:, [0, 2]], axis=0), axis=-1) * FPS
    angles = np.degrees(np.linalg.norm(matrix_to_axis_angle(rotations[1:, 1:]), axis=-1))
    return np.column_stack([speeds, angles])


if __name__ == "__main__":
    run(main)
