"""Captions on disk, in HumanML3D's format: one line each, `caption#word/POS word/POS …#start#end`.

Start and end are seconds; 0.0 or nan for both means the whole clip.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from utils.text import read_lines

SWAPS = {"left": "right"} | {f"left{end}": f"right{end}" for end in (
    "s", "y", "ward", "wards", "most", "side", "hand", "handed", "hander", "foot", "footed", "leg", "arm")}
SWAPS |= {right: left for left, right in SWAPS.items()}
GAP = r"[-\s\u2010-\u2015]*"    # hyphens and dashes of any kind
TURNED = {rf"(?:counter|anti|contra){GAP}clock{GAP}wise": "clockwise", rf"clock{GAP}wise": "counterclockwise"}
SUBJECTS = (r"(?:he|she|they|it|we|who|someone|somebody|everyone|people|men|women|(?:person|man|woman|guy|girl|boy"
            r"|figure|individual|character|dancer|player|human|performer|actor)s?)")
# Where "left" is a form of "to leave", or "right" is no side: these do not swap.
NO_SIDE = [re.sub(r"\s", r"\\s+", pattern) for pattern in (
    rf"\b(?:{SUBJECTS}|has|have|had|having|just|never|suddenly|finally|{SUBJECTS} then) left (?:the|an?|th[aio]\w+|his"
    r"|her|its|their|my|our|your|him|them|home|for|without|early|again|alone|\w+ly)\b"
    r"(?! (?:side|hand|arm|leg|foot|knee)\b)",
    rf"\b(?:(?!it\b){SUBJECTS}|has|have|had) left(?=\s*(?:[.!?;,]|$))",
    rf"\b(?!it\b){SUBJECTS} left (?:with|through|by) ",
    r"\band left (?:the|a|an|his|her|their|its)\b(?! (?:side|hand|arm|leg|foot|knee)\b)",
    rf"\b(?!it\b){SUBJECTS} left (?:and|then|when|after|before|as|but)\b(?! (?:then )?(?:\w+ )?right\b)",
    r"\b(?:is|are|was|were|be|been|being|gets?|got) left (?:behind|alone|standing|over|open|out|hanging|lying|empty"
    r"|with)\b",
    r"\b(?:nothing|anything|none)(?: is| was)? left\b", r"\bwhat \w+ (?:is|was) left\b(?! of\b)",
    r"\b(?:left|right)-(?:brain|mind)ed\b",
    r"\b(?:quite|just|feels?|(?:does|do|did|makes?|gets?|got) it) right\b(?=\s*[,.;!?]|$)",
    r"\bleft off\b", r"\bright (?:away|angles?|angled|side up|way up)\b",
    r"^right now\b(?!,? (?:left|right)\b)", r"\bright now(?=[.!]?$)",
    r"\bright-angled?\b", r"\ball right\b(?=\s*[,.;!?]|$)",
    r"\bright back (?:up|down|upright|to standing)\b",
    r"\b(?:walk|run|step|go|come|get)(?:s|es)? right up to\b",
    r"\b(?:stops?|stands?|standing|lands?|sits?|is|are) right (?:in front|in the middle|next to|behind|beside)\b",
    rf"\b{SUBJECTS} left (?:together|to (?:get|go|do|find|take|join|fetch|catch|meet|see|work|be))\b",
    r"\b(?:foot|feet|heels?|toes?|legs?|hands?) left the (?:floor|ground|mat|seat|chair)\b",
    r"^left the (?:room|house|building|scene|stage|ground|floor|field|area)\b", r"\bwhat(?:'s| is| was) left\b",
    r"\b(?:is|are|was|were|be|been) left to (?:him|her|them|you|us)\b",
    r"(?:^|[.;!?] )right (?:after|before|as|in front|on cue|then|here|there)\b(?! (?:the )?left\b)",
    r"\b(?:gets?|sits?|lies?|stands?) right (?:up|down)\b", r"\b(?:comes?|gets?|jumps?|bounces?|springs?) right back\b",
    r"\b(?:walks?|runs?|goes|go|jogs?|rushes) right (?:past|into|through|off)\b",
    r"\b(?:stands?|stops?|stays?|waits?|sits?|is|are) right (?:there|here)\b",
    r"\brights? (?:himself|herself|itself|themselves|oneself)\b",
    r"\bthe right (?:amount|moment|time|size|order|thing|answer|choice)\b")]
SIDE = re.compile("(" + "|".join(NO_SIDE) + r")|(?<!\w)(" + "|".join(
    [*TURNED, *sorted(SWAPS, key=len, reverse=True)]) + r")(?!\w)", re.IGNORECASE)


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
        raise ValueError(f"found {len(fields)} fields in {line.strip()[:80]!r}, expected caption#tokens#start#end")
    text = fields[0].strip()
    if not text:
        raise ValueError("empty caption")
    try:
        start, end = (0.0 if math.isnan(float(field)) else float(field) for field in fields[2:4])
    except ValueError:
        raise ValueError(f"found the times {' and '.join(fields[2:4])[:80]!r}, expected two numbers of seconds"
                         ) from None
    if start < 0 or (end <= start and (start, end) != (0.0, 0.0)):
        raise ValueError(f"found a caption from {start} s to {end} s, expected 0 <= start < end")
    return Caption(text, start, end)


def read_captions(path: str | Path, problems: list[str] | None = None) -> list[Caption]:
    """Read all captions of a clip.

    problems   a list that takes what is wrong with a line, which is then left out; None: such a line raises
    raises     FileNotFoundError; ValueError naming file and line
    """
    captions = []
    for number, line in enumerate(read_lines(path), start=1):
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
    if not text or set("#\n\r") & set(text):
        raise ValueError(f"found the caption {text!r}, expected one line of words without '#'")
    tokens = re.findall(r"\w+(?:['’-]\w+)*", text.lower())
    return f"{text}#{' '.join(f'{token}/OTHER' for token in tokens)}#{start}#{end}"


def swap_left_right(text: str) -> str:
    """Swap the sides that a caption names, as whole words and with their case: what a mirrored clip shows.

    "He left the room" and "right away" name no side and stay.
    """
    def other(match: re.Match) -> str:
        word = match[2]
        if word is None:
            return match[1]
        swapped = SWAPS.get(word.lower()) or next(to for form, to in TURNED.items() if re.fullmatch(form, word, re.I))
        return swapped.upper() if word.isupper() else swapped.capitalize() if word[0].isupper() else swapped
    return SIDE.sub(other, text)
