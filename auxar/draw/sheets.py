"""Contact sheets of images, and sheets that show sampled images from their coarsest view to the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from auxar.data.pixels import pixels
from auxar.errors import UserError
from auxar.files import replacing
from auxar.model import ImageSpec

MARGIN = 2
"""Width of the transparent margin around every image of a sheet, in pixels."""
IMAGE_SIDE = 128
"""Maximum longer side of an enlarged image, in pixels. Small images are enlarged by whole numbers."""
SHEET_WIDTH = 896
"""Maximum total width of the enlarged images of a row, in pixels, without margins."""
TITLE = 18
"""Height of a line of text, in pixels."""
SHEET_ROWS = 16
"""Maximum number of given images on a sheet, which has one row for each."""
SHEET_DRAWS = 8
"""Default maximum number of draws on a sheet for each given image."""
INK = (128, 128, 128, 255)
"""Color of text: gray, which is legible on light and dark backgrounds."""


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
    return spec.channels in (1, 3)


def sheet(images: Tensor, spec: ImageSpec, columns: int | None = None, zoom: int | None = None) -> Image.Image:
    """A sheet of the images of a batch (b, *spec.shape), row by row, as RGBA with transparent margins and empty places.

    Each pixel is enlarged to `zoom` × `zoom` pixels. The upper left corner of image i is at
    x = MARGIN + (i mod columns)·(zoom·width + MARGIN) and y = MARGIN + ⌊i / columns⌋·(zoom·height + MARGIN). Without
    `columns`, the sheet is about square. Without `zoom`, small images are enlarged and large images keep their size.
    Raises `UserError` if the batch is empty, if `columns` or `zoom` is less than 1, or if the images do not match
    `spec` or cannot be shown.
    """
    colors = to_uint8(images, spec)
    if columns is None:
        columns = sheet_columns(len(colors), spec)
    if zoom is None:
        zoom = _zoom(spec, columns)
    height, width = spec.height * zoom, spec.width * zoom
    return _grid([_resized(image, height, width) for image in colors], columns, height, width)


def sheet_columns(count: int, spec: ImageSpec) -> int:
    """The number of columns that `sheet` uses by default for `count` images, so that the sheet is about square."""
    return max(1, min(count, math.ceil(math.sqrt(count * spec.height / spec.width))))


def growth(views: Sequence[tuple[Tensor, ImageSpec]]) -> Image.Image:
    """A sheet with a row for each image: its views from the coarsest to the finest, and the image itself.

    `views` lists the views of the same images from the coarsest to the image, each (b, *spec.shape). All are enlarged
    by nearest neighbor to the size that `sheet` gives the images if it has len(views) columns. Raises `UserError` if
    `views` is empty, if its entries hold different numbers of images, or if one does not match its spec or cannot be
    shown.
    """
    rows = _rows(views)
    finest = views[-1][1]
    zoom = _zoom(finest, len(views))
    height, width = finest.height * zoom, finest.width * zoom
    colors = [to_uint8(images, spec) for images, spec in views]
    tiles = [_resized(view[row], height, width) for row in range(rows) for view in colors]
    return _grid(tiles, len(views), height, width)


def labeled(
    columns: Sequence[tuple[Tensor, ImageSpec]],
    titles: Sequence[str],
    names: Sequence[str] = (),
    zoom: int | None = None,
) -> Image.Image:
    """A sheet of titled columns of images (b, *spec.shape). With `names`, each row has its name on the left.

    All images are enlarged to one size, which leaves room for the titles. `zoom` is the enlargement of the largest
    images; by default, small images are enlarged and large images keep their size. Raises `UserError` if there are no
    columns or no images, if the columns hold different numbers of images, if `zoom` is less than 1, or if an image does
    not match its spec or cannot be shown.
    """
    rows = _rows(columns)
    largest = max((spec for _, spec in columns), key=lambda spec: spec.height)
    zoom = _zoom(largest, len(columns)) if zoom is None else zoom
    if zoom < 1:
        raise UserError(f"zoom of a sheet must be at least 1; got {zoom}")
    height, width = largest.height * zoom, largest.width * zoom
    # Columns are wide enough for their titles, at about 8 pixels for each character.
    width = max(width, 8 * max(len(title) for title in titles))
    height = height * width // (largest.width * zoom)
    colors = [to_uint8(images, spec) for images, spec in columns]
    tiles = [_resized(column[row], height, width) for row in range(rows) for column in colors]
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


def draws_sheet(
    drawn: Tensor,
    spec: ImageSpec,
    *,
    given: tuple[Tensor, ImageSpec] | None,
    view: tuple[Tensor, ImageSpec] | None,
    known: Tensor | None = None,
    condition: tuple[Tensor, ImageSpec] | None = None,
    zoom: int | None = None,
) -> Image.Image:
    """A sheet with a row for each given image: the image, its view or its known part, and the images drawn from it.

    `drawn` has shape (g, draws, *spec.shape) for g given images. `given` and `view` are images and views (g, *shape)
    with their specs; None leaves out the column. `known` is the mask of the known pixels of the given images, booleans
    (g, h, w). `condition` has the masks or images that the draws are given, with their spec. Views and conditions that
    cannot be shown are left out, too. Raises `UserError` as `labeled` does.
    """
    titles: list[str] = []
    columns: list[tuple[Tensor, ImageSpec]] = []
    if given is not None:
        titles.append("given")
        columns.append(given)
    if view is not None and can_be_shown(view[1]):
        titles.append("view")
        columns.append(view)
    if known is not None and given is not None:
        titles.append("known")
        # Unknown pixels are gray, so that they differ from known black pixels.
        gray = torch.full_like(given[0], given[1].levels // 2)
        columns.append((torch.where(known[:, None], given[0], gray), given[1]))
    if condition is not None and can_be_shown(condition[1]):
        titles.append("condition")
        columns.append((condition[0].clamp_min(0), condition[1]))
    for draw in range(drawn.shape[1]):
        titles.append(f"draw {draw}")
        columns.append((drawn[:, draw], spec))
    return labeled(columns, titles, zoom=zoom)


def with_note(sheet: Image.Image, note: str) -> Image.Image:
    """The sheet with a line of text below it."""
    font = ImageFont.load_default(size=TITLE - 6)
    width = max(sheet.width, 2 * MARGIN + math.ceil(font.getlength(note)))
    canvas = Image.new("RGBA", (width, sheet.height + TITLE))
    canvas.paste(sheet, (0, 0))
    ImageDraw.Draw(canvas).text((MARGIN, sheet.height + TITLE // 2), note, fill=INK, font=font, anchor="lm")
    return canvas


def save_png(image: Image.Image, path: Path) -> None:
    """Writes `image` to `path` as PNG, atomically. Raises `UserError` if the file cannot be written."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def _rows(columns: Sequence[tuple[Tensor, ImageSpec]]) -> int:
    """The number of images in each column. Raises `UserError` if there are no columns, or if their numbers differ."""
    counts = [len(images) for images, _ in columns]
    if not counts:
        raise UserError("there are no images to show")
    if len(set(counts)) > 1:
        raise UserError(f"all columns must hold the same number of images; they hold {', '.join(map(str, counts))}")
    return counts[0]


def _zoom(spec: ImageSpec, columns: int) -> int:
    return max(1, min(IMAGE_SIDE // max(spec.height, spec.width), SHEET_WIDTH // (max(1, columns) * spec.width)))


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes (h, w, 3) to (height, width, 3): each pixel is copied from the one that its upper left corner lies in."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    found: np.ndarray = image[rows[:, None], columns]
    return found


def _grid(tiles: Sequence[np.ndarray], columns: int, height: int, width: int) -> Image.Image:
    """A sheet of tiles (height, width, 3), row by row on a transparent background, with a margin around each."""
    if not tiles:
        raise UserError("there are no images to show")
    if columns < 1 or height < 1 or width < 1:
        raise UserError(
            f"columns and zoom of a sheet must be at least 1; got {columns} columns of {height}×{width} pixels"
        )
    rows = math.ceil(len(tiles) / columns)
    canvas = np.zeros((MARGIN + rows * (height + MARGIN), MARGIN + columns * (width + MARGIN), 4), np.uint8)
    for index, tile in enumerate(tiles):
        top = MARGIN + index // columns * (height + MARGIN)
        left = MARGIN + index % columns * (width + MARGIN)
        canvas[top : top + height, left : left + width, :3] = tile
        canvas[top : top + height, left : left + width, 3] = 255
    return Image.fromarray(canvas)
