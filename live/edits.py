"""MoSa beside the live character: whole clips, and edits of a stretch of what was made.

T frames, L latents of four.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from generation.mosa import MoSa
from generation.pipeline import MotionStreamer
from live import files
from live.reader import forget
from live.session import REACH
from live.shown import FRAMES, Shown, join
from live.studio import encode_motion
from models.text_encoder import TextEncoder
from motion.representation_272 import DIM, FPS


AROUND = 4      # latents before and behind a stretch, where there are any, that MoSa sees at least: it has to fit in


class Edit(NamedTuple):
    """A motion with a stretch that was made again: all that is shown from its first latent on, the latents of the
    stretch (L, C), and behind which piece of the motion as it was this ends."""

    first: int
    shown: list[Shown]
    latents: Tensor
    text: str
    last: Shown


class Editor:
    """Makes one clip or edit after another: call it where waiting is allowed.

    model   the live character's, whose latents a clip needs so that the character can go on from it
    raises  ValueError for a MoSa of another representation
    """

    def __init__(self, mosa: MoSa, model: Callable[[], MotionStreamer]):
        if (mosa.tokenizer.config.channels, mosa.tokenizer.frames_per_code) != (DIM, FRAMES):
            raise ValueError(f"--mosa has motions of {mosa.tokenizer.config.channels} channels, "
                             f"{mosa.tokenizer.frames_per_code} frames a latent: expected {DIM} and {FRAMES}.")
        self.mosa, self.model, self.lock = mosa, model, threading.Lock()
        self.most = mosa.longest // FRAMES
        if isinstance(mosa.text_encoder, TextEncoder):
            mosa.text_encoder.on_disk = False                        # it may be others' sentences

    def clip(self, text: str, seconds: float | None, seed: int,
             wanted: files.Wanted = files.always) -> tuple[list[Shown], Tensor]:
        """A whole clip: what is shown of it, and its latents (L, C). None: as long as such clips are."""
        frames = None if seconds is None else min(max(round(seconds * FPS / FRAMES), 1), self.most) * FRAMES
        with self.lock:
            forget(self.mosa.text_encoder)
            motion = self.mosa.generate(text, seed, frames)
        return files.show_motion(motion, wanted=wanted), encode_motion(self.model(), motion)

    def edit(self, shown: Sequence[Shown], mark: tuple[int, int], text: str, seed: int,
             wanted: files.Wanted = files.always) -> Edit:
        """Let something else happen from frame mark[0] to mark[1] of a motion, in whole latents. ValueError for a
        stretch that is too long or outside, and for a motion that is too short to be changed."""
        first, end = mark[0] // FRAMES, min(mark[1] // FRAMES + 1, len(shown))
        if end <= first:
            raise ValueError(f"the mark holds nothing of this motion of {len(shown) * FRAMES / FPS:.1f} s: mark a "
                             "stretch of it")
        most = self.most - min(first, AROUND) - min(len(shown) - end, AROUND)
        if end - first > most:
            raise ValueError(f"the mark has {(end - first) * FRAMES / FPS:.1f} s: expected at most "
                             f"{most * FRAMES / FPS:.1f} s")
        begin = max(min(first - (self.most - end + first) // 2, len(shown) - self.most), 0)
        source = join(shown[begin:begin + self.most]).motion
        mask = np.zeros(len(source) // FRAMES, dtype=bool)
        mask[first - begin:end - begin] = True
        with self.lock:
            forget(self.mosa.text_encoder)
            edited, = self.mosa.edit(source, mask, text, [seed])
        new = edited[FRAMES * (first - begin):FRAMES * (end - begin)]
        past = join(shown[max(first - REACH, 0):first]).motion
        latents = encode_motion(self.model(), np.concatenate([past, new]))[-(end - first):]
        tail = np.concatenate([new, join(shown[end:]).motion])
        return Edit(first, files.show_motion(tail, shown[0].start, shown[first - 1] if first else None, wanted),
                    latents, text, shown[-1])
