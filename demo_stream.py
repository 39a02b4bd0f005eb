"""Sentence after sentence, one character that never stops: frames come while the model thinks.

python demo_stream.py --text "a person walks forward" --text "a person turns left" --text "a person waves" --seconds 4
python demo_stream.py --interactive
"""

import math
import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.clips import load_motion
from demo_t2m import Chosen, check_hours, embed_ahead, file_names, load_model, read_sentences
from generation.pipeline import MotionStreamer
from models.causal_tae import FRAMES_PER_LATENT
from motion.captures import Reading, read_body
from motion.formats.export import Files, check_files, export
from motion.representation_272 import (DIM, FPS, Start, check_denormalised, end_of, pose_to_motion272, start_of)
from options import opt, parse
from utils.errors import run

Pull = tuple[str, np.ndarray]    # the prompt of the moment, frames (4, 272)
REPORT = 60                      # frames between two reports of the speed
SHOWN = FRAMES_PER_LATENT / FPS  # seconds for which the frames of a pull are seen


@dataclass(frozen=True)
class DemoStream:
    """Stream one character through several prompts, and write all of it to files named after the first."""

    text: tuple[str, ...] = opt((), "what the character does, one prompt after another")
    text_file: Path | None = opt(None, "more prompts, one per line")
    seconds: tuple[float, ...] = opt((), "how long each prompt lasts, one number for all or one for each; none: "
                                     "until its motion ends by itself")
    interactive: bool = opt(False, "read prompts from the terminal while the character moves; "
                            "an empty line or Ctrl-C ends it")
    seed: int = opt(0, "of the noise; the same seed gives the same motion")
    yes: bool = opt(False, "go on for more than an hour, too")
    past: Path | None = opt(None, "motion to go on from, where and facing as it ends: .npy (T, 272), or a capture "
                                  "such as .bvh")
    with_past: bool = opt(False, "put that motion in front, in every file")
    reading: Reading = Reading()
    chosen: Chosen = Chosen()
    files: Files = Files()


def main():
    config = parse({"default": DemoStream()}, show=False)
    given = bool(config.text or config.text_file)
    prompts = read_sentences(config.text, config.text_file) if given or not config.interactive else []
    if config.interactive and (config.seconds or len(prompts) > 1):
        raise ValueError("--interactive takes one --text at most, and no --seconds: type what comes next")
    seconds = seconds_of(config.seconds, len(prompts))
    check_hours(FPS * sum(value or 0 for value in seconds), config.yes)
    if config.with_past and not config.past:
        raise ValueError("--with-past puts a --past in front, but there is none: give --past, too")
    past = read_past(config.past, config.reading) if config.past else None
    check_files(config.files)
    model = load_model(config.chosen)
    if config.interactive:                        # a prompt that is not kept would else stop the frames for seconds
        threading.Thread(target=load_ahead, args=[model], daemon=True).start()
    else:
        embed_ahead(model, prompts)
    start = dict(seed=config.seed, past=past.motion if past else None)
    motion, title = collect(in_real_time(from_terminal(model, prompts, start)) if config.interactive
                            else in_turn(model, prompts, seconds, start))
    if not len(motion):
        return print("no prompt, no motion")
    name, place = file_names([title[0][1]])[0] + "-stream", Start()
    if past and config.with_past:
        title = [(0, config.past.name), *((len(past.motion) + frame, text) for frame, text in title)]
        motion, place = np.concatenate([past.motion, motion]), past.start
    elif past:
        place = end_of(past.motion, past.start)
    for path in export(config.files, name, motion, title, place):
        print(f"  {path}")


def load_ahead(model: MotionStreamer) -> None:
    with suppress(ValueError):                    # the prompt that needs it will say so
        model.text_encoder.load()


def seconds_of(given: tuple[float, ...], count: int) -> list[float | None]:
    """How long each of the prompts lasts; None: until it ends by itself."""
    if not all(0 < value < math.inf for value in given):
        raise ValueError(f"--seconds {' '.join(map(str, given))}: expected numbers above 0.")
    if len(given) not in (0, 1, count):
        raise ValueError(f"--seconds has {len(given)} numbers for {count} prompts: give one, or one for each.")
    return [None] * count if not given else [*given] * count if len(given) == 1 else [*given]


class Past(NamedTuple):
    """A motion (T, 272) at 30 fps, and where it begins: of an .npy over the origin, facing z+."""
    motion: np.ndarray
    start: Start = Start()


def read_past(path: Path, reading: Reading = Reading(), flag: str = "--past", channels: int = DIM) -> Past:
    """A motion to go on from or to change: of an .npy as it is, of a capture put on our skeleton, which is printed.

    flag      of the script that asks, for what is said of a bad file
    channels  of an .npy, where they are others
    raises    FileNotFoundError, or ValueError that names the file
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; expected a motion, .npy (T, {channels}) or .bvh.")
    if path.suffix.lower() == ".npy":
        motion = load_motion(path, channels, f"{flag} {path}")
        if channels == DIM and len(motion) >= FRAMES_PER_LATENT:
            check_denormalised(motion, f"{flag} {path}")
        return Past(motion)
    rotations, joints, said, _ = read_body(path, reading)
    print(said)
    return Past(pose_to_motion272(rotations, joints).astype(np.float32), start_of(rotations, joints))


def in_turn(model: MotionStreamer, prompts: list[str], seconds: list[float | None], start: dict) -> Iterator[Pull]:
    """Each prompt for its seconds, or until its motion ends, at the latest after a full context for each part."""
    stream = None
    for text, lasts in zip(prompts, seconds):
        most = lasts * FPS if lasts else len(model.read([text])[0]) * model.longest
        begun, first, count = time.perf_counter(), None, 0
        if stream is None:
            stream = model.stream(text, hold=lasts is not None, **start)
        else:
            stream.prompt(text)
        for frames in stream:
            first = first or time.perf_counter() - begun
            yield text, frames
            count += FRAMES_PER_LATENT
            over = count >= most
            if over or count % REPORT == 0:
                say_speed(text, count, time.perf_counter() - begun, first)
            if over:
                break
        else:
            say_speed(text, count, time.perf_counter() - begun, first)


def say_speed(text: str, frames: int, taken: float, first: float) -> None:
    print(f"{text}: {frames / FPS:.1f} s of motion at {frames / taken:.0f} frames a second, the first after "
          f"{1000 * first:.0f} ms", flush=True)


def from_terminal(model: MotionStreamer, prompts: list[str], start: dict) -> Iterator[Pull]:
    """What the terminal says, from the next latent on, until an empty line or its end; `prompts` come first."""
    lines: queue.Queue[tuple[float, str]] = queue.Queue()
    for text in prompts:
        lines.put((time.perf_counter(), text))
    threading.Thread(target=read_lines, args=[lines], daemon=True).start()
    print("Type what the character does; an empty line ends it.", flush=True)
    stream, text = None, ""
    while True:
        asked = None
        if stream is None or not lines.empty():
            asked, text = lines.get()
            if not text:
                return
            if stream is None:
                stream = model.stream(text, hold=True, **start)
            else:
                stream.prompt(text)
        frames = next(stream)
        if asked is not None:
            print(f"{text}: the first frame after {1000 * (time.perf_counter() - asked):.0f} ms", flush=True)
        yield text, frames


def read_lines(lines: queue.Queue) -> None:
    """The terminal's lines, each with the time at which it came, and an empty one when there are no more."""
    try:
        for line in sys.stdin or ():
            lines.put((time.perf_counter(), line.strip()))
    finally:
        lines.put((time.perf_counter(), ""))


def in_real_time(pulls: Iterator[Pull]) -> Iterator[Pull]:
    """The same, not faster than it is seen; says at the end how much faster it could be."""
    due = working = 0.0
    count = 0
    while True:
        begun = time.perf_counter()
        pull = next(pulls, None)
        if pull is None:
            break
        now = time.perf_counter()
        if count:                                     # before the first there was the wait for a prompt
            working += now - begun
        count += 1
        due = (due if now < due + SHOWN else now) + SHOWN    # after a stall it does not hurry to catch up
        yield pull
        time.sleep(max(0.0, due - time.perf_counter()))
    if count > 1:
        print(f"{FRAMES_PER_LATENT * (count - 1) / working:.0f} frames a second would be possible")


def collect(pulls: Iterable[Pull]) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """All frames (T, 272) until the end or Ctrl-C, and from which frame on each prompt holds."""
    pieces, title = [], []
    try:
        for text, frames in pulls:
            if not np.isfinite(frames).all():
                raise ValueError("the motion is not finite (NaN or infinity): give a smaller --guidance")
            if not title or title[-1][1] != text:
                title.append((FRAMES_PER_LATENT * len(pieces), text))
            pieces.append(frames)
    except KeyboardInterrupt:
        print("stopped")
    return np.concatenate(pieces) if pieces else np.empty((0, DIM), np.float32), title


if __name__ == "__main__":
    run(main)
