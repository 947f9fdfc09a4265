"""Pictures in memory to the bytes of a file and back, with a model that stays loaded."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from auxar import ImageModel, UserError, check_strings, image_size, load, pictures_of
from auxar_codec.archive import Archiver, chosen_of, entry_of, header_of, model_of
from auxar_codec.container import Container, Header, packed_container, read_container
from auxar_codec.index import Entry, check_index, number_of_tiles
from auxar_codec.names import check_names, listed_names
from auxar_codec.pictures import pillow_image, read_picture


class Codec:
    """A lossless codec of pictures: a model in integers, which stays loaded. `auxar.codec` makes it.

    Raises `UserError` if the model is not in integers, or not on the CPU.
    """

    def __init__(self, model: ImageModel) -> None:
        if not model.chain.digests or model.device.type != "cpu":
            found = f"a model in {model.arithmetic} on the device {model.device}"
            raise UserError(f"run: expected a model in integers on the CPU, got {found}; auxar.codec(RUN) loads it")
        self.model = model
        """The model."""
        self._header = functools.lru_cache(maxsize=16)(functools.partial(header_of, model))
        self.archiver = functools.lru_cache(maxsize=4)(functools.partial(Archiver, model))
        """Makes the `Archiver` of files with a header, once."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Codec, (self.model,)

    def encode(
        self, images: Any, *, names: Sequence[str] | None = None, tile: str | None = None, condition: Any = None
    ) -> bytes:
        """Encodes pictures to the content of a file, as `auxar compress` writes it.

        Args:
            images: Arrays and tensors of 8-bit integers with 1 or 3 channels, first or last, single or batched, Pillow
                images, paths of image files or of folders of images, open image files, their content as bytes, and
                lists of these.
            names: Names of the pictures; by default those of files, or 000000.png, 000001.png, … by number.
            tile: Height and width of tiles, such as "256x256", as for `auxar.compress`.
            condition: Label or attributes of all pictures, or a list with one for each.

        Raises `UserError` if a picture cannot be read, or if a part of it could not be kept.
        """
        sides = None if tile is None else image_size(tile, "tile")
        sources, labels = zip(*pictures_of(images), strict=True)
        own = [_name(*each) for each in enumerate(sources)] if names is None else names
        check_strings(own, "names", "names of images")
        if len(own) != len(sources):
            raise UserError(f"names: expected a name for each of {len(sources)} images, got {len(own)}")
        check_names(own, labels)
        conditions = self.conditions(condition, len(sources))
        pictures = list(map(read_picture, sources, labels))
        entries = list(map(entry_of, own, pictures, itertools.repeat(self.model.image.channels), conditions, labels))
        archiver = self.archiver(self.header(entries, sides))
        found, contents = zip(*archiver.encode(list(zip(entries, pictures, strict=True))), strict=True)
        return b"".join(packed_container(archiver.header, found, contents, entries))

    def decode(
        self, file: bytes | str | PathLike[str] | BinaryIO, *, only: Sequence[str] = (), depth: int = 0
    ) -> dict[str, Image.Image]:
        """Decodes the pictures of a file, or their views at a depth, as Pillow images by name, in the file's order.

        `file` is the content, the path or an open file, and `only` are the names of the images that are decoded; by
        default, all are. The `info` of an image has its color profile and EXIF data.

        Raises `UserError` if this is no such file, if it was made with another model, if there is no image of a name,
        or if images are damaged.
        """
        container = read_container(_content(file))
        chosen = chosen_of(container, only, depth)
        archiver = self.fitting(container).archiver(container.header)
        found = list(archiver.decode(container, chosen, depth))
        if damaged := [entry.name for entry, picture in found if picture is None]:
            names = f"these images are damaged or missing: {listed_names(damaged)}"
            raise UserError(f"{container.path}: {names}; decode the others with only=[…]")
        return {entry.name: pillow_image(picture) for entry, picture in found if picture is not None}

    def fitting(self, container: Container) -> Codec:
        """The codec that decodes a file: this one, or one with the same model without limits of its parameters.

        Raises `UserError` unless the file was made with one of these models.
        """
        model = model_of(container, self.model)
        return self if model is self.model else Codec(model)

    def conditions(self, condition: Any, count: int) -> list[tuple[int, ...]]:
        """The values of the condition of each of `count` pictures; none if all are the null condition."""
        rows = self.model.conditions(condition, count)
        if rows is None or not bool((rows >= 0).any()):
            return [()] * count
        return [tuple(row) for row in rows.flatten(1).tolist()]

    def header(self, entries: Sequence[Entry], tile: tuple[int, int] | None = None) -> Header:
        """The header of a file of pictures with these entries. `tile` is the largest height and width of tiles.

        Without it, pictures are divided only if the model has one size. If it has not, tiles are at most as large as
        the largest picture, because all of their pixels are coded. Raises `UserError` as `header_of`, or if the index
        would be too large.
        """
        image = self.model.image
        any_size, widest = self.model.chain.any_size, max(entry.width for entry in entries)
        tiles = tile is not None or not any_size
        size = tile or (image.height, image.width if tiles else widest)
        if tile and any_size:
            size = min(tile[0], max(entry.height for entry in entries)), min(tile[1], widest)
        header = self._header(*size, tiles=tiles, conditioned=any(entry.condition for entry in entries))
        check_index(entries, sum(number_of_tiles(entry, header.image) for entry in entries), len(header.lags))
        return header


def load_codec(run: str | PathLike[str] | ImageModel, *, trust_plugins: bool) -> Codec:
    """Loads the codec of a run, or makes the codec of a model, as `auxar.codec` describes."""
    model = run if isinstance(run, ImageModel) else load(run, "cpu", arithmetic="integer", trust_plugins=trust_plugins)
    return Codec(model)


def _name(number: int, source: Any) -> str:
    """The usual name of a picture: the name of its file or, without one, its number."""
    path = source if isinstance(source, Path) else getattr(source, "name", None)
    return Path(path).name if isinstance(path, str | Path) else f"{number:06d}.png"


def _content(file: Any) -> Path | bytes:
    """The path, or the content, of a file that a user gives. Raises `UserError` if it is neither."""
    if isinstance(file, str | PathLike):
        return Path(file)
    content = file.read() if hasattr(file, "read") else file
    if not isinstance(content, bytes | bytearray | memoryview):
        raise UserError(f"file: expected bytes, a path or an open file, got {type(file).__name__}")
    return bytes(content)
