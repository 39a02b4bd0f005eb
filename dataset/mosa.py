"""What MoSa trains on: windows of every offset for its tokenizer, whole clips with captions for its transformer.

B samples, t frames of the longest, D channels, N tokens of a caption of E channels.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset.clips import Clip
from dataset.latent_folder import LatentFolder, Texts, digest
from dataset.motion_texts import MotionTexts, padded
from models.mosa.text import token_encoder
from motion.representation_272 import FPS
from utils.distributed import rank, wait_for_all

SHORTENED = 1 / 3    # share of the samples that are a latent shorter than they could be
Sample = tuple[np.ndarray, int]


class EveryWindow:
    """Each window of every clip is an item: an epoch visits all. A window is as long as its clip, in whole latents.

    clips      whole clips, not normalised; those of fewer frames than `shortest` are left out and counted
    mean, std  (D,) that normalise them
    longest    frames of a longer clip's windows
    unit       frames of a latent
    groups     clip id -> what kind of motion it is, for balanced sampling
    """

    def __init__(self, clips: Sequence[Clip], mean: np.ndarray, std: np.ndarray, shortest: int, longest: int, unit: int,
                 groups: Mapping[str, str] = {}):
        self.clips = [clip for clip in clips if len(clip.motion) >= shortest]
        if not self.clips:
            raise ValueError(f"none of {len(clips)} clips has {shortest} frames: give other clips")
        self.mean, self.std, self.longest, self.unit = mean, std, longest, unit
        counts = np.array([len(clip.motion) - self.window(clip) + 1 for clip in self.clips])
        self.ends = counts.cumsum()
        kinds = np.unique([groups.get(clip.id, "") for clip in self.clips], return_inverse=True)[1]
        self.rarity = np.repeat(1 / np.bincount(kinds, counts)[kinds], counts)
        if rank() == 0:
            print(f"{len(self)} windows of up to {longest} frames of {len(self.clips)} clips; "
                  f"{len(clips) - len(self.clips)} left out, being shorter than {shortest}")

    def window(self, clip: Clip) -> int:
        """Frames of its windows."""
        return min(len(clip.motion) // self.unit * self.unit, self.longest)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def clip_of(self, index: int) -> int:
        return int(np.searchsorted(self.ends, index, side="right"))

    def name(self, index: int) -> str:
        return self.clips[self.clip_of(index)].id

    def sample(self, index: int, rng: np.random.Generator) -> np.ndarray:
        """A window (t, D), normalised."""
        clip = self.clips[self.clip_of(index)]
        first = int(self.ends[self.clip_of(index)]) - 1 - index
        return (clip.motion[first:first + self.window(clip)] - self.mean) / self.std

    @staticmethod
    def collate(windows: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """-> motion (B, t, D) float32 padded with zeros, lengths (B,)"""
        return padded(windows)


class CaptionedWindows:
    """Whole clips, or the parts that captions describe, under one of their captions. An item is such a motion.

    texts      the captions' token states
    numbers    caption -> its number among the texts
    text_drop  share of the samples whose text is zeroed, for guidance
    fps        frames per second, by which captions' times go
    Else as `EveryWindow`, but longer motions are left out.
    """

    def __init__(self, clips: Sequence[Clip], mean: np.ndarray, std: np.ndarray, shortest: int, longest: int, unit: int,
                 texts: Texts, numbers: Mapping[str, int], groups: Mapping[str, str] = {}, text_drop: float = 0.0,
                 fps: int = FPS):
        found = MotionTexts(clips, mean, std, shortest, longest + unit - 1, groups=groups, fps=fps)
        self.items, self.rarity = found.items, found.rarity
        self.mean, self.std, self.longest, self.unit = mean, std, longest, unit
        self.texts, self.numbers, self.text_drop = texts, numbers, text_drop

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        return self.items[index].id

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        """A window (t, D), normalised, and its caption's number, -1 for none."""
        item = self.items[index]
        length = min(len(item.motion) // self.unit * self.unit, self.longest)
        shorten, drop, caption = rng.random(), rng.random(), rng.integers(len(item.texts))
        if shorten < SHORTENED and length > self.unit:
            length -= self.unit
        first = rng.integers(len(item.motion) - length + 1)
        motion = (item.motion[first:first + length] - self.mean) / self.std
        return motion, -1 if drop < self.text_drop else self.numbers[item.texts[caption]]

    def collate(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """-> motion (B, t, D) float32 padded with zeros, lengths (B,), text (B, N, E), zeros for none"""
        text = self.texts.stack([max(number, 0) for _, number in samples])
        dropped = torch.tensor([number < 0 for _, number in samples])
        return padded([motion for motion, _ in samples]) | dict(text=text.masked_fill(dropped[:, None, None], 0))


def caption_texts(folder: Path, clips: Sequence[Clip], encoder: str,
                  device: torch.device) -> tuple[Texts, dict[str, int]]:
    """The token states of all captions of the clips, and caption -> its number; rank 0 encodes what `folder` lacks.

    raises   ValueError for a latent folder that lacks some, as it is another script's
    """
    captions = dict.fromkeys(["", *(caption.text for clip in clips for caption in clip.captions)])
    texts, known = LatentFolder(folder), {}
    if rank() == 0:
        with suppress(OSError, ValueError):
            known = numbered(texts) if len(texts.texts("tokens")) == len(texts.captions()) else {}
    missing = [caption for caption in captions if caption not in known]
    if rank() == 0 and missing:
        if (folder / "index.json").is_file():
            raise ValueError(f"{folder} is a latent folder without {len(missing)} of the captions, the first is "
                             f"{missing[0]!r}: give another --text-dir")
        print(f"encoding {len(missing)} of {len(captions)} different captions with {encoder}", flush=True)
        texts.write_texts("tokens", list(captions | dict.fromkeys(known)),
                          token_encoder(encoder, device, on_disk=False), digest(encoder), known)
        texts.put_in_place()
    wait_for_all()
    return texts.texts("tokens"), numbered(texts)


def numbered(folder: LatentFolder) -> dict[str, int]:
    """Caption -> its number among the texts."""
    return {caption: number for number, caption in enumerate(folder.captions())}
