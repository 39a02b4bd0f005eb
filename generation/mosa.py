"""Sentence in, motion out, with MoSa: text encoder, transformer and tokenizer as one thing; and editing.

B sentences, T frames, D channels, n latents of a motion, L latents of the longest, N tokens.
"""

from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataset.clips import with_statistics
from generation.fast import accelerate
from generation.pipeline import SHIPPED as MOTIONSTREAMER
from generation.pipeline import check_length, check_prompt, whole
from generation.scales import SampledCodes, kept_codes, noise_of_rows, sampler, sample_codes
from models.checkpoints import MoSaCheckpoint, fingerprint, load_mosa, load_mosa_tokenizer
from models.mosa.text import ClipText, token_encoder
from models.mosa.tokenizer import CAQVAE
from models.text_encoder import TextEncoder
from motion.representation_263 import fps_of
from options.data import Data
from options.sampling import Compute, MoSaFlags, MoSaSampling
from utils.distributed import pick_device

NEAREST = 10      # training captions from whose motions a length is sampled
SHIPPED = Path(__file__).parents[1] / "weights" / "mocap_mosa"
BLEND = 8         # frames, inside what is edited, over which it goes over into the source
SHORTEST = 2      # seconds of a source


class MoSa:
    """Generates and edits motion from sentences.

    tokenizer    with its statistics
    transformer  as `load_mosa` reads it; its captions tell lengths where a call does not
    sampling     how to sample where a call does not say; None: as the checkpoint says
    Its networks are of one training: ValueError if not.
    """

    def __init__(self, tokenizer: CAQVAE, transformer: MoSaCheckpoint, text_encoder: TextEncoder | ClipText,
                 sampling: MoSaSampling | None = None, compute: Compute = Compute()):
        made_by = transformer.tokenizer
        if tokenizer.config.codes != transformer.model.codes or made_by not in (None, fingerprint(tokenizer)):
            raise ValueError(f"the transformer writes other codes than this tokenizer reads ({transformer.model.codes} "
                             f"and {tokenizer.config.codes}): use the tokenizer that it was trained with")
        if text_encoder.dim != transformer.model.config.text_dim:
            raise ValueError(f"the text encoder {text_encoder.name} gives {text_encoder.dim} channels, the transformer "
                             f"reads {transformer.model.config.text_dim}: give the --text-encoder it was trained with")
        self.device = pick_device(compute.device)
        self.tokenizer, self.transformer = tokenizer.to(self.device).eval(), transformer.model.to(self.device).eval()
        if compute.precision != "float32":                                # many rows: PyTorch's own are as fast then
            self.transformer = accelerate(self.transformer, compute.precision)
        self.text_encoder, self.sampling = text_encoder, sampling or transformer.sampling
        self.captions, self.frames = transformer.captions, transformer.frames

    @classmethod
    def load(cls, tokenizer: Path | str, transformer: Path | str, data: Data,
             flags: MoSaFlags = MoSaFlags(), temperature: float | None = None, text_encoder: str | None = None,
             text_device: str | None = None, compute: Compute = Compute()) -> "MoSa":
        """As scripts do: from our checkpoint folders or the authors' files, with the options of their caller.

        data  the data set whose statistics the authors' tokenizer needs
        """
        codes, found = with_statistics(load_mosa_tokenizer(tokenizer), data), load_mosa(transformer)
        encoder = token_encoder(text_encoder or found.text_encoder, pick_device(text_device or compute.device))
        return cls(codes, found, encoder, flags.over(found.sampling, temperature), compute)

    @classmethod
    def from_pretrained(cls, folder: Path | str, device: str = "auto",
                        text_encoder: TextEncoder | ClipText | None = None) -> "MoSa":
        """Load a folder with the checkpoints `tokenizer/` and `transformer/`."""
        tokenizer, found = load_mosa_tokenizer(Path(folder) / "tokenizer"), load_mosa(Path(folder) / "transformer")
        text_encoder = text_encoder or token_encoder(found.text_encoder, pick_device(device))
        return cls(tokenizer, found, text_encoder, compute=Compute(device))

    @property
    def longest(self) -> int:
        """Frames of the longest motion."""
        return self.tokenizer.config.frames

    @property
    def fps(self) -> int:
        return fps_of(self.tokenizer.config.channels)

    def generate(self, text: str, seed: int = 0, length: int | None = None, sampling: MoSaSampling | None = None,
                 **changes: float | bool | None) -> np.ndarray:
        """One sentence -> motion (T, D), denormalised float32.

        length    frames; None: sampled from those of motions with captions like this
        sampling  how to sample; None: as is stored with the model
        changes   of that, by name: cond_scale=5, top_p=0.9; one of None changes nothing
        Errors as in `generate_batch`.
        """
        return self.generate_batch([text], [seed], length, sampling, **changes)[0]

    def generate_batch(self, texts: Sequence[str], seeds: Sequence[int],
                       lengths: int | Sequence[int | None] | None = None, sampling: MoSaSampling | None = None,
                       progress: Callable[[int], object] | None = None, scales: int | None = None,
                       **changes: float | bool | None) -> list[np.ndarray]:
        """Sentences and seeds, one each -> motions [(T_i, D)], each the same whatever its neighbours are.

        lengths   as in `generate`, one for all or one for each; sampling and changes likewise
        progress  called with how many frames of all motions are new
        scales    a preview: the motion after so many scales; None: all
        raises    ValueError for an empty sentence, a length that cannot be, and a sampling that cannot be
        """
        wanted = [lengths] * len(texts) if lengths is None or isinstance(lengths, Real) else list(lengths)
        if not len(texts) == len(seeds) == len(wanted):
            raise ValueError(f"{len(texts)} sentences, {len(seeds)} seeds and {len(wanted)} lengths: expected one seed "
                             "and one length for each sentence")
        for text, given in zip(texts, wanted):
            check_prompt(text)
            check_length(given)
        if not texts:
            return []
        seeds = positive(seeds)
        states = self.text_encoder(list(texts)).to(self.device)                           # (B, N, E)
        frames = [self.sample_length(state, seed) if given is None else whole(given, "length")
                  for given, state, seed in zip(wanted, states, seeds)]
        sampling = (sampling or self.sampling).but(**changes)
        sampled = self.sample_codes(states, frames, seeds, sampling, scales=scales)
        if progress:
            progress(sum(frames))
        return self.decode(sampled, frames)

    def sample_codes(self, states: Tensor, frames: Sequence[int], seeds: Sequence[int], sampling: MoSaSampling,
                     source: list[Tensor] | None = None, scales: int | None = None) -> SampledCodes:
        """`scales.sample_codes` of texts, whose `states` are (B, N, E), lengths in frames, and seeds; checked."""
        for count in frames:
            if not 1 <= count <= self.longest:
                raise ValueError(f"a length of {count} frames: expected 1 to {self.longest} ({self.fps} frames are one "
                                 "second)")
        if scales is not None and not 1 <= scales <= len(self.transformer.codes.scales):
            raise ValueError(f"{scales} scales: expected 1 to {len(self.transformer.codes.scales)}")
        latents = torch.tensor([-(-count // self.tokenizer.frames_per_code) for count in frames], device=self.device)
        noise = noise_of_rows(seeds, self.device)
        return sample_codes(self.tokenizer.quantizer, self.transformer, states, latents, sampler(sampling, noise),
                            sampling, source, scales)

    @torch.inference_mode()
    def decode(self, sampled: SampledCodes, frames: Sequence[int]) -> list[np.ndarray]:
        motions = self.tokenizer.decode_latents(sampled.latents).cpu().numpy()
        return [motion[:count] for motion, count in zip(motions, frames)]

    def sample_length(self, states: Tensor, seed: int) -> int:
        """Frames of the motion of one of the training captions that are like a text (N, E), in whole latents."""
        if self.captions is None or self.frames is None:
            return self.longest
        there = (states != 0).any(dim=-1)
        text = F.normalize(states[there].mean(dim=0), dim=-1).cpu()
        nearest = (self.captions @ text).topk(min(NEAREST, len(self.captions))).indices
        frames = int(self.frames[nearest[np.random.default_rng([seed, NEAREST]).integers(len(nearest))]])
        return min(frames, self.longest) // self.tokenizer.frames_per_code * self.tokenizer.frames_per_code

    def edit(self, source: np.ndarray, mask: np.ndarray, text: str | None, seeds: Sequence[int] = (0,),
             sampling: MoSaSampling | None = None, paste: bool = True, keep_scales: int = 0, any_overlap: bool = True,
             **changes: float | bool | None) -> list[np.ndarray]:
        """Regenerate parts of a motion, without training -> one motion (T, D) for each seed.

        source       (T, D), denormalised
        mask         (n,) for each latent of the source, n = T // 4: whether it is regenerated
        text         what happens in the whole motion; None: without text
        paste        what is kept are the source's own frames, over into which the edit goes within BLEND frames; False:
                     the whole motion is the tokenizer's, as published, cut to whole latents
        keep_scales  so many coarse scales are the source's everywhere
        any_overlap  coarse positions that the mask touches are regenerated too; else, as published, those that it fills
        raises       ValueError for a source or mask that cannot be
        """
        self.check_source(source)
        count = len(source) // self.tokenizer.frames_per_code
        if mask.shape != (count,):
            raise ValueError(f"a mask of shape {mask.shape}: expected one for each of the {count} latents")
        scales = len(self.transformer.codes.scales)
        if not 0 <= whole(keep_scales, "number of kept scales") <= scales:
            raise ValueError(f"{keep_scales} scales to keep: expected 0 to {scales}")
        seeds = positive(seeds)
        motion = np.asarray(source[:count * self.tokenizer.frames_per_code], dtype=np.float32)
        with torch.no_grad():
            ids = self.tokenizer.encode(torch.tensor(motion[None], device=self.device)).ids
        # What stands behind the end is regenerated with it, so that a mask of ones is plain generation.
        changing = np.pad(mask.astype(bool), (0, self.tokenizer.config.codes.latents - count), mode="edge")
        kept = kept_codes(ids, torch.from_numpy(changing)[None].to(self.device), keep_scales, any_overlap)
        states = self.text_encoder([text or ""]).to(self.device).repeat(len(seeds), 1, 1)
        states = states if text else torch.zeros_like(states)
        frames, sampling = [len(motion)] * len(seeds), (sampling or self.sampling).but(**changes)
        sampled = self.sample_codes(states, frames, seeds, sampling, [one.repeat(len(seeds), 1) for one in kept])
        edits = self.decode(sampled, frames)
        return [pasted(source, edit, mask, self.tokenizer.frames_per_code) for edit in edits] if paste else edits

    def check_source(self, source: np.ndarray) -> None:
        """ValueError unless it is a motion that can be edited."""
        channels, shortest = self.tokenizer.config.channels, SHORTEST * self.fps
        if source.ndim != 2 or source.shape[1] != channels or not np.isfinite(source).all():
            raise ValueError(f"a source of shape {source.shape}: expected (T, {channels}), all finite")
        if not shortest <= len(source) < self.longest + self.tokenizer.frames_per_code:
            raise ValueError(f"a source of {len(source)} frames: expected {shortest} to {self.longest} at {self.fps} a "
                             "second; cut it, or take a longer one")


def given_or_shipped(tokenizer: Path, transformer: Path) -> tuple[Path, Path]:
    """The checkpoints that a script was given; those that ship, if these are its defaults, MotionStreamer's."""
    if (tokenizer, transformer) == (MOTIONSTREAMER / "tae", MOTIONSTREAMER / "ar"):
        return SHIPPED / "tokenizer", SHIPPED / "transformer"
    return tokenizer, transformer


def positive(seeds: Sequence[int]) -> list[int]:
    """Seeds as NumPy's generators take them; ValueError for what is no whole number of at most 63 bits."""
    return [whole(seed, "seed") % 2 ** 63 for seed in seeds]


def pasted(source: np.ndarray, edit: np.ndarray, mask: np.ndarray, unit: int) -> np.ndarray:
    """The source (T, D), and the edit (T', D) where the mask (n,) is; over BLEND frames inside each masked part, at
    most half of it, one goes over into the other. Frames behind the last latent stay if that stays."""
    share = np.zeros(len(edit))                                          # of the edit, in each frame
    for first, last in parts_of(mask):
        first, last = first * unit, last * unit
        ramp = min(BLEND, (last - first) // 2)
        rising = (np.arange(ramp) + 1) / (ramp + 1)
        rising = rising * rising * (3 - 2 * rising)
        share[first:last] = 1
        if first > 0:
            share[first:first + ramp] = rising
        if last < len(edit):
            share[last - ramp:last] = rising[::-1]
    found = (1 - share[:, None]) * source[:len(edit)] + share[:, None] * edit
    return np.concatenate([found, source[len(edit):] if not mask[-1] else source[:0]]).astype(np.float32)


def parts_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """The runs of a mask (n,): the first latent of each, and one past its last."""
    steps = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist()))


def mask_of(intervals: Sequence[str], latents: int, unit: int) -> np.ndarray:
    """What is to be regenerated, as users say it -> mask (n,) of the latents of a motion.

    intervals  "0.3,0.7": shares of the motion; "40,80": frames, each rounded down to whole latents of `unit` frames
    raises     ValueError for an interval that is no such pair, is empty, lies outside or over another
    """
    mask = np.zeros(latents, dtype=bool)
    for text in intervals:
        parts = text.split(",")
        try:
            shares = any("." in part or "e" in part.lower() for part in parts)
            first, last = map(float if shares else int, parts)
        except ValueError:
            raise ValueError(f"the mask {text!r}: expected two numbers, shares as 0.3,0.7 or frames as 40,80") from None
        most = 1.0 if shares else latents * unit + unit - 1
        if not 0 <= first <= last <= most:
            raise ValueError(f"the mask {text!r}: expected a beginning and an end within 0 and {most}")
        first, last = (int(end * latents) if shares else min(int(end) // unit, latents) for end in (first, last))
        if first == last:
            raise ValueError(f"the mask {text!r} holds no latent ({unit} frames each): make it longer")
        if mask[first:last].any():
            raise ValueError(f"the mask {text!r} lies over one before: give intervals apart")
        mask[first:last] = True
    if not mask.any():
        raise ValueError("there is no mask: give one, such as --mask 0.3,0.7")
    return mask
