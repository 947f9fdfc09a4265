"""Images that a user gives: to draw from their view, or to complete from a part of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.data.conversion import BrokenImage, Preparation, decode, eight_bit, opened, read_file
from auxar.data.folder import EXTENSIONS
from auxar.errors import UserError
from auxar.generation.conditional import Given, check_stage
from auxar.interfaces import ImageSpec, Known, Prior
from auxar.recipe import DataConfig, Recipe


def _paths(paths: Iterable[str | Path]) -> tuple[Path, ...]:
    return tuple(map(Path, paths))


@attrs.frozen
class GivenRequest:
    """The files to draw from and the way to use them, as the user gives them."""

    paths: tuple[Path, ...] = attrs.field(converter=_paths)
    """Files, or folders of them."""
    stage: int = 0
    """The image at depth `stage` is drawn given the view at depth `stage` + 1, and then all finer ones."""
    as_view: bool = False
    """The files show the view at depth `stage` + 1 itself; otherwise images that it is made of."""
    keep: str | None = None
    """A number of upper rows, or a mask's file: the part of the images that is kept while the rest is drawn."""


def read_given(request: GivenRequest, recipe: Recipe, model: Prior) -> Given:
    """The images or views of a request, read from its files. Raises `UserError` for any that do not fit the model."""
    files = image_files(request.paths)
    names = tuple(file.name for file in files)
    if request.keep is not None:
        images = read_images(files, recipe.image, recipe.data)
        mask = _kept(request.keep, recipe.image)
        return Given(names, 1, None, images, Known(images, mask.expand(len(images), -1, -1)))
    check_stage(model, request.stage)
    depth = request.stage + 1
    if request.as_view:
        return Given(names, depth, read_views(files, model.specs[depth]), None)
    images = read_images(files, recipe.image, recipe.data)
    return Given(names, depth, model.views(images, depth)[depth], images)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders, by name. Raises `UserError` for a path that does not exist."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if _is_named_image(file))
            if not inside:
                raise UserError(f"--given: there is no image in the folder {path}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"--given: there is no file {path}")
    return found


def _is_named_image(file: Path) -> bool:
    return file.name.lower().endswith(EXTENSIONS) and not file.name.startswith(".") and not file.is_dir()


def read_images(files: Sequence[Path], image: ImageSpec, data: DataConfig) -> Tensor:
    """Image files as integers of the shape and range of `image`: int64, (b, *image.shape).

    One that has another size is cropped and resized as [data] says. Raises `UserError` for one that does not fit.
    """
    preparation = Preparation(image, data.crop, data.resize)
    found = []
    for file in files:
        content = _content(file, "--given")
        picture = _read(content, file, image)
        if picture.size == (image.width, image.height):
            pixels = _by_channel(picture) * image.levels // 256
        else:
            pixels = preparation(content, str(file))
        found.append(torch.from_numpy(pixels.astype(np.int64)))
    return torch.stack(found)


def read_views(files: Sequence[Path], view: ImageSpec) -> Tensor:
    """Pictures of views, as auxar draws them, back to the views themselves: int64, (b, *view.shape).

    A picture shows level x of L as 255·x / (L - 1); each of its values becomes the nearest level. Raises `UserError`
    for one of another size or number of channels.
    """
    found = []
    for file in files:
        picture = _read(_content(file, "--given"), file, view)
        if picture.size != (view.width, view.height):
            size = f"{picture.height}×{picture.width}"
            raise UserError(f"--given {file} has {size} pixels, and this view has {view.height}×{view.width}")
        top = view.levels - 1
        found.append(torch.from_numpy((2 * _by_channel(picture) * top + 255) // 510))
    return torch.stack(found)


def read_mask(path: Path, image: ImageSpec) -> Tensor:
    """A picture that is white where pixels are known and black where they are drawn: booleans, (h, w)."""
    try:
        picture = decode(_content(path, "--keep"), "L")
    except BrokenImage as error:
        raise UserError(f"--keep {path} cannot be read: {error}") from None
    if picture.size != (image.width, image.height):
        size = f"{picture.height}×{picture.width}"
        raise UserError(f"--keep {path} has {size} pixels, and the image has {image.height}×{image.width}")
    return torch.from_numpy(np.asarray(picture) >= 128)


def _kept(keep: str, image: ImageSpec) -> Tensor:
    """The mask of the pixels that are kept, (h, w)."""
    if not keep.isdecimal():
        return read_mask(Path(keep), image)
    rows = int(keep)
    if not 0 < rows < image.height:
        raise UserError(f"--keep {keep}: a number of rows between 1 and {image.height - 1} is expected")
    return (torch.arange(image.height) < rows)[:, None].expand(-1, image.width)


def _content(file: Path, option: str) -> bytes:
    """The bytes of a file that `option` names."""
    try:
        return read_file(file)
    except OSError as error:
        raise UserError(f"{option} {file} cannot be read: {error.strerror}") from None


def _read(content: bytes, file: Path, image: ImageSpec) -> Image.Image:
    """The decoded picture. Raises `UserError` unless it has as many channels as `image`: none are added or dropped."""
    try:
        with opened(content) as picture:
            gray = picture.mode in ("1", "L", "LA", "La", "F") or picture.mode.startswith("I")
            decoded = eight_bit(picture).convert("RGB")
            alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    except BrokenImage as error:
        raise UserError(f"--given {file} cannot be read: {error}") from None
    if alpha is not None and np.asarray(alpha).min() < 255:
        raise UserError(f"--given {file} is partly transparent, which the model cannot represent; flatten it")
    if image.channels == 1:
        # Gray images are shown in red, green and blue that are equal.
        red, green, blue = decoded.split()
        if not red.tobytes() == green.tobytes() == blue.tobytes():
            raise UserError(f"--given {file} is in color; a grayscale image is expected")
        return red
    if gray:
        raise UserError(f"--given {file} is grayscale; an RGB image is expected")
    return decoded


def _by_channel(picture: Image.Image) -> np.ndarray:
    """int64, (c, h, w)."""
    pixels = np.asarray(picture).astype(np.int64)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
