"""Encoded clips with their captions: what the AR models train on, from a latent folder (`dataset.latent_folder`).

Training therefore runs neither the TAE nor the text encoder.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset.balance import balanced
from dataset.clips import more_of
from dataset.latent_folder import LatentFolder, entries
from dataset.shards import many_made
from dataset.windows import rarity
from models.causal_tae import FRAMES_PER_LATENT
from motion.representation_272 import FPS
from utils.distributed import rank

LATENTS_PER_SECOND = FPS / FRAMES_PER_LATENT
SHORTENED = 1 / 3    # share of the samples that lose their first or last latent
NO_TEXT = 0          # the caption "" has index 0

Cut = tuple[int, int, int]    # (caption, first latent, one past the last)


class LatentClips:
    """The clips of one split, each with its captions' embeddings.

    folder   the latent folder
    context  clips of more latents, the end latent included, are left out and counted
    pairs    whether the pairs for streams are among them
    balance  clips and captions are sampled as `dataset.balance` says; 0: all alike
    crop     the most latents of a clip that are sampled, from its beginning; a pair's context comes beside; 0: all
    favour   NAME=FACTOR: clips whose name begins so, mirror images too, are sampled FACTOR times as often
    by_words share of the samples that goes by words, with `balance`
    raises   FileNotFoundError or ValueError naming what is missing and the command that makes it
    """

    @many_made()
    def __init__(self, folder: Path | str, split: str, context: int, text_drop: float = 0.0,
                 pairs: bool = False, balance: float = 0.0, crop: int = 0,
                 favour: Sequence[str] = (), by_words: float = 0.0):
        remedy = (f"Make it: python get_latent.py --resume-pth TAE_CHECKPOINT --latent-dir {folder} "
                  "--dataname DATANAME --text-encoder TEXT_ENCODER" + pairs * " --streams PAIRS")
        files, self.folder = LatentFolder(folder, remedy), folder
        self.index = files.index()
        self.texts = files.texts(self.index.get("text", "vector"))
        self.text_drop, self.crop = text_drop, crop
        self.scale = self.index["latent_scale"]
        rows = files.latents(len(self.index["end_latent"]))
        self.ids: list[str] = []
        self.latents: list[np.ndarray] = []                # mapped, in the TAE's units
        self.captions: list[list[Cut]] = []
        self.past: list[int] = []                          # leading latents of each clip that are only context
        self.groups: list[str] = []                        # the kind of motion of each clip
        left_out = Counter()
        for name, entry in entries(self.index):
            if entry.split != split or (entry.past and not pairs):
                continue
            first, last = entry.rows
            latents = rows[first:last]
            if not 1 < last - first == len(latents) or not np.isfinite(latents).all():
                raise ValueError(f"{Path(folder) / 'latents.npy'} holds no finite latents of {name} in rows {first} to "
                                 f"{last}. {remedy}")
            if len(latents) > context:
                left_out[f"longer than {context} latents"] += 1
                continue
            captions = [cut for caption in entry.captions if (cut := latent_cut(*caption, len(latents)))]
            left_out["captions whose start and end tags hold no latent"] += len(entry.captions) - len(captions)
            if captions:
                self.ids.append(name)
                self.latents.append(latents)
                self.captions.append(captions)
                self.past.append(entry.past)
                self.groups.append(entry.group)
        if not self.latents:
            raise ValueError(f"{folder} has no usable clips of split {split!r} ({dict(+left_out)}): {more_of(split)}. "
                             f"{remedy}")
        if rank() == 0:
            print(f"{len(self.latents)} {split} clips from {folder}; left out: {dict(+left_out) or 'none'}")
        self.rarity, self.shares = rarity(self.groups), [np.ones(len(captions)) for captions in self.captions]
        if not 0 <= by_words <= 1:
            raise ValueError(f"--by-words {by_words}: expected a share of 0 to 1")
        if (favour or by_words) and not balance:
            raise ValueError("--favour and --by-words say more of how --balance samples; give it, such as 0.5")
        if balance:
            numbers = [[caption for caption, _, _ in cuts] for cuts in self.captions]
            self.shares = balanced(files.captions(), numbers, self.groups, factors_of(self.ids, favour),
                                   balance, by_words)
            self.rarity = np.array([shares.sum() for shares in self.shares]) ** (1 / balance)

    def __len__(self) -> int:
        return len(self.latents)

    def name(self, index: int) -> str:
        return self.ids[index]

    def sample(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, int, int]:
        """Latents (L, C) in the AR model's units under one of the clip's captions, that caption's number, and how many
        leading latents are only context."""
        captions, past = self.captions[index], self.past[index]
        shares = self.shares[index].cumsum()
        caption, first, last = captions[np.searchsorted(shares, rng.random() * shares[-1], side="right")]
        latents = self.latents[index][first:last] / self.scale
        latents = latents[:past + self.crop if self.crop else None]
        shorten, which, drop_text = rng.random(3)
        if shorten < SHORTENED and len(latents) > past + 1:
            latents, past = (latents[1:], max(past - 1, 0)) if which < 0.5 else (latents[:-1], past)
        return latents, NO_TEXT if drop_text < self.text_drop else caption, past

    def motion_of_text(self, directions: int, balance: float, noise: float) -> tuple[Tensor, Tensor]:
        """What sentences tell of motion, linearly: weight (K, D) and bias (K,) of K directions of unit variance.

        Ridge regression of the clips' latents, averaged over each quarter of their length, on their sentences, the
        clips weighed as `balance` samples them; the directions in which what it predicts varies most. It is the best
        for sentences to which `noise`, a deviation, is added. Of texts that are vectors.
        """
        rows = [(caption, clip) for clip, captions in enumerate(self.captions) for caption, _, _ in captions]
        share = torch.tensor([self.rarity[clip] ** balance / len(self.captions[clip]) for _, clip in rows])
        share = (share / share.sum())[:, None]                                                         # (N, 1)
        parts = (torch.from_numpy(latents / self.scale).tensor_split(4) for latents in self.latents)
        quarters = torch.stack([torch.cat([part.mean(dim=0) for part in four]) for four in parts]).double()
        text = self.texts.stack([caption for caption, _ in rows]).double()                             # (N, D)
        motion = quarters[[clip for _, clip in rows]]                                                  # (N, 4C)
        centre = (share * text).sum(dim=0)
        text, motion = text - centre, motion - (share * motion).sum(dim=0)
        ridge = (noise ** 2 + 1e-6) * torch.eye(text.shape[1], dtype=text.dtype)
        weight = torch.linalg.solve(text.T @ (share * text) + ridge, text.T @ (share * motion))        # (D, 4C)
        _, deviation, axes = torch.linalg.svd(share.sqrt() * (text @ weight), full_matrices=False)
        weight = ((weight @ axes.T) / deviation)[:, :directions].T.float()
        return weight, -weight @ centre.float()

    def collate(self, samples: Sequence[tuple[np.ndarray, int, int]]) -> dict[str, Tensor]:
        """-> latents (B, L, C) padded with zeros, lengths (B,), past (B,), text (B, D) or of tokens (B, N, D)"""
        latents = [torch.from_numpy(latents) for latents, _, _ in samples]
        return dict(latents=torch.nn.utils.rnn.pad_sequence(latents, batch_first=True),
                    lengths=torch.tensor([len(row) for row in latents]),
                    past=torch.tensor([past for _, _, past in samples]),
                    text=self.texts.stack([caption for _, caption, _ in samples]))


def factors_of(names: Sequence[str], favour: Sequence[str]) -> list[float]:
    """Of each clip, the factor in `favour` (NAME=FACTOR) of the longest NAME with which its own begins; without, 1.

    raises   ValueError for what is not NAME=FACTOR, or a NAME of no clip
    """
    known = {}
    for item in favour:
        name, _, factor = item.rpartition("=")
        if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", factor) or not name:
            raise ValueError(f"--favour {item!r}: expected NAME=FACTOR, such as then_=0.5")
        known[name] = float(factor)
    every = set(names)
    begins = [[name for name in known if own[own[0] == "M" and own[1:] in every:].startswith(name)] for own in names]
    if unknown := known.keys() - {name for found in begins for name in found}:
        raise ValueError(f"--favour {min(unknown)}: no clip's name begins so; they are such as {names[0]}")
    return [known[max(found, key=len)] if found else 1.0 for found in begins]


def latent_cut(caption: int, start: float, end: float, length: int) -> Cut | None:
    """A caption of `length` latents, the end latent among them -> (caption, first latent, one past the last).

    start, end  seconds; end 0 is the whole clip, with its end latent; a part of a clip has none
    returns     None if the part holds no latent
    """
    if not end:
        return caption, 0, length
    first, last = int(start * LATENTS_PER_SECOND), min(int(end * LATENTS_PER_SECOND), length - 1)
    return (caption, first, last) if first < last else None
