"""Film the live page in use. Needs Chromium, and Pillow with WebP.

    python -m benchmarks.live_film
    python -m benchmarks.live_film --say "a person bows" --say "a person runs" --out bows.webp --shots shots

The page's clock is stepped by hand, frame after frame of the film, so that it is smooth however long a picture takes.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks.live import SENTENCES, chromium, open_page, served
from options import opt, parse
from utils.checkpoint import write_whole
from utils.errors import run

if TYPE_CHECKING:
    from playwright.sync_api import Page

TYPED = 2               # letters in a frame of the film
CLOCK = """
    let time = performance.now(), waiting = [];
    performance.now = () => time;
    window.requestAnimationFrame = (work) => waiting.push(work);
    window.step = (seconds) => {
        time += 1000 * seconds;
        const now = waiting;
        waiting = [];
        now.forEach((work) => work(time));
    };
    setInterval(() => window.live?.player.edge || step(0.05), 50);
"""


@dataclass(frozen=True)
class Film:
    """Film the live page."""

    say: tuple[str, ...] = opt(SENTENCES[:2], "sentences, one after another")
    seconds: float = opt(3.2, "that each is seen, from when it is typed")
    fps: float = opt(9.0, "pictures a second")
    width: int = opt(1080, "pixels of the page")
    height: int = opt(640, "pixels of the page")
    scale: float = opt(0.75, "pixels of the film for one of the page")
    quality: int = opt(55, "of the pictures, 1 to 100")
    out: Path = opt(Path("docs/live.webp"), "file of the film: .webp or .gif")
    shots: Path | None = opt(None, "folder for the pictures one by one, too")
    port: int = opt(8179, "port of the server")


def main() -> None:
    config = parse({"film": Film()})
    with served(config.port) as _, chromium() as browser:
        context = browser.new_context(viewport={"width": config.width, "height": config.height})
        context.add_init_script(CLOCK)
        page = open_page(context, config.port, draw=True)
        pictures = [picture.resize((round(config.width * config.scale), round(config.height * config.scale)),
                                   Image.Resampling.LANCZOS) for picture in film(page, config)]
    if config.shots:
        config.shots.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures):
            picture.save(config.shots / f"{number:03d}.png")
    with write_whole(config.out) as temporary:
        pictures[0].save(temporary, config.out.suffix[1:], save_all=True, append_images=pictures[1:], loop=0,
                         duration=round(1000 / config.fps), quality=config.quality, method=6)
    print(f"{config.out}: {len(pictures)} pictures, {config.out.stat().st_size / 1e6:.2f} MB")


def film(page: "Page", config: Film) -> Iterator[Image.Image]:
    """The pictures, one for each moment."""
    field = page.locator(".live-text input")
    for sentence in config.say:
        field.focus()
        for first in range(0, len(sentence), TYPED):
            page.keyboard.type(sentence[first:first + TYPED])
            yield picture(page, config.fps)
        page.keyboard.press("Enter")
        page.wait_for_function("(said) => live.timeline.prompts.at(-1)?.[1] === said", arg=sentence, polling=50)
        for _ in range(round(config.seconds * config.fps)):
            yield picture(page, config.fps)


def picture(page: "Page", fps: float) -> Image.Image:
    """What is seen a moment later, when there is a frame for it."""
    page.wait_for_function("!live.player.edge || live.player.edge > live.player.head + 15 || live.player.over",
                           polling=50)
    page.evaluate(f"step({1 / fps})")
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    run(main)
