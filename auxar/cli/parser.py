"""The parser of the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from auxar.cli.completion import add_completion
from auxar.commandline import commands
from auxar.commandline.parser import Parser, add_arguments, documented, overview
from auxar.errors import printable

OUTPUT = "output"
"""Title of the group of the options that all commands share."""
LEVELS = ("debug", "info", "warning", "error")
"""The levels of messages, as Python's module `logging` names them."""


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


def command_line(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of all commands or, if `words` are given, of what is needed to parse them.

    If the words name a command, the parser has this command alone. Otherwise its help lists all commands by section,
    and it knows their names but not their arguments.
    """
    parser = Parser(
        prog="auxar",
        description="Auxiliary-variable autoregressive image models: p(X, X̂) = p(X̂) p(X | X̂) with a view X̂ = ψ(X).",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version of auxar")
    add_completion(parser, command_line)
    add_output(parser)
    added = parser.add_subparsers(metavar="COMMAND", required=True)
    known = commands()
    only = next((word for word in words or () if word in known), None)
    functions: dict[str, Callable[..., Any]] = {}
    for name in known if only is None else [only]:
        try:
            function = functions[name] = known[name].load()
        except Exception as error:  # The code of a plugin may raise any exception. Other commands still work.
            told = f"the command {name} of {known[name].value} cannot be loaded: {type(error).__name__}: {error}"
            if name == only:
                parser.error(told)
            print(printable(f"auxar: {told}"), file=sys.stderr)
            continue
        found = documented(function)
        inner = added.add_parser(name, help=found.summary, description=found.description)
        if words is None or name == only:
            _add_command(inner, function)
    if only is None:
        parser.epilog = "\n".join(overview(functions))
    return parser


def _add_command(parser: argparse.ArgumentParser, function: Callable[..., Any]) -> None:
    add_arguments(parser, function)
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of text")
    # Without a default here, an option before the command's name is kept.
    add_output(parser, default=False)
    flags = {action.dest: action.option_strings[-1] for action in parser._actions if action.option_strings}
    parser.set_defaults(command=function, flags=flags)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        print(f"auxar {metadata.version('auxar')}")
        parser.exit()
