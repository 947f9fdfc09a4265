"""Image sets that are converted once and stored as raw bytes in a memory-mapped Arrow file."""

from __future__ import annotations

import functools
import hashlib
import inspect
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import datasets
import numpy as np
import torch
from torch import Tensor

from auxar.caching import cannot_be_written, disk_error
from auxar.data import checksums, conditions, conversion
from auxar.data.conditions import ConditionReader
from auxar.data.conversion import BrokenImage, Preparation
from auxar.data.examples import Examples
from auxar.data.folder import digest
from auxar.data.progress import without_bars
from auxar.data.randomness import permutation
from auxar.data.sets import ImageSet
from auxar.data.source import EncodedImages
from auxar.errors import UserError
from auxar.files import UNFINISHED
from auxar.locks import holding
from auxar.model import Condition, ImageSpec
from auxar.progress import progress_bar

logger = logging.getLogger("auxar")

COLUMNS = datasets.Features(
    {
        "name": datasets.Value("string"),
        "pixels": datasets.Value("binary"),
        "source": datasets.Value("binary"),
        "problem": datasets.Value("string"),
    }
)
"""The columns of a prepared data set.

`name` is the name of the image, `pixels` its values, uint8 (c, h, w), `source` a hash of its encoded file, and
`problem` the reason why it is broken. `pixels` is null for a broken image, and `problem` is null for all others.
"""
CONDITION = "condition"
"""Name of a further column, if the data set has conditions: their values, (c, h, w) in the type of their reader. They
are null for a broken image."""
ROWS = 1000
"""Number of conditions that are read at once."""
BATCH_BYTES = 32 * 2**20
"""Approximate size of a batch of converted images, in bytes."""


def prepare(images: EncodedImages, preparation: Preparation) -> datasets.Dataset:
    """Converts every image and returns one row for each, with the columns `COLUMNS`.

    A second call with the same arguments reads the result from the cache, after verifying its checksum. If the result
    is damaged or has no checksum, or if an image that was broken can be read now, the images are converted again. If
    several processes call at the same time, one converts the images and the others wait.

    Raises `UserError` if the size of an image does not fit `preparation`, or if the cache cannot be read or written.
    """
    # The source code of the conversion is part of the key, so that images converted by another version are not reused.
    parts = [images.cache_key, preparation.identity, inspect.getsource(conversion)]
    if images.conditions is not None:
        parts += [images.conditions.identity, inspect.getsource(conditions)]
    key = digest(*parts)
    file = Path(datasets.config.HF_DATASETS_CACHE, "auxar", f"{key}.arrow")
    # An intact file is read without the lock, because a lock file cannot be written to a read-only cache.
    if _problem(file, images, preparation) is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with holding(Path(f"{file}.lock"), "prepare images"):
                # Another process may have written the file while this one waited.
                problem = _problem(file, images, preparation)
                if problem is not None:
                    if file.exists():
                        logger.warning("%s %s; its images are prepared again", file, problem)
                    _write(file, images, preparation)
        except Exception as error:
            cause = error if isinstance(error, OSError) else disk_error(error)
            if cause is None:
                raise
            raise cannot_be_written(file, cause) from error
    return datasets.Dataset.from_file(str(file))


def _problem(file: Path, images: EncodedImages, preparation: Preparation) -> str | None:
    """The reason why prepared images cannot be taken from `file`, or None if they can."""
    damage = checksums.problem(file)
    if damage is None and _is_repaired(file, images, preparation):
        return "lacks images that can be read now"
    return damage


def _batch(preparation: Preparation) -> int:
    """The number of images that are converted at once."""
    return max(1, min(1000, BATCH_BYTES // preparation.image.dims))


def _write(file: Path, images: EncodedImages, preparation: Preparation) -> None:
    """Converts every image and writes the result to `file`. The caller holds the lock of `file`."""
    batch = _batch(preparation)
    # `Dataset.map` writes to temporary files of its own. In a folder of this file's own, those of a killed process can
    # be recognized and removed.
    folder = file.with_suffix(UNFINISHED)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        made = folder / file.name
        convert = functools.partial(_convert, images=attrs.evolve(images, rows=None), preparation=preparation)
        with (
            without_bars(datasets),
            progress_bar(total=len(images.rows), desc="preparing images", unit="image", delay=1) as progress,
        ):

            def converted(*columns: list[Any]) -> dict[str, list[Any]]:
                found = convert(columns[:-1], columns[-1])
                progress.update(len(columns[-1]))
                return found

            images.rows.map(
                converted,
                with_indices=True,
                input_columns=images.columns,
                batched=True,
                batch_size=batch,
                writer_batch_size=batch,
                remove_columns=images.columns,
                features=_features(images),
                cache_file_name=str(made),
                load_from_cache_file=False,
                new_fingerprint=file.stem,
            )
        checksums.publish(made, file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _features(images: EncodedImages) -> datasets.Features:
    """The columns of the prepared data set of these images."""
    return COLUMNS if images.conditions is None else datasets.Features({**COLUMNS, CONDITION: COLUMNS["pixels"]})


def _is_repaired(file: Path, images: EncodedImages, preparation: Preparation) -> bool:
    """Whether an image that is broken in the prepared file `file` can be read now or has other content.

    The reason may have been temporary: permissions, a failing disk, too little memory, or a format that Pillow could
    not read. Therefore broken images are never taken from the cache without another attempt.
    """
    prepared = datasets.Dataset.from_file(str(file))
    broken = np.flatnonzero(prepared.data.column("problem").is_valid().to_numpy(zero_copy_only=False))
    batch = _batch(preparation)
    for start in range(0, len(broken), batch):
        numbers = broken[start : start + batch]
        rows = images.rows[numbers]
        found = _convert([rows[column] for column in images.columns], numbers.tolist(), images, preparation)
        before = prepared[numbers]
        # Messages are not compared, because those of decoders may differ from one attempt to the next.
        if any(found[column] != before[column] for column in ("pixels", "source")):
            return True
    return False


def _convert(
    columns: Sequence[Sequence[Any]], numbers: Sequence[int], images: EncodedImages, preparation: Preparation
) -> dict[str, list[Any]]:
    """Converts images, given by the values of `images.columns`, and returns the columns of the prepared data set."""
    nothing = () if images.conditions is None else (None,)

    def one(values: Sequence[Any], number: int) -> tuple[Any, ...]:
        value, *others = values
        name = images.name(value, number)
        try:
            encoded = images.content(value)
        except BrokenImage as error:
            return name, None, b"", str(error), *nothing
        source = hashlib.sha256(encoded).digest()[:16]
        try:
            pixels = preparation(encoded, name).tobytes()
            if images.conditions is None:
                return name, pixels, source, None
            condition = images.conditions(others, encoded, name, images.content)
            return name, pixels, source, None, condition.astype(images.conditions.dtype).tobytes()
        except BrokenImage as error:
            return name, None, source, str(error), *nothing

    # Threads run in parallel here, because Pillow releases the interpreter's lock while it decodes and resizes.
    with ThreadPoolExecutor() as pool:
        found = zip(*pool.map(one, zip(*columns, strict=True), numbers), strict=True)
        return dict(zip(_features(images), map(list, found), strict=True))


def usable_rows(prepared: datasets.Dataset, where: str, skip: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the row numbers of the images that are not broken, int64 (n,), and the names of the broken images.

    `where` names the images in messages. Raises `UserError` if an image is broken and `skip` is false, or if all images
    are broken.
    """
    usable = prepared.data.column("problem").is_null().to_numpy(zero_copy_only=False)
    broken = prepared.select(np.flatnonzero(~usable))
    if len(broken) and not skip:
        others = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        first = broken[0]
        raise UserError(
            f"data.path: {first['name']}{others} in {where} cannot be read as an image: {first['problem']}; "
            "set data.broken = 'skip' to leave out broken images"
        )
    if not usable.any():
        first = broken[0]
        raise UserError(
            f"data.path: all {len(broken)} images in {where} are broken; the first is {first['name']}: "
            f"{first['problem']}"
        )
    return np.flatnonzero(usable), tuple(broken["name"])


@attrs.frozen(eq=False)
class StoredImages(ImageSet):
    """An image set of selected rows of a prepared data set. Image number i is in row `rows[i]`."""

    prepared: datasets.Dataset
    """The data set that `prepare` returned."""
    pixels: datasets.Dataset
    """The column `pixels` of `prepared`, in Arrow format."""
    rows: np.ndarray
    """Row numbers of the images, int64."""
    image: ImageSpec
    fingerprint: str
    condition: Condition | None = None
    conditions: datasets.Dataset | None = None
    """The column of conditions of `prepared`, in Arrow format; None if there are none."""
    dtype: type[np.integer[Any]] = np.uint8
    """The type of the values in `conditions`."""
    most_workers: int | None = None

    @classmethod
    def of(
        cls,
        prepared: datasets.Dataset,
        rows: np.ndarray,
        preparation: Preparation,
        reader: ConditionReader | None = None,
    ) -> StoredImages:
        """Creates the set of the images in `rows`, int64 (n,), of a data set that `prepare` returned.

        `reader` is the one that read the conditions of the images; None if they have none.
        """
        # The fingerprint hashes the files instead of the pixels, because decoders on two machines may differ slightly.
        sources = prepared.data.column("source").take(rows).to_pylist()
        fingerprint = hashlib.sha256(preparation.identity.encode() + b"".join(sources)).hexdigest()[:32]
        pixels = prepared.select_columns("pixels").with_format("arrow")
        if reader is None:
            return cls(prepared, pixels, rows, preparation.image, fingerprint)
        found = prepared.select_columns(CONDITION).with_format("arrow")
        values = hashlib.sha256()
        for start in range(0, len(rows), ROWS):  # The whole column may not fit into memory.
            for value in found[rows[start : start + ROWS]][CONDITION]:
                values.update(value.as_buffer())
        fingerprint = digest(fingerprint, reader.identity, values.hexdigest())
        return cls(prepared, pixels, rows, preparation.image, fingerprint, reader.condition, found, reader.dtype)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Tensor:
        """Reads one image: uint8, shape (c, h, w)."""
        return self.fetch([number])[0]

    def name(self, number: int) -> str:
        """Returns the name of an image.

        It is the path relative to the folder, the file name in the data set, or "image N" if there is no name.
        """
        found: str = self.prepared[int(self.rows[number])]["name"]
        return found

    def fetch(self, numbers: Sequence[int] | np.ndarray) -> Tensor:
        """Reads the images with these numbers: uint8, shape (len(numbers), c, h, w)."""
        images = torch.empty((len(numbers), *self.image.shape), dtype=torch.uint8)
        if len(numbers):
            column = self.pixels[self.rows[numbers]]["pixels"]
            flat = images.numpy().reshape(len(numbers), -1)
            for row, value in zip(flat, column, strict=True):
                row[:] = np.frombuffer(value.as_buffer(), np.uint8)
        return images

    def fetch_conditions(self, numbers: Sequence[int] | np.ndarray) -> Tensor | None:
        """Reads the conditions of the images with these numbers: int32, (len(numbers), *condition.spec.shape).

        Returns None if the images have no conditions.
        """
        if self.condition is None or self.conditions is None:
            return None
        found = torch.empty((len(numbers), *self.condition.spec.shape), dtype=torch.int32)
        if len(numbers):
            column = self.conditions[self.rows[numbers]][CONDITION]
            for row, value in zip(found.numpy().reshape(len(numbers), -1), column, strict=True):
                row[:] = np.frombuffer(value.as_buffer(), self.dtype)
        return found

    def examples(self, numbers: Sequence[int] | np.ndarray) -> Examples:
        """Reads the images with these numbers and their conditions."""
        return Examples(self.fetch(numbers), self.fetch_conditions(numbers))

    def spaced_examples(self, count: int) -> Examples:
        return self.examples(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64))

    def training_examples(self, seed: int, shares: Iterable[range]) -> Iterator[Examples]:
        @functools.lru_cache(maxsize=2)
        def order(epoch: int) -> np.ndarray:
            return permutation(len(self), "epoch", seed, epoch)

        for share in shares:
            yield self.examples([int(order(place // len(self))[place % len(self)]) for place in share])

    def every_example(
        self, count: int, first: int, limit: int | None, block: int = 1
    ) -> Iterator[tuple[int, Examples]]:
        for number in range(len(self) if limit is None else min(limit, len(self))):
            if number // block % count == first:
                yield number, self.examples([number])

    def named(self) -> Iterator[tuple[str, Tensor]]:
        for number in range(len(self)):
            yield self.name(number), self.fetch([number])[0]

    def whole(self) -> StoredImages:
        usable = self.prepared.data.column("problem").is_null().to_numpy(zero_copy_only=False)
        fingerprint = digest("whole split", self.fingerprint)
        return attrs.evolve(self, rows=np.flatnonzero(usable), fingerprint=fingerprint)
