"""`auxar schema`: prints the JSON Schema of recipes."""

from __future__ import annotations

import argparse
import sys

from auxar.cli.options import add_plugin_files
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `schema` to the parser."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of recipes, for editors",
        description="Prints the JSON Schema (draft 7) of recipes: every key and every option of the registered "
        "components, with types, defaults, ranges and descriptions. Editors complete and check a recipe whose first "
        "line is `#:schema FILE`, where FILE contains this output.",
    )
    add_plugin_files(parser)
    parser.set_defaults(command=_schema)


def _schema(options: argparse.Namespace) -> Result:
    from auxar.plugins import load_plugins
    from auxar.recipe.json_schema import recipe_schema, schema_text

    schema = recipe_schema(load_plugins(options.files))
    encoding = "utf-8" if sys.__stdout__ is None else sys.__stdout__.encoding
    return Result(schema_text(schema, encoding).splitlines(), schema)
