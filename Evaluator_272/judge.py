"""What a table is measured by: the evaluator, its batches split over the ranks and its embeddings cached on disk.

N motions or sentences, D channels of an embedding.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dataset.motion_texts import Item
from Evaluator_272.model import Evaluator
from utils.checkpoint import write_whole
from utils.distributed import gather, rank, world_size


class Judge:
    """Embeds motions and sentences: the batches are split over the ranks, what was computed is cached on disk."""

    def __init__(self, evaluator: Evaluator, mean: np.ndarray, std: np.ndarray, hash: str, batch: int, cache: Path):
        """mean, std (272,) normalise its motions; `hash` names it and these, `cache` is a folder."""
        self.evaluator, self.mean, self.std, self.hash = evaluator, mean, std, hash
        self.batch, self.cache = batch, cache

    def motions(self, motions: Sequence[np.ndarray]) -> np.ndarray:
        """motions (T_i, 272), denormalised -> (N, D)"""
        batch = [torch.from_numpy((motion - self.mean) / self.std).float() for motion in motions]
        padded = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        return self.evaluator.encode_motion(padded, [len(motion) for motion in batch]).cpu().numpy()

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """sentences -> (N, D)"""
        return self.evaluator.encode_text(texts).cpu().numpy()

    def of_items(self, items: Sequence[Item], data: str) -> np.ndarray:
        """The items' own motions (N, D); `data` is their hash."""
        return self.cached(["real", data], len(items),
                           lambda part: self.motions([items[index].motion for index in part]), "real motions")

    def of_sentences(self, texts: Iterable[str]) -> dict[str, np.ndarray]:
        """Each different sentence's embedding (D,)."""
        sentences = sorted(set(texts))
        return dict(zip(sentences, self.cached(["text", sentences], len(sentences), lambda part: self.texts(
            sentences[part.start:part.stop]), "captions")))

    def cached(self, key: Sequence, count: int, compute: Callable[[range], np.ndarray], what: str) -> np.ndarray:
        """The rows (count, ...) that an earlier run left under `key`, or those of `compute(indices)`."""
        digest = hashlib.sha256(repr([self.hash, *key]).encode()).hexdigest()[:24]
        path = self.cache / f"{digest}.npy"
        found = gather(np.load(path, allow_pickle=False) if rank() == 0 and path.is_file() else None)[0]
        if found is not None:                             # as rank 0 sees it, so that all ranks go the same way
            return found
        rows = self.over_ranks(count, compute, what)
        if rank() == 0:
            with write_whole(path) as temporary:
                np.save(temporary, rows)
        return rows

    def over_ranks(self, count: int, compute: Callable[[range], np.ndarray], what: str = "") -> np.ndarray:
        """The rows (count, ...) of `compute(indices)`, its batches split over the ranks.

        what   the progress bar's label; "" for none
        """
        parts = [range(first, min(first + self.batch, count)) for first in range(0, count, self.batch)]
        mine = tqdm(parts[rank()::world_size()], desc=what, unit="batch",
                    disable=None if what and rank() == 0 else True)
        found = {part.start: compute(part) for part in mine}
        rows = {start: values for of_rank in gather(found) for start, values in of_rank.items()}
        return np.concatenate([rows[part.start] for part in parts])
