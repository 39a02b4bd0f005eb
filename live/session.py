"""One character of one page: all of its motion so far, what it was asked when, and what waits.

A session belongs to the studio's thread; nobody else touches it. T frames, four a latent; L latents; C channels.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from generation.pipeline import MotionStream
from live.plan import MANY, SECONDS, Prompt, to_link
from live.shown import FRAMES, Shown, Stretch, join, pack, show
from motion.representation_272 import FPS

Message = bytes | dict
LATENTS_PER_SECOND = FPS / FRAMES
EXTRAPOLATED = 0.5          # seconds for which a playhead that was reported goes on by itself
HELD = 4.0                  # seconds of a held prompt that does not say how long, if something waits behind it
REACH = 96                  # latents that a new stream is given: what AR model and decoder can see, and more
PART = 32                   # latents of a message, at most


class Starts(Protocol):
    """What makes streams: the studio."""

    def start(self, prompt: Prompt, at: int, past: Tensor | None) -> MotionStream: ...


@dataclass
class Playhead:
    """Where the page is, in frames, as it last said."""

    frame: float = 0.0
    rate: float = 0.0       # frames a second; 0: it pauses
    heard: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        passed = min(max(time.monotonic() - self.heard, 0.0), EXTRAPOLATED)
        return max(0.0, self.frame + self.rate * passed)


@dataclass
class Take:
    """A motion so far: its latents [(C,)], what is shown of each, and its prompts."""

    latents: list[Tensor] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    capture: str = ""       # the name of the capture that it goes on from
    given: int = 0          # latents of that
    edits: list[tuple[int, int, str]] = field(default_factory=list)    # first latent, the one behind, the sentence

    def __len__(self) -> int:
        return len(self.shown)

    @property
    def asked(self) -> list[tuple]:
        """From which frame on each prompt holds, (frame, text), or (frame, text, True) of a capture."""
        asked = [(0, self.capture, True)] * bool(self.given)
        asked += [((prompt.at or 0) * FRAMES, prompt.text) for prompt in self.prompts]
        for first, end, text in self.edits:
            first, end = first * FRAMES, end * FRAMES
            behind = [one for one in asked if one[0] >= end]
            if end < len(self) * FRAMES and not (behind and behind[0][0] == end):
                behind = [*((end, *one[1:]) for one in [one for one in asked if one[0] < end][-1:]), *behind]
            asked = [*(one for one in asked if one[0] < first), (first, text), *behind]
        return asked

    def until(self, latent: int) -> "Take":
        """Its first latents; a prompt that began behind them did not happen."""
        prompts = [prompt for prompt in self.prompts if prompt.at is not None and prompt.at < latent]
        edits = [(first, min(end, latent), text) for first, end, text in self.edits if first < latent]
        return Take(self.latents[:latent], self.shown[:latent], prompts, self.capture, min(self.given, latent), edits)


class Session:
    """Frames are made until the page has `ahead` seconds before its playhead. A new prompt holds from `lead` seconds
    behind the playhead; what was made beyond is made again.

    tell      takes what the page is to know: frames as bytes, all else as a dict; called on the studio's thread
    longest   latents that are kept
    """

    def __init__(self, studio: Starts, tell: Callable[[Message], object], longest: int = 4500):
        self.studio, self.tell, self.longest = studio, tell, longest
        self.take, self.before = Take(), None
        self.edited = False                  # `before` is the motion without the last edit, or with it
        self.held = False                    # nothing goes on: the page compares these
        self.unread: list[Prompt] = []       # what goes on behind an edit, and before all else, when it is read
        self.waiting: list[Prompt] = []
        self.stream: MotionStream | None = None
        self.over = False                    # the motion came to its end by itself
        self.playhead, self.lead, self.ahead = Playhead(), 0.4, 2.0
        self.cuts: list[int] = []            # the latents from which on all was forgotten, each time
        self.asked: float | None = None      # when the prompt came whose first frames are not told yet
        self.here = True                     # the page is open
        self.place = 0                       # how many are before it; 0: it has a seat
        self.last_word = time.monotonic()

    @property
    def moves(self) -> bool:
        """Whether its prompt's motion is not over."""
        return self.stream is not None and not self.over

    @property
    def goes_on(self) -> bool:
        """Whether more comes by itself."""
        return ((self.moves or bool(self.waiting)) and not self.held and not self.unread
                and len(self.take) < self.longest)

    @property
    def due(self) -> bool:
        """Whether the page will soon need frames, and there is something to be made."""
        return self.goes_on and len(self.take) * FRAMES < self.playhead.frame + self.ahead * FPS

    def report(self, frame: float, rate: float) -> None:
        """Where the playhead is, in frames, and how many a second it passes."""
        self.playhead = Playhead(min(max(frame, 0.0), len(self.take) * FRAMES), rate)

    def ask(self, prompt: Prompt) -> None:
        """Do this, from the playhead plus the lead on. What waits comes behind it. Without a seat it waits too."""
        if self.place:
            return self.queue([*self.untimed(), prompt])
        self.heard()
        wanted = math.ceil((self.playhead.now() + self.lead * FPS) / FRAMES)
        self.asked = time.monotonic()
        self.begin(prompt, max(min(wanted, len(self.take)), self.take.given))
        self.waiting = self.untimed()
        self.say()

    def cut(self, latent: int) -> None:
        """Forget what was made from this latent on; `undo` brings it back."""
        if latent < len(self.take):
            self.before, self.edited = self.take, False
            self.forget(latent)
        self.take = self.take.until(latent)
        self.finish()

    def forget(self, latent: int) -> None:
        """Tell the page that what came from this latent on is no more."""
        self.cuts.append(latent)
        self.tell({"cut": latent * FRAMES, "cuts": len(self.cuts)})

    def undo(self) -> None:
        """The motion as it was before the last cut or edit. ValueError if there is none."""
        if self.before is None:
            raise ValueError("there is nothing to undo")
        self.rest(self.before, None)

    def compare(self) -> None:
        """The motion without the last edit, or with it again; what waits stands still until `keep`, or another prompt.
        ValueError if there is none."""
        if self.before is None or not self.edited:
            raise ValueError("the motion has changed since: there is nothing to compare")
        self.rest(self.before, self.take)

    def rest(self, take: Take, before: Take | None) -> None:
        """Stand still at the end of another motion; `before`, if there is one, is to be compared with it."""
        self.heard()
        self.finish()
        self.put(take, before)
        self.over, self.edited, self.held, self.unread = True, before is not None, before is not None, []
        self.say()

    def keep(self) -> None:
        """The motion that is shown; what waits goes on."""
        self.heard()
        self.edited = self.held = False
        self.say()

    def put(self, take: Take, before: Take | None) -> None:
        """Let the page show another motion."""
        pairs = enumerate(zip(self.take.shown, take.shown))
        common = next((at for at, (ours, theirs) in pairs if ours is not theirs), min(len(self.take), len(take)))
        self.take, self.before = take, before
        self.forget(common)
        self.send(common)

    def edit(self, first: int, shown: Sequence[Shown], latents: Tensor, text: str, last: Shown) -> list[Prompt]:
        """Put in place of all from latent `first` on what is shown from there, with the stretch of these latents new.
        What was made meanwhile comes behind it, or is forgotten, if the stretch was the end: it went on from another.

        last     the last piece of the motion that was edited; ValueError if that is no more
        returns  what has to go on from the new end instead: nothing else does until `resume`
        """
        self.heard()
        before, end, until = self.take, first + len(shown), first + len(latents)
        if len(before) < end or before.shown[end - 1] is not last:
            raise ValueError("the motion has changed since: mark the stretch again")
        self.unread = self.unread or (self.prompts_from(end) if until == end else [])
        take = before.until(end) if until == end else before
        new = [*take.shown[:first], *shown]
        for one in take.shown[end:]:
            new.append(show(one.motion, new[-1]))
        changed = [*take.latents[:first], *latents.clone(), *take.latents[until:]]
        self.put(replace(take, latents=changed, shown=new, edits=[*take.edits, (first, until, text)]), before)
        self.edited, self.held = True, False
        if self.unread:
            self.finish()
        self.say()
        return self.unread

    def prompts_from(self, latent: int) -> list[Prompt]:
        """What goes on from this latent: the prompt that held until there, if it did not end, and those since."""
        since = [prompt for prompt in self.take.prompts if (prompt.at or 0) >= latent]
        until = (since[0].at or 0) if since else len(self.take) + self.moves
        held = self.take.until(latent).prompts[-1:] if until > latent else []
        return [*(replace(prompt, at=latent) for prompt in held), *since]

    def resume(self, unread: list[Prompt], read: Sequence[Prompt]) -> None:
        """Go on behind an edit with what it returned, now read, before what waits; not if another motion is shown."""
        if self.unread is unread:
            self.waiting, self.unread = [*read, *self.waiting], []
            self.say()

    def begin(self, prompt: Prompt, at: int) -> None:
        """Let a prompt hold from this latent on, in a stream of its own: so a link finds the same way."""
        past = self.take.latents[max(at - REACH, 0):at]
        stream = self.studio.start(prompt, at, torch.stack(past) if past else None)    # first: if it fails, all stays
        self.cut(at)
        self.stream, self.over, self.held, self.unread = stream, False, False, []
        self.take.prompts.append(replace(prompt, at=at, read=None))

    def next_prompt(self) -> None:
        """Begin what waits, if its time has come; called before each latent."""
        if not self.waiting:
            return
        first, now = self.waiting[0], self.take.prompts[-1] if self.take.prompts else None
        if first.at is not None:
            ready = now is None or self.over or len(self.take) >= first.at
        else:
            lasts = now and (now.seconds or now.settings.hold and HELD)
            ready = not now or self.over or lasts and (
                len(self.take) - (now.at or 0) >= round(lasts * LATENTS_PER_SECOND))
        if ready:
            self.begin(self.waiting.pop(0), len(self.take))
            self.say()

    def add(self, frames: np.ndarray | None) -> None:
        """The frames (4, 272) of the latent that was made, or None if the motion is over instead."""
        if frames is None:
            self.over = True
            return self.say()
        if self.stream is None or not np.isfinite(frames).all():
            self.finish()
            self.over = True
            self.tell({"error": "the motion is not finite: give a smaller guidance"})
            return self.say()
        own = frames.copy()                  # a view would keep the frames of all who moved in the same batch
        shown = show(own, self.take.shown[-1] if self.take.shown else None)
        self.tell(pack(len(self.take) * FRAMES, [shown]))
        self.take.latents.append(self.stream.latent)
        self.take.shown.append(shown)
        if self.asked is not None:
            self.tell({"latency": time.monotonic() - self.asked})
            self.asked = None
        if len(self.take) == self.longest:
            self.say()

    def send(self, first: int) -> None:
        """All frames from latent `first` on, in parts."""
        for start in range(first, len(self.take), PART):
            self.tell(pack(start * FRAMES, self.take.shown[start:start + PART]))

    def give(self, name: str, shown: Sequence[Shown], latents: Tensor, watch: bool = False) -> None:
        """Go on from a motion of this name and its latents (L, C), in place of all; `undo` brings that back. watch: it
        is played from its beginning."""
        before = self.take if len(self.take) else None
        self.clear()
        self.before = before
        last = slice(-max(self.longest - 1, 1), None)
        self.take.shown, self.take.latents = list(shown[last]), list(latents[last].clone())
        self.take.capture, self.take.given, self.over = name, len(self.take), True
        self.send(0)
        self.tell({"seek": 0 if watch else len(self.take) * FRAMES - 1})
        self.say()

    def stretch(self, mark: tuple[int, int] | None) -> Stretch:
        """The frames from mark[0] to mark[1], or all, as the page shows them."""
        motion, rows, _ = join(self.take.shown)
        first, end = (0, len(motion)) if mark is None else (mark[0], min(mark[1] + 1, len(motion)))
        asked = self.take.asked
        ends = [at for at, *_ in asked[1:]] + [len(motion)]
        title = [(max(at - first, 0), text) for (at, text, *_), until in zip(asked, ends) if at < end and until > first]
        return Stretch(motion[first:end], rows[first:end], title)

    def queue(self, prompts: Sequence[Prompt]) -> None:
        """What waits, in its order, in place of what waited. Raises ValueError for too many."""
        self.heard()
        if len(prompts) > MANY:
            raise ValueError(f"{len(prompts)} prompts in the queue: expected {MANY} at most")
        self.waiting = list(prompts)
        self.say()

    def untimed(self) -> list[Prompt]:
        """What waits, each as long as a link's latents said, but when its turn comes: the times before it changed."""
        def lasts(prompt: Prompt, end: int | None) -> float | None:
            if prompt.at is None or end is None:
                return prompt.seconds
            return min(max((end - prompt.at) / LATENTS_PER_SECOND, SECONDS[0]), SECONDS[1])

        ends = [*(prompt.at for prompt in self.waiting[1:]), None]
        return [replace(prompt, seconds=lasts(prompt, end), at=None) for prompt, end in zip(self.waiting, ends)]

    def clear(self) -> None:
        """A new character: nothing was, nothing waits."""
        self.heard()
        self.finish()
        self.take, self.before, self.waiting, self.over, self.playhead = Take(), None, [], False, Playhead()
        self.edited, self.held, self.unread = False, False, []
        self.forget(0)
        self.say()

    def finish(self) -> None:
        """End the stream; the batch keeps nothing of it."""
        if self.stream is not None:
            self.stream.stop()
        self.stream = None

    def connect(self, have: int, cuts: int) -> None:
        """A page that has so many frames, and heard of so many cuts, is there: what it lacks, and all it shows."""
        whole = min(have // FRAMES, len(self.take), *self.cuts[cuts:])
        self.tell({"cut": whole * FRAMES, "cuts": len(self.cuts)})
        self.send(whole)
        self.say()

    def heard(self) -> None:
        self.last_word = time.monotonic()

    def say(self) -> None:
        """Tell what was asked when, what waits, and whether more comes by itself."""
        take = self.take
        self.tell({
            "prompts": [list(one) for one in take.asked],
            "waiting": [[prompt.text, prompt.seconds] for prompt in self.waiting],
            "over": not self.goes_on, "full": len(take) >= self.longest,
            "undo": self.before is not None, "edited": self.edited,
            "link": to_link([*take.prompts, *self.waiting]) if take.prompts and not (take.given or take.edits) else "",
        })
