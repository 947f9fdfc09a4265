"""Decodes the images of a file to pictures, with the model that has the digests in the file, and lists them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import attrs

from auxar import ImageModel, Result, UserError, list_models, load
from auxar_codec.archive import Archiver, check_model
from auxar_codec.container import Container, Header
from auxar_codec.index import Entry
from auxar_codec.names import check_names, png_name
from auxar_codec.pictures import write_picture

RECORD = "integer.json"
"""The file in a run's folder that has the digests of its factors."""


@attrs.frozen
class Decompressed:
    """The result of `auxar.decompress`."""

    container: Container
    """The file: its `path`, its `header`, and the `entries` of its images."""
    paths: tuple[Path, ...] = ()
    """The written pictures; empty if the images were only listed."""
    damaged: tuple[str, ...] = ()
    """Names of the images that are damaged or missing, because the file was changed or cut."""


def model_of(container: Container, run: str | PathLike[str] | None, *, trust_plugins: bool) -> ImageModel:
    """The model with which a file is decoded: the model of `run` or, by default, the one with the file's digests.

    It is sought among the models that come trained, the runs in ./runs and the folders beside the file. Raises
    `UserError` if it is not found, if the run has another model, or if it cannot be loaded.
    """
    if run is not None:
        return _loaded(container, run, trust_plugins=trust_plugins)
    if trust_plugins:
        raise UserError("trust_plugins: plugins are trusted only of a run named with --run")
    problem = (
        f"{container.path} was made with the model {container.header.model!r:.100}, which is not among the models that "
        "come trained, the runs in ./runs and the folders beside the file; name its run with --run"
    )
    for place in _places(container):
        try:
            return _loaded(container, place)
        except UserError as error:
            problem = f"{container.path} was made with the model in {place}, which cannot be loaded: {error}"
    raise UserError(problem)


def _loaded(container: Container, run: str | PathLike[str], *, trust_plugins: bool = False) -> ImageModel:
    model = load(run, "cpu", arithmetic="integer", trust_plugins=trust_plugins)
    check_model(container, model)
    return model


def _places(container: Container) -> Iterator[Path]:
    """The names of models and the folders of runs that record the digests in a file."""
    places = [(Path(model.name), [model.path / RECORD, Path(model.name) / RECORD]) for model in list_models()]
    places += [(path, [path / RECORD]) for folder in (Path("runs"), container.path.parent) for path in folder.glob("*")]
    for place, records in sorted(places):
        found = "".join(record.read_text(encoding="utf-8", errors="replace") for record in records if record.is_file())
        if all(factor.digest in found for factor in container.header.factors):
            yield place


def targets_of(container: Container, folder: Path, only: Sequence[str], *, replace: bool) -> dict[str, Path]:
    """The file of the picture of each image, or of the images named in `only`, by the name of the image.

    Raises `UserError` if there is no image of a name, or if a file exists and must not be replaced.
    """
    names = [entry.name for entry in container.entries]
    for name in only:
        if name not in names:
            near = "".join(f"; did you mean {each!r}?" for each in difflib.get_close_matches(name, names, n=1))
            raise UserError(f"only: {container.path} has no image {name!r}{near}")
    chosen = [name for name in names if not only or name in only]
    check_names(map(Path, chosen))
    targets = {name: folder / png_name(name) for name in chosen}
    for target in targets.values():
        if os.path.lexists(target) and not (replace and target.is_file() and not target.is_symlink()):
            raise UserError(f"{target} exists; regular files are replaced only with --replace, and others never")
    return targets


def decompressed(container: Container, model: ImageModel, targets: dict[str, Path], depth: int) -> Decompressed:
    """Decodes images, given by name, or their views at a depth, and writes each to its file."""
    archiver = Archiver(model, container.header)
    chosen = [entry for entry in container.entries if entry.name in targets]
    written, damaged = [], []
    for entry, picture in archiver.decode(container, chosen, depth):
        if picture is None:
            damaged.append(entry.name)
        else:
            write_picture(targets[entry.name], picture)
            written.append(targets[entry.name])
    return Decompressed(container, tuple(written), tuple(damaged))


def listed(found: Container) -> Result:
    """The list of the images of a file, and the model with which they are decoded."""
    header = found.header
    lines = [f"model {header.model}, images of {header.tile}"]
    lines += [f"{factor.name:<10}{factor.digest}  lag {factor.lag}" for factor in header.factors]
    images = []
    for entry in found.entries:
        shape = [1 if entry.gray else header.channels, entry.height, entry.width]
        rate = 8 * entry.size / (shape[0] * shape[1] * shape[2])
        image = {"name": entry.name, "shape": shape, "bytes": entry.size, "bits_per_dim": rate}
        images.append(image | ({"condition": list(entry.condition)} if header.condition else {}))
        size = f"{entry.height}×{entry.width}×{shape[0]}"
        lines.append(f"{entry.name}  {size}  {entry.size:,} bytes  {rate:.3f} bits/dim{_condition(entry, header)}")
    factors = [{"factor": each.name, "digest": each.digest, "lag": each.lag} for each in header.factors]
    lines = [line.replace("\n", "\\n") for line in lines]
    return Result(lines, {"file": str(found.path), "model": header.model, "factors": factors, "images": images})


def _condition(entry: Entry, header: Header) -> str:
    """The condition that an image was coded given, as numbers; empty if the file has none."""
    if header.condition is None:
        return ""
    if entry.condition[0] < 0:
        return f"  no {header.condition.kind}"
    return f"  {header.condition.kind} {' '.join(map(str, entry.condition))}"
