"""Options that several verbs share."""

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
        help=f"set keys of the recipe, such as {example}",
    )
