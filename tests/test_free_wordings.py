"""dataset/prepare/phrases/free.json: the everyday sentences are sound data."""

import json
import re
from collections import Counter
from pathlib import Path

from dataset.captions import SIDE, swap_left_right

FOLDER = Path("dataset/prepare/phrases")
FREE = json.loads((FOLDER / "free.json").read_text(encoding="utf-8"))
RIGHT = re.compile(r"(?<!\w)(right\w*|(?<!counter-)(?<!anti-)clockwise)(?!\w)", re.IGNORECASE)
TEXTS = [(key, text) for key, texts in FREE.items() for text in texts]


def documented() -> set[str]:
    """The plain keys that free.md names, and the words of its styles and of its keys of two things."""
    return set(re.findall(r"`([a-z-]+)`", (FOLDER / "free.md").read_text(encoding="utf-8")))


def words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def test_keys_are_documented():
    known = documented()
    assert not [key for key in FREE if not set(re.split(r" then | while | ", key.replace("right", "left"))) <= known]
    assert not [key for key, texts in FREE.items() if len(texts) < 20]


def test_no_sentence_is_written_twice():
    repeated = [text for text, count in Counter(words(text) for _, text in TEXTS).items() if count > 1]
    assert not repeated


def test_sentences_are_captions_of_one_line():
    assert not [text for _, text in TEXTS if "#" in text or "\n" in text or text != text.strip() or not text.isascii()]
    assert not [text for _, text in TEXTS if not 1 <= len(text.split()) <= 30]


def test_left_keys_say_left_and_the_others_no_side():
    for key, text in TEXTS:
        if "right" in key:
            assert {side.removesuffix("s").removesuffix("ward") for side in sides(text)} >= {"left", "right"}, text
        elif "left" in key:
            assert sides(text) and not RIGHT.search(text), (key, text)
        else:
            assert not sides(text), (key, text)


def test_mirrored_sentences_come_back():
    for key, text in TEXTS:
        if "left" in key and "anti" not in text.lower() and "counter-" not in text.lower():
            assert swap_left_right(swap_left_right(text)) == text


def sides(text: str) -> list[str]:
    return [match[0].lower() for match in SIDE.finditer(text)]
