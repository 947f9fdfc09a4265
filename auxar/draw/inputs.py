"""Conversion of the images that a user gives to batches of a model's integers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.data.conversion import Preparation, WrongSize
from auxar.draw.arrays import Array, fitted
from auxar.draw.image_files import content_of, images_at
from auxar.draw.images import Images
from auxar.draw.pictures import WrongColors, picture_values
from auxar.errors import UserError, one_line, shown
from auxar.model import ImageSpec
from auxar.progress import BAR_DELAY, progress_bar
from auxar.recipe import Crop

EXPECTED = "a tensor or an array of integers, a Pillow image, the path of an image or of a folder, or a list of these"
"""The types of images that are accepted, for messages."""
FILES = {
    ".parquet": "a parquet file; give its pictures, for example datasets.load_dataset('parquet', data_files=…)",
    ".npy": "a NumPy file; give its array, numpy.load(…)",
    ".npz": "a NumPy file; give one of its arrays, numpy.load(…)[name]",
    ".pt": "a PyTorch file; give the tensor in it, torch.load(…)",
    ".safetensors": "a safetensors file; give one of its tensors",
    ".zip": "an archive; extract it, and give the folder",
}
"""Advice for files that are no pictures, by their extension."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

FromArray = Callable[[Array, str], Tensor]
"""Converts an array to a batch. The string is the beginning of error messages."""
FromPicture = Callable[[bytes | Image.Image, str, str], np.ndarray]
"""Converts a picture to the values of an image. The strings are the beginning of error messages and a name."""


def as_batch(
    images: Any,
    spec: ImageSpec,
    preparation: Preparation | None = None,
    *,
    what: str = "images",
    of_command: bool = False,
) -> Tensor:
    """Converts images of many types to one batch: uint8 or int64 on the CPU, shape (n, *spec.shape).

    Accepted types are integer tensors and NumPy arrays, Pillow images, the paths of image files and of folders of
    images, the result of `ImageModel.sample`, and sequences of these. A single image becomes a batch of one. Tensors
    and arrays have integers in [0, spec.levels). Arrays may have the channels first or last. Images with one channel
    may lack the dimension of the channel. Pictures have 8 bits and are converted as `Preparation` describes.

    `preparation` is the conversion of pictures of another size, for images of the model; messages then also advise
    `model.prepare` or, with `of_command`, keys of [data]. Without it, for instance for views, pictures of another size
    are refused. `what` names the argument in messages. Raises `UserError` if an image has a wrong type, shape or range,
    or cannot be read.
    """
    usual = preparation
    for number, entry in enumerate(images if isinstance(images, list | tuple) else [images]):
        # The integers alone do not show their range.
        if isinstance(entry, Images) and entry.spec.levels != spec.levels:
            label = f"{what}[{number}]" if isinstance(images, list | tuple) else what
            raise UserError(f"{label}: got images of {entry.spec}; expected {spec}")

    def from_array(array: Array, label: str) -> Tensor:
        return fitted(array, spec, label, resizable=usual is not None)

    def from_picture(source: bytes | Image.Image, label: str, name: str) -> np.ndarray:
        check_pictured(spec, label)
        try:
            return picture_values(source, usual or Preparation(spec, Crop(), "none"), label, name)
        except WrongSize as error:
            if of_command:
                raise
            advice = "; model.prepare(images, resize='cover') scales it and cuts off its margins" if usual else ""
            raise UserError(f"{label} has {error.found}; expected {spec.height}×{spec.width}{advice}") from None
        except WrongColors as error:
            if of_command or usual is None:
                raise
            raise WrongColors(f"{error}; model.prepare(images) converts it") from None

    return gathered(images, from_array, from_picture, what)


def is_pictured(spec: ImageSpec) -> bool:
    """Whether pictures can have the channels and levels of an image."""
    return spec.channels in (1, 3) and spec.levels <= 256


def check_pictured(spec: ImageSpec, label: str) -> None:
    """Raises `UserError`, beginning with `label`, if a picture cannot have the channels or levels of an image."""
    if not is_pictured(spec):
        raise UserError(f"{label} is a picture, which cannot show values of {spec}; give a tensor of integers")


def gathered(images: Any, from_array: FromArray, from_picture: FromPicture, what: str) -> Tensor:
    """Converts images of many types to one batch with the given conversions of arrays and pictures.

    Raises `UserError` if there is nothing to convert, or if a type is not accepted.
    """
    if isinstance(images, Sequence) and not isinstance(images, str | bytes | bytearray):
        if not len(images):
            raise UserError(f"{what}: expected at least one image, got an empty {type(images).__name__}")
        _refuse_labels(images, what)
        entries = [(entry, f"{what}[{number}]") for number, entry in enumerate(images)]
    else:
        entries = [(images, what)]
    # Paths of folders are replaced by the files in them, so that the progress bar counts images.
    parts = [part for entry, label in entries for part in _parts(entry, label, what)]
    converted = []
    for part, label in progress_bar(parts, desc="reading images", unit="image", delay=BAR_DELAY, leave=False):
        converted.append(_converted(part, label, from_array, from_picture))
    return converted[0] if len(converted) == 1 else torch.cat(converted)


def _parts(entry: Any, label: str, what: str) -> Iterator[tuple[Any, str]]:
    if isinstance(entry, str | os.PathLike):
        # Messages name the file, so they need no number.
        yield from ((file, what) for file in _files(entry, what))
    else:
        yield entry, label


def _converted(entry: Any, label: str, from_array: FromArray, from_picture: FromPicture) -> Tensor:
    """The batch of one tensor, array, picture, file or result of drawing."""
    if isinstance(entry, Tensor | np.ndarray):
        return from_array(entry, label)
    if isinstance(entry, Images):
        return from_array(entry.tensor, label)
    if isinstance(entry, Image.Image):
        return _one(from_picture(entry, f"{label}: the picture", "the picture"))
    if isinstance(entry, Path):
        name = one_line(str(entry))
        return _one(from_picture(content_of(entry, label), f"{label}: {name}", name))
    raise UserError(f"{label}: {_other(entry)}")


def _one(values: np.ndarray) -> Tensor:
    """A batch of one picture: uint8, (1, c, h, w)."""
    return torch.from_numpy(values.astype(np.uint8))[None]


def _files(path: str | os.PathLike[Any], label: str) -> list[Path]:
    """The image files at a path. Raises `UserError` if the path is no image file and no folder of images."""
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise UserError(f"{label}: expected the path of an image or of a folder of images, got {shown(text)}")
    if URL.match(text):
        raise UserError(f"{label}: {one_line(text)} is a URL; download the image, and give the path of the file")
    if (advice := FILES.get(Path(text).suffix.lower())) is not None and not os.path.isdir(text):
        raise UserError(f"{label}: {one_line(text)} is {advice}")
    try:
        return images_at(Path(text))
    except UserError as error:
        raise UserError(f"{label}: {error}") from None


def _refuse_labels(images: Sequence[Any], what: str) -> None:
    """Raises `UserError` for a pair of images and labels, such as an entry of a data set or a batch of a loader."""
    if len(images) != 2:
        return
    first, second = images[0], images[1]
    is_label = isinstance(second, int) or (isinstance(second, Tensor | np.ndarray) and second.ndim <= 1)
    if is_label and isinstance(first, Tensor | np.ndarray | Image.Image) and getattr(first, "ndim", 3) >= 2:
        raise UserError(f"{what}: got a pair of images and labels; give only the images, which are the first entry")


def _other(entry: Any) -> str:
    """The rest of a message about a type that is not accepted."""
    expected = f"expected {EXPECTED}"
    if entry is None:
        return f"{expected}, got None"
    kind = type(entry).__name__
    if isinstance(entry, Mapping):
        keys = ", ".join(shown(key) for key in list(entry)[:5]) or "no keys"
        return f"{expected}, got a {kind} ({keys}); give the entry with the images"
    if isinstance(entry, Iterator):
        return f"{expected}, got a {kind}; give list(…) of it"
    if isinstance(entry, bytes | bytearray):
        return f"{expected}, got {kind}; decode an image file with PIL.Image.open(io.BytesIO(…))"
    if isinstance(entry, torch.utils.data.DataLoader):
        return f"{expected}, got a {kind}; give the images of one of its batches"
    if isinstance(entry, torch.utils.data.Dataset) or hasattr(entry, "column_names"):
        return f"{expected}, got the data set {kind}; give a list of its images"
    if isinstance(entry, Sequence):
        pair = len(entry) == 2 and isinstance(entry[0], Tensor | np.ndarray | Image.Image)
        numbers = "; give only the images, without labels" if pair else "; convert lists of numbers with torch.tensor"
        return f"{expected}, got a {kind} in a list{numbers}"
    return f"{expected}, got {shown(entry)} ({kind})"
