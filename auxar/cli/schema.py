"""`auxar schema`: prints the JSON Schema of recipes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `schema` to the parser."""
    parser = verbs.add_parser(
        "schema",
        help="print the JSON Schema of recipes, for editors",
        description="Prints the JSON Schema (draft 7) of recipes: every key and every option of the registered "
        "components, with types, defaults, ranges and descriptions. Editors complete and check a recipe whose first "
        "line is `#:schema FILE`, where FILE contains this output.",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="plugin files to load in addition to the installed plugins, without --trust-plugins; they are code that "
        "runs with your rights",
    )
    parser.set_defaults(command=_schema)


def _schema(options: argparse.Namespace) -> None:
    from auxar.plugins import load_plugins
    from auxar.recipe.json_schema import recipe_schema, schema_text

    print(schema_text(recipe_schema(load_plugins(options.files)), sys.stdout.encoding), end="")
