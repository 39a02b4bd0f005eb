"""What a character is asked: prompts, how each is sampled, and the link that brings all of it back.

L latents of four frames; times in seconds.
"""

import base64
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from options import from_json, to_json
from options.sampling import PRECISIONS, Sampling

TEXT = 300                  # characters of a prompt
MANY = 200                  # prompts of a link, and of a queue
LINK = 16_000               # characters of a link's plan, and bytes of what it unfolds to, each times 8
SECONDS = (0.2, 120.0)      # that a prompt may last
RANGES = dict(guidance=(0.0, 15.0), temperature=(0.0, 2.0), past=(0, 77))
SEEDS = 2 ** 31
STRIDE = 7919               # between the seeds of prompts that begin at neighbouring latents


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Settings:
    """How a prompt's motion is sampled.

    precision  of the linear layers, one of PRECISIONS
    hold       go on when the motion is over, instead of coming to rest
    """

    sampling: Sampling = Sampling()
    precision: str = "float32"
    seed: int = 0
    hold: bool = True

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self.sampling, name)
            if not _number(value) or not least <= value <= most:
                raise ValueError(f"{name} is {value}: expected {least} to {most}")
        if not isinstance(self.seed, int) or not 0 <= self.seed < SEEDS:
            raise ValueError(f"the seed is {self.seed}: expected a whole number from 0 to {SEEDS - 1}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"the precision is {self.precision!r}: expected one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True)
class Prompt:
    """A sentence, and when it holds.

    seconds  how long it holds if something waits behind it; None: until its motion is over, and then what waits begins
    at       the latent from which it holds; None: as soon as the one before is done
    read     what the text encoder made of it, from when that was done until it begins
    """

    text: str
    settings: Settings = Settings()
    seconds: float | None = None
    at: int | None = None
    read: list[Tensor] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise ValueError("the prompt is empty: say what the character does, e.g. 'a person walks'")
        if len(self.text) > TEXT:
            raise ValueError(f"the prompt has {len(self.text)} characters: expected {TEXT} at most")
        if self.seconds is not None and not (_number(self.seconds) and SECONDS[0] <= self.seconds <= SECONDS[1]):
            raise ValueError(f"a prompt of {self.seconds} seconds: expected {SECONDS[0]} to {SECONDS[1]}")
        if self.at is not None and (not isinstance(self.at, int) or not 0 <= self.at < 10 ** 6):
            raise ValueError(f"a prompt at latent {self.at}: expected a whole number from 0 on")

    def seed(self, at: int) -> int:
        """Of the noise of its motion from latent `at` on: of that and of nothing before it; at the first the seed."""
        return self.settings.seed + STRIDE * at


def to_link(prompts: Sequence[Prompt]) -> str:
    """Prompts as a text for a link; `from_link` gives them back. Settings that come again are there once. What is too
    long for a link is "".
    """
    settings = list(dict.fromkeys(prompt.settings for prompt in prompts))
    rows = [[prompt.text, settings.index(prompt.settings), prompt.seconds, prompt.at] for prompt in prompts]
    plan = json.dumps([[to_json(one) for one in settings], rows], ensure_ascii=False, separators=(",", ":")).encode()
    link = base64.urlsafe_b64encode(zlib.compress(plan, 9)).decode().rstrip("=")
    return link if len(prompts) <= MANY and len(plan) <= 8 * LINK and len(link) <= LINK else ""


def from_link(link: str) -> list[Prompt]:
    """The prompts of a link. Raises ValueError for what `to_link` did not make, and for too many."""
    try:
        if len(link) > LINK:
            raise ValueError("too long")
        unfold = zlib.decompressobj()
        plan = unfold.decompress(base64.urlsafe_b64decode(link + "=" * (-len(link) % 4)), 8 * LINK)
        found, rows = json.loads(plan)
        if not rows or len(rows) > MANY:
            raise ValueError(f"{len(rows)} prompts")
        settings = [from_json(Settings, one) for one in found]
        return [Prompt(text, settings[which], seconds, at) for text, which, seconds, at in rows]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, zlib.error) as error:
        raise ValueError(f"this link's plan cannot be read ({error}): copy the whole link again") from None
