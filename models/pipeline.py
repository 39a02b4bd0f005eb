"""Sentence in, motion out: text encoder, AR model and TAE as one thing.

B sentences, L latents, C latent channels, T frames.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.causal_tae import FRAMES_PER_LATENT, CausalTAE
from models.checkpoints import load_ar, load_tae
from models.diffusion import STEPS
from models.streamer import StreamingTransformer
from models.text_encoder import TextEncoder
from options.models import Sampling
from utils.distributed import pick_device


class MotionStreamer:
    """Generates 272-channel motion from sentences.

    mean, std  (272,) of the TAE's training set; generated motion is returned denormalised
    """

    def __init__(self, tae: CausalTAE, ar: StreamingTransformer, text_encoder: TextEncoder, mean: Tensor, std: Tensor,
                 sampling: Sampling = Sampling(), device: str = "auto"):
        if tae.config.latent_dim != ar.config.latent_dim or len(sampling.end_latent) != tae.config.latent_dim:
            raise ValueError(f"the TAE has {tae.config.latent_dim} latent channels, the AR model "
                             f"{ar.config.latent_dim}, the end latent {len(sampling.end_latent)}: "
                             "use models of one training")
        if text_encoder.dim != ar.config.text_dim:
            raise ValueError(f"the text encoder {text_encoder.name} gives {text_encoder.dim} channels, the AR model "
                             f"reads {ar.config.text_dim}: give the --text-encoder it was trained with")
        self.device = pick_device(device)
        self.tae, self.ar, self.text_encoder = tae.to(self.device), ar.to(self.device), text_encoder
        self.mean, self.std = mean.to(self.device), std.to(self.device)
        self.sampling = sampling

    @classmethod
    def from_pretrained(cls, folder: Path | str, device: str = "auto",
                        text_encoder: TextEncoder | None = None) -> "MotionStreamer":
        """Load a folder with the checkpoints `tae/` and `ar/`; `text_encoder` saves loading its own again."""
        tae, mean, std = load_tae(Path(folder) / "tae")
        ar, sampling, encoder = load_ar(Path(folder) / "ar")
        return cls(tae, ar, text_encoder or TextEncoder(encoder, pick_device(device)), mean, std, sampling, device)

    @property
    def longest(self) -> int:
        """Frames of the longest motion: the context holds the text and this many frames' latents."""
        return (self.ar.config.context - 1) * FRAMES_PER_LATENT

    def generate(self, text: str, seed: int = 0, length: int | None = None, guidance: float | None = None,
                 temperature: float | None = None) -> np.ndarray:
        """One sentence -> motion (T, 272), denormalised float32 at 30 fps.

        length  frames; None: the model ends by itself, at the latest after `longest` frames
        Arguments left out take the values stored with the model. Errors as in `generate_batch`.
        """
        return self.generate_batch([text], [seed], length, guidance, temperature)[0]

    def generate_batch(self, texts: Sequence[str], seeds: Sequence[int],
                       length: int | Sequence[int | None] | None = None, guidance: float | None = None,
                       temperature: float | None = None) -> list[np.ndarray]:
        """Sentences and seeds, one each -> motions [(T_i, 272)]. A motion does not depend on its neighbours.

        length  as in `generate`, one for all or one for each
        raises  ValueError for an empty sentence or a length outside 1 .. longest
        """
        wanted = [length] * len(texts) if length is None or isinstance(length, int) else list(length)
        if not len(texts) == len(seeds) == len(wanted):
            raise ValueError(f"{len(texts)} sentences, {len(seeds)} seeds and {len(wanted)} lengths: expected one seed "
                             "and one length for each sentence")
        for text in texts:
            if not text.strip():
                raise ValueError("the prompt is empty: say what the character does, e.g. --text 'a person walks'")
        for frames in wanted:
            self.check_length(frames)
        guidance = self.sampling.guidance if guidance is None else guidance
        temperature = self.sampling.temperature if temperature is None else temperature
        latents, lengths = self.draw_latents(self.text_encoder([*texts, ""]), seeds, wanted, guidance, temperature)
        motions = self.decode(latents)
        frames = [given or count * FRAMES_PER_LATENT for given, count in zip(wanted, lengths)]
        return [motion[:count].cpu().numpy() for motion, count in zip(motions, frames)]

    def check_length(self, length: int | None) -> None:
        """ValueError unless `length` is None or a number of frames that fits the context."""
        if length is not None and not 0 < length <= self.longest:
            raise ValueError(f"a length of {length} frames: expected 1 to {self.longest} (30 frames are one second)")

    @torch.no_grad()
    def draw_latents(self, embeddings: Tensor, seeds: Sequence[int], wanted: Sequence[int | None], guidance: float,
                     temperature: float) -> tuple[Tensor, list[int]]:
        """Embeddings (B+1, D), the empty text's last -> latents (B, L, C) in the AR model's units, and each length.

        wanted  frames of each; one of None ends before its first latent near the end latent, but has at least one
        """
        embeddings = embeddings.to(self.device)
        text, empty = embeddings[:-1], embeddings[-1:].expand(len(seeds), -1)
        noise = [torch.Generator().manual_seed(seed) for seed in seeds]
        shape = (STEPS + 1, self.ar.config.latent_dim)

        def draw() -> tuple[Tensor, Tensor]:
            rows = torch.stack([torch.randn(shape, generator=generator) for generator in noise], dim=1)
            return rows[0].to(self.device), rows[1:].to(self.device)

        lengths = [-(-(frames or self.longest) // FRAMES_PER_LATENT) for frames in wanted]
        end = torch.tensor(self.sampling.end_latent, device=self.device)
        latents = []
        for latent in self.ar.stream(text, empty, guidance=guidance, temperature=temperature, draw=draw):
            distance = (latent * self.sampling.latent_scale - end).norm(dim=-1)
            for row in (distance < self.sampling.stop_threshold).nonzero()[:, 0].tolist():
                if wanted[row] is None and latents:
                    lengths[row] = min(lengths[row], len(latents))
            latents.append(latent)
            if len(latents) >= max(lengths):
                break
        return torch.stack(latents, dim=1), lengths

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """latents (B, L, C) in the AR model's units -> motion (B, 4L, 272), denormalised."""
        return self.tae.decode(latents * self.sampling.latent_scale) * self.std + self.mean
