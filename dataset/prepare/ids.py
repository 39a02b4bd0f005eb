"""Ids of clips: lines of lists and names of files, on any system."""

import re
import unicodedata
from pathlib import Path

ODD = r"\s\x00-\x1f\x7f\u200b-\u200f\u2060\ufeff\ud800-\udfff"    # white space, what is invisible or no character


def clip_id_of(path: Path) -> str:
    """The path of a capture below its source as an id: its folders and words joined by _.

    What is ODD becomes a _, and letters with marks have one spelling.
    """
    return re.sub(f"[{ODD}]", "_", unicodedata.normalize("NFC", "_".join(path.with_suffix("").parts)))


def captures_below(source: Path, *suffixes: str) -> list[Path]:
    """The files below a folder with one of some suffixes, in any case, without what macOS puts beside each (._walk)."""
    return [path for path in sorted(source.rglob("*"))
            if path.suffix.lower() in suffixes and not path.name.startswith("._")]


def words_of(name: str) -> str:
    """The name of a file or folder as words: a caption where there is none."""
    return " ".join(re.sub(f"[_#{ODD}]", " ", unicodedata.normalize("NFC", name)).split()) or "motion"


def claim(owners: dict[str, str], clip_id: str, what: str) -> None:
    """Note whose id it is; ValueError if it is another's, or would be on a disk that does not tell a from A."""
    key = clip_id.casefold()
    if key in owners:
        raise ValueError(f"found the name {clip_id} twice: of {owners[key]} and of {what}; expected each once: rename "
                         "one of them")
    owners[key] = what
