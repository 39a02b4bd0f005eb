"""What a page wishes of its session; what was wrong is shown."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from nicegui import ui

from live.session import Session
from live.visits import Visit


class Wishes:
    """Those of one visit."""

    def __init__(self, visit: Visit):
        self.visit, self.studio, self.client = visit, visit.visits.studio, ui.context.client

    async def wish(self, wish: Callable[[Session], Future]) -> bool:
        """Pass a wish on and wait until it is done; whether it was."""
        return await self.attempt(lambda session: asyncio.wrap_future(wish(session)))

    async def long(self, said: str, work: Callable[[Session], Awaitable[object]]) -> bool:
        """Do what takes long, and say what it is; whether it was done."""
        with self.client:
            notice = ui.notification(said, spinner=True, timeout=None, position="top")
        try:
            return await self.attempt(work)
        finally:
            notice.dismiss()

    async def attempt(self, work: Callable[[Session], Awaitable[object]]) -> bool:
        if self.visit.session is None:
            return False
        try:
            self.visit.check_rate()
            await work(self.visit.session)
        except ValueError as error:
            self.warn(str(error))
            return False
        except Exception as error:           # a fault of ours: the page must not look as if it had been done
            self.warn(f"that failed ({type(error).__name__}: {error})"[:300])
            raise
        return True

    def submit(self, work: Callable[[], Any]) -> Awaitable[Any]:
        """What `work` gives on the studio's thread."""
        return asyncio.wrap_future(self.studio.submit(work))

    def warn(self, sentence: str) -> None:
        with self.client:                    # what was clicked may be gone by now
            ui.notify(sentence, type="warning", position="top", timeout=6000)
