"""The thread that moves all characters in one batch; seats for some pages, and a queue of the others.

    studio = Studio(load)                          # load("float32") -> MotionStreamer
    session = studio.enter(tell)
    studio.ask(session, Prompt("a person walks"))  # answers at once; frames come through `tell`
    studio.leave(session)
"""

import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generation.pipeline import MotionStream, MotionStreamer, MotionStreams
from live.plan import Prompt
from live.reader import Read, Reader
from live.session import Message, Session
from live.shown import Shown
from options.sampling import Sampling

IDLE = 300.0            # seconds without a word after which a page gives its seat to one that waits
REPORTED = 1.0          # seconds between two reports of load and speed


class Studio:
    """Seats, their sessions, and the only thread that touches these.

    load   gives the model of a precision; called once for each
    seats  sessions that move at once; the others wait in their order
    What callers hand over runs on the thread, in order; their futures hold the result or the error.
    """

    def __init__(self, load: Callable[[str], MotionStreamer], seats: int = 4, precision: str = "float32",
                 longest: int = 4500):
        self.seats, self.longest = seats, longest
        self.batches: dict[tuple[str, Sampling], MotionStreams] = {}
        self.sessions: list[Session] = []                       # the first `seats` of them have a seat
        self.inbox: queue.SimpleQueue[tuple[Future, Callable[[], Any]]] = queue.SimpleQueue()
        self.reader = Reader(load, precision, lambda done, work: self.inbox.put((done, work)))
        self.model = self.reader.model
        self.busy, self.reported = 0.0, time.monotonic()
        self.closed = False
        self.thread = threading.Thread(target=self.run, name="studio", daemon=True)
        self.thread.start()

    def enter(self, tell: Callable[[Message], object], prompts: Sequence[Prompt] = ()) -> Session:
        """A new session, seated or waiting; `tell` is called on the studio's thread."""
        session = Session(self, tell, self.longest)

        def come() -> None:
            self.sessions.append(session)
            self.tell_places()

        self.submit(come)
        if prompts:
            self.tell_error(session, self.queue(session, prompts))
        return session

    def tell_error(self, session: Session, done: Future) -> None:
        """Let the page of a session know if this fails, for which nobody waits."""
        def say(done: Future) -> None:
            if error := done.exception():
                self.submit(lambda: session.tell({"error": str(error)}))

        done.add_done_callback(say)

    def connect(self, session: Session, have: int, cuts: int) -> Future:
        """`Session.connect`; and it hears its place."""
        return self.submit(lambda: (session.connect(have, cuts), self.tell_places()))

    def leave(self, session: Session) -> Future:
        """Free all of a session; the next that waits takes its seat."""
        def go() -> None:
            if session.here:
                session.here = False
                session.finish()
                self.sessions.remove(session)
                self.tell_places()

        return self.submit(go)

    def ask(self, session: Session, prompt: Prompt) -> Future:
        """Read a prompt, then `Session.ask`."""
        return self.reading(session, [prompt], lambda read: session.ask(*read))

    def queue(self, session: Session, prompts: Sequence[Prompt]) -> Future:
        """Read prompts, then `Session.queue`."""
        return self.reading(session, prompts, session.queue)

    def edit(self, session: Session, first: int, shown: Sequence[Shown], latents: Tensor, text: str,
             last: Shown) -> Future:
        """`Session.edit`; what goes on behind it does when it is read again."""
        def put() -> None:
            if again := session.edit(first, shown, latents, text, last):
                self.tell_error(session, self.reading(session, again, lambda read: session.resume(again, read)))

        return self.submit(put)

    def reading(self, session: Session, prompts: Sequence[Prompt], then: Read) -> Future:
        """`then(prompts)` on the studio's thread, when the text encoder has read them; nothing if the session left."""
        return self.reader.read(session, prompts, then)

    def submit(self, work: Callable[[], Any]) -> Future:
        """Run `work` on the studio's thread."""
        done: Future = Future()
        self.inbox.put((done, work))
        return done

    def close(self) -> None:
        """End the thread, and wait for it."""
        self.submit(lambda: setattr(self, "closed", True))
        self.thread.join()
        self.reader.close()

    def start(self, prompt: Prompt, at: int, past: Tensor | None) -> MotionStream:
        """A stream in the batch of all that are sampled alike."""
        key = prompt.settings.precision, prompt.settings.sampling
        if key not in self.batches:
            self.batches[key] = self.model(key[0]).streams(key[1])
        return self.batches[key].start(prompt.text, prompt.seed(at), past, prompt.settings.hold, prompt.read)

    def run(self) -> None:
        while not self.closed:
            self.work_off()
            due = [session for session in self.sessions[:self.seats] if session.due]
            if due:
                begun = time.perf_counter()
                self.step(due)
                self.busy += time.perf_counter() - begun
            self.report()

    def work_off(self) -> None:
        """Do what was handed over; with nothing to make, wait for it."""
        while True:
            idle = self.inbox.empty() and not any(session.due for session in self.sessions[:self.seats])
            try:
                done, work = self.inbox.get(timeout=REPORTED) if idle else self.inbox.get_nowait()
            except queue.Empty:
                return
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(work())
            except Exception as error:       # the caller's; the thread goes on for the others
                done.set_exception(error)

    def step(self, due: Sequence[Session]) -> None:
        """One latent for each of these sessions."""
        for session in due:
            self.guard([session], session.next_prompt)
        streams = {session.stream: session for session in due if session.stream is not None and not session.over}
        for batch in self.batches.values():
            own = {stream: session for stream, session in streams.items() if stream and stream.streams is batch}
            if own:
                self.guard(list(own.values()), lambda batch=batch, own=own: self.step_batch(batch, own))

    def step_batch(self, batch: MotionStreams, own: dict[MotionStream, Session]) -> None:
        for stream in [stream for stream in batch.moving.values() if stream not in own]:
            stream.pause()
        for stream in own:
            stream.resume()
        found: dict[MotionStream, np.ndarray] = next(batch, {})
        for stream, session in own.items():
            self.guard([session], lambda stream=stream, session=session: session.add(found.get(stream)))

    def guard(self, sessions: Sequence[Session], work: Callable[[], object]) -> None:
        """Do it; if it fails, these sessions stop and say so, and the others go on."""
        try:
            work()
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            for session in sessions:
                session.finish()
                session.over, session.waiting = True, []
                session.tell({"error": f"the character stopped ({type(error).__name__}: {error})"[:300]})
                session.say()

    def tell_places(self) -> None:
        """Each who waits: how many are before them; 0 for a seat, whose time begins when it is got."""
        for number, session in enumerate(self.sessions):
            place = max(number + 1 - self.seats, 0)
            if session.place and not place:
                session.heard()
            session.place = place
            session.tell({"place": place, "seats": self.seats})

    def report(self) -> None:
        """Once a second: the thread's load to all; batches without a stream go; and so does the seat of one who fell
        asleep, to one who waits."""
        now = time.monotonic()
        if now - self.reported < REPORTED:
            return
        load = round(self.busy / (now - self.reported), 3)
        self.busy, self.reported = 0.0, now
        for session in self.sessions[:self.seats]:
            session.tell({"load": load})
        used = [session.stream.streams for session in self.sessions if session.stream]
        self.batches = {key: batch for key, batch in self.batches.items() if batch in used}
        asleep = [session for session in self.sessions[:self.seats] if now - session.last_word > IDLE]
        if asleep and len(self.sessions) > self.seats:
            self.sessions.remove(asleep[0])
            self.sessions.append(asleep[0])
            asleep[0].heard()
            self.tell_places()


def encode_motion(model: MotionStreamer, motion: np.ndarray) -> Tensor:
    """The latents (L, C) of a motion (T, 272), T = 4 L."""
    with torch.inference_mode():
        latents = model.tae.encode(torch.from_numpy(motion).to(model.device)[None])[0]
    return latents / model.calibration.latent_scale
