"""The commands `decompress` and `inspect`, which read files that `auxar compress` made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path

import attrs

from auxar.arguments import as_integer, as_path, check_flag, check_strings
from auxar.coding.container import Container, read_container
from auxar.coding.index import Entry
from auxar.coding.names import name_on_disk, png_name
from auxar.coding.pictures import write_picture
from auxar.commands.compress import ARITHMETIC, archiver_of, check_new
from auxar.commands.opening import open_trained
from auxar.distributed.joining import working_together
from auxar.errors import UserError, did_you_mean, shown
from auxar.files import FOLDER, entries, kind
from auxar.plugins import load_plugins
from auxar.runs.converted import digests_of
from auxar.runs.models import find_run
from auxar.runs.wrong_path import DEFAULT


@attrs.frozen
class Decompressed:
    """The result of `auxar.decompress`."""

    paths: tuple[Path, ...]
    """The written pictures."""
    damaged: tuple[str, ...]
    """Names of the images that are damaged or missing, because the file was changed or cut."""


def inspect(path: str | PathLike[str]) -> Container:
    """Reads which images a file has, and with which model they are decoded, without decoding them.

    Raises `UserError` if it is no file of `auxar.compress`, or if its header or its index is damaged.

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> drawn = auxar.sample("runs/quickstart", images=1, rule="map", seed=4)
        >>> made = auxar.compress("runs/quickstart", [drawn / "images"], "one.auxar")
        >>> found = auxar.inspect("one.auxar")
        >>> found.header.model, [(entry.name, entry.height, entry.width) for entry in found.entries]
        ('quickstart', [('000000.png', 32, 32)])
    """
    return read_container(as_path(path, "path"))


def decompress(
    path: str | PathLike[str],
    out: str | PathLike[str],
    *,
    only: Sequence[str] = (),
    depth: int = 0,
    run: str | PathLike[str] | None = None,
    replace: bool = False,
    trust_plugins: bool = False,
) -> Decompressed:
    """Decodes the images of a file, and writes them as PNG into the folder `out`.

    `only` names the images to decode; all are decoded if it is empty. With a `depth` above 0, the views at this depth
    are decoded, which are smaller and take less time. The model is that of `run`, or it is found by the digests in the
    file among the models that come trained, the runs in ./runs and the folders beside the file. Existing pictures are
    replaced only if `replace` is True. Images that are damaged or missing are left out and named in the result. With
    `trust_plugins`, `run` must be given.

    Raises `UserError` if the file has no images of these names, if its header is damaged, if its model is not found, if
    `run` has another model, or if a picture exists.

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> drawn = auxar.sample("runs/quickstart", images=2, rule="map", seed=5)
        >>> made = auxar.compress("runs/quickstart", [drawn / "images"], "two.auxar")
        >>> found = auxar.decompress("two.auxar", "small", depth=2, only=["000001.png"], run="runs/quickstart")
        >>> [path.as_posix() for path in found.paths], found.damaged
        (['small/000001.png'], ())
    """
    file, folder = as_path(path, "path"), as_path(out, "out")
    check_flag(replace, "replace")
    check_strings(only, "only", "names of images")
    deep = as_integer(depth, "depth")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar decompress: run this command in one process")
        container = read_container(file)
        if not 0 <= deep < len(container.header.factors):
            raise UserError(f"--depth {deep}: expected 0 … {len(container.header.factors) - 1} for this file")
        chosen = _chosen(container, only)
        targets = {entry.name: folder / png_name(entry.name) for entry in chosen}
        _check_targets(targets.values(), replace)
        place = find_model(container, None if run is None else as_path(run, "run"))
        if trust_plugins and run is None:
            raise UserError(
                f"--trust-plugins: the model was found by the digests in {file}, and plugins are trusted only of a run "
                f"that you name; if you trust {place}, add --run {place}"
            )
        archiver = archiver_of(open_trained(place, (), arithmetic=ARITHMETIC, trust_plugins=trust_plugins))
        archiver.check(container)
        written, damaged = [], []
        for entry, picture in archiver.decode(container, chosen, deep):
            if picture is None:
                damaged.append(entry.name)
            else:
                write_picture(targets[entry.name], picture)
                written.append(targets[entry.name])
    return Decompressed(tuple(written), tuple(damaged))


def find_model(container: Container, run: Path | None) -> Path:
    """The run, or the name of a model that comes trained, with which a file is decoded.

    Raises `UserError` if none of the known ones has the digests in the file.
    """
    if run is not None:
        return run
    header = container.header
    for place in _places(container):
        try:
            found = digests_of(find_run(place), ARITHMETIC)
        except UserError:  # It is no run, or it cannot be read.
            continue
        if all(found.get(factor.name) == factor.digest for factor in header.factors):
            return place
    raise UserError(
        f"{container.path} was made with the model {shown(header.model)}, which is not among the models that come "
        "trained, the runs in ./runs and the folders beside the file; name its run with --run"
    )


def _places(container: Container) -> Iterator[Path]:
    yield from map(Path, load_plugins().names("model"))
    for folder in (DEFAULT, container.path.parent):
        with contextlib.suppress(UserError):  # The folder may not be readable.
            if kind(folder, follow_links=True) == FOLDER:
                yield from entries(folder)


def _chosen(container: Container, only: Sequence[str]) -> tuple[Entry, ...]:
    names = [entry.name for entry in container.entries]
    for name in only:
        if name not in names:
            raise UserError(f"--only: {container.path} has no image {shown(name)}{did_you_mean(name, names)}")
    return tuple(entry for entry in container.entries if not only or entry.name in only)


def _check_targets(targets: Iterable[Path], replace: bool) -> None:
    seen: set[str] = set()
    for target in targets:
        if (name := name_on_disk(target.name)) in seen:
            raise UserError(f"two images would be written to {target}; decode them one at a time with --only")
        seen.add(name)
        check_new(target, replace)
