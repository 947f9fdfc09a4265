"""Renders emoji32.parquet from the font Noto Color Emoji: `python render.py NotoColorEmoji.ttf emoji32.parquet`.

The file has one image, 32×32 RGB on white, for each emoji of a single code point and each flag of a country or region.
Images with equal pixels appear once. Some emoji are left out: symbols that are mostly lettering (letters, digits,
keycaps, squared words); arrows, clock faces and plain shapes, which differ from each other in few pixels; and variants
of skin tone and gender, which would put nearly equal images into the training and the held-out set.

The output depends on the font file and on the versions of Pillow (pixels), Python (Unicode names) and datasets (file
format). Pillow needs raqm to draw flags, which are pairs of code points.
"""

from __future__ import annotations

import itertools
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont, features

SIZE = 32
STRIKE = 109
"""The size of the font's bitmaps, in pixels per em. No other size can be loaded."""
CANVAS = 136
"""Height and width, in pixels, of the canvas on which an emoji of size `STRIKE` is drawn."""
BLOCKS = ((0x203C, 0x3300), (0x1F000, 0x1FB00))
"""The ranges of code points that are searched for emoji."""
REGIONAL_INDICATORS = range(0x1F1E6, 0x1F200)
SKIN_TONES = range(0x1F3FB, 0x1F400)
LETTERING = re.compile(
    "ARROW|BLACK MEDIUM|BLACK SMALL|BUTTON|CIRCLED IDEOGRAPH|CIRCLED INFORMATION|CIRCLED LATIN|"
    "CLOCK FACE|DOUBLE EXCLAMATION|EMOJI COMPONENT|HEAVY |INPUT SYMBOL|KEYCAP|LARGE SQUARE|"
    "NEGATIVE SQUARED|SQUARED |TRADE MARK|TRIANGLE|WHITE MEDIUM|WHITE SMALL"
)
"""Parts of Unicode names. A symbol with one of them in its name is left out, unless the name also contains HEART."""


def candidates() -> Iterator[str]:
    """Yields strings that may be emoji: first single code points, then pairs of regional indicators (flags)."""
    for code in itertools.chain.from_iterable(range(*block) for block in BLOCKS):
        name = unicodedata.name(chr(code), "")
        lettering = "HEART" not in name and LETTERING.search(name) is not None
        if code not in REGIONAL_INDICATORS and code not in SKIN_TONES and not lettering:
            yield chr(code)
    for first, second in itertools.product(REGIONAL_INDICATORS, repeat=2):
        yield chr(first) + chr(second)


def name_of(text: str) -> str:
    """The Unicode name of an emoji, or a name such as 'FLAG NL' for a flag.

    A code point that this version of Python has no name for is named by its number, such as 'U+1FAE8'.
    """
    if len(text) == 2:
        return "FLAG " + "".join(chr(ord("A") + ord(letter) - REGIONAL_INDICATORS.start) for letter in text)
    return unicodedata.name(text, f"U+{ord(text):04X}")


def render(font: ImageFont.FreeTypeFont, text: str) -> Image.Image | None:
    """Renders `text` on white, 32×32 RGB.

    Returns None if the font draws several glyphs for it, or nothing.
    """
    left, top, right, bottom = font.getbbox(text)
    if not 0 < right - left <= CANVAS:
        return None
    canvas = Image.new("RGB", (CANVAS, CANVAS), "white")
    offset = ((CANVAS - right - left) // 2, (CANVAS - bottom - top) // 2)
    ImageDraw.Draw(canvas).text(offset, text, font=font, embedded_color=True)
    blank = Image.new("RGB", canvas.size, "white")
    if ImageChops.difference(canvas, blank).getbbox() is None:
        return None
    return canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main(font_path: Path, output: Path) -> None:
    """Writes a parquet file with columns `image` (PNG) and `name`: the single code points in order, then the flags."""
    if not features.check("raqm"):
        raise SystemExit("render.py: Pillow with raqm is needed to draw flags, and this Pillow was built without it")
    font = ImageFont.truetype(font_path, STRIKE, layout_engine=ImageFont.Layout.RAQM)
    # "XQ" is no region, so the font draws its image for unknown flags, which is left out.
    unknown_flag = render(font, "".join(chr(REGIONAL_INDICATORS.start + ord(letter) - ord("A")) for letter in "XQ"))
    images: dict[bytes, tuple[str, Image.Image]] = {}
    for text in candidates():
        image = render(font, text)
        if image is not None and image != unknown_flag:
            images.setdefault(np.asarray(image).tobytes(), (name_of(text), image))
    columns = {"image": [image for _, image in images.values()], "name": [name for name, _ in images.values()]}
    types = datasets.Features({"image": datasets.Image(), "name": datasets.Value("string")})
    datasets.Dataset.from_dict(columns, features=types).to_parquet(output)
    print(f"{output}: {len(images)} emoji")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
