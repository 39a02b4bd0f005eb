"""Sentences in, motions out.

python demo_t2m.py --text "a person walks in a circle" --text "a person waves both hands" --format npy,bvh,mp4
python demo_t2m.py --model mosa --text "a person walks in a circle" --length 120
"""

import time

START = time.perf_counter()  # before the slow imports: they are part of what a user waits for

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from generation.mosa import MoSa, given_or_shipped
from generation.pipeline import SHIPPED, MotionStreamer, check_length
from motion.formats.export import Files, check_files, check_formats, export, progress_bar
from motion.representation_263 import fps_of
from motion.representation_272 import FPS
from options import opt, parse
from options.data import Data
from options.sampling import Compute, MoSaFlags, SamplingFlags
from options.training import DEVICES
from utils.errors import run
from utils.text import read_lines

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
    data: Data = Data()                         # whose statistics the authors' files need
    compute: Compute = Compute()


@dataclass(frozen=True)
class Demo:
    """Generate motion from sentences and write it to files named after them."""

    text: tuple[str, ...] = opt((), "what the character does; several sentences give several motions")
    text_file: Path | None = opt(None, "more sentences, one per line, perhaps with its frames: a person walks#120")
    count: int = opt(1, "motions per sentence, with the seeds seed, seed + 1, ...", flag="count repeat-times")
    seed: int = opt(0, "of the noise; the same seed gives the same motion")
    length: int | None = opt(None, "frames, 30 a second; None: the model decides", flag="length motion-length")
    yes: bool = opt(False, "generate motions of more than an hour, too")
    model: str = opt("motionstreamer", "the system that generates", choices=("motionstreamer", "mosa"))
    mosa: MoSaFlags = MoSaFlags()
    scales: int | None = opt(None, "MoSa: a preview of the motion after so many scales; None: all")
    chosen: Chosen = Chosen()
    files: Files = Files()


def main():
    config = parse({"default": Demo()}, show=False)
    sentences, lengths = with_lengths(read_sentences(config.text, config.text_file), config.length)
    if config.count < 1:
        raise ValueError(f"--count is {config.count}; expected 1 or more motions per sentence.")
    for length in lengths:
        check_length(length)
    check_hours(sum(length or FPS for length in lengths) * config.count, config.yes)    # a second each, if not more
    check_files(config.files)
    generate, longest = of_mosa(config) if config.model == "mosa" else of_motionstreamer(config, sentences)
    first = time.perf_counter() - START

    texts = [text for text in sentences for _ in range(config.count)]
    frames = [length for length in lengths for _ in range(config.count)]
    seeds = [config.seed + number for _ in sentences for number in range(config.count)]
    names = file_names(texts)
    for part in (slice(first, first + BATCH) for first in range(0, len(texts), BATCH)):
        what = texts[part][0] if len(texts[part]) == 1 else f"{len(texts[part])} motions"
        with progress_bar(what, sum(length or longest for length in frames[part])) as bar:
            motions = generate(texts[part], seeds[part], frames[part], progress=bar.update)
        for text, name, motion in zip(texts[part], names[part], motions):
            if not np.isfinite(motion).all():
                print(f"{text}: left out, its motion is not finite; give a smaller --guidance")
                continue
            print(f"{text}: {len(motion) / fps_of(motion.shape[1]):.1f} s of motion")
            for path in export(config.files, name, motion, text):
                print(f"  {path}")
    print(f"{'first frame' if config.model == 'motionstreamer' else 'ready'} after {first:.1f} s, "
          f"all after {time.perf_counter() - START:.1f} s")


def of_motionstreamer(config: Demo, sentences: list[str]) -> tuple[Callable[..., list[np.ndarray]], int]:
    """What generates a batch, and the frames of the longest motion; a first frame has been made."""
    if config.scales is not None:
        raise ValueError(f"--scales {config.scales} is of MoSa: give --model mosa.")
    model = load_model(config.chosen)
    embed_ahead(model, sentences)
    next(model.stream(sentences[0], config.seed))
    return model.generate_batch, model.longest


def of_mosa(config: Demo) -> tuple[Callable[..., list[np.ndarray]], int]:
    model = load_mosa(config.chosen, config.mosa)
    check_formats(config.files, model.tokenizer.config.channels)
    return partial(model.generate_batch, scales=config.scales), model.longest


def load_mosa(config: Chosen, flags: MoSaFlags) -> MoSa:
    """MoSa, from the folder that ships unless others are given."""
    return MoSa.load(*given_or_shipped(config.resume_pth, config.resume_trans), config.data, flags,
                     config.sampling.temperature, config.text_encoder, config.text_encoder_device, config.compute)


def with_lengths(sentences: list[str], length: int | None) -> tuple[list[str], list[int | None]]:
    """"a person walks#120" -> the sentence and its frames; `length` where it does not say, or says NA.

    raises   ValueError for what is no number
    """
    texts, lengths = [], []
    for sentence in sentences:
        text, mark, frames = sentence.rpartition("#")
        if mark and not (frames.strip().isdecimal() or frames.strip().upper() == "NA"):
            raise ValueError(f"{sentence!r}: expected frames behind the #, such as #120.")
        texts.append(text.strip() if mark else sentence)
        lengths.append(int(frames) if mark and frames.strip().isdecimal() else length)
    return texts, lengths


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
    return MotionStreamer.load(config.resume_pth, config.resume_trans, config.data, config.sampling,
                               config.text_encoder, config.text_encoder_device, config.compute)


def embed_ahead(model: MotionStreamer, sentences: Sequence[str]) -> None:
    """Embed all that will be asked for, then free the text encoder's memory: the published one needs 10 GB."""
    _ = model.empty, model.read(sentences)
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
