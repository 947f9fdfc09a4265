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


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust-plugins`, without which no code that comes with a run is loaded."""
    parser.add_argument(
        "--trust-plugins",
        action="store_true",
        help="load the plugin files in the run's folder plugins/, which are code that runs with your rights",
    )
