"""The live page in headless Chromium: underruns while characters play for minutes, and how soon a prompt is seen.

    python -m benchmarks.live --people 1 --seconds 120
    python -m benchmarks.live --people 4 --seconds 120
    python -m benchmarks.live --people 4 --seconds 120 --cost

Starts `demo_live.py`, opens a page for each person, and types a sentence every so many seconds. The pages' clocks run,
but nothing is drawn (`--draw`: it is): drawing in software takes the cores that the model is to be measured on.
underruns    share of the time in which a page had no frame to show
first, seen  seconds from Enter to the first new frame's arrival, as the server counts, and until it is shown
--cost       without a browser and as fast as it goes: processor time for a second of everyone's motion, all that the
             server does for it included. Below 1 one core is enough; other work on the machine does not disturb it
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from demo_live import loader, page_sampling
from demo_t2m import Chosen
from live.plan import Prompt, Settings
from live.session import Message
from live.shown import ROW
from live.studio import Studio
from motion.representation_272 import FPS
from options import opt, parse
from utils.errors import run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parent.parent
SENTENCES = ("a person walks forward", "a person waves the right hand", "a person runs", "a person turns left",
             "a person raises both hands", "a person bows")
QUIET = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-renderer-backgrounding",
         "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows"]

TICK = 50    # ms between two ticks of the clock of a page that is not drawn


@dataclass(frozen=True)
class Live:
    """Measure the live page."""

    people: int = opt(1, "pages that play at once")
    seconds: float = opt(120.0, "for which they play")
    every: float = opt(6.0, "seconds between two sentences of a page")
    cost: bool = opt(False, "measure processor time, without a browser")
    draw: bool = opt(False, "draw the pages, in software")
    port: int = opt(8177, "port of the server")
    flags: tuple[str, ...] = opt((), "more flags of demo_live.py, each with = : --flags=--precision=int8")


def main() -> None:
    config = parse({"live": Live()})
    if config.cost:
        return print(json.dumps(cost(config), indent=2))
    flags = [f"--people={config.people}", f"--minutes={config.seconds / 60 + 2}", *config.flags]
    with served(config.port, flags) as server, chromium() as browser:
        pages = [open_page(browser.new_context(), config.port, config.draw) for _ in range(config.people)]
        print(json.dumps(measure(pages, config, server.pid), indent=2))


def measure(pages: "Sequence[Page]", config: Live, pid: int) -> dict:
    """Type and wait; then what the pages counted."""
    seen, first, begun, used = [], [], time.monotonic(), seconds_used(pid)
    turns = int(config.seconds / config.every)
    for turn in range(turns):
        for place, page in enumerate(pages):
            say(page, SENTENCES[(turn + place) % len(SENTENCES)])
        while time.monotonic() < begun + (turn + 1) * config.every:
            time.sleep(0.1)
        for page in pages:
            told = page.evaluate("live.told")
            seen += [told["visible"]] if told.get("visible") else []
            first += [told["latency"]] if told.get("latency") else []
    passed = time.monotonic() - begun
    underruns = [page.evaluate("live.player.underruns") for page in pages]
    return dict(people=len(pages), seconds=round(passed, 1), sentences=turns * len(pages),
                underruns_percent=[round(100 * share, 2) for share in underruns],
                frames_played=[page.evaluate("Math.floor(live.player.head)") for page in pages],
                first_s=quantiles(first), seen_s=quantiles(seen),
                server_cores=round((seconds_used(pid) - used) / passed, 2))


def cost(config: Live) -> dict:
    """Everyone's characters on this process's studio; each is prompted as the pages would."""
    chosen = Chosen()
    studio = Studio(loader(chosen), config.people, longest=10 ** 6)
    settings = Settings(page_sampling(studio.model(), chosen))
    counts = [0] * config.people
    sessions = [studio.enter(partial(count, counts, place)) for place in range(config.people)]

    def play(turns: int) -> None:
        for turn in range(turns):
            for place, session in enumerate(sessions):
                prompt = Prompt(SENTENCES[(turn + place) % len(SENTENCES)], settings)
                studio.submit(partial(session.report, counts[place], 0.0)).result()
                studio.ask(session, prompt).result()
            goal = min(counts) + int(config.every * FPS)
            while min(counts) < goal:
                for place, session in enumerate(sessions):
                    studio.submit(partial(session.report, max(min(counts[place], goal) - 30, 0), 0.0))
                time.sleep(0.05)

    play(2)                                                  # the first are slower
    begun, frames = time.process_time(), sum(counts)
    play(int(config.seconds / config.every))
    used, made = time.process_time() - begun, (sum(counts) - frames) / FPS
    studio.close()
    return dict(people=config.people, seconds_of_motion=round(made, 1), sampling=vars(settings.sampling),
                cores=round(used / made * config.people, 3), threads=torch.get_num_threads())


def count(counts: list[int], place: int, message: Message) -> None:
    """Frames that were told to a page."""
    if isinstance(message, bytes):
        counts[place] += (len(message) - 4) // (4 * ROW)


def quantiles(values: list[float]) -> dict[str, float]:
    return {name: round(float(np.quantile(values, share)), 3) for name, share in
            (("median", 0.5), ("95%", 0.95), ("most", 1.0))} if values else {}


def seconds_used(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(port: int, flags: Sequence[str] = (), seconds: float = 180.0) -> Iterator[subprocess.Popen]:
    """A server of the shipped weights on this port, until the end of the block."""
    own = {name: value for name, value in os.environ.items() if "PYTEST" not in name}    # NiceGUI looks for these
    command = [sys.executable, "demo_live.py", "--no-show", f"--port={port}", *flags]
    server = subprocess.Popen(command, cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        end = time.monotonic() + seconds
        while not (line := server.stdout.readline()).startswith("Open"):
            if not line or time.monotonic() > end:
                raise ValueError(f"demo_live.py did not start on port {port}: see above")
        yield server
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def find_chromium() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def chromium() -> "Iterator[Browser]":
    """Debian's Chromium without a screen."""
    if not (program := find_chromium()):
        raise FileNotFoundError("There is no Chromium: sudo apt-get install chromium, or CHROMIUM=/path/to/it")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


def open_page(context: "BrowserContext", port: int, draw: bool = False, query: str = "",
              patience: float = 90.0) -> "Page":
    """A page whose scene is there. Not to draw: the clock ticks, all is posed, and nothing reaches the screen."""
    page = context.new_page()
    page.set_default_timeout(1000 * patience)
    if not draw:
        page.set_viewport_size(dict(width=960, height=600))
        page.add_init_script("window.requestAnimationFrame = (work) => "
                             f"setTimeout(() => work(performance.now()), {TICK});")
    page.goto(f"http://localhost:{port}/{query}")
    page.wait_for_function("window.live?.world && live.ws.readyState === 1")
    if not draw:
        page.evaluate("live.world.renderer.render = () => {}")
    return page


def say(page: "Page", text: str, button: str = "Now") -> None:
    """Type a sentence, and press Enter or a button."""
    page.locator(".live-text input").fill(text)
    if button == "Now":
        page.locator(".live-text input").press("Enter")
    else:
        page.get_by_role("button", name=re.compile(button)).click()
    page.wait_for_function("document.querySelector('.live-text input').value === ''")


if __name__ == "__main__":
    run(main)
