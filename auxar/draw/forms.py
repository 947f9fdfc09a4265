"""The image files that a user names, the forms in which a user can give images, and the conversion of each form."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.arguments import described
from auxar.data.conversion import Preparation, WrongSize
from auxar.data.decoding import BrokenImage, opened, read_file, warn_of_depth
from auxar.draw.images import Images
from auxar.errors import UserError, logger, naming, nearest_path, one_line
from auxar.files import FOLDER, entries, is_file, kind
from auxar.model import INTEGER_DTYPES, ImageSpec
from auxar.numerics.levels import SCALED
from auxar.recipe import Crop, Recipe
from auxar.recipe.paths import EXTENSIONS
from auxar.recipe.schema import CHANNELS, MOST_LEVELS
from auxar.work.chunks import FOLDER as WORK

Picture = bytes | Image.Image
"""The content of an image file, or a Pillow image."""
EXPECTED = "a tensor or an array of integers, a Pillow image, the path of an image or of a folder, or a list of these"
"""The types of images that are accepted, for messages."""


class WrongForm(UserError):
    """The error for an image whose shape or size is not that of a form."""


@attrs.frozen
class Form:
    """A form in which images can be given: the images of one depth, or gray images in place of its color images."""

    spec: ImageSpec
    """Shape and range of an image as it is given."""
    pictures: Preparation | None
    """The conversion of pictures. A picture that already has the size of `spec` is not cropped. None if pictures cannot
    show the images, or are not given in this form."""
    depth: int = 0
    """Depth of the images that the form is converted to."""
    repeat: int = 1
    """Number of times that the channel of a gray image is repeated."""

    def convert(self, source: Any, what: str) -> Tensor:
        """Converts an array, `Images`, a Pillow image or a file to a batch of integers: uint8 or int64 on the CPU.

        Raises `WrongForm` if the image is not in this form, and `UserError` if its type is not accepted, its values are
        out of range, or it cannot be read. Messages begin with `what`.
        """
        if isinstance(source, Images):
            if source.spec != self.spec:
                raise WrongForm(f"{what}: got images of {source.spec}; expected {self.spec}")
            source = source.tensor
        if isinstance(source, Tensor | np.ndarray):
            found = self.array(source, what)
        elif isinstance(source, Path | Image.Image):
            picture, name = picture_of(source, what)
            if self.pictures is not None and self.pictures.reduces(picture):
                warn_of_depth(str(source.parent) if isinstance(source, Path) else what)
            found = self._values(picture, f"{what}: {name}", name)
        else:
            raise UserError(f"{what}: expected {EXPECTED}, got {described(source)}")
        return found.repeat_interleave(self.repeat, 1)

    def array(self, array: Tensor | np.ndarray, what: str) -> Tensor:
        """Converts one or several images: uint8 or int64 on the CPU, (n, *spec.shape)."""
        values = integers(array, self.spec.levels, what)
        batch = _batch(values, self.spec)
        if batch is None:
            shape = ", ".join(map(str, self.spec.shape))
            hint = "; gray images of other sizes are (n, 1, h, w)" * (values.dim() == 3 and self.spec.channels == 1)
            raise WrongForm(f"{what}: expected shape (n, {shape}) or ({shape}), got {tuple(values.shape)}{hint}")
        self.spec.check_range(batch, what)
        return batch

    def picture(self, source: Picture, name: str, preparation: Preparation) -> np.ndarray:
        """Converts a picture: uint8, (channels, height, width)."""
        if preparation.crop != Crop():
            with opened(source) as picture:
                is_fitting = picture.size == (self.spec.width, self.spec.height)
            preparation = attrs.evolve(preparation, crop=Crop()) if is_fitting else preparation
        return preparation(source, name)

    def _values(self, source: Picture, label: str, name: str) -> Tensor:
        if self.pictures is None:
            raise WrongForm(f"{label} is a picture, which cannot show values of {self.spec}; give integers")
        try:
            return torch.from_numpy(self.picture(source, name, self.pictures).copy())[None]
        except BrokenImage as error:
            raise UserError(f"{label} cannot be read: {error}") from None
        except WrongSize as error:
            raise WrongForm(f"{label} has {error.found}; expected {self.spec.height}×{self.spec.width}") from None


class AnyPicture(Form):
    """The form of pictures of any size, which are always cropped.

    Arrays are pictures too: integers 0 … 255 with 1, 3 or 4 channels, first or last.
    """

    def array(self, array: Tensor | np.ndarray, what: str) -> Tensor:
        pictures = enumerate(pictures_in(array, what))
        return torch.cat([self._values(each, f"{what}: picture {at}", f"picture {at}") for at, each in pictures])

    def picture(self, source: Picture, name: str, preparation: Preparation) -> np.ndarray:
        return preparation(source, name)


class Mask(Form):
    """The form of masks, which become booleans. In pictures, true is white, or 1 if no pixel has a larger value."""

    def convert(self, source: Any, what: str) -> Tensor:
        found = super().convert(source, what)
        return found >= torch.where(found.amax((1, 2, 3), keepdim=True) > 1, 128, 1)

    def array(self, array: Tensor | np.ndarray, what: str) -> Tensor:
        records = isinstance(array, np.ndarray) and array.dtype.kind == "V"  # NumPy compares them with records only.
        if records or not any(bool(((array == 0) | (array == true)).all()) for true in (1, 255)):
            raise UserError(f"{what}: expected a mask of booleans, of 0 and 1, or of 0 and 255, got other values")
        return super().array(torch.as_tensor(array != 0).byte(), what)


def usual_preparation(image: ImageSpec, recipe: Recipe | None = None, values: str = SCALED) -> Preparation | None:
    """The conversion of pictures by [data] of a recipe. Without one, other sizes are refused, and `values` is used.

    None if pictures cannot show images with these channels or levels.
    """
    if image.channels not in CHANNELS or image.levels > MOST_LEVELS:
        return None
    return Preparation(image, Crop(), "none", values) if recipe is None else Preparation.of(image, recipe.data)


def size_of(source: Any, channels: int, what: str) -> tuple[int, int] | None:
    """The height and width of an array with this number of channels, of `Images`, a picture or a file; or None.

    Raises `UserError`, beginning with `what`, if a file cannot be read.
    """
    if isinstance(source, Images):
        return source.spec.height, source.spec.width
    if isinstance(source, Tensor | np.ndarray):
        shape = tuple(source.shape)
        for count in (channels, 1) if len(shape) > 2 else ():
            if count in (shape[-3], shape[-1]):
                return shape[-2:] if shape[-3] == count else shape[-3:-1]
        return shape[-2:] if channels == 1 and len(shape) == 2 else None
    if not isinstance(source, Path | Image.Image):
        return None
    found, name = picture_of(source, what)
    try:
        with opened(found) as picture:
            return picture.height, picture.width
    except BrokenImage as error:
        raise UserError(f"{what}: {name} cannot be read: {error}") from None


def integers(array: Tensor | np.ndarray, levels: int, what: str) -> Tensor:
    """Converts an array of integers to a tensor on the CPU: uint8 if it has 8 bits, and int64 otherwise.

    Raises `UserError`, beginning with `what`, for other types. `levels` is the number of levels in the message.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise UserError(f"{what}: expected an array without a mask; replace its masked values with `filled`")
    if isinstance(array, np.ndarray) and array.dtype.kind in "iu":
        # Arrays with negative strides, such as mirrored ones, and arrays that cannot be written are copied.
        array = torch.from_numpy(np.array(array, np.uint8 if array.dtype == np.uint8 else np.int64))
    if not isinstance(array, Tensor) or array.dtype not in INTEGER_DTYPES:
        converted = ".long()" if isinstance(array, Tensor) else ".astype(int)"
        raise UserError(
            f"{what}: expected integers in [0, {levels}), got values of {array.dtype}; convert whole numbers with "
            f"x{converted}, and values that are scaled to [0, 1] with (x * {levels - 1}).round(){converted}"
        )
    return array.detach().to("cpu", torch.uint8 if array.dtype == torch.uint8 else torch.int64)


def _batch(values: Tensor, spec: ImageSpec) -> Tensor | None:
    """The values with the shape (n, *spec.shape), or None if their shape is wrong. Channels may also be last."""
    channels, height, width = spec.shape
    shape, sides = tuple(values.shape), values.dim()
    if shape[-3:] == spec.shape and sides in (3, 4):
        return values.reshape(-1, *spec.shape)
    if channels == 1 and shape[-2:] == (height, width) and sides in (2, 3):
        return values.reshape(-1, *spec.shape)
    if shape[-3:] == (height, width, channels) and sides in (3, 4):
        return values.reshape(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()
    return None


def pictures_in(array: Tensor | np.ndarray, what: str) -> Iterator[Image.Image]:
    """Yields the pictures in an array of 8-bit values. Raises `UserError`, beginning with `what`, if it has others."""
    values = integers(array, 256, what)
    if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < 256:
        raise UserError(f"{what}: expected 8-bit values, 0 … 255, got {int(values.min())} … {int(values.max())}")
    shape = values.shape
    places = [dim for dim in (-3, -1) if values.dim() > 2 and shape[dim] in (1, 3, 4)]
    if len(places) > 1:
        raise UserError(
            f"{what}: an array of shape {tuple(shape)} has channels first or last; give it as a Pillow image"
        )
    # Gray pictures may lack the dimension of the channel.
    values = values.movedim(places[0], -1) if places else values[..., None]
    if values.dim() not in (3, 4) or 0 in shape:
        raise UserError(f"{what}: expected pictures of shape (n, channels, height, width), got {tuple(shape)}")
    for picture in values.reshape(-1, *values.shape[-3:]).to(torch.uint8).numpy():
        yield Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def image_files(paths: Sequence[Path], what: str) -> list[Path]:
    """The given files and, in place of each given folder, the image files in it, sorted by name.

    Raises `UserError`, which names the argument `what`, if there are no paths, if one does not exist or cannot be read,
    or if a folder has no image.
    """
    if not paths:
        raise UserError(f"{what}: expected at least one image file, or a folder of images")
    return [file for path in paths for file in images_at(path, what)]


def images_at(path: Path, what: str) -> list[Path]:
    """The path itself if it is a file, or the image files in a folder, sorted by name. Raises as `image_files` does."""
    with naming(what):
        if not (is_folder := kind(path, follow_links=True) == FOLDER) and is_file(path):
            return [path]
    if not is_folder:
        raise UserError(f"{what}: there is no file or folder {one_line(str(path))}{one_line(nearest_path(path))}")
    named = [file for file in entries(path) if file.name.lower().endswith(EXTENSIONS) and file.name[0] != "."]
    inside = [file for file in named if kind(file, follow_links=True) != FOLDER]
    folders = [each.name for each in entries(path) if each.name[0] != "." and each.name != WORK and os.path.isdir(each)]
    others = ", ".join(map(one_line, folders[:3])) + ", …" * (len(folders) > 3)
    if not inside:
        ending = f"name one of its subfolders ({others})" if folders else f"looked for {', '.join(EXTENSIONS)}"
        raise UserError(f"{what}: there is no image in the folder {path}; {ending}")
    if folders:
        logger.warning("%s: its subfolders (%s) are left out; name them, too", one_line(str(path)), others)
    return inside


def picture_of(source: Path | Image.Image, what: str) -> tuple[Picture, str]:
    """The content of an image file, or a Pillow image as it is, and its name in messages.

    Raises `UserError`, beginning with `what`, if the file cannot be read.
    """
    if not isinstance(source, Path):
        return source, "the picture"
    name = one_line(str(source))
    try:
        return read_file(source), name
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: {name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
