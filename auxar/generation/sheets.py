"""Pictures of images: contact sheets, and rows that show a sampled image growing from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from auxar.errors import UserError
from auxar.files import replacing
from auxar.interfaces import ImageSpec

MARGIN = 2
"""Transparent pixels around every image of a sheet."""
IMAGE_SIDE = 128
"""Small images are zoomed until their longer side comes near this many pixels …"""
SHEET_WIDTH = 896
"""… unless that would make the sheet wider than this."""
TITLE = 18
"""Height of a line of words, in pixels."""
INK = (128, 128, 128, 255)
"""Gray, which can be read on a light and on a dark ground."""


def to_uint8(images: Tensor, spec: ImageSpec) -> np.ndarray:
    """Integers (b, *spec.shape) in [0, levels) to uint8 RGB of shape (b, h, w, 3).

    A value x becomes 255·x / (levels - 1), rounded half up: black stays 0, the highest level 255, and nothing is
    stretched to the range that occurs. One channel is repeated three times. Raises `UserError` for a tensor that
    `spec` does not describe, and for channels other than 1 or 3, which have no colors of their own.
    """
    spec.check(images)
    spec.check_range(images)
    if not can_be_shown(spec):
        raise UserError(f"an image with 1 or 3 channels can be shown, and this one has {spec.channels}: {spec}")
    values = images.detach().cpu().numpy().astype(np.int64).transpose(0, 2, 3, 1)
    top = spec.levels - 1
    # floor(255·x / top + ½) in integers, so that no floating-point rounding decides a tie.
    colors = ((510 * values + top) // (2 * top)).astype(np.uint8)
    return np.repeat(colors, 3, axis=3) if spec.channels == 1 else colors


def can_be_shown(spec: ImageSpec) -> bool:
    """Whether images have colors: one channel is gray, three are red, green and blue. A view may have others."""
    return spec.channels in (1, 3)


def sheet(images: Tensor, spec: ImageSpec, columns: int | None = None, zoom: int | None = None) -> Image.Image:
    """The images of a batch (b, *spec.shape) in reading order, as RGBA: margins and empty places are transparent.

    A pixel becomes `zoom` × `zoom` equal ones, and image i lies with its upper left corner at
    x = MARGIN + (i mod columns)·(zoom·width + MARGIN), y likewise by rows. Without `columns` the sheet is about
    square; without `zoom` small images are enlarged and large ones left as they are. Raises `UserError` if there is
    no image, if a number is less than 1, and as `to_uint8` does.
    """
    colors = to_uint8(images, spec)
    if columns is None:
        columns = sheet_columns(len(colors), spec)
    if zoom is None:
        zoom = _zoom(spec, columns)
    height, width = spec.height * zoom, spec.width * zoom
    return _grid([_resized(image, height, width) for image in colors], columns, height, width)


def sheet_columns(count: int, spec: ImageSpec) -> int:
    """How many of `count` images of `spec` `sheet` puts side by side: as many as make it about square."""
    return max(1, min(count, math.ceil(math.sqrt(count * spec.height / spec.width))))


def growth(views: Sequence[tuple[Tensor, ImageSpec]]) -> Image.Image:
    """How sampled images come about: a row for each image, and in it its views from the coarsest to the image itself.

    `views` holds views of the same images in the order they are shown, coarsest first, each with shape
    (b, *spec.shape). All are enlarged, nearest neighbor, to the size that `sheet` would show the finest at, and
    laid out as there. Raises `UserError` without a view, for views that differ in their number of images, and as
    `to_uint8` does.
    """
    if not views:
        raise UserError("there is no view to show")
    counts = [len(images) for images, _ in views]
    if len(set(counts)) > 1:
        raise UserError(f"all views must be of the same images, and they hold {', '.join(map(str, counts))}")
    finest = views[-1][1]
    zoom = _zoom(finest, len(views))
    height, width = finest.height * zoom, finest.width * zoom
    colors = [to_uint8(images, spec) for images, spec in views]
    tiles = [_resized(view[row], height, width) for row in range(counts[0]) for view in colors]
    return _grid(tiles, len(views), height, width)


def labeled(
    columns: Sequence[tuple[Tensor, ImageSpec]], titles: Sequence[str], names: Sequence[str] = ()
) -> Image.Image:
    """Columns of images (b, *spec.shape), each under its title and, with `names`, each row beside its name.

    All are enlarged to the size of the largest. Raises `UserError` as `growth` does.
    """
    largest = max((spec for _, spec in columns), key=lambda spec: spec.height)
    zoom = _zoom(largest, len(columns))
    height, width = largest.height * zoom, largest.width * zoom
    # A title needs room for its words.
    width = max(width, 8 * max(len(title) for title in titles))
    height = height * width // (largest.width * zoom)
    colors = [to_uint8(images, spec) for images, spec in columns]
    tiles = [_resized(column[row], height, width) for row in range(len(colors[0])) for column in colors]
    grid = _grid(tiles, len(columns), height, width)
    left = 8 * max((len(name) for name in names), default=0)
    top = TITLE if any(titles) else 0
    canvas = Image.new("RGBA", (grid.width + left, grid.height + top))
    canvas.paste(grid, (left, top))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=TITLE - 6)
    for column, title in enumerate(titles):
        center = left + MARGIN + column * (width + MARGIN) + width // 2
        pen.text((center, TITLE // 2), title, fill=INK, font=font, anchor="mm")
    for row, name in enumerate(names):
        middle = top + MARGIN + row * (height + MARGIN) + height // 2
        pen.text((left - 4, middle), name, fill=INK, font=font, anchor="rm")
    return canvas


def save_png(image: Image.Image, path: Path) -> None:
    """Writes `image` to `path` as PNG, whole or not at all. Raises `UserError` if that is not possible."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def _zoom(spec: ImageSpec, columns: int) -> int:
    return max(1, min(IMAGE_SIDE // max(spec.height, spec.width), SHEET_WIDTH // (max(1, columns) * spec.width)))


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w, 3) to (height, width, 3): each pixel the one of `image` that its upper left corner falls on."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    found: np.ndarray = image[rows[:, None], columns]
    return found


def _grid(tiles: Sequence[np.ndarray], columns: int, height: int, width: int) -> Image.Image:
    """Tiles of shape (height, width, 3) in reading order, MARGIN around each, on a transparent ground."""
    if not tiles:
        raise UserError("there is no image to show")
    if columns < 1 or height < 1 or width < 1:
        raise UserError("columns and zoom of a sheet must be at least 1")
    rows = math.ceil(len(tiles) / columns)
    canvas = np.zeros((MARGIN + rows * (height + MARGIN), MARGIN + columns * (width + MARGIN), 4), np.uint8)
    for index, tile in enumerate(tiles):
        top = MARGIN + index // columns * (height + MARGIN)
        left = MARGIN + index % columns * (width + MARGIN)
        canvas[top : top + height, left : left + width, :3] = tile
        canvas[top : top + height, left : left + width, 3] = 255
    return Image.fromarray(canvas)
