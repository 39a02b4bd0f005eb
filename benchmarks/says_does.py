"""Does what the sentence says happen? Sentences in, motions out, and plain geometry to judge them.

    python -m benchmarks.says_does --data-root data/mocap_272 --json says_does.json
    python -m benchmarks.says_does --validation --guidance 3                   other sentences, to choose by
    python -m benchmarks.says_does --kinds plain "picks up"                    only a category, or a kind
    python -m benchmarks.says_does --model mosa --cond-scale 5                 the other system
    python -m benchmarks.says_does --calibrate --data-root data/mocap_272     how real clips pass the tests

`sentences.json` holds kinds of motion in categories: what people type for each, in plain words and in everyday ones
that do without the usual verb, and the test that a motion must pass. All of it was fixed before any motion of a model
was generated. The category "plain" is the whole of the first benchmark. A test sees joints, no sentence.
The control is to shuffle the texts among the kinds so that none stays. A motion then meets the test of each
other kind equally often, so what passes is the mean over all of them: none is sampled.

Letters: K kinds, T frames, 30 per second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.calibration import calibrate
from benchmarks.sentences import Kind, Sentences, judge, load_kinds
from dataset.captions import read_captions, words
from dataset.clips import dataset_root, split_ids
from dataset.prepare.folder import reported_sentences
from generation.mosa import SHIPPED as MOSA
from generation.mosa import MoSa
from generation.pipeline import SHIPPED as MOTIONSTREAMER
from generation.pipeline import MotionStreamer
from models.mosa.text import ClipText
from models.text_encoder import MINILM, TextEncoder
from motion.representation_272 import FPS
from options import opt, parse
from options.data import Data
from options.sampling import Compute, MoSaFlags, SamplingFlags
from utils.checkpoint import write_json
from utils.errors import run


@dataclass(frozen=True)
class SaysDoes:
    """Generate motions from sentences and test whether they do what the sentence says."""

    model: str = opt("motionstreamer", "which system", choices=("motionstreamer", "mosa"))
    weights: Path | None = opt(None, "folder with the checkpoints tae/ and ar/, of MoSa tokenizer/ and transformer/; "
                               "None: what ships")
    kinds: tuple[str, ...] = opt((), "only these categories or kinds, as benchmarks/sentences.json names them")
    seeds: int = opt(5, "motions per sentence, with the seeds 0, 1, ...")
    batch: int = opt(60, "motions sampled at once; a lone one works on several steps together, as in a stream")
    sampling: SamplingFlags = SamplingFlags()
    mosa: MoSaFlags = MoSaFlags()
    compute: Compute = Compute()
    validation: bool = opt(False, "other sentences than the reported, by which to choose how to sample")
    calibrate: bool = opt(False, "test the real clips of the data set instead")
    data_root: str | None = opt(None, "folder of mocap_272, to measure how unlike its captions these are")
    json: Path | None = opt(None, "file for all that is printed, and more")


def main() -> None:
    config = parse({"says_does": SaysDoes()})
    if min(config.seeds, config.batch) < 1:
        raise ValueError(f"--seeds {config.seeds} --batch {config.batch}: expected 1 or more")
    kinds = load_kinds(config.kinds)
    if config.calibrate:
        report = calibrate(kinds, config.data_root)
    else:
        weights, model = load(config)
        asked = [kind.validation if config.validation else kind.reported for kind in kinds]
        closest = closest_captions(asked, config.data_root, model.text_encoder) if config.data_root else {}
        report = dict(weights=str(weights), validation=config.validation, precision=config.compute.precision,
                      batch=config.batch, sampling=vars(model.sampling),
                      tolerance=model.ar.head.tolerance if isinstance(model, MotionStreamer) else None,
                      **check(model, kinds, asked, config.seeds, config.batch), closest_captions=closest)
        show(report)
    if config.json:
        write_json(config.json, report)


def load(config: SaysDoes) -> tuple[Path, MotionStreamer | MoSa]:
    """The system that was asked for, sampled from as the options say, and its folder; ValueError for the other's."""
    others = replace(config.sampling, temperature=None) if config.model == "mosa" else config.mosa
    if others != type(others)():
        raise ValueError(f"found {others} with --model {config.model}: these options are of the other system")
    if config.model == "mosa":
        weights = config.weights or MOSA
        return weights, MoSa.load(weights / "tokenizer", weights / "transformer", Data(), config.mosa,
                                  config.sampling.temperature, compute=config.compute)
    weights = config.weights or MOTIONSTREAMER
    model = MotionStreamer.from_pretrained(weights, **vars(config.compute))
    model.sampling = config.sampling.over(model.sampling)
    return weights, model


def check(model: MotionStreamer | MoSa, kinds: Sequence[Kind], asked: Sequence[Sentences], seeds: int,
          batch: int) -> dict:
    """Generate `seeds` motions of the model's own length for every sentence asked of every kind, and test them."""
    texts = [text for sentences in asked for text in sentences for _ in range(seeds)]
    motions = []
    for first in range(0, len(texts), batch):
        part = texts[first:first + batch]
        motions += model.generate_batch(part, [number % seeds for number in range(first, first + len(part))])
    passes = np.array([judge(motion, kinds) for motion in motions])             # (trials, K)
    counts = seeds * np.array([len(tuple(sentences)) for sentences in asked])
    trials = np.split(np.arange(len(texts)), counts.cumsum()[:-1])              # of each kind
    others = pass_of_others(np.array([passes[rows].mean(axis=0) for rows in trials]))
    found = []
    for column, (kind, sentences, rows) in enumerate(zip(kinds, asked, trials)):
        passed = passes[rows, column].reshape(-1, seeds).sum(axis=1).tolist()
        plain = len(sentences.plain)
        found.append(dict(
            category=kind.category, kind=kind.label,
            plain=dict(zip(sentences.plain, passed[:plain])), everyday=dict(zip(sentences.everyday, passed[plain:])),
            others=float(others[column]), seconds=float(np.mean([len(motions[row]) for row in rows])) / FPS))
    return dict(seeds=seeds, kinds=found, **summed(found, seeds))


def summed(kinds: list[dict], seeds: int) -> dict:
    """The shares that passed, over all trials of each category, of all but the plain ones, and of all."""
    def shares(chosen: list[dict]) -> dict[str, float | int | None]:
        wordings = {wording: [count for kind in chosen for count in kind[wording].values()]
                    for wording in ("plain", "everyday")}
        every = wordings["plain"] + wordings["everyday"]
        return dict(passed=sum(every) / (len(every) * seeds), trials=len(every) * seeds,
                    everyday=float(np.mean(wordings["everyday"])) / seeds if wordings["everyday"] else None,
                    shuffled=float(np.mean([kind["others"] for kind in chosen])))

    categories = list(dict.fromkeys(kind["category"] for kind in kinds))
    groups = {category: [kind for kind in kinds if kind["category"] == category] for category in categories}
    if len(groups) > 1 and "plain" in groups:
        groups["all but plain"] = [kind for kind in kinds if kind["category"] != "plain"]
    return dict(categories={name: shares(chosen) for name, chosen in groups.items()}, all=shares(kinds))


def pass_of_others(rates: np.ndarray) -> np.ndarray:
    """rates (K, K), the share of a row's motions that pass a column's test -> the other rows' mean (K,)."""
    return (rates.sum(axis=0) - rates.diagonal()) / max(len(rates) - 1, 1)


def closest_captions(asked: Sequence[Sentences], data_root: str,
                     text_encoder: TextEncoder | ClipText) -> dict[str, dict]:
    """For every sentence the nearest training caption in the text encoder's space (for CLIP's, MiniLM's), by their
    vectors.

    raises   ValueError if a training caption repeats a sentence that results are reported of
    """
    root = dataset_root(Data("mocap_272", data_root))
    captions = sorted({caption.text for name in split_ids(root, "train", "python -m dataset.prepare")
                       for caption in read_captions(root / "texts" / f"{name}.txt")})
    known = reported_sentences()
    for caption in captions:
        if words(caption) in known:
            raise ValueError(f"{root}: the training caption {caption!r} repeats a sentence of "
                             "benchmarks/sentences.json, expected none: prepare the data set again")
    texts = [text for sentences in asked for text in sentences]
    if text_encoder.tokens:
        text_encoder = TextEncoder(MINILM, "cpu") if isinstance(text_encoder, ClipText) else TextEncoder(
            text_encoder.name, text_encoder.device, text_encoder.dtype, text_encoder.on_disk)
    embeddings = unit(text_encoder(captions, progress=True).numpy())
    cosines = unit(text_encoder(texts).numpy()) @ embeddings.T
    return {text: dict(caption=captions[row.argmax()], cosine=float(row.max())) for text, row in zip(texts, cosines)}


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def show(report: dict) -> None:
    seeds, closest = report["seeds"], report["closest_captions"]
    settings = ", ".join(f"{name} {value}" for name, value in report["sampling"].items())
    print(f"\n{report['weights']}, {settings}, {report['precision']}, "
          f"{'validation' if report['validation'] else 'reported'} sentences; passed:")
    print(f"{'':44}  plain everyday others seconds" + "  cosine to the closest caption" * bool(closest))
    category = None
    for kind in report["kinds"]:
        if kind["category"] != category:
            category = kind["category"]
            print(category)
        passed = [f"{sum(texts.values()):3}/{seeds * len(texts)}" if texts else "" for texts in
                  (kind["plain"], kind["everyday"])]
        near = "".join(f"  {name} {np.mean([closest[text]['cosine'] for text in kind[name]]):.2f}"
                       for name in ("plain", "everyday") if closest and kind[name])
        print(f"  {kind['kind']:42}{passed[0]:>7}{passed[1]:>9}{kind['others']:7.0%}{kind['seconds']:8.1f}{near}")
    for name, row in {**report["categories"], "all": report["all"]}.items():
        everyday = "" if row["everyday"] is None else f"everyday wordings {row['everyday']:4.0%}, "
        print(f"{name:16}{row['passed']:5.0%} of {row['trials']}, {everyday}"
              f"shuffled-text control {row['shuffled']:.0%}")
    if closest:
        mean = np.mean([near["cosine"] for near in closest.values()])
        print(f"cosine to the closest training caption: {mean:.2f} on average")


if __name__ == "__main__":
    run(main)
