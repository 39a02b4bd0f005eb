"""What every source shares: from a list of trials to a data set in HumanML3D-272's folder layout.

    motion_data/ID.npy (T, 272) float32   texts/ID.txt   split/{train,val,test}.txt   mean_std/{Mean,Std}.npy
    groups.json {ID: label}, for balanced sampling   skipped.txt, what was left out and why
    phrases.json {ID: {"style": name, "phrases": [verb phrases of `grammar`, true of the whole clip]}}

A trial is a capture file; it becomes one clip, or overlapping windows if it is long, and clips of its own for
parts that somebody described. Each clip comes with its mirror image, ID "M" + its own. Frames are at 30 fps.
"""

import csv
import io
import json
import multiprocessing
import os
import re
import shutil
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dataset.captions import Caption, format_caption, read_captions, swap_left_right, words
from dataset.clips import read_ids
from dataset.prepare.describe import describe, describe_freely, kind_of, story, verb_phrases
from dataset.prepare.faults import good_stretches, lifted
from dataset.prepare.grammar import random_of
from dataset.prepare.ids import claim
from motion.captures import Reading, read_body
from motion.representation_272 import FPS, mirror_pose, pose_to_motion272, statistics
from utils.checkpoint import write_json
from utils.errors import Note
from utils.text import read_lines, read_text

SPLITS = ("train", "val", "test")
SHORTEST = 40    # frames of a clip; the trainers read no shorter ones
UNCLEAR = "a person moves"    # of a clip of which nothing else is known
HELD_OUT = Path(__file__).parents[2] / "benchmarks" / "sentences.json"    # what models are asked in the end
LONGEST = 300    # frames of a clip; with the end latent just within the AR model's context


@dataclass(frozen=True)
class Segment:
    """A described part of a trial, seconds from its start."""
    id: str
    start: float
    end: float
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One capture file and all that becomes of it."""
    id: str
    path: Path
    skeleton_map: str
    split: str
    group: str                             # its label; "": each clip's is what it mainly shows
    captions: Callable[[str], list[str | Caption]]    # clip id -> sentences about any clip of the trial
    shortest: int = 60                     # frames of a window, if the trial is too long for one clip
    segments: tuple[Segment, ...] = ()
    phrases: tuple[str, ...] = ()          # verb phrases true of every clip, for sentences of several parts
    style: str = ""                        # how all is done
    whole: tuple[str, ...] = ()            # verb phrases true of the trial only if it is one clip
    skeleton: Path | None = None           # the .asf of an .amc, if it is not the one beside it
    fps: float | None = None               # where the file does not say its rate rightly
    t_poses: bool = False                  # whether T-poses, before and after what is meant, are cut off
    up: str = "auto"                       # the axis of the file that points up
    unit: float | None = None              # metres in the file's unit; None: from the legs' length
    rest_frame: int | None = None          # a frame in T-pose, where the map does not say how joints are turned in one

    @property
    def reading(self) -> Reading:
        return Reading(self.skeleton_map, self.up, self.fps, self.unit, self.rest_frame, self.skeleton)


@dataclass(frozen=True)
class Entry:
    """A clip that was written: all about it but its motion."""
    id: str
    split: str
    group: str
    lines: tuple[str, ...]
    style: str = ""
    phrases: tuple[str, ...] = ()


def split_by_strata(strata: dict[str, str], val: float, test: float) -> dict[str, str]:
    """Give each id a split, so that every stratum (id -> its label) is divided alike.

    The order within a stratum is that of the ids' hashes; one of fewer than 4 ids stays in train.
    """
    members = defaultdict(list)
    for name, stratum in strata.items():
        members[stratum].append(name)
    splits = dict.fromkeys(strata, "train")
    for names in members.values():
        if len(names) < 4:
            continue
        names = sorted(names, key=lambda name: sha256(name.encode()).digest())
        tests, vals = (max(1, round(share * len(names))) if share else 0 for share in (test, val))
        splits |= dict.fromkeys(names[:tests], "test") | dict.fromkeys(names[tests:tests + vals], "val")
    return splits


def with_val(trials: list[Trial], count: int) -> list[Trial]:
    """The same trials, at least `count` of them in val: as many as are missing leave train, in the hashes' order.

    raises   ValueError if none would be left
    """
    train = sorted((trial.id for trial in trials if trial.split == "train"),
                   key=lambda name: sha256(name.encode()).digest())
    missing = max(0, count - sum(trial.split == "val" for trial in trials))
    if missing and missing >= len(train):
        raise ValueError(f"found {len(train)} captures for train of which --val {count} would take {missing}, expected "
                         "that some are left: give more captures, or a smaller --val")
    return [replace(trial, split="val") if trial.id in train[:missing] else trial for trial in trials]


def windows(frames: int, key: str, shortest: int) -> list[tuple[int, int]]:
    """Cut a long trial into clips of `shortest` to LONGEST frames that overlap by half; `key` seeds them."""
    if frames <= LONGEST:
        return [(0, frames)]
    random_, start, found = random_of(key), 0, []
    while True:
        length = random_.randint(shortest, LONGEST)
        if start + length >= frames:
            return [*found, (min(start, frames - shortest), frames)]
        found.append((start, start + length))
        start += length // 2


def convert(trial: Trial, out: Path) -> tuple[list[Entry], list[str], list[str]]:
    """Write the motion of all clips of a trial. Returns them, what was left out and why, and how the file was read."""
    try:
        with warnings.catch_warnings(record=True) as notes:
            warnings.simplefilter("always", Note)
            rotations, joints, said, _ = read_body(trial.path, trial.reading)
    except (ValueError, OSError) as error:
        return [], [f"{trial.path.name}: {str(error).removeprefix(f'{trial.path}: ')}"], []
    read = [said, *(str(note.message) for note in notes if issubclass(note.category, Note))]
    if len(joints) < SHORTEST:
        return [], [f"{trial.path.name}: found {len(joints)} frames at {FPS} fps, expected at least {SHORTEST}"], []
    joints = lifted(joints)
    stretches, faults = good_stretches(rotations, joints, trial.t_poses)
    kept = [(start, end) for start, end in stretches if end - start >= SHORTEST]
    entries, skipped = [], []
    if faults:
        lost = len(joints) - sum(end - start for start, end in kept)
        skipped.append(f"{trial.path.name}: left out {lost} of {len(joints)} frames: {'; '.join(faults)}")
    described, refused = described_cuts(trial, stretches, len(joints))
    for clip_id, start, end, captions in [*cuts(trial, kept, faulty=bool(faults)), *described]:
        pose = rotations[start:end], joints[start:end]
        for name, (turned, placed) in ((clip_id, pose), (f"M{clip_id}", mirror_pose(*pose))):
            np.save(out / "motion_data" / f"{name}.npy", pose_to_motion272(turned, placed).astype(np.float32))
            lines = [_line(caption, mirrored=name != clip_id) for caption in captions or trial.captions(name)]
            shown = story(placed)
            lines += [format_caption(text) for text in (*describe(shown, name, trial.style),
                                                        *describe_freely(shown, name, trial.style))]
            lines = lines or [format_caption(UNCLEAR)]
            group, *phrases = (swap_left_right(text) if name != clip_id else text
                               for text in (trial.group, *trial.phrases, *(trial.whole * (clip_id == trial.id))))
            group = group or kind_of(shown)
            phrases += verb_phrases(shown, name)
            entries.append(Entry(name, trial.split, group, tuple(lines), trial.style, tuple(phrases)))
    return entries, skipped + refused, read


def cuts(trial: Trial, stretches: list[tuple[int, int]], faulty: bool) -> Iterator[tuple[str, int, int, None]]:
    """Id, start and end of the clips of a trial's good stretches of frames; no captions of their own.

    A trial without faults, of one stretch that is no longer than a clip, gives its id to that: it is whole.
    """
    for start, end in stretches:
        if len(stretches) == 1 and not faulty and end - start <= LONGEST:
            yield trial.id, start, end, None
            continue
        key = f"{trial.id}_{start}" if start else trial.id
        for first, last in windows(end - start, key, trial.shortest):
            yield f"{trial.id}_{start + first:05d}", start + first, start + last, None


def described_cuts(trial: Trial, stretches: list[tuple[int, int]], frames: int) -> tuple[list[tuple], list[str]]:
    """Id, start, end and captions of the parts that somebody described, and why others are none."""
    found, skipped = [], []
    for segment in trial.segments:
        start, end = round(segment.start * FPS), min(round(segment.end * FPS), frames)
        if end - start < SHORTEST:
            skipped.append(f"{trial.path.name}, {segment.id}: found {max(end - start, 0)} frames at {FPS} "
                           f"fps, expected at least {SHORTEST}")
        elif not any(first <= start and end <= last for first, last in stretches):
            skipped.append(f"{trial.path.name}, {segment.id}: found a fault in its frames, expected none in a "
                           "described part")
        else:
            found.append((segment.id, start, min(end, start + LONGEST), segment.captions))
    return found, skipped


def _line(caption: str | Caption, mirrored: bool) -> str:
    caption = Caption(caption) if isinstance(caption, str) else caption
    text = swap_left_right(caption.text) if mirrored else caption.text
    return format_caption(text, caption.start, caption.end)


def prepare(trials: list[Trial], skipped: list[str], out: str | Path, workers: int | None = None) -> None:
    """Convert all trials, in parallel and in order, and write the data set: the same bytes on every run.

    skipped   what the listing of the source left out already
    workers   processes, by default one for each core; 0: none but this one
    raises    ValueError if no trial is good, or `out` holds something else than an earlier data set
    """
    if not trials:
        raise ValueError("found 0 captures in the source, expected the files of this data set: is it another "
                         "of bandai-namco, cmu, snu, amass, bvh-folder?" + _listed(skipped))
    owners: dict[str, str] = {}
    for trial in trials:
        claim(owners, trial.id, trial.path.name)
        claim(owners, f"M{trial.id}", f"the mirror image of {trial.path.name}")
    with building(out) as folder:
        (folder / "motion_data").mkdir()
        entries, skipped, owners, read = [], list(skipped), {}, []
        converted = in_processes(partial(convert, out=folder), trials, workers, chunksize=4)
        for trial, (clips, problems, said) in zip(trials, tqdm(converted, total=len(trials), desc="trials",
                                                               mininterval=1)):
            for entry in clips:
                claim(owners, entry.id, f"a clip of {trial.path.name}")
            entries += clips
            skipped += problems
            read += said
        if not entries:
            raise ValueError(f"0 of {len(trials)} captures could be converted" + _listed(skipped))
        finish(folder, entries, skipped)
    _report(out, entries, skipped)
    _report_reading(read)


def merge(sources: list[str | Path], out: str | Path, held_out: str | Path = HELD_OUT) -> None:
    """Join prepared data sets into one, with statistics of the whole.

    held_out  the file whose `reported_sentences` no caption may repeat: those that do are left out
    raises    FileNotFoundError for a folder that was not prepared, ValueError if two have an id in common
    """
    entries, skipped, homes, owners, dropped = [], [], {}, {}, 0
    reported = reported_sentences(held_out)
    for source in map(Path, sources):
        for needed in ("skipped.txt", "groups.json", "phrases.json"):
            if not (source / needed).is_file():
                raise FileNotFoundError(f"found no {needed} in {source}, expected a prepared data set. "
                                        f"Make it first: python -m dataset.prepare cmu --source … --out {source}")
        groups, phrases = (json.loads((source / name).read_text(encoding="utf-8"))
                           for name in ("groups.json", "phrases.json"))
        for split in SPLITS:
            for name in read_ids(source / "split" / f"{split}.txt"):
                claim(owners, name, str(source))
                every = read_lines(source / "texts" / f"{name}.txt")
                lines = [line for line in every if words(line.partition("#")[0]) not in reported]
                dropped += len(every) - len(lines)
                if not lines:
                    skipped.append(f"{name}: every caption repeats a sentence of {Path(held_out).name}")
                    continue
                homes[name] = source
                entries.append(Entry(name, split, groups[name], tuple(lines), **phrases.get(name, {})))
        skipped += [line for line in read_lines(source / "skipped.txt") if line]
    print(f"{dropped} captions left out, which repeat a sentence of {held_out}")
    with building(out) as folder:
        (folder / "motion_data").mkdir()
        for name, source in tqdm(homes.items(), desc="clips", mininterval=1):
            shutil.copyfile(source / "motion_data" / f"{name}.npy", folder / "motion_data" / f"{name}.npy")
        finish(folder, entries, skipped)
    _report(out, entries, skipped)


def reported_sentences(held_out: str | Path = HELD_OUT) -> frozenset[str]:
    """The strings anywhere below a key "reported" of a JSON file, as `words` has them: what models are asked."""
    def strings(value: Any, below: bool) -> Iterator[str]:
        if isinstance(value, str):
            yield from [words(value)] if below else []
        elif isinstance(value, dict):
            for key, part in value.items():
                yield from strings(part, below or key == "reported")
        elif isinstance(value, list):
            for part in value:
                yield from strings(part, below)

    return frozenset(strings(json.loads(Path(held_out).read_text(encoding="utf-8")), False))


def read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a csv file with a header, which must have these columns; ValueError if one is missing.

    Between them are commas, or semicolons or tabs, as spreadsheets write where a comma is in numbers.
    """
    text = read_text(path)
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=text.partition("\n")[0].count))
    missing = set(columns) - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"{path}: found no column {', '.join(sorted(missing))}, expected {', '.join(columns)}")
    return list(reader)


def described_by(path: Path, fallback: str) -> Callable[[str], list[str | Caption]]:
    """Captions from a text file of HumanML3D lines or of plain sentences; without the file, one `fallback`.

    raises   ValueError for a file without captions, or with a broken line
    """
    if not path.is_file():
        return _Always((fallback,))
    lines = [line.strip() for line in read_lines(path) if line.strip()]
    captions = read_captions(path) if any("#" in line for line in lines) else lines
    if not captions:
        raise ValueError(f"{path.name}: found 0 captions, expected a line for each")
    return _Always(tuple(captions))


@dataclass(frozen=True)
class _Always:
    """The same captions for every clip: a function that other processes can receive."""
    captions: tuple[str | Caption, ...]

    def __call__(self, clip_id: str) -> list[str | Caption]:
        return list(self.captions)


def in_processes(work: Callable[[Any], Any], tasks: Iterable[Any], workers: int | None,
                 chunksize: int) -> Iterator[Any]:
    """`work` of each task, in their order, in parallel; `workers` 0 does it in this process."""
    if workers == 0:
        yield from map(work, tasks)
        return
    # One thread each: the processes already fill the machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(work, tasks, chunksize)


def finish(folder: Path, entries: list[Entry], skipped: list[str]) -> None:
    """Write all but the motion, which is there."""
    entries = sorted(entries, key=lambda entry: entry.id)
    for name in ("texts", "split", "mean_std"):
        (folder / name).mkdir()
    for entry in entries:
        write_lines(folder / "texts" / f"{entry.id}.txt", entry.lines)
    for split in SPLITS:
        write_lines(folder / "split" / f"{split}.txt", [entry.id for entry in entries if entry.split == split])
    if not any(entry.split == "train" for entry in entries):
        raise ValueError("found 0 clips in train, expected at least 1: give the source more captures")
    mean, std = statistics(np.load(folder / "motion_data" / f"{entry.id}.npy", allow_pickle=False)
                           for entry in entries if entry.split == "train")
    np.save(folder / "mean_std" / "Mean.npy", mean)
    np.save(folder / "mean_std" / "Std.npy", std)
    write_json(folder / "groups.json", {entry.id: entry.group for entry in entries})
    write_json(folder / "phrases.json", {entry.id: dict(style=entry.style, phrases=entry.phrases)
                                         for entry in entries if entry.phrases})
    write_lines(folder / "skipped.txt", skipped)


def write_lines(path: Path, lines: list[str] | tuple[str, ...]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


@contextmanager
def building(out: str | Path) -> Iterator[Path]:
    """A temporary folder that takes the name `out` when all went well.

    An earlier data set there (it holds skipped.txt) is replaced; anything else is left alone.
    raises   ValueError if `out` holds anything else
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and ((out / "skipped.txt").is_file() or not any(out.iterdir()))):
        raise ValueError(f"found {out} with other things than a data set made here, expected a new folder: "
                         "choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        yield folder
        if out.exists():
            out.rename(Path(temporary) / "replaced")
        folder.rename(out)


def _report(out: str | Path, entries: list[Entry], skipped: list[str]) -> None:
    count = Counter(entry.split for entry in entries)
    print(f"{len(entries)} clips in {out}: " + ", ".join(f"{count[split]} {split}" for split in SPLITS))
    print(f"{len(skipped)} left out" + _listed(skipped))


def say_empty_splits(out: str | Path) -> None:
    """Say what to do where a data set has nothing in val or test, which training and evaluation need."""
    empty = [split for split in SPLITS[1:] if not read_ids(Path(out) / "split" / f"{split}.txt")]
    if empty:
        print(f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty: of so few captures (amass: of so few "
              "folders) all are train's. Training needs some in val: give four or more, or take them from train with "
              "--val 1, or teach the model these few: python finetune_t2m.py; where test is empty, val stands in")


def _report_reading(said: list[str]) -> None:
    """How the files were read, alike ones together: the skeleton, its rate and unit, which axis is up."""
    kinds = defaultdict(list)
    for line in said:
        name, _, what = line.partition(": ")
        kinds[re.sub(r"\d+ frames at|, legs of [^;]*|from frame \d+", lambda match: re.sub(r"[\d.]+", "n", match[0]),
                     what)
              ].append(name)
    for what, names in kinds.items():
        print(f"read {len(names)} as {what}" if len(names) > 1 else f"read {names[0]} as {what}")


def _listed(skipped: list[str]) -> str:
    return "".join(f"\n  {line}" for line in skipped)
