"""`auxar export`: writes a small, complete folder of a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_json, add_run, add_trust
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `export` to the parser."""
    parser = commands.add_parser(
        "export",
        help="write a small, complete folder of a finished run, to share it",
        description="Writes a new folder with the recipe of a finished run, the weights of its factors, the history of "
        "their training, its plugin files and its evaluation, without checkpoints, images and absolute paths of this "
        "machine. Such a folder is read like any run, and a plugin can register it as a model that comes trained. It "
        "cannot be trained further; training.init starts a new run from its weights.",
    )
    add_run(parser)
    parser.add_argument("out", type=Path, metavar="DIR", help="the new folder")
    parser.add_argument(
        "--half",
        action="store_true",
        help="store weights as float16, in half the space; rounding changes the model, so the evaluation is left out",
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="evaluate the exported model on the run's images, as `auxar evaluate`"
    )
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> Result:
    from auxar.commands.export import export

    run = export(
        options.run,
        options.out,
        half=options.half,
        evaluate=options.evaluate,
        trust_plugins=options.trust_plugins,
    )
    files = sorted(path for path in run.path.rglob("*") if path.is_file())
    sizes = {path.relative_to(run.path).as_posix(): path.stat().st_size for path in files}
    record = {"run": str(run.path), "files": [{"file": file, "bytes": size} for file, size in sizes.items()]}
    return Result([str(run.path)], record)
