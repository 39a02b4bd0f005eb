"""MoSa in the live page, with random networks: what is not marked stays, and what is made goes on and comes back."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from live.edits import Editor
from live.plan import Prompt
from live.shown import join
from models.checkpoints import fingerprint
from models.mosa.tokenizer import CAQVAE
from generation.mosa import MoSa
from options.sampling import Compute
from test_generate_mosa import Words, checkpoint
from visitor import SETTINGS, Page, motion_of, studio, wait      # noqa: F401
from test_mosa import tokenizer
from test_pipeline import assert_same
from train_mosa_tokenizer import TINY


@pytest.fixture(scope="module")
def mosa() -> MoSa:
    codes = tokenizer(TINY)
    return MoSa(codes, checkpoint(codes=codes), Words(), compute=Compute("cpu"))


@pytest.fixture
def page(studio) -> Page:
    """One that has walked for four seconds, and stands by."""
    page = Page(studio())
    page.ask("walk")
    page.frames(120)
    page.at(0)
    wait(lambda: not page.session.due)
    return page


def edit(page: Page, editor: Editor, mark, text: str = "wave", meanwhile=lambda: None):
    made = editor.edit(list(page.session.take.shown), mark, text, 0)
    meanwhile()
    page.studio.edit(page.session, *made).result()
    return made


def test_what_is_not_marked_stays(page, mosa):
    """Its frames do; what is behind goes on from where the new stretch ends. And the page shows what is exported."""
    before, rows = motion_of(page), page.rows.copy()
    edit(page, Editor(mosa, page.studio.model), (41, 70))
    after, first, end = motion_of(page), 40, 72
    assert np.array_equal(after[:first], before[:first]) and np.array_equal(after[end:], before[end:])
    assert np.abs(after[first:end] - before[first:end]).max() > 0.01
    assert np.array_equal(page.rows[:first], rows[:first]) and len(page.rows) == len(rows)
    np.testing.assert_array_equal(page.rows, page.session.stretch(None).rows)
    steps = np.linalg.norm(np.diff(page.rows[:, :3], axis=0), axis=1)
    assert steps[end - 1] < 3 * steps.max(initial=0, where=np.arange(len(steps)) < first)     # no leap behind it
    assert page.last("prompts") == [[0, "walk"], [40, "wave"], [72, "walk"]]
    assert page.session.stretch((50, 90)).title == [(0, "wave"), (22, "walk")]
    assert page.last("edited") and page.last("undo") and page.last("link") == ""


def test_before_and_after_are_compared_as_often_as_one_likes(page, mosa):
    before = page.rows.copy()
    edit(page, Editor(mosa, page.studio.model), (41, 70))
    after = page.rows.copy()
    for expected in (before, after, before, after):
        page.studio.submit(page.session.compare).result()
        assert np.array_equal(page.rows, expected) and page.last("edited")
    page.studio.submit(page.session.undo).result()
    assert np.array_equal(page.rows, before) and not page.last("edited") and not page.last("undo")
    assert page.last("prompts") == [[0, "walk"]]
    with pytest.raises(ValueError, match="nothing to compare"):
        page.studio.submit(page.session.compare).result()


@pytest.mark.parametrize("kept", ["before", "after"])
def test_what_waits_stands_still_while_one_compares(page, mosa, kept):
    """And begins behind the one that is kept, when that is."""
    edit(page, Editor(mosa, page.studio.model), (41, 70))
    page.studio.queue(page.session, [Prompt("sit", SETTINGS, 1.0)]).result()
    for _ in range(1 if kept == "before" else 2):
        page.studio.submit(page.session.compare).result()
        page.at(len(page.rows))
        time.sleep(0.1)
        assert page.last("waiting") == [["sit", 1.0]] and page.last("edited") and page.last("over")
    rows = page.rows.copy()
    page.studio.submit(page.session.keep).result()
    page.frames(len(rows) + 20)
    assert np.array_equal(page.rows[:len(rows)], rows) and not page.last("edited") and page.last("undo")
    assert page.last("prompts")[-1] == [len(rows), "sit"] and (kept == "after") == ("wave" in str(page.last("prompts")))


def test_what_begins_of_the_queue_leaves_the_choice(page, mosa):
    before = page.rows.copy()
    edit(page, Editor(mosa, page.studio.model), (41, 70))
    page.studio.queue(page.session, [Prompt("sit", SETTINGS, 1.0)]).result()
    page.frames(len(before) + 20)
    assert page.last("prompts")[-1][1] == "sit" and page.last("edited")
    page.studio.submit(page.session.compare).result()
    assert np.array_equal(page.rows, before)


def test_the_character_goes_on_from_an_edit_of_the_end(page, mosa):
    """Not from what was there: what was made meanwhile is made again, as a stream with this past gives it."""
    end = len(page.rows)
    made = edit(page, Editor(mosa, page.studio.model), (end - 60, end - 1), meanwhile=lambda: page.frames(end + 40))
    old = page.session.before
    page.frames(end + 20)
    assert page.last("prompts") == [[0, "walk"], [end - 60, "wave"], [end, "walk"]] and page.last("edited")
    latents = torch.stack([*old.latents[:made.first], *made.latents])
    expected = page.studio.model().stream("walk", Prompt("walk", SETTINGS).seed(end // 4), latents, hold=True)
    assert_same(motion_of(page)[end:end + 20], np.concatenate([next(expected) for _ in range(5)]))
    assert len(old) * 4 >= end + 40 and [prompt.text for prompt in old.prompts] == ["walk"]


def test_what_began_meanwhile_begins_behind_an_edit_of_the_end(page, mosa):
    """Each when it did; and what waits, after them."""
    end, prompts = len(page.rows), [Prompt(text, SETTINGS, 1.0) for text in ("sit", "bow", "jump")]

    def play() -> None:
        page.studio.queue(page.session, prompts).result()
        wait(lambda: page.at(len(page.rows) - 8) or len(page.last("prompts")) == 3)

    edit(page, Editor(mosa, page.studio.model), (end - 60, end - 1), meanwhile=play)
    assert [prompt.text for prompt in page.session.before.prompts] == ["walk", "sit", "bow"]
    page.frames(end + 120)
    assert page.last("prompts") == [[0, "walk"], [end - 60, "wave"], [end, "sit"], [end + 32, "bow"],
                                    [end + 64, "jump"]]


@pytest.fixture
def unread(page, mosa):
    """An edit of the end, before something that waits -> its end; and the event until which no sentence is read."""
    end, held, model = len(page.rows), threading.Event(), page.studio.model()
    page.studio.queue(page.session, [Prompt("sit", SETTINGS, 1.0)]).result()
    embed, model.embed = model.embed, lambda sentences: held.wait(60) and embed(sentences)
    edit(page, Editor(mosa, page.studio.model), (end - 60, end - 1))
    page.at(end)
    yield end, held
    held.set()


def stands(page: Page, end: int) -> bool:
    time.sleep(0.1)
    return len(page.rows) == end and page.last("waiting") == [["sit", 1.0]]


def test_kept_before_it_is_read_an_edit_goes_on_before_what_waits(page, unread):
    end, held = unread
    page.studio.submit(page.session.keep).result()
    assert stands(page, end)
    held.set()
    page.frames(end + 140)
    assert page.last("prompts") == [[0, "walk"], [end - 60, "wave"], [end, "walk"], [end + 120, "sit"]]


def test_compared_before_it_is_read_an_edit_stands_still(page, unread):
    end, held = unread
    for _ in range(2):
        page.studio.submit(page.session.compare).result()
    held.set()
    wait(lambda: not page.studio.reader.lines)
    assert stands(page, end) and page.last("edited")
    page.studio.submit(page.session.keep).result()
    page.frames(end + 20)
    assert page.last("prompts") == [[0, "walk"], [end - 60, "wave"], [end, "sit"]]


def test_nothing_goes_on_from_an_edit_of_an_end_at_rest(page, mosa):
    page.studio.submit(page.session.finish).result()
    end = len(page.rows)
    edit(page, Editor(mosa, page.studio.model), (end - 60, end - 1))
    page.at(end)
    time.sleep(0.1)
    assert len(page.rows) == end and page.last("over")
    assert page.last("prompts") == [[0, "walk"], [end - 60, "wave"]]


def test_the_character_goes_on_meanwhile_and_afterwards(page, mosa):
    """What was made while MoSa worked comes behind the edit, and the same stream goes on."""
    before = len(page.rows)
    edit(page, Editor(mosa, page.studio.model), (0, 30), meanwhile=lambda: page.frames(before + 20))
    page.frames(before + 60)
    whole = page.studio.submit(lambda: page.session.stretch(None)).result()
    np.testing.assert_array_equal(whole.rows, page.rows[:len(whole.rows)])
    assert page.last("prompts") == [[0, "wave"], [32, "walk"]]
    page.at(len(page.rows))
    page.ask("sit")
    page.frames(before + 90)
    assert page.last("prompts")[-1][1] == "sit"


def test_a_motion_that_changed_meanwhile_is_not_edited(page, mosa):
    editor = Editor(mosa, page.studio.model)
    with pytest.raises(ValueError, match="has changed since"):
        edit(page, editor, (41, 70), meanwhile=lambda: (page.at(0), page.ask("jump"), page.frames(120)))
    assert "wave" not in str(page.last("prompts"))


@pytest.mark.parametrize("mark, said", [((0, 99), "the mark has 3.3 s: expected at most 2.8 s"),
                                        ((20, 103), "the mark has 2.8 s: expected at most 2.3 s"),
                                        ((500, 510), "nothing of this motion of 4"), ((20, 10), "nothing of this")])
def test_marks_that_cannot_be(page, mosa, mark, said):
    with pytest.raises(ValueError, match=said):
        edit(page, Editor(mosa, page.studio.model), mark)


def test_a_whole_clip_takes_the_place_of_all_until_it_is_undone(page, mosa):
    before, editor = page.rows.copy(), Editor(mosa, page.studio.model)
    shown, latents = editor.clip("bow", 2.5, seed=3)
    assert np.array_equal(join(shown).motion, mosa.generate("bow", 3, 76)) and len(latents) == len(shown) == 19
    page.studio.submit(lambda: page.session.give("bow", shown, latents)).result()
    assert page.last("prompts") == [[0, "bow", True]] and len(page.rows) == 76
    page.studio.submit(page.session.undo).result()
    assert np.array_equal(page.rows, before) and page.last("prompts") == [[0, "walk"]]
    assert len(editor.clip("bow", None, 0)[0]) >= 15 and len(editor.clip("bow", 120.0, 0)[0]) == 25


def test_whoever_waits_for_mosa_nobody_else_does(page, mosa):
    held, editor, other = threading.Event(), Editor(mosa, page.studio.model), Page(page.studio)
    editor.mosa = SimpleNamespace(generate=lambda *args: held.wait(20) and mosa.generate(*args), text_encoder=None)
    making = threading.Thread(target=editor.clip, args=("bow", 2.5, 0))
    making.start()
    other.ask("sit")
    other.frames(80)
    assert making.is_alive()
    held.set()
    making.join()


def test_a_mosa_of_another_representation_refuses(mosa):
    codes = tokenizer(TINY.__class__(**{**vars(TINY), "channels": 263}))
    other = MoSa(codes, checkpoint()._replace(tokenizer=fingerprint(codes)), Words(), compute=Compute("cpu"))
    assert isinstance(codes, CAQVAE)
    with pytest.raises(ValueError, match="motions of 263 channels"):
        Editor(other, lambda: None)
