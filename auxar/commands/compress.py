"""The command `compress`: writes pictures without loss into a file of about −log₂ p bits."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxar.commandline import Result, command
from auxar.errors import UserError

if TYPE_CHECKING:
    from auxar.coding.pictures import Picture
    from auxar.coding.results import Compressed
    from auxar.draw.loading import OpenedRun

logger = logging.getLogger("auxar")


def _shown(made: Compressed) -> Result:
    images = "1 image" if made.images == 1 else f"{made.images} images"
    line = f"{made.path}: {images}, {made.bytes:,} bytes, {made.bits_per_dim:.3f} bits/dim"
    record = {"file": str(made.path), "images": made.images, "bytes": made.bytes, "bits_per_dim": made.bits_per_dim}
    return Result([line], record)


@command("Share and store", show=_shown)
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
    """Compresses pictures without loss into one file, with a model in integers.

    An image x takes about −log₂ p(x) bits, and is decoded on every machine that has the same model. The run must have
    integers (`auxar integers`). Pictures may have any size; the model sees tiles of its own size. Gray and RGB pictures
    of 8 bits are kept, with their color profile and EXIF data.

    The pictures can be compressed in shards, each into a file of its own beside the new file, such as out-2-of-7.auxar.
    A shard that is done is not compressed again. Merging makes the new file of all shards, with the same bytes as
    without shards, and removes their files.

    Args:
        paths (PATH): image files, or folders of image files
        out (-o, --out FILE): the new file
        replace: replace the file if it exists
        condition (--condition KIND=VALUE): label or attributes of the pictures, one for all or one for each, for a
            model that is given them: label=NAME, attributes=NAME,NAME… or none (the default); they are kept in the file

    Raises:
        UserError: the run has no integers, two pictures have the same name, a part of a picture could not be kept, such
            as transparency, or the file exists

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
    from auxar.arguments import as_path, as_paths, check_flag
    from auxar.coding.archive import ARITHMETIC, archiver_of, write_archive
    from auxar.coding.container import read_container
    from auxar.coding.index import check_index
    from auxar.coding.names import check_names
    from auxar.coding.pictures import read_picture
    from auxar.coding.results import Compressed
    from auxar.coding.tiles import tile_counts
    from auxar.commands.compress_shards import is_compressed, merge_compressed, part_of, path_of
    from auxar.distributed.joining import working_together
    from auxar.distributed.shards import Division, Shard
    from auxar.draw.image_files import image_files
    from auxar.draw.loading import opened
    from auxar.files import check_output, check_replaceable, kind

    folder, path, files = as_path(run, "run"), as_path(out, "out"), as_paths(paths, "paths")
    check_flag(replace, "replace")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar compress: run this command in one process")
        division = Division.of(shard, merge, processes.count)
        check_replaceable(path, replace)
        found = image_files(files, "paths")
        check_names(found)
        # Too many shards are reported before the model is loaded.
        part = range(len(found)) if division.shard is None else part_of(division.shard, len(found))
        part_of(Shard(1, division.merge or 1), len(found))
        if kind(path) is not None and any(file.samefile(path) for file in found):
            raise UserError(f"{path} is one of the pictures; choose another name with -o")
        source = opened(folder, arithmetic=ARITHMETIC, trust_plugins=trust_plugins)
        source.accelerator()
        archiver = archiver_of(source.model.chain)
        every = _conditions(condition, source, len(found))
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
        check_index(names, tiles, len(archiver.coders), values)
        # A file may be given to others, so it has the name of the run's folder without the folders above it.
        header = archiver.header(Path(source.folder.name).name, conditioned=every is not None)

        def picture_at(number: int) -> Picture:
            return read_picture(found[part[number]])

        if division.merge is not None:
            words = f"auxar compress {source.folder.name} … -o {path}"
            entries = merge_compressed(path, header, names, every, picture_at, division.merge, words)
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
    return Compressed.of(path, entries, header.channels)


def _conditions(value: Any, run: OpenedRun, count: int) -> list[tuple[int, ...]] | None:
    """The values of the condition of each of `count` pictures; None for the null condition or without a condition."""
    from auxar.draw.conditions import as_conditions, reader_of
    from auxar.model import is_null

    condition = run.model.condition
    found = as_conditions(value, condition, reader_of(condition, run.recipe))
    rows = found.for_each(count, "pictures")
    if rows is None or bool(is_null(rows).all()):
        return None
    return [tuple(row) for row in rows.flatten(1).tolist()]
