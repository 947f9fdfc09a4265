"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.errors import shown


def integer(text: str) -> int:
    """Converts the text of an option to an integer. Raises `ArgumentTypeError` if it is none, or has too many digits.

    Python does not convert thousands of digits. Shorter integers are converted, and their range is checked later.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer from -2^63 to 2^63 - 1, got {shown(text)}") from None


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Adds the argument RECIPE: the path of a recipe, or the name of one that comes with auxar."""
    parser.add_argument(
        "recipe",
        type=Path,
        metavar="RECIPE",
        help="a TOML file, or the name of a recipe that comes with auxar, such as quickstart (`auxar recipes` lists "
        "them)",
    )


def add_settings(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds `--set key=value …`, which overrides keys of the recipe."""
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help=f"override keys of the recipe, such as {example}",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust-plugins`, which allows the plugin files of the recipe to be loaded."""
    parser.add_argument(
        "--trust-plugins",
        action="store_true",
        help="load the plugin files that the recipe names; they are code that runs with your rights, so read them "
        "first",
    )
