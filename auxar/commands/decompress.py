"""The command `decompress`: decodes the images of a file that `auxar compress` made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import UserError, did_you_mean, one_line, shown

if TYPE_CHECKING:
    from auxar.coding.container import Container
    from auxar.coding.index import Entry
    from auxar.coding.results import Decompressed


def _shown(found: Decompressed) -> Result:
    record = {"files": [str(path) for path in found.paths], "damaged": list(found.damaged)}
    mistake = None
    if found.damaged:
        names = ", ".join(one_line(name) for name in found.damaged)
        mistake = UserError(f"{found.file}: these images are damaged or missing: {names}")
    return Result([one_line(str(path)) for path in found.paths], record, mistake)


@command("Share and store", show=_shown)
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
    """Decodes the images of a file that `auxar compress` made.

    The images are written as PNG into a folder. Images that are damaged or missing are left out and named, and the exit
    status of the command is then 2.

    Args:
        path (FILE): the file
        out (-o, --out DIR): folder for the pictures
        only: decode only the images of these names
        depth (K): decode the views at this depth, which are smaller and take less time (default: 0, the images)
        run: the run, or the name of a model, with which the images are decoded (default: the one with the digests in
            the file, among the models that come trained, the runs in ./runs and the folders beside the file)
        replace: replace pictures that exist
        trust_plugins: load the plugin files of the run, which must then be named; they are code that runs with your
            rights, so read them first

    Raises:
        UserError: the file has no images of these names, its header is damaged, its model is not found, the run has
            another model, or a picture exists

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> drawn = auxar.sample("runs/quickstart", images=2, rule="map", seed=5)
        >>> made = auxar.compress("runs/quickstart", [drawn / "images"], "two.auxar")
        >>> found = auxar.decompress("two.auxar", "small", depth=2, only=["000001.png"], run="runs/quickstart")
        >>> [path.as_posix() for path in found.paths], found.damaged
        (['small/000001.png'], ())
    """
    from auxar.arguments import as_integer, as_path, check_flag, check_strings
    from auxar.coding.archive import ARITHMETIC, archiver_of
    from auxar.coding.container import read_container
    from auxar.coding.finding import find_model
    from auxar.coding.names import png_name
    from auxar.coding.pictures import write_picture
    from auxar.coding.results import Decompressed
    from auxar.distributed.joining import working_together
    from auxar.draw.loading import opened

    file, folder = as_path(path, "path"), as_path(out, "out")
    check_flag(replace, "replace")
    check_strings(only, "only", "names of images")
    deep = as_integer(depth, "depth")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar decompress: run this command in one process")
        container = read_container(file)
        if not 0 <= deep < len(container.header.factors):
            raise UserError(f"depth: expected 0 … {len(container.header.factors) - 1} for this file, got {deep}")
        chosen = _chosen(container, only)
        targets = {entry.name: folder / png_name(entry.name) for entry in chosen}
        _check_targets(targets.values(), replace)
        place = find_model(container) if run is None else as_path(run, "run")
        if trust_plugins and run is None:
            raise UserError(
                f"trust_plugins: the model was found by the digests in {file}, and plugins are trusted only of a run "
                f"that you name; if you trust {place}, add --run {place}"
            )
        source = opened(place, arithmetic=ARITHMETIC, trust_plugins=trust_plugins)
        source.accelerator()
        archiver = archiver_of(source.model.chain)
        archiver.check(container)
        written, damaged = [], []
        for entry, picture in archiver.decode(container, chosen, deep):
            if picture is None:
                damaged.append(entry.name)
            else:
                write_picture(targets[entry.name], picture)
                written.append(targets[entry.name])
    return Decompressed(file, tuple(written), tuple(damaged))


def _chosen(container: Container, only: Sequence[str]) -> tuple[Entry, ...]:
    names = [entry.name for entry in container.entries]
    for name in only:
        if name not in names:
            raise UserError(f"only: {container.path} has no image {shown(name)}{did_you_mean(name, names)}")
    return tuple(entry for entry in container.entries if not only or entry.name in only)


def _check_targets(targets: Iterable[Path], replace: bool) -> None:
    from auxar.coding.names import name_on_disk
    from auxar.files import check_replaceable

    seen: set[str] = set()
    for target in targets:
        if (name := name_on_disk(target.name)) in seen:
            raise UserError(f"two images would be written to {target}; decode them one at a time with --only")
        seen.add(name)
        check_replaceable(target, replace)
