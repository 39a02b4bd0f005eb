"""The live page's server without a browser: one motion whoever watches it, and nothing left of who has gone."""

import gc
import random
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from live.plan import Prompt, Settings, from_link
from live.session import Session
from live.shown import ROW, show_all
from live.studio import Studio, encode_motion
from motion.footing import Footing, grounded_pose
from motion.representation_272 import Start
from motion.skeleton import forward_kinematics
from test_pipeline import ALWAYS, GUIDED, MEAN, NEVER, STD, assert_same, streamer

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


def test_the_first_prompt_moves_as_the_demo_does(studio):
    """And what is on the wire is the pose of it."""
    page = Page(studio())
    page.ask("walk")
    page.frames(60)
    motion = motion_of(page)[:60]
    assert_same(motion, streamer().generate("walk", seed=0, length=60))
    rotations, pelvis = grounded_pose(motion)
    shown = page.session.stretch((0, 59)).pose
    np.testing.assert_allclose(forward_kinematics(*shown), forward_kinematics(rotations, pelvis), atol=1e-4)


def test_never_further_ahead_than_asked_whoever_is_silent(studio):
    page = Page(studio())
    page.session.ahead = 1.0
    page.ask("walk")
    wait(lambda: len(page.rows) >= 30)
    time.sleep(0.2)
    assert len(page.rows) == 32
    page.at(10)
    wait(lambda: len(page.rows) == 40)


@pytest.mark.parametrize("playhead, rate, lead, cut", [
    (0, 0, 0.4, 12), (13, 0, 0.4, 28), (13.9, 30, 0.4, 28), (13, 0, 1.0, 44), (0, 0, 20.0, None)])
def test_a_prompt_cuts_in_at_playhead_plus_lead(studio, playhead, rate, lead, cut):
    """In whole latents, and not behind what is made; what was before stays as it was."""
    page = Page(studio())
    page.session.lead, page.session.ahead = lead, 2.5
    page.ask("walk")
    wait(lambda: len(page.rows) >= 75)
    page.at(playhead, rate)
    page.session.playhead.heard += 1e3 if rate else 0     # no time passes between report and prompt
    wait(lambda: not page.session.due)
    before = page.rows.copy()
    page.ask("jump")
    cut = len(before) if cut is None else cut
    assert page.last("prompts") == [[0, "walk"], [cut, "jump"]]
    after = page.frames(len(before) + 4)
    assert np.array_equal(after[:cut], before[:cut])
    assert cut == len(before) or np.abs(after[cut:len(before)] - before[cut:]).max() > 1e-3


def test_a_link_brings_the_same_motion_back(studio):
    """However the first was asked: cut in, queued, with other settings, and beyond what the model sees."""
    first = Page(studio())
    first.ask("walk")
    first.frames(40), first.at(20)
    first.ask("jump", seconds=1.0)
    other = replace(SETTINGS, sampling=replace(GUIDED, guidance=1.0), seed=5)
    first.studio.queue(first.session, [Prompt("sit", SETTINGS, 0.5), Prompt("wave", other, 0.5)]).result()
    first.frames(200)
    assert [text for _, text in first.last("prompts")] == ["walk", "jump", "sit", "wave"]
    second = Page(first.studio, from_link(first.last("link")))
    np.testing.assert_allclose(second.frames(200), first.frames(200), atol=2e-3)
    assert second.last("prompts") == first.last("prompts")


def test_a_prompt_without_a_frame_did_not_happen(studio):
    """Asked twice before a latent was made, so that a link says what is played."""
    page = Page(studio())
    page.session.ahead = 0.0                               # nothing is made
    page.ask("walk")
    page.ask("jump")
    assert page.last("prompts") == [[0, "jump"]] and [one.text for one in from_link(page.last("link"))] == ["jump"]


def test_a_link_that_this_model_cannot_sample_says_so(studio):
    sampling = replace(GUIDED, steps=3, solver="fitted")
    page = Page(studio(), [Prompt("walk", replace(SETTINGS, sampling=sampling))])
    wait(lambda: page.last("error"))
    assert "fitted" in str(page.last("error"))


def test_of_a_long_capture_the_last_is_kept(studio):
    page = Page(studio(longest=6))
    motion = capture(40)
    latents = encode_motion(page.studio.model(), motion)
    page.studio.submit(lambda: page.session.give("mine.bvh", show_all(motion), latents)).result()
    assert np.array_equal(motion_of(page), motion[-20:])


def test_characters_do_not_depend_on_one_another(studio):
    alone = Page(studio())
    alone.ask("walk")
    expected = alone.frames(80).copy()
    together = studio()
    pages = [Page(together) for _ in range(4)]
    for page, text in zip(pages, ["walk", "jump", "sit", "wave"]):
        page.ask(text)
    random.seed(0)
    while min(len(page.rows) for page in pages) < 80:
        page = random.choice(pages)
        page.at(max(len(page.rows) - random.randrange(60), 0))
        if random.random() < 0.1 and page is not pages[0]:
            page.ask("jump")
    np.testing.assert_allclose(pages[0].rows[:80], expected, atol=2e-3)


def test_what_waits_begins_when_its_time_has_come(studio):
    """Each after its seconds; one whose motion is over makes room at once."""
    page = Page(studio())
    page.studio.queue(page.session, [Prompt("walk", SETTINGS, 1.0), Prompt("sit", SETTINGS, 0.5),
                                     Prompt("jump", SETTINGS)]).result()
    page.frames(90)
    assert page.last("prompts") == [[0, "walk"], [32, "sit"], [48, "jump"]] and page.last("waiting") == []
    ending = Page(studio(ALWAYS))
    short = Prompt("walk", replace(SETTINGS, hold=False), 5.0)
    ending.studio.queue(ending.session, [short, short]).result()
    wait(lambda: len(ending.last("prompts")) == 2 and ending.last("over"))
    assert ending.last("prompts") == [[0, "walk"], [4, "walk"]] and len(ending.rows) == 8


def test_what_waits_of_a_link_comes_behind_what_is_asked(studio):
    """As long as in the link, and not at its old times."""
    linked = [("walk", 0), ("sit", 10), ("wave", 16)]
    page = Page(studio(), [Prompt(text, SETTINGS, at=at) for text, at in linked])
    wait(lambda: page.last("waiting"))
    page.session.ahead = 0.0
    page.ask("jump", seconds=2.0)
    assert page.last("waiting") == [["sit", 0.8], ["wave", None]]
    page.session.ahead = 2.0
    page.frames(100)
    (_, begun), *rest = [(text, at) for at, text in page.last("prompts") if text != "walk"]
    assert rest == [("sit", begun + 60), ("wave", begun + 84)]


def test_undo_brings_back_what_was_cut(studio):
    page = Page(studio())
    page.ask("walk")
    before = page.frames(60).copy()
    page.at(0)
    page.ask("jump")
    page.frames(40)
    page.studio.submit(page.session.undo).result()
    assert np.array_equal(page.rows[:60], before) and page.last("over") and not page.last("undo")
    with pytest.raises(ValueError, match="nothing to undo"):
        page.studio.submit(page.session.undo).result()
    page.at(len(page.rows))
    page.ask("sit")
    page.frames(len(before) + 20)


def test_goes_on_from_a_capture(studio):
    """The capture is shown as it is, where it stands, and what follows is what a stream with this past gives."""
    page, start = Page(studio()), Start(1.0, 30.0, -20.0)
    motion = capture(28)
    latents = encode_motion(page.studio.model(), motion)
    page.studio.submit(lambda: page.session.give("mine.bvh", show_all(motion, start), latents)).result()
    np.testing.assert_allclose(page.rows[:, :3], start.moved(grounded_pose(motion)[1]), atol=1e-4)
    assert len(page.rows) == 28 and page.last("seek") == 27 and page.last("prompts") == [[0, "mine.bvh", True]]
    assert page.last("link") == "" and page.last("over")
    page.at(27)
    page.ask("walk")
    page.frames(48)
    assert_same(motion_of(page)[:28], motion)
    seed = Prompt("walk", SETTINGS).seed(7)
    expected = page.studio.model().stream("walk", seed, motion, hold=True)
    assert_same(motion_of(page)[28:48], np.concatenate([next(expected) for _ in range(5)]))
    np.testing.assert_allclose(page.rows[:48, :3], start.moved(grounded_pose(motion_of(page)[:48])[1]), atol=1e-4)


def capture(frames: int) -> np.ndarray:
    return (MEAN.numpy() + STD.numpy() * np.random.default_rng(0).normal(size=(frames, 272))).astype(np.float32)


def test_nothing_is_posed_twice(studio, monkeypatch):
    """A page that comes back, or a capture, keeps nobody waiting: all of it is posed already."""
    page = Page(studio())
    page.ask("walk")
    page.frames(40)
    page.at(0)
    wait(lambda: not page.session.due)
    shown, latents, motion = page.session.take.shown, torch.stack(page.session.take.latents), motion_of(page)
    np.testing.assert_array_equal(b"".join(one.rows for one in show_all(motion)), page.rows.tobytes())
    monkeypatch.setattr(Footing, "pose", lambda self, frames: 1 / 0)
    page.studio.submit(lambda: page.session.connect(0, 0)).result()
    page.studio.submit(lambda: page.session.give("mine.bvh", shown, latents)).result()
    assert len(page.rows) == len(motion)


def test_a_page_that_comes_back_gets_what_it_lacks(studio):
    page = Page(studio())
    page.ask("walk")
    whole = page.frames(64).copy()
    page.rows = whole[:22]
    page.studio.submit(lambda: page.session.connect(22, 0)).result()
    assert np.array_equal(page.rows[:64], whole)


def test_a_page_that_missed_a_cut_shows_nothing_that_is_no_more(studio):
    """Cut and cut again while it was away: all from the lowest cut on comes again; and what waits keeps its place."""
    together = studio(seats=1)
    page, waiter = Page(together), Page(together)
    page.ask("walk")
    old, cuts = page.frames(60).copy(), page.cuts
    for at, text in ((0, "jump"), (40, "sit")):
        page.at(at)
        page.ask(text)
        page.frames(60)
    page.at(0)
    wait(lambda: not page.session.due)
    now = page.rows.copy()
    page.rows, page.cuts = old, cuts
    together.connect(page.session, len(old), cuts).result()
    assert np.array_equal(page.rows, now) and page.cuts == 2
    waiter.dicts.clear()
    together.connect(waiter.session, 0, 0).result()
    assert waiter.last("place") == 1


def test_a_marked_stretch_has_its_prompts(studio):
    page = Page(studio())
    page.studio.queue(page.session, [Prompt("walk", SETTINGS, 1.0), Prompt("sit", SETTINGS, 1.0)]).result()
    page.frames(80)
    motion, rows, title = page.session.stretch((20, 49))
    assert np.array_equal(motion, motion_of(page)[20:50]) and title == [(0, "walk"), (12, "sit")]
    assert np.array_equal(rows, page.rows[20:50])
    assert page.session.stretch((40, 1000)).title == [(0, "sit")]


def test_seats_and_the_queue_behind_them(studio):
    together = studio(seats=2)
    pages = [Page(together) for _ in range(4)]
    for page in pages:
        page.ask("walk")
    wait(lambda: min(len(page.rows) for page in pages[:2]) >= 60)
    assert [page.last("place") for page in pages] == [0, 0, 1, 2]
    assert len(pages[2].rows) == len(pages[3].rows) == 0
    together.leave(pages[0].session).result()
    assert pages[2].last("place") == 0 and pages[3].last("place") == 1
    pages[2].frames(20)


def test_who_sleeps_makes_room_for_who_waits(studio):
    together = studio(seats=1)
    sleeper, waiter = Page(together), Page(together)
    sleeper.session.last_word -= 1e4
    wait(lambda: waiter.last("place") == 0)
    assert sleeper.last("place") == 1


def test_a_new_seat_is_kept_however_long_was_waited(studio):
    together = studio(seats=1)
    sleeper, waiter, third = Page(together), Page(together), Page(together)
    sleeper.session.last_word -= 1e4
    waiter.session.last_word -= 1e4
    wait(lambda: waiter.last("place") == 0)
    time.sleep(2.2)                                        # two reports
    assert waiter.last("place") == 0 and third.last("place") == 1


def test_who_leaves_leaves_nothing(studio):
    together = studio()
    gone = []
    for number in range(20):
        page = Page(together)
        page.ask(f"walk {number}")
        page.frames(8)
        gone.append(weakref.ref(page.session))
        together.leave(page.session).result()
    del page
    stay = Page(together)
    stay.ask("sit")
    stay.frames(20)
    gc.collect()
    assert len(together.sessions) == 1 and sum(one() is not None for one in gone) == 0
    assert sum(len(batch.moving) for batch in together.batches.values()) == 1


def test_a_slow_text_encoder_stops_nobody(studio):
    together = studio()
    quick, slow = Page(together), Page(together)
    quick.ask("walk")
    held, encode = threading.Event(), together.model().text_encoder
    together.model().text_encoder = lambda sentences: held.wait(20) and encode(sentences) if sentences == [
        "slow"] else encode(sentences)
    asked = together.ask(slow.session, Prompt("slow", SETTINGS))
    quick.frames(80)
    assert not asked.done()
    held.set()
    asked.result()


def test_a_long_list_keeps_nobody_waiting(studio):
    """All have their turns, one sentence each; and who leaves has the rest of theirs unread."""
    together = studio()
    long, short, read, gate = Page(together), Page(together), [], threading.Semaphore(0)
    embed = together.model().embed
    together.model().embed = lambda sentences: (gate.acquire(timeout=20), read.append(sentences[0]),
                                                embed(sentences))[-1]
    together.queue(long.session, [Prompt(f"sit {number}", SETTINGS) for number in range(100)])
    asked = together.ask(short.session, Prompt("walk", SETTINGS))
    gate.release(5)
    asked.result()
    assert read.index("walk") <= 2                         # behind the empty text, which guidance needs, and one
    together.leave(long.session).result()
    gate.release(200)
    short.ask("jump")
    assert len(read) <= 8 and not together.reader.lines


def test_a_model_that_loads_keeps_nobody_waiting(studio):
    """Nor do its own page's prompts pass one another."""
    together, held = studio(), threading.Event()
    slow, quick = Page(together), Page(together)
    quick.ask("walk")
    load = together.reader.load
    together.reader.load = lambda precision: held.wait(20) and load(precision)
    asked = [together.ask(slow.session, Prompt("sit", replace(SETTINGS, precision="int8"))),
             together.ask(slow.session, Prompt("jump", SETTINGS))]
    quick.ask("wave")
    quick.frames(40)
    assert not any(one.done() for one in asked)
    held.set()
    asked[1].result()
    assert asked[0].done() and slow.last("prompts")[-1][1] == "jump"


def test_a_page_without_a_seat_waits_with_what_it_asks(studio):
    together = studio(seats=1)
    first, second = Page(together), Page(together)
    first.ask("walk")
    for text in ("sit", "wave"):
        second.ask(text, seconds=1.0)
    assert second.last("waiting") == [["sit", 1.0], ["wave", 1.0]] and second.session.stream is None
    together.leave(first.session).result()
    second.frames(60)
    assert second.last("prompts") == [[0, "sit"], [32, "wave"]]


def test_what_was_read_is_never_read_again(studio):
    """Whatever the text encoder forgets: a prompt brings its embedding with it, also when it waited."""
    page = Page(studio())
    prompts = [Prompt("walk", SETTINGS, 0.5), Prompt("sit", SETTINGS, 0.5)]
    page.studio.queue(page.session, prompts).result()
    page.studio.model().embed = lambda sentences: 1 / 0
    page.frames(40)
    assert page.last("prompts") == [[0, "walk"], [16, "sit"]] and not page.last("error")
    assert all(prompt.read is None for prompt in page.session.take.prompts)


def test_a_prompt_that_cannot_begin_changes_nothing(studio):
    page = Page(studio())
    page.ask("walk", seconds=60.0)
    page.studio.queue(page.session, [Prompt("sit", SETTINGS)]).result()
    before = page.frames(40).copy()
    page.at(0)
    start, page.studio.start = page.studio.start, lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        page.ask("jump")
    page.studio.start = start
    assert np.array_equal(page.frames(len(before) + 20)[:40], before) and page.last("prompts") == [[0, "walk"]]


def test_a_prompt_read_after_its_page_left_begins_nothing(studio):
    together = studio()
    page = Page(together)
    together.leave(page.session).result()
    page.ask("walk")
    assert not together.batches and page.session.stream is None


def test_batches_without_a_stream_go(studio):
    together = studio()
    page = Page(together)
    page.ask("walk")
    page.frames(8)
    assert together.batches
    together.leave(page.session).result()
    wait(lambda: not together.batches)


def test_one_that_fails_says_so_and_the_others_go_on(studio):
    together = studio()
    good, bad = Page(together), Page(together)
    good.ask("walk")
    bad.session.add = lambda frames: 1 / 0
    bad.ask("walk")
    wait(lambda: bad.last("error") and bad.last("over"))
    assert "ZeroDivisionError" in bad.last("error")
    good.frames(100)
    del bad.session.add
    bad.ask("walk")
    bad.frames(20)


def test_a_motion_that_is_not_finite_stops_and_says_so(studio):
    page = Page(studio())
    page.ask("walk")
    page.frames(20)
    page.studio.submit(lambda: page.session.add(np.full((4, 272), np.nan, np.float32))).result()
    assert "guidance" in page.last("error") and page.last("over") and np.isfinite(page.rows).all()


def test_only_so_much_is_kept(studio):
    page = Page(studio(longest=10))
    page.ask("walk")
    page.frames(40)
    page.at(40)
    time.sleep(0.1)
    assert len(page.rows) == 40 and page.last("full")


def test_the_past_of_a_new_stream_reaches_as_far_as_any_model_sees():
    from live.session import REACH
    from options.models import AR
    assert REACH >= AR().context


def test_sessions_are_told_on_one_thread_alone(studio):
    page, threads = Page(studio()), set()
    tell = page.session.tell
    page.session.tell = lambda message: (threads.add(threading.current_thread()), tell(message))
    page.ask("walk")
    page.frames(20)
    assert threads == {page.studio.thread} and isinstance(page.session, Session)
    assert torch.is_grad_enabled()
