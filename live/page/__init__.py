"""The page itself, in NiceGUI: what is around the stage. What is seen and timed is the JavaScript beside this file."""

import base64
import json
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakMethod

import nicegui
import numpy as np
from fastapi import Request, Response
from nicegui import app, ui
from nicegui.element import Element
from torch import Tensor

from live import files
from live.edits import Editor
from live.page.clips import Clips
from live.page.drawer import Drawer
from live.page.wishes import Wishes
from live.plan import TEXT, Prompt, Settings, from_link
from live.session import HELD, Session
from live.shown import Shown
from live.studio import encode_motion
from live.visits import Visit, Visits
from motion.body import Body
from motion.formats.export import Style
from motion.representation_272 import FPS
from motion.skeleton import JOINT_NAMES, PARENTS

HERE = Path(__file__).parent
THREE = Path(nicegui.__file__).parent / "elements" / "scene" / "dist"    # three.js, as NiceGUI ships it
SOCKET, BODY = "/live/frames", "/live/body.json"
EXAMPLES = (
    "a person walks forward", "a person runs", "a person turns left", "a person waves the right hand",
    "a person raises both hands", "a person bows", "a person punches with the right hand", "a person walks backwards",
)
SEARCHED = 12          # prompts that the history shows


class Stage(Element, component="stage.js", esm={"nicegui-scene": str(THREE), "live-page": str(HERE)}):
    """Scene, clock and timeline of one visit."""

    def __init__(self, visit: Visit):
        super().__init__()
        self._props.update(page=visit.name, body=BODY, socket=SOCKET)


def serve(visits: Visits, settings: Settings, style: Style, editor: Editor | None = None) -> None:
    """Add the page and what it fetches to NiceGUI's app; with an editor it makes clips and edits.

    style   of what is seen and downloaded
    """
    app.add_api_websocket_route(SOCKET, visits.endpoint)
    content = body_json(style.mesh)

    @app.get(BODY)
    def body() -> Response:
        return Response(content, media_type="application/json", headers={"cache-control": "no-cache"})

    @ui.page("/", title="Type, and the character obeys")
    def index(request: Request) -> None:
        ui.add_css((HERE / "style.css").read_text(encoding="utf-8"))
        prompts, problem = [], ""
        try:
            plan = request.query_params.get("plan", "")
            prompts = from_link(plan) if plan else []
            for prompt in prompts:
                visits.studio.model().sampling_with(prompt.settings.sampling, {})
        except ValueError as error:
            prompts, problem = [], str(error)
        try:
            Page(visits, prompts, settings, style, editor)
        except ValueError as error:
            ui.label(str(error)).classes("absolute-center")
        if problem:
            ui.notify(problem, type="warning")


def body_json(body: Body) -> str:
    """A body as the scene reads it: names and parents of the joints, and arrays as base64."""
    arrays = {name: base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
              for name, values in body._asdict().items()}
    return json.dumps(dict(names=JOINT_NAMES, parents=PARENTS, **arrays))


def weakly(method: Callable[[Any], Coroutine[Any, Any, None]]) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """A method of a page, without keeping that: FastAPI never forgets an upload's route, and with it its handlers."""
    found = WeakMethod(method)

    async def call(event: Any) -> None:
        if method := found():
            await method(event)

    return call


class Page:
    """The elements of one visit. Who sends events by hand reaches these methods only; each checks what it got."""

    def __init__(self, visits: Visits, prompts: Sequence[Prompt], settings: Settings, style: Style,
                 editor: Editor | None):
        ui.colors(primary="#2f78ab")
        self.visit, self.studio, self.style = visits.new(prompts), visits.studio, style
        self.mark: tuple[int, int] | None = None
        self.waiting: list[str] = []
        self.link = ""
        self.visit.watch = self.hear
        self.client = ui.context.client
        self.client.on_delete(lambda: visits.end(self.visit))
        self.wishes = Wishes(self.visit)
        self.drawer = Drawer(self.wishes, prompts[-1].settings if prompts else settings)
        self.clips = Clips(editor, self.wishes, self.prompt) if editor else None
        self.stage = Stage(self.visit).on("mark", lambda event: self.set_mark(event.args))
        with self.stage:
            self.add_dock()
            with self.stage.add_slot("side"):
                self.add_side()
            with self.stage.add_slot("marked"):
                self.add_marked()
        self.add_tools()

    # Elements

    def add_dock(self) -> None:
        with ui.element("div").classes("live-ask"):
            self.text = ui.input(placeholder="a person …").classes("live-text")
            self.text.props(f'outlined dense maxlength={TEXT} autocomplete=off aria-label="what the character does"')
            self.text.on("keydown.enter", self.ask)
            self.seconds = ui.number(value=HELD, min=0.5, max=120, step=0.5, suffix="s").props("outlined dense")
            self.seconds.classes("live-seconds").tooltip("how long it lasts if something waits in the queue")
            now = ui.button("Now", on_click=self.ask).props("unelevated color=primary no-caps").classes("grow")
            now.tooltip("cuts in at the playhead plus the lead")
            ui.button("Queue", on_click=self.enqueue).props("flat no-caps").classes("grow").tooltip("behind what waits")

    def add_side(self) -> None:
        ui.html("<h1>Type, and the character obeys</h1>", sanitize=False)
        self.queue_title = ui.html("<h2>Queue</h2>", sanitize=False)
        self.queue = ui.column()
        self.queue.make_sortable(on_end=self.drag)
        ui.html("<h2>Examples</h2>", sanitize=False)
        with ui.column():
            for example in EXAMPLES:
                self.line(example)
        self.history_title = ui.html("<h2>Said before</h2>", sanitize=False)
        self.history = ui.column()
        if self.clips:
            self.clips.add_side()
        self.queue_title.visible = self.history_title.visible = False

    def add_marked(self) -> None:
        with ui.element("div").classes("live-mark") as self.marked:
            self.mark_label = ui.label().classes("live-time")
            if self.clips:
                self.clips.add_marked(lambda: self.mark)
            ui.button(icon="close", on_click=lambda: self.stage.run_method("unmark")).props("flat dense round")
        self.marked.visible = False

    def add_tools(self) -> None:
        self.uploader = ui.upload(multiple=True, max_files=2, max_file_size=files.SENT, auto_upload=True,
                                  on_multi_upload=weakly(self.upload), on_rejected=weakly(self.refuse))
        self.uploader.classes("hidden")
        with ui.element("div").classes("live-tools"):
            menu = self.tool("menu", "queue, examples, history", lambda: self.stage.run_method("toggleSide"))
            menu.classes("live-menu")
            self.tool("restart_alt", "a new character", self.clear)
            self.undo_button = self.tool("undo", "bring back what the last prompt cut off", self.undo)
            self.tool("upload_file", "go on from a capture: BVH, npz, npy, or AMC with its ASF",
                      lambda: self.uploader.run_method("pickFiles"))
            with self.tool("download", "what is marked, or all"), ui.menu():
                for kind in files.FORMATS:
                    ui.menu_item(kind.upper(), on_click=partial(self.download, kind))
            self.tool("link", "a link that brings this back", self.copy_link)
            self.tool("tune", "controls", self.drawer.toggle)
        self.undo_button.disable()

    def tool(self, icon: str, what: str, act: Callable[[], Any] | None = None) -> ui.button:
        button = ui.button(icon=icon, on_click=act).props(f'round dense flat aria-label="{what}"')
        with button:
            ui.tooltip(what).props('anchor="top middle" self="bottom middle"')    # what it opens is below
        return button

    def line(self, text: str) -> None:
        """A sentence to click."""
        with ui.element("div").classes("live-line").on("click", lambda: self.ask_text(text)):
            ui.label(text).classes("grow")

    # What the session tells

    def hear(self, message: dict) -> None:
        """On the event loop, whenever something else than frames is told."""
        with self.client:
            if "error" in message:
                self.wishes.warn(message["error"])
            if "prompts" in message:
                self.undo_button.set_enabled(message["undo"])
                self.link = message["link"]
                if self.clips:
                    self.clips.hear(message)
                self.show_queue(message["waiting"])
                said = [text for _, text, *given in message["prompts"] if not given]
                self.show_history(list(dict.fromkeys(reversed(said)))[:SEARCHED])
                if message["full"]:
                    self.wishes.warn("this page keeps no longer motion: download it, then start a new character")

    def show_queue(self, waiting: Sequence[Sequence]) -> None:
        self.queue_title.visible, self.waiting = bool(waiting), [text for text, _ in waiting]
        self.queue.clear()
        with self.queue:
            for place, (text, seconds) in enumerate(waiting):
                with ui.element("div").classes("live-line"):
                    ui.icon("drag_indicator", color="grey-5")
                    ui.label(text).classes("grow").on("click", partial(self.edit, place, text, seconds))
                    ui.label(f"{seconds or HELD:g} s").classes("live-hint")
                    out = partial(self.requeue, place, text, lambda rest, prompt, place: rest)
                    ui.button(icon="close", on_click=out).props('flat dense round size=xs aria-label="take out"')

    def show_history(self, said: Sequence[str]) -> None:
        self.history_title.visible = bool(said)
        self.history.clear()
        with self.history:
            for text in said:
                self.line(text)

    # Wishes

    async def ask(self) -> None:
        text = self.taken()
        if not await self.ask_text(text):
            self.text.value = self.text.value or text

    async def ask_text(self, text: str) -> bool:
        return await self.wishes.wish(lambda session: self.studio.ask(session, self.prompt(text)))

    async def enqueue(self) -> None:
        text = self.taken()

        def wish(session):
            return self.studio.reading(session, [self.prompt(text)],
                                       lambda read: session.queue([*session.untimed(), *read]))

        if not await self.wishes.wish(wish):
            self.text.value = self.text.value or text

    def taken(self) -> str:
        """What was typed; the field is empty at once, so that one can type on."""
        text, self.text.value = self.text.value or "", ""
        return text

    def prompt(self, text: Any, seconds: Any = None) -> Prompt:
        seconds = self.seconds.value if seconds is None else seconds
        return Prompt(text.strip() if isinstance(text, str) else "", self.drawer.settings, seconds)

    async def requeue(self, place: int, text: str, change: Callable[[list, Prompt, int], list],
                      instead: Sequence[Prompt] = ()) -> None:
        """Change the queue at a prompt, unless that has begun by now: `change` gets the others, it, or what is to be
        there instead, and its place."""
        def work(session, read: list[Prompt]) -> None:
            waiting = session.untimed()
            same = [at for at, prompt in enumerate(waiting) if prompt.text == text]
            if same:
                at = min(same, key=lambda one: abs(one - place))
                session.queue(change([*waiting[:at], *waiting[at + 1:]], read[0] if read else waiting[at], at))

        await self.wishes.wish(lambda session: self.studio.reading(session, instead, lambda read: work(session, read)))

    async def drag(self, event: Any) -> None:
        old, new = event.old_index, event.new_index
        if all(isinstance(place, int) and 0 <= place < len(self.waiting) for place in (old, new)):
            await self.requeue(old, self.waiting[old], lambda rest, prompt, _: [*rest[:new], prompt, *rest[new:]])

    async def edit(self, place: int, text: str, seconds: float | None) -> None:
        with self.client, ui.dialog(value=True) as dialog, ui.card().style("width: min(480px, 92vw)"):
            new = ui.input("what the character does", value=text).props(f"outlined dense maxlength={TEXT}")
            new.classes("full-width")
            lasts = ui.number("seconds", value=seconds or HELD, min=0.5, max=120, step=0.5).props("outlined dense")
            with ui.row():
                ui.button("Keep", on_click=lambda: dialog.submit(True)).props("unelevated no-caps")
                ui.button("Cancel", on_click=dialog.close).props("flat no-caps")
        if await dialog:
            try:
                prompt = self.prompt(new.value, lasts.value)
                await self.requeue(place, text, lambda rest, new, at: [*rest[:at], new, *rest[at:]], [prompt])
            except ValueError as error:
                self.wishes.warn(str(error))
        dialog.delete()

    async def clear(self) -> None:
        await self.wishes.wish(lambda session: self.studio.submit(session.clear))

    async def undo(self) -> None:
        await self.wishes.wish(lambda session: self.studio.submit(session.undo))

    # Files

    def set_mark(self, mark: Any) -> None:
        whole = isinstance(mark, list) and len(mark) == 2 and all(isinstance(frame, int) for frame in mark)
        new = (mark[0], mark[1]) if whole and 0 <= mark[0] < mark[1] else None
        if self.clips and new != self.mark:
            self.clips.keep()
        self.mark = new
        self.marked.visible = self.mark is not None
        if self.mark:
            self.mark_label.text = f"{self.mark[0] / FPS:.1f} – {self.mark[1] / FPS:.1f} s"

    async def upload(self, event: Any) -> None:
        async def work(session: Session) -> None:
            content = {file.name: await file.read() for file in event.files[:2]}
            shown, latents, said = await self.visit.work("file", self.read_capture, content)
            name = next(name for name in content if not name.lower().endswith(".asf"))[:60]
            await self.wishes.submit(lambda: session.give(name, shown, latents))
            with self.client:
                ui.notify(f"{name}: {said}" if said else name, position="top", timeout=8000)

        await self.wishes.long("Reading the capture …", work)
        self.uploader.reset()

    async def refuse(self, _: Any) -> None:
        self.wishes.warn(f"expected one capture of {files.SENT // 10 ** 6} MB at most, or an .amc with its .asf")

    def read_capture(self, content: dict[str, bytes]) -> tuple[list[Shown], Tensor, str]:
        wanted = lambda: self.visit.here
        motion, start, said = files.read_upload(content, wanted, self.drawer.reading)
        return files.show_motion(motion, start, wanted=wanted), encode_motion(self.studio.model(), motion), said

    async def download(self, kind: str) -> None:
        mark = self.mark

        async def work(session: Session) -> None:
            stretch = await self.wishes.submit(lambda: session.stretch(mark))
            content = await self.visit.work("file", files.write_download, kind, stretch, self.style,
                                            lambda: self.visit.here)
            ui.download.content(content, files.file_name(stretch.title, kind))

        await self.wishes.long(f"Writing the {kind.upper()} …", work)

    async def copy_link(self) -> None:
        if not self.link:
            return self.wishes.warn("there is no link: nothing was asked, it is too long, or a capture, a clip or an "
                                    "edit is in it")
        copied = await ui.run_javascript("!!navigator.clipboard && navigator.clipboard.writeText(location.href).then("
                                         "() => true, () => false)")
        ui.notify("The address of this page brings prompts, seeds and settings back: "
                  + ("it is copied." if copied else "copy it from the address bar."), position="top")
