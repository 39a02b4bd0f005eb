"""Data sets of whole clips in HumanML3D-272's folder layout: where they lie and how they are read.

    motion_data/ID.npy (T, 272) not normalised   texts/ID.txt   split/{train,val,test}.txt

And in that of HumanML3D's 263 channels, which MoSa reads too:

    new_joint_vecs/ID.npy (T, 263) not normalised   texts/ID.txt   {train,val,test}.txt   Mean.npy   Std.npy
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset.captions import Caption, read_captions
from dataset.shards import load_shard, many_made
from models.checkpoints import AnyTokenizer
from motion.representation_272 import DIM, FPS
from options.data import Data
from utils.arrays import UNREADABLE
from utils.distributed import rank
from utils.text import read_lines

SHOWN = 10    # names that a report gives for each reason


@dataclass(frozen=True)
class Layout:
    """Where a data set lies below its root."""
    root: str                     # the default root
    folders: tuple[str, ...]      # with motions, texts and lists; the first that has an id keeps it
    statistics: str               # holds Mean.npy and Std.npy
    command: str                  # makes or fetches the data set
    motions: str = "motion_data"
    lists: str = "split"
    channels: int = DIM
    fps: int = FPS


FETCH = ("hf download --repo-type dataset lxxiao/272-dim-{name} --local-dir {folder} "
         "&& (cd {folder} && unzip -q texts.zip && unzip -q motion_data.zip)")
LAYOUTS = {
    "t2m_272": Layout("humanml3d_272", (".",), "mean_std",
                      FETCH.format(name="HumanML3D", folder="humanml3d_272")),
    # BABEL has no test split: its val stands in. Where both sets are used, BABEL's statistics are.
    "t2m_babel_272": Layout(".", ("humanml3d_272", "babel_272"), "babel_272/t2m_babel_mean_std",
                            FETCH.format(name="BABEL", folder="babel_272")),
    "mocap_272": Layout("data/mocap_272", (".",), "mean_std",
                        "python -m dataset.prepare merge --source data/bandai_namco_272 data/cmu_272 data/snu_272 "
                        "data/composed_272 --out data/mocap_272"),
    "humanml3d_263": Layout("dataset/HumanML3D", (".",), ".", "see github.com/EricGuo5513/HumanML3D", "new_joint_vecs",
                            ".", channels=263, fps=20),
    "motionx_263": Layout("dataset/Motion-X", (".",), ".", "see github.com/IDEA-Research/Motion-X", "new_joint_vecs",
                          ".", channels=263, fps=20),
}


@dataclass(frozen=True, slots=True)
class Clip:
    """A whole motion and what was said about it."""
    id: str
    motion: np.ndarray            # (T, 272), or (T, 263), float32, not normalised; of a data set, mapped, read-only
    captions: list[Caption]
    past: int = 0                 # leading frames that another motion left behind: the A of a pair


def layout_of(data: Data) -> Layout:
    """raises ValueError for a name that is not one of LAYOUTS"""
    if data.name not in LAYOUTS:
        raise ValueError(f"found the data set {data.name!r}, expected one of {', '.join(LAYOUTS)}: "
                         "check --dataname")
    return LAYOUTS[data.name]


def dataset_root(data: Data) -> Path:
    """The folder of a data set: its root if given, else the published name in the working directory.

    It contains the motions' folder; for t2m_babel_272 it is the parent of humanml3d_272 and babel_272.
    raises   ValueError for an unknown name, FileNotFoundError if nothing is there
    """
    layout = layout_of(data)
    root = Path(data.root or layout.root)
    for folder in layout.folders:
        if not (root / folder / layout.motions).is_dir():
            raise FileNotFoundError(f"found no {root / folder / layout.motions}, expected the data set "
                                    f"{data.name}. Get it: {layout.command}, or point --data-root to it")
    return root


@many_made()
def load_clips(data: Data, split: str = "train") -> list[Clip]:
    """All clips of a split, in the order of its lists, mapped from shards; print what was left out and why.

    raises   ValueError for an unknown data set, FileNotFoundError if it is not there or has no good clip; OSError if
             there is no room for its shards
    """
    layout, root = layout_of(data), dataset_root(data)
    clips, listed, problems, path = [], 0, defaultdict(list), root
    for folder in layout.folders:
        # The sets number their clips alike, so those of all but the first carry their set's name.
        prefix = "" if folder == layout.folders[0] else f"{folder}-"
        path = split_path(root / folder, split, layout.command, layout.lists)
        names = read_ids(path)
        listed += len(names)
        found, wrong = load_shard(
            root / folder, prefix + path.stem,
            {prefix + name: (f"{layout.motions}/{name}.npy", f"texts/{name}.txt") for name in names},
            partial(entry_of, root / folder, prefix, layout), layout.channels)
        clips += [Clip(entry["id"], entry["motion"], [Caption(*caption) for caption in entry["captions"]])
                  for entry in found]
        for reason, which in wrong.items():
            problems[reason] += which
    if rank() == 0:
        print(f"{data.name} {split}: {len(clips)} of {listed} clips" + report(problems), flush=True)
    if not listed:
        raise FileNotFoundError(f"{path.name} of {data.name} in {root} is empty, expected an id a line: "
                                f"{more_of(split)}")
    if not clips:
        raise FileNotFoundError(f"0 of {listed} clips of {data.name} {split} in {root} are good. "
                                f"Get them again: {layout.command}")
    return clips


def long_enough(clips: Sequence[Clip], frames: int, split: str) -> list[Clip]:
    """The clips of a split that have so many frames; ValueError if none has."""
    found = [clip for clip in clips if len(clip.motion) >= frames]
    if not found:
        raise ValueError(f"none of {len(clips)} clips of {split} has {frames} frames, expected at least one: "
                         f"{more_of(split)}")
    return found


def more_of(split: str) -> str:
    """How a split gets clips, for what is said of one without."""
    return "give more captures" if split == "train" else (
        f"move some lines of train.txt to {split}.txt, or prepare the captures again with --val 1, or with more of "
        "them")


def entry_of(folder: Path, prefix: str, layout: Layout, clip_id: str,
             problems: dict[str, list[str]]) -> dict[str, Any] | None:
    """A clip as `load_shard` keeps it, or None; what is wrong goes into `problems`."""
    clip = read_clip(folder, clip_id.removeprefix(prefix), clip_id, problems, layout)
    return clip and dict(id=clip.id, motion=clip.motion,
                         captions=[(caption.text, caption.start, caption.end) for caption in clip.captions])


def load_statistics(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Read a data set's mean and std, (272,) or (263,) float32 each.

    raises   FileNotFoundError; ValueError for a wrong shape or values that cannot normalise
    """
    layout = layout_of(data)
    folder = Path(data.root or layout.root) / layout.statistics
    found = []
    for name in ("Mean.npy", "Std.npy"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"found no {folder / name}, expected the statistics of {data.name}. "
                                    f"Get them: {layout.command}")
        try:
            values = np.load(folder / name, allow_pickle=False)
        except UNREADABLE as error:
            raise ValueError(f"{folder / name} is damaged ({error}). Get it again: {layout.command}") from None
        good = values.shape == (layout.channels,) and np.isfinite(values).all()
        if not good or (name == "Std.npy" and values.min() <= 0):
            raise ValueError(f"found values of shape {values.shape} in {folder / name}, expected "
                             f"{layout.channels} finite numbers, above 0 for Std. Get them again: {layout.command}")
        found.append(values.astype(np.float32))
    return found[0], found[1]


def own_or_data(mean: Tensor | None, std: Tensor | None, data: Data) -> tuple[Tensor, Tensor]:
    """A checkpoint's statistics, or `load_statistics` where it has none, as the authors' files. Errors as there."""
    return (mean, std) if mean is not None else tuple(map(torch.from_numpy, load_statistics(data)))


def with_statistics(tae: AnyTokenizer, data: Data) -> AnyTokenizer:
    """A tokenizer with its statistics: the authors' file has none and takes the data's. Errors as `load_statistics`;
    ValueError for a data set of other channels."""
    if (channels := layout_of(data).channels) != len(tae.mean):
        raise ValueError(f"{data.name} has motions of {channels} channels, the tokenizer reads {len(tae.mean)}: give "
                         "another --dataname, or the --channels of the data")
    if tae.has_statistics:
        return tae
    return tae.set_statistics(*map(torch.from_numpy, load_statistics(data)))


def load_groups(data: Data) -> dict[str, str]:
    """Clip id -> what kind of motion it is, to sample the kinds in balance; empty if the data set does not say.

    raises   FileNotFoundError if the data set is not there
    """
    path = dataset_root(data) / "groups.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def load_kinds(data: Data) -> dict[str, str]:
    """As `load_groups`, with the style of those that have one: "walk elderly"."""
    groups, path = load_groups(data), dataset_root(data) / "phrases.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {name: f"{group} {known.get(name, {}).get('style', '')}".rstrip() for name, group in groups.items()}


def split_ids(folder: Path, split: str, command: str) -> list[str]:
    """The ids of a split; otherwise as `split_path`."""
    return read_ids(split_path(folder, split, command))


def read_ids(path: Path) -> list[str]:
    """The ids that a split file lists, one a line; an id may hold any white space but line breaks."""
    return [name for line in read_lines(path) if (name := line.strip(" \t"))]


def split_path(folder: Path, split: str, command: str, lists: str = "split") -> Path:
    """The list of a split, in the folder `lists`; val's for test where there is no test, or an empty one.

    raises   FileNotFoundError that tells `command`
    """
    path = folder / lists / f"{split}.txt"
    val = folder / lists / "val.txt"
    if split == "test" and (not path.is_file() or val.is_file() and not read_ids(path)):
        path = val
    if not path.is_file():
        raise FileNotFoundError(f"found no {path}, expected a list of clips. Get it: {command}")
    return path


def read_clip(folder: Path, name: str, clip_id: str, problems: dict[str, list[str]],
              layout: Layout = LAYOUTS["mocap_272"]) -> Clip | None:
    """Read one clip, or None; what is wrong goes into `problems`: reason -> names."""
    motion_path, text_path = folder / layout.motions / f"{name}.npy", folder / "texts" / f"{name}.txt"
    for path, kind in ((motion_path, "motion"), (text_path, "text")):
        if not path.is_file():
            problems[f"{kind} missing"].append(clip_id)
            return None
    lines: list[str] = []
    try:
        captions = read_captions(text_path, lines)
    except (ValueError, OSError) as error:
        problems["unreadable"].append(f"{clip_id} ({error})")
        return None
    if lines:
        problems["caption left out"].append(f"{clip_id} ({'; '.join(lines)})")
    motion = read_motion(motion_path, clip_id, problems, layout.channels)
    if motion is not None and not captions:
        problems["no caption"].append(clip_id)
        return None
    return None if motion is None else Clip(clip_id, motion, captions)


def load_motion(path: Path, channels: int = DIM, name: object = None) -> np.ndarray:
    """One motion (T, channels) float32, of an .npy.

    name     what errors call it; None: its path
    raises   FileNotFoundError; ValueError that says what the file is
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; expected a motion, .npy (T, {channels}).")
    problems: dict[str, list[str]] = defaultdict(list)
    motion = read_motion(path, path.name, problems, channels)
    if motion is None:
        raise ValueError(f"{name or path} is no motion (T, {channels}):{report(problems).replace(chr(10), '')}")
    return motion


def read_motion(path: Path, clip_id: str, problems: dict[str, list[str]], channels: int = DIM) -> np.ndarray | None:
    """Read one motion (T, channels) float32, or None; what is wrong goes into `problems`, as in `read_clip`."""
    try:
        motion = np.load(path, allow_pickle=False)
    except UNREADABLE as error:
        problems["unreadable"].append(f"{clip_id} ({error})")
        return None
    if not isinstance(motion, np.ndarray) or motion.ndim != 2 or motion.shape[1] != channels or not len(motion):
        shape = motion.shape if isinstance(motion, np.ndarray) else "an archive"
        problems[f"shape other than (T, {channels})"].append(f"{clip_id} {shape}")
    elif motion.dtype.kind != "f" or not np.isfinite(motion).all():
        problems["NaN, infinity or no numbers"].append(clip_id)
    else:
        return motion.astype(np.float32, copy=False)
    return None


def report(problems: dict[str, list[str]]) -> str:
    """What was left out: a line for each reason with its count and names; "" if nothing was."""
    lines = []
    for reason, names in problems.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"\n  {len(names)} {reason}: {', '.join(names[:SHOWN])}{more}")
    return "".join(lines)
