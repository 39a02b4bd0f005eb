"""The words on a picture: a title that always fits, in a font that is there."""

import unicodedata
from bisect import bisect_right

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def title_layer(text: str, size: tuple[int, int]) -> Image.Image:
    """A mask of the whole picture with the text on top, wrapped and shrunk until it fits into two lines."""
    text = " ".join(text[:500].encode("utf-8", "replace").decode().split())
    text, font = text_font(text, height := size[1] // 16)
    while len(lines := wrap(text, font, 0.9 * size[0])) > 2 and height > size[1] // 30 + 1:
        height -= 1
        text, font = text_font(text, height)
    if len(lines) > 2:
        lines = [lines[0], lines[1][:-3] + "..."]
    layer = Image.new("L", size)
    for row, line in enumerate(lines):
        place = (size[0] / 2, 0.06 * size[1] + 1.25 * row * height)
        ImageDraw.Draw(layer).text(place, line, 255, font, anchor="mt")
    return layer


def text_font(text: str, height: int) -> tuple[str, Font]:
    """A font for the text; where there is only Pillow's own, which knows ASCII, the text bends to it."""
    if not text.isascii():
        for name in ("DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf"):    # Linux, macOS, Windows
            try:
                return text, ImageFont.truetype(name, height)
            except OSError:
                continue
        letters = unicodedata.normalize("NFKD", text)
        text = "".join(c if c.isascii() else "?" for c in letters if not unicodedata.combining(c))
    return text, ImageFont.load_default(height)


def wrap(text: str, font: Font, room: float) -> list[str]:
    """Cut the text into lines no wider than `room` pixels, at spaces where there are any."""
    lines = []
    while text:
        fits = bisect_right(range(1, len(text) + 1), room, key=lambda count: font.getlength(text[:count]))
        space = text.rfind(" ", 0, fits + 1) if fits < len(text) else -1
        cut = space if space > 0 else max(fits, 1)
        lines.append(text[:cut].strip())
        text = text[cut:].strip()
    return lines
