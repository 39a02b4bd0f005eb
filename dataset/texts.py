"""The captions of a latent folder, as its text encoder gave them: one vector each, or the states of their tokens.

    captions.txt            a line for each caption; the first is empty, the text that guidance weighs against
    embeddings.safetensors  their vectors (captions, D); or
    token_states.npy        the states of all tokens (tokens, D) float16, mapped, caption after caption, with
    token_rows.npy          where each caption's begin, and the end (captions + 1,)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from models.mosa.text import ClipText
from models.text_encoder import TextEncoder, stack_texts
from utils.checkpoint import read_tensors, write_whole

KINDS = ("vector", "tokens")
CHUNK = 1024         # captions that are encoded and put away at once


class Texts:
    """What `write_texts` left in a folder: the texts of its captions, by their numbers.

    raises   FileNotFoundError or ValueError if files are missing or do not belong together; `remedy` says how to make
             them
    """

    def __init__(self, folder: Path, kind: str, remedy: str = ""):
        self.kind = kind
        names = ("embeddings.safetensors",) if kind == "vector" else ("token_states.npy", "token_rows.npy")
        for name in names:
            if not (folder / name).is_file():
                raise FileNotFoundError(f"there is no {name} in {folder}, expected texts as {kind}. {remedy}")
        try:
            if kind == "vector":
                self.states = read_tensors(folder / names[0])["embeddings"].numpy()          # (captions, D)
                self.rows = np.arange(len(self.states) + 1)
            else:
                self.states = np.load(folder / names[0], mmap_mode="r", allow_pickle=False)  # (tokens, D)
                self.rows = np.load(folder / names[1], allow_pickle=False)                   # (captions + 1,)
        except (ValueError, EOFError, KeyError) as error:
            raise ValueError(f"the texts in {folder} are damaged ({error}). {remedy}") from error
        if self.states.ndim != 2 or self.rows.ndim != 1 or not len(self.rows) or self.rows[-1] != len(self.states):
            raise ValueError(f"the texts in {folder} have the shapes {self.states.shape} and {self.rows.shape}, "
                             f"which do not belong together. {remedy}")

    def __len__(self) -> int:
        return len(self.rows) - 1

    @property
    def dim(self) -> int:
        return self.states.shape[1]

    def __getitem__(self, number: int) -> Tensor:
        """One text, float32: (D,), or (N, D) of its tokens."""
        found = torch.from_numpy(self.states[self.rows[number]:self.rows[number + 1]].astype(np.float32))
        return found[0] if self.kind == "vector" else found

    def stack(self, numbers: Sequence[int]) -> Tensor:
        """Several, as `stack_texts` has them."""
        return stack_texts([self[number] for number in numbers])


def write_texts(folder: Path, kind: str, captions: Sequence[str], encoder: TextEncoder | ClipText,
                known: dict[str, Tensor]) -> None:
    """Encode captions, all but those whose text is `known`, and write them; the first caption is the empty text."""
    new = [caption for caption in captions if caption not in known]
    found = {}
    for first in tqdm(range(0, len(new), CHUNK), unit=f" x {CHUNK} captions", disable=not new):
        part = new[first:first + CHUNK]
        found |= {caption: text.half() for caption, text in zip(part, encoder.encode(part))}
    texts = [found[caption] if caption in found else known[caption].half() for caption in captions]
    if kind == "vector":
        with write_whole(folder / "embeddings.safetensors") as path:
            save_file({"embeddings": torch.stack(texts)}, path)
    else:
        for name, values in (("token_states.npy", torch.cat(texts).numpy()),
                             ("token_rows.npy", np.cumsum([0, *map(len, texts)]))):
            with write_whole(folder / name) as path:
                np.save(path, values)
    with write_whole(folder / "captions.txt") as path:
        path.write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8", newline="\n")


def known_texts(folder: Path, kind: str) -> dict[str, Tensor]:
    """Caption -> text of all that an earlier run left in a folder; {} if that is not whole."""
    try:
        texts, captions = Texts(folder, kind), (folder / "captions.txt").read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, ValueError):
        return {}
    return dict(zip(captions, map(texts.__getitem__, range(len(texts))))) if len(captions) == len(texts) else {}
