"""`auxar --print-completion`: prints a script with which a shell completes the command line at Tab.

The script knows all commands and options, so that the shell does not start Python at Tab.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")
# In the script of shtab for bash, a function whose name ends in `_file` may return files.
BASH = """
_auxar_recipe_file() {
  compgen -W '%(RECIPE)s' -- "$1"
  compgen -f -X '!*.toml' -- "$1"
  compgen -d -S / -- "$1"
}
_auxar_run_file() {
  compgen -W '%(RUN)s' -- "$1"
  compgen -d -S / -- "$1"
}
"""
ZSH = """
_auxar_recipe_file() {
  compadd -- %(RECIPE)s
  _files -g '*.toml'
}
_auxar_run_file() {
  compadd -- %(RUN)s
  _files -/
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


def _names() -> dict[str, Sequence[str]]:
    from auxar.plugins import load_plugins
    from auxar.recipe.shipped import list_recipes
    from auxar.scaffold import KINDS

    registry = load_plugins()
    recipes = [recipe.name for recipe in list_recipes()]
    return {"RECIPE": recipes, "RUN": registry.names("model"), "RULE": registry.names("rule"), "KIND": KINDS}


def completion_script(parser: argparse.ArgumentParser, shell: str, words: Mapping[str, Sequence[str]]) -> str:
    """Returns the script for a shell, which completes commands, options, choices, files and folders.

    `words` has the names that complete arguments, by metavar: of recipes and of models, besides files and folders, and
    of rules and kinds of components.
    """
    import shtab

    completers = {
        **{"DIR": shtab.DIRECTORY, **dict.fromkeys(("FILE", "NAME|FILE", "PATH", "ROWS|MASK"), shtab.FILE)},
        "RECIPE": {"bash": "_auxar_recipe_file", "zsh": "_auxar_recipe_file", "tcsh": "f:*.toml"},
        "RUN": shtab.DIRECTORY | {"bash": "_auxar_run_file", "zsh": "_auxar_run_file"},
    }
    for action in _actions(parser):
        metavar = str(action.metavar)
        if metavar in completers:
            action.complete = completers[metavar]  # type: ignore[attr-defined]
        elif metavar in words:
            action.choices = words[metavar]
    names = {name: " ".join(found) for name, found in words.items()}
    return shtab.complete(parser, shell, preamble={"bash": BASH, "zsh": ZSH}.get(shell, "") % names)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yields the arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
