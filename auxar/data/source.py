"""Opens the sources of images: registered data sets, folders, parquet files and the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs
import datasets

from auxar.data.columns import EXPECTED, choose_column
from auxar.data.conditions import ConditionReader, check_condition_columns, check_not_beside
from auxar.data.conversion import BrokenImage, read_file
from auxar.data.folder import digest, find_files, folder_splits
from auxar.data.hub import load_from_hub
from auxar.data.parquet import open_parquet
from auxar.data.reach import UNREADABLE, Reach
from auxar.errors import UserError, did_you_mean, one_line
from auxar.recipe import DataConfig
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.paths import local_path

LONGEST_NAME = 255
"""Maximum number of characters of an image's name that is taken from a data set."""


@attrs.frozen
class EncodedImages:
    """The encoded image files of one split."""

    rows: Any
    """A `datasets.Dataset`, or an `IterableDataset` if the data is streamed."""
    column: str
    """Name of the column that holds the images."""
    root: Path | None
    """Folder that the names of images are relative to. If it is None, the names are file names without a folder."""
    identity: str
    """A hash that identifies the images, equal on every machine. The fingerprint of a stream depends on it."""
    cache_key: str
    """A hash that identifies the images on this machine and changes when their files change. It is not used for
    streams."""
    reach: Reach | None = None
    """The files that paths in the data set may lead to. If it is None, auxar itself has found the files."""
    conditions: ConditionReader | None = None
    """The reader of the images' conditions; None if they have none."""

    @property
    def columns(self) -> list[str]:
        """The columns that are read: that of the images, and those of the conditions."""
        return [self.column, *(() if self.conditions is None else self.conditions.columns)]

    def name(self, value: dict[str, Any] | bytes | None, number: int) -> str:
        """Returns the name of the image in row `number`, where `value` is the content of the image column."""
        path = _path(value)
        if not path:
            return f"image {number}"
        if self.reach is None:
            return Path(path).relative_to(self.root).as_posix() if self.root is not None else Path(path).name
        # Names in a data set may be huge. Control characters are escaped.
        name = path if "://" in path else path.rstrip("/").rpartition("/")[2]
        return one_line(name, LONGEST_NAME) or f"image {number}"

    def content(self, value: dict[str, Any] | bytes | None) -> bytes:
        """Returns the encoded bytes of an image, where `value` is the content of the image column.

        Raises `BrokenImage` if they cannot be read. Raises `UserError` if a remote file cannot be downloaded, because
        that does not mean that the image is broken.
        """
        encoded: bytes | None = value["bytes"] if isinstance(value, dict) else value
        if encoded is not None:
            return encoded
        path = _path(value)
        if not path:
            raise BrokenImage("it has neither bytes nor a path")
        if self.reach is not None:
            return self.reach.read(path)
        try:
            return read_file(Path(path))
        except OSError as error:
            raise BrokenImage(UNREADABLE) from error


def _path(value: dict[str, Any] | bytes | None) -> str | None:
    path: str | bytes | None = value["path"] if isinstance(value, dict) else None
    return path.decode(errors="replace") if isinstance(path, bytes) else path


@attrs.frozen
class Source:
    """The splits of an opened data set."""

    where: str
    """Name of the data set in messages."""
    splits: Mapping[str, Any]
    """The splits by name, each a `datasets.Dataset`, or an `IterableDataset` if the data is streamed."""
    identity: Mapping[str, str]
    """For each split, a text that identifies its images, equal on every machine."""
    cache_key: Mapping[str, str]
    """For each split, a text that identifies its images on this machine and changes when their files change. It is not
    used for streams, and may be empty for them."""
    root: Path | None = None
    """Folder that the names of images are relative to, if there is one."""
    reach: Reach | None = None
    """The files that paths in the data set may lead to. If it is None, auxar itself has found the files."""

    def images(self, config: DataConfig, split: str, reader: ConditionReader | None = None) -> EncodedImages:
        """Returns the first `config.limit` images of a split, with their conditions if there is a `reader`.

        Raises `UserError` if the split does not exist, if it is empty (checked only without streaming), if its column
        of images is missing or ambiguous, or if a column of conditions is missing.
        """
        if split not in self.splits:
            keys = {config.heldout: "heldout", config.validation: "validation", config.train: "train"}
            raise UserError(
                f"data.{keys[split]}: {self.where} has no split '{split}'{did_you_mean(split, self.splits)}"
            )
        rows = self.splits[split]
        others = () if reader is None else reader.columns
        column = image_column(rows.features, config.column, self.where, others)
        if isinstance(rows, datasets.Dataset) and not len(rows):
            raise UserError(f"data.path: the split '{split}' of {self.where} contains no images")
        if config.limit is not None:
            rows = rows.take(min(config.limit, len(rows)) if isinstance(rows, datasets.Dataset) else config.limit)
        rows = rows.select_columns([column, *others])
        if reader is not None:
            for name in others:
                _check_holds_pictures(reader, name, rows.features[name], self.where)
        for name in (column, *others):
            if isinstance(rows.features[name], datasets.Image):
                # auxar decodes the images, so that a broken image does not stop `Dataset.map` and can be reported by
                # name.
                rows = rows.cast_column(name, datasets.Image(decode=False))
        limit = "/".join([str(config.limit), *others])
        return EncodedImages(
            rows,
            column,
            self.root,
            digest(self.identity[split], column, limit),
            digest(self.cache_key[split], column, limit),
            self.reach,
            reader,
        )


def image_column(
    features: datasets.Features | None, wanted: str | None, where: str, others: Collection[str] = ()
) -> str:
    """Returns the name of the column that holds images. It is none of `others`, the columns of conditions.

    It is `wanted` if that is given, otherwise the only column of type `datasets.Image`, or the only column of encoded
    files if no column has that type. Raises `UserError` if `wanted` does not exist or cannot hold images, if there is
    not exactly one such column, if the columns are unknown, or if one of `others` does not exist.
    """
    if features is None:
        raise UserError(
            f"data.path: the columns of {where} are unknown until it is read; set data.streaming = false, or set "
            "data.path to a local copy"
        )
    check_condition_columns(others, wanted, features, where)
    types = {name: _type_name(feature) for name, feature in features.items()}
    features = {name: feature for name, feature in features.items() if name not in others}
    marked = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    usable = [name for name, feature in features.items() if name in marked or _holds_files(feature)]
    return choose_column(types, marked, usable, wanted, where)


def _type_name(feature: Any) -> str:
    return feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__


def _holds_files(feature: Any) -> bool:
    """Whether a column of another type than `datasets.Image` can hold files: bytes, or structs of bytes and path."""
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"} and _holds_files(feature["bytes"])
    return isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")


def _check_holds_pictures(reader: ConditionReader, column: str, feature: Any, where: str) -> None:
    """Raises `UserError` if masks or images are to be read from a column that holds no pictures."""
    holds_pictures = isinstance(feature, datasets.Image) or _holds_files(feature)
    if not reader.condition.is_vector and not holds_pictures:
        name = _type_name(feature)
        raise UserError(
            f"condition.column: column '{column}' of {where} holds no pictures: its type is {name}; {EXPECTED}"
        )


def open_source(
    config: DataConfig,
    built: Path | None = None,
    registered: Collection[str] = (),
    condition: ConditionConfig | None = None,
) -> Source:
    """Opens the data set that `config.path` names.

    It is the file or folder `built`, if that is given, because `config.path` names a registered data set. Otherwise the
    path is tried as an existing file or folder, and as a data set on the hub. If a folder contains parquet files, its
    image files are ignored. Messages about unknown names list the names in `registered`. `condition` says where the
    conditions of the images are.

    Raises `UserError` if the data set does not exist or cannot be read.
    """
    if built is not None:
        return _open_local(built, config, config.path, condition)
    path = local_path(config.path, registered)
    if path is not None:
        return _open_local(path, config, config.path, condition)
    check_not_beside(condition, config.path)
    splits, reach = load_from_hub(config.path, config.config, config.streaming, registered)
    identity = {name: f"{config.path}/{config.config}/{name}" for name in splits}
    return Source(config.path, splits, identity, _fingerprints(splits), reach=reach)


def _open_local(path: Path, config: DataConfig, where: str, condition: ConditionConfig | None) -> Source:
    path = path.expanduser().resolve()
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise UserError(f"data.path: {where} is a file; expected a folder of images or a .parquet file")
    if not path.exists():
        raise UserError(f"data.path: the registered data set '{where}' needs its files at {path}, which does not exist")
    parquet = [path] if path.is_file() else find_files(path, (".parquet",))
    if not parquet:
        splits, identity, keys = folder_splits(path, config.train, config.streaming, condition)
        return Source(where, splits, identity, keys, path)
    check_not_beside(condition, where)
    splits = open_parquet(path, parquet, config, where, condition)
    root = path.parent if path.is_file() else path
    content = digest(*(f"{file.relative_to(root).as_posix()}:{file.stat().st_size}" for file in parquet))
    identity = {name: f"{content}/{name}" for name in splits}
    return Source(where, splits, identity, _fingerprints(splits), reach=Reach((root,), base=root))


def _fingerprints(splits: Mapping[str, Any]) -> dict[str, str]:
    return {name: rows._fingerprint if isinstance(rows, datasets.Dataset) else "" for name, rows in splits.items()}
