"""Lossless files of images: `codec`, the commands `compress` and `decompress`, and the format of the files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxar import Result, UserError, as_path, check_flag, command

if TYPE_CHECKING:
    from auxar import ImageModel
    from auxar_codec.coding import Codec
    from auxar_codec.compression import Compressed
    from auxar_codec.decompression import Decompressed


def codec(run: str | PathLike[str] | ImageModel, *, trust_plugins: bool = False) -> Codec:
    """Loads a model in integers, which encodes pictures to the content of a file, and decodes them.

    The model stays loaded, and `auxar.compress` and `auxar.decompress` make and read the same files.

    Args:
        run: The run, the name of a model, or a model that was loaded with `arithmetic="integer"` on the CPU.
        trust_plugins: Load the plugin files of the run.

    Raises:
        UserError: the run cannot be loaded, or has no integers

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> codec = auxar.codec("runs/quickstart")
        >>> file = codec.encode(codec.model.sample(2), names=["a", "b"])
        >>> {name: picture.size for name, picture in codec.decode(file).items()}
        {'a': (32, 32), 'b': (32, 32)}
        >>> codec.decode(file, only=["b"], depth=2)["b"].size
        (8, 8)
    """
    from auxar_codec.coding import load_codec

    return load_codec(run, trust_plugins=trust_plugins)


def _shown(made: Compressed) -> Result:
    images = "1 image" if made.images == 1 else f"{made.images} images"
    record = {"file": str(made.path), "images": made.images, "bytes": made.bytes, "bits_per_dim": made.bits_per_dim}
    size = f"{made.bytes:,} bytes ({made.bytes_before:,} before)"
    return Result([f"{made.path}: {images}, {size}, {made.bits_per_dim:.3f} bits/dim"], record)


@command("Share and store", show=_shown)
def compress(
    run: str | PathLike[str],
    paths: Iterable[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    tile: str | None = None,
    replace: bool = False,
    skip: bool = False,
    condition: Any = None,
    trust_plugins: bool = False,
) -> Compressed:
    """Compresses pictures without loss into one file, with a model.

    An image x takes about −log₂ p(x) bits, and is decoded on every machine that has the same model. The run must have
    integers (`auxar integers`). Pictures may have any size; a model whose networks work at one size sees tiles of this
    size. A picture that a model makes larger is stored as it is. Gray and RGB pictures of 8 bits are kept, with their
    color profile and EXIF data. A palette becomes RGB or gray; an alpha channel that is opaque everywhere is left out.

    Several processes, on one or more machines with the same folder, share the pictures if all of them run this command
    with the same options. A command that was stopped continues. Nothing is done if the file has the pictures, and it is
    made again if it is damaged.

    Args:
        paths (PATH): image files, or folders of image files
        out (-o, --out FILE): the new file
        tile (--tile HEIGHTxWIDTH): divide pictures into tiles of this size, such as 256x256, which several processes
            decode at the same time (default: none, if the networks of the model work at any size)
        replace: replace a file of anything else
        skip: leave out, with a warning, pictures that cannot be read or kept without loss; the exit status is still 0
        condition (--condition KIND=VALUE): label or attributes of the pictures, one for all or one for each, for a
            model that is given them: label=NAME, attributes=NAME,NAME… or none (the default); they are kept in the file

    Raises:
        UserError: the run has no integers, two pictures have the same name, a part of a picture could not be kept, such
            as transparency, or there is another file

    Examples:
        >>> import auxar
        >>> drawn = auxar.sample("runs/quickstart", images=2, rule="map", seed=3)
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> packed = auxar.compress("runs/quickstart", [drawn / "images"], "drawn.auxar")
        >>> packed.images, packed.sub_pixels
        (2, 6144)
        >>> [path.name for path in auxar.decompress("drawn.auxar", "out", run="runs/quickstart").paths]
        ['000000.png', '000001.png']
    """
    from auxar import image_size, pictures_of
    from auxar_codec.compression import Compression

    check_flag(replace, "replace")
    check_flag(skip, "skip")
    # Numbers, as tensors and arrays, have no elements.
    several = isinstance(paths, Iterable) and not isinstance(paths, str) and getattr(paths, "ndim", 1) > 0
    found = [*pictures_of([*paths] if several else paths, "paths")]
    if others := [label for file, label in found if not isinstance(file, Path)]:
        raise UserError(f"{others[0]}: expected the path of an image; `auxar.codec` encodes pictures in memory")
    files = [file for file, _ in found]
    sides = None if tile is None else image_size(tile, "tile")
    used = codec(run, trust_plugins=trust_plugins)
    work = Compression(used, files, as_path(out, "out"), condition, tile=sides, replace=replace, skip=skip)
    work.do("compressing")
    return work.result()


def _written(found: Decompressed) -> Result:
    from auxar_codec.decompression import listed
    from auxar_codec.names import listed_names

    if not found.paths and not found.damaged and found.checked is None:
        return listed(found.container)
    record: dict[str, Any] = {"files": [str(path) for path in found.paths], "damaged": list(found.damaged)}
    lines, mistake = [str(path).replace("\n", "\\n") for path in found.paths], None
    if found.checked is not None:
        record = {"decoded": found.checked - len(found.damaged), "damaged": list(found.damaged)}
        lines = [f"{found.container.path}: {record['decoded']} of {found.checked} images were decoded"]
    if found.damaged:
        names = listed_names(found.damaged)
        mistake = UserError(f"{found.container.path}: these images are damaged or missing: {names}")
    return Result(lines, record, mistake)


@command("Share and store", show=_written)
def decompress(
    path: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    list: bool = False,
    check: bool = False,
    only: Sequence[str] = (),
    depth: int = 0,
    run: str | PathLike[str] | None = None,
    replace: bool = False,
    trust_plugins: bool = False,
) -> Decompressed:
    """Decodes or lists the images that `auxar compress` stored.

    The images are written as PNG into a folder. Images that are damaged or missing are left out and named, and the exit
    status of the command is then 2. A picture that is in the folder already is kept, so that a command that was stopped
    goes on, and several processes share the work. The EXIF data of a view has a digest, by which it is recognized. The
    list has the sizes of the images, and the model
    with which they are decoded.

    Args:
        path (FILE): the file
        out (-o, --out DIR): folder for the pictures
        list: list the images; none is decoded
        check: decode the images and write nothing; the exit status is 2 if one is damaged or missing
        only: decode only the images of these names
        depth (K): decode the views at this depth, which are smaller and take less time (default: 0, the images)
        run: the run, or the name of a model, with which the images are decoded (default: the one with the digests in
            the file, among the models that come trained, the runs in ./runs and the folders beside the file)
        replace: replace pictures that exist
        trust_plugins: load the plugin files of the run, which must then be named; they are code that runs with your
            rights, so read them first

    Raises:
        UserError: the file has no images of these names, its header or index is damaged, its model is not found, the
            run has another model, or a picture exists

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> drawn = auxar.sample("runs/quickstart", images=2, rule="map", seed=5)
        >>> made = auxar.compress("runs/quickstart", [drawn / "images"], "two.auxar")
        >>> [entry.name for entry in auxar.decompress("two.auxar", list=True).container.entries]
        ['000000.png', '000001.png']
        >>> auxar.decompress("two.auxar", check=True, run="runs/quickstart").checked
        2
        >>> found = auxar.decompress("two.auxar", "small", depth=2, only=["000001.png"], run="runs/quickstart")
        >>> [path.as_posix() for path in found.paths], found.damaged
        (['small/000001.png'], ())
    """
    from auxar_codec.archive import chosen_of
    from auxar_codec.container import read_container
    from auxar_codec.decompression import Decompressed, Decompression, codec_of

    for name, flag in (("list", list), ("check", check), ("replace", replace)):
        check_flag(flag, name)
    if list + check + (out is not None) != 1 or (list and only):
        raise UserError("out: expected a folder for the pictures, or --check, or --list of all pictures, without one")
    container = read_container(as_path(path, "path"))
    if list:
        return Decompressed(container)
    chosen = chosen_of(container, only, depth)
    used = codec_of(container, run, trust_plugins=trust_plugins)
    if out is None:
        decoded = used.archiver(container.header).decode(container, chosen, depth)
        damaged = tuple(entry.name for entry, picture in decoded if picture is None)
        return Decompressed(container, damaged=damaged, checked=len(chosen))
    work = Decompression(container, used, as_path(out, "out"), chosen, depth, replace=replace)
    work.do("decompressing")
    return work.result()
