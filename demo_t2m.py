"""Sentences in, motions out.

python demo_t2m.py --text "a person walks in a circle" --text "a person waves both hands" --format npy,bvh,mp4
python demo_t2m.py --model mosa --text "a person walks in a circle" --length 120
"""

import time

START = time.perf_counter()  # before the slow imports: they are part of what a user waits for

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.clips import with_statistics
from generation.mosa import SHIPPED as MOSA
from generation.mosa import MoSa
from generation.pipeline import MotionStreamer, check_length, text_encoder_of
from models.checkpoints import load_ar, load_tae
from motion.formats.bvh import write_bvh
from motion.formats.npz import write_amass
from motion.render import Title, render_video
from motion.representation_263 import fps_of, motion_to_positions
from motion.representation_272 import DIM, FPS, motion272_to_pose, motion272_to_positions
from motion.skeleton import forward_kinematics
from options import opt, parse
from options.sampling import Compute, MoSaFlags, SamplingFlags
from options.training import DATASETS, DEVICES
from utils.checkpoint import write_whole
from utils.distributed import pick_device
from utils.errors import run

SHIPPED = Path(__file__).parent / "weights" / "mocap_stream"
ENDINGS = {"npy": ".npy", "joints": "_joints.npy", "npz": ".npz", "bvh": ".bvh", "mp4": ".mp4"}
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
class Files:
    """What is written and where."""

    out: Path = opt(Path("demo_output"), "folder of the files")
    format: str = opt("npy,bvh,mp4", "some of npy (272 channels), joints (T, 22, 3), npz (AMASS), bvh, mp4")
    mode: str = opt("pos", "joints from positions, or from rotations through forward kinematics",
                    choices=("pos", "rot"))

    @property
    def formats(self) -> list[str]:
        return self.format.split(",")


@dataclass(frozen=True)
class Demo:
    """Generate motion from sentences and write it to files named after them."""

    text: tuple[str, ...] = opt((), "what the character does; several sentences give several motions")
    text_file: Path | None = opt(None, "more sentences, one per line, perhaps with its frames: a person walks#120")
    count: int = opt(1, "motions per sentence, with the seeds seed, seed + 1, ...", also=("--repeat-times",))
    seed: int = opt(0, "of the noise; the same seed gives the same motion")
    length: int | None = opt(None, "frames, 30 a second; None: the model decides", also=("--motion-length",))
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
            for path in write(config.files, name, motion, text):
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
    return partial(model.generate_batch, scales=config.scales), model.longest


def load_mosa(config: Chosen, flags: MoSaFlags) -> MoSa:
    """MoSa, from the folder that ships unless others are given."""
    ships = (config.resume_pth, config.resume_trans) == (SHIPPED / "tae", SHIPPED / "ar")
    paths = (MOSA / "tokenizer", MOSA / "transformer") if ships else (config.resume_pth, config.resume_trans)
    compute = replace(config.compute, device=config.text_encoder_device or config.compute.device)
    return MoSa.load(*paths, (config.dataname, config.data_root), flags, config.sampling.temperature,
                     config.text_encoder, compute)


def with_lengths(sentences: list[str], length: int | None) -> tuple[list[str], list[int | None]]:
    """"a person walks#120" -> the sentence and its frames; `length` where it does not say, or says NA.

    raises   ValueError for what is no number
    """
    texts, lengths = [], []
    for sentence in sentences:
        text, told, frames = sentence.rpartition("#")
        if told and not (frames.strip().isdecimal() or frames.strip().upper() == "NA"):
            raise ValueError(f"{sentence!r}: expected frames behind the #, such as #120.")
        texts.append(text.strip() if told else sentence)
        lengths.append(int(frames) if told and frames.strip().isdecimal() else length)
    return texts, lengths


def progress_bar(what: str, frames: int) -> tqdm:
    """A bar that leaves nothing behind, and is not there without a terminal."""
    return tqdm(desc=what, total=frames, unit=" frames", leave=False, disable=None, dynamic_ncols=True)


def read_sentences(text: Sequence[str], text_file: Path | None) -> list[str]:
    """Those of --text and --text-file; ValueError or FileNotFoundError if there is nothing to generate."""
    sentences = list(text)
    if text_file:
        if not text_file.is_file():
            raise FileNotFoundError(f"There is no file {text_file}; expected one sentence per line.")
        lines = text_file.read_text(encoding="utf-8").splitlines()
        sentences += [line.strip() for line in lines if line.strip()]
    if not sentences or not all(sentence.strip() for sentence in sentences):
        raise ValueError("The prompt is empty; say what the character does, e.g. --text 'a person walks'.")
    return sentences


def check_files(config: Files) -> None:
    """Make sure that files can be written, before the work and not after it; ValueError if not."""
    if unknown := set(config.formats) - set(ENDINGS):
        raise ValueError(f"--format has {', '.join(map(repr, unknown))}: expected {','.join(ENDINGS)}.")
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=config.out).close()
    except OSError as error:
        raise ValueError(f"--out {config.out} is not writable ({error.strerror}); give another one.") from None


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
        candidates = [stem, *(f"{stem}-{number}" for number in range(2, len(texts) + 2))]
        names.append(next(name for name in candidates if name not in names))
    return names


def write(config: Files, name: str, motion: np.ndarray, title: Title) -> list[Path]:
    """Write a motion (T, 272) as name.npy, name.bvh, ..., each whole or not at all; returns the paths."""
    if motion.shape[1] != DIM:
        return write_joints(config, name, motion, title)
    rotations, pelvis = motion272_to_pose(motion)
    joints = motion272_to_positions(motion) if config.mode == "pos" else forward_kinematics(rotations, pelvis)
    writers = {
        "npy": lambda path: save_array(path, motion),
        "joints": lambda path: save_array(path, joints),
        "npz": lambda path: write_amass(path, rotations, pelvis),
        "bvh": lambda path: write_bvh(path, rotations, pelvis),
        "mp4": lambda path: save_video(path, joints, title),
    }
    paths = [config.out / f"{name}{ENDINGS[format]}" for format in config.formats]
    for format, path in zip(config.formats, paths):
        writers[format](path)
    return paths


def write_joints(config: Files, name: str, motion: np.ndarray, title: Title) -> list[Path]:
    """`write` for a motion (T, 263), of which only the joints are known: the formats that need no rotations."""
    joints, fps = motion_to_positions(motion), fps_of(motion.shape[1])
    writers = {
        "npy": lambda path: save_array(path, motion),
        "joints": lambda path: save_array(path, joints),
        "mp4": lambda path: save_video(path, joints, title, fps),
    }
    paths = {format: config.out / f"{name}{ENDINGS[format]}" for format in config.formats if format in writers}
    for format, path in paths.items():
        writers[format](path)
    return list(paths.values())


def save_video(path: Path, joints: np.ndarray, title: Title, fps: float = FPS) -> None:
    with progress_bar("drawing", len(joints)) as bar:
        render_video(path, joints, title, fps, progress=bar.update)


def save_array(path: Path, values: np.ndarray) -> None:
    with write_whole(path) as temporary:
        np.save(temporary, values)


if __name__ == "__main__":
    run(main)
