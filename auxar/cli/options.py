"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from auxar.errors import shown

OUTPUT = "output"
"""Title of the group of the options that all commands share."""
LEVELS = ("debug", "info", "warning", "error")
"""The levels of messages, as Python's module `logging` names them."""


def integer(text: str) -> int:
    """Converts the text of an option to an integer. Raises `ArgumentTypeError` if it is none, or has too many digits.

    Python does not convert thousands of digits. Shorter integers are converted, and their range is checked later.
    """
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer from -2^63 to 2^63 - 1, got {shown(text)}") from None


def add_output(parser: argparse.ArgumentParser, *, default: bool = True) -> None:
    """Adds `--quiet` and `--log-level`, with their default values or, if `default` is false, without any."""
    group = parser.add_argument_group(OUTPUT)
    group.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        default=False if default else argparse.SUPPRESS,
        help="print only the result, warnings and errors, and no progress",
    )
    group.add_argument(
        "--log-level",
        choices=LEVELS,
        default="info" if default else argparse.SUPPRESS,
        help="print messages of this level and above (default: info); progress is shown at info and below",
    )


def add_arithmetic(parser: argparse.ArgumentParser, integer: str) -> None:
    """Adds `--arithmetic`. `integer` describes its value `integer`."""
    parser.add_argument(
        "--arithmetic", metavar="NAME", help=f"float, or integer: {integer} (default: the recipe's arithmetic)"
    )


RULES = ("ancestral", "reduced", "map", "tempered", "by_depth")
"""The rules that come with auxar, whose import takes a second."""


def add_rule(parser: argparse.ArgumentParser) -> None:
    """Adds `--rule`."""
    parser.add_argument(
        "--rule",
        metavar="RULE",
        help="rule by which values are drawn, NAME or NAME:OPTION=VALUE,…: ancestral (exact samples), reduced (lower "
        "variance), map (centers of drawn mixture components), tempered (a temperature for softmax heads) or by_depth "
        "(a rule for fine images and another for coarse views), such as reduced:reduction=0.6; `auxar plugins` lists "
        "the options and further rules",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`, for commands whose result has a `record`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of text")


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Adds the argument RECIPE: the path of a recipe, or the name of one that comes with auxar."""
    parser.add_argument(
        "recipe",
        type=Path,
        metavar="RECIPE",
        help="a TOML file, or the name of a recipe that comes with auxar, such as quickstart (`auxar recipes` lists "
        "them)",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds the argument RUN: the folder of a run, or the name of a model."""
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="a run's folder, the name of a model that comes trained (`auxar models` lists them), or a model on the "
        "Hugging Face hub: user/name or user/name@revision",
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


def add_shards(parser: argparse.ArgumentParser, work: str) -> None:
    """Adds `--shard I/N` and `--merge N`. `work` says what is done in shards, such as "evaluate"."""
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help=f"only {work} part I of N (I from 1 to N); all parts may be done at the same time, also on different "
        "machines that share the folder",
    )
    parser.add_argument("--merge", type=integer, metavar="N", help="merge the results of N shards, which are all done")


def division(options: argparse.Namespace) -> dict[str, Any]:
    """The values of `--shard` and `--merge`, as arguments of the functions of commands.

    Raises `UserError`, which names the options as the user gives them, if they are invalid.
    """
    from auxar.distributed.shards import Division

    found = Division.of(options.shard, options.merge, 1, "--")
    return {"shard": None if found.shard is None else str(found.shard), "merge": found.merge}


def add_condition(parser: argparse.ArgumentParser, description: str) -> None:
    """Adds the option `--condition`, which may be repeated."""
    parser.add_argument(
        "--condition",
        action="append",
        metavar="KIND=VALUE",
        help=description,
    )


def condition_texts(options: argparse.Namespace) -> Any:
    """The values of `--condition` as the functions of commands accept them; None if the option is not given."""
    if options.condition is None:
        return None
    from auxar.generation.conditions import ConditionTexts

    return ConditionTexts(options.condition)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds `--trust-plugins`, which allows the plugin files of the recipe to be loaded."""
    parser.add_argument(
        "--trust-plugins",
        action="store_true",
        help="load the plugin files that the recipe names; they are code that runs with your rights, so read them "
        "first",
    )


def add_plugin_files(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments FILE …: plugin files that are loaded besides the installed plugins."""
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="plugin files to load in addition to the installed plugins, without --trust-plugins; they are code that "
        "runs with your rights",
    )
