"""What a sentence says one after another: parted as people write it, and left whole where it is one thing."""

import re

import pytest

from dataset.prepare.connectives import filled, forms
from generation.parts import parts_of

PHRASES = ["{walk} forward", "{bow} deeply", "{sit} down"]
DEEDS = "walk|bow|sit"
SUBJECTS = [("a person", "he"), ("an old man", "he"), ("they", "they"), ("she", "she")]
OF_GERUNDS = re.compile(r"(,|and) (\{b_ing\}( and|,)|stopping)")    # read as at once: "walks, waving"


def deeds(text: str) -> list[str]:
    return re.findall(DEEDS, text)


@pytest.mark.parametrize("name, count", [("then", 2), ("then_stopping", 2), ("then_three", 3)])
def test_every_form_of_a_sequence_is_parted_in_the_order_of_time(name, count):
    """The forms in which captions of sequences are written, for several subjects."""
    for form in forms(name):
        if not OF_GERUNDS.search(form):
            for subject, pronoun in SUBJECTS:
                parts = parts_of(filled(form, subject, pronoun, "the", PHRASES, ""))
                assert [deeds(part) for part in parts] == [["walk"], ["bow"], ["sit"]][:count], (form, parts)


@pytest.mark.parametrize("name", ["both", "both_held"])
def test_what_happens_at_once_is_one_part(name):
    for form in forms(name):
        for subject, pronoun in SUBJECTS:
            text = filled(form, subject, pronoun, "the", PHRASES, "the left hand up")
            assert parts_of(text) == [text]


@pytest.mark.parametrize("text, parts", [
    ("An old man walks forward, then bows.", ["An old man walks forward", "An old man bows"]),
    ("a man walks, then he slowly sits down", ["a man walks", "a man slowly sits down"]),
    ("raise the right hand and then the left one", ["raise the right hand", "raise the left one"]),
    ("a person steps to the left, then to the right", ["a person steps to the left", "a person steps to the right"]),
    ("someone walks ahead, takes a left and walks on", ["someone walks ahead and takes a left", "someone walks on"]),
    ("an old person walks forward and turns left", None),
    ("before sitting down, the woman turns around", ["the woman turns around", "the woman sits down"]),
    ("a dancer moonwalks and then boogies wildly", ["a dancer moonwalks", "a dancer boogies wildly"]),
    ("a man lifts both arms. he then waves", ["a man lifts both arms", "a man waves"]),
    ("a man walks, then his left hand waves", ["a man walks", "his left hand waves"]),
    ("a person walks forward, stops and waves", ["a person walks forward and stops", "a person waves"]),
    ("a person walks while waving, then bows", ["a person walks while waving", "a person bows"]),
    ("a person jumps up and down", None),
    ("a person raises and lowers the left hand", None),
    ("an old man is walking and turns left", None),
    ("a person raises hands and arms", None),
    ("a person hops before a mirror", None),
    ("a person takes a step", None),
    ("a person walks after a few drinks", None),
    ("the path bends and she follows it", None),
    ("then", None),
    ("walk and " * 40, None),
    ("走って、then 座る", None),
])
def test_sentences_as_people_write_them(text, parts):
    assert parts_of(text) == (parts or [text])
