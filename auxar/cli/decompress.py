"""`auxar decompress`: decodes the images of a file that `auxar compress` made."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_json, add_trust, integer
from auxar.cli.output import Result
from auxar.errors import UserError, one_line


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `decompress` to the parser."""
    parser = commands.add_parser(
        "decompress",
        help="decode the images of a file that `auxar compress` made",
        description="Decodes the images of a file, and writes them as PNG into a folder. The model is found by the "
        "digests in the file, among the models that come trained, the runs in ./runs and the folders beside the file. "
        "Images that are damaged or missing are left out and named, and the exit status is then 2.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the file")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="decode only the images of these names")
    parser.add_argument(
        "--depth",
        type=integer,
        default=0,
        metavar="K",
        help="decode the views at this depth, which are smaller and take less time (default: 0, the images)",
    )
    parser.add_argument("--run", type=Path, metavar="RUN", help="the run, or the name of a model")
    parser.add_argument("--replace", action="store_true", help="replace pictures that exist")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_decompress)


def _decompress(options: argparse.Namespace) -> Result:
    from auxar.commands.decompress import decompress

    found = decompress(
        options.file,
        options.out,
        only=options.only,
        depth=options.depth,
        run=options.run,
        replace=options.replace,
        trust_plugins=options.trust_plugins,
    )
    record = {"files": [str(path) for path in found.paths], "damaged": list(found.damaged)}
    mistake = None
    if found.damaged:
        names = ", ".join(one_line(name) for name in found.damaged)
        mistake = UserError(f"{options.file}: these images are damaged or missing: {names}")
    return Result([one_line(str(path)) for path in found.paths], record, mistake)
