"""The parser of the command line."""

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from auxar.cli.completion import add_completion
from auxar.commandline import commands
from auxar.commandline.parser import Parser, add_command, add_output, documented, overview
from auxar.errors import UserError, printable, shown


def command_line(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of all commands or, if `words` are given, of what is needed to parse them.

    If the words name a command, the parser has this command alone. Otherwise its help lists all commands by section,
    and it knows their names but not their arguments.
    """
    parser = Parser(
        prog="auxar",
        description="Auxiliary-variable autoregressive image models: p(X, X̂) = p(X̂) p(X | X̂) with a view X̂ = ψ(X).",
    )
    parser.add_argument("--version", action="version", version=f"auxar {metadata.version('auxar')}")
    add_completion(parser, command_line)
    add_output(parser)
    added = parser.add_subparsers(metavar="COMMAND", required=True)
    known = commands()
    only = _command_of(words or [])
    only = only if only in known else None
    functions: dict[str, Callable[..., Any]] = {}
    for name in known if only is None else [only]:
        try:
            function = known[name].load()
            found = documented(function)
            if not hasattr(function, "__auxar__") or not found.summary:
                raise TypeError("expected a function with the decorator `auxar.command` and a docstring")
            if words is None or name == only:
                add_command(Parser(prog=name), function)  # Raises before the command is added.
        except (Exception, SystemExit) as error:  # The code of a plugin may raise anything. Other commands still work.
            told = f"the command {name} of {known[name].value} cannot be loaded: {type(error).__name__}: {error}"
            if name == only:
                parser.error(told)
            print(printable(f"auxar: {told}"), file=sys.stderr)
            continue
        functions[name] = function
        inner = added.add_parser(name, help=found.summary, description=found.description)
        if words is None or name == only:
            add_command(inner, function)
    if only is None:
        parser.epilog = "\n".join([*overview(functions), "", "`auxar COMMAND --help` describes a command."])
    return parser


def check_line(words: Sequence[str]) -> None:
    """Raises `UserError` unless words are a command and arguments that fit it. Nothing is run.

    Examples:
        >>> check_line(["evaluate", "runs/quickstart", "--json"])
        >>> check_line(["evaluate"])
        Traceback (most recent call last):
        auxar.errors.UserError: auxar evaluate: the following arguments are required: RUN
    """
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            command_line(words).parse_args(words)
    except SystemExit:
        usual = f"expected a command and its arguments, got {shown(' '.join(words))}, which only prints information"
        *_, message = told.getvalue().splitlines() or [usual]
        raise UserError(message.removeprefix("auxar: error: ").replace(": error:", ":", 1)) from None


def _command_of(words: Sequence[str]) -> str | None:
    """The first word that is neither an option nor the value of one; None if there is none, or if help is asked for."""
    values = {"--log-level", "--print-completion"}
    for before, word in zip(["", *words], words, strict=False):
        if word in ("-h", "--help"):
            return None
        if not word.startswith("-") and before not in values:
            return word
    return None
