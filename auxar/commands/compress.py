"""The command `compress`: writes pictures without loss into a file of about −log₂ p bits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs

from auxar.arguments import as_path, as_paths, check_flag
from auxar.coding.archive import Archiver, write_archive
from auxar.coding.container import read_container
from auxar.coding.index import MOST_INDEX, Entry, index_bytes
from auxar.coding.names import name_on_disk, png_name, problem_of_name
from auxar.coding.pictures import Picture, read_picture
from auxar.coding.tiles import tile_counts
from auxar.commands.compress_shards import is_compressed, merge_compressed, part_of, path_of
from auxar.commands.opening import TrainedRun, open_trained
from auxar.distributed.joining import working_together
from auxar.distributed.shards import Division, Shard
from auxar.errors import UserError, one_line
from auxar.files import check_output, kind
from auxar.generation.conditions import as_conditions, reader_of
from auxar.generation.image_files import images_at
from auxar.model import is_null
from auxar.recipe.building import own_sampler

logger = logging.getLogger("auxar")

ARITHMETIC = "integer"
"""The arithmetic of files. Its frequencies are the same on every machine."""


@attrs.frozen
class Compressed:
    """The result of `auxar.compress`."""

    path: Path
    """The file."""
    images: int
    """Number of images."""
    bytes: int
    """Size of the file."""
    sub_pixels: int
    """Number of sub-pixels of all images."""

    @property
    def bits_per_dim(self) -> float:
        """Bits of the file for each sub-pixel of its images."""
        return 8 * self.bytes / self.sub_pixels


def compress(
    run: str | PathLike[str],
    paths: Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    replace: bool = False,
    condition: Any = None,
    shard: str | None = None,
    merge: int | None = None,
    trust_plugins: bool = False,
) -> Compressed:
    """Compresses pictures without loss into the file `out`, with the model of a run in integers.

    `run` is a run's folder, or the name of a model that comes trained, that was converted with `auxar.integers`.
    `paths` are image files, or folders of image files. Pictures may have any size; the model sees tiles of its own
    size. Gray and RGB pictures of 8 bits are kept, with their color profile and EXIF data. An existing file is replaced
    only if `replace` is True.

    `condition` is the label or the attributes of all pictures, or a list with those of each, for a model that is given
    them, as for `ImageModel.sample`. They are kept in the file. None is the null condition.

    With `shard="2/7"`, only the second of seven parts of the pictures is compressed, into a file of its own beside
    `out`, such as `out-2-of-7.auxar`. Several shards may be compressed at the same time, also on different machines
    that share the folder. A shard that is done is not compressed again. When all are done, `merge=7` makes `out` of
    them, with the same bytes as without shards, and removes their files.

    Raises `UserError` if the run has no integers, if two pictures have the same name, if a part of a picture could not
    be kept, such as transparency, or if the file exists.

    Examples:
        >>> import auxar
        >>> drawn = auxar.sample("runs/quickstart", images=2, rule="map", seed=3)
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> packed = auxar.compress("runs/quickstart", [drawn / "images"], "drawn.auxar")
        >>> packed.images, packed.sub_pixels
        (2, 6144)
        >>> auxar.inspect("drawn.auxar").entries[0].name
        '000000.png'
        >>> [path.name for path in auxar.decompress("drawn.auxar", "out", run="runs/quickstart").paths]
        ['000000.png', '000001.png']
    """
    folder, path, files = as_path(run, "run"), as_path(out, "out"), as_paths(paths, "paths")
    check_flag(replace, "replace")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar compress: run this command in one process")
        division = Division.of(shard, merge, processes.count)
        check_new(path, replace)
        found = [file for each in files for file in images_at(each)]
        if not found:
            raise UserError("auxar compress: expected at least one image file, or a folder of images")
        _check_names(found)
        # Too many shards are reported before the model is loaded.
        part = range(len(found)) if division.shard is None else part_of(division.shard, len(found))
        part_of(Shard(1, division.merge or 1), len(found))
        if kind(path) is not None and any(file.samefile(path) for file in found):
            raise UserError(f"{path} is one of the pictures; choose another name with -o")
        opened = open_trained(folder, (), arithmetic=ARITHMETIC, trust_plugins=trust_plugins)
        archiver = archiver_of(opened)
        every = _conditions(condition, opened, len(found))
        # Encoding takes long, so all pictures are checked before it begins.
        tiles = 0
        for file in (found[number] for number in part):
            picture = read_picture(file)
            archiver.check_picture(picture, file)
            _, height, width = picture.pixels.shape
            rows, columns = tile_counts(height, width, archiver.model.image)
            tiles += rows * columns
        values = 0 if every is None else len(every[0])
        names = [found[number].name for number in part]
        _check_index(names, tiles, len(archiver.coders), values)
        # A file may be given to others, so it has the name of the run's folder without the folders above it.
        header = archiver.header(Path(opened.folder.name).name, conditioned=every is not None)

        def picture_at(number: int) -> Picture:
            return read_picture(found[part[number]])

        if division.merge is not None:
            command = f"auxar compress {opened.folder.name} … -o {path}"
            entries = merge_compressed(path, header, names, every, picture_at, division.merge, command)
        elif division.shard is not None:
            conditions = None if every is None else [every[number] for number in part]
            path = path_of(division.shard, path)
            if is_compressed(path, header, names, conditions, picture_at, replace=replace):
                logger.info("the shard %s is already done: %s", division.shard, path)
                entries = list(read_container(path).entries)
            else:
                check_output(path)
                entries = write_archive(path, archiver, header, names, picture_at, conditions, sealed=True)
        else:
            entries = write_archive(path, archiver, header, names, picture_at, every)
    return Compressed(path, len(entries), path.stat().st_size, sub_pixels(entries, header.channels))


def _conditions(value: Any, run: TrainedRun, count: int) -> list[tuple[int, ...]] | None:
    """The values of the condition of each of `count` pictures; None for the null condition or without a condition."""
    condition = run.model.condition
    found = as_conditions(value, condition, reader_of(condition, run.recipe))
    rows = found.for_each(count, "pictures")
    if rows is None or bool(is_null(rows).all()):
        return None
    return [tuple(row) for row in rows.flatten(1).tolist()]


def sub_pixels(entries: Sequence[Entry], channels: int) -> int:
    """The number of sub-pixels of images whose colors have `channels` channels."""
    return sum(entry.height * entry.width * (1 if entry.gray else channels) for entry in entries)


def archiver_of(run: TrainedRun) -> Archiver:
    """The archiver of a run. It works on the CPU, where sums of integers are exact with every library."""
    return Archiver(run.model.to("cpu"), own_sampler(run.model))


def check_new(path: Path, replace: bool) -> None:
    """Raises `UserError` if there is a file that must not be replaced, or something else than a file."""
    if not replace and kind(path) is not None:
        raise UserError(f"{path} exists; files are replaced only with --replace")
    check_output(path)


def _check_index(names: Sequence[str], tiles: int, factors: int, values: int) -> None:
    if (size := index_bytes(names, tiles, factors, values)) > MOST_INDEX:
        raise UserError(
            f"these {len(names):,} pictures have {tiles:,} tiles, whose index would have {size:,} bytes, and at most "
            f"{MOST_INDEX:,} are allowed; compress them into several files"
        )


def _check_names(files: Sequence[Path]) -> None:
    known: dict[str, Path] = {}
    for file in files:
        if (problem := problem_of_name(file.name)) is not None:
            raise UserError(f"{one_line(str(file))} cannot be compressed: the name of an image is kept, and {problem}")
        other = known.setdefault(name_on_disk(file.name), file)
        if other is not file:
            raise UserError(
                f"{one_line(str(other))} and {one_line(str(file))} would be decompressed to the same file "
                f"{one_line(png_name(file.name))}; rename one of them"
            )
