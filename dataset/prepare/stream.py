"""Pairs of motions that follow one another, from a prepared data set: what streams are trained on.

    {train,val}_stream/seqN.npy (T, 272) float32, A then B     {train,val}_stream_text/seqN.txt A_text*B_text#A_length
    groups.json {"train/seqN": what kind of motion B is}       recorded.txt, the pairs whose transition was recorded
    skipped.txt, what was left out and why

Some pairs are recorded: neighbouring windows of one long trial. The others join a part of one clip to the start of
another of the same performer, or to a second later: of several parts, and of the frames to begin with, those most
alike, with a blend between.
Letters: A the first motion and B the second, T frames at 30 fps. Metres, radians, y up.
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.clips import read_clip, report, split_ids
from dataset.prepare.folder import building, in_processes, write_lines
from dataset.prepare.joining import BENT, SUNK, follow, join, performer_of, unlikeness
from dataset.windows import rarity
from motion.representation_272 import ROTATIONS, pose_to_motion272
from utils.checkpoint import write_json

SPLITS = ("train", "val")
LATENT = 4              # frames; A and B are whole latents
LONGEST = 77 * LATENT   # frames of both, the AR model's context
SHORTEST = 32           # frames of A and of B: whole latents, at least a second
LONGEST_A = 148         # frames: whole latents, at most 5 seconds
CANDIDATES = 2          # parts of other clips that B may follow: few, so that A may be in full swing where B begins
LEAD = 30               # frames of B that a join may leave out: it begins behind the one most like A's last
BALANCE = 0.5           # 0: clips are sampled alike, 1: kinds are
WINDOW = re.compile(r"(.+)_(\d{5})")                # a trial and the first frame, as folder.py names windows
PART = re.compile(r"_(\d{5}|humanml3d_\d+)$")       # what a clip's name has behind its trial's
COMPOSED = re.compile(r"M?(then|both)_\d{6}")       # what compose.py made, which has joins of its own
PREPARE = "python -m dataset.prepare merge --source … --out {}"


@dataclass(frozen=True)
class Known:
    """A clip of the prepared set: all about it but its motion."""
    id: str
    kind: str
    frames: int
    texts: tuple[str, ...]         # about all of it
    performer: str                 # mirrored, it is somebody else

    @property
    def trial(self) -> str:
        return PART.sub("", self.id)

    @property
    def latents(self) -> int:
        """Its frames, as far as they fill latents."""
        return self.frames // LATENT * LATENT


@dataclass(frozen=True)
class Part:
    """Frames of a clip, and a sentence about them."""
    id: str
    first: int
    end: int
    text: str


@dataclass(frozen=True)
class Draft:
    """A pair to be made."""
    recorded: bool             # B's first frame is A's frame `end` already
    kind: str                  # of B
    second: Part               # B
    firsts: tuple[Part, ...]   # what A may be


def prepare_pairs(source: str | Path, out: str | Path, pairs: int = 4000, workers: int | None = None) -> None:
    """Make pairs of a prepared data set's clips, in parallel and in order: the same bytes on every run.

    pairs     of train; val gets a tenth. A quarter are neighbours, as far as there are so many
    workers   processes, by default one for each core; 0: none but this one
    raises    FileNotFoundError if the source was not prepared; ValueError if a split gives no pair, or `out` holds
              something else than an earlier data set or is the source
    """
    source, out = Path(source), Path(out)
    for needed in ("motion_data", "groups.json"):
        if not (source / needed).exists():
            raise FileNotFoundError(f"found no {source / needed}, expected a prepared data set. "
                                    f"Make it first: {PREPARE.format(source)}")
    if source.resolve() == out.resolve():
        raise ValueError(f"found {out} as --source and as --out, expected two folders: choose another --out")
    if pairs < 1:
        raise ValueError(f"found --pairs {pairs}, expected at least 1")
    drafts, problems, kinds, made = {}, defaultdict(list), {}, Counter()
    for split, count in zip(SPLITS, (pairs, max(1, pairs // 10))):
        found = draft_pairs(known_clips(source, split, problems), SPLITS.index(split), count, problems)
        drafts |= {f"{split}/seq{number}": draft for number, draft in enumerate(found)}
    with building(out) as folder:
        for split in SPLITS:
            (folder / f"{split}_stream").mkdir()
            (folder / f"{split}_stream_text").mkdir()
        results = tqdm(in_processes(partial(make, source, folder), drafts.items(), workers, chunksize=16),
                       total=len(drafts), desc="pairs", mininterval=1)
        for problem, (name, draft) in zip(results, drafts.items()):
            if problem:
                problems[problem].append(f"{name} ({draft.second.id})")
            else:
                kinds[name] = draft.kind
                made[name.split("/")[0], draft.recorded] += 1
        for split in SPLITS:
            if not made[split, True] + made[split, False]:
                raise ValueError(f"found 0 pairs for {split}, expected at least 1: give the source more clips of one "
                                 "performer" + report(problems))
        write_json(folder / "groups.json", kinds)
        write_lines(folder / "recorded.txt", [name for name in kinds if drafts[name].recorded])
        write_lines(folder / "skipped.txt",
                    [f"{name}: {reason}" for reason, names in problems.items() for name in names])
    print(f"{len(kinds)} pairs in {out}: " + ", ".join(
        f"{split} {made[split, True]} recorded and {made[split, False]} joined" for split in SPLITS))
    print(f"{sum(map(len, problems.values()))} left out" + report(problems))


def known_clips(source: Path, split: str, problems: dict[str, list[str]]) -> list[Known]:
    """The clips of a split that have a caption for a pair's text file; what is wrong goes into `problems`."""
    groups = json.loads((source / "groups.json").read_text(encoding="utf-8"))
    ids = split_ids(source, split, PREPARE.format(source))
    every, known = set(ids), []
    for name in ids:
        if COMPOSED.fullmatch(name):
            continue
        clip = read_clip(source, name, name, problems)
        if clip is None:
            continue
        whole = [caption.text for caption in clip.captions if not caption.end]
        texts = tuple(text for text in whole if "*" not in text)    # no caption read from a file holds a #
        if len(texts) < len(whole):
            problems["caption with a *, which ends A's text"].append(name)
        if not texts:
            problems["no caption of the whole clip"].append(name)
            continue
        if len(clip.motion) <= SHORTEST:
            problems[f"no more than {SHORTEST} frames"].append(name)
            continue
        mirrored = name[0] == "M" and name[1:] in every
        performer = "M" * mirrored + performer_of(name[mirrored:])
        known.append(Known(name, groups.get(name, ""), len(clip.motion), texts, performer))
    return known


def draft_pairs(clips: list[Known], seed: int, count: int, problems: dict[str, list[str]]) -> list[Draft]:
    """At most `count` pairs of a split's clips, each sampled by its own number; rare kinds often."""
    weight = rarity([clip.kind for clip in clips]) ** BALANCE    # of each clip, like the next two
    trial = np.unique([clip.trial for clip in clips], return_inverse=True)[1]
    performer = np.unique([clip.performer for clip in clips], return_inverse=True)[1]
    seconds = []
    for number, clip in enumerate(clips):
        if clip.latents > LONGEST - SHORTEST:
            problems[f"no B, having more than {LONGEST - SHORTEST} frames"].append(clip.id)
        elif (trial[performer == performer[number]] == trial[number]).all():
            problems["no B, its performer having no other trial"].append(clip.id)
        else:
            seconds.append(number)
    recorded, drafts = neighbours(clips, problems), []
    many = min(count // 4, len(recorded))
    if many:    # no pair has the number `count`
        kinds = rarity([second.kind for _, second, _ in recorded]) ** BALANCE
        recorded = [recorded[place] for place in _sample(np.random.default_rng([seed, count]), kinds, many, False)]
    for number in range(count if seconds else many):
        rng = np.random.default_rng([seed, number])
        if number < many:
            first, second, end = recorded[number]
            ends = [(first, end)]
        else:
            chosen = seconds[_sample(rng, weight[seconds], 1)[0]]
            second = clips[chosen]
            others = np.flatnonzero((performer == performer[chosen]) & (trial != trial[chosen]))
            sampled = [clips[place] for place in others[_sample(rng, weight[others], CANDIDATES)]]
            ends = [(clip, LATENT * rng.integers(SHORTEST // LATENT, clip.frames // LATENT, endpoint=True))
                    for clip in sampled]
        longest = min(LONGEST_A, LONGEST - second.latents)
        firsts = [Part(clip.id, end - min(longest, end // LATENT * LATENT), end, _one_of(rng, clip.texts))
                  for clip, end in ends]
        last = Part(second.id, 0, second.latents, _one_of(rng, second.texts))
        drafts.append(Draft(number < many, second.kind, last, tuple(firsts)))
    return drafts


def neighbours(clips: list[Known], problems: dict[str, list[str]]) -> list[tuple[Known, Known, int]]:
    """Windows of one trial that follow one another: the first, the second, and where in the first that begins."""
    trials, found = defaultdict(list), []
    for clip in clips:
        if match := WINDOW.fullmatch(clip.id):
            trials[match[1]].append((int(match[2]), clip))
    for windows in trials.values():
        for (start, first), (later, second) in pairwise(sorted(windows, key=lambda window: window[0])):
            end = later - start
            if end >= first.frames:
                problems["no neighbour of the window before, which ends earlier"].append(second.id)
            elif end < SHORTEST:
                problems[f"no neighbour of the window before, {SHORTEST} frames not being between"].append(second.id)
            elif second.latents <= LONGEST - SHORTEST:
                found.append((first, second, end))
    return found


def make(source: Path, folder: Path, task: tuple[str, Draft]) -> str | None:
    """Write a pair, or say why there is none."""
    name, draft = task
    second, motion = draft.second, _load(source, draft.second)
    if draft.recorded:
        part, = draft.firsts
        first = _load(source, part)
        overlap = min(len(first) - part.end, len(motion))
        if not np.allclose(first[part.end:part.end + overlap, ROTATIONS], motion[:overlap, ROTATIONS], atol=1e-4):
            return "not recorded: windows that differ where they overlap"
        return _write_pair(folder, name, part, second, follow(first[part.first:part.end + 1], motion[:second.end]))
    lead = min(LEAD, len(motion) - SHORTEST)
    joins = []
    for part in draft.firsts:
        first = _load(source, part)[part.first:part.end]
        unlike = unlikeness(first[-1], motion[:lead], motion[1:lead + 1])
        joins.append((unlike.min(), part, first, motion[1 + unlike.argmin():]))
    for _, part, first, later in sorted(joins, key=lambda found: found[0]):
        pose, bent = join(first, later[:len(later) // LATENT * LATENT])
        if bent < BENT and abs(pose[1][..., 1].min()) < SUNK:
            return _write_pair(folder, name, part, second, pose)
    return f"not joined: every blend turns a joint by {BENT} degrees or sinks {100 * SUNK:g} cm"


def _sample(rng: np.random.Generator, weight: np.ndarray, count: int, replace: bool = True) -> np.ndarray:
    """Places in `weight`, sampled by it."""
    return rng.choice(len(weight), count, replace, weight / weight.sum())


def _one_of(rng: np.random.Generator, texts: tuple[str, ...]) -> str:
    return texts[rng.integers(len(texts))]


def _load(source: Path, part: Part) -> np.ndarray:
    return np.load(source / "motion_data" / f"{part.id}.npy", mmap_mode="r", allow_pickle=False)


def _write_pair(folder: Path, name: str, first: Part, second: Part, pose: tuple[np.ndarray, np.ndarray]) -> None:
    split, sequence = name.split("/")
    np.save(folder / f"{split}_stream" / f"{sequence}.npy", pose_to_motion272(*pose).astype(np.float32))
    length = first.end - first.first
    write_lines(folder / f"{split}_stream_text" / f"{sequence}.txt", [f"{first.text}*{second.text}#{length}"])

