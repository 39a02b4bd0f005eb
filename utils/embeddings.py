"""A text encoder's embeddings on disk, so that a later process need not load the encoder."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from utils.cache import cache_folder
from utils.checkpoint import read_json, read_tensors, write_whole


class EmbeddingFolder:
    """One encoder's embeddings: {sha256 of the sentence}.safetensors, and encoder.json, which says whose.

    made_by  all that an embedding depends on beside its sentence; its hash names the folder, in `cache_folder()/text`
    about    what encoder.json says of the encoder beside its channels
    axes     of an embedding: 1 for a vector (dim,), 2 for the states of tokens (N, dim)

    The folder may be removed at any time. A damaged file counts as none. Where nothing can be written nothing is kept,
    which is said once.
    """

    def __init__(self, made_by: str, about: dict[str, Any], axes: int):
        self.folder, self.about, self.axes = cache_folder() / "text" / sha256(made_by), about, axes
        self.writable = True

    def read(self, sentence: str, dim: int) -> Tensor | None:
        """The embedding (dim,) of a sentence, or its token states (N, dim), if it is there."""
        try:
            found = read_tensors(self.file(sentence))["embedding"].clone()     # a clone, so that the file is closed
        except (OSError, ValueError, KeyError):
            return None
        return found if found.dim() == self.axes and found.shape[-1] == dim else None

    def write(self, sentence: str, embedding: Tensor) -> None:
        self.put(self.file(sentence), save({"embedding": embedding}))

    def read_dim(self) -> int | None:
        """The number of channels, if it is there."""
        try:
            return read_json(self.folder / "encoder.json", ["dim"])["dim"]
        except (OSError, ValueError):
            return None

    def write_dim(self, dim: int) -> None:
        self.put(self.folder / "encoder.json", json.dumps(self.about | dict(dim=dim), ensure_ascii=False).encode())

    def file(self, sentence: str) -> Path:
        return self.folder / f"{sha256(sentence)}.safetensors"

    def put(self, path: Path, content: bytes) -> None:
        """Write a file whole, if the folder can be written."""
        if not self.writable:
            return
        try:
            with write_whole(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            self.writable = False
            print(f"Embeddings are not kept, since {self.folder} cannot be written ({error.strerror}): "
                  "set MOTION_CACHE to a folder that can.", file=sys.stderr)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
