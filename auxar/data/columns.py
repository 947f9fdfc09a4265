"""Chooses the column of a data set that holds its images, by the Arrow schema of the data set."""

from collections.abc import Collection
from typing import Any

import datasets
import pyarrow as pa

from auxar.data.conditions import check_condition_columns
from auxar.errors import LONGEST_VALUE, UserError, did_you_mean, one_line
from auxar.files import parse_json

EXPECTED = "expected image files as binary, or as struct<bytes: binary, path: string>"
BYTES = datasets.Value("large_binary")
FILES = {"bytes": BYTES, "path": BYTES}
"""The type of a column of structs. Paths are read as bytes, because they may not be valid UTF-8."""


def image_column(schema: pa.Schema, wanted: str | None, where: str, others: Collection[str] = ()) -> str:
    """Returns the name of the column that holds images. It is none of `others`, the columns of conditions.

    It is `wanted` if that is given, otherwise the only column that the metadata of `datasets` declares as images, or
    the only column of encoded files if none is declared. `where` names the data set in messages.

    Raises `UserError` if `wanted` does not exist or cannot hold images, if there is not exactly one such column, or if
    one of `others` does not exist.
    """
    check_condition_columns(others, wanted, schema.names, where)
    usable = [field.name for field in schema if field.name not in others and file_type(field.type) is not None]
    marked = [name for name in _declared_images(schema) if name in usable]
    types = {field.name: "Image" if field.name in marked else type_name(field.type) for field in schema}
    listing = f"the columns are {', '.join(f'{name} ({kind})' for name, kind in types.items())}"
    if wanted is not None:
        if wanted not in types:
            raise UserError(f"data.column: {where} has no column '{wanted}'{did_you_mean(wanted, types)}")
        if wanted not in usable:
            raise UserError(
                f"data.column: column '{wanted}' of {where} holds no images: its type is {types[wanted]}; {EXPECTED}; "
                f"{listing}"
            )
        return wanted
    found = marked or usable
    if not found:
        raise UserError(f"data.column: {where} has no column with images; {EXPECTED}; {listing}")
    if len(found) > 1:
        raise UserError(
            f"data.column: {where} has {len(found)} columns with images; set data.column to one of them; {listing}"
        )
    return found[0]


def file_type(kind: pa.DataType) -> Any:
    """Returns the type as which `datasets` reads a column of image files, or None if the column cannot hold any."""
    kind = plain_type(kind)
    if _is_binary(kind):
        return BYTES
    if not pa.types.is_struct(kind) or sorted(field.name for field in kind) != ["bytes", "path"]:
        return None
    content, path = (plain_type(kind.field(name).type) for name in ("bytes", "path"))
    is_text = str(path) in ("string", "large_string", "string_view", "null")
    return FILES if (_is_binary(content) or pa.types.is_null(content)) and (is_text or _is_binary(path)) else None


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type of the values of a dictionary, or of what an extension type is stored as."""
    while isinstance(kind, pa.DictionaryType | pa.BaseExtensionType):
        kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind.storage_type
    return kind


def type_name(kind: pa.DataType) -> str:
    """Returns the name of a type for a message."""
    return one_line(str(kind), LONGEST_VALUE)


def _is_binary(kind: pa.DataType) -> bool:
    # Binary of a fixed size is more often an identifier.
    return str(kind) in ("binary", "large_binary", "binary_view")


def _declared_images(schema: pa.Schema) -> list[str]:
    """Returns the columns that the metadata of `datasets` declares as images. Metadata of another form is ignored."""
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [name for name, feature in features.items() if feature["_type"] == "Image"]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
