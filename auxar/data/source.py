"""Opens the sources of images: registered data sets, folders, parquet files and the Hugging Face hub."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import datasets
import pyarrow.parquet
from datasets.data_files import DataFilesList

from auxar.data.conversion import MAX_BYTES, read_file
from auxar.data.copies import Copy, load
from auxar.data.folder import EXTENSIONS, check_names, digest, find_files, folder_splits, parquet_splits
from auxar.data.hub import load_from_hub
from auxar.errors import UserError, did_you_mean
from auxar.recipe import DataConfig


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
    copy: Copy | None = None
    """The copy in the cache of `datasets` that the rows are read from, if there is one."""

    def read(self, value: dict[str, Any] | bytes | None, number: int) -> tuple[str, bytes | None]:
        """Returns the name and the encoded bytes of row `number`, where `value` is the content of the image column.

        The bytes are None if the file cannot be read. Raises `UserError` if a remote file cannot be downloaded, because
        that does not mean that the image is broken.
        """
        path: str | None = value["path"] if isinstance(value, dict) else None
        encoded: bytes | None = value["bytes"] if isinstance(value, dict) else value
        if not path:
            return f"image {number}", encoded
        if "://" in path and encoded is None:
            return path, _fetch(path)
        file = Path(path)
        name = file.relative_to(self.root).as_posix() if self.root is not None else file.name
        if encoded is None:
            try:
                encoded = read_file(file)
            except (OSError, ValueError):  # A path in a data set may be invalid on this machine.
                return name, None
        return name, encoded


def _fetch(path: str) -> bytes:
    try:
        with datasets.utils.file_utils.xopen(path, "rb") as file:
            found: bytes = file.read(MAX_BYTES + 1)
            return found
    except OSError as error:
        raise UserError(f"data.path: the image file {path} cannot be downloaded: {error}") from error


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
    copy: Copy | None = None
    """The copy in the cache of `datasets` that the splits are read from, if there is one."""

    def images(self, config: DataConfig, split: str) -> EncodedImages:
        """Returns the first `config.limit` images of a split.

        Raises `UserError` if the split does not exist, if it is empty (checked only without streaming), or if its
        column of images is missing or ambiguous.
        """
        if split not in self.splits:
            key = "data.train" if split == config.train else "data.heldout"
            raise UserError(f"{key}: {self.where} has no split '{split}'{did_you_mean(split, self.splits)}")
        rows = self.splits[split]
        column = image_column(rows.features, config.column, self.where)
        if isinstance(rows, datasets.Dataset) and not len(rows):
            raise UserError(f"data.path: the split '{split}' of {self.where} contains no images")
        if config.limit is not None:
            rows = rows.take(min(config.limit, len(rows)) if isinstance(rows, datasets.Dataset) else config.limit)
        rows = rows.select_columns(column)
        if isinstance(rows.features[column], datasets.Image):
            # auxar decodes the images, so that a broken image does not stop `Dataset.map` and can be reported by name.
            rows = rows.cast_column(column, datasets.Image(decode=False))
        limit = str(config.limit)
        return EncodedImages(
            rows,
            column,
            self.root,
            digest(self.identity[split], column, limit),
            digest(self.cache_key[split], column, limit),
            self.copy,
        )


def image_column(features: datasets.Features | None, wanted: str | None, where: str) -> str:
    """Returns the name of the column that holds images.

    It is `wanted` if that is given, otherwise the only column of type `datasets.Image`, or the only column of encoded
    files if no column has that type. Raises `UserError` if `wanted` does not exist or cannot hold images, if there is
    not exactly one such column, or if the columns are unknown.
    """
    if features is None:
        raise UserError(
            f"data.path: the columns of {where} are unknown until it is read; set data.streaming = false, or set "
            "data.path to a local copy"
        )
    listing = ", ".join(f"{name} ({_type_name(feature)})" for name, feature in features.items())
    if wanted is not None:
        if wanted not in features:
            raise UserError(f"data.column: {where} has no column '{wanted}'{did_you_mean(wanted, features)}")
        if not (isinstance(features[wanted], datasets.Image) or _holds_files(features[wanted])):
            raise UserError(f"data.column: column '{wanted}' of {where} holds no images; the columns are {listing}")
        return wanted
    found = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    found = found or [name for name, feature in features.items() if _holds_files(feature)]
    if len(found) == 1:
        return str(found[0])
    problem = f"{len(found)} columns with images; set data.column to one of them" if found else "no column with images"
    raise UserError(f"data.column: {where} has {problem}; the columns are {listing}")


def _holds_files(feature: Any) -> bool:
    """Whether a column of another type than `datasets.Image` can hold image files.

    It can if it holds bytes, or structs of `bytes` and `path`.
    """
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")


def _type_name(feature: Any) -> str:
    return feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__


def open_source(config: DataConfig, registered: Mapping[str, Path]) -> Source:
    """Opens the data set that `config.path` names.

    The path is tried as a registered data set, as an existing file or folder, and as a data set on the hub, in this
    order. If a folder contains parquet files, its image files are ignored.

    Raises `UserError` if the data set does not exist or cannot be read.
    """
    if config.path in registered:
        return _open_local(registered[config.path], config, config.path)
    try:
        path = Path(config.path).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as error:  # A folder may not be entered, or a user's home folder is unknown.
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"data.path: {config.path} cannot be read: {reason}") from error
    if exists:
        return _open_local(path, config, config.path)
    if _looks_local(config.path):
        raise UserError(
            f"data.path: {config.path} does not exist{_nearest(path)}; expected a folder of images, a parquet file, "
            f"a name on the Hugging Face hub or a registered data set ({', '.join(sorted(registered)) or 'none'})"
        )
    splits, copy = load_from_hub(config.path, config.config, config.streaming, registered)
    identity = {name: f"{config.path}/{config.config}/{name}" for name in splits}
    return Source(config.path, splits, identity, _fingerprints(splits), copy=copy)


def _nearest(path: Path) -> str:
    """Returns a hint for an error message: an existing name that is similar to the first missing part of `path`.

    It is empty if no name is similar.
    """
    missing = next(part for part in (*reversed(path.parents), path) if not part.exists())
    near = difflib.get_close_matches(missing.name, (other.name for other in missing.parent.glob("*")), n=1)
    return f"; did you mean '{missing.with_name(near[0])}'?" if near else ""


def _looks_local(path: str) -> bool:
    file = Path(path).expanduser()
    return (
        file.is_absolute()
        or path.startswith((".", "~"))
        or path.endswith("/")
        or "\\" in path
        or path.count("/") > 1
        or file.suffix.lower() in (".parquet", ".zip", *EXTENSIONS)
        or ("/" in path and file.parent.is_dir())
    )


def _open_local(path: Path, config: DataConfig, where: str) -> Source:
    path = path.expanduser().resolve()
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise UserError(f"data.path: {where} is a file; expected a folder of images or a .parquet file")
    if not path.exists():
        raise UserError(f"data.path: the registered data set '{where}' needs its files at {path}, which does not exist")
    parquet = [path] if path.is_file() else find_files(path, (".parquet",))
    if not parquet:
        splits, identity, keys = folder_splits(path, config.train, config.streaming)
        return Source(where, splits, identity, keys, path)
    return _open_parquet(path, parquet, config, where)


def _open_parquet(path: Path, files: Sequence[Path], config: DataConfig, where: str) -> Source:
    """Opens the parquet file `path`, or the parquet files `files` of the folder `path`."""
    check_names(files)
    for file in files:
        if "::" in str(file):
            raise UserError(
                f"data.path: the parquet file {file} cannot be read, because its path contains '::', which `datasets` "
                "reads as a file inside an archive; rename it"
            )
    try:
        for file in files:
            if not file.is_file():  # Reading a pipe or a device may never end.
                raise OSError(f"{file} is not a regular file, or does not exist")
        empty = not any(pyarrow.parquet.read_metadata(file).num_rows for file in files)
        if not empty:
            named = {"train": files} if path.is_file() else parquet_splits(path, files, config.config)
            exact = {name: _exactly(members) for name, members in named.items()}
            splits, copy = load("parquet", data_files=exact, streaming=config.streaming)
    except UserError:
        raise
    except Exception as error:  # A damaged file can raise errors of pyarrow, of `datasets` and of Python itself.
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        raise UserError(f"data.path: {where} cannot be read as parquet: {reason}") from error
    if empty:
        raise UserError(f"data.path: {where} contains no images, because it has no rows")
    root = path.parent if path.is_file() else path
    content = digest(*(f"{file.relative_to(root).as_posix()}:{file.stat().st_size}" for file in files))
    return Source(where, splits, {name: f"{content}/{name}" for name in splits}, _fingerprints(splits), copy=copy)


def _exactly(files: Sequence[Path]) -> DataFilesList:
    """Returns the files as `datasets` expects them after it has resolved patterns.

    It would read a path itself as a pattern: `white[1].parquet` means the file `white1.parquet`. Sizes and times are
    part of the key of its cache.
    """
    stamps = [file.stat() for file in files]
    return DataFilesList(list(map(str, files)), [(str(stamp.st_size), str(stamp.st_mtime_ns)) for stamp in stamps])


def _fingerprints(splits: Mapping[str, Any]) -> dict[str, str]:
    return {name: rows._fingerprint if isinstance(rows, datasets.Dataset) else "" for name, rows in splits.items()}
