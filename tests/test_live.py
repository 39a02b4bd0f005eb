"""The live page's server without a browser: one motion whoever watches it."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from live.plan import Prompt, from_link
from live.shown import show_all
from live.studio import encode_motion
from motion.footing import Footing, grounded_pose
from motion.representation_272 import Start
from motion.skeleton import forward_kinematics
from test_pipeline import ALWAYS, GUIDED, MEAN, STD, assert_same, streamer
from visitor import SETTINGS, Page, motion_of, studio, wait    # noqa: F401, a fixture


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
