"""Tests that pictures of several sizes, in several batches and with their conditions, are coded one by one."""

import functools
import itertools
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.matrix import at_once
from helpers.one_by_one import OneByOne
from helpers.plain_decoder import decoded_images
from PIL import ExifTags, Image
from torch import Tensor

import auxar
from auxar_codec import compress, decompress, decompression
from auxar_codec.coding import load_codec
from auxar_codec.container import read_container

SIZES = ((5, 6), (4, 4), (3, 2), (2, 7))
"""Heights and widths of pictures. Models have images of 4×4 pixels, so these have 4, 1, 1 and 2 tiles."""
CONDITIONS: dict[str, Any] = {
    "labels": [[2], [-1], [0], [1]],
    "attributes": [[1, 0, 1], [0, 0, 0], [-1, -1, -1], [0, 1, 1]],
}
"""The values of the condition of each picture. -1 is the null condition."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of smooth pictures. The third one is gray, and the second one has a color profile."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        slopes = np.arange(height)[:, None, None] * 9 + np.arange(width)[None, :, None] * 5
        values = (slopes + random.integers(0, 90, (1, 1, 3)) + random.integers(0, 40, (height, width, 3))).astype("u1")
        picture = Image.fromarray(values[..., 0] if number == 2 else values)
        exif = picture.getexif()
        exif[ExifTags.Base.ImageDescription] = f"picture {number}"
        picture.save(folder / f"{number}.png", icc_profile=b"profile" if number == 1 else None, exif=exif)
    return folder


def tiles_of(picture: np.ndarray) -> Tensor:
    """The tiles of a picture in raster order, continued by its last row and column: int64, (tiles, 3, 4, 4)."""
    colors = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    found = []
    for top in range(0, len(colors), 4):
        for left in range(0, colors.shape[1], 4):
            rows = [min(row, len(colors) - 1) for row in range(top, top + 4)]
            columns = [min(column, colors.shape[1] - 1) for column in range(left, left + 4)]
            found.append(torch.from_numpy(colors[rows][:, columns].transpose(2, 0, 1).astype(np.int64)))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("name", "pictures_at_once"), [pytest.param("labels", 1, marks=pytest.mark.slow), ("attributes", 3)]
)
def test_streams_have_the_bits_of_single_tiles_given_their_conditions(
    random_run_of, pictures, tmp_path, name, pictures_at_once, monkeypatch
):
    monkeypatch.setattr("auxar_codec.archive.grows", lambda *_: False)  # The weights are random.
    path, given = random_run_of(name), CONDITIONS[name]
    conditions = torch.tensor(given).reshape(4, -1, 1, 1)
    plain, file = OneByOne(path, "integer"), tmp_path / "a.auxar"
    originals = [np.asarray(Image.open(pictures / f"{number}.png")) for number in range(4)]
    with at_once(pictures_at_once):
        compress(path, [pictures], file, condition=conditions, tile="4x4")
        found = decompress(file, tmp_path / "out", run=path)
        view = decompress(file, tmp_path / "views", run=path, depth=1)
        single = decompress(file, tmp_path / "single", run=path, only=["3.png"], depth=2)
    assert not found.damaged
    entries = read_container(file).entries
    by_hand = decoded_images(file.read_bytes(), auxar.load(path, arithmetic="integer"), most=4)
    for number, (entry, original) in enumerate(zip(entries, originals, strict=True)):
        assert entry.condition == tuple(given[number])
        condition = conditions[number][None]
        tiles = tiles_of(original)
        for place, tile in enumerate(tiles):
            nats = plain.nats_of(tile, condition)
            for lengths, own in zip(entry.lengths, reversed(nats), strict=True):
                bits = -own / math.log(2)
                assert bits - 8.1 <= 8 * lengths[place] <= bits + 16.1  # Zero bytes at the end are left out.
        image = by_hand[entry.name].transpose(1, 2, 0)
        assert np.array_equal(image[..., 0] if original.ndim == 2 else image, original)
        with Image.open(found.paths[number]) as picture:
            assert np.array_equal(np.asarray(picture), original)
            assert picture.info.get("icc_profile") == (b"profile" if number == 1 else None)
            assert picture.getexif() == {ExifTags.Base.ImageDescription: f"picture {number}"}
        assert np.array_equal(np.asarray(Image.open(view.paths[number])), view_of(plain, original, 1))
    # If the first picture is damaged, the others still have their own conditions.
    content = bytearray(file.read_bytes())
    content[len(content) - sum(entry.size for entry in entries)] ^= 16
    (tmp_path / "damaged.auxar").write_bytes(content)
    with at_once(100):
        assert decompress(tmp_path / "damaged.auxar", tmp_path / "rest", run=path).damaged == ("0.png",)
    assert [name.name for name in single.paths] == ["3.png"]
    assert np.array_equal(np.asarray(Image.open(single.paths[0])), view_of(plain, originals[3], 2))


def view_of(plain: OneByOne, picture: np.ndarray, depth: int) -> np.ndarray:
    """The picture of the view of a picture: of its tiles, without the parts that lie outside of the picture."""
    height, width = picture.shape[:2]
    views = plain.chain.by_depth(plain.chain.values(tiles_of(picture)))[depth]
    rows = [torch.cat(list(part), 2) for part in views.split(-(-width // 4))]
    levels = plain.specs[depth].levels
    values = torch.cat(rows, 1).permute(1, 2, 0).double() * 255 / (levels - 1)
    colors = (values + 0.5).floor().byte().numpy()[: -(-height // 2), : -(-width // 2)]
    return colors[..., 0] if depth == 2 or picture.ndim == 2 else colors


STORED: tuple[set[int], ...] = (set(), {1}, {0})
"""Numbers of the pictures of a file whose values are stored as they are."""
PLACES: dict[str, tuple[str, str | None]] = {
    "by name": ("installed", None),
    "in ./runs": ("runs/a", None),
    "older in ./runs": ("runs/b/older/a", None),
    "beside the file": ("files/a", None),
    "older beside the file": ("files/b/older/a", None),
    "--run": ("a", "a"),
    "older in --run": ("b/older/a", "b"),
}
"""The folder of the model, and the value of --run."""


@pytest.fixture(scope="module")
def coded(random_run_of) -> list[tuple[set[int], bytes, dict[str, np.ndarray]]]:
    """Files of three pictures, with and without labels: the numbers of the stored ones, the content, and the values."""
    random, own = np.random.default_rng(1), load_codec(random_run_of("labels"), trust_plugins=False)
    values = {f"{number}.png": random.integers(100, 140, (4, 4, 3)).astype("u1") for number in range(3)}
    for number, picture in enumerate(values.values()):
        picture[0, 0, 0] = number
    found = []
    for stored, condition in itertools.product(STORED, (None, torch.tensor([2, -1, 0]).reshape(3, 1, 1, 1))):
        with pytest.MonkeyPatch.context() as patch, at_once(1000):
            is_stored = functools.partial(lambda stored, _, picture: picture.pixels[0, 0, 0] in stored, stored)
            patch.setattr("auxar_codec.archive.grows", is_stored)
            content = own.encode(list(map(Image.fromarray, values.values())), names=list(values), condition=condition)
            found.append((stored, content, values))
    return found


@pytest.mark.parametrize(("folder", "named"), PLACES.values(), ids=PLACES)
def test_coded_and_stored_pictures_are_decoded_given_their_labels_wherever_the_model_is(
    random_run_of, coded, tmp_path, monkeypatch, folder, named
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(random_run_of("labels"), folder)
    shipped = [SimpleNamespace(name="shipped", path=Path(folder))] if folder == "installed" else []
    monkeypatch.setattr(decompression, "list_models", lambda: shipped)
    loaded = functools.cache(lambda path: load_codec(path, trust_plugins=False))
    monkeypatch.setattr(decompression, "load_codec", lambda place, **_: loaded(folder if shipped else place))
    Path("files").mkdir(exist_ok=True)
    for number, (stored, content, values) in enumerate(coded):
        Path("files/a.auxar").write_bytes(content)
        with at_once(1000):
            found = decompress("files/a.auxar", f"out/{number}", run=named)
        assert {at for at, entry in enumerate(found.container.entries) if entry.raw} == stored
        assert not found.damaged
        assert all(np.array_equal(np.asarray(Image.open(path)), values[path.name]) for path in found.paths)
