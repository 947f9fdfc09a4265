"""Chooses the column of a data set that holds its images."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from auxar.errors import UserError, did_you_mean

EXPECTED = "expected image files as binary, or as struct<bytes: binary, path: string>"


def choose_column(
    types: Mapping[str, str], marked: Collection[str], usable: Collection[str], wanted: str | None, where: str
) -> str:
    """Returns the name of the column that holds images.

    It is `wanted` if that is given, otherwise the only column in `marked`, or the only column in `usable` if none is
    marked. `types` maps the name of each column to its type, for messages. `marked` are the columns that the data set
    declares as images, and `usable` are all columns that can hold image files.

    Raises `UserError` if `wanted` does not exist or is not in `usable`, or if there is not exactly one such column.
    """
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
    found = list(marked) or list(usable)
    if not found:
        raise UserError(f"data.column: {where} has no column with images; {EXPECTED}; {listing}")
    if len(found) > 1:
        raise UserError(
            f"data.column: {where} has {len(found)} columns with images; set data.column to one of them; {listing}"
        )
    return found[0]
