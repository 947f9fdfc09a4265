"""Reading the images that a user gives, to draw from their views or to complete them from a part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.arguments import as_integer, as_paths, check_flag, described
from auxar.data.conversion import Preparation, read_file
from auxar.errors import UserError, one_line
from auxar.generation.conditional import Given, check_stage
from auxar.generation.image_files import images_at
from auxar.generation.pictures import WrongColors, mask_values, picture_values, view_values
from auxar.generation.sheets import can_be_shown
from auxar.model import Chain, ImageSpec, Known
from auxar.recipe import DataConfig, Recipe
from auxar.recipe.schema import MOST_LEVELS

LONGEST_NUMBER = 50
"""Maximum number of digits of a number of rows."""


def _paths(paths: Iterable[str | PathLike[str]]) -> tuple[Path, ...]:
    return tuple(as_paths(paths, "paths"))


def _keep(keep: object) -> object:
    """The part to keep as a string. A number of rows may be an integer, and the path of a mask may be a `Path`."""
    is_number = isinstance(keep, int) and not isinstance(keep, bool)
    return str(keep) if is_number or isinstance(keep, Path) else keep


@attrs.frozen
class GivenRequest:
    """The files that a user gives for conditional drawing, and the options that say how they are used.

    Examples:
        >>> import auxar
        >>> drawn = auxar.sample("runs/quickstart", images=1, rule="map", seed=8)
        >>> given = auxar.GivenRequest([drawn / "images"], keep="16")  # the upper 16 rows are kept
        >>> auxar.sample("runs/quickstart", given, images=2, seed=1).as_posix()
        'runs/quickstart/samples/completed-ancestral-seed1'
    """

    paths: tuple[Path, ...] = attrs.field(converter=_paths)
    """Image files, or folders of image files."""
    stage: int = 0
    """The stage to start from: images at depth `stage` are drawn from views at depth `stage` + 1, then finer images."""
    as_view: bool = False
    """Whether the files show the view at depth `stage` + 1. Otherwise they are images, and their views are computed."""
    keep: str | None = attrs.field(default=None, converter=_keep)
    """The part of the images to keep while the rest is drawn: a number of rows from the top, or the path of a mask.
    None to draw from views."""

    def __attrs_post_init__(self) -> None:
        as_integer(self.stage, "stage")
        check_flag(self.as_view, "as_view")
        if not isinstance(self.keep, str | None):
            expected = "a number of rows, the path of a mask, or None"
            raise UserError(f"keep: expected {expected}, got {described(self.keep)}")


def read_given(request: GivenRequest, recipe: Recipe, model: Chain) -> Given:
    """Reads the images or views of a request. Raises `UserError` if a file cannot be read or does not fit the model."""
    files = image_files(request.paths)
    names = tuple(file.name for file in files)
    if request.keep is not None:
        images = read_images(files, recipe.image, recipe.data)
        mask = _kept(request.keep, recipe.image)
        return Given(names, 1, None, images, Known(images, mask.expand(len(images), -1, -1)))
    check_stage(model, request.stage)
    depth = request.stage + 1
    if request.as_view:
        return Given(names, depth, read_views(files, model.specs[depth], recipe.data.values), None)
    try:
        images = read_images(files, recipe.image, recipe.data)
    except WrongColors as error:
        if recipe.image.channels == 3 and model.specs[depth].channels == 1:
            raise UserError(f"{error}; to draw colors for a gray picture, add --as-view") from None
        raise
    return Given(names, depth, model.views(images, depth)[depth], images)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The given files and, in place of each given folder, the image files in it, sorted by name.

    Raises `UserError` if there are no paths, if a path does not exist or cannot be read, or if a folder has no image.
    """
    if not paths:
        raise UserError("--given: expected at least one image file, or a folder of images")
    found: list[Path] = []
    for path in paths:
        try:
            found += images_at(path)
        except UserError as error:
            raise UserError(f"--given: {error}") from None
    return found


def read_images(files: Sequence[Path], image: ImageSpec, data: DataConfig) -> Tensor:
    """Reads image files as integers with the shape and range of `image`: int64, (b, *image.shape).

    An image of another size is cropped and resized by the settings of [data]. Raises `UserError` if a file cannot be
    read, if it has other channels than `image`, or if cropping and resizing do not give the size of `image`.
    """
    preparation = Preparation.of(image, data)
    found = []
    for file in files:
        content = _content(file, "--given")
        _check_channels(image, file)
        pixels = picture_values(content, preparation, f"--given {file}", str(file))
        found.append(torch.from_numpy(pixels.astype(np.int64)))
    return torch.stack(found)


def read_views(files: Sequence[Path], view: ImageSpec, values: str) -> Tensor:
    """Reads pictures of views, in the form that auxar writes, back into views: int64, (b, *view.shape).

    `values` is `data.values` of the recipe. Raises `UserError` if a picture has another size or other channels than
    `view`.
    """
    found = []
    for file in files:
        content = _content(file, "--given")
        _check_channels(view, file)
        found.append(torch.from_numpy(view_values(content, view, values, f"--given {file}").astype(np.int64)))
    return torch.stack(found)


def read_mask(path: Path, image: ImageSpec) -> Tensor:
    """Reads a mask of the pixels to keep, booleans (h, w): True where the picture is white (gray values ≥ 128)."""
    return torch.from_numpy(mask_values(_content(path, "--keep"), image, f"--keep {path}"))


def _kept(keep: str, image: ImageSpec) -> Tensor:
    """The mask of the pixels to keep, booleans (h, w), from a number of rows or the path of a mask."""
    if not keep.isdecimal():
        return read_mask(Path(keep), image)
    # Python refuses to convert thousands of digits.
    rows = int(keep) if len(keep) <= LONGEST_NUMBER else image.height
    if not 0 < rows < image.height:
        keep = one_line(keep, 2 * LONGEST_NUMBER)
        raise UserError(f"--keep {keep}: expected a number of rows from 1 to {image.height - 1}, or the path of a mask")
    return (torch.arange(image.height) < rows)[:, None].expand(-1, image.width)


def _content(file: Path, option: str) -> bytes:
    """The bytes of a file. Raises `UserError`, naming the command-line option `option`, if it cannot be read."""
    try:
        return read_file(file)
    except OSError as error:
        raise UserError(f"{option} {file} cannot be read: {error.strerror}") from None


def _check_channels(image: ImageSpec, file: Path) -> None:
    """Raises `UserError` if pictures cannot show images with the channels or levels of `image`."""
    if not can_be_shown(image) or image.levels > MOST_LEVELS:
        raise UserError(
            f"--given {file}: a picture has 1 or 3 channels and at most {MOST_LEVELS} levels, but the views of this "
            f"stage are {image}; give images without --as-view"
        )
