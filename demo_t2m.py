"""Sentences in, motions out.

python demo_t2m.py --text "a person walks in a circle" --text "a person waves both hands" --format npy,bvh,mp4
"""

import time

START = time.perf_counter()  # before the slow imports: they are part of what a user waits for

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.clips import with_statistics
from generation.pipeline import MotionStreamer, check_length, text_encoder_of
from models.checkpoints import load_ar, load_tae
from motion.formats.export import Files, check_files, export, progress_bar
from motion.representation_272 import FPS
from options import opt, parse
from options.sampling import Compute, SamplingFlags
from options.training import DATASETS, DEVICES
from utils.distributed import pick_device
from utils.errors import run
from utils.text import read_lines

SHIPPED = Path(__file__).parent / "weights" / "mocap_stream"
SPEED = 40    # frames a second; see docs/speed.md
BATCH = 32    # motions generated at once


@dataclass(frozen=True)
class Chosen:
    """The model, how to sample from it, and where to run."""

    sampling: SamplingFlags = SamplingFlags()
    resume_pth: Path = opt(SHIPPED / "tae", "TAE: a checkpoint folder, or the authors' net_last.pth")
    resume_trans: Path = opt(SHIPPED / "ar", "AR model: a checkpoint folder, or the authors' file")
    text_encoder: str | None = opt(None, "sentence-transformers name or folder; None: the AR model's own")
    text_encoder_device: str | None = opt(None, "where sentences are encoded; None: where motion is generated",
                                          choices=DEVICES)
    dataname: str = opt("t2m_272", "data set whose statistics the authors' TAE needs", choices=DATASETS)
    data_root: str | None = opt(None, "its folder; None: the published name, here")
    compute: Compute = Compute()


@dataclass(frozen=True)
class Demo:
    """Generate motion from sentences and write it to files named after them."""

    text: tuple[str, ...] = opt((), "what the character does; several sentences give several motions")
    text_file: Path | None = opt(None, "more sentences, one per line")
    count: int = opt(1, "motions per sentence, with the seeds seed, seed + 1, ...")
    seed: int = opt(0, "of the noise; the same seed gives the same motion")
    length: int | None = opt(None, "frames, 30 a second; None: the model ends by itself")
    yes: bool = opt(False, "generate motions of more than an hour, too")
    chosen: Chosen = Chosen()
    files: Files = Files()


def main():
    config = parse({"default": Demo()}, show=False)
    sentences = read_sentences(config.text, config.text_file)
    if config.count < 1:
        raise ValueError(f"--count is {config.count}; expected 1 or more motions per sentence.")
    check_length(config.length)
    check_hours(len(sentences) * config.count * (config.length or 0), config.yes)
    check_files(config.files)
    model = load_model(config.chosen)
    embed_ahead(model, sentences)
    next(model.stream(sentences[0], config.seed))
    first = time.perf_counter() - START

    texts = [text for text in sentences for _ in range(config.count)]
    seeds = [config.seed + number for _ in sentences for number in range(config.count)]
    names = file_names(texts)
    for part in (slice(first, first + BATCH) for first in range(0, len(texts), BATCH)):
        what = texts[part][0] if len(texts[part]) == 1 else f"{len(texts[part])} motions"
        with progress_bar(what, len(texts[part]) * (config.length or model.longest)) as bar:
            motions = model.generate_batch(texts[part], seeds[part], config.length, progress=bar.update)
        for text, name, motion in zip(texts[part], names[part], motions):
            if not np.isfinite(motion).all():
                print(f"{text}: left out, its motion is not finite; give a smaller --guidance")
                continue
            print(f"{text}: {len(motion) / FPS:.1f} s of motion")
            for path in export(config.files, name, motion, text):
                print(f"  {path}")
    print(f"first frame after {first:.1f} s, all after {time.perf_counter() - START:.1f} s")


def read_sentences(text: Sequence[str], text_file: Path | None) -> list[str]:
    """Those of --text and --text-file; ValueError or FileNotFoundError if there is nothing to generate."""
    sentences = list(text)
    if text_file:
        if not text_file.is_file():
            raise FileNotFoundError(f"There is no file {text_file}; expected one sentence per line.")
        sentences += [line.strip() for line in read_lines(text_file) if line.strip()]
    if not sentences or not all(sentence.strip() for sentence in sentences):
        raise ValueError("The prompt is empty; say what the character does, e.g. --text 'a person walks'.")
    return sentences


def check_hours(frames: float, yes: bool) -> None:
    """ValueError that says what so many frames take, if they are more than an hour and nobody said --yes."""
    if frames > 3600 * FPS and not yes:
        raise ValueError(f"{frames:.0f} frames are {frames / FPS / 3600:.3g} hours of motion: at about {SPEED} frames "
                         f"a second on two CPU cores they take {frames / SPEED / 3600:.3g} hours, and "
                         f"{frames * 272 * 4 / 1e9:.3g} GB. Give fewer, or --yes.")


def load_model(config: Chosen) -> MotionStreamer:
    """TAE, AR model and text encoder, each from our checkpoint folder or from the authors' file."""
    if (config.resume_pth == SHIPPED / "tae") != (config.resume_trans == SHIPPED / "ar"):
        raise ValueError("Only one of --resume-pth and --resume-trans is given, but a TAE and an AR model belong "
                         "together; give both or neither.")
    tae = with_statistics(load_tae(config.resume_pth), config.dataname, config.data_root)
    ar = load_ar(config.resume_trans)
    text_encoder = text_encoder_of(ar.model, config.text_encoder or ar.text_encoder,
                                   pick_device(config.text_encoder_device or config.compute.device))
    sampling = config.sampling.over(ar.sampling)
    return MotionStreamer(tae, ar.model, text_encoder, ar.calibration, sampling, config.compute)


def embed_ahead(model: MotionStreamer, sentences: Sequence[str]) -> None:
    """Embed all that will be asked for, then free the text encoder's memory: the published one needs 10 GB."""
    model.embed(["", *sentences])
    model.text_encoder.release()


def file_names(texts: list[str]) -> list[str]:
    """A safe name for every sentence, no two alike: a-person-walks, a-person-walks-2, ..."""
    names = []
    for text in texts:
        stem = re.sub(r"\W+", "-", text.lower())[:50].strip("-_") or "motion"
        stem += "-" * bool(re.fullmatch("con|prn|aux|nul|(com|lpt)[0-9¹²³]", stem))    # devices of Windows
        candidates = [stem, *(f"{stem}-{number}" for number in range(2, len(texts) + 2))]
        names.append(next(name for name in candidates if name not in names))
    return names


if __name__ == "__main__":
    run(main)
