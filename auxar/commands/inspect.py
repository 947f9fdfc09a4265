"""The command `inspect`: lists the images of a file that `auxar compress` made."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import one_line

if TYPE_CHECKING:
    from auxar.coding.container import Container, Header
    from auxar.coding.index import Entry


def _shown(found: Container) -> Result:
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


@command("Share and store", show=_shown)
def inspect(path: str | PathLike[str]) -> Container:
    """Lists the images of a file that `auxar compress` made.

    The list has the sizes of the images, and the model with which they are decoded. No image is decoded.

    Args:
        path (FILE): the file

    Raises:
        UserError: it is no file of `auxar compress`, or its header or its index is damaged

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> drawn = auxar.sample("runs/quickstart", images=1, rule="map", seed=4)
        >>> made = auxar.compress("runs/quickstart", [drawn / "images"], "one.auxar")
        >>> found = auxar.inspect("one.auxar")
        >>> found.header.model, [(entry.name, entry.height, entry.width) for entry in found.entries]
        ('quickstart', [('000000.png', 32, 32)])
    """
    from auxar.arguments import as_path
    from auxar.coding.container import read_container

    return read_container(as_path(path, "path"))
