"""`auxar --print-completion`: prints a script with which a shell completes the command line at Tab.

The script knows all commands and options, so that the shell does not start Python at Tab.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
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


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Adds `--print-completion` to the parser of the command line."""
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=SHELLS,
        help="print a script that completes commands, options and files in this shell",
    )


class _PrintCompletion(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        from auxar.plugins import load_plugins
        from auxar.recipe.shipped import list_recipes

        recipes, models = [recipe.name for recipe in list_recipes()], load_plugins().names("model")
        print(completion_script(parser, str(values), recipes, models))
        parser.exit()


def completion_script(
    parser: argparse.ArgumentParser, shell: str, recipes: Sequence[str] = (), models: Sequence[str] = ()
) -> str:
    """Returns the script for a shell, which completes commands, options, choices, files and folders.

    `recipes` are names that the argument RECIPE accepts besides files, and `models` names that the argument RUN accepts
    besides folders.
    """
    import shtab

    from auxar.cli.options import RULES
    from auxar.scaffold import KINDS

    words = {
        "kinds": " ".join(KINDS),
        "rules": " ".join(RULES),
        "recipes": " ".join(recipes),
        "models": " ".join(models),
    }
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
