"""Opens parquet files: checks their columns, and loads the columns of images and conditions.

`datasets` gets the types of these columns from here. It would otherwise take the types of all columns from the metadata
of the files, which may be damaged or contradict the content.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet
from datasets.data_files import DataFilesList

from auxar.data.columns import file_type, image_column, plain_type, type_name
from auxar.data.folder import check_names
from auxar.data.library import loaded
from auxar.errors import UserError
from auxar.files import is_file, read_bytes
from auxar.recipe import DataConfig
from auxar.recipe.condition import ConditionConfig

ROWS = 1000
"""Number of rows that `datasets` reads at once. By default it reads a whole row group, however large."""
CARDS = ("README.md", ".huggingface.yaml")
"""Names of the file in which a folder of parquet files can describe its splits, in the format of the hub."""
MOST_TEXT = 2**22
"""Maximum size of that file in bytes."""
Schemas = Mapping[Path, pa.Schema]
"""The columns of each file."""


def open_parquet(
    path: Path, files: Sequence[Path], config: DataConfig, where: str, condition: ConditionConfig | None = None
) -> dict[str, Any]:
    """Opens the parquet file `path`, or the parquet files `files` of the folder `path`.

    Returns the splits by name, with the columns of images and of their conditions alone.

    Raises `UserError` if a file cannot be read, if the column of images is missing or ambiguous, if the files have no
    rows, or if the cache of `datasets` cannot be written.
    """
    check_names(files)
    schemas: dict[Path, pa.Schema] = {}
    filled = set()
    for file in files:
        if "::" in str(file):  # `datasets` would read a file inside an archive.
            raise UserError(f"data.path: the path of the parquet file {file} contains '::'; rename it")
        with _opened(file) as opened:
            schemas[file] = opened.schema_arrow
            filled |= {file} if opened.metadata.num_rows else set()
    if not filled:
        raise UserError(f"data.path: {where} contains no images, because it has no rows")
    features = _features(schemas, config, where, condition)
    named = {"train": list(files)} if path.is_file() else _splits(path, files, config.config)
    for name in (config.train, config.validation, config.heldout):
        if name in named and filled.isdisjoint(named[name]):
            raise UserError(f"data.path: the split '{name}' of {where} contains no images, because it has no rows")

    def explain(error: Exception) -> UserError:
        for file in files:
            with _opened(file) as opened:
                for _ in opened.iter_batches(ROWS, columns=list(features)):
                    pass
        return UserError(f"data.path: {where} cannot be read as parquet: {_reason(error)}")

    return loaded(
        "parquet",
        # `datasets` cannot read a split without rows.
        data_files={name: _exactly(members) for name, members in named.items() if not filled.isdisjoint(members)},
        streaming=config.streaming,
        columns=list(features),
        features=features,
        batch_size=ROWS,
        explain=explain,
    )


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Opens a parquet file. Raises `UserError` if it cannot be opened or, within the block, read."""
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            yield opened
    except Exception as error:  # A damaged file can raise errors of pyarrow and of Python itself.
        raise UserError(
            f"data.path: {file} cannot be read as parquet: {_reason(error)}; expected an intact parquet file that is "
            "not encrypted"
        ) from error


def _reason(error: Exception) -> str:
    return str(error.__cause__ or error).strip().split("\n")[0].rstrip(".")


def _exactly(files: Sequence[Path]) -> DataFilesList:
    """Returns the files as `datasets` expects them after it has resolved patterns.

    It would read a path itself as a pattern: `white[1].parquet` means the file `white1.parquet`. Sizes and times are
    part of the key of its cache.
    """
    stamps = [file.stat() for file in files]
    return DataFilesList(list(map(str, files)), [(str(stamp.st_size), str(stamp.st_mtime_ns)) for stamp in stamps])


def _features(schemas: Schemas, config: DataConfig, where: str, condition: ConditionConfig | None) -> datasets.Features:
    """Returns the types for `datasets` of the columns of images and conditions.

    Raises `UserError` unless all files have these columns once, and with the same types.
    """
    first, schema = next(iter(schemas.items()))
    others = () if condition is None else condition.columns_to_read
    column = image_column(schema, config.column, where if len(schemas) == 1 else str(first), others)
    features = {name: _feature(schema.field(name).type, name) for name in (column, *others)}
    for name in features:
        expected = schema.field(name).type
        for file, other in schemas.items():
            kinds = [field.type for field in other if field.name == name]
            if [file_type(kind) or plain_type(kind) for kind in kinds] != [file_type(expected) or plain_type(expected)]:
                found = " and ".join(map(type_name, kinds)) or "no such column"
                raise UserError(
                    f"data.path: expected one column '{name}' of the type {type_name(expected)}, as in {first}; "
                    f"found {found} in {file}"
                )
    return datasets.Features(features)


def _feature(kind: pa.DataType, column: str) -> Any:
    try:
        plain = pa.schema([pa.field(column, plain_type(kind))])
        return file_type(kind) or datasets.Features.from_arrow_schema(plain)[column]
    except Exception as error:  # `datasets` raises various exceptions.
        what = f"column '{column}' has the type {type_name(kind)}, which cannot be read"
        raise UserError(f"condition.column: {what}") from error


def _splits(folder: Path, files: Sequence[Path], config: str | None) -> dict[str, list[Path]]:
    """Divides the parquet files of a folder into splits, by their names or by the configuration `config` of its card.

    Raises `UserError` if the card cannot be read or names files outside the folder, or if the configuration does not
    exist or is invalid.
    """
    # `datasets` knows the rules, but reads the path of a folder as a pattern, which may match other folders. It gets
    # empty files of the same names in a temporary folder instead, whose path has no special characters.
    with tempfile.TemporaryDirectory() as name:
        twin = Path(name).resolve()
        for file in files:
            empty = twin / file.relative_to(folder)
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.touch()
        for card in filter(is_file, (folder / name for name in CARDS)):
            (twin / card.name).write_bytes(read_bytes(card, MOST_TEXT))
        try:
            splits = datasets.load_dataset_builder(str(twin), config).config.data_files
            return {
                split: [folder / Path(member).relative_to(twin) for member in members]
                for split, members in splits.items()
            }
        except Exception as error:  # Names and configurations that do not fit raise various exceptions.
            reason = str(error).replace(str(twin), str(folder)).strip().split("\n")[0]
            raise UserError(f"data.path: the splits of {folder} cannot be found: {reason}") from error
