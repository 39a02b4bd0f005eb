"""The sentences that MoSa reads, as states of their tokens: any sentence encoder's, or CLIP's as published."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from models.text_encoder import TextEncoder

TOKENS = 77    # of every sentence for CLIP


def token_encoder(name: str, device: str | torch.device, on_disk: bool = True) -> "TextEncoder | ClipText":
    """CLIP's text tower where the name says so, else as `TextEncoder` gives token states."""
    if "clip" in Path(name).name.lower():
        return ClipText(name, device)
    return TextEncoder(name, device, on_disk=on_disk, tokens=True)


class ClipText:
    """CLIP's text tower: the states of all 77 positions behind its last norm, padding included, as published.

    name    such as openai/clip-vit-base-patch32, or a folder
    raises  ValueError if it cannot be loaded
    """

    tokens = True

    def __init__(self, name: str, device: str | torch.device):
        from transformers import CLIPTextModel, CLIPTokenizer      # imported late: they take seconds
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.name = name
        try:
            self.tokenizer = CLIPTokenizer.from_pretrained(name)
            self.model = CLIPTextModel.from_pretrained(name).to(device).eval().requires_grad_(False)    # pyright: ignore
        except (OSError, ValueError) as error:
            raise ValueError(f"the text encoder {name!r} could not be loaded ({str(error).splitlines()[0]}): give "
                             "--text-encoder a CLIP model's name or folder") from error
        self.dim = self.model.config.hidden_size

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """S sentences -> states (S, 77, dim), float32 on the CPU."""
        ids = torch.zeros(len(sentences), TOKENS, dtype=torch.long)       # behind the end 0, as in OpenAI's code
        for row, sentence in zip(ids, sentences):
            found = self.tokenizer(sentence, truncation=True, max_length=TOKENS)["input_ids"]
            row[:len(found)] = torch.tensor(found)
        return self.model(ids.to(self.model.device)).last_hidden_state.float().cpu()

    def encode(self, sentences: Sequence[str]) -> list[Tensor]:
        """As `TextEncoder.encode`: [(77, dim)]."""
        return [self([sentence])[0] for sentence in sentences]

    def release(self) -> None:
        """As `TextEncoder.release`; it is small and stays."""
