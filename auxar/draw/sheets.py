"""Sheets of images: titled columns of images, each enlarged to one size, on a transparent background."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from auxar.arguments import as_integer
from auxar.data.pixels import pixels
from auxar.errors import UserError
from auxar.files import is_file, read_bytes, replacing
from auxar.model import ImageSpec
from auxar.recipe.schema import CHANNELS

MARGIN = 2
"""Width of the transparent margin around every image of a sheet, in pixels."""
IMAGE_SIDE = 128
"""Maximum longer side of an enlarged image, in pixels. Small images are enlarged by whole numbers."""
SHEET_WIDTH = 896
"""Maximum total width of the enlarged images of a row, in pixels, without margins."""
MOST_COLUMNS = 10_000
"""Maximum number of columns of a sheet."""
TITLE = 18
"""Height of a line of text, in pixels."""
LETTER = 8
"""Approximate width of a letter, in pixels."""
SHEET_ROWS = 16
"""Maximum number of given images on a sheet, which has one row for each."""
SHEET_DRAWS = 8
"""Default maximum number of draws on a sheet for each given image."""
INK = (128, 128, 128, 255)
"""Color of text: gray, which is legible on light and dark backgrounds."""
Column = tuple[str, Tensor, ImageSpec]
"""A column of a sheet: its title, its images (b, *spec.shape) from the top, and their shape and range."""


def to_uint8(images: Tensor, spec: ImageSpec) -> np.ndarray:
    """Converts integers (b, *spec.shape) in [0, levels) to RGB: uint8, (b, h, w, 3).

    A value x becomes 255·x / (levels - 1), rounded up, so 0 becomes 0 and levels - 1 becomes 255. The scale does not
    depend on the values that occur in the images. One channel is repeated three times. Raises `UserError` if the tensor
    does not match `spec`, or if the number of channels is not 1 or 3.
    """
    colors = pixels(images, spec)
    return np.repeat(colors[..., None], 3, axis=3) if spec.channels == 1 else colors


def can_be_shown(spec: ImageSpec) -> bool:
    """Whether images have one channel (gray) or three (RGB). Views may have other numbers, and cannot be shown then."""
    return spec.channels in CHANNELS


def sheet(images: Tensor, spec: ImageSpec, columns: int | None = None, zoom: int | None = None) -> Image.Image:
    """A sheet of the images of a batch (b, *spec.shape), row by row.

    Without `columns`, the sheet is about square. Raises `UserError` as `labeled` does.
    """
    columns = sheet_columns(len(images), spec) if columns is None else as_integer(columns, "columns", 1, MOST_COLUMNS)
    return labeled([("", images[column::columns], spec) for column in range(columns)], zoom=zoom)


def sheet_columns(count: int, spec: ImageSpec) -> int:
    """The number of columns that `sheet` uses by default for `count` images, so that the sheet is about square."""
    return max(1, min(count, math.ceil(math.sqrt(count * spec.height / spec.width))))


def labeled(columns: Sequence[Column], names: Sequence[str] = (), zoom: int | None = None) -> Image.Image:
    """A sheet of columns, as RGBA with transparent margins. With `names`, each row has its name on the left.

    All images are enlarged to one size, which leaves room for the titles. Each pixel of the largest images is enlarged
    to `zoom` × `zoom` pixels; by default, small images are enlarged and large images keep their size. Columns that
    cannot be shown are left out. Raises `UserError` if there are no images to show, or if `zoom` is no integer ≥ 1.
    """
    shown = [column for column in columns if can_be_shown(column[2])]
    if not any(len(images) for _, images, _ in shown):
        raise UserError("there are no images to show (only images with 1 or 3 channels can be shown)")
    grid = _Grid.of(shown, names, zoom)
    canvas = np.zeros((*grid.corner(max(len(images) for _, images, _ in shown), len(shown)), 4), np.uint8)
    for column, (_, images, spec) in enumerate(shown):
        for row, image in enumerate(to_uint8(images, spec)):
            top, left = grid.corner(row, column)
            place = canvas[top : top + grid.height, left : left + grid.width]
            # Each pixel is copied from the one that its upper left corner lies in.
            down = np.arange(grid.height) * image.shape[0] // grid.height
            across = np.arange(grid.width) * image.shape[1] // grid.width
            place[..., :3], place[..., 3] = image[down[:, None], across], 255
    picture = Image.fromarray(canvas)
    for column, (title, _, _) in enumerate(shown):
        _write(picture, (grid.corner(0, column)[1] + grid.width // 2, TITLE // 2), title, "mm")
    for row, name in enumerate(names):
        _write(picture, (grid.left - 4, grid.corner(row, 0)[0] + grid.height // 2), name, "rm")
    return picture


@attrs.frozen
class _Grid:
    """The places of the images of a sheet, in pixels."""

    height: int
    """Height of an enlarged image."""
    width: int
    top: int
    """Height of the titles."""
    left: int
    """Width of the names of rows."""

    @classmethod
    def of(cls, columns: Sequence[Column], names: Sequence[str], zoom: int | None) -> _Grid:
        largest = max((spec for _, _, spec in columns), key=lambda spec: (spec.height, spec.width))
        side, room = max(largest.height, largest.width), SHEET_WIDTH // (len(columns) * largest.width)
        zoom = max(1, min(IMAGE_SIDE // side, room)) if zoom is None else as_integer(zoom, "zoom", 1)
        longest = max(len(title) for title, _, _ in columns)
        width = max(largest.width * zoom, LETTER * longest)
        height = largest.height * width // largest.width
        return cls(height, width, TITLE if longest else 0, LETTER * max(map(len, names), default=0))

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Row and column of the upper left pixel of an image."""
        top, left = self.top + MARGIN, self.left + MARGIN
        return top + row * (self.height + MARGIN), left + column * (self.width + MARGIN)


def with_note(sheet: Image.Image, note: str) -> Image.Image:
    """The sheet with a line of text below it."""
    canvas = Image.new("RGBA", (max(sheet.width, LETTER * len(note)), sheet.height + TITLE))
    canvas.paste(sheet, (0, 0))
    _write(canvas, (MARGIN, sheet.height + TITLE // 2), note, "lm")
    return canvas


def save_png(image: Image.Image, path: Path) -> None:
    """Writes `image` to `path` as PNG, atomically. Raises `UserError` if the file cannot be written."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def is_whole(path: Path) -> bool:
    """Whether there is a PNG file, whose end is not cut off."""
    return is_file(path) and read_bytes(path).endswith(b"IEND\xaeB`\x82")


def _write(picture: Image.Image, place: tuple[int, int], text: str, anchor: str) -> None:
    ImageDraw.Draw(picture).text(place, text, fill=INK, font=ImageFont.load_default(size=TITLE - 6), anchor=anchor)
