"""The contract check of data sets."""

import contextlib
import functools
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import datasets
from PIL import Image

from auxar.data.decoding import BrokenImage, opened
from auxar.data.source import open_source
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.recipe import DataConfig
from auxar.recipe.structuring import structure, unstructure
from auxar.testing.laws import ContractError, accepts, broken, refusals, runs

MOST_IMAGES = 10_000
"""The number of images of each split that are decoded."""
BUILDERS = 3
"""The number of threads that build the set at the same time."""
Stamp = tuple[int, int, int]
"""The inode, the size and the time of the last change of a file."""
Hashes = dict[tuple[str, int], str]
"""The hash of each image's file, by split and number."""


def check_dataset(
    build: Callable[[Any], Path],
    config: object,
    *,
    image: ImageSpec | None = None,
    splits: Sequence[str] | None = None,
    column: str | None = None,
    refused: Sequence[object] = (),
) -> None:
    """Checks the data set that `build(config)` returns. The cache of `datasets` is an empty folder during the check.

    The laws:

    - `config`: the options are a frozen attrs class with a docstring, and their values can be written in a recipe.
    - `build`: `build` raises no exception. For options in `refused`, it raises `UserError`.
    - `path`: `build` returns the absolute path of a parquet file, of a folder of parquet files, or of a folder of
      images.
    - `cache`: the files that `build` writes are in the cache, as those of `auxar.cached_folder` are.
    - `splits`: the splits are those in `splits`, if given, and none is empty.
    - `images`: the images can be decoded. If `image` is given, they have its height and width, and those of one channel
      are gray.
    - `repeat`: a second call of `build` returns the same images, and leaves the files of the first one unchanged.
    - `together`: processes that build the set at the same time get the same images. The check uses threads.
    - `again`: built in another empty cache, the set has the same images.

    `column` names the column of the images, if there are several. At most 10,000 images of each split are decoded.
    Raises `ContractError` if a law is broken.
    """
    _check_config(config)
    images = functools.partial(_images, splits=splits, column=column, image=image)
    with _empty_cache() as cache:
        # The time of the file system, because the clock of the system is more precise.
        (cache / "now").touch()
        before = (cache / "now").stat().st_ctime_ns
        path = _built(build, config)
        first, found = stamps(path), images(path)
        _check_place(first, cache, before)
        second = _built(build, config)
        if path.exists() and (changed := [file for file, stamp in stamps(path).items() if first.get(file) != stamp]):
            broken("repeat", "the second call of build writes a file that the first one has written", file=changed[0])
        _check_same("repeat", "a second call of build", found, images(second))
        for options in refused:
            with runs("build, which must refuse invalid options with UserError,", law="build"):
                if accepts(functools.partial(build, options)):
                    broken("build", "build accepts options that it must refuse with UserError", options=options)
    with _empty_cache():
        many = [images(path) for path in _built_together(build, config)]
    for other in many[1:]:
        _check_same("together", "another call of build at the same time", many[0], other)
    _check_same("again", "build with an empty cache", found, many[0])


def _built_together(build: Callable[[Any], Path], config: object) -> set[Path]:
    """The paths that several calls of build at the same time return."""
    barrier = threading.Barrier(BUILDERS)

    def start(_: int) -> tuple[Path, dict[Path, Stamp]]:
        barrier.wait()
        path = build(config)
        return path, stamps(path)

    with ThreadPoolExecutor(BUILDERS) as pool, runs(f"build, called {BUILDERS} times at once,", law="together"):
        found = list(pool.map(start, range(BUILDERS)))
    for path, before in found:
        if stamps(path) != before:
            message = "build returns while another call still writes the files; write them with auxar.cached_folder"
            broken("together", message, path=path)
    return {path for path, _ in found}


@contextlib.contextmanager
def _empty_cache() -> Iterator[Path]:
    """A context in which the cache of `datasets` is an empty folder, whose path it yields."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(datasets.config, "HF_DATASETS_CACHE", Path(folder).resolve()) as cache,
    ):
        yield cache


def _check_config(config: object) -> None:
    cls: Any = type(config)
    if not attrs.has(cls):
        broken("config", "the options must be an instance of an attrs class", options=repr(config))
    # attrs writes no docstring of its own, so an empty one means that there is none.
    if not (cls.__doc__ or "").strip():
        broken("config", "the class of the options needs a docstring, whose first line `auxar plugins` prints")
    frozen: Any = attrs.make_class("Frozen", [], frozen=True)
    if cls.__setattr__ is not frozen.__setattr__:
        broken("config", "the class of the options must be frozen: use @attrs.frozen")
    table = unstructure(config)
    with refusals("config", "the options cannot be read from a recipe: "):
        again = structure(table, cls, "data.options")
    if again != config:
        broken("config", "the options change if they are written to a recipe and read", before=config, after=again)


def _built(build: Callable[[Any], Path], config: object) -> Path:
    with runs("build", law="build"):
        path: Any = build(config)
    if not isinstance(path, Path):
        broken("path", f"build must return a pathlib.Path, got {path!r}")
    if not path.is_absolute():
        broken("path", "build must return an absolute path, because the working directory may change", path=path)
    if not path.exists():
        broken("path", "build returns a path that does not exist", path=path)
    return path


def stamps(path: Path) -> dict[Path, Stamp]:
    """The inode, size and time of the last change of a file, or of every file in a folder."""
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    found = {file: file.stat() for file in files}
    return {file: (stat.st_ino, stat.st_size, stat.st_ctime_ns) for file, stat in found.items()}


def _check_place(found: dict[Path, Stamp], cache: Path, before: int) -> None:
    import huggingface_hub.constants  # The folder to which it downloads files is also a cache.

    hub = Path(os.path.realpath(huggingface_hub.constants.HF_HUB_CACHE))
    for file, (_, _, time) in found.items():
        real = file.resolve()
        if time > before and not real.is_relative_to(cache) and not real.is_relative_to(hub):
            broken("cache", "build writes a file outside of the cache; write it with auxar.cached_folder", file=file)


def _images(path: Path, splits: Sequence[str] | None, column: str | None, image: ImageSpec | None) -> Hashes:
    """Decodes the images of the set at `path`, and returns the hashes of their files."""
    config = DataConfig("the data set", column=column, train=splits[0] if splits else "train")
    try:
        source = open_source(config, path)
        if splits is not None and sorted(source.splits) != sorted(splits):
            broken("splits", f"expected the splits {sorted(splits)}, got {sorted(source.splits)}", path=path)
        found = {name: source.images(attrs.evolve(config, train=name), name) for name in source.splits}
    except UserError as error:
        law = "splits" if re.search("contains no images|has no images", str(error)) else "path"
        raise ContractError(law, f"the set cannot be read: {error}\n  path = {path}") from error
    return {
        (split, number): _hash(images, number, split, image)
        for split, images in found.items()
        for number in range(len(images.rows))
    }


def _hash(images: Any, number: int, split: str, image: ImageSpec | None) -> str:
    """The hash of an image's file. Checks the law `images` for the first `MOST_IMAGES` of a split."""
    value = images.rows[number][images.column]
    name = f"{images.name(value, number)} in the split '{split}'"
    try:
        encoded = images.content(value)
        with opened(encoded) if number < MOST_IMAGES else contextlib.nullcontext() as picture:
            if picture is not None and image is not None:
                _check_size(picture, image, name)
    except BrokenImage as error:
        raise ContractError("images", f"{name} cannot be read: {error}") from error
    return hashlib.sha256(encoded).hexdigest()


def _check_size(picture: Image.Image, image: ImageSpec, name: str) -> None:
    if picture.size != (image.width, image.height):
        size = f"{picture.height}×{picture.width}"
        broken("images", f"{name} has {size} pixels, expected {image.height}×{image.width}")
    if image.channels == 1 and len(bands := picture.getbands()) > 1:
        broken("images", f"{name} has the channels {', '.join(bands)}, expected a gray image")


def _check_same(law: str, call: str, first: Hashes, second: Hashes) -> None:
    if differing := sorted(place for place in first.keys() | second.keys() if first.get(place) != second.get(place)):
        split, number = differing[0]
        broken(law, f"{call} gives other images; the first that differs is image {number} of '{split}'")
