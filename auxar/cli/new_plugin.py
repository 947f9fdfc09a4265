"""`auxar new-plugin`: a package of one's own to start from."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "new-plugin",
        help="write a plugin package to start from",
        description="Writes the folder NAME with an installable package that provides one component, its tests and a "
        "recipe that uses it. The tests pass as they are. Nothing is overwritten.",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help="name of the package, such as auxar-halftone; recipes know the component without the auxar-",
    )
    parser.add_argument(
        "--kind", required=True, metavar="KIND", help="what it provides: view, prior, embedding, decoder or sampler"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where the folder is written (default: here)"
    )
    parser.set_defaults(command=_new_plugin)


def _new_plugin(options: argparse.Namespace) -> None:
    from auxar.scaffold import write_plugin

    folder, files = write_plugin(options.name, options.kind, options.out)
    print(f"{folder}:")
    for file in files:
        print(f"    {file}")
    print(f"next: its README.md, or at once: cd {folder} && pip install -e '.[test]' && pytest")
