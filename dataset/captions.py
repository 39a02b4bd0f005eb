"""Captions on disk, in HumanML3D's format: one line each, `caption#word/POS word/POS …#start#end`.

Start and end are seconds; 0.0 or nan for both means the whole clip.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

SWAPS = {"left": "right", "lefts": "rights", "leftward": "rightward", "leftwards": "rightwards",
         "leftmost": "rightmost", "lefthand": "righthand", "lefthanded": "righthanded",
         "clockwise": "counterclockwise"}
SWAPS |= {right: left for left, right in SWAPS.items()}
SWAPS |= dict.fromkeys(("counter-clockwise", "counter clockwise", "anticlockwise", "anti-clockwise", "anti clockwise"),
                       "clockwise")
SIDE = re.compile(r"(?<!\w)(" + "|".join(sorted(SWAPS, key=len, reverse=True)) + r")(?!\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caption:
    """One sentence about a clip, or about its part from `start` to `end` (seconds; both 0.0: all of it)."""
    text: str
    start: float = 0.0
    end: float = 0.0


def parse_caption(line: str) -> Caption:
    """Read one line of a text file.

    raises   ValueError if a field is missing, the caption is empty, or a time is no time
    """
    fields = line.strip().split("#")
    if len(fields) < 4:
        raise ValueError(f"found {len(fields)} fields in {line.strip()!r}, expected caption#tokens#start#end")
    text = fields[0].strip()
    if not text:
        raise ValueError("empty caption")
    try:
        start, end = (0.0 if math.isnan(float(field)) else float(field) for field in fields[2:4])
    except ValueError:
        raise ValueError(f"found the times {fields[2:4]}, expected two numbers of seconds") from None
    if start < 0 or (end <= start and (start, end) != (0.0, 0.0)):
        raise ValueError(f"found a caption from {start} s to {end} s, expected 0 <= start < end")
    return Caption(text, start, end)


def read_captions(path: str | Path, problems: list[str] | None = None) -> list[Caption]:
    """Read all captions of a clip.

    problems   a list that takes what is wrong with a line, which is then left out; None: such a line raises
    raises     FileNotFoundError; ValueError naming file and line
    """
    captions = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            captions.append(parse_caption(line))
        except ValueError as error:
            if problems is None:
                raise ValueError(f"{path}, line {number}: {error}") from None
            problems.append(f"line {number}: {error}")
    return captions


def words(text: str) -> str:
    """A sentence without capitals and punctuation: what makes two of them the same."""
    return " ".join(re.findall(r"\w+", text.lower()))


def format_caption(text: str, start: float = 0.0, end: float = 0.0) -> str:
    """Write one line, without its line break. We have no part-of-speech tagger: every word is word/OTHER.

    raises   ValueError if the caption is empty or holds a # or a line break
    """
    text = text.strip()
    if not text or "#" in text or "\n" in text:
        raise ValueError(f"found the caption {text!r}, expected one line of words without '#'")
    words = re.findall(r"\w+(?:['’-]\w+)*", text.lower())
    return f"{text}#{' '.join(f'{word}/OTHER' for word in words)}#{start}#{end}"


def swap_left_right(text: str) -> str:
    """Swap the sides that a caption names, as whole words and with their case: what a mirrored clip shows."""
    def other(match: re.Match) -> str:
        word, swapped = match[0], SWAPS[match[0].lower()]
        return swapped.upper() if word.isupper() else swapped.capitalize() if word[0].isupper() else swapped
    return SIDE.sub(other, text)
