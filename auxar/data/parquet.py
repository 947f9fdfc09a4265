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

from auxar.data.columns import EXPECTED, choose_column
from auxar.data.conditions import check_condition_columns
from auxar.data.copies import Copy, load
from auxar.data.folder import check_names, parquet_splits
from auxar.data.space import disk_problem
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
) -> tuple[dict[str, Any], Copy | None]:
    """Opens the parquet file `path`, or the parquet files `files` of the folder `path`.

    Returns the splits by name, with the columns of images and of their conditions alone, and the copy that they are
    read from, which is None if they are streamed.

    Raises `UserError` if a file cannot be read, if the column of images is missing or ambiguous, if the files have no
    rows, or if the copy cannot be written.
    """
    check_names(files)
    for file in files:
        if "::" in str(file):
            raise UserError(
                f"data.path: the parquet file {file} cannot be read, because its path contains '::', which `datasets` "
                "reads as a file inside an archive; rename it"
            )
    schemas, rows = {}, {}
    for file in files:
        schemas[file], rows[file] = _schema(file)
    if not any(rows.values()):
        raise UserError(f"data.path: {where} contains no images, because it has no rows")
    others = () if condition is None else condition.columns or (str(condition.column),)
    column, feature = _column(schemas, config.column, where, others)
    features = {column: feature, **_condition_features(schemas, others)}
    try:
        named = {"train": files} if path.is_file() else parquet_splits(path, files, config.config)
        # `datasets` cannot read a split without rows.
        exact = {name: exactly(members) for name, members in named.items() if any(rows[file] for file in members)}
        for name in (config.train, config.validation, config.heldout):
            if name in named and name not in exact:
                raise UserError(f"data.path: the split '{name}' of {where} contains no images, because it has no rows")
        splits, copy = load(
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
        for file in files:
            for each in features:
                _check_pages(file, each)
        problem = disk_problem(error, "the copy of the data set")
        raise UserError(problem or f"data.path: {where} cannot be read as parquet: {_reason(error)}") from error
    return splits, copy


def exactly(files: Sequence[Path]) -> DataFilesList:
    """Returns the files as `datasets` expects them after it has resolved patterns.

    It would read a path itself as a pattern: `white[1].parquet` means the file `white1.parquet`. Sizes and times are
    part of the key of its cache.
    """
    stamps = [file.stat() for file in files]
    return DataFilesList(list(map(str, files)), [(str(stamp.st_size), str(stamp.st_mtime_ns)) for stamp in stamps])


def _schema(file: Path) -> tuple[pa.Schema, int]:
    """Returns the columns of a parquet file and the number of its rows. Raises `UserError` if it cannot be read."""
    if not file.is_file():  # Reading a pipe or a device may never end.
        raise UserError(f"data.path: the parquet file {file} is not a regular file, or does not exist")
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            return opened.schema_arrow, opened.metadata.num_rows
    except Exception as error:  # See `open_parquet`.
        raise _unreadable(file, error) from error


def _check_pages(file: Path, column: str) -> None:
    """Reads a column of a parquet file. Raises `UserError` if this fails."""
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            for _ in opened.iter_batches(ROWS, columns=[column]):
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


def _condition_features(schemas: Mapping[Path, pa.Schema], columns: Collection[str]) -> dict[str, Any]:
    """Returns the types of the columns of conditions for `datasets`. Raises `UserError` if a file has another type."""
    found: dict[str, Any] = {}
    first, schema = next(iter(schemas.items()))
    for column in columns:
        kinds = {
            file: _plain(other.field(column).type) if column in other.names else None for file, other in schemas.items()
        }
        for file, kind in kinds.items():
            if kind is None or kind != kinds[first]:
                problem = "is missing" if kind is None else f"has the type {_name(kind)}"
                raise UserError(
                    f"condition.column: column '{column}' {problem} in {file}, but has the type "
                    f"{_name(schema.field(column).type)} in {first}"
                )
        found[column] = _feature(schema.field(column).type)
        if found[column] is None:
            try:
                plain = pa.schema([pa.field(column, kinds[first])])
                found[column] = datasets.Features.from_arrow_schema(plain)[column]
            except Exception as error:  # `datasets` raises various exceptions.
                raise UserError(
                    f"condition.column: column '{column}' has the type {_name(schema.field(column).type)}, which "
                    "cannot be read"
                ) from error
    return found


def _column(
    schemas: Mapping[Path, pa.Schema], wanted: str | None, where: str, others: Collection[str]
) -> tuple[str, Any]:
    """Returns the column of images, which all files must have, and its type for `datasets`.

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
    for file, other in schemas.items():
        number = other.names.count(column)
        if number != 1:
            problem = f"has {number} columns of this name" if number else "has no such column"
            raise UserError(f"data.column: the images are in column '{column}', but {file} {problem}")
        kind = other.field(column).type
        if _feature(kind) != usable[column]:
            raise UserError(
                f"data.column: column '{column}' has the type {_name(kind)} in {file}, but "
                f"{types[column]} in {first}; {EXPECTED} in all files"
            )
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
