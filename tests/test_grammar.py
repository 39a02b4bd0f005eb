"""From labels to sentences: verbs and their forms, captions of Bandai Namco's clips, free sentences."""

import re
from collections import Counter

import pytest

from benchmarks.sentences import load_kinds
from dataset.captions import swap_left_right
from dataset.prepare import bandai_namco
from dataset.prepare.grammar import conjugate, free_sentences, inflect, phrase_table, wordings

CONTENTS = ["walk", "run", "dash", "walk-back", "walk-left", "walk-right", "walk-turn-left",
            "walk-turn-right", "bow", "bye", "byebye", "guide", "respond", "call", "kick", "punch", "slash",
            "dance-short", "dance-long", "raise-up-left-hand", "raise-up-right-hand", "raise-up-both-hands",
            "wave-left-hand", "wave-right-hand", "wave-both-hands"]
PAIRS = [(content, style) for content in CONTENTS for style in bandai_namco.STYLES]


@pytest.mark.parametrize("verb, third, gerund", [
    ("walk", "walks", "walking"), ("run", "runs", "running"), ("wave", "waves", "waving"),
    ("carry", "carries", "carrying"), ("sway", "sways", "swaying"), ("go", "goes", "going"),
    ("reach", "reaches", "reaching"), ("see", "sees", "seeing"), ("jog", "jogs", "jogging"),
    ("tie", "ties", "tying"), ("do", "does", "doing"), ("box", "boxes", "boxing")])
def test_verbs_are_conjugated(verb, third, gerund):
    assert (conjugate(verb, "third"), conjugate(verb, "gerund")) == (third, gerund)


def test_a_phrase_takes_its_verbs_forms_and_owner():
    phrase = "{raise} @ left hand and {let} it drop"
    assert inflect(phrase, "third", "her") == "raises her left hand and lets it drop"
    assert inflect(phrase, "gerund", "the") == "raising the left hand and letting it drop"


@pytest.mark.parametrize("content, style", PAIRS)
def test_captions_are_distinct_and_the_same_again(content, style):
    captions = bandai_namco.captions(content, style, "clip")
    assert len(set(captions)) == len(captions) in (6, 10) and captions == bandai_namco.captions(content, style, "clip")
    assert not any(re.search(r"[{}@#]|  ", caption) for caption in captions)


def many(content, style):
    return [text for number in range(60) for text in bandai_namco.captions(content, style, f"clip{number}")]


def test_captions_say_only_what_is_seen():
    assert not any("right" in text for text in many("walk-turn-left", "masculine"))
    assert not any("left" in text for text in many("wave-right-hand", "normal"))
    high = re.compile("above the head|overhead|over the head|ceiling|sky|in the air")
    assert not any(high.search(text) for text in many("raise-up-left-hand", "feminine"))
    assert any(high.search(text) for text in many("raise-up-left-hand", "active"))
    assert not any(re.search(r"\b(man|he|guy|his)\b", text) for text in many("walk", "feminine"))
    assert not any("sprint" in text for text in many("run", "elderly"))


def test_captions_are_broad():
    walks = many("walk", "normal")
    assert len(set(walks)) > 250
    for form in (r"^walk", r"^walking", r"^a person walks", r"^they walk", r"is walking", r"\bstroll",
                 r"on foot"):
        assert any(re.search(form, text) for text in walks), form
    aged = re.compile("old|age|elder|senior|grand|pension|stiff|stoop|frail|feebl|hunch|bent|care|shuffl|"
                      "totter|hobbl|toddl|slow")
    plain = [text for text in many("walk", "elderly") if not aged.search(text)]
    assert 0.25 < len(plain) / 600 < 0.7    # plain sentences come from styled clips, too


LABELS = phrase_table("wordings")


@pytest.mark.parametrize("label", LABELS)
def test_free_sentences_are_many_and_name_one_side(label):
    found = wordings(label)
    assert len({text.lower() for text in found}) == len(found) >= 90
    assert not any(re.search(r"[{}@#\n]", text) for text in found)
    if "left" in label:
        assert all(re.search(r"\bleft", text, re.IGNORECASE) for text in found)
        assert not any(re.search(r"\bright", text, re.IGNORECASE) for text in found)
        assert wordings(swap_left_right(label)) == tuple(swap_left_right(text) for text in found)


def test_no_free_sentence_is_a_variant_of_the_benchmarks():
    """What says_does calls unseen phrasing shares at most two uncommon words with each of them."""
    def words(text):
        return set(re.findall(r"[a-z]{3,}", text.lower()))

    every = [text for label in LABELS for text in wordings(label)]
    count = Counter(word for text in every for word in words(text))
    uncommon = {word for word in count if count[word] < 0.012 * len(every)} - {"and", "then", "who", "for", "into"}
    for kind in load_kinds(("plain",)):
        for unlike in kind.reported.everyday + kind.validation.everyday:
            alike = [text for text in every if len(words(text) & words(unlike) & uncommon) > 2]
            assert not alike, unlike


def test_free_sentences_are_drawn_by_the_clip_and_call_no_woman_a_man():
    sampled = [free_sentences(f"clip{number}", "walk", bandai_namco.STYLES["feminine"]) for number in range(60)]
    assert sampled[0] == free_sentences("clip0", "walk", bandai_namco.STYLES["feminine"]) != sampled[1]
    assert len({text for texts in sampled for text in texts}) > 60
    assert not any(re.search(r"\b(he|his|man)\b", text, re.IGNORECASE) for texts in sampled for text in texts)
    assert free_sentences("clip0", "respond") == []
