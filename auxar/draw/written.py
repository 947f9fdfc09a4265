"""Writes images in memory, such as arrays and PyTorch data sets, as parquet files that recipes can name."""

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image
from torch import Tensor

from auxar.arguments import as_path, described
from auxar.data.decoding import BrokenImage, eight_bit, opened
from auxar.data.writing import encode, new_folder, picture_schema
from auxar.draw.images import Images
from auxar.draw.inputs import pictures_of
from auxar.errors import UserError, did_you_mean, is_unicode
from auxar.progress import BAR_DELAY, progress_bar

SPLITS = ("train", "test", "validation")
"""The names of splits, which recipes use by default or by `data.heldout` and `data.validation`."""
GROUP = 1000
"""Number of images of a row group, whose files are held in memory."""
EXPECTED = "images, a pair (images, labels), or a data set whose items are images or pairs (image, label)"
Labeled = tuple[np.ndarray, int | str | None]


def write_dataset(out: str | PathLike[str], **splits: Any) -> Path:
    """Writes images in memory as a data set, which recipes can name as their `data.path`.

    A split is one of these:

    - images: an array or tensor of integers 0 … 255, (n, h, w), (n, h, w, c) or (n, c, h, w) with c = 1 or 3, or a list
      of Pillow images. (n, h, w) with n or w equal to 1, 3 or 4 would be a single image with channels;
    - a pair (images, labels) with n labels, which are integers or strings;
    - a data set of PyTorch, a list of tuples, or any other object with a length and items. An item is an image, or a
      tuple of an image and its label, an integer or a string, whose further entries are ignored.

    The pixels are stored without loss in the column `image`, and labels in the column `label`.

    Args:
        out: The new folder.
        splits: The images by the name of their split: `train`, and perhaps `test` and `validation`.

    Returns:
        The folder, with a file such as train.parquet for each split.

    Raises:
        UserError: There is no `train`, an image is not a picture of 8 bits, labels do not fit the images, an item
            cannot be read, or the folder exists.

    Examples:
        >>> import auxar, numpy
        >>> images, labels = numpy.zeros((20, 8, 8), numpy.uint8), numpy.arange(20) % 2
        >>> folder = auxar.write_dataset("squares", train=(images[:15], labels[:15]), test=(images[15:], labels[15:]))
        >>> sorted(path.name for path in folder.iterdir())
        ['test.parquet', 'train.parquet']
    """
    if "train" not in splits:
        raise UserError(f"train: expected {EXPECTED}; got only {', '.join(splits) or 'nothing'}")
    for name in splits:
        if name not in SPLITS:
            raise UserError(f"{name}: there is no such split{did_you_mean(name, SPLITS)}")
    folder = as_path(out, "out")
    with new_folder(folder) as temporary:
        for name, images in splits.items():
            items = progress_bar(_items(images, name), desc=f"writing {name}", unit="image", delay=BAR_DELAY)
            _write(temporary / f"{name}.parquet", iter(items), name)
    return folder


def _items(images: Any, what: str) -> Iterator[Labeled]:
    are_pairs = isinstance(images, Sequence) and len(images) > 0 and isinstance(images[0], tuple)
    """Yields the pictures of a split, with their labels or None."""
    if isinstance(images, tuple) and len(images) == 2 and isinstance(images[1], Sequence | np.ndarray | Tensor):
        if isinstance(images[1], str | bytes) or getattr(images[1], "ndim", 1) != 1:
            raise UserError(f"{what}: expected a list with a label for each image, got {described(images[1])}")
        pictures, labels = list(pictures_of(images[0], what)), list(images[1])
        if len(pictures) != len(labels):
            raise UserError(f"{what}: expected a label for each image, got {len(labels)} for {len(pictures)}")
        for (picture, name), label in zip(pictures, labels, strict=True):
            yield _pixels(picture, name), _label(label, name)
    elif isinstance(images, Tensor | np.ndarray | Images | Sequence) and not are_pairs:
        for picture, name in pictures_of(images, what):
            yield _pixels(picture, name), None
    elif isinstance(images, Sized) and hasattr(images, "__getitem__"):
        for number in range(len(images)):
            name = f"{what}[{number}]"
            try:
                item = images[number]
            except (OSError, LookupError) as error:  # A table has no item 0, and a length may be wrong.
                raise UserError(f"{name} cannot be read: {error!r}; expected {EXPECTED}") from error
            image, *rest = item if isinstance(item, tuple | list) and item else (item,)
            (picture, _), *others = pictures_of(image, name)
            if others:
                raise UserError(f"{name}: expected one image, got {1 + len(others)}")
            yield _pixels(picture, name), _label(rest[0], name) if rest else None
    else:
        raise UserError(f"{what}: expected {EXPECTED}, got {described(images)}")


def _pixels(picture: Any, what: str) -> np.ndarray:
    """The pixels of a Pillow image, uint8, (h, w) or (h, w, c)."""
    if not isinstance(picture, Image.Image):
        hint = "; give a list of (row['image'], row['label'])" if isinstance(picture, Mapping) else ""
        raise UserError(f"{what}: expected an array or a Pillow image, got {described(picture)}{hint}")
    try:
        with opened(picture) as own:
            found = eight_bit(own)
            return np.asarray(found if found.mode == "L" else found.convert("L" if found.mode == "1" else "RGB"))
    except BrokenImage as error:
        raise UserError(f"{what}: {error}") from None


def _label(label: Any, what: str) -> int | str:
    if isinstance(label, str) and is_unicode(label):
        return str(label)
    try:
        return operator.index(label)
    except TypeError:
        raise UserError(f"{what}: expected a label that is an integer or a string, got {described(label)}") from None


def _write(path: Path, items: Iterator[Labeled], what: str) -> None:
    """Writes a file of pictures, and of their labels if they have some."""
    first = next(items, None)
    if first is None:
        raise UserError(f"{what}: expected at least one image, got none")
    column = {} if first[1] is None else {"label": pa.string() if isinstance(first[1], str) else pa.int64()}
    schema = picture_schema(**column)
    rows = itertools.chain([first], items)
    with pa.parquet.ParquetWriter(path, schema, compression="none") as writer, ThreadPoolExecutor() as pool:
        while group := list(itertools.islice(rows, GROUP)):
            # Pillow encodes without the interpreter's lock, so threads run in parallel here.
            files = zip(pool.map(encode, (pixels for pixels, _ in group)), group, strict=True)
            # The schema of images without labels leaves out the column.
            found = [{"image": {"bytes": file[0], "path": None}, "label": label} for file, (_, label) in files]
            if {type(label) for _, label in group} != {type(first[1])}:
                raise UserError(f"{what}: expected labels of one type for all images, integers or strings")
            try:
                writer.write_table(pa.Table.from_pylist(found, schema))
            except OverflowError:
                raise UserError(f"{what}: expected labels of at most 64 bits") from None
