"""Tests that every contract check of data sets fails for a data set that breaks its law."""

import itertools
import time
from pathlib import Path

import attrs
import datasets
import numpy as np
import pytest
from helpers.contract import breaks
from PIL import Image

from auxar.caching import cached_folder
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.testing import check_dataset

GRAY = ImageSpec(1, height=4, width=6)


@attrs.frozen
class Options:
    """Gray images of random pixels."""

    count: int = 3
    channels: int = 1
    file: Path | None = None


def write(folder: Path, options: Options, seed: int = 0) -> Path:
    if options.count < 0:
        raise UserError("count is negative")
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(options.count):
        shape = (4, 6) if options.channels == 1 else (4, 6, options.channels)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def right(options: Options) -> Path:
    return cached_folder("random", options, lambda folder: write(folder, options))


def in_cache(name: str) -> Path:
    return Path(datasets.config.HF_DATASETS_CACHE, name)


def test_right_sets_keep_the_contract(tmp_path):
    check_dataset(right, Options(), image=GRAY, splits=["train"], refused=[Options(-1)])
    check_dataset(right, Options(channels=3), image=attrs.evolve(GRAY, channels=3))
    # Existing files of the user need not be in the cache.
    folder = write(tmp_path / "own", Options())
    check_dataset(lambda options: folder, Options())


def counted(options):
    """Other images in each call, in another file."""
    return write(in_cache(f"random{next(NUMBERS)}"), options, seed=next(NUMBERS))


def rewritten(options):
    """The same images, written again by each call."""
    return write(in_cache("random"), options)


def hasty(options):
    """Returns a folder that another call has not finished."""
    try:
        in_cache("random").mkdir(parents=True)
    except FileExistsError:
        return in_cache("random")
    time.sleep(0.1)
    return write(in_cache("random"), options)


def unreproducible(options):
    return cached_folder("random", options, lambda folder: write(folder, options, seed=next(NUMBERS)))


def text(options):
    folder = right(options)
    if not (folder / "3.png").exists():
        (folder / "3.png").write_text("no image")
    return folder


def failing(options):
    raise KeyError("images")


NUMBERS = itertools.count()
BROKEN = {
    "build": (failing, "build: build failed with KeyError: 'images'"),
    "string": (lambda options: str(right(options)), "path: build must return a pathlib.Path, got '/"),
    "relative": (lambda options: Path("random"), "path: build must return an absolute path"),
    "missing": (lambda options: Path("/missing"), "path: build returns a path that does not exist\n  path = /missing"),
    "empty": (lambda options: right(Options(0)), "splits: the set cannot be read: "),
    "text": (text, "images: 3.png in the split 'train' cannot be read: the format is unknown"),
    "colors": (lambda options: right(Options(channels=2)), "images: 0.png in the split 'train' has the channels L, A"),
    "counted": (counted, "repeat: a second call of build gives other images; the first that differs is image 0 of"),
    "rewritten": (
        rewritten,
        "repeat: the second call of build writes a file that the first one has written\n  file = ",
    ),
    "hasty": (hasty, "together: build returns while another call still writes the files"),
    "unreproducible": (unreproducible, "again: build with an empty cache gives other images; the first that differs"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_set_is_found(fault):
    build, message = BROKEN[fault]
    law = message.split(":")[0]
    assert message in breaks(law, check_dataset, build, Options(), image=GRAY)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("images: 0.png in the split 'train' has 4×6 pixels, expected 6×6", {"image": attrs.evolve(GRAY, height=6)}),
        ("splits: expected the splits ['test', 'train'], got ['train']", {"splits": ["train", "test"]}),
        ("build: build accepts options that it must refuse with UserError", {"refused": [Options(2)]}),
        ("build: build, which must refuse invalid options with UserError, failed", {"refused": [Options(channels=-1)]}),
    ],
)
def test_other_sizes_splits_and_accepted_options_are_found(message, arguments):
    assert message in breaks(message.split(":")[0], check_dataset, right, Options(), **arguments)


def test_files_outside_of_the_cache_are_found(tmp_path):
    found = breaks("cache", check_dataset, lambda options: write(tmp_path / "new", options), Options())
    assert "build writes a file outside of the cache; write it with auxar.cached_folder\n" in found


def test_options_that_recipes_cannot_write_are_found():
    @attrs.define
    class Changing:
        """Options that can be changed."""

        count: int = 3

    @attrs.frozen
    class Rounded:
        """Options that a recipe does not keep."""

        share: float = attrs.field(default=0.5, converter=lambda value: value / 2)

    @attrs.frozen
    class Odd:
        """Options of a type that recipes do not have."""

        count: int = attrs.field(default=3, converter=str)

    for options, message in (
        (Options, "the options must be an instance of an attrs class"),
        (Changing(), "the class of the options must be frozen: use @attrs.frozen"),
        (attrs.make_class("Bare", [], frozen=True)(), "the class of the options needs a docstring"),
        (Rounded(), "the options change if they are written to a recipe and read"),
        (Odd(), "the options cannot be read from a recipe: data.options.count: expected an integer"),
    ):
        assert f"config: {message}" in breaks("config", check_dataset, lambda _: right(Options()), options)
