"""`auxar --print-completion`: prints a script with which a shell completes the command line at Tab.

The script knows all commands and options, so that the shell does not start Python at Tab.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")
COMPLETED = {
    **{"DIR": "folder", "RUN": "run", "FILE": "file", "PATH": "file", "ROWS|MASK": "file"},
    **{"RECIPE": "recipe", "KIND": "kind", "RULE": "rule"},
}
"""The name of the completer of an argument, by its metavar. Other arguments are completed if they have choices."""
# In the script of shtab for bash, a function whose name ends in `_file` may return files.
BASH = """
_auxar_recipe_file() {
  compgen -W '%(recipes)s' -- "$1"
  compgen -f -X '!*.toml' -- "$1"
  compgen -d -S / -- "$1"
}
_auxar_run_file() {
  compgen -W '%(models)s' -- "$1"
  compgen -d -S / -- "$1"
}
_auxar_kind() {
  compgen -W '%(kinds)s' -- "$1"
}
_auxar_rule() {
  compgen -W '%(rules)s' -- "$1"
}
"""
ZSH = """
_auxar_recipe_file() {
  compadd -- %(recipes)s
  _files -g '*.toml'
}
_auxar_run_file() {
  compadd -- %(models)s
  _files -/
}
_auxar_kind() {
  compadd -- %(kinds)s
}
_auxar_rule() {
  compadd -- %(rules)s
}
"""


def add_completion(parser: argparse.ArgumentParser, full: Callable[[], argparse.ArgumentParser]) -> None:
    """Adds `--print-completion` to the parser of the command line. `full` makes a parser of all commands."""

    class Print(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, _: Any, values: Any, option: str | None = None) -> None:
            print(completion_script(full(), str(values), _names()))
            parser.exit()

    parser.add_argument(
        "--print-completion",
        action=Print,
        choices=SHELLS,
        help="print a script that completes commands, options and files in this shell",
    )


def _names() -> dict[str, str]:
    from auxar.plugins import load_plugins
    from auxar.recipe.shipped import list_recipes
    from auxar.scaffold import KINDS

    registry = load_plugins()
    words = {"models": registry.names("model"), "rules": registry.names("rule"), "kinds": KINDS}
    words["recipes"] = [recipe.name for recipe in list_recipes()]
    return {name: " ".join(found) for name, found in words.items()}


def completion_script(parser: argparse.ArgumentParser, shell: str, words: Mapping[str, str]) -> str:
    """Returns the script for a shell, which completes commands, options, choices, files and folders.

    `words` has names that complete arguments besides files and folders, separated by spaces: `recipes` for RECIPE,
    `models` for RUN, `rules` for RULE, and `kinds` of components for KIND.
    """
    import shtab

    completers = {
        "folder": shtab.DIRECTORY,
        "file": shtab.FILE,
        "recipe": {"bash": "_auxar_recipe_file", "zsh": "_auxar_recipe_file", "tcsh": "f:*.toml"},
        "run": {"bash": "_auxar_run_file", "zsh": "_auxar_run_file", "tcsh": shtab.DIRECTORY["tcsh"]},
        "kind": {"bash": "_auxar_kind", "zsh": "_auxar_kind", "tcsh": f"({words['kinds']})"},
        "rule": {"bash": "_auxar_rule", "zsh": "_auxar_rule", "tcsh": f"({words['rules']})"},
    }
    for action in _actions(parser):
        if isinstance(action.metavar, str) and action.metavar in COMPLETED:
            action.complete = completers[COMPLETED[action.metavar]]  # type: ignore[attr-defined]
    return shtab.complete(parser, shell, preamble={"bash": BASH, "zsh": ZSH}.get(shell, "") % words)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yields the arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
