"""The reader of the images that a user gives: tensors, arrays, Pillow images, files, folders and lists of these."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.arguments import as_path
from auxar.data.conversion import Preparation
from auxar.draw.forms import AnyPicture, Form, WrongForm, images_at, pictures_in, size_of, usual_preparation
from auxar.draw.images import Images
from auxar.errors import UserError, one_line
from auxar.model import ImageSpec
from auxar.progress import steps
from auxar.recipe import DataConfig
from auxar.recipe.structuring import structure


def read(images: Any, forms: Sequence[Form], what: str) -> tuple[int, Tensor]:
    """Converts images of many types to one batch, and also returns its depth.

    Each image is converted by the first form that it has; all must be of one depth. A single image becomes a batch of
    one. The batch is uint8 or int64 on the CPU, of shape (n, *spec.shape). Raises `UserError`, which names the argument
    `what`, if an image has a wrong type, shape or range, or cannot be read, and `WrongForm` if it has no form.
    """
    parts = steps(parts_of(images, what), "reading images", "image")
    found = [_converted(source, label, forms) for source, label in parts]
    if len({depth for depth, _ in found}) > 1:
        raise UserError(f"{what}: expected images of one kind and size, got several")
    return found[0][0], torch.cat([batch for _, batch in found])


def as_batch(images: Any, spec: ImageSpec, preparation: Preparation | None = None, what: str = "images") -> Tensor:
    """Converts images of many types to one batch, as `read`: uint8 or int64 on the CPU, shape (n, *spec.shape).

    Accepted types are integer tensors and NumPy arrays, Pillow images, the paths of image files and of folders of
    images, the result of `ImageModel.sample`, and sequences of these. Tensors and arrays have integers in [0,
    spec.levels), with the channels first or last; images with one channel may lack the dimension of the channel.
    Pictures have 8 bits and are converted by `preparation`; without it, they are refused if they have another size.
    """
    return read(images, [Form(spec, preparation or usual_preparation(spec))], what)[1]


def sizes_of(images: Any, spec: ImageSpec, what: str = "images") -> list[tuple[int, int] | None]:
    """The height and width of each array, picture or file that `as_batch` accepts; None for other objects.

    An array has the channels of `spec`, first or last. Raises `UserError` if a file or a folder cannot be read.
    """
    return [size_of(source, spec.channels, label) for source, label in parts_of(images, what)]


def prepared(images: Any, usual: Preparation | None, resize: Any, crop: Any) -> Tensor:
    """Converts pictures to the size, channels and levels of a model: uint8, shape (n, *image.shape).

    See `ImageModel.prepare`. Raises `UserError` if `usual` is None.
    """
    if usual is None:
        raise UserError("images: this model cannot be used with pictures, because they have 1 or 3 channels of 8 bits")
    options = {name: value for name, value in (("resize", resize), ("crop", crop)) if value is not None}
    table = {name: dict(value) if isinstance(value, Mapping) else value for name, value in options.items()}
    data = structure({"path": "images", **table}, DataConfig)
    if data.crop.random:
        raise UserError("crop: expected margins; random crops are drawn only in training")
    preparation = attrs.evolve(usual, **{name: getattr(data, name) for name in options})
    try:
        return read(images, [AnyPicture(usual.image, preparation)], "images")[1]
    except WrongForm as error:
        raise UserError(f"{error}; set resize to 'cover' (cuts off margins) or 'stretch'") from None


def parts_of(images: Any, what: str = "images") -> list[tuple[Any, str]]:
    """The single arrays, pictures and files, each with its name for messages. Folders are replaced by their files."""
    if not isinstance(images, Sequence) or isinstance(images, str | bytes):
        entries = [(images, what)]
    elif not len(images):
        raise UserError(f"{what}: expected at least one image, got an empty {type(images).__name__}")
    else:
        entries = [(entry, f"{what}[{number}]") for number, entry in enumerate(images)]
    parts: list[tuple[Any, str]] = []
    for entry, label in entries:
        if isinstance(entry, str | os.PathLike):  # Messages name the file, so they need no number.
            parts += [(file, what) for file in images_at(as_path(entry, what), what)]
        elif isinstance(entry, Tensor) and (entry.layout != torch.strided or entry.is_meta or entry.is_nested):
            raise UserError(f"{label}: expected a dense tensor, got a sparse, nested or meta tensor")
        else:
            parts.append((entry, label))
    return parts


def pictures_of(images: Any, what: str = "images") -> Iterator[tuple[Any, str]]:
    """Yields each picture of images of many types, with a name for messages: a path, a Pillow image, or what it is.

    Arrays and `Images` have pictures of 8 bits, of 1, 3 or 4 channels, first or last, which become Pillow images.
    Folders are replaced by their image files, and other objects are left as they are. Raises `UserError` if there is
    no image, or if an array has other values or another shape.

    Examples:
        >>> import numpy as np
        >>> [picture.size for picture, _ in pictures_of(np.zeros((2, 3, 16, 32), np.uint8))]
        [(32, 16), (32, 16)]
    """
    for source, label in parts_of(images, what):
        array = source.tensor if isinstance(source, Images) else source
        if isinstance(array, Tensor | np.ndarray):
            yield from ((picture, f"{label}: picture {at}") for at, picture in enumerate(pictures_in(array, label)))
        else:
            yield source, one_line(str(source)) if isinstance(source, Path) else label


def _converted(source: Any, what: str, forms: Sequence[Form]) -> tuple[int, Tensor]:
    """The depth and the batch of the first form that an image has. Raises the error of a form if it has none."""
    problems = []
    for form in forms:
        try:
            return form.depth, form.convert(source, what)
        except WrongForm as error:
            problems.append(error)
    if len(forms) == 1:
        raise problems[0]
    raise WrongForm(f"{problems[0]}; images are expected to be {' or '.join(str(form.spec) for form in forms)}")
