"""Do the feet stay where they stand, and is nothing below the floor? Generated walks, turns and runs, and the data's.

    python -m benchmarks.feet --data-root data/mocap_272

slide   of the frames in which a toe joint is below 5 cm: the share from which it moves over 2.5 cm along the floor
        to the next; none if no toe joint ever is
skate   how many millimetres a toe joint that is below 3 cm, and does not slide, moves from a frame to the next
sunk    the share of the frames in which the lowest joint is more than 2 cm below the floor
Of the positions and of the rotations by forward kinematics, which are what the model writes, and of the pose that is
shown and exported, corrected from both. Generated and real motions are of the same kinds: the validation sentences of
`benchmarks/sentences.json`, and the clips of their groups.

T frames, 30 per second; metres.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.calibration import Clips
from benchmarks.sentences import load_kinds
from generation.pipeline import MotionStreamer
from motion.footing import grounded_pose
from motion.representation_272 import motion272_to_pose, motion272_to_positions
from motion.skeleton import TOES, forward_kinematics
from options import opt, parse
from options.sampling import Compute, SamplingFlags
from utils.checkpoint import write_json
from utils.errors import run

KINDS = {"walks": ("walks forward",), "turns": ("turns left", "turns right"), "runs": ("runs",)}
NEAR, FAR, SUNK = 0.05, 0.025, 0.02      # metres: a toe's height in contact, its way in a frame, and below the floor
RESTING = 0.03


@dataclass(frozen=True)
class Feet:
    """Measure how feet slide and sink."""

    weights: Path = opt(Path("weights/mocap_stream"), "folder with the checkpoints tae/ and ar/")
    seeds: int = opt(20, "motions per sentence, with the seeds 0, 1, ...")
    sampling: SamplingFlags = SamplingFlags()
    compute: Compute = Compute()
    data_root: str | None = opt(None, "folder of mocap_272, to compare with")
    json: Path | None = opt(None, "file for all that is printed")


def main() -> None:
    config = parse({"feet": Feet()})
    if config.seeds < 1:
        raise ValueError(f"--seeds {config.seeds}: expected 1 or more motions per sentence")
    clips = Clips(config.data_root)
    model = MotionStreamer.from_pretrained(config.weights, **vars(config.compute))
    model.sampling = config.sampling.over(model.sampling)
    report = {}
    print(f"{'':8}{'':12}{'slide':>22}{'sunk':>22}{'skate':>17}\n"
          f"{'':20}generated data  times   generated data generated data")
    for name, labels in KINDS.items():
        kinds = load_kinds(labels)
        texts = [text for kind in kinds for text in kind.validation for _ in range(config.seeds)]
        generated = model.generate_batch(texts, [number % config.seeds for number in range(len(texts))])
        real = [motion for kind in kinds for motion in clips.of(kind)]
        report[name] = {way: dict(generated=feet(generated, joints), data=feet(real, joints))
                        for way, joints in WAYS.items()}
        for way, found in report[name].items():
            print(row_of(name, way, found["generated"], found["data"]))
    if config.json:
        write_json(config.json, report)


def row_of(name: str, way: str, ours: dict[str, float | None], theirs: dict[str, float | None]) -> str:
    """A line of the table: the shares of generated and real motions, and how many times as often ours slide."""
    times = f"{ours['slide'] / theirs['slide']:.1f}" if ours["slide"] is not None and theirs["slide"] else "-"
    first, second, third, fourth = ("-" if share is None else f"{share:.1%}" for share in (
        ours["slide"], theirs["slide"], ours["sunk"], theirs["sunk"]))
    skates = ("-" if skate is None else f"{skate:.1f}" for skate in (ours["skate"], theirs["skate"]))
    return f"{name:8}{way:12}{first:>9}{second:>7}{times:>6}{third:>12}{fourth:>7}{next(skates):>10}{next(skates):>5}"


def feet(motions: Sequence[np.ndarray], to_joints: Callable[[np.ndarray], np.ndarray]) -> dict[str, float | None]:
    """The shares, over motions (T_i, 272) that `to_joints` decodes to (T_i, 22, 3); None where no toe comes down."""
    moves, rests, lowest = [], [], []
    for motion in motions:
        joints = to_joints(motion.astype(np.float64))
        toes = joints[:, TOES]
        step, height = np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1), toes[:-1, :, 1]
        moves.append(step[height < NEAR])
        rests.append(step[(height < RESTING) & (step <= FAR)])
        lowest.append(joints[..., 1].min(axis=1))
    contacts, resting = np.concatenate(moves), np.concatenate(rests)
    return dict(slide=float((contacts > FAR).mean()) if len(contacts) else None,
                sunk=float((np.concatenate(lowest) < -SUNK).mean()),
                skate=1000 * float(resting.mean()) if len(resting) else None)


def exported(motion: np.ndarray) -> np.ndarray:
    """Joints (T, 22, 3) as every video, page and file has them."""
    return forward_kinematics(*grounded_pose(motion))


def turned(motion: np.ndarray) -> np.ndarray:
    """Joints (T, 22, 3) of the rotations alone."""
    return forward_kinematics(*motion272_to_pose(motion))


WAYS = {"positions": motion272_to_positions, "rotations": turned, "exported": exported}


if __name__ == "__main__":
    run(main)
