"""The command `schema`: the JSON Schema of recipes."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any

from auxar.commandline import Result, command


def _shown(found: dict[str, Any]) -> Result:
    import sys

    from auxar.recipe.json_schema import schema_text

    encoding = "utf-8" if sys.__stdout__ is None else sys.__stdout__.encoding
    return Result(schema_text(found, encoding).splitlines(), found)


@command("Recipes and plugins", show=_shown)
def schema(files: Iterable[str | PathLike[str]] = ()) -> dict[str, Any]:
    """Prints the JSON Schema of recipes, for editors.

    The schema (draft 7) has every key and every option of the registered components, with types, defaults, ranges and
    descriptions. Editors complete and check a recipe whose first line is `#:schema FILE`, where FILE contains this
    output.

    Args:
        files (FILE): plugin files to load in addition to the installed plugins, without --trust-plugins; they are code
            that runs with your rights
    """
    from auxar.arguments import as_paths
    from auxar.plugins import load_plugins
    from auxar.recipe.json_schema import recipe_schema

    return recipe_schema(load_plugins(as_paths(files, "files")))
