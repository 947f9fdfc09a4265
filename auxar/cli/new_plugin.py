"""`auxar new-plugin`: writes the template of a plugin package."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `new-plugin` to the parser."""
    parser = commands.add_parser(
        "new-plugin",
        help="write the template of a plugin package",
        description="Writes the folder NAME with an installable package that provides one component, its tests and a "
        "recipe that uses it. The tests pass without changes. If the folder exists, the command fails.",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help="name of the package, such as auxar-halftone; in recipes, the component is named without auxar-",
    )
    parser.add_argument(
        "--kind",
        required=True,
        metavar="KIND",
        help="kind of the component: view, network, embedding, head, sampler or dataset",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder in which NAME is created (default: the current folder)",
    )
    parser.set_defaults(command=_new_plugin)


def _new_plugin(options: argparse.Namespace) -> Result:
    from auxar.scaffold import write_plugin

    folder, files = write_plugin(options.name, options.kind, options.out)
    advice = f"Next, read {folder}/README.md, or run the tests: cd {folder} && pip install -e '.[test]' && pytest"
    return Result([f"{folder}:", *(f"    {file}" for file in files), advice])
