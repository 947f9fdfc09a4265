"""The contract check of commands."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from auxar.commandline import Result
from auxar.commandline.parser import Parser, add_command, arguments_of, documented
from auxar.files import to_json
from auxar.testing.laws import ContractError, broken

SLOW = ("PIL", "attrs", "datasets", "numpy", "torch")
"""Modules whose import takes long. `auxar --help` imports the modules of all commands."""


def check_command(function: Callable[..., Any], *arguments: object) -> Any:
    """Checks a command, and calls it with arguments as a command line has them. Returns what `--json` prints.

    The laws:

    - `registration`: the function has the decorator `auxar.command`.
    - `docstring`: it has a docstring, whose first sentence is the summary.
    - `parameters`: the section `Args:` of the docstring describes every parameter, and their types and options are
      those of a command line.
    - `light`: its module does not import PyTorch and other slow libraries, unless inside of functions.
    - `result`: its result is shown as an `auxar.Result`, whose record can be written as JSON.

    Raises `ContractError` for a law that is broken, and what the function raises.

    Examples:
        >>> from auxar.commands.recipes import recipes
        >>> check_command(recipes)[0]["name"]
        'quickstart'
    """
    name = f"{function.__module__}.{function.__name__}"
    if not hasattr(function, "__auxar__"):
        broken("registration", f"{name} needs the decorator `auxar.command`")
    if not documented(function).summary:
        broken("docstring", f"{name} needs a docstring, whose first sentence is the summary in `auxar --help`")
    parser = Parser(prog="auxar command")
    try:
        add_command(parser, function)
    except (TypeError, argparse.ArgumentError) as error:
        raise ContractError("parameters", f"{name}: {error}") from None
    parser.format_help()
    code = f"import sys, {function.__module__}; print(*sorted({{*{SLOW}}} & {{*sys.modules}}))"
    found = {"PYTHONPATH": os.pathsep.join(sys.path)}  # The tests of a package may run before it is installed.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | found)
    if done.returncode:
        broken("light", f"{function.__module__} cannot be imported: {done.stderr.strip().splitlines()[-1]}")
    if imported := done.stdout.split():
        broken("light", f"{function.__module__} imports {', '.join(imported)}; import them inside of functions")
    _, show = function.__auxar__
    result = show(function(**arguments_of(function, parser.parse_args([*map(str, arguments)]))))
    if (
        not isinstance(result, Result)
        or isinstance(result.lines, str)
        or not all(isinstance(line, str) for line in result.lines)
    ):
        broken("result", f"{name} is shown as {result!r}; expected an `auxar.Result` with lines of text")
    try:
        to_json(result.record)
    except (TypeError, ValueError) as error:
        broken("result", f"the record of {name} cannot be written as JSON: {error}")
    return result.record
