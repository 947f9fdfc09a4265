"""Writes images as parquet files that recipes can use as their data, with lossless pictures."""

import contextlib
import io
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from PIL import Image
from torch import Tensor

from auxar.data.decoding import MAX_PIXELS
from auxar.data.pixels import pixels
from auxar.data.sets import ImageSet
from auxar.errors import UserError
from auxar.files import FOLDER, beside, kind, refusing, replacing, to_json, try_write
from auxar.model import ImageSpec, View
from auxar.numerics.levels import SCALED
from auxar.progress import progress_bar
from auxar.recipe.schema import CHANNELS, MOST_LEVELS

PICTURES = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""The type in which `datasets` stores an image: the bytes of an encoded file, and the name of the file."""
GROUP_ROWS, GROUP_BYTES = 1000, 32 * 2**20
"""A row group ends with the image that makes it as large as one of these. One row group is held in memory."""
WEBP_SIDE = 16_383
"""Maximum width and height of a WebP file in pixels. Larger images are stored as PNG."""
BATCH_VALUES = 2**22
"""Approximate number of sub-pixels of the images whose views are computed at once: 32 MiB as int64."""


def picture_schema(**columns: pa.DataType) -> pa.Schema:
    """The schema of a file with a column of pictures and other columns, and its description for `datasets`."""
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    features |= {name: {"dtype": str(kind), "_type": "Value"} for name, kind in columns.items()}
    described = {"huggingface": to_json({"info": {"features": features}})}
    return pa.schema({"image": PICTURES, **columns}, metadata=described)


SCHEMA = picture_schema(name=pa.string())
"""The schema of images with names."""


@attrs.frozen
class WrittenViews:
    """The result of `auxar.write_views`. Functions that take a path accept it."""

    path: Path
    """The new file or folder."""
    depth: int
    """The depth of the images."""
    images: dict[str, int]
    """The number of images of each parquet file, by the file's name."""

    def __fspath__(self) -> str:
        return str(self.path)


def check_pictures(spec: ImageSpec, what: str) -> None:
    """Raises `UserError`, with `what` as the name of the images, if pictures cannot hold images of this kind."""
    if spec.channels not in CHANNELS or spec.levels > MOST_LEVELS or spec.height * spec.width > MAX_PIXELS:
        known = f"1 or 3 channels, at most {MOST_LEVELS} levels and at most {MAX_PIXELS:,} pixels"
        raise UserError(f"{what} cannot be written as pictures: expected {known}, found {spec}")


def check_new(path: Path) -> None:
    """Raises `UserError` if there is anything at `path` except an empty folder, or if it could not be written."""
    if (found := kind(path)) is not None and (path.suffix == ".parquet" or found != FOLDER or any(path.iterdir())):
        raise UserError(f"{path} exists and is not replaced; choose another name, or delete it first")
    try_write(path)


def write_images(
    path: Path, batches: Iterable[tuple[Sequence[str], Tensor]], spec: ImageSpec, values: str = SCALED
) -> int:
    """Writes batches of images to a new parquet file, atomically, and returns the number of images.

    Each batch has the names of its images and their values, integers (b, *spec.shape). The column `image` holds them as
    lossless pictures, and `name` their names. A recipe with the same [image] and with `values` as its `data.values`
    reads the same values back.

    Raises `UserError` if the file exists or cannot be written.
    """
    count = size = 0
    rows: list[dict[str, object]] = []
    check_new(path)
    # Statistics would repeat whole pictures in the footer, and pictures cannot be compressed further.
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        pa.parquet.ParquetWriter(file, SCHEMA, **options) as writer,
        ThreadPoolExecutor() as pool,
    ):
        for names, images in batches:
            # Pillow encodes without the interpreter's lock, so threads run in parallel here.
            for name, picture in zip(names, pool.map(encode, pixels(images, spec, values)), strict=True):
                content, extension = picture
                stored = f"{os.path.splitext(name)[0]}.{extension}"
                rows.append({"image": {"bytes": content, "path": stored}, "name": name})
                count, size = count + 1, size + len(content)
                if len(rows) == GROUP_ROWS or size >= GROUP_BYTES:
                    writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                    rows, size = [], 0
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return count


def encode(pixels: np.ndarray) -> tuple[bytes, str]:
    """Encodes pixels, uint8 (h, w, 3) or (h, w), without loss. Returns the file's content and its extension."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    extension, encoded = "png" if max(picture.size) > WEBP_SIDE else "webp", io.BytesIO()
    picture.save(encoded, format=extension, lossless=True)  # PNG, which is always lossless, has no such option.
    return encoded.getvalue(), extension


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, which becomes the folder `path` if the block ends without an error.

    Raises `UserError` if `path` exists and is not an empty folder, or if it cannot be written.
    """
    check_new(path)
    temporary = beside(path)
    try:
        with refusing(path, "written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def view_batches(images: ImageSet, views: Sequence[View], description: str) -> Iterator[tuple[list[str], Tensor]]:
    """Yields the names of images, and the last of their `views`, or the images themselves if there are no views."""
    size = max(1, min(1000, BATCH_VALUES // images.image.dims))
    total = len(images) if isinstance(images, Sized) else None
    named = images.named()
    with progress_bar(total=total, desc=description, unit="image") as progress:
        while batch := list(itertools.islice(named, size)):
            # The values of a view at a smaller depth may exceed 255, which uint8 cannot represent.
            found = torch.stack([image for _, image in batch]).to(torch.int64)
            for view in views:
                found = view(found)
            yield [name for name, _ in batch], found
            progress.update(len(batch))
