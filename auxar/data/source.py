"""Opens the sources of images: registered data sets, folders, parquet files and the Hugging Face hub."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs
import datasets

from auxar.data.columns import EXPECTED, file_type, image_column, type_name
from auxar.data.conditions import ConditionReader, check_not_beside
from auxar.data.decoding import BrokenImage, read_file
from auxar.data.folder import OpenedSplit, digest, find_files, folder_splits
from auxar.data.hub import load_from_hub
from auxar.data.parquet import open_parquet
from auxar.data.reach import UNREADABLE, Reach
from auxar.errors import UserError, did_you_mean, one_line
from auxar.recipe import DataConfig
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.paths import check_kind, local_path

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
    splits: Mapping[str, OpenedSplit]
    """The splits by name."""
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
        opened = self.splits[split]
        rows = opened.rows
        if rows.features is None:
            raise UserError(
                f"data.path: the columns of {self.where} are unknown until it is read; set data.streaming = false, or "
                "set data.path to a local copy"
            )
        others = () if reader is None else reader.columns
        column = image_column(rows.features.arrow_schema, config.column, self.where, others)
        for name in () if reader is None or reader.condition.is_vector else others:
            kind = rows.features.arrow_schema.field(name).type
            if file_type(kind) is None:
                raise UserError(
                    f"condition.column: column '{name}' of {self.where} holds no pictures: its type is "
                    f"{type_name(kind)}; {EXPECTED}"
                )
        if isinstance(rows, datasets.Dataset) and not len(rows):
            raise UserError(f"data.path: the split '{split}' of {self.where} contains no images")
        if config.limit is not None:
            rows = rows.take(min(config.limit, len(rows)) if isinstance(rows, datasets.Dataset) else config.limit)
        rows = rows.select_columns([column, *others])
        for name in (column, *others):
            if isinstance(rows.features[name], datasets.Image):
                # auxar decodes the images, so that a broken image does not stop `Dataset.map` and can be reported by
                # name.
                rows = rows.cast_column(name, datasets.Image(decode=False))
        chosen = (column, "/".join([str(config.limit), *others]))
        identity, key = digest(opened.identity, *chosen), digest(opened.cache_key, *chosen)
        return EncodedImages(rows, column, self.root, identity, key, self.reach, reader)


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
    path = local_path(config.path, registered) if built is None else built
    if path is not None:
        return _open_local(path, config, condition)
    check_not_beside(condition, config.path)
    rows, reach = load_from_hub(config.path, config.config, config.streaming, registered)
    return Source(config.path, _opened(rows, f"{config.path}/{config.config}"), reach=reach)


def _open_local(path: Path, config: DataConfig, condition: ConditionConfig | None) -> Source:
    path, where = path.expanduser().resolve(), config.path
    if not path.exists():
        raise UserError(f"data.path: the registered data set '{where}' needs its files at {path}, which does not exist")
    check_kind(path, where)
    parquet = [path] if path.is_file() else find_files(path, (".parquet",))
    if not parquet:
        if config.config is not None:
            raise UserError(f"data.config: {where} is a folder of image files, which has no configurations")
        return Source(where, folder_splits(path, config.train, config.streaming, condition), path)
    check_not_beside(condition, where)
    rows = open_parquet(path, parquet, config, where, condition)
    root = path.parent if path.is_file() else path
    content = digest(*(f"{file.relative_to(root).as_posix()}:{file.stat().st_size}" for file in parquet))
    return Source(where, _opened(rows, content), reach=Reach((root,), base=root))


def _opened(splits: Mapping[str, Any], identity: str) -> dict[str, OpenedSplit]:
    """The splits that `datasets` loaded, whose fingerprints identify them on this machine."""
    return {
        name: OpenedSplit(rows, f"{identity}/{name}", rows._fingerprint if isinstance(rows, datasets.Dataset) else "")
        for name, rows in splits.items()
    }
