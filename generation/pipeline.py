"""Sentence in, motion out: text encoder, AR model and TAE as one thing.

B sentences, L latents, C latent channels, T frames.
"""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dataset.clips import with_statistics
from generation.fast import accelerate
from generation.fast.cache import Cache
from generation.fast.graphs import Graphs
from generation.parts import parts_of
from generation.streams import LatentStreams, Row, noise_of
from models.causal_tae import CausalTAE
from models.checkpoints import load_ar, load_tae
from models.text_encoder import TextEncoder
from models.transformer import StreamingTransformer
from motion.representation_272 import DIM
from options.data import Data
from options.sampling import Calibration, Compute, Sampling, SamplingFlags
from utils.distributed import pick_device

SHIPPED = Path(__file__).parents[1] / "weights" / "mocap_stream"


class MotionStreamer:
    """Generates 272-channel motion from sentences.

    tae          with its statistics; tae and ar are accelerated, and serve inference only from then on
    calibration  of the AR model's latents, from its checkpoint
    sampling     how to sample where a call does not say
    compute      where and how to run
    """

    def __init__(self, tae: CausalTAE, ar: StreamingTransformer, text_encoder: TextEncoder,
                 calibration: Calibration = Calibration(), sampling: Sampling = Sampling(),
                 compute: Compute = Compute()):
        if tae.config.latent_dim != ar.config.latent_dim or len(calibration.end_latent) != tae.config.latent_dim:
            raise ValueError(f"the TAE has {tae.config.latent_dim} latent channels, the AR model "
                             f"{ar.config.latent_dim}, the end latent {len(calibration.end_latent)}: "
                             "use models of one training")
        if (text_encoder.dim, text_encoder.tokens) != (ar.config.text_dim, ar.config.text == "tokens"):
            given = "tokens" if text_encoder.tokens else "a vector"
            raise ValueError(f"the text encoder {text_encoder.name} gives {given} of {text_encoder.dim} channels, the "
                             f"AR model reads {ar.config.text} of {ar.config.text_dim}: give the --text-encoder it was "
                             "trained with")
        self.device = pick_device(compute.device)
        self.tae = accelerate(tae.to(self.device), compute.precision)
        self.ar = accelerate(ar.to(self.device), compute.precision, compute.tolerance, calibration.fitted)
        if compute.cuda_graphs and self.device.type != "cuda":
            raise ValueError(f"CUDA graphs need a CUDA GPU, the device is {self.device}: leave --cuda-graphs out")
        self.graphs = Graphs() if compute.cuda_graphs else None
        self.text_encoder, self.calibration, self.sampling = text_encoder, calibration, sampling

    @classmethod
    def from_pretrained(cls, folder: Path | str, device: str = "auto", text_encoder: TextEncoder | None = None,
                        precision: str = "float32", tolerance: float | None = None,
                        cuda_graphs: bool = False) -> "MotionStreamer":
        """Load a folder with the checkpoints `tae/` and `ar/`; `text_encoder` saves loading its own again. The others
        are as in `Compute`."""
        tae, ar = load_tae(Path(folder) / "tae"), load_ar(Path(folder) / "ar")
        text_encoder = text_encoder or text_encoder_of(ar.model, ar.text_encoder, pick_device(device))
        return cls(tae, ar.model, text_encoder, ar.calibration, ar.sampling,
                   Compute(device, precision, tolerance, cuda_graphs))

    @classmethod
    def load(cls, tae: Path | str, ar: Path | str, data: Data, flags: SamplingFlags = SamplingFlags(),
             text_encoder: str | None = None, text_device: str | None = None,
             compute: Compute = Compute()) -> "MotionStreamer":
        """As scripts do: from our checkpoint folders or the authors' files, with the options of their caller.

        data  the data set whose statistics the authors' TAE needs
        """
        decoder, found = with_statistics(load_tae(tae), data), load_ar(ar)
        encoder = text_encoder_of(found.model, text_encoder or found.text_encoder,
                                  pick_device(text_device or compute.device))
        return cls(decoder, found.model, encoder, found.calibration, flags.over(found.sampling), compute)

    @property
    def longest(self) -> int:
        """Frames of the longest motion of one thing that ends by itself: the context holds the text and its latents."""
        return self.ar.most_latents * self.tae.frames_per_code

    def generate(self, text: str, seed: int = 0, length: int | None = None, sampling: Sampling | None = None,
                 **changes: float | str | None) -> np.ndarray:
        """One sentence -> motion (T, 272), denormalised float32 at 30 fps.

        length    frames; None: the model ends by itself, at the latest after `longest` frames
        sampling  how to sample; None: as is stored with the model
        changes   of that, by name: steps=10, solver="dpm++"; one of None changes nothing
        Errors as in `generate_batch`.
        """
        return self.generate_batch([text], [seed], length, sampling, **changes)[0]

    def generate_batch(self, texts: Sequence[str], seeds: Sequence[int],
                       lengths: int | Sequence[int | None] | None = None, sampling: Sampling | None = None,
                       progress: Callable[[int], object] | None = None,
                       **changes: float | str | None) -> list[np.ndarray]:
        """Sentences and seeds, one each -> motions [(T_i, 272)]. A motion does not depend on its neighbours.

        lengths   as in `generate`, one for all or one for each; sampling and changes likewise
        progress  called again and again, with how many frames of all motions are new
        raises    ValueError for an empty sentence, a length below 1, and a sampling that cannot be
        """
        wanted = [lengths] * len(texts) if lengths is None or isinstance(lengths, Real) else list(lengths)
        if not len(texts) == len(seeds) == len(wanted):
            raise ValueError(f"{len(texts)} sentences, {len(seeds)} seeds and {len(wanted)} lengths: expected one seed "
                             "and one length for each sentence")
        for text, frames in zip(texts, wanted):
            check_prompt(text)
            check_length(frames)
        wanted = [None if frames is None else whole(frames, "length") for frames in wanted]
        if not texts:
            return []
        latents = self.sample_latents(texts, seeds, wanted, self.sampling_with(sampling, changes), progress)
        motions = self.decode(torch.nn.utils.rnn.pad_sequence(latents, batch_first=True))
        frames = [given or len(found) * self.tae.frames_per_code for given, found in zip(wanted, latents)]
        return [motion[:count].cpu().numpy() for motion, count in zip(motions, frames)]

    def sample_latents(self, texts: Sequence[str], seeds: Sequence[int], wanted: Sequence[int | None],
                       sampling: Sampling, progress: Callable[[int], object] | None = None) -> list[Tensor]:
        """The latents [(L_i, C)] of each motion, in the AR model's units.

        wanted  frames of each, which it then has; one of None ends by itself; progress as in `generate_batch`
        """
        streams, counts = self.latent_streams(sampling), dict[Row, int]()
        for prompts, seed, frames in zip(self.read(texts, sampling), seeds, wanted):
            row = self.new_row(prompts, seed, hold=frames is not None)
            counts[row] = -(-(frames or len(prompts) * self.longest) // self.tae.frames_per_code)
            row.each = min(row.each, -(-counts[row] // len(prompts)))
            streams.start(row)
        sampled: dict[Row, list[Tensor]] = {row: [] for row in counts}
        while streams.rows:
            latents, over = streams.step()
            for row, latent in zip(streams.rows, latents):
                if row not in over:
                    sampled[row].append(latent)
            if progress:
                progress(self.tae.frames_per_code * (len(streams.rows) - len(over)))
            if done := [row for row in streams.rows if row in over or len(sampled[row]) == counts[row]]:
                streams.drop(done)
        return [torch.stack(latents) for latents in sampled.values()]

    def latent_streams(self, sampling: Sampling) -> LatentStreams:
        return LatentStreams(self.ar, self.calibration, sampling, self.empty, self.graphs)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """The sentences' embeddings (N, text_dim), or token states (N, tokens, text_dim)."""
        return self.text_encoder(list(texts)).to(self.device)

    def read(self, texts: Sequence[str], sampling: Sampling | None = None) -> list[list[Tensor]]:
        """The embeddings of what each sentence says one after another; of the whole, if `sampling` does not part it."""
        parts = [parts_of(text) if (sampling or self.sampling).parts else [text] for text in texts]
        embedded = iter(self.embed([part for of_text in parts for part in of_text]))
        return [[next(embedded) for _ in of_text] for of_text in parts]

    @cached_property
    def empty(self) -> Tensor:
        """What the empty text, against which guidance weighs, becomes."""
        return self.embed([""])[0]

    def new_row(self, texts: Sequence[Tensor], seed: int, hold: bool, past: Tensor | None = None) -> Row:
        """A stream of latents that begins, under one prompt or some in turn; `past` (L, C) are those seen before."""
        channels = self.ar.config.latent_dim
        past = texts[0].new_empty(0, channels) if past is None else past
        noise, each = noise_of(whole(seed, "seed"), channels), self.ar.most_latents // 2
        return Row(texts[0], past, noise, hold, list(texts[1:]), each)

    def sampling_with(self, sampling: Sampling | None, changes: dict[str, float | str | None]) -> Sampling:
        """The given sampling, or the stored one, but for the changes; ValueError if it cannot be."""
        sampling = (sampling or self.sampling).but(**changes)
        self.ar.head.plan(sampling.steps, sampling.solver)
        return sampling

    @torch.inference_mode()
    def decode(self, latents: Tensor, cache: dict | None = None) -> Tensor:
        """latents (B, L, C) in the AR model's units -> motion (B, 4L, 272), denormalised; `cache` as the TAE's."""
        return self.tae.decode(latents * self.calibration.latent_scale, cache)

    @torch.inference_mode()
    def encode(self, motion: np.ndarray) -> Tensor:
        """The end of a motion (T, 272), denormalised -> its latents (L, C) in the AR model's units.

        As many as the context holds, of whole latents: up to three frames in front are left out.
        raises   ValueError for another shape, less than a latent, or values that are not finite
        """
        motion = np.asarray(motion, dtype=np.float32)
        if motion.ndim != 2 or motion.shape[1] != DIM or len(motion) < self.tae.frames_per_code:
            raise ValueError(f"a past of shape {motion.shape}: expected (T, {DIM}), T at least "
                             f"{self.tae.frames_per_code}")
        if not np.isfinite(motion).all():
            raise ValueError("the past has values that are not finite (NaN or infinity): give a motion without")
        frames = min(len(motion) // self.tae.frames_per_code * self.tae.frames_per_code, self.longest)
        last = torch.from_numpy(motion[-frames:]).to(self.device)
        return self.tae.encode(last[None])[0] / self.calibration.latent_scale

    def streams(self, sampling: Sampling | None = None, **changes: float | str | None) -> "MotionStreams":
        """Several characters in one batch, none of them yet; how to sample as in `generate`."""
        return MotionStreams(self, self.sampling_with(sampling, changes))

    def stream(self, text: str, seed: int = 0, past: np.ndarray | Tensor | None = None, hold: bool = False,
               sampling: Sampling | None = None, **changes: float | str | None) -> "MotionStream":
        """A character that moves while the model thinks: each `next()` gives four frames (4, 272), denormalised.

            stream = model.stream("a person walks", seed=1)
            for frames in stream:
                show(frames)

        past  motion (T, 272) that the stream goes on from
        hold  go on when the prompt's motion is over, instead of ending
        How to sample as in `generate`. Errors as in `MotionStreams.start`.
        """
        return self.streams(sampling, **changes).start(text, seed, past, hold)


def text_encoder_of(ar: StreamingTransformer, name: str, device: str | torch.device,
                    on_disk: bool = True) -> TextEncoder:
    """The text encoder of this name that gives what an AR model reads."""
    return TextEncoder(name, device, on_disk=on_disk, tokens=ar.config.text == "tokens")


class MotionStreams:
    """Characters that move at once, in one batch; each can start, change its prompt, stop and end at any time.

        streams = model.streams()
        walker, dancer = streams.start("walk", seed=1), streams.start("dance", seed=2, hold=True)
        frames = next(streams)             # {walker: (4, 272), dancer: (4, 272)}

    `next` samples one latent for each character that moves; when none does, it raises StopIteration. Calls from
    several threads wait for one another: a prompt that comes while a latent is sampled holds from the next one on.
    """

    def __init__(self, model: MotionStreamer, sampling: Sampling):
        self.model = model
        self.latents = model.latent_streams(sampling)
        self.moving: dict[Row, MotionStream] = {}      # the streams of latents.rows
        self.lock = threading.RLock()

    def start(self, text: str, seed: int = 0, past: np.ndarray | Tensor | None = None,
              hold: bool = False, embedded: Sequence[Tensor] | None = None) -> "MotionStream":
        """Add a character; arguments as in `MotionStreamer.stream`. What it does depends on these alone.

        past      may be latents too, (L, C) with L >= 1, as `MotionStream.latent` gave them
        embedded  what `MotionStreamer.read` made of the text, where that must not be waited for
        raises    ValueError for an empty prompt, and for a past of another shape than (T, 272) with T >= 4
        """
        check_prompt(text)
        shown, decoder = None, self.model.tae.new_cache(1, self.model.device)
        if past is not None:
            shown = past if isinstance(past, Tensor) else self.model.encode(past)
            self.model.decode(shown[None], decoder)    # these frames were seen; the next ones need their context
            shown = shown[-self.model.ar.most_latents:]
        embedded = self.model.read([text], self.latents.sampling)[0] if embedded is None else embedded
        stream = MotionStream(self, self.model.new_row(embedded, seed, hold, shown), decoder)
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
        self.paused: tuple[Tensor, Cache] | None = None

    def prompt(self, text: str) -> None:
        """Do something else, from the next latent on; a character at rest moves again.

        raises   ValueError for an empty prompt. Words beyond what the text encoder reads count for nothing.
        """
        check_prompt(text)
        embedded = self.streams.model.read([text], self.streams.latents.sampling)[0]    # frames go on meanwhile
        with self.streams.lock:
            if self.at_rest:
                self.row.ask(embedded)
                self.paused = None
                self.streams.latents.start(self.row)
                self.streams.moving[self.row] = self
            else:
                self.streams.latents.prompt(self.row, embedded)

    def stop(self) -> None:
        """Come to rest: no more frames until the next prompt."""
        with self.streams.lock:
            self.paused = None
            if not self.at_rest:
                self.streams.rest([self.row])

    def pause(self) -> None:
        """Leave the batch; `resume` goes on as if nothing had been, and so does a prompt."""
        with self.streams.lock:
            if not self.at_rest:
                self.paused = self.streams.latents.take(self.row)
                del self.streams.moving[self.row]

    def resume(self) -> None:
        """Come back into the batch after `pause`."""
        with self.streams.lock:
            if self.paused:
                self.streams.latents.put(self.row, *self.paused)
                self.streams.moving[self.row], self.paused = self, None

    @property
    def at_rest(self) -> bool:
        """Whether no frames come: the prompt's motion is over, by itself or by `stop`, or it pauses."""
        return self.row not in self.streams.moving

    @property
    def latent(self) -> Tensor:
        """The last one (C,), in the AR model's units; a copy."""
        return self.row.latents[-1].clone()

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


def whole(value: Real, what: str) -> int:
    """A whole number as an int, be it NumPy's or 8.0; ValueError for any other and for what has more than 63 bits."""
    good = not isinstance(value, bool) and (isinstance(value, Integral) or isinstance(value, Real) and value % 1 == 0)
    if not good or not -2 ** 63 <= int(value) < 2 ** 63:
        raise ValueError(f"a {what} of {value!r}: expected a whole number of at most 63 bits")
    return int(value)


def check_length(length: int | None) -> None:
    """ValueError unless `length` is None or a number of frames."""
    if length is not None and whole(length, "length") < 1:
        raise ValueError(f"a length of {length} frames: expected 1 or more (30 frames are one second)")
