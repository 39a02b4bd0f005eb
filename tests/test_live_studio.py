"""The live page's server with several pages: seats, one thread for all, and nothing left of who has gone."""

import gc
import random
import threading
import time
import weakref
from dataclasses import replace

import numpy as np
import torch

from live.plan import Prompt
from live.session import Session
from visitor import SETTINGS, Page, studio, wait    # noqa: F401, a fixture


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


def test_sessions_are_told_on_one_thread_alone(studio):
    page, threads = Page(studio()), set()
    tell = page.session.tell
    page.session.tell = lambda message: (threads.add(threading.current_thread()), tell(message))
    page.ask("walk")
    page.frames(20)
    assert threads == {page.studio.thread} and isinstance(page.session, Session)
    assert torch.is_grad_enabled()
