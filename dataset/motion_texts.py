"""Motions with a sentence each: what the evaluator trains on and what it is asked about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dataset.clips import Clip
from dataset.windows import rarity
from motion.representation_272 import FPS
from utils.distributed import rank

SHORTEST = 60    # frames of a motion that is judged
POOL = 32        # motions among which a text finds its own in R-precision


@dataclass(frozen=True)
class Item:
    """A clip, or the part of one that captions with times describe, and those captions."""
    id: str
    motion: np.ndarray            # (T, 272) float32, not normalised
    texts: tuple[str, ...]
    group: str


def items_of(clip: Clip, group: str, fps: int = FPS) -> list[Item]:
    """The whole clip with the captions of all of it, and each part that other captions describe."""
    texts: dict[tuple[float, float], list[str]] = {}
    for caption in clip.captions:
        texts.setdefault((caption.start, caption.end), []).append(caption.text)
    return [Item(clip.id if not end else f"{clip.id}_{start:g}-{end:g}",
                 clip.motion if not end else clip.motion[int(start * fps):int(end * fps)], tuple(captions), group)
            for (start, end), captions in texts.items()]


class MotionTexts:
    """Every item of the clips that has a fitting length.

    clips              whole clips, not normalised
    mean, std          (272,) that normalise them
    shortest, longest  frames; shorter items are left out and counted, longer ones too, or cut if `crop`
    groups             clip id -> what kind of motion it is, for balanced sampling
    fps                frames per second, by which captions' times go
    raises             ValueError if no item is left
    """

    def __init__(self, clips: Sequence[Clip], mean: np.ndarray, std: np.ndarray, shortest: int, longest: int,
                 crop: bool = False, groups: Mapping[str, str] = {}, fps: int = FPS):
        every = [item for clip in clips for item in items_of(clip, groups.get(clip.id, ""), fps)]
        self.items = [item for item in every
                      if shortest <= len(item.motion) and (crop or len(item.motion) <= longest)]
        self.mean, self.std, self.longest = mean, std, longest
        if not self.items:
            raise ValueError(f"none of {len(every)} motions has {shortest} to {longest} frames: give other clips")
        if rank() == 0:
            print(f"{len(self.items)} motions with captions; {len(every) - len(self.items)} left out, "
                  f"not having {shortest} to {longest} frames")
        self.rarity = rarity([item.group for item in self.items])

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        return self.items[index].id

    def sample(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
        """A motion (T, 272), normalised, a random part of it if it is too long, and one of its captions."""
        item = self.items[index]
        first = rng.integers(max(0, len(item.motion) - self.longest) + 1)
        motion = item.motion[first:first + self.longest]
        return (motion - self.mean) / self.std, item.texts[rng.integers(len(item.texts))]

    @staticmethod
    def collate(samples: Sequence[tuple[np.ndarray, str]]) -> dict[str, Tensor | list[str]]:
        """-> motion (B, T, 272) float32 padded with zeros, lengths (B,), text: B sentences"""
        return padded([motion for motion, _ in samples]) | dict(text=[text for _, text in samples])


def padded(motions: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """Motions (T_i, D) -> motion (B, T, D) float32 padded with zeros, lengths (B,)"""
    rows = [torch.from_numpy(motion).float() for motion in motions]
    return dict(motion=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
                lengths=torch.tensor([len(row) for row in rows]))
