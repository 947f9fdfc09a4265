"""Image sets for tests of the data: numbered pictures, parquet files of them, and how they are loaded and read."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from PIL import Image

from auxar.data.batches import TrainingExamples
from auxar.data.loading import load_images
from auxar.data.sets import DataSets, ImageSet
from auxar.model import ImageSpec
from auxar.plugins import Registry
from auxar.recipe import DataConfig, Split
from auxar.recipe.condition import ConditionConfig
from helpers.tiny_runs import said

SPEC = ImageSpec(3, height=4, width=4)


def numbered(number: int, height: int = 4, width: int = 4) -> Image.Image:
    """An image whose red channel is its number. Its left half is blue, so that mirroring can be detected."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = number
    pixels[:, : width // 2, 2] = 255
    return Image.fromarray(pixels)


def encoded(picture: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """The content of a file of this format."""
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def write_numbered(folder: Path, count: int, first: int = 0) -> Path:
    """Writes numbered images as files of a folder, and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        numbered(number).save(folder / f"{number:03}.png")
    return folder


def write_parquet(file: Path, count: int = 8, first: int = 0, **columns: Any) -> Path:
    """Writes a parquet file with numbered images in the column `image`, and with further columns."""
    images = [{"bytes": encoded(numbered(first + number)), "path": f"{first + number}.png"} for number in range(count)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        pyarrow.parquet.write_table(pa.table({"image": pa.array(images, kind), **columns}), opened)
    return file


def load(
    path: Path | str, image: ImageSpec = SPEC, condition: ConditionConfig | None = None, **options: Any
) -> DataSets:
    """Loads a data set with these keys of [data]. By default, half of its images are for training."""
    return load_images(DataConfig(str(path), **{"split": Split(0.5), **options}), image, Registry(), condition)


def refusal(path: Path | str, image: ImageSpec = SPEC, **options: Any) -> str:
    return said(lambda: every_number(load(path, image, **options)))


def members(images: ImageSet) -> list[int]:
    """The numbers of the images in the order of the set."""
    return [number for batch in images.in_order(5) for number in numbers(batch)]


def numbers(images: torch.Tensor) -> list[int]:
    found: list[int] = images[:, 0, 0, 0].tolist()
    return found


def every_number(sets: DataSets) -> list[int]:
    """The numbers of all images for training and of all held-out images, sorted."""
    return sorted(members(sets.train) + members(sets.heldout))


def training_batches(images: Any, *, workers: int = 0, **options: Any) -> Iterator[torch.Tensor]:
    """The images of `TrainingExamples`, which has the same options."""
    return (batch["image"] for batch in TrainingExamples(images, **options).read(workers))
