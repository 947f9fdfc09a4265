"""Image sets that are converted once and stored as raw bytes in a memory-mapped Arrow file."""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import datasets
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import torch
from torch import Tensor

from auxar.caching import writing
from auxar.data import checksums, condition_values, conditions, conversion, decoding
from auxar.data.batches import Numbered
from auxar.data.conditions import ConditionReader
from auxar.data.conversion import Preparation
from auxar.data.crops import Crops
from auxar.data.decoding import BrokenImage
from auxar.data.folder import digest
from auxar.data.randomness import permutation
from auxar.data.sets import ImageSet
from auxar.data.source import EncodedImages
from auxar.errors import UserError, logger
from auxar.files import UNFINISHED
from auxar.locks import holding
from auxar.model import CONDITION, IMAGE, Condition, ImageSpec, Values
from auxar.progress import progress_bar

COLUMNS = datasets.Features(
    {
        "name": datasets.Value("string"),
        "pixels": datasets.Value("binary"),
        "height": datasets.Value("int32"),
        "source": datasets.Value("binary"),
        "problem": datasets.Value("string"),
        "reduced": datasets.Value("bool"),
    }
)
"""The columns of a prepared data set.

`name` is the name of the image, `pixels` its values, uint8 (c, h, w), `height` is h, `source` a hash of its encoded
file, `problem` the reason why it is broken, and `reduced` whether it has 16 bits per channel, of which the upper 8 are
used. `pixels` and `height` are null for a broken image, and `problem` is null for all others.
"""
CONDITION_COLUMN = "condition"
"""Name of a further column, if the data set has conditions: their values, (c, h, w) in the type of their reader. They
are null for a broken image."""
ROWS = 1000
"""Number of conditions that are read at once."""
BATCH_BYTES = 32 * 2**20
"""Approximate size of a batch of converted images, in bytes."""
OWN_SIZE = 8
"""Number of images in a batch if they keep their own sizes, which may be large."""


def prepare(images: EncodedImages, preparation: Preparation) -> datasets.Dataset:
    """Converts every image and returns one row for each, with the columns `COLUMNS`.

    A second call with the same arguments reads the result from the cache, after verifying its checksum. If the result
    is damaged or has no checksum, or if an image that was broken can be read now, the images are converted again. If
    several processes call at the same time, one converts the images and the others wait.

    Raises `UserError` if the size of an image does not fit `preparation`, or if the cache cannot be read or written.
    """
    # The source code of the conversion is part of the key, so that images converted by another version are not reused.
    parts = [images.cache_key, preparation.identity, inspect.getsource(conversion), inspect.getsource(decoding)]
    if images.conditions is not None:
        parts += [images.conditions.identity, inspect.getsource(conditions), inspect.getsource(condition_values)]
    key = digest(*parts)
    file = Path(datasets.config.HF_DATASETS_CACHE, "auxar", f"{key}.arrow")
    # An intact file is read without the lock, because a lock file cannot be written to a read-only cache.
    if _problem(file, images, preparation) is not None:
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            with holding(Path(f"{file}.lock"), "prepare images"):
                # Another process may have written the file while this one waited.
                problem = _problem(file, images, preparation)
                if problem is not None:
                    if file.exists():
                        logger.warning("%s %s; its images are prepared again", file, problem)
                    _write(file, images, preparation)
    return datasets.Dataset.from_file(str(file))


def _problem(file: Path, images: EncodedImages, preparation: Preparation) -> str | None:
    """The reason why prepared images cannot be taken from `file`, or None if they can."""
    damage = checksums.problem(file)
    if damage is None and _is_repaired(file, images, preparation):
        return "lacks images that can be read now"
    return damage


def _batches(numbers: Sequence[int], preparation: Preparation) -> Iterator[Sequence[int]]:
    """The numbers of the images that are converted at once."""
    size = max(1, min(1000, BATCH_BYTES // preparation.image.dims)) if preparation.crops is None else OWN_SIZE
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _write(file: Path, images: EncodedImages, preparation: Preparation) -> None:
    """Converts every image and writes the result to `file`. The caller holds the lock of `file`."""
    made = file.with_suffix(UNFINISHED)
    count = len(images.rows)
    schema = _features(images).arrow_schema
    try:
        with (
            made.open("wb") as opened,
            pyarrow.ipc.new_stream(opened, schema) as writer,
            progress_bar(total=count, desc="preparing images", unit="image", delay=1) as progress,
        ):
            for numbers in _batches(range(count), preparation):
                writer.write_table(pa.Table.from_pydict(_convert(numbers, images, preparation), schema))
                progress.update(len(numbers))
        checksums.publish(made, file)
    finally:
        made.unlink(missing_ok=True)


def _features(images: EncodedImages) -> datasets.Features:
    """The columns of the prepared data set of these images."""
    return COLUMNS if images.conditions is None else datasets.Features({**COLUMNS, CONDITION_COLUMN: COLUMNS["pixels"]})


def _is_repaired(file: Path, images: EncodedImages, preparation: Preparation) -> bool:
    """Whether an image that is broken in the prepared file `file` can be read now or has other content.

    The reason may have been temporary: permissions, a failing disk, too little memory, or a format that Pillow could
    not read. Therefore broken images are never taken from the cache without another attempt.
    """
    prepared = datasets.Dataset.from_file(str(file))
    for numbers in _batches(np.flatnonzero(_broken(prepared)).tolist(), preparation):
        found, before = _convert(numbers, images, preparation), prepared[numbers]
        # Messages are not compared, because those of decoders may differ from one attempt to the next.
        if any(found[column] != before[column] for column in ("pixels", "source")):
            return True
    return False


def _convert(numbers: Sequence[int], images: EncodedImages, preparation: Preparation) -> dict[str, list[Any]]:
    """Converts the images in these rows, and returns the columns of the prepared data set."""
    rows = images.rows[numbers]
    nothing = () if images.conditions is None else (None,)

    def one(values: Sequence[Any], number: int) -> tuple[Any, ...]:
        value, *others = values
        name, source = images.name(value, number), b""
        try:
            encoded = images.content(value)
            source = hashlib.sha256(encoded).digest()[:16]
            pixels = preparation(encoded, name)
            found = name, pixels.tobytes(), pixels.shape[1], source, None, preparation.reduces(encoded)
            if images.conditions is None:
                return found
            condition = images.conditions(others, encoded, name, images.content)
            return *found, condition.astype(images.conditions.dtype).tobytes()
        except BrokenImage as error:
            return name, None, None, source, str(error), False, *nothing

    # Threads run in parallel here, because Pillow releases the interpreter's lock while it decodes and resizes.
    with ThreadPoolExecutor() as pool:
        columns = zip(*(rows[column] for column in images.columns), strict=True)
        found = zip(*pool.map(one, columns, numbers), strict=True)
        return dict(zip(_features(images), map(list, found), strict=True))


def usable_rows(prepared: datasets.Dataset, where: str, skip: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the row numbers of the images that are not broken, int64 (n,), and the names of the broken images.

    `where` names the images in messages. Raises `UserError` if an image is broken and `skip` is false, or if all images
    are broken.
    """
    is_broken = _broken(prepared)
    broken = prepared.select(np.flatnonzero(is_broken))
    first = broken[0] if len(broken) else {}
    if first and not skip:
        others = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise UserError(
            f"data.path: {first['name']}{others} in {where} cannot be read as an image: {first['problem']}; "
            "set data.broken = 'skip' to leave out broken images"
        )
    if is_broken.all():
        raise UserError(
            f"data.path: all {len(broken)} images in {where} are broken; the first is {first['name']}: "
            f"{first['problem']}"
        )
    return np.flatnonzero(~is_broken), tuple(broken["name"])


@attrs.frozen(eq=False)
class StoredImages(ImageSet):
    """An image set of selected rows of a prepared data set. Image number i is in row `rows[i]`."""

    prepared: datasets.Dataset
    """The data set that `prepare` returned."""
    rows: np.ndarray
    """Row numbers of the images, int64."""
    image: ImageSpec
    fingerprint: str
    reader: ConditionReader | None = None
    """The reader of the images' conditions; None if they have none."""
    crops: Crops | None = None
    most_workers: int | None = None
    columns: Mapping[str, datasets.Dataset] = attrs.field(init=False)
    """The columns of pixels, with heights, and of conditions of `prepared`, in Arrow format."""

    @columns.default
    def _columns(self) -> dict[str, datasets.Dataset]:
        names = {
            "pixels": ["pixels", "height"],
            **({} if self.reader is None else {CONDITION_COLUMN: [CONDITION_COLUMN]}),
        }
        return {name: self.prepared.select_columns(own).with_format("arrow") for name, own in names.items()}

    @property
    def condition(self) -> Condition | None:  # type: ignore[override]
        return None if self.reader is None else self.reader.condition

    @property
    def reduced(self) -> bool:  # type: ignore[override]
        return bool(self.prepared.data.column("reduced").to_numpy()[self.rows].any())

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
        found = cls(prepared, rows, preparation.image, "", reader, preparation.crops)
        fingerprint = hashlib.sha256(preparation.identity.encode() + b"".join(found.sources)).hexdigest()[:32]
        found = attrs.evolve(found, fingerprint=fingerprint)
        if reader is None:
            return found
        values = hashlib.sha256()
        for start in range(0, len(rows), ROWS):  # The whole column may not fit into memory.
            for value in _bytes(found.columns[CONDITION_COLUMN][rows[start : start + ROWS]][CONDITION_COLUMN]):
                values.update(value.data)
        return attrs.evolve(found, fingerprint=digest(fingerprint, reader.identity, values.hexdigest()))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Tensor:
        """Reads one image: uint8, shape (c, h, w)."""
        return torch.from_numpy(next(self._pixels([number])).copy())

    @property
    def sources(self) -> list[bytes]:
        """A hash of the encoded file of each image."""
        found: list[bytes] = self.prepared.data.column("source").take(self.rows).to_pylist()
        return found

    def name(self, number: int) -> str:
        """Returns the name of an image.

        It is the path relative to the folder, the file name in the data set, or "image N" if there is no name.
        """
        return str(self.prepared[int(self.rows[number])]["name"])

    def _pixels(self, numbers: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Yields the images with these numbers: uint8, (c, h, w), in the memory of the file."""
        values, heights = self.columns["pixels"][self.rows[numbers]].columns
        for value, height in zip(_bytes(values), heights.to_pylist(), strict=True):
            yield value.reshape(self.image.channels, height, -1)

    def _conditions(self, numbers: Sequence[int] | np.ndarray) -> Tensor | None:
        """Reads the conditions of the images with these numbers: int32, (len(numbers), *condition.spec.shape).

        Returns None if the images have no conditions.
        """
        if self.reader is None:
            return None
        (values,) = self.columns[CONDITION_COLUMN][self.rows[numbers]].columns
        found = np.stack([value.view(self.reader.dtype) for value in _bytes(values)])
        return torch.from_numpy(found.astype(np.int32)).reshape(-1, *self.reader.condition.spec.shape)

    def _examples(self, numbers: Sequence[int] | np.ndarray, pixels: Iterable[np.ndarray]) -> Values:
        """The examples with these numbers, of which there is at least one, and with these pixels of one size."""
        return Values({IMAGE: torch.from_numpy(np.stack(list(pixels))), CONDITION: self._conditions(numbers)})

    def spaced(self, count: int) -> StoredImages:
        numbers = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64)
        return attrs.evolve(self, rows=self.rows[numbers])

    def spaced_examples(self, count: int) -> Values:
        chosen = self.spaced(count)
        # Reading all at once is many times faster than one after another.
        numbers = np.arange(len(chosen))
        return chosen._examples(numbers, map(self.centered, chosen._pixels(numbers)))

    def training_examples(self, seed: int, shares: Iterable[range]) -> Iterator[Values]:
        @functools.lru_cache(maxsize=2)
        def order(epoch: int) -> np.ndarray:
            return permutation(len(self), "epoch", seed, epoch)

        for share in shares:
            numbers = [int(order(place // len(self))[place % len(self)]) for place in share]
            found = zip(self._pixels(numbers), share, strict=True)
            yield self._examples(numbers, (self.cropped(pixels, seed, place) for pixels, place in found))

    def every_example(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[Numbered]:
        for number in range(len(self) if limit is None else min(limit, len(self))):
            if number // block % count == first:
                yield number, self._examples([number], self._pixels([number]))

    def named(self) -> Iterator[tuple[str, Tensor]]:
        return ((self.name(number), self[number]) for number in range(len(self)))

    def whole(self) -> StoredImages:
        usable = np.flatnonzero(~_broken(self.prepared))
        return attrs.evolve(self, rows=usable, fingerprint=digest("whole split", self.fingerprint))


def _bytes(column: pa.ChunkedArray) -> Iterator[np.ndarray]:
    """Yields the values of a column of bytes, uint8, in the memory of the file. Scalars of pyarrow would be copies."""
    for chunk in column.chunks:
        _, places, values = chunk.buffers()
        ends = np.frombuffer(places, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        for begin, end in itertools.pairwise(ends.tolist()):
            yield np.frombuffer(values, np.uint8, end - begin, begin)


def _broken(prepared: datasets.Dataset) -> np.ndarray:
    """Whether each row is a broken image: bool (n,)."""
    found: np.ndarray = prepared.data.column("problem").is_valid().to_numpy(zero_copy_only=False)
    return found
