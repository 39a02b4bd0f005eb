"""What an evaluation during training shows beside the losses: how motions are judged, and GIFs of some.

N motions, T frames, D channels of an embedding.
"""

from collections.abc import Sequence
from copy import deepcopy
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dataset.clips import Clip, load_clips, own_or_data, with_statistics
from dataset.motion_texts import POOL, SHORTEST, MotionTexts
from Evaluator_272.checkpoints import load_evaluator
from Evaluator_272.judge import Judge
from Evaluator_272.metrics import frechet_distance, pooled_r_precision
from generation.pipeline import MotionStreamer
from generation.protocols import Generator
from models.causal_tae import FRAMES_PER_LATENT, CausalTAE
from models.checkpoints import load_tae
from models.mosa.text import ClipText
from models.text_encoder import TextEncoder
from models.transformer import StreamingTransformer
from motion.footing import grounded_pose
from motion.render import in_a_row, render_frames
from motion.representation_272 import DIM, FPS
from options.data import Data
from options.sampling import Calibration, Compute, Sampling
from utils.distributed import rank

LONGEST = 299                      # frames of a motion that is judged
QUICKLY = Sampling(steps=10, solver="dpm++")
LARGEST = 10.0                     # metres, or what else a channel holds: no person's motion has more
SHOWN = 3                          # motions that are drawn beside the real ones
SHOWN_FRAMES, EVERY = 150, 3       # of a GIF's motion, and from one picture to the next: 10 a second
SIZE = (160, 160)                  # pixels of each motion in a GIF


class Watch:
    """A fixed choice of held-out motions and captions, to which a generator's motions are compared again and again.

    clips         whole clips, not normalised
    tae           decodes an AR model's latents, and has its statistics; None: other generators come whole
    text_encoder  needed here only: it is released, and what it gave is kept
    count         motions; of these the first SHOWN are drawn
    """

    def __init__(self, clips: Sequence[Clip], tae: CausalTAE | None, text_encoder: TextEncoder | ClipText, judge: Judge,
                 count: int):
        self.tae, self.text_encoder, self.judge = tae, text_encoder, judge
        rng = np.random.default_rng(0)
        items = MotionTexts(clips, np.zeros(DIM), np.ones(DIM), SHORTEST, LONGEST).items
        items = [items[index] for index in rng.permutation(len(items))[:count]]
        self.real = [item.motion[:len(item.motion) // FRAMES_PER_LATENT * FRAMES_PER_LATENT] for item in items]
        self.captions = [item.texts[rng.integers(len(item.texts))] for item in items]
        text_encoder([*self.captions, ""])
        text_encoder.release()
        self.of_real = judge.over_ranks(len(items), lambda part: judge.motions([self.real[index] for index in part]))
        self.of_texts = judge.over_ranks(len(items), lambda part: judge.texts([self.captions[index] for index in part]))

    def __call__(self, ar: StreamingTransformer, calibration: Calibration) -> dict[str, float | bytes]:
        """`measure` of an AR model and its TAE."""
        assert self.tae is not None
        return self.measure(MotionStreamer(deepcopy(self.tae), deepcopy(ar), self.text_encoder, calibration, QUICKLY,
                                           Compute(next(ar.parameters()).device.type)))

    def measure(self, model: Generator) -> dict[str, float | bytes]:
        """FID to the real motions and R@3 of as many generated ones, and on rank 0 GIFs; every rank calls it.

        For so few motions FID is mostly bias: compare it along a run, not with eval_t2m.py's.
        """
        by_length = np.argsort([-len(motion) for motion in self.real], kind="stable")    # for batches of like length
        embedded = self.judge.over_ranks(len(by_length), lambda part: self.judge.motions(
            self.generate(model, by_length[part.start:part.stop])))
        found = embedded[np.argsort(by_length)]
        precision = pooled_r_precision(self.of_texts, found, min(POOL, len(found)))
        metrics = {"FID": frechet_distance(self.of_real, found), "R@3": float(precision[-1])}
        return metrics | (self.draw(model) if rank() == 0 else {})

    def generate(self, model: Generator, chosen: Sequence[int]) -> list[np.ndarray]:
        """A motion (T, 272) for each chosen caption, as long as the real one; the same noise every time.

        A network that has hardly learnt may go beyond all bounds: then its motion ends at these.
        """
        motions = model.generate_batch([self.captions[index] for index in chosen], [int(index) for index in chosen],
                                       [len(self.real[index]) for index in chosen])
        return [np.nan_to_num(motion, posinf=LARGEST, neginf=-LARGEST).clip(-LARGEST, LARGEST) for motion in motions]

    def draw(self, model: Generator) -> dict[str, bytes]:
        """Caption -> GIF of the real and the generated motion."""
        chosen = range(min(SHOWN, len(self.real)))
        return {f"{index + 1} {self.captions[index]}": side_by_side(dict(real=self.real[index], generated=motion))
                for index, motion in zip(chosen, self.generate(model, chosen))}


def load_watch(evaluator: Path | str, tae: Path | str | None, text_encoder: TextEncoder | ClipText, data: Data,
               count: int, device: torch.device) -> Watch:
    """Read all else that a Watch needs; the motions are of the split val. Errors as of what is read."""
    network, *statistics = load_evaluator(evaluator)
    mean, std = own_or_data(*statistics, data)
    judge = Judge(network.to(device), mean.numpy(), std.numpy(), hash="", batch=POOL, cache=Path())      # caches none
    decoder = with_statistics(load_tae(tae), data) if tae else None
    return Watch(load_clips(data, "val"), decoder, text_encoder, judge, count)


def side_by_side(motions: dict[str, np.ndarray]) -> bytes:
    """A GIF of the first seconds of motions (T, 272), denormalised, each under its name, all as long as the shortest.

    One palette serves all its pictures, so that nothing flickers and the file stays small.
    """
    drawn = [render_frames(*drawable(motion[:SHOWN_FRAMES]), name, size=SIZE,
                           frames=range(0, min(len(motion), SHOWN_FRAMES), EVERY)) for name, motion in motions.items()]
    pictures = [in_a_row(parts) for parts in zip(*drawn)]
    palette, gif = pictures[0].quantize(), BytesIO()
    first, *others = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    first.save(gif, "GIF", save_all=True, append_images=others, duration=1000 * EVERY // FPS, loop=0)
    return gif.getvalue()


def drawable(motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pose of a motion (T, 272) that may have exploded: where it has no rotation, a joint is not turned."""
    rotations, pelvis = grounded_pose(motion)
    return np.where(np.isfinite(rotations), rotations, np.eye(3)), np.nan_to_num(pelvis)
