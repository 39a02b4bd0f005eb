"""Many motions as one memory-mapped file: thousands of clips start in seconds, and processes share their memory.

    .shards/NAME-DIGEST.npy     (frames of all, channels) float32, motion after motion
    .shards/NAME-DIGEST.json    what is known of each motion, where it lies, and what was left out and why

.shards/ lies beside the data, or in `cache_folder()/shards` where the data cannot be written; it may be removed at any
time. The digest is of names, sizes and times of all files that were read: if one changes, comes or goes, the shard has
another name and is made again.
"""

import gc
import hashlib
import json
import mmap
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from motion.representation_272 import DIM
from utils.arrays import write_rows
from utils.cache import cache_folder
from utils.checkpoint import read_json, write_whole

VERSION = 1      # of the checks that motions pass before they come here, and of the index
DIGEST = 16      # characters

Problems = dict[str, list[str]]                          # reason -> names of clips
Read = Callable[[str, Problems], dict[str, Any] | None]


@contextmanager
def many_made() -> Iterator[None]:
    """For objects by the million that all stay: Python would go through them again and again in search of garbage."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


def load_shard(root: Path, name: str, files: Mapping[str, Sequence[str]], read: Read,
               channels: int = DIM) -> tuple[list[dict], Problems]:
    """All motions of a set, mapped; those of a set that is new or has changed are read once and written into a shard.

    name     of the set, among those of `root`
    files    clip id -> its files, relative to `root`
    read     `read(clip id, problems)` gives "motion" (T, channels) float32 and what else is known of a clip, as JSON
             knows it; None for a bad one, the reason being in `problems`
    returns  what `read` gave, "motion" being a view of the file that cannot be written; the problems
    raises   OSError if there is no room for the shard

    Whichever process comes first makes the shard, be it one of many ranks or of another run; the others wait.
    """
    digest, size = _digest(root, files)
    places = root / ".shards", cache_folder() / "shards" / hashlib.sha256(str(root.resolve()).encode()).hexdigest()
    paths = [place / f"{name}-{digest}.npy" for place in places]
    for path in paths:
        if found := _open(path, channels):
            return found
    for path in filter(_can_be_written, paths):
        with _locked(path.parent):
            if found := _open(path, channels):           # another process made it in the meantime
                return found
            if shutil.disk_usage(path.parent).free > size:
                return _make(path, f"{root} {name}", files, read, channels)
    raise OSError(f"found no room for {size / 1e9:.1f} GB in {' or '.join(map(str, places))}: free some, or set "
                  "MOTION_CACHE to a folder that has it")


def _digest(root: Path, files: Mapping[str, Sequence[str]]) -> tuple[str, int]:
    """What tells the present files from others, and their size in bytes."""
    found, size = hashlib.sha256(f"{VERSION}\n".encode()), 0
    for clip_id, names in files.items():
        found.update(f"{clip_id}\n".encode())
        for name in names:
            try:
                stat = os.stat(f"{root}/{name}")
            except FileNotFoundError:
                found.update(f"{name} is missing\n".encode())
            else:
                found.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
                size += stat.st_size
    return found.hexdigest()[:DIGEST], size


def _open(path: Path, channels: int) -> tuple[list[dict], Problems] | None:
    """What `load_shard` returns, if a whole shard is there."""
    try:
        index = read_json(path.with_suffix(".json"), ["clips", "problems"])
        motions, size = np.load(path, mmap_mode="r", allow_pickle=False), path.stat().st_size
    except (OSError, ValueError, EOFError):              # absent, or damaged, which is printed when it is made again
        return None
    clips, first = index["clips"], 0
    for clip in clips:
        clip["motion"] = motions[first:first + clip["frames"]]
        first += clip.pop("frames")
    whole = size == motions.offset + motions.nbytes and motions.dtype == np.float32
    return (clips, index["problems"]) if whole and motions.shape == (first, channels) else None


def _make(path: Path, title: str, files: Mapping[str, Sequence[str]], read: Read,
          channels: int) -> tuple[list[dict], Problems]:
    """Read all clips and write the shard, its index last; remove those that it replaces."""
    earlier = list(path.parent.glob(path.name.replace(path.stem[-DIGEST:], "?" * DIGEST)))
    clips, problems = [], defaultdict(list)
    with write_rows(path, channels, np.float32) as put:
        for clip_id in tqdm(files, f"indexing {title}", unit="clip", delay=2):
            if clip := read(clip_id, problems):
                put(motion := clip.pop("motion"))
                clips.append(clip | dict(frames=len(motion)))
    with write_whole(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(dict(clips=clips, problems=problems)), encoding="utf-8")
    for old in earlier:
        if old != path:
            old.unlink(missing_ok=True)                  # a process of this machine that has mapped it keeps it
            old.with_suffix(".json").unlink(missing_ok=True)
    why = "" if not earlier else " again, being damaged," if path in earlier else " again, as its files have changed,"
    print(f"{title}: {len(clips)} clips indexed{why} into {path}, {path.stat().st_size / 1e9:.1f} GB; delete it freely",
          flush=True)
    return _open(path, channels)


def _can_be_written(path: Path) -> bool:
    """Whether its folder, made if it is not there, takes files."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / ".lock").touch()
    except OSError:
        return False
    return True


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time. Where files cannot be locked each makes its own, whole."""
    with (folder / ".lock").open("w") as file:
        with suppress(OSError):
            try:
                import fcntl
                fcntl.flock(file, fcntl.LOCK_EX)
            except ImportError:                              # Windows
                with suppress(ImportError):
                    import msvcrt
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)    # pyright: ignore[reportAttributeAccessIssue]
        yield


def _by_place(rows: np.memmap) -> tuple:
    """How a process that does not inherit memory (spawned, as on macOS) gets a mapped array: it maps the file too."""
    if rows._mmap is None or rows.mode != "r":
        return rows.__reduce__()
    start = rows.offset - rows.offset % mmap.ALLOCATIONGRANULARITY       # where numpy has begun to map the file
    offset = start + rows.ctypes.data - np.frombuffer(rows._mmap, np.uint8).ctypes.data
    return _at, (rows.filename, offset, rows.shape, rows.dtype, rows.strides)


def _at(filename: str, offset: int, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...]) -> np.ndarray:
    return np.ndarray(shape, dtype, _bytes(filename), offset, strides)


@cache
def _bytes(filename: str) -> np.memmap:
    return np.memmap(filename, np.uint8, "r")


ForkingPickler.register(np.memmap, _by_place)
