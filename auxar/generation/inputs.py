"""Reading the images that a user gives, to draw from their views or to complete them from a part."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auxar.arguments import as_integer, check_flag, described
from auxar.data.conversion import Preparation, read_file
from auxar.errors import UserError, one_line
from auxar.generation.conditional import Given, check_stage
from auxar.generation.pictures import WrongColors, mask_values, picture_values, view_values
from auxar.generation.sheets import can_be_shown
from auxar.model import Chain, ImageSpec, Known
from auxar.recipe import DataConfig, Recipe
from auxar.recipe.schema import MOST_LEVELS

LONGEST_NUMBER = 50
"""Maximum number of digits of a number of rows."""


def check_given(paths: Sequence[Path] | None, stage: Any, as_view: Any, keep: Any) -> None:
    """Raises `UserError` if an option that says how given images are used is invalid, or does not fit the others."""
    if stage is not None:
        as_integer(stage, "stage")
    check_flag(as_view, "as_view")
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int | str | PathLike)):
        raise UserError(f"keep: expected a number of rows, the path of a mask, or None, got {described(keep)}")
    for name, is_set in (("stage", stage is not None), ("as_view", as_view), ("keep", keep is not None)):
        if is_set and paths is None:
            raise UserError(f"{name}: expected images to draw from, which --given names")
    if keep is not None and (as_view or stage is not None):
        raise UserError(
            "keep: cannot be combined with --stage or --as-view, because it completes images, and these options draw "
            "images from a view"
        )


def read_given(
    files: Sequence[Path], recipe: Recipe, model: Chain, *, stage: int = 0, as_view: bool = False, keep: Any = None
) -> Given:
    """Reads the images or views that a user gives, with options that `check_given` accepts.

    With `keep`, a number of rows or the path of a mask, this part of the images is kept. Otherwise, images at depth
    `stage` are drawn from views at depth `stage` + 1, which the files show themselves if `as_view` is true.

    Raises `UserError` if a file cannot be read or does not fit the model.
    """
    names = tuple(file.name for file in files)
    if keep is not None:
        images = read_images(files, recipe.image, recipe.data)
        mask = _kept(str(keep) if isinstance(keep, int) else os.fspath(keep), recipe.image)
        return Given(names, 1, None, images, Known(images, mask.expand(len(images), -1, -1)))
    check_stage(model, stage)
    depth = stage + 1
    if as_view:
        return Given(names, depth, read_views(files, model.specs[depth], recipe.data.values), None)
    try:
        images = read_images(files, recipe.image, recipe.data)
    except WrongColors as error:
        if recipe.image.channels == 3 and model.specs[depth].channels == 1:
            raise UserError(f"{error}; to draw colors for a gray picture, add --as-view") from None
        raise
    return Given(names, depth, model.views(images, depth)[depth], images)


def read_images(files: Sequence[Path], image: ImageSpec, data: DataConfig) -> Tensor:
    """Reads image files as integers with the shape and range of `image`: int64, (b, *image.shape).

    An image of another size is cropped and resized by the settings of [data]. Raises `UserError` if a file cannot be
    read, if it has other channels than `image`, or if cropping and resizing do not give the size of `image`.
    """
    preparation = Preparation.of(image, data)
    found = []
    for file in files:
        content = _content(file, "given")
        _check_channels(image, file)
        pixels = picture_values(content, preparation, f"given: {file}", str(file))
        found.append(torch.from_numpy(pixels.astype(np.int64)))
    return torch.stack(found)


def read_views(files: Sequence[Path], view: ImageSpec, values: str) -> Tensor:
    """Reads pictures of views, in the form that auxar writes, back into views: int64, (b, *view.shape).

    `values` is `data.values` of the recipe. Raises `UserError` if a picture has another size or other channels than
    `view`.
    """
    found = []
    for file in files:
        content = _content(file, "given")
        _check_channels(view, file)
        found.append(torch.from_numpy(view_values(content, view, values, f"given: {file}").astype(np.int64)))
    return torch.stack(found)


def read_mask(path: Path, image: ImageSpec) -> Tensor:
    """Reads a mask of the pixels to keep, booleans (h, w): True where the picture is white (gray values ≥ 128)."""
    return torch.from_numpy(mask_values(_content(path, "keep"), image, f"keep: {path}"))


def _kept(keep: str, image: ImageSpec) -> Tensor:
    """The mask of the pixels to keep, booleans (h, w), from a number of rows or the path of a mask."""
    if not keep.isdecimal():
        return read_mask(Path(keep), image)
    # Python refuses to convert thousands of digits.
    rows = int(keep) if len(keep) <= LONGEST_NUMBER else image.height
    if not 0 < rows < image.height:
        keep = one_line(keep, 2 * LONGEST_NUMBER)
        raise UserError(
            f"keep: expected a number of rows from 1 to {image.height - 1}, or the path of a mask, got {keep}"
        )
    return (torch.arange(image.height) < rows)[:, None].expand(-1, image.width)


def _content(file: Path, name: str) -> bytes:
    """The bytes of a file that the argument `name` gives. Raises `UserError` if it cannot be read."""
    try:
        return read_file(file)
    except OSError as error:
        raise UserError(f"{name}: {file} cannot be read: {error.strerror}") from None


def _check_channels(image: ImageSpec, file: Path) -> None:
    """Raises `UserError` if pictures cannot show images with the channels or levels of `image`."""
    if not can_be_shown(image) or image.levels > MOST_LEVELS:
        raise UserError(
            f"given: {file}: a picture has 1 or 3 channels and at most {MOST_LEVELS} levels, but the views of this "
            f"stage are {image}; give images without --as-view"
        )
