"""Options that several commands share."""

from __future__ import annotations

import argparse


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
