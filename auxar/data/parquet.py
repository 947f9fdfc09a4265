"""Opens parquet files: checks their columns, and loads the column that holds images.

`datasets` gets the type of this column from here. It would otherwise take the types of all columns from the metadata of
the files, which may be damaged or contradict the content.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet
from datasets.data_files import DataFilesList

from auxar.caching import cannot_be_written, disk_error
from auxar.data.columns import choose_column
from auxar.data.conditions import check_condition_columns
from auxar.data.folder import check_names, parquet_splits
from auxar.errors import LONGEST_VALUE, UserError, one_line
from auxar.files import parse_json
from auxar.recipe import DataConfig
from auxar.recipe.condition import ConditionConfig

ROWS = 1000
"""Number of rows that `datasets` reads at once. By default it reads a whole row group, however large."""
BYTES = datasets.Value("large_binary")
FILES = {"bytes": BYTES, "path": BYTES}
"""The type of a column of structs. Paths are read as bytes, because they may not be valid UTF-8."""


def open_parquet(
    path: Path, files: Sequence[Path], config: DataConfig, where: str, condition: ConditionConfig | None = None
) -> dict[str, Any]:
    """Opens the parquet file `path`, or the parquet files `files` of the folder `path`.

    Returns the splits by name, with the columns of images and of their conditions alone.

    Raises `UserError` if a file cannot be read, if the column of images is missing or ambiguous, if the files have no
    rows, or if the cache of `datasets` cannot be written.
    """
    check_names(files)
    for file in files:
        if "::" in str(file):  # `datasets` would read a file inside an archive.
            raise UserError(f"data.path: the path of the parquet file {file} contains '::'; rename it")
    schemas, rows = {}, {}
    for file in files:
        schemas[file], rows[file] = _schema(file)
    if not any(rows.values()):
        raise UserError(f"data.path: {where} contains no images, because it has no rows")
    others = () if condition is None else condition.columns or (str(condition.column),)
    column, feature = _column(schemas, config.column, where, others)
    features = {column: feature, **{name: _condition_feature(schemas, name) for name in others}}
    _check_same(schemas, list(features))
    try:
        named = {"train": files} if path.is_file() else parquet_splits(path, files, config.config)
        # `datasets` cannot read a split without rows.
        exact = {name: exactly(members) for name, members in named.items() if any(rows[file] for file in members)}
        for name in (config.train, config.validation, config.heldout):
            if name in named and name not in exact:
                raise UserError(f"data.path: the split '{name}' of {where} contains no images, because it has no rows")
        found: dict[str, Any] = datasets.load_dataset(
            "parquet",
            data_files=exact,
            streaming=config.streaming,
            columns=list(features),
            features=datasets.Features(features),
            batch_size=ROWS,
        )
    except UserError:
        raise
    except Exception as error:  # A damaged file can raise errors of pyarrow, of `datasets` and of Python itself.
        if (disk := disk_error(error)) is not None:
            raise cannot_be_written(Path(datasets.config.HF_DATASETS_CACHE), disk) from error
        for file in files:
            _check_pages(file, list(features))
        raise UserError(f"data.path: {where} cannot be read as parquet: {_reason(error)}") from error
    return found


def exactly(files: Sequence[Path]) -> DataFilesList:
    """Returns the files as `datasets` expects them after it has resolved patterns.

    It would read a path itself as a pattern: `white[1].parquet` means the file `white1.parquet`. Sizes and times are
    part of the key of its cache.
    """
    stamps = [file.stat() for file in files]
    return DataFilesList(list(map(str, files)), [(str(stamp.st_size), str(stamp.st_mtime_ns)) for stamp in stamps])


def _schema(file: Path) -> tuple[pa.Schema, int]:
    """Returns the columns of a parquet file and the number of its rows. Raises `UserError` if it cannot be read."""
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            return opened.schema_arrow, opened.metadata.num_rows
    except Exception as error:  # See `open_parquet`.
        raise _unreadable(file, error) from error


def _check_pages(file: Path, columns: list[str]) -> None:
    """Reads columns of a parquet file. Raises `UserError` if this fails."""
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            for _ in opened.iter_batches(ROWS, columns=columns):
                pass
    except Exception as error:  # See `open_parquet`.
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(
        f"data.path: {file} cannot be read as parquet: {_reason(error)}; expected an intact parquet file that is "
        "not encrypted"
    )


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error).strip().split("\n")[0].rstrip(".")


def _condition_feature(schemas: Mapping[Path, pa.Schema], column: str) -> Any:
    """Returns the type of a column of conditions for `datasets`."""
    kind = next(iter(schemas.values())).field(column).type
    try:
        found = _feature(kind)
        return found or datasets.Features.from_arrow_schema(pa.schema([pa.field(column, _plain(kind))]))[column]
    except Exception as error:  # `datasets` raises various exceptions.
        raise UserError(f"condition.column: column '{column}' has the type {_name(kind)}, which cannot be read") from (
            error
        )


def _check_same(schemas: Mapping[Path, pa.Schema], columns: Collection[str]) -> None:
    """Raises `UserError` unless all files have these columns once, and with the same types."""
    first, schema = next(iter(schemas.items()))
    for column in columns:
        for file, other in schemas.items():
            kinds = [field.type for field in other if field.name == column]
            expected = schema.field(column).type
            if [_feature(kind) or _plain(kind) for kind in kinds] != [_feature(expected) or _plain(expected)]:
                found = " and ".join(map(_name, kinds)) or "no such column"
                raise UserError(
                    f"data.path: expected one column '{column}' of the type {_name(expected)}, as in {first}; found "
                    f"{found} in {file}"
                )


def _column(
    schemas: Mapping[Path, pa.Schema], wanted: str | None, where: str, others: Collection[str]
) -> tuple[str, Any]:
    """Returns the column of images in the first file, and its type for `datasets`.

    `others` are the columns of conditions, which hold no images.
    """
    first, schema = next(iter(schemas.items()))
    check_condition_columns(others, wanted, schema.names, where)
    usable = {
        field.name: feature
        for field in schema
        if field.name not in others and (feature := _feature(field.type)) is not None
    }
    marked = [name for name in _declared_images(schema) if name in usable]
    types = {field.name: "Image" if field.name in marked else _name(field.type) for field in schema}
    column = choose_column(types, marked, usable, wanted, where if len(schemas) == 1 else str(first))
    return column, usable[column]


def _feature(kind: pa.DataType) -> Any:
    """Returns the type as which `datasets` reads a column of image files, or None if the column cannot hold any."""
    kind = _plain(kind)
    if _is_binary(kind):
        return BYTES
    if not pa.types.is_struct(kind) or sorted(field.name for field in kind) != ["bytes", "path"]:
        return None
    content, path = (_plain(kind.field(name).type) for name in ("bytes", "path"))
    if (_is_binary(content) or pa.types.is_null(content)) and (_is_text(path) or pa.types.is_null(path)):
        return FILES
    return None


def _plain(kind: pa.DataType) -> pa.DataType:
    """Returns the type of the values of a dictionary, or of what an extension type is stored as."""
    while isinstance(kind, pa.DictionaryType | pa.BaseExtensionType):
        kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind.storage_type
    return kind


def _name(kind: pa.DataType) -> str:
    return one_line(str(kind), LONGEST_VALUE)


def _is_binary(kind: pa.DataType) -> bool:
    # Older versions of pyarrow have no functions for views. Binary of a fixed size is more often an identifier.
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or str(kind) == "binary_view"


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def _declared_images(schema: pa.Schema) -> list[str]:
    """Returns the columns that the metadata of `datasets` declares as images. Metadata of another form is ignored."""
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [name for name, feature in features.items() if feature["_type"] == "Image"]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
