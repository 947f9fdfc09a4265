"""Decodes the images of a file to pictures, with the model that has the digests in the file, and lists them."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import attrs
import torch
from PIL import ExifTags, Image
from torch import Tensor

from auxar import Result, UserError, Work, list_models
from auxar_codec.archive import DECODED_DIMS, chunks_of, digest_of_factors, entry_of
from auxar_codec.coding import Codec, load_codec
from auxar_codec.container import Container
from auxar_codec.index import Entry
from auxar_codec.names import check_names, png_name
from auxar_codec.pictures import Picture, read_picture, write_picture

RECORD = "integer.json"
"""The file in a run's folder that has the digests of its factors."""


@attrs.frozen
class Decompressed:
    """The result of `auxar.decompress`."""

    container: Container
    """The file: its `path`, its `header`, and the `entries` of its images."""
    paths: tuple[Path, ...] = ()
    """The written pictures; empty if the images were only listed or checked."""
    damaged: tuple[str, ...] = ()
    """Names of the images that are damaged or missing, because the file was changed or cut."""
    checked: int | None = None
    """Number of images that were decoded, or are damaged, with `check`."""


def codec_of(container: Container, run: str | PathLike[str] | None, *, trust_plugins: bool) -> Codec:
    """The codec with which a file is decoded: the model of `run` or, by default, the one with the file's digests.

    It is sought among the models that come trained, the runs in ./runs and the folders beside the file, and among the
    older models of runs, which were exported before these were trained further. Raises
    `UserError` if it is not found, if the run has another model, or if it cannot be loaded.
    """
    if run is not None:
        places = Path(run).glob("older/*") if isinstance(run, str | PathLike) else ()
        older = (each for each in places if _has_digest(each / RECORD, container.header.digest))
        return _loaded(container, next(older, run), trust_plugins=trust_plugins)
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


def _loaded(container: Container, run: str | PathLike[str], *, trust_plugins: bool = False) -> Codec:
    return load_codec(run, trust_plugins=trust_plugins).fitting(container)


def _places(container: Container) -> Iterator[Path]:
    """The names of models and the folders of runs that record the digests in a file."""
    places = [(Path(model.name), [model.path / RECORD, Path(model.name) / RECORD]) for model in list_models()]
    for folder in (Path("runs"), container.path.parent):
        places += [(path, [path / RECORD]) for pattern in ("*", "*/older/*") for path in folder.glob(pattern)]
    for place, records in sorted(places):
        if any(_has_digest(record, container.header.digest) for record in records):
            yield place


def _has_digest(record: Path, digest: str) -> bool:
    """Whether a file that records the digests of a run's factors has those of a model with this digest.

    The model may have had no limits of its parameters.
    """
    try:
        factors = json.loads(record.read_text(encoding="utf-8"))["factors"]
        images = {name: factor for name, factor in factors.items() if name != "condition"}
        digests = {name: factor["digest"] for name, factor in images.items()}
        unlimited = {name: factor.get("unlimited") or factor["digest"] for name, factor in images.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    return digest in (digest_of_factors(digests), digest_of_factors(unlimited))


class Decompression(Work):
    """The work of decoding the pictures of a file, or their views at a depth, into a folder.

    `chosen` are the images that are decoded. Raises `UserError` if two have the same file, or if there is another file
    in the place of a picture, which is replaced only with `replace`.
    """

    def __init__(
        self, container: Container, codec: Codec, folder: Path, chosen: Sequence[Entry], depth: int, *, replace: bool
    ) -> None:
        names = [entry.name for entry in chosen]
        check_names(names, names)
        self.container, self.chosen, self.depth = container, chosen, depth
        self.archiver = codec.archiver(container.header)
        self.targets = {entry.name: folder / png_name(entry.name) for entry in self.chosen}
        self.damaged: list[str] | None = None
        """Names of the images that are damaged or missing, when all are decoded."""
        images = []
        for entry, record in container.records(self.chosen, coarse=depth > 0):
            target = self.targets[entry.name]
            replaceable = replace and target.is_file() and not target.is_symlink()
            if os.path.lexists(target) and not replaceable and not self._is_made(entry, record):
                raise UserError(f"{target} exists; regular files are replaced only with --replace, and others never")
            # The index alone does not tell a damaged file from a whole one.
            images.append((entry.name, entry.checksum, None if record is None else hashlib.sha256(record).hexdigest()))
        self.parts = chunks_of([self.archiver.size(entry) for entry in self.chosen], DECODED_DIMS)
        facts = {"header": container.header.table(), "images": images, "depth": depth}
        super().__init__(next(iter(self.targets.values())), facts, len(self.parts))

    def _is_made(self, entry: Entry, record: bytes | None) -> bool:
        """Whether the file of an image has exactly its picture, or its view."""
        if record is None:
            return False
        try:
            picture = read_picture(self.targets[entry.name])
            if self.depth > 0:
                return picture.exif == self._marked(entry, record, picture).exif
            before = entry_of(entry.name, picture, self.container.header.channels, entry.condition, entry.name)
        except UserError:
            return False
        return before == entry.before_encoding(record)

    def _marked(self, entry: Entry, record: bytes, view: Picture) -> Picture:
        """A view with a digest in its EXIF data: of its pixels, and of all that it was decoded from.

        No index has checksums of views, so this tells a view that was written from any other picture.
        """
        facts = repr((self.container.header, entry, self.depth, view.pixels.shape)).encode()
        exif = Image.Exif()
        exif[ExifTags.Base.ImageUniqueID] = hashlib.sha256(facts + record + view.pixels.tobytes()).hexdigest()[:32]
        return attrs.evolve(view, exif=exif.tobytes())

    def compute(self, number: int) -> dict[str, Tensor]:
        """Decodes the images of a chunk, and writes those whose files do not have them.

        Returns the checksum of the file of each, or -1 if the image is damaged.
        """
        entries = self.chosen[self.parts[number]]
        found = self.container.records(entries, coarse=self.depth > 0)
        records = {entry.name: record for entry, record in found if not self._is_made(entry, record)}
        damaged = []
        missing = [entry for entry in entries if entry.name in records]
        for entry, picture in self.archiver.decode(self.container, missing, self.depth):
            if picture is None or (record := records[entry.name]) is None:
                damaged.append(entry.name)
            else:
                marked = self._marked(entry, record, picture) if self.depth > 0 else picture
                write_picture(self.targets[entry.name], marked)
        names = [entry.name for entry in entries]
        return {"files": torch.tensor([-1 if name in damaged else _checksum(self.targets[name]) for name in names])}

    def check(self, number: int, found: dict[str, Tensor]) -> None:
        """Raises `UserError` unless the pictures of a chunk are there as they were written."""
        for entry, checksum in zip(self.chosen[self.parts[number]], found["files"].tolist(), strict=True):
            target = self.targets[entry.name]
            if checksum >= 0 and _checksum(target) != checksum:
                raise UserError(f"{target} is missing, or not the picture that was written")

    def conclude(self, found: list[dict[str, Tensor]]) -> None:
        """Notes which images are damaged."""
        checksums = torch.cat([each["files"] for each in found]).tolist()
        self.damaged = [entry.name for entry, own in zip(self.chosen, checksums, strict=True) if own < 0]

    def is_concluded(self) -> bool:
        """Whether this process knows that all images are decoded. Their files have them, so others find this, too."""
        return self.damaged is not None

    def result(self) -> Decompressed:
        """The pictures and the names of damaged images."""
        damaged = self.damaged or []
        paths = [target for name, target in self.targets.items() if name not in damaged]
        return Decompressed(self.container, tuple(paths), tuple(damaged))


def _checksum(file: Path) -> int:
    """The CRC-32 of a file, or -2 if there is no regular file."""
    return zlib.crc32(file.read_bytes()) if file.is_file() else -2


def listed(found: Container) -> Result:
    """The list of the images of a file, and the model with which they are decoded."""
    header = found.header
    tiles = f"tiles of {header.height}×{header.width}" if header.height else "images without tiles"
    lines = [f"model {header.model}, {tiles}, digest {header.digest}, lags {' '.join(map(str, header.lags))}"]
    images = []
    for entry in found.entries:
        shape = [1 if entry.gray else header.channels, entry.height, entry.width]
        rate = 8 * entry.size / (shape[0] * shape[1] * shape[2])
        image = {"name": entry.name, "shape": shape, "bytes": entry.size, "bits_per_dim": rate}
        images.append(image | ({"condition": list(entry.condition)} if header.condition else {}))
        size = f"{entry.height}×{entry.width}×{shape[0]}"
        given = ""
        if header.condition is not None:
            kind, numbers = header.condition.kind, " ".join(map(str, entry.condition))
            given = f"  no {kind}" if entry.condition[0] < 0 else f"  {kind} {numbers}"
        lines.append(f"{entry.name}  {size}  {entry.size:,} bytes  {rate:.3f} bits/dim{given}")
    lines = [line.replace("\n", "\\n") for line in lines]
    return Result(lines, {"file": str(found.path), **header.table(), "images": images})
