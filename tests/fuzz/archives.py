"""Decodes files of `auxar compress` that were damaged at random. No image may be wrong without a word.

    python tests/fuzz/archives.py --count 100000 --seed 0 --processes 2
    python tests/fuzz/archives.py --seed 0 --only 4711

Each case changes, removes or inserts bytes of a small file. A case fails if it raises another exception than
`UserError`, if an image differs from the original although nothing says that it is damaged, if it takes more than
`--seconds`, or if the process needs more than `--memory`. Each failure is printed with its number; `--only NUMBER`
repeats it. The exit status is 1 if any case failed.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path
from random import Random

import attrs
import numpy as np
import watching
from changes import change_bytes
from watching import Limits, Outcome

import auxar
from auxar.errors import UserError
from auxar_codec.archive import Archiver, check_model, entry_of, header_of
from auxar_codec.container import read_container, write_container
from auxar_codec.pictures import Picture

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.golden_models import MODELS, make_golden_run

SIZES = ((8, 8, 3), (8, 8, 1), (11, 5, 3), (8, 8, 3))
"""Height, width and channels of the images."""


@attrs.frozen(eq=False)
class Original:
    """A model, its file, and the images in the file."""

    folder: Path
    archiver: Archiver
    content: bytes
    pixels: tuple[dict[str, np.ndarray], ...]
    """The values of each image by name, and those of its views by depth."""


@functools.cache
def originals() -> list[Original]:
    """Makes the models and their files, once in each process."""
    holder = tempfile.TemporaryDirectory()
    Finalize(None, holder.cleanup, exitpriority=1)
    return [_original(Path(holder.name) / name, name) for name in MODELS]


def _original(folder: Path, name: str) -> Original:
    make_golden_run(folder, name)
    model = auxar.load(folder, "cpu", arithmetic="integer")
    header = header_of(model, name)
    archiver = Archiver(model, header)
    numbers = np.random.default_rng(0)
    pixels = {}
    for number, (height, width, channels) in enumerate(SIZES):
        ramp = np.arange(height * width).reshape(1, height, width) * numbers.uniform(0, 3, (channels, 1, 1))
        pixels[f"{number}.png"] = (ramp + numbers.integers(0, 9, ramp.shape)).clip(0, 255).astype(np.uint8)
    path, names = folder / "a.auxar", list(pixels)
    metadata = [(b"profile", b""), (b"", b""), (b"", b"exif"), (b"", b"")]
    pictures = [Picture(pixels[name], *own) for name, own in zip(names, metadata, strict=True)]
    coded = archiver.encode(
        [(entry_of(name, picture, header), picture) for name, picture in zip(names, pictures, strict=True)]
    )
    write_container(path, header, *zip(*coded, strict=True))
    container = read_container(path)
    decoded = tuple(dict(archiver.decode(container, container.entries, depth)) for depth in (0, 1))
    found = tuple({entry.name: picture.pixels for entry, picture in each.items() if picture} for each in decoded)
    assert all(np.array_equal(found[0][name], pixels[name]) for name in names)
    return Original(folder, archiver, path.read_bytes(), found)


def damaged(content: bytes, random: Random) -> bytes:
    """Returns the damaged content of a file."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        change_bytes(random, changed)
    return bytes(changed)


def decode(original: Original, content: bytes, depth: int) -> str:
    """Decodes a damaged file. Returns the message of a `UserError`, or an empty string."""
    path = original.folder / "damaged.auxar"
    path.write_bytes(content)
    try:
        container = read_container(path)
        check_model(container, original.archiver.model)
        archiver = Archiver(original.archiver.model, container.header)
        found = list(archiver.decode(container, container.entries, depth))
    except UserError as error:
        return str(error)
    for entry, picture in found:
        if picture is not None:
            expected = original.pixels[depth][entry.name]
            assert np.array_equal(picture.pixels, expected), f"{entry.name} has wrong pixels at depth {depth}"
    return "" if all(picture is not None for _, picture in found) else "images are damaged or missing"


def outcomes_of(seed: int, numbers: Iterable[int], limits: Limits) -> list[Outcome]:
    """Decodes the files with these numbers, and returns their outcomes."""
    found = []
    with watching.watched():
        for number in numbers:
            random = Random(f"{seed}/{number}")
            original = random.choice(originals())
            content = damaged(original.content, random)
            attempt = partial(decode, original, content, random.choice([0, 0, 1]))
            found.append(watching.outcome(number, f"a file of {len(content)} bytes", attempt, limits))
    return found


def _first_words(message: str) -> str:
    """The first words of an error after the name of the file."""
    return " ".join(message.split()[1:7])


if __name__ == "__main__":
    sys.exit(watching.main(__doc__ or "", outcomes_of, _first_words))
