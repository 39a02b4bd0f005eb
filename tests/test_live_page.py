"""The live page in headless Chromium with the shipped weights: type, and find in the page's own scene what happens."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nicegui", reason="the live page is an extra: pip install '.[live]'")
pytest.importorskip("playwright", reason="the extra test has it: pip install '.[test]'")
import aiohttp
from benchmarks import live_robust as robust
from benchmarks.live import chromium, find_chromium, open_page, say, served
from live.visits import GRACE
from motion import measures
from motion.formats import read_bvh
from test_generate_mosa import weights    # noqa: F401
from test_gltf import play, read

pytestmark = pytest.mark.skipif(not find_chromium(), reason="there is no Chromium: sudo apt-get install chromium")
PORT = 8391


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server():
    with served(PORT) as server:
        yield server


@pytest.fixture
def page(browser, server):
    with new_page(browser, PORT) as page:
        yield page


@contextmanager
def new_page(browser, port: int) -> Iterator:
    """What it asks of anyone but this machine is refused, and fails the test."""
    context, elsewhere, broken = browser.new_context(), [], []
    context.route(lambda url: not url.startswith(f"http://localhost:{port}/"),
                  lambda route: (elsewhere.append(route.request.url), route.abort()))
    page = open_page(context, port)
    page.on("pageerror", lambda error: broken.append(str(error)))
    yield page
    context.close()
    assert not elsewhere and not broken


def wait(page, what: str, seconds: float = 60.0) -> None:
    page.wait_for_function(what, timeout=1000 * seconds)


def joints(page, first: int, end: int) -> np.ndarray:
    """(T, 22, 3) of the scene's joints at each of these frames; the playhead comes back to where it was."""
    found = page.evaluate("""([first, end]) => {
        const { player } = live, { head, playing } = player, found = [];
        player.playing = false;
        for (let frame = first; frame < end; frame++) {
            player.seek(frame);
            live.show();
            found.push(live.world.joints());
        }
        Object.assign(player, { head, playing });
        return found;
    }""", [first, end])
    return np.array(found)


def prompts(page) -> list:
    return page.evaluate("live.timeline.prompts")


def test_does_both_sentences_and_the_past_is_there(page):
    """Geometry finds the one and then the other; scrubbed back, a frame shows the pose that it showed."""
    assert abs(joints(page, 0, 1)[0, :, 1]).max() < 2 and page.evaluate("live.player.edge") == 0
    say(page, "a person raises both hands")
    wait(page, "live.player.head > 100")
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    at = page.evaluate("[Math.round(live.player.head), live.player.playing]")
    assert not at[1]
    shown = joints(page, at[0], at[0] + 1)
    say(page, "a person walks forward")                    # paused, whatever time typing takes
    page.keyboard.press("Escape")
    page.keyboard.press("l")
    wait(page, f"live.timeline.prompts.length > 1 && live.player.head > {at[0] + 130}")
    change = prompts(page)[1][0]
    assert at[0] <= change <= at[0] + 20
    up = joints(page, 0, change)
    assert all(measures.above(up, f"{side}_wrist", "head").any() for side in ("left", "right"))
    assert measures.travelled(joints(page, change, change + 100))[0] > 0.5
    assert measures.in_one_piece(up)
    np.testing.assert_array_equal(joints(page, at[0], at[0] + 1), shown)
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    page.evaluate(f"live.seek({at[0]})")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("live.player.head") == at[0] + 1 and not page.evaluate("live.player.playing")


def test_half_speed_loop_and_reverse_need_no_server(page, server):
    say(page, "a person walks forward")
    wait(page, "live.player.edge >= 60")
    page.keyboard.press("Escape")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        page.evaluate("live.seek(50); live.play(-1)")
        wait(page, "live.player.head < 30")
        page.evaluate("live.seek(0); live.play(0.5)")
        passed, seconds = page.evaluate("""async () => {
            const { head, played } = live.player;
            await new Promise((done) => setTimeout(done, 1000));
            return [live.player.head - head, live.player.played - played];
        }""")
        assert 0 < passed and passed == pytest.approx(15 * seconds, rel=0.02)
        page.evaluate("live.timeline.setMark(10, 20); live.toggleLoop(); live.seek(10); live.play(2)")
        time.sleep(1)
        assert 10 <= page.evaluate("live.player.head") <= 20.5
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_three_wait_and_follow_one_another(page):
    """In their order; one is changed, one dragged before another, and one taken out again."""
    page.locator(".live-seconds input").fill("4")
    page.locator(".live-seconds input").blur()
    say(page, "a person walks forward")
    page.evaluate("live.player.playing = false")           # nothing begins, whatever time this takes
    for text in ("a person bows", "a person runs", "a person sits", "a person jumps"):
        say(page, text, "Queue")
    waiting = page.locator(".live-line", has=page.get_by_role("button", name="take out"))
    waiting.filter(has_text="jumps").get_by_role("button", name="take out").click()
    waiting.filter(has_text="sits").locator("i").first.drag_to(waiting.filter(has_text="runs"))
    wait(page, "live.timeline.waiting.map(([text]) => text.split(' ')[2]).join().includes('sits,runs')")
    waiting.filter(has_text="sits").get_by_text("a person sits").click()
    page.locator(".q-dialog input").first.fill("a person turns left")
    page.locator(".q-dialog").get_by_role("button", name="Keep").click()
    wait(page, "live.timeline.waiting.some(([text]) => text.includes('turns left'))")
    page.evaluate("live.play(1)")
    wait(page, "live.timeline.prompts.length === 4")
    found = prompts(page)
    assert [text for _, text in found] == ["a person walks forward", "a person bows", "a person turns left",
                                           "a person runs"]
    assert [found[place + 1][0] - found[place][0] for place in (1, 2)] == [120, 120]
    assert not page.evaluate("live.timeline.waiting")
    wait(page, "document.querySelector('.live-now')?.textContent.includes('runs')")


def test_a_link_brings_it_back(page, browser):
    say(page, "a person waves the right hand")
    wait(page, "live.player.edge >= 80 && location.search.includes('plan=')")
    before, query = joints(page, 0, 60), page.evaluate("location.search")
    context = browser.new_context()
    again = open_page(context, PORT, query=query)
    wait(again, "live.player.edge >= 60")
    np.testing.assert_allclose(joints(again, 0, 60), before, atol=2e-3)
    context.close()


def test_goes_on_from_an_upload_and_gives_downloads_back(page, tmp_path):
    """BVH and GLB hold the page's frames to 1 mm; an upload of that BVH ends where it ends, and goes on from there."""
    say(page, "a person walks forward")
    wait(page, "live.player.edge >= 100")
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    shown = joints(page, 0, settled(page))
    bvh = download(page, "BVH", tmp_path)
    capture = read_bvh(bvh)
    names = [name.lower() for name in capture.names]
    found = capture.positions[:, [names.index(name) for name in measures.JOINT_NAMES]]
    assert len(found) == len(shown) and np.abs(found - shown).max() < 1e-3
    gltf, arrays = read(download(page, "GLB", tmp_path))
    for frame in range(0, len(shown), 17):
        assert np.abs(play(gltf, arrays, 0, frame)[:22, :3, 3] - shown[frame]).max() < 1e-3
    page.locator(".q-uploader__input").set_input_files(bvh)
    wait(page, "live.timeline.prompts[0]?.[2] === true")
    edge = page.evaluate("live.player.edge")
    last = joints(page, edge - 1, edge)[0]
    assert page.evaluate("live.player.head") == edge - 1
    assert np.linalg.norm(last - shown[-1], axis=-1).max() < 0.06             # where the capture stands, too
    say(page, "a person raises both hands")
    page.evaluate("live.play(1)")
    wait(page, f"live.player.edge > {edge + 90}")
    after = joints(page, edge, edge + 90)
    assert np.linalg.norm(after[0] - last, axis=-1).max() < 0.15
    assert measures.above(after, "left_wrist", "head").any()


def settled(page) -> int:
    """The last frame, when a page that pauses gets no more."""
    edges = [-1, page.evaluate("live.player.edge")]
    while edges[-1] != edges[-2]:
        page.wait_for_timeout(2000)
        edges.append(page.evaluate("live.player.edge"))
    return edges[-1]


def download(page, kind: str, folder: Path) -> Path:
    page.get_by_role("button", name="what is marked, or all", exact=True).click()
    with page.expect_download() as found:
        page.locator(".q-menu .q-item", has_text=kind).first.click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def comes_back(page, change: Callable[[], None]) -> None:
    say(page, "a person walks forward")
    wait(page, "live.player.head > 20")
    before = joints(page, 0, 20)
    change()
    wait(page, "live.player.head > 150 && live.ws.readyState === 1")
    assert np.array_equal(joints(page, 0, 20), before) and len(prompts(page)) == 1


def test_a_server_that_stood_still_for_two_seconds(page, server):
    def stop() -> None:
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(server.pid, signal.SIGCONT)

    comes_back(page, stop)


def test_a_connection_that_was_lost(page):
    comes_back(page, lambda: page.evaluate("live.ws.close()"))


def test_a_server_that_forgot_the_page(page):
    """Away for longer than it waits: the page is loaded again, and its address brings the motion back."""
    say(page, "a person walks forward")
    wait(page, "live.player.edge > 80 && location.search.includes('plan=')")
    before = joints(page, 0, 40)
    page.evaluate("window.old = live; live.ws.onclose = null; live.ws.close()")
    time.sleep(GRACE + 2)
    page.evaluate("live.connect()")
    wait(page, "!window.old && window.live?.player.edge > 60")
    np.testing.assert_allclose(joints(page, 0, 40), before, atol=2e-3)
    assert prompts(page) == [[0, "a person walks forward"]]


def test_used_badly_others_play_on(server, page):
    """A few of what `benchmarks.live_robust` does by the thousand."""
    async def run() -> None:
        rng = random.Random(0)
        async with aiohttp.ClientSession(f"http://localhost:{PORT}") as http:
            for work in (robust.sessions(http, 8), robust.messages(http, 300, rng), robust.post(http, 8, rng)):
                await robust.beside(http, work)

    with ThreadPoolExecutor(1) as beside:    # this thread's event loop is Playwright's
        beside.submit(asyncio.run, run()).result()
    assert server.poll() is None


def test_a_stretch_is_changed_and_a_clip_is_made(browser, weights):
    """With MoSa, of random networks: mark, say, compare, keep, take back; what is not marked stays."""
    def click(name: str, where: str = "body") -> None:
        page.locator(where).get_by_role("button", name=name, exact=True).click()

    def change(first: int, last: int) -> None:
        page.evaluate(f"live.timeline.setMark({first}, {last})")
        click("Change", ".live-mark")
        page.locator(".q-dialog input").fill("a person waves")
        click("Change", ".q-dialog")

    def shown(count: int) -> np.ndarray:
        wait(page, f"live.timeline.prompts.length === {count}")
        return joints(page, 0, edge)

    undo = "bring back what the last prompt cut off"
    with served(PORT + 1, [f"--mosa={weights}"]), new_page(browser, PORT + 1) as page:
        say(page, "a person walks forward")
        wait(page, "live.player.edge >= 120")
        page.keyboard.press("Escape")
        page.keyboard.press("k")
        edge = settled(page)
        before = shown(1)
        change(0, edge - 1)
        page.get_by_text("expected at most 3.3 s").wait_for()
        change(40, 79)
        after = shown(3)
        assert prompts(page) == [[0, "a person walks forward"], [40, "a person waves"], [80, "a person walks forward"]]
        assert np.array_equal(after[:40], before[:40]) and np.abs(after[48:72] - before[48:72]).max() > 0.01
        for name, count, expected in (("before", 1, before), ("after", 3, after), ("before", 1, before)):
            click(name)
            np.testing.assert_array_equal(shown(count), expected)
        click("after")
        wait(page, "live.timeline.prompts.length === 3")
        page.set_viewport_size(dict(width=390, height=800))
        keep = page.get_by_role("button", name="Keep", exact=True)
        assert (box := keep.bounding_box()) and 0 <= box["x"] and box["x"] + box["width"] <= 390
        keep.click()
        keep.wait_for(state="hidden")
        page.set_viewport_size(dict(width=960, height=600))
        click(undo)
        np.testing.assert_array_equal(shown(1), before)
        page.get_by_placeholder("a whole clip …").fill("a person bows")
        click("Make")
        wait(page, "live.timeline.prompts[0]?.[2] === true")
        assert prompts(page) == [[0, "a person bows", True]] and page.evaluate("live.player.head") < 30
        click(undo)
        wait(page, "!live.timeline.prompts[0][2]")
        np.testing.assert_array_equal(shown(1), before)


def test_keys(page):
    say(page, "a person walks forward")
    wait(page, "live.player.head > 40")
    page.keyboard.press("Escape")
    page.keyboard.press(" ")
    assert not page.evaluate("live.player.playing")
    head = page.evaluate("live.player.head")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("live.player.head") == round(head) - 1
    wait(page, "live.player.edge > 60")
    page.keyboard.press("i"), page.evaluate("live.seek(60)"), page.keyboard.press("o")
    assert page.evaluate("live.player.mark") == [round(head) - 1, 60]
    wait(page, "document.querySelector('.live-mark')?.offsetParent")
    page.keyboard.press("r")
    assert page.evaluate("live.player.head") < 20 and page.evaluate("live.player.playing")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.matches('.live-text input')")
    page.keyboard.type("jkl ")
    assert page.locator(".live-text input").input_value() == "jkl "
