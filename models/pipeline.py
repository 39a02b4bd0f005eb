"""Sentence in, motion out: text encoder, AR model and TAE as one thing.

B sentences, L latents, C latent channels, T frames.
"""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.causal_tae import FRAMES_PER_LATENT, CausalTAE
from models.checkpoints import load_ar, load_tae
from models.precision import at_precision
from models.streamer import LatentStreams, Row, StreamingTransformer, noise_of
from models.text_encoder import TextEncoder
from motion.representation_272 import DIM
from options.models import Drawing, Sampling
from utils.distributed import pick_device


class MotionStreamer:
    """Generates 272-channel motion from sentences.

    mean, std  (272,) of the TAE's training set; generated motion is returned denormalised
    precision  of the networks' products, as `models.precision` has them; tae and ar serve inference only from then on
    """

    def __init__(self, tae: CausalTAE, ar: StreamingTransformer, text_encoder: TextEncoder, mean: Tensor, std: Tensor,
                 sampling: Sampling = Sampling(), device: str = "auto", precision: str = "float32"):
        if tae.config.latent_dim != ar.config.latent_dim or len(sampling.end_latent) != tae.config.latent_dim:
            raise ValueError(f"the TAE has {tae.config.latent_dim} latent channels, the AR model "
                             f"{ar.config.latent_dim}, the end latent {len(sampling.end_latent)}: "
                             "use models of one training")
        if (text_encoder.dim, text_encoder.tokens) != (ar.config.text_dim, ar.config.text == "tokens"):
            raise ValueError(f"the text encoder {text_encoder.name} gives {'tokens' if text_encoder.tokens else 'a vector'} "
                             f"of {text_encoder.dim} channels, the AR model reads {ar.config.text} of "
                             f"{ar.config.text_dim}: give the --text-encoder it was trained with")
        self.device = pick_device(device)
        self.tae, self.ar = (at_precision(network.to(self.device), precision) for network in (tae, ar))
        self.text_encoder = text_encoder
        self.mean, self.std = mean.to(self.device), std.to(self.device)
        self.sampling = sampling

    @classmethod
    def from_pretrained(cls, folder: Path | str, device: str = "auto",
                        text_encoder: TextEncoder | None = None, precision: str = "float32") -> "MotionStreamer":
        """Load a folder with the checkpoints `tae/` and `ar/`; `text_encoder` saves loading its own again."""
        tae, mean, std = load_tae(Path(folder) / "tae")
        ar, sampling, encoder = load_ar(Path(folder) / "ar")
        text_encoder = text_encoder or text_encoder_of(ar, encoder, pick_device(device))
        return cls(tae, ar, text_encoder, mean, std, sampling, device, precision)

    @property
    def longest(self) -> int:
        """Frames of the longest motion that ends by itself: the context holds the text and its latents."""
        return self.ar.most_latents * FRAMES_PER_LATENT

    def generate(self, text: str, seed: int = 0, length: int | None = None, guidance: float | None = None,
                 temperature: float | None = None) -> np.ndarray:
        """One sentence -> motion (T, 272), denormalised float32 at 30 fps.

        length  frames; None: the model ends by itself, at the latest after `longest` frames
        Arguments left out take the values stored with the model. Errors as in `generate_batch`.
        """
        return self.generate_batch([text], [seed], length, guidance, temperature)[0]

    def generate_batch(self, texts: Sequence[str], seeds: Sequence[int],
                       length: int | Sequence[int | None] | None = None, guidance: float | None = None,
                       temperature: float | None = None, progress: Callable[[int], object] | None = None
                       ) -> list[np.ndarray]:
        """Sentences and seeds, one each -> motions [(T_i, 272)]. A motion does not depend on its neighbours.

        length    as in `generate`, one for all or one for each
        progress  called again and again, with how many frames of all motions are new
        raises    ValueError for an empty sentence or a length below 1
        """
        wanted = [length] * len(texts) if length is None or isinstance(length, int) else list(length)
        if not len(texts) == len(seeds) == len(wanted):
            raise ValueError(f"{len(texts)} sentences, {len(seeds)} seeds and {len(wanted)} lengths: expected one seed "
                             "and one length for each sentence")
        for text, frames in zip(texts, wanted):
            check_prompt(text)
            check_length(frames)
        if not texts:
            return []
        latents = self.draw_latents(texts, seeds, wanted, self.sampling_with(guidance, temperature), progress)
        motions = self.decode(torch.nn.utils.rnn.pad_sequence(latents, batch_first=True))
        frames = [given or len(drawn) * FRAMES_PER_LATENT for given, drawn in zip(wanted, latents)]
        return [motion[:count].cpu().numpy() for motion, count in zip(motions, frames)]

    def draw_latents(self, texts: Sequence[str], seeds: Sequence[int], wanted: Sequence[int | None],
                     sampling: Sampling, progress: Callable[[int], object] | None = None) -> list[Tensor]:
        """The latents [(L_i, C)] of each motion, in the AR model's units.

        wanted  frames of each, which it then has; one of None ends by itself; progress as in `generate_batch`
        """
        streams, embedded = LatentStreams(self.ar, sampling, self.empty), self.embed(texts)
        rows = [self.new_row(text, seed, hold=frames is not None)
                for text, seed, frames in zip(embedded, seeds, wanted)]
        for row in rows:
            streams.start(row)
        drawn: dict[Row, list[Tensor]] = {row: [] for row in rows}
        counts = {row: -(-(frames or self.longest) // FRAMES_PER_LATENT) for row, frames in zip(rows, wanted)}
        while streams.rows:
            latents, over = streams.step()
            for row, latent in zip(streams.rows, latents):
                if row not in over:
                    drawn[row].append(latent)
            if progress:
                progress(FRAMES_PER_LATENT * (len(streams.rows) - len(over)))
            if done := [row for row in streams.rows if row in over or len(drawn[row]) == counts[row]]:
                streams.drop(done)
        return [torch.stack(latents) for latents in drawn.values()]

    def embed(self, texts: Sequence[str]) -> Tensor:
        """The sentences' embeddings (N, text_dim), or token states (N, tokens, text_dim)."""
        return self.text_encoder(list(texts)).to(self.device)

    @cached_property
    def empty(self) -> Tensor:
        """What the empty text, against which guidance weighs, becomes."""
        return self.embed([""])[0]

    def new_row(self, text: Tensor, seed: int, hold: bool, past: Tensor | None = None) -> Row:
        """A stream of latents that begins; `past` (L, C) are those already shown."""
        channels = self.ar.config.latent_dim
        past = text.new_empty(0, channels) if past is None else past
        return Row(text, past, noise_of(seed, channels), hold)

    def sampling_with(self, guidance: float | None, temperature: float | None) -> Sampling:
        """What is stored with the model, but for what is given."""
        return Drawing(guidance, temperature).over(self.sampling)

    @torch.inference_mode()
    def decode(self, latents: Tensor, cache: dict | None = None) -> Tensor:
        """latents (B, L, C) in the AR model's units -> motion (B, 4L, 272), denormalised; `cache` as the TAE's."""
        return self.tae.decode(latents * self.sampling.latent_scale, cache) * self.std + self.mean

    @torch.inference_mode()
    def encode(self, motion: np.ndarray) -> Tensor:
        """The end of a motion (T, 272), denormalised -> its latents (L, C) in the AR model's units.

        As many as the context holds, of whole latents: up to three frames in front are left out.
        raises   ValueError for another shape, less than a latent, or values that are not finite
        """
        motion = np.asarray(motion, dtype=np.float32)
        if motion.ndim != 2 or motion.shape[1] != DIM or len(motion) < FRAMES_PER_LATENT:
            raise ValueError(f"a past of shape {motion.shape}: expected (T, {DIM}), T at least {FRAMES_PER_LATENT}")
        if not np.isfinite(motion).all():
            raise ValueError("the past has values that are not finite (NaN or infinity): give a motion without")
        frames = min(len(motion) // FRAMES_PER_LATENT * FRAMES_PER_LATENT, self.longest)
        last = (torch.from_numpy(motion[-frames:]).to(self.device) - self.mean) / self.std
        return self.tae.encode(last[None])[0][0] / self.sampling.latent_scale

    def streams(self, guidance: float | None = None, temperature: float | None = None) -> "MotionStreams":
        """Several characters in one batch, none of them yet; arguments left out take the stored values."""
        return MotionStreams(self, self.sampling_with(guidance, temperature))

    def stream(self, text: str, seed: int = 0, guidance: float | None = None, temperature: float | None = None,
               past: np.ndarray | None = None, hold: bool = False) -> "MotionStream":
        """A character that moves while the model thinks: each `next()` gives four frames (4, 272), denormalised.

            stream = model.stream("a person walks", seed=1)
            for frames in stream:
                show(frames)

        past  motion (T, 272) that the stream goes on from
        hold  go on when the prompt's motion is over, instead of ending
        Arguments left out take the values stored with the model. Errors as in `MotionStreams.start`.
        """
        return self.streams(guidance, temperature).start(text, seed, past, hold)


def text_encoder_of(ar: StreamingTransformer, name: str, device: str | torch.device,
                    on_disk: bool = True) -> TextEncoder:
    """The text encoder of this name that gives what an AR model reads."""
    return TextEncoder(name, device, on_disk=on_disk, tokens=ar.config.text == "tokens")


class MotionStreams:
    """Characters that move at once, in one batch; each can start, change its prompt, stop and end at any time.

        streams = model.streams()
        walker, dancer = streams.start("walk", seed=1), streams.start("dance", seed=2, hold=True)
        frames = next(streams)             # {walker: (4, 272), dancer: (4, 272)}

    `next` draws one latent for each character that moves; when none does, it raises StopIteration. Calls from
    several threads wait for one another: a prompt that comes while a latent is drawn holds from the next one on.
    """

    def __init__(self, model: MotionStreamer, sampling: Sampling):
        self.model = model
        self.latents = LatentStreams(model.ar, sampling, model.empty)
        self.moving: dict[Row, MotionStream] = {}      # the streams of latents.rows
        self.lock = threading.RLock()

    def start(self, text: str, seed: int = 0, past: np.ndarray | None = None, hold: bool = False) -> "MotionStream":
        """Add a character; arguments as in `MotionStreamer.stream`. What it does depends on these alone.

        raises   ValueError for an empty prompt, and for a past of another shape than (T, 272) with T >= 4
        """
        check_prompt(text)
        shown, decoder = None, self.model.tae.new_cache(1, self.model.device)
        if past is not None:
            shown = self.model.encode(past)
            self.model.decode(shown[None], decoder)    # these frames were seen; the next ones need their context
        stream = MotionStream(self, self.model.new_row(self.model.embed([text])[0], seed, hold, shown), decoder)
        with self.lock:
            self.latents.start(stream.row)
            self.moving[stream.row] = stream
        return stream

    def __iter__(self) -> "MotionStreams":
        return self

    def __next__(self) -> dict["MotionStream", np.ndarray]:
        with self.lock:
            while self.moving:
                latents, over = self.latents.step()
                found = {self.moving[row]: latent for row, latent in zip(self.latents.rows, latents) if row not in over}
                self.rest(over)
                if found:
                    return dict(zip(found, self.decode(list(found), torch.stack(list(found.values())))))
            raise StopIteration

    def rest(self, rows: Sequence[Row]) -> None:
        """These characters' motions are over; a prompt makes them go on from there."""
        if rows:
            self.latents.drop(rows)
        for row in rows:
            del self.moving[row]

    def decode(self, streams: "list[MotionStream]", latents: Tensor) -> np.ndarray:
        """The next latent (R, C) of each of some streams -> frames (R, 4, 272)."""
        cache = {layer: torch.cat([stream.decoder[layer] for stream in streams]) for layer in streams[0].decoder}
        frames = self.model.decode(latents[:, None], cache).cpu().numpy()
        for place, stream in enumerate(streams):
            stream.decoder = {layer: context[place:place + 1].clone() for layer, context in cache.items()}
        return frames


class MotionStream:
    """One character of `MotionStreams`. If it is the only one that moves, `next(stream)` gives its frames (4, 272)."""

    def __init__(self, streams: MotionStreams, row: Row, decoder: dict[nn.Module, Tensor]):
        self.streams, self.row, self.decoder = streams, row, decoder

    def prompt(self, text: str) -> None:
        """Do something else, from the next latent on; a character at rest moves again.

        raises   ValueError for an empty prompt. Words beyond what the text encoder reads count for nothing.
        """
        check_prompt(text)
        embedded = self.streams.model.embed([text])[0]    # outside the lock: frames go on meanwhile
        with self.streams.lock:
            if self.at_rest:
                self.row.text, self.row.since_prompt = embedded, 0
                self.streams.latents.start(self.row)
                self.streams.moving[self.row] = self
            else:
                self.streams.latents.prompt(self.row, embedded)

    def stop(self) -> None:
        """Come to rest: no more frames until the next prompt."""
        with self.streams.lock:
            if not self.at_rest:
                self.streams.rest([self.row])

    @property
    def at_rest(self) -> bool:
        """Whether the prompt's motion is over, by itself or by `stop`."""
        return self.row not in self.streams.moving

    def __iter__(self) -> "MotionStream":
        return self

    def __next__(self) -> np.ndarray:
        with self.streams.lock:
            if self.at_rest:
                raise StopIteration
            if len(self.streams.moving) > 1:
                raise ValueError(f"this stream moves beside {len(self.streams.moving) - 1} others: pull them together "
                                 "with next(streams)")
            return next(self.streams)[self]


def check_prompt(text: str) -> None:
    """ValueError if there is nothing in it."""
    if not text.strip():
        raise ValueError("the prompt is empty: say what the character does, e.g. --text 'a person walks'")


def check_length(length: int | None) -> None:
    """ValueError unless `length` is None or a number of frames."""
    if length is not None and length < 1:
        raise ValueError(f"a length of {length} frames: expected 1 or more (30 frames are one second)")
