"""Does an edit do what its sentence says, where the motion is changed, and does nothing jerk there?

    python -m benchmarks.edits --data-root data/mocap_272 --json edits.json
    python -m benchmarks.edits --split val --cond-scale 5                      to choose by

Each of the sentences of `sentences.json`'s "edits" changes the middle of three walks of the test split, of six to
ten seconds that do not do there what it says: 60 edits. Training captions may say the same. What counts:

passed    plain geometry finds in the changed part what the sentence says, and the body stays in one piece
no text   the same tests, where the middle is completed without a sentence
border    the fastest joint in the frames around both ends of the changed part, against the speed that 99.9% of the
          joints of the split's walks stay below

T frames, 30 per second; n latents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.geometry import speeds
from benchmarks.sentences import Test, load_edits
from benchmarks.travel import walks
from dataset.clips import load_clips
from dataset.prepare.stream import COMPOSED
from generation.mosa import SHIPPED, MoSa, mask_of
from motion.measures import in_one_piece
from motion.representation_272 import FPS, motion272_to_positions
from options import opt, parse
from options.data import Data
from options.sampling import Compute, MoSaFlags
from utils.checkpoint import write_json
from utils.errors import run

MASK = "0.3,0.7"
SECONDS = 6, 10         # of a source
WALKS = 3               # of each sentence
AROUND = 6              # frames before and behind a border: past the middle of the blend, where it is fastest
QUANTILE = 0.999        # of speeds: what is usual at most
USUAL = 1.5             # times that is still smooth


@dataclass(frozen=True)
class Edits:
    """Edit walks by sentences and test whether they do what these say."""

    weights: Path = opt(SHIPPED, "folder with MoSa's tokenizer/ and transformer/")
    data_root: str | None = opt(None, "folder of mocap_272; None: where it is prepared")
    split: str = opt("test", "of the walks; val to choose how to sample", choices=("test", "val"))
    seed: int = opt(0, "of the noise")
    temperature: float | None = opt(None, "what the logits are divided by; None: what is stored with the model")
    any_overlap: bool = opt(True, "coarse codes that the changed part only touches are regenerated too")
    mosa: MoSaFlags = MoSaFlags()
    compute: Compute = Compute()
    json: Path | None = opt(None, "file for all that is printed")


@dataclass(frozen=True)
class Walk:
    """A source, and its joints (T, 22, 3)."""

    name: str
    motion: np.ndarray      # (T, 272)
    joints: np.ndarray


def main() -> None:
    config = parse({"edits": Edits()})
    data = Data("mocap_272", config.data_root)
    model = MoSa.load(config.weights / "tokenizer", config.weights / "transformer", data, config.mosa,
                      config.temperature, compute=config.compute)
    report = measure(model, real_walks(data, config.split, model), config.seed, config.any_overlap)
    report |= dict(weights=str(config.weights), split=config.split,
                   sampling=vars(model.sampling) | dict(any_overlap=config.any_overlap))
    show(report)
    if config.json:
        write_json(config.json, report)


def real_walks(data: Data, split: str, model: MoSa) -> list[Walk]:
    """The split's clips, none composed or mirrored, that go a metre forward and are as long as SECONDS."""
    found, longest, clips = [], min(SECONDS[1] * FPS, model.longest), load_clips(data, split)
    mirrored = {f"M{clip.id}" for clip in clips}
    for clip in clips:
        if (SECONDS[0] * FPS <= len(clip.motion) <= longest and not COMPOSED.fullmatch(clip.id)
                and clip.id not in mirrored):
            motion = np.asarray(clip.motion)
            joints = motion272_to_positions(motion.astype(np.float64))
            if walks(joints):
                found.append(Walk(clip.id, motion, joints))
    return found


def measure(model: MoSa, sources: Sequence[Walk], seed: int, any_overlap: bool = True) -> dict:
    """Edit the walks with each sentence, and without; raises ValueError where there are too few."""
    if not sources:
        raise ValueError("found no walk of six to ten seconds: give another --split or --data-root")
    usual = np.quantile(np.concatenate([speeds(walk.joints).ravel() for walk in sources]), QUANTILE)
    edits = []
    for number, (text, test) in enumerate(load_edits()):
        chosen = [walk for walk in np.random.default_rng(number).permutation(np.array(sources, dtype=object))
                  if not test(walk.joints[changed(walk, model)])][:WALKS]
        if len(chosen) < WALKS:
            raise ValueError(f"{len(chosen)} walks that do not do {text!r} already, expected {WALKS}: give more clips")
        for walk in chosen:
            passed, border = edited(model, walk, text, test, seed, any_overlap)
            edits.append(dict(text=text, source=walk.name, passed=passed, border=border / usual,
                              no_text=edited(model, walk, None, test, seed, any_overlap)[0]))
    borders = np.array([edit["border"] for edit in edits])
    return dict(edits=edits, passed=float(np.mean([edit["passed"] for edit in edits])),
                no_text=float(np.mean([edit["no_text"] for edit in edits])), usual_speed=float(usual),
                border_median=float(np.median(borders)), border_most=float(borders.max()),
                smooth=float((borders <= USUAL).mean()))


def edited(model: MoSa, walk: Walk, text: str | None, test: Test, seed: int,
           any_overlap: bool) -> tuple[bool, float]:
    """Whether the changed part of an edit passes the test and the body stays in one piece, and metres per second of the
    fastest joint at that part's ends."""
    part = changed(walk, model)
    motion = model.edit(walk.motion, mask(walk, model), text, [seed], any_overlap=any_overlap)[0]
    joints = motion272_to_positions(motion.astype(np.float64))
    fastest = speeds(joints).max(axis=-1)
    border = max(fastest[max(end - 1 - AROUND, 0):end + AROUND].max() for end in (part.start, part.stop))
    return bool(test(joints[part]) and in_one_piece(joints)), float(border)


def mask(walk: Walk, model: MoSa) -> np.ndarray:
    """Which latents (n,) are changed."""
    unit = model.tokenizer.frames_per_code
    return mask_of([MASK], len(walk.motion) // unit, unit)


def changed(walk: Walk, model: MoSa) -> slice:
    """Which frames are."""
    latents = np.flatnonzero(mask(walk, model))
    return slice(latents[0] * model.tokenizer.frames_per_code, (latents[-1] + 1) * model.tokenizer.frames_per_code)


def show(report: dict) -> None:
    print(f"\n{report['weights']}, {report['split']} split, {report['sampling']}; passed:")
    texts = list(dict.fromkeys(edit["text"] for edit in report["edits"]))
    for text in texts:
        rows = [edit for edit in report["edits"] if edit["text"] == text]
        print(f"  {text:44}{sum(row['passed'] for row in rows)}/{len(rows)}   without text "
              f"{sum(row['no_text'] for row in rows)}/{len(rows)}   border {max(row['border'] for row in rows):.2f}")
    print(f"{report['passed']:.0%} of {len(report['edits'])} edits, {report['no_text']:.0%} without text; the fastest "
          f"joint at a border {report['border_median']:.2f} of the usual most ({report['usual_speed']:.1f} m/s), "
          f"{report['border_most']:.2f} at most; {report['smooth']:.0%} within {USUAL}")


if __name__ == "__main__":
    run(main)
