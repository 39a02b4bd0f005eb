"""How soon a training on many clips starts, and how much memory its data workers share.

    python -m benchmarks.startup --json startup.json
    python -m benchmarks.startup --clips 1000000 --frames 4 --folder /fast/disk

Makes a set of clips of random numbers and their latents below --folder, and removes them again. `first` is a start that
indexes the set, `start` one that finds it indexed; the files are in the system's cache. `one` and `many` are what is
mapped of the data over all processes when each worker has read all of it, as proportional set size: a page that n
processes share counts 1/n for each. Shared data takes as much for many workers as for one: `ratio` is at most 1.5.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from benchmarks.timing import processor, table, timed
from dataset.captions import format_caption
from dataset.clips import load_clips
from dataset.latents import LatentClips
from models.causal_tae import FRAMES_PER_LATENT
from motion.representation_272 import DIM
from options import opt, parse
from options.data import Data
from utils.checkpoint import write_json
from utils.errors import run

CAPTIONS = 3         # of a clip
CHANNELS = 16        # of a latent
TEXT_DIM = 384
SECONDS = 10         # of a start, at most
SHARED = 1.5         # the ratio, at most
COLUMNS = {
    "data": ("data", ""), "clips": ("clips", ",d"), "gigabytes": ("GB", ".2f"), "first": ("s first", ".1f"),
    "start": ("s start", ".2f"), "one": ("MB one", ",.0f"), "many": ("MB many", ",.0f"), "ratio": ("ratio", ".2f"),
}


@dataclass(frozen=True)
class Startup:
    """Time the start of a training."""

    clips: int = opt(30_000, "clips in the set")
    frames: int = opt(60, "frames of each")
    workers: int = opt(8, "data workers, compared with one")
    folder: Path = opt(Path(tempfile.gettempdir()), "where the set is made")
    json: Path | None = opt(None, "file for all rows")


def main() -> None:
    config = parse({"startup": Startup()})
    if min(config.clips, config.frames // FRAMES_PER_LATENT, config.workers) < 1:
        raise ValueError(f"--clips {config.clips} --frames {config.frames} --workers {config.workers}: expected 1, "
                         f"{FRAMES_PER_LATENT} and 1 or more")
    with emptied(config.folder) as folder:
        rows = [clips_row(config, folder), latents_row(config, folder)]
    print(f"\n{config.workers} workers, {rows[0]['processor']}\n{table(rows, COLUMNS)}")
    for row in rows:
        if row["start"] > SECONDS or row["ratio"] > SHARED:
            print(f"{row['data']}: expected {SECONDS} s and a ratio of {SHARED} at most")
    if config.json:
        write_json(config.json, rows)


@contextmanager
def emptied(parent: Path) -> Iterator[Path]:
    """A new folder, removed again with all that is in it."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="startup-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def clips_row(config: Startup, folder: Path) -> dict:
    write_set(folder, config.clips, config.frames)
    data = Data("mocap_272", str(folder))
    first = timed(load_clips, data)[0]
    start, clips = timed(load_clips, data)
    path, = (folder / ".shards").glob("*.npy")
    return row_of("motions", config, path, [clip.motion for clip in clips], first, start)


def latents_row(config: Startup, folder: Path) -> dict:
    write_latents(folder, config.clips, config.frames // FRAMES_PER_LATENT)
    start, clips = timed(LatentClips, folder, "train", config.frames)
    return row_of("latents", config, folder / "latents.npy", clips.latents, start, start)


def row_of(data: str, config: Startup, path: Path, arrays: Sequence[np.ndarray], first: float, start: float) -> dict:
    one, many = (mapped_by_workers(arrays, workers, path) / 1e6 for workers in (1, config.workers))
    return dict(data=data, clips=len(arrays), gigabytes=path.stat().st_size / 1e9, first=first, start=start, one=one,
                many=many, ratio=many / one, workers=config.workers, processor=processor())


def write_set(folder: Path, count: int, frames: int) -> None:
    """Clips of random numbers with captions, in mocap_272's layout."""
    for name in ("motion_data", "texts", "split"):
        (folder / name).mkdir()
    motion = np.random.default_rng(0).normal(size=(frames, DIM)).astype(np.float32)
    for number in tqdm(range(count), "writing clips", delay=2):
        motion[0] = number
        np.save(folder / "motion_data" / f"{number:07}.npy", motion)
        (folder / "texts" / f"{number:07}.txt").write_text("\n".join(
            format_caption(f"person {number} walks in the way {way}") for way in range(CAPTIONS)), encoding="utf-8")
    (folder / "split" / "train.txt").write_text("\n".join(f"{number:07}" for number in range(count)), encoding="utf-8")


def write_latents(folder: Path, count: int, length: int) -> None:
    """A latent folder of clips of `length` latents and the end latent; each caption is another."""
    rows = length + 1
    np.save(folder / "latents.npy", np.random.default_rng(0).normal(size=(count * rows, CHANNELS)).astype(np.float32))
    save_file({"embeddings": torch.zeros(1 + count * CAPTIONS, TEXT_DIM).half()}, folder / "embeddings.safetensors")
    write_json(folder / "index.json", dict(
        dataname="mocap_272", tae="", text_encoder="", latent_scale=1.0, stop_threshold=0.0,
        end_latent=[0.0] * CHANNELS,
        clips={f"{number:07}": dict(split="train", group="", past=0, rows=(number * rows, (number + 1) * rows),
                                    captions=[(1 + number * CAPTIONS + way, 0.0, 0.0) for way in range(CAPTIONS)])
               for number in range(count)}))


class Everything(IterableDataset):
    """A worker's number after it has read all numbers of all arrays."""

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.arrays = arrays

    def __iter__(self) -> Iterator[int]:
        for array in self.arrays:
            array.sum()
        yield os.getpid()


def mapped_by_workers(arrays: Sequence[np.ndarray], workers: int, path: Path) -> int:
    """Bytes of `path` that this process and so many data workers, which have read all arrays, keep mapped: the sum of
    their proportional set sizes. Linux only."""
    loader = DataLoader(Everything(arrays), batch_size=None, num_workers=workers, persistent_workers=True)
    return sum(proportional_set_size(process, path) for process in [os.getpid(), *loader])


def proportional_set_size(process: int, path: Path) -> int:
    """Bytes of the mappings of `path`; a page that n processes share counts 1/n."""
    found, ours = 0, False
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        name, *fields = line.split()
        if not name.endswith(":"):
            ours = line.endswith(str(path.resolve()))    # the head of a mapping
        elif name == "Pss:" and ours:
            found += 1024 * int(fields[0])
    return found


if __name__ == "__main__":
    run(main)
