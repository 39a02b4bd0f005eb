"""What loads models and reads sentences, so that the studio's thread waits for neither.

A session's wishes are read in their order, but all sessions have their turns, one sentence each: a long list of one
keeps nobody waiting. A model is loaded while sentences for others are read.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from generation.pipeline import MotionStreamer
from live.plan import Prompt
from live.session import Session

REMEMBERED = 512        # sentences that the text encoder keeps in memory
Read = Callable[[list[Prompt]], object]


@dataclass(eq=False)
class Wish:
    """Prompts to be read, those that are, and what is to be done then."""

    prompts: Sequence[Prompt]
    then: Read
    done: Future = field(default_factory=Future)
    read: list[Prompt] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        return len(self.read) == len(self.prompts)


class Reader:
    """Models by their precision, and a line of wishes for each session that has any.

    load       gives the model of a precision; called once for each
    hand_over  takes a future and the work whose result it waits for, to the studio's thread
    """

    def __init__(self, load: Callable[[str], MotionStreamer], precision: str,
                 hand_over: Callable[[Future, Callable[[], object]], object]):
        self.load, self.precision, self.hand_over = load, precision, hand_over
        self.models: dict[str, MotionStreamer] = {}
        self.lines: dict[Session, deque[Wish]] = {}
        self.lock, self.loading = threading.Lock(), threading.Lock()          # of the lines, of the models
        self.encoder, self.loader = ThreadPoolExecutor(1, "text-encoder"), ThreadPoolExecutor(1, "models")

    def model(self, precision: str | None = None) -> MotionStreamer:
        """The model of a precision, loaded if it is not: call it where waiting is allowed."""
        precision = precision or self.precision
        if precision not in self.models:
            with self.loading:
                if precision not in self.models:
                    self.models[precision] = self.load(precision)
        return self.models[precision]

    def read(self, session: Session, prompts: Sequence[Prompt], then: Read) -> Future:
        """`then(prompts)` on the studio's thread, when these are read; nothing if the session left. The future has what
        that gives, or the error."""
        wish = Wish(prompts, then)
        with self.lock:
            line = self.lines.setdefault(session, deque())
            line.append(wish)
            if len(line) == 1:
                self.go_on(session, wish)
        return wish.done

    def go_on(self, session: Session, wish: Wish) -> None:
        """Behind what the others wait for now: load what a wish's next prompt needs, or read it."""
        precision = self.precision if wish.ready else wish.prompts[len(wish.read)].settings.precision
        if precision in self.models:
            self.encoder.submit(self.turn, session, wish, lambda: self.read_next(wish))
        else:
            self.loader.submit(self.turn, session, wish, lambda: self.model(precision))

    def turn(self, session: Session, wish: Wish, work: Callable[[], object]) -> None:
        """Do it, hand the wish over if it is ready, and let the session's next have its turn."""
        over = not session.here
        try:
            if not over:
                work()
        except Exception as error:           # of whatever kind, it is the caller's to see
            over = True
            if wish.done.set_running_or_notify_cancel():
                wish.done.set_exception(error)
        else:
            if over := over or wish.ready:
                self.hand_over(wish.done, lambda: wish.then(wish.read) if session.here else None)
        with self.lock:
            line = self.lines[session]
            if over:
                line.popleft()
            if line:
                self.go_on(session, line[0])
            else:
                del self.lines[session]

    def read_next(self, wish: Wish) -> None:
        """Let a wish's next prompt know its embedding. ValueError for settings that cannot be."""
        if wish.ready:                       # it has no prompts
            return
        prompt = wish.prompts[len(wish.read)]
        model = self.model(prompt.settings.precision)
        model.sampling_with(prompt.settings.sampling, {})
        forget(model.text_encoder)           # only the encoder's thread encodes
        _ = model.empty                      # encoded once, here
        wish.read.append(replace(prompt, read=model.read([prompt.text], prompt.settings.sampling)[0]))

    def close(self) -> None:
        for pool in (self.encoder, self.loader):
            pool.shutdown(cancel_futures=True)


def forget(text_encoder: object) -> None:
    """Let it not remember more and more sentences."""
    memory = getattr(text_encoder, "memory", {})
    if len(memory) > REMEMBERED:
        memory.clear()
