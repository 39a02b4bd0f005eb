"""A page of the live server without a browser, for several test files."""

import time

import numpy as np
import pytest

from live.plan import Prompt, Settings
from live.shown import ROW
from live.studio import Studio
from test_pipeline import GUIDED, NEVER, streamer

SETTINGS = Settings(GUIDED)


class Page:
    """A page without a browser: keeps what it is told as the real one does, and reports its playhead when asked to."""

    def __init__(self, studio: Studio, prompts=()):
        self.studio, self.rows, self.dicts, self.cuts = studio, np.empty((0, ROW), np.float32), [], 0
        self.session = studio.enter(self.tell, prompts)

    def tell(self, message):
        if isinstance(message, bytes):
            first, rows = int.from_bytes(message[:4], "little"), np.frombuffer(message[4:], "<f4").reshape(-1, ROW)
            assert first <= len(self.rows)
            self.rows = np.concatenate([self.rows[:first], rows])
        else:
            self.dicts.append(message)
            if "cut" in message:
                self.rows, self.cuts = self.rows[:message["cut"]], message["cuts"]

    def at(self, frame: float, rate: float = 0.0) -> None:
        self.studio.submit(lambda: self.session.report(frame, rate)).result()

    def ask(self, text: str, **more) -> None:
        self.studio.ask(self.session, Prompt(text, SETTINGS, **more)).result()

    def frames(self, count: int) -> np.ndarray:
        """Play until so many frames are there."""
        wait(lambda: self.at(max(len(self.rows) - 8, 0)) or len(self.rows) >= count)
        return self.rows[:count]

    def last(self, key: str):
        return next((message[key] for message in reversed(self.dicts) if key in message), None)


def wait(what, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@pytest.fixture
def studio():
    with_end = []

    def make(calibration=NEVER, **more) -> Studio:
        with_end.append(Studio(lambda precision: streamer(calibration), **more))
        return with_end[-1]

    yield make
    for one in with_end:
        one.close()


def motion_of(page: Page) -> np.ndarray:
    return page.studio.submit(lambda: page.session.stretch(None)).result()[0]
