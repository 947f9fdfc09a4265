"""`auxar inspect`: lists the images of a file that `auxar compress` made."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from auxar.cli.options import add_json
from auxar.cli.output import Result
from auxar.errors import one_line

if TYPE_CHECKING:
    from auxar.coding.container import Header
    from auxar.coding.index import Entry


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `inspect` to the parser."""
    parser = commands.add_parser(
        "inspect",
        help="list the images of a file that `auxar compress` made",
        description="Prints which images a file has, their sizes, and the model with which they are decoded.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the file")
    add_json(parser)
    parser.set_defaults(command=_inspect)


def _inspect(options: argparse.Namespace) -> Result:
    from auxar.commands.decompress import inspect

    found = inspect(options.file)
    header = found.header
    lines = [f"model {one_line(header.model)}, images of {header.tile}"]
    lines += [f"{one_line(factor.name):<10}{one_line(factor.digest)}  lag {factor.lag}" for factor in header.factors]
    images = []
    for entry in found.entries:
        channels = 1 if entry.gray else header.channels
        size = f"{entry.height}×{entry.width}×{channels}"
        rate = 8 * entry.size / (entry.height * entry.width * channels)
        given = f"  {_condition(entry, header)}" if header.condition else ""
        lines.append(f"{one_line(entry.name)}  {size}  {entry.size:,} bytes  {rate:.3f} bits/dim{given}")
        shape = [channels, entry.height, entry.width]
        image = {"name": entry.name, "shape": shape, "bytes": entry.size, "bits_per_dim": rate}
        images.append(image | ({"condition": list(entry.condition)} if header.condition else {}))
    factors = [{"factor": each.name, "digest": each.digest, "lag": each.lag} for each in header.factors]
    record = {"file": str(found.path), "model": header.model, "factors": factors, "images": images}
    return Result(lines, record)


def _condition(entry: Entry, header: Header) -> str:
    """The condition that an image was coded given, as numbers."""
    assert header.condition is not None
    if entry.condition[0] < 0:
        return f"no {header.condition.kind}"
    return f"{header.condition.kind} {' '.join(map(str, entry.condition))}"
