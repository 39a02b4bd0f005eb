"""Text files as people have them: with a byte order mark, in UTF-16, with the line breaks of any system."""

import codecs
from pathlib import Path

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# Which of four bytes are 0 in plain words.
ZEROS = {"utf-32-le": (1, 2, 3), "utf-32-be": (0, 1, 2), "utf-16-le": (1, 3), "utf-16-be": (0, 2)}


def read_text(path: str | Path, otherwise: str | None = None) -> str:
    """The text of a file in UTF-8 or, with its mark, UTF-16, every line break as \\n.

    otherwise  the encoding of files that are neither; None: there is none
    raises     ValueError that names the file and what to do
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and len(content) > 3:       # without a mark: the other bytes of plain words are 0
        encoding = next((name for name, zeros in ZEROS.items() if not any(
            byte for place, byte in enumerate(content[:8 if len(content) > 7 else 4]) if place % 4 in zeros)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if otherwise is None or encoding != "utf-8":
            raise ValueError(f"{path}: found bytes that are no {encoding.removesuffix('-sig').upper()} at "
                             f"{error.start}, expected plain text: save it as UTF-8.") from None
        text = content.decode(otherwise)
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file, cut at line breaks only: a sentence may hold U+2028, U+0085 or a form feed."""
    return read_text(path).removesuffix("\n").split("\n")
