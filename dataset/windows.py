"""Random windows of motion: what the TAE trains on."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dataset.clips import Clip
from utils.distributed import rank


class MotionWindows:
    """One random window of every clip that is long enough.

    clips      whole clips, not normalised; shorter ones are left out and counted
    mean, std  (272,) that normalise them
    groups     clip id -> what kind of motion it is, for balanced sampling
    """

    def __init__(self, clips: Sequence[Clip], mean: np.ndarray, std: np.ndarray, frames: int = 64,
                 groups: Mapping[str, str] = {}):
        long = [clip for clip in clips if len(clip.motion) >= frames]
        self.ids, self.motions = [clip.id for clip in long], [clip.motion for clip in long]
        self.rarity = rarity([groups.get(clip.id, "") for clip in long])
        self.mean, self.std, self.frames = mean, std, frames
        if not self.motions:
            raise ValueError(f"none of {len(clips)} clips has {frames} frames: give a smaller --window-size")
        if rank() == 0:
            print(f"{len(self.motions)} clips to sample windows of {frames} frames from; "
                  f"{len(clips) - len(self.motions)} left out, being shorter")

    def __len__(self) -> int:
        return len(self.motions)

    def name(self, index: int) -> str:
        return self.ids[index]

    def sample(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """A window (frames, 272), normalised."""
        motion = self.motions[index]
        first = rng.integers(len(motion) - self.frames + 1)
        return (motion[first:first + self.frames] - self.mean) / self.std

    @staticmethod
    def collate(windows: list[np.ndarray]) -> Tensor:
        """-> (B, frames, 272) float32"""
        return torch.from_numpy(np.stack(windows)).float()


def rarity(groups: Sequence[str]) -> np.ndarray:
    """1 / (clips of its group), of each clip: what balanced sampling goes by."""
    count = Counter(groups)
    return np.array([1 / count[group] for group in groups])
