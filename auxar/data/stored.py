"""Images prepared once and kept as raw bytes in a memory-mapped Arrow file."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import datasets
import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from auxar.data import conversion
from auxar.data.conversion import BrokenImage, Preparation
from auxar.data.folder import digest
from auxar.data.randomness import permutation
from auxar.data.sets import ImageSet
from auxar.data.source import EncodedImages
from auxar.errors import UserError
from auxar.interfaces import ImageSpec

COLUMNS = datasets.Features(
    {
        "name": datasets.Value("string"),
        "pixels": datasets.Value("binary"),
        "source": datasets.Value("binary"),
        "problem": datasets.Value("string"),
    }
)
"""`pixels`: uint8 (c, h, w), null for a broken image; `source`: hash of the file; `problem`: why it is broken."""
BATCH_BYTES = 32 * 2**20


def prepare(images: EncodedImages, preparation: Preparation) -> datasets.Dataset:
    """Every image converted, one row each with the columns `COLUMNS`. A second call finds the result in the cache.

    Raises `UserError` if an image does not fit, or if the cache cannot be written.
    """
    # The text of the conversion is part of the key: images prepared by an older one are not taken for new ones.
    key = digest(images.cache_key, repr(preparation), inspect.getsource(conversion))
    file = Path(datasets.config.HF_DATASETS_CACHE, "auxar", f"{key}.arrow")
    batch = max(1, min(1000, BATCH_BYTES // preparation.image.dims))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            return images.rows.map(
                functools.partial(_convert, images=attrs.evolve(images, rows=None), preparation=preparation),
                with_indices=True,
                input_columns=[images.column],
                batched=True,
                batch_size=batch,
                writer_batch_size=batch,
                remove_columns=[images.column],
                features=COLUMNS,
                cache_file_name=str(file),
                load_from_cache_file=True,
                new_fingerprint=key,
                desc="Preparing images",
            )
    except OSError as error:
        raise UserError(f"data: prepared images cannot be kept in {file.parent}: {error}") from error


def _convert(
    values: Sequence[Any], numbers: Sequence[int], images: EncodedImages, preparation: Preparation
) -> dict[str, list[Any]]:
    def one(value: Any, number: int) -> tuple[str, bytes | None, bytes, str | None]:
        name, encoded = images.read(value, number)
        if encoded is None:
            return name, None, b"", "there is no file or it may not be read"
        source = hashlib.sha256(encoded).digest()[:16]
        try:
            return name, preparation(encoded, name).tobytes(), source, None
        except BrokenImage as error:
            return name, None, source, str(error)

    # Pillow decodes and resizes without holding the interpreter's lock.
    with ThreadPoolExecutor() as pool:
        columns = zip(*pool.map(one, values, numbers), strict=True)
        return dict(zip(COLUMNS, map(list, columns), strict=True))


def usable_rows(prepared: datasets.Dataset, where: str, skip: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Row numbers of the images that are not broken, int64 (n,), and the names of the broken ones.

    Raises `UserError` if some are broken and `skip` is not set, and if all are.
    """
    usable = prepared.data.column("problem").is_null().to_numpy(zero_copy_only=False)
    broken = prepared.select(np.flatnonzero(~usable))
    if len(broken) and not skip:
        others = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        first = broken[0]
        raise UserError(
            f"data.path: {where}: {first['name']}{others} cannot be read as an image: {first['problem']}; "
            "data.broken = 'skip' leaves broken images out"
        )
    if not usable.any():
        raise UserError(f"data.path: {where}: all {len(broken)} images are broken, {broken[0]['name']} first")
    return np.flatnonzero(usable), tuple(broken["name"])


@attrs.frozen(eq=False)
class StoredImages(ImageSet):
    """Images in rows `rows` of a prepared data set, numbered from 0 in that order."""

    prepared: datasets.Dataset
    pixels: datasets.Dataset
    rows: np.ndarray
    image: ImageSpec
    fingerprint: str
    most_workers: int | None = None

    @classmethod
    def of(cls, prepared: datasets.Dataset, rows: np.ndarray, preparation: Preparation) -> StoredImages:
        """The images in `rows`, int64 (n,), of what `prepare` returned."""
        # Hashes of the files, not of the pixels: decoders on two machines may differ in a last bit.
        sources = prepared.data.column("source").take(rows).to_pylist()
        fingerprint = hashlib.sha256(repr(preparation).encode() + b"".join(sources)).hexdigest()[:32]
        pixels = prepared.select_columns("pixels").with_format("arrow")
        return cls(prepared, pixels, rows, preparation.image, fingerprint)

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, number: int) -> str:
        """Name of an image: its file's path in the folder, or what the data set calls it."""
        found: str = self.prepared[int(self.rows[number])]["name"]
        return found

    def fetch(self, numbers: Sequence[int] | np.ndarray) -> Tensor:
        """The images with these numbers: uint8, shape (len(numbers), c, h, w)."""
        images = torch.empty((len(numbers), *self.image.shape), dtype=torch.uint8)
        if len(numbers):
            column = self.pixels[self.rows[numbers]]["pixels"]
            flat = images.numpy().reshape(len(numbers), -1)
            for row, value in zip(flat, column, strict=True):
                row[:] = np.frombuffer(value.as_buffer(), np.uint8)
        return images

    def training_images(self, seed: int, shares: Iterable[range]) -> Iterator[Tensor]:
        @functools.lru_cache(maxsize=2)
        def order(epoch: int) -> np.ndarray:
            return permutation(len(self), "epoch", seed, epoch)

        for share in shares:
            yield self.fetch([int(order(place // len(self))[place % len(self)]) for place in share])

    def every(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[tuple[int, Tensor]]:
        for number in range(len(self) if limit is None else min(limit, len(self))):
            if number // block % count == first:
                yield number, self.fetch([number])[0]
