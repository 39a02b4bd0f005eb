"""Open pages: each has a name that cannot be guessed, a websocket, and a session while the websocket is there.

To the page go, in order, frames as bytes (`session.pack`) and all else as JSON objects. From it comes where its
playhead is, {"frame": 12.5, "rate": 30}: frames, and frames a second.
"""

import asyncio
import json
import math
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from live.plan import Prompt
from live.session import Message, Session
from live.shown import BYTES
from live.studio import Studio

GRACE = 4.0             # seconds for which a page may lose its websocket
FIRST = 60.0            # seconds until a page that was sent has to have one
REPORTS = 50.0          # reports of the playhead a second, at most
WORDS = (1.5, 12.0)     # of prompts and other wishes: a second in the long run, and at once
WORKERS = {"file": 2, "clip or edit": 1}    # things of a kind that are read or made at once, of all pages
UNSENT = 8_000_000      # bytes beyond a whole motion that a page has not taken; then its websocket is closed
GONE, OTHER, SLOW = 4404, 4409, 4413    # with these a websocket is closed: no such page, another took its place, UNSENT


class Bucket:
    """Lets `rate` things a second through, `burst` at once."""

    def __init__(self, rate: float, burst: float):
        self.rate, self.burst, self.left, self.seen = rate, burst, burst, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self.left, self.seen = min(self.burst, self.left + self.rate * (now - self.seen)), now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Outbox:
    """What is to be sent to one websocket: `most` bytes, those of texts but roughly; with more it is full for good."""

    def __init__(self, most: int):
        self.messages: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self.most, self.unsent, self.full = most, 0, False

    def put(self, message: Message) -> None:
        if not self.full:
            sent = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False)
            self.unsent += len(sent)
            self.full = self.unsent > self.most
            self.messages.put_nowait(sent)

    def end(self) -> None:
        """Nothing is sent behind what is there."""
        self.messages.put_nowait(None)

    async def get(self) -> bytes | str | None:
        """The next one, or None at the end."""
        sent = await self.messages.get()
        self.unsent -= len(sent or "")
        return sent


class Visit:
    """One open page."""

    def __init__(self, visits: "Visits", prompts: Sequence[Prompt] = ()):
        self.name, self.visits, self.prompts = secrets.token_urlsafe(18), visits, prompts
        self.session: Session | None = None
        self.out: Outbox | None = None
        self.watch: Callable[[dict], object] | None = None     # the page's own elements; called on the event loop
        self.words, self.reports = Bucket(*WORDS), Bucket(REPORTS, REPORTS)
        self.working: set[str] = set()                         # at what, of WORKERS
        self.loop = asyncio.get_running_loop()
        self.ending = self.loop.call_later(FIRST, visits.end, self)

    def tell(self, message: Message) -> None:
        """From any thread."""
        with suppress(RuntimeError):                           # the event loop is closed
            self.loop.call_soon_threadsafe(self.deliver, message)

    def deliver(self, message: Message) -> None:
        if self.out is not None:
            self.out.put(message)
        if isinstance(message, dict) and self.watch:
            self.watch(message)

    def check_rate(self) -> None:
        """Before a wish is passed on: ValueError if there were too many."""
        if not self.words.take():
            raise ValueError("that was too quick: wait a second")

    @property
    def here(self) -> bool:
        return self.name in self.visits.open

    async def work(self, kind: str, what: Callable[..., Any], *arguments: Any) -> Any:
        """What `what(*arguments)` gives, on a thread: something of a kind, one at a time of a page and WORKERS[kind] of
        all. ValueError if the page has one under way, or was closed meanwhile."""
        if kind in self.working:
            raise ValueError(f"one {kind} at a time: the last one is not done yet")
        self.working.add(kind)
        try:
            async with self.visits.workers[kind]:
                if not self.here:
                    raise ValueError("the page was closed")
                return await asyncio.to_thread(what, *arguments)
        finally:
            self.working.remove(kind)

    async def serve(self, websocket: WebSocket, have: int, cuts: int) -> None:
        """Until the websocket ends; another one of the same page takes its place."""
        await websocket.accept()
        self.ending.cancel()
        studio = self.visits.studio
        out = Outbox(UNSENT + studio.longest * BYTES)
        self.hand_over(out)
        if self.session is None:
            self.session = studio.enter(self.tell, self.prompts)
        studio.connect(self.session, have, cuts)
        sender = asyncio.create_task(self.send(websocket, out))
        try:
            await self.receive(websocket)
        except (WebSocketDisconnect, RuntimeError, KeyError):  # it left; it was closed; it sent bytes
            pass
        finally:
            sender.cancel()
            if self.out is out:
                self.out = None
                self.ending = self.loop.call_later(GRACE, self.visits.end, self)

    def hand_over(self, out: Outbox | None) -> None:
        """From now on messages go there; the websocket that had them is closed."""
        if self.out is not None:
            self.out.end()
        self.out = out

    async def send(self, websocket: WebSocket, out: Outbox) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while (message := await out.get()) is not None and self.out is out and not out.full:
                await (websocket.send_bytes if isinstance(message, bytes) else websocket.send_text)(message)
            await websocket.close(SLOW if self.out is out else OTHER if self.out else GONE)

    async def receive(self, websocket: WebSocket) -> None:
        while True:
            text = await websocket.receive_text()
            if not self.reports.take():
                continue
            found = read_report(text)
            if found and (session := self.session):
                self.visits.studio.submit(lambda session=session, found=found: session.report(*found))


class Visits:
    """All open pages, `most` of them."""

    def __init__(self, studio: Studio, most: int = 64):
        self.studio, self.most, self.open = studio, most, {}
        self.workers = {kind: asyncio.Semaphore(most) for kind, most in WORKERS.items()}

    def new(self, prompts: Sequence[Prompt] = ()) -> Visit:
        """A page that is about to be sent; ValueError if there are too many."""
        if len(self.open) >= self.most:
            raise ValueError(f"{len(self.open)} pages are open, which is the most: try again later")
        visit = Visit(self, prompts)
        self.open[visit.name] = visit
        return visit

    def end(self, visit: Visit) -> None:
        """The page is closed: free all of it."""
        self.open.pop(visit.name, None)
        visit.ending.cancel()
        visit.watch = None
        visit.hand_over(None)
        if visit.session is not None:
            self.studio.leave(visit.session)
            visit.session = None

    def close(self) -> None:
        """All pages at once, so that nobody's work goes on: the server ends."""
        for visit in list(self.open.values()):
            self.end(visit)

    async def endpoint(self, websocket: WebSocket) -> None:
        """The websocket of the page that ?page= names; ?have= says how many frames it holds, and ?cuts= of how many
        cuts it heard."""
        given = websocket.query_params
        visit = self.open.get(given.get("page", ""))
        if visit is None:
            await websocket.accept()
            return await websocket.close(GONE)
        await visit.serve(websocket, count(given.get("have", "")), count(given.get("cuts", "")))


def count(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 8 else 0


def read_report(text: str) -> tuple[float, float] | None:
    """Frame and rate of a report, or None if it is none."""
    try:
        report = json.loads(text) if len(text) < 200 else {}
        frame, rate = float(report["frame"]), float(report["rate"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (frame, max(-120.0, min(rate, 120.0))) if math.isfinite(frame) and math.isfinite(rate) else None
