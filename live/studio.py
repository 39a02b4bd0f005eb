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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generation.pipeline import MotionStream, MotionStreamer, MotionStreams
from live.plan import Prompt
from live.session import Message, Session
from options.sampling import Sampling

REMEMBERED = 512        # sentences that the text encoder keeps in memory
IDLE = 300.0            # seconds without a word after which a page gives its seat to one that waits
REPORTED = 1.0          # seconds between two reports of load and speed


class Studio:
    """Seats, their sessions, and the only thread that touches these.

    load   gives the model of a precision; called once for each, on a thread of its own
    seats  sessions that move at once; the others wait in their order
    What callers hand over runs on the thread, in order; their futures hold the result or the error.
    """

    def __init__(self, load: Callable[[str], MotionStreamer], seats: int = 4, precision: str = "float32",
                 longest: int = 4500):
        self.load, self.seats, self.precision, self.longest = load, seats, precision, longest
        self.models: dict[str, MotionStreamer] = {}
        self.batches: dict[tuple[str, Sampling], MotionStreams] = {}
        self.sessions: list[Session] = []                       # the first `seats` of them have a seat
        self.inbox: queue.SimpleQueue[tuple[Future, Callable[[], Any]]] = queue.SimpleQueue()
        self.readers = ThreadPoolExecutor(1, "text-encoder")    # loading and text encoding keep no frame waiting
        self.busy, self.reported = 0.0, time.monotonic()
        self.closed = False
        self.thread = threading.Thread(target=self.run, name="studio", daemon=True)
        self.thread.start()

    def model(self, precision: str | None = None) -> MotionStreamer:
        """The model of a precision, loaded if it is not: call it where waiting is allowed."""
        precision = precision or self.precision
        if precision not in self.models:
            self.models[precision] = self.load(precision)
        return self.models[precision]

    def enter(self, tell: Callable[[Message], object], prompts: Sequence[Prompt] = ()) -> Session:
        """A new session, seated or waiting; `tell` is called on the studio's thread."""
        session = Session(self, tell, self.longest)

        def come() -> None:
            self.sessions.append(session)
            self.tell_places()

        self.submit(come)
        def say(done: Future) -> None:
            if error := done.exception():
                self.submit(lambda: session.tell({"error": str(error)}))

        if prompts:
            self.queue(session, prompts).add_done_callback(say)
        return session

    def connect(self, session: Session, have: int, cuts: int) -> Future:
        """`Session.connect`; and it hears its place."""
        return self.submit(lambda: (session.connect(have, cuts), self.tell_places()))

    def leave(self, session: Session) -> Future:
        """Free all of a session; the next that waits takes its seat."""
        def go() -> None:
            if session in self.sessions:
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

    def reading(self, session: Session, prompts: Sequence[Prompt], then: Callable[[list[Prompt]], object]) -> Future:
        """`then(prompts)` on the studio's thread, when the text encoder has read them; nothing if the session left."""
        done: Future = Future()

        def work() -> None:
            try:
                read = [self.read(prompt) for prompt in prompts]
            except Exception as error:       # of whatever kind, it is the caller's to see
                if done.set_running_or_notify_cancel():
                    done.set_exception(error)
            else:
                self.inbox.put((done, lambda: then(read) if session in self.sessions else None))

        self.readers.submit(work)
        return done

    def read(self, prompt: Prompt) -> Prompt:
        """Load what a prompt needs, and let it know its embedding: so the studio's thread never waits for the text
        encoder. ValueError for settings that cannot be."""
        model = self.model(prompt.settings.precision)
        model.sampling_with(prompt.settings.sampling, {})
        memory = getattr(model.text_encoder, "memory", {})
        if len(memory) > REMEMBERED:         # only this thread encodes
            memory.clear()
        _ = model.empty                      # encoded once, here
        return replace(prompt, read=model.embed([prompt.text])[0])

    def submit(self, work: Callable[[], Any]) -> Future:
        """Run `work` on the studio's thread."""
        done: Future = Future()
        self.inbox.put((done, work))
        return done

    def close(self) -> None:
        """End the thread, and wait for it."""
        self.submit(lambda: setattr(self, "closed", True))
        self.thread.join()
        self.readers.shutdown(cancel_futures=True)

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


def encode_capture(model: MotionStreamer, motion: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """A captured motion (T, 272), T at least 4 -> its last whole latents: frames (4 L, 272), latents (L, C)."""
    frames = len(motion) // model.tae.frames_per_code * model.tae.frames_per_code
    if not frames:
        raise ValueError(f"the capture has {len(motion)} frames at 30 a second: expected 4 or more")
    motion = np.ascontiguousarray(motion[-frames:], dtype=np.float32)
    with torch.inference_mode():
        latents = model.tae.encode(torch.from_numpy(motion).to(model.device)[None])[0]
    return motion, latents / model.calibration.latent_scale
