"""The first line of a recipe, which names the file of its JSON Schema for editors."""

from __future__ import annotations

import os
from pathlib import Path

DIRECTIVE = "#:schema "
"""The beginning of the line, as taplo and tombi read it."""


def with_schema(text: str, schema: Path) -> str:
    """Returns the text of a recipe with a first line that names the file of its schema by its absolute path.

    The line replaces a first line that names a schema, for example by a relative path. Editors read it.

    Examples:
        >>> with_schema("#:schema ../auxar.schema.json\\n[data]\\n", Path("/tmp/auxar.schema.json"))
        '#:schema file:///tmp/auxar.schema.json\\n[data]\\n'
    """
    text = text.removeprefix("\ufeff")
    if text.startswith(DIRECTIVE):
        text = text.partition("\n")[2]
    return f"{DIRECTIVE}{Path(os.path.abspath(schema)).as_uri()}\n{text}"
