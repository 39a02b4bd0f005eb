"""Captions: what is written is read, broken lines are named, mirrored words swap."""

import pytest

from dataset.captions import Caption, format_caption, read_captions, swap_left_right


def test_written_captions_are_read(tmp_path):
    path = tmp_path / "a.txt"
    lines = [format_caption("A person's left-hand turn, twice."), "", format_caption("run", 1.5, 4.0)]
    path.write_text("\n".join(lines))
    assert read_captions(path) == [Caption("A person's left-hand turn, twice."), Caption("run", 1.5, 4.0)]


def test_line_format_is_humanml3ds():
    assert format_caption("he isn't running.", 0,
                          2.5) == "he isn't running.#he/OTHER isn't/OTHER running/OTHER#0#2.5"


def test_nan_means_the_whole_clip(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("walk#walk/VERB#nan#nan\n")
    assert read_captions(path) == [Caption("walk", 0.0, 0.0)]


@pytest.mark.parametrize("line, words", [
    ("#walk/VERB#0.0#0.0", "empty caption"), ("walk#walk/VERB", "2 fields"),
    ("walk#walk/VERB#x#0.0", "seconds"), ("walk#walk/VERB#3.0#2.0", "start < end")])
def test_broken_lines_are_named_and_the_others_read(tmp_path, line, words):
    path = tmp_path / "a.txt"
    path.write_text(f"run#run/VERB#0.0#0.0\n{line}\n")
    with pytest.raises(ValueError, match=f"a.txt, line 2.*{words}"):
        read_captions(path)
    problems = []
    assert [caption.text for caption in read_captions(path, problems)] == ["run"]
    assert len(problems) == 1 and words in problems[0]


@pytest.mark.parametrize("text", ["", "  ", "a#b", "two\nlines"])
def test_what_a_line_cannot_hold_is_refused(text):
    with pytest.raises(ValueError, match="caption"):
        format_caption(text)


@pytest.mark.parametrize("text, swapped", [
    ("raise the Left hand", "raise the Right hand"), ("LEFT, then right.", "RIGHT, then left."),
    ("a left-hand turn leftwards", "a right-hand turn rightwards"),
    ("upright and bright", "upright and bright"),
    ("turn clockwise", "turn counterclockwise"), ("turn counter-clockwise", "turn clockwise"),
    ("turn anticlockwise", "turn clockwise"), ("raise-up-left-hand", "raise-up-right-hand")])
def test_sides_swap_as_whole_words(text, swapped):
    assert swap_left_right(text) == swapped
    assert swap_left_right(swap_left_right(swapped)) == swapped


@pytest.mark.parametrize("text", [
    "he left the room", "they left.", "the person has left their place", "right away he runs", "gets right back up",
    "bends the arm at a right angle", "is all right", "nothing left to do", "they left through the door",
    "walks and left the scene", "she left and came back", "she left to get water", "they left together",
    "one foot left the floor", "both feet left the ground", "left the room", "what is left of the crowd",
    "the rest is left to him", "right after walking, he waves", "he bows. Right before that he sits", "sits right down",
    "comes right back", "walks right past the table", "stands right there", "he rights himself",
    "the man then left the room", "the dancer left gracefully", "a person left and returned", "he is left with nothing",
    "nothing is left", "what strength is left", "is left-brained", "right on cue he jumps",
    "Right in front of him is a wall", "right then he falls", "walks right off the stage", "does it right",
    "not quite right."])
def test_what_is_no_side_stays(text):
    assert swap_left_right(text) == text


@pytest.mark.parametrize("text, swapped", [
    ("walks in a counter clockwise circle", "walks in a clockwise circle"), ("turns anti clockwise", "turns clockwise"),
    ("turns counter-clock-wise", "turns clockwise"), ("a counter\u2011clockwise turn", "a clockwise turn"),
    ("right then left", None), ("the person left and then right", None), ("what he does is left of it", None),
    ("Clock wise", "Counterclockwise"),
    ("a person left hand up", "a person right hand up"), ("turns right then left", "turns left then right"),
    ("moves it from left to right in front of them", "moves it from right to left in front of them"),
    ("the current takes it left;", "the current takes it right;"), ("he is left of it", "he is right of it"),
    ("they left with the left foot", "they left with the right foot"),
    ("he left his left hand up", "he left his right hand up"), ("shifts left first and right after", None),
    ("from left to right back to left", None), ("turns right there", "turns left there"),
    ("balances on the left alone", "balances on the right alone"), ("turn left to see the door", None),
    ("the left foot left the floor", "the right foot left the floor"), ("right after left", None)])
def test_sides_beside_other_senses_swap(text, swapped):
    """None: every left and right of it is a side."""
    sides = dict(left="right", right="left")
    assert swap_left_right(text) == (swapped or " ".join(sides.get(word, word) for word in text.split()))


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_line_breaks_end_a_caption(tmp_path, odd):
    path = tmp_path / "a.txt"
    path.write_text(f"{format_caption(f'walk{odd}and run')}\n{format_caption('sit')}\n", encoding="utf-8")
    assert [caption.text for caption in read_captions(path)] == [f"walk{odd}and run", "sit"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_captions_of_any_system_are_read(tmp_path, encoding, end):
    path = tmp_path / "a.txt"
    lines = [format_caption("a person walks"), format_caption("geht über 歩く"), ""]
    path.write_bytes(end.join(lines).encode(encoding))
    assert [caption.text for caption in read_captions(path)] == ["a person walks", "geht über 歩く"]


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("über#x/X#0.0#0.0".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.txt: .* save it as UTF-8"):
        read_captions(path)
