"""MoSa in the page: whole clips, and edits of what is marked."""

import asyncio
from collections.abc import Callable
from typing import Any

from nicegui import ui

from live.edits import Editor
from live.page.wishes import Wishes
from live.plan import TEXT, Prompt
from live.session import Session

Mark = tuple[int, int]


class Clips:
    """What a page shows of it, and does with it.

    prompt  gives the prompt of a sentence, with the page's settings
    """

    def __init__(self, editor: Editor, wishes: Wishes, prompt: Callable[[str], Prompt]):
        self.editor, self.wishes, self.prompt = editor, wishes, prompt
        self.tries = 0                       # of edits: each has a seed of its own
        self.shown = "after"                 # or "before" the last one

    def add_side(self) -> None:
        ui.html("<h2>Whole clips and edits</h2>", sanitize=False)
        ui.label("A clip is made at once, from its beginning to its end. To change a stretch, drag over the ruler "
                 "above the timeline, then press Change.").classes("live-hint")
        with ui.row().classes("no-wrap items-center q-mt-sm"):
            self.text = ui.input(placeholder="a whole clip …").props(f"outlined dense maxlength={TEXT}")
            self.text.classes("grow").on("keydown.enter", self.make)
            ui.button("Make", on_click=self.make).props("flat no-caps")

    def add_marked(self, mark: Callable[[], Mark | None]) -> None:
        """The button beside what is marked, and the choice once it is changed."""
        ui.button("Change", icon="auto_fix_high", on_click=lambda: self.ask(mark())).props("flat dense no-caps")
        with ui.element("div").classes("live-mark") as self.choice:
            self.which = ui.toggle({"before": "before", "after": "after"}, value="after", on_change=self.compare)
            self.which.props("no-caps unelevated dense padding='2px 10px'")
            ui.button("Keep", on_click=self.keep).props("flat dense no-caps").tooltip("what is shown now")
        self.choice.visible = False

    def hear(self, message: dict) -> None:
        self.choice.visible = message["edited"] and self.choice.visible

    async def make(self) -> None:
        """A whole clip of what was typed."""
        text = self.text.value or ""

        async def work(session: Session) -> None:
            prompt = self.prompt(text)
            made = await self.wishes.visit.work("clip or edit", self.editor.clip, prompt.text, prompt.seconds,
                                                prompt.settings.seed, lambda: self.wishes.visit.here)
            await self.wishes.submit(lambda: session.give(prompt.text, *made, watch=True))

        if await self.wishes.long("Making the clip …", work):
            self.text.value = ""

    async def ask(self, mark: Mark | None) -> None:
        """Ask what should happen in a stretch, and make that."""
        with ui.dialog(value=True) as dialog, ui.card().style("width: min(480px, 92vw)"):
            text = ui.input("what should happen here instead").props(f"outlined dense autofocus maxlength={TEXT}")
            text.classes("full-width").on("keydown.enter", lambda: dialog.submit(True))
            with ui.row():
                ui.button("Change", on_click=lambda: dialog.submit(True)).props("unelevated no-caps")
                ui.button("Cancel", on_click=dialog.close).props("flat no-caps")
        if await dialog and mark:
            await self.change(mark, text.value or "")
        dialog.delete()

    async def change(self, mark: Mark, text: str) -> None:
        self.tries += 1

        async def work(session: Session) -> None:
            prompt = self.prompt(text)
            shown = await self.wishes.submit(lambda: list(session.take.shown))
            made = await self.wishes.visit.work("clip or edit", self.editor.edit, shown, mark, prompt.text,
                                                prompt.settings.seed + self.tries, lambda: self.wishes.visit.here)
            await asyncio.wrap_future(self.wishes.studio.edit(session, *made))

        if await self.wishes.long("Changing the stretch …", work):
            self.shown = self.which.value = "after"
            self.choice.visible = True

    async def compare(self, event: Any) -> None:
        """Let the other one be shown."""
        if event.value != self.shown:
            before, self.shown = self.shown, event.value
            if not await self.wishes.wish(lambda session: self.wishes.studio.submit(session.compare)):
                self.shown = self.which.value = before

    def keep(self) -> None:
        """The one that is shown; another mark, or none, keeps it too."""
        session = self.wishes.visit.session
        if self.choice.visible and session:
            self.choice.visible = False
            self.wishes.studio.submit(session.keep)
