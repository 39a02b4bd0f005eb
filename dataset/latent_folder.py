"""A latent folder: what get_latent.py makes of a data set and the AR models train on. Only this file knows its format.

    index.json              each clip's split, group, rows and captions; what later scripts need to know of the TAE and
                            of the texts; what all was made of
    latents.npy             latents of all clips (N, C) float32, clip after clip, the end latent last in each
    captions.txt            a line for each caption; the first is empty, the text that guidance weighs against
    embeddings.safetensors  the captions' vectors (captions, D) float16; or
    token_states.npy        the states of all their tokens (tokens, D) float16, mapped, caption after caption, with
    token_rows.npy          where each caption's begin, and the end (captions + 1,)

Until a run has finished, .parts/ holds what it has made so far, CHUNK clips or captions in a file, and .new/ the files
above; an earlier run's stay as they are until all new ones are there. So a run may be interrupted at any moment, and
the next one goes on. Letters: C channels of a latent, D of a text, L latents.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from models.mosa.text import ClipText
from models.text_encoder import TextEncoder, stack_texts
from utils.arrays import write_rows
from utils.checkpoint import read_json, read_tensors, write_json, write_whole

KINDS = ("vector", "tokens")    # of texts
CHUNK = 1024                    # clips or captions that are encoded and put away at once
REQUIRED = ("dataname", "tae", "text_encoder", "latent_scale", "stop_threshold", "end_latent", "clips")
TEXT_FILES = dict(vector=("embeddings.safetensors",), tokens=("token_states.npy", "token_rows.npy"))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the index says of a clip."""
    split: str
    group: str                                        # what kind of motion it is
    past: int = 0                                     # leading latents that are only context, of a pair for streams
    rows: tuple[int, int]                             # of latents.npy: the first, and one past the end latent
    captions: Sequence[tuple[int, float, float]]      # number, start and end in seconds; end 0: the whole clip


@dataclass(frozen=True)
class Kept:
    """What an earlier run left that is whole and still right."""
    latents: tuple[float, float] | None = None        # their scale, and how near the nearest comes to the end latent
    texts: bool = False                               # whether they are all there
    known: Mapping[str, int] = field(default_factory=dict)    # caption -> its number, of those by the same encoder


class Texts:
    """The texts of a folder's captions, by their numbers: one vector each, or the states of their tokens.

    states  (rows, D); rows (captions + 1,): where each caption's begin, and the end
    """

    def __init__(self, kind: str, states: np.ndarray, rows: np.ndarray):
        self.kind, self.states, self.rows = kind, states, rows

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


class LatentFolder:
    """Reads a latent folder, and writes it: `resume`, `kept`, `add_latents`, `join_latents`, `write_texts`, `finish`.

    remedy   the command that makes it, which errors say
    raises   FileNotFoundError or ValueError, while reading, for what is missing or damaged
    """

    def __init__(self, path: Path | str, remedy: str = ""):
        self.path, self.remedy = Path(path), remedy
        self.parts, self.new = self.path / ".parts", self.path / ".new"

    def index(self) -> dict[str, Any]:
        """All that index.json says, as JSON knows it."""
        if not (self.path / "index.json").is_file():
            raise FileNotFoundError(f"there is no index.json in {self.path}. {self.remedy}")
        return read_json(self.path / "index.json", REQUIRED)

    def latents(self, channels: int) -> np.ndarray:
        """The latents of all clips (N, C), float32, mapped."""
        path = self.path / "latents.npy"
        if not path.is_file():
            raise FileNotFoundError(f"there is no latents.npy in {self.path}; an older get_latent.py wrote a file for "
                                    f"each clip instead. {self.remedy}")
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is damaged ({error}). {self.remedy}") from error
        if rows.ndim != 2 or rows.shape[1] != channels or rows.dtype != np.float32:
            raise ValueError(f"{path} holds {rows.dtype} of shape {rows.shape}, expected float32 (N, {channels}). "
                             f"{self.remedy}")
        return rows

    def texts(self, kind: str) -> Texts:
        """The texts of all captions, of one of KINDS."""
        paths = [self.path / name for name in TEXT_FILES[kind]]
        for path in paths:
            if not path.is_file():
                raise FileNotFoundError(f"there is no {path.name} in {self.path}, expected texts as {kind}. "
                                        f"{self.remedy}")
        try:
            if kind == "vector":
                states = read_tensors(paths[0])["embeddings"].numpy()
                rows = np.arange(len(states) + 1)
            else:
                states = np.load(paths[0], mmap_mode="r", allow_pickle=False)
                rows = np.load(paths[1], allow_pickle=False)
        except (ValueError, EOFError, KeyError) as error:
            raise ValueError(f"the texts in {self.path} are damaged ({error}). {self.remedy}") from error
        if states.ndim != 2 or rows.ndim != 1 or not len(rows) or rows[-1] != len(states):
            raise ValueError(f"the texts in {self.path} have the shapes {states.shape} and {rows.shape}, "
                             f"which do not belong together. {self.remedy}")
        return Texts(kind, states, rows)

    def captions(self) -> list[str]:
        """The captions, in the order of their numbers."""
        path = self.path / "captions.txt"
        if not path.is_file():
            raise FileNotFoundError(f"there is no captions.txt in {self.path}. {self.remedy}")
        return path.read_text(encoding="utf-8").split("\n")[:-1]

    def resume(self) -> None:
        """Move what a run has finished to its place, the index last; remove what it has not."""
        if (self.new / "index.json").is_file():
            (self.path / "index.json").unlink(missing_ok=True)    # what it says is no longer so
            self.put_in_place()
        shutil.rmtree(self.new, ignore_errors=True)

    def put_in_place(self) -> None:
        """Put the new files, the index last, in place of an earlier run's; of a folder of texts alone there is none."""
        for path in sorted(self.new.iterdir(), key=lambda path: path.name == "index.json"):
            os.replace(path, self.path / path.name)
        shutil.rmtree(self.parts, ignore_errors=True)

    def kept(self, made_of: Mapping[str, str], places: Mapping[str, tuple[int, int]], channels: int, kind: str) -> Kept:
        """What an earlier run left, if it made it of the same.

        made_of  the digests of what "latents", "encoder" (of the texts) and "texts" are made of
        places   of the clips, as of `places_of`
        kind     of the texts
        """
        shape = rows_in(places), channels
        latents, complete, known = None, False, {}
        with suppress(ValueError, FileNotFoundError):
            index = self.index()
            earlier = index.get("made_of", {})
            with suppress(ValueError, FileNotFoundError):
                found = self.latents(channels)
                if earlier.get("latents") == made_of["latents"] and found.shape == shape and np.isfinite(found).all():
                    latents = index["latent_scale"], index["nearest"]
            texts, captions = self.texts(kind), self.captions()
            if earlier.get("encoder") == made_of["encoder"] and len(texts) == len(captions):
                complete = earlier["texts"] == made_of["texts"]
                known = {caption: number for number, caption in enumerate(captions)}
        return Kept(latents, complete, known)

    def add_latents(self, made_of: str, encoded: Iterable[tuple[str, Tensor]]) -> None:
        """Put away the latents (L, C) of clips, by id, without the end latent, as they come; any rank may call it.

        made_of  a digest: only parts of the same are joined
        """
        encoded = iter(encoded)
        while part := dict(islice(encoded, CHUNK)):
            with write_whole(self._part("latents", made_of, *part)) as path:
                save_file(part, path)

    def clips_in_parts(self, made_of: str) -> set[str]:
        """The ids of the clips whose latents were put away."""
        found = set()
        for path in self._parts_of("latents", made_of):
            with safe_open(path, "pt") as part:
                found.update(part.keys())
        return found

    def join_latents(self, made_of: str, places: Mapping[str, tuple[int, int]], end: Tensor) -> Tensor:
        """Write latents.npy of the parts, each clip in its place, the end latent (C,) last -> its rows (N, C)."""
        rows = torch.empty(rows_in(places), len(end))
        for path in self._parts_of("latents", made_of):
            for name, latents in read_tensors(path).items():
                first, last = places[name]
                rows[first:last] = torch.cat([latents, end[None]])
        with write_whole(self.new / "latents.npy") as path:
            np.save(path, rows.numpy())
        return rows

    def write_texts(self, kind: str, captions: Sequence[str], encoder: TextEncoder | ClipText, made_of: str,
                    known: Mapping[str, int]) -> None:
        """Encode captions, all but those `known` in this folder, and write them; no more than CHUNK are in memory.

        captions  the first is the empty text
        made_of   the encoder's digest: only parts of the same are used
        """
        new, parts = [caption for caption in captions if caption not in known], []
        for first in tqdm(range(0, len(new), CHUNK), unit=f" x {CHUNK} captions", disable=not new):
            chunk = new[first:first + CHUNK]
            parts.append(self._part("texts", made_of, *chunk))
            if not parts[-1].is_file():
                texts = [text.half().view(-1, text.shape[-1]) for text in encoder.encode(chunk)]
                with write_whole(parts[-1]) as path:
                    save_file(dict(states=torch.cat(texts), lengths=torch.tensor(list(map(len, texts)))), path)
        earlier, fresh = self.texts(kind) if known else None, chain.from_iterable(map(_texts_in, parts))
        ordered = (earlier[known[caption]].half().view(-1, encoder.dim) if earlier is not None and caption in known
                   else next(fresh) for caption in captions)                             # (1, D), or (N, D) of tokens
        if kind == "vector":
            with write_whole(self.new / "embeddings.safetensors") as path:
                save_file({"embeddings": torch.cat(list(ordered))}, path)
        else:
            lengths = []
            with write_rows(self.new / "token_states.npy", encoder.dim, np.float16) as put:
                for text in ordered:
                    put(text.numpy())
                    lengths.append(len(text))
            with write_whole(self.new / "token_rows.npy") as path:
                np.save(path, np.cumsum([0, *lengths]))
        with write_whole(self.new / "captions.txt") as path:
            path.write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8", newline="\n")

    def finish(self, about: Mapping[str, Any], clips: Mapping[str, Entry]) -> None:
        """Write the index, after all else, and put the new files in place of an earlier run's.

        about  what the index says besides: REQUIRED, "text", one of KINDS, "nearest" and "made_of"
        """
        write_json(self.new / "index.json", dict(about, clips={name: vars(entry) for name, entry in clips.items()}))
        self.resume()

    def _part(self, of: str, made_of: str, *names: str) -> Path:
        """The file of some clips or captions: another one if they, or what they are made of, are others."""
        return self.parts / f"{of}-{made_of[:16]}-{digest(*names)[:16]}.safetensors"

    def _parts_of(self, of: str, made_of: str) -> list[Path]:
        return sorted(self.parts.glob(f"{of}-{made_of[:16]}-*.safetensors"))


def entries(index: Mapping[str, Any]) -> Iterator[tuple[str, Entry]]:
    """The clips of an index by their ids."""
    return ((name, Entry(**entry)) for name, entry in index["clips"].items())


def places_of(lengths: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Clip -> its rows of latents.npy (`Entry.rows`), from its number of latents, without the end latent."""
    ends = list(accumulate(length + 1 for length in lengths.values()))
    return dict(zip(lengths, pairwise([0, *ends])))


def rows_in(places: Mapping[str, tuple[int, int]]) -> int:
    return max(last for _, last in places.values())


def digest(*parts: object) -> str:
    """A hash of strings, numbers and arrays."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.tobytes() if isinstance(part, np.ndarray) else f"{part}\n".encode())
    return found.hexdigest()


def _texts_in(part: Path) -> tuple[Tensor, ...]:
    """The texts (1, D), or (N, D) of tokens, of a part, float16."""
    found = read_tensors(part)
    return found["states"].half().split(found["lengths"].tolist())
