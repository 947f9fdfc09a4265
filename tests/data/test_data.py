"""Tests of the data: image files on the disk, their preparation, splits, batches and streams."""

from __future__ import annotations

import errno
import io
import itertools
import logging
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import datasets
import numpy as np
import pytest
import torch
from helpers.tiny_runs import Stopped, run, tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from auxar.data import (
    DataSets,
    ImageSet,
    StoredImages,
    StreamedImages,
    conversion,
    evaluation_batches,
    load_images,
    training_batches,
)
from auxar.data.level_use import unused_levels
from auxar.data.reach import Reach
from auxar.data.source import EncodedImages, open_source
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.plugins import Component, Registry, load_plugins
from auxar.recipe import Crop, DataConfig, Split

SPEC = ImageSpec(3, height=4, width=4)
COUNT = 23


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A separate cache folder of the `datasets` library for this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def numbered(number: int) -> Image.Image:
    """Returns an image whose red channel is its number. Its left column is blue, so that mirroring can be detected."""
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 0] = number
    pixels[:, 0, 2] = 255
    return Image.fromarray(pixels)


def numbers(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("numbered")
    for number in range(COUNT):
        file = root / f"part{number % 3}" / f"{number:03}.png"
        file.parent.mkdir(exist_ok=True)
        numbered(number).save(file)
    return root


def load(path: Path | str, image: ImageSpec = SPEC, **options: Any) -> DataSets:
    return load_images(DataConfig(str(path), **options), image, Registry())


def stored(path: Path | str, image: ImageSpec = SPEC, **options: Any) -> StoredImages:
    """Loads all images of a folder in its order, by joining the training and held-out images."""
    sets = load(path, image, split=Split(0.5), **options)
    assert isinstance(sets.train, StoredImages)
    assert isinstance(sets.heldout, StoredImages)
    rows = np.sort(np.concatenate([sets.train.rows, sets.heldout.rows]))
    return StoredImages(sets.train.prepared, sets.train.pixels, rows, sets.train.image, sets.train.fingerprint)


@pytest.fixture(scope="module")
def images(folder) -> StoredImages:
    return stored(folder)


def stream(path: Path | str, **options: Any) -> StreamedImages:
    train = load(path, streaming=True, **{"shuffle_buffer": 5, **options}).train
    assert isinstance(train, StreamedImages)
    return train


def whole_stream(path: Path, broken: str = "error") -> StreamedImages:
    """Streams all images of a folder, without dividing them."""
    config = DataConfig(str(path), streaming=True)
    source = open_source(config).images(config, "train")
    return StreamedImages.of(source, conversion.Preparation(SPEC, Crop(), "none"), None, broken == "skip", 5)


def batches(images: ImageSet, **options: Any) -> list[torch.Tensor]:
    return list(training_batches(images, **{"batch_size": 4, "steps": 9, "seed": 3, "flip": False, **options}))


def equal(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


# --- one image -------------------------------------------------------------------------------------------------------


def transparent_palette() -> Image.Image:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((0, 0), 1)
    picture.info["transparency"] = 0
    return picture


def rotated(picture: Image.Image) -> dict[str, Any]:
    exif = picture.getexif()
    exif[0x0112] = 6  # displayed after a clockwise rotation by 90°
    return {"exif": exif}


def gray16(value: int) -> Image.Image:
    return Image.fromarray(np.full((4, 4), value, np.uint16))


CASES = {
    "rgb": (Image.new("RGB", (4, 4), (1, 2, 3)), "png", (1, 2, 3)),
    "gray": (Image.new("L", (4, 4), 77), "png", (77, 77, 77)),
    "palette": (Image.new("RGB", (4, 4), (9, 8, 7)).convert("P", palette=Image.Palette.ADAPTIVE), "png", (9, 8, 7)),
    "palette with transparency": (transparent_palette(), "png", (255, 255, 255)),
    "alpha": (Image.new("RGBA", (4, 4), (0, 0, 0, 51)), "png", (204, 204, 204)),
    "gray with alpha": (Image.new("LA", (4, 4), (0, 0)), "png", (255, 255, 255)),
    "cmyk": (Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "tiff", (0, 255, 255)),
    "16 bit": (gray16(0x8234), "png", (0x82, 0x82, 0x82)),
    "16 bit in 32": (Image.new("I", (4, 4), 0x8234), "tiff", (0x82, 0x82, 0x82)),
    "1 bit": (Image.new("1", (4, 4), 1), "png", (255, 255, 255)),
    "webp": (Image.new("RGB", (4, 4), (200, 0, 0)), "webp", (200, 0, 0)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_mode_becomes_rgb_and_gray(tmp_path, case):
    picture, kind, expected = CASES[case]
    options: dict[str, Any] = {"lossless": True} if kind == "webp" else {}
    for name in "ab":
        picture.save(tmp_path / f"{name}.{kind}", **options)
    pixel = stored(tmp_path).fetch([0])[0, :, 2, 2].tolist()
    assert pixel == list(expected)
    luma = stored(tmp_path, ImageSpec(1, height=4, width=4)).fetch([0])[0, :, 2, 2].tolist()
    assert luma == [Image.new("RGB", (1, 1), expected).convert("L").getpixel((0, 0))]


def test_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for name in "ab":
        frames[0].save(tmp_path / f"{name}.gif", save_all=True, append_images=frames[1:])
    assert stored(tmp_path).fetch([0])[0, :, 0, 0].tolist() == [255, 0, 0]


def test_exif_rotation_is_applied_before_the_crop(tmp_path):
    picture = Image.new("RGB", (8, 4), "black")
    picture.paste("white", (0, 0, 4, 4))  # the left half is on top after the rotation
    for name in "ab":
        picture.save(tmp_path / f"{name}.png", **rotated(picture))
    upper = stored(tmp_path, crop=Crop(bottom=4)).fetch([0])
    assert (upper == 255).all()


def test_crop_takes_margins_off(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    image = ImageSpec(3, height=6, width=4)
    cropped = stored(tmp_path, image, crop=Crop(left=3, right=4, top=1, bottom=2)).fetch([0])[0]
    assert torch.equal(cropped, torch.from_numpy(pixels[1:7, 3:7].transpose(2, 0, 1)))


@pytest.mark.parametrize(("resize", "expected"), [("cover", [0, 0, 0, 0]), ("stretch", [255, 0, 0, 255])])
def test_resize(tmp_path, resize, expected):
    picture = Image.new("RGB", (64, 32), "black")  # white at both ends, which `resize = "cover"` cuts off
    picture.paste("white", (0, 0, 16, 32))
    picture.paste("white", (48, 0, 64, 32))
    for name in "ab":
        picture.save(tmp_path / f"{name}.png")
    row = stored(tmp_path, resize=resize).fetch([0])[0, 0, 2].float()
    assert (row - torch.tensor(expected)).abs().max() < 40


def test_downscaling_averages(tmp_path):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    for name in "ab":
        Image.fromarray(stripes).save(tmp_path / f"{name}.png")
    assert (stored(tmp_path, resize="stretch").fetch([0]).float() - 127.5).abs().max() < 8


@pytest.mark.parametrize("levels", [2, 5, 16, 100, 255])
def test_levels_are_quantized_by_floor(tmp_path, levels):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in "ab":
        Image.fromarray(ramp).save(tmp_path / f"{name}.png")
    found = stored(tmp_path, ImageSpec(1, height=16, width=16, levels=levels)).fetch([0]).flatten().tolist()
    assert found == [value * levels // 256 for value in range(256)]


@pytest.mark.parametrize("streaming", [False, True])
def test_pixels_are_levels_if_the_recipe_says_so(tmp_path, streaming):
    for number in range(17):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / f"{number:02}.png")

    def found(levels: int = 17, **options: Any) -> tuple[str, list[int]]:
        image = ImageSpec(1, height=4, width=4, levels=levels)
        train = load(tmp_path, image, streaming=streaming, split=Split(0.5), **options).train
        return train.fingerprint, [int(values.max()) for values in train.whole().in_order(1)]

    (one, scaled), (other, levels) = found(), found(values="levels")
    assert one != other
    assert scaled == [0] * 16 + [1]
    assert levels == list(range(17)), "they are not read from the cache of the scaled images"
    with pytest.raises(UserError, match=r"^data\.values: 12\.png has the value 12; .* levels 0 … 11; change"):
        found(12, values="levels")


@pytest.mark.parametrize(
    ("pixels", "levels", "values", "expected"),
    [
        (range(17), 17, "scaled", "2 of 17 levels, 0 and 1 (in 4 evenly spaced images): if their pixels are levels "),
        (range(100), 100, "scaled", "39 of 100 levels, 0 … 38"),
        (range(17), 256, "scaled", "if their pixels are levels 0 … 16, set image.levels = 17 and data.values = 'leve"),
        ([0, 255], 256, "scaled", "2 of 256 levels, 0 and 255 (in 4 evenly spaced images): image.levels = 2 is enough"),
        (range(190, 230), 256, "scaled", "40 of 256 levels, 190 … 229 (in 4 evenly spaced images): check that these"),
        (range(4), 64, "levels", "4 of 64 levels, 0 … 3"),
        ([7], 256, "scaled", "1 of 256 levels, 7"),
        (range(17), 17, "levels", None),
        ([0, 255], 2, "scaled", None),
        ([0, 255], 8, "scaled", None),
        (range(0, 256, 7), 256, "scaled", None),
        (range(40, 200), 256, "scaled", None),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_levels_that_are_not_used_are_told(tmp_path, pixels, levels, values, expected, streaming):
    for number in range(8):
        Image.fromarray(np.resize(np.array(pixels, np.uint8), (16, 16))).save(tmp_path / f"{number}.png")
    image = ImageSpec(1, height=16, width=16, levels=levels)
    train = load(tmp_path, image, streaming=streaming, values=values, split=Split(0.5)).train
    found = unused_levels(train, values)
    if expected is None:
        assert found is None
    elif not streaming:
        assert f"the training images use only {expected}" in found or expected in found
    else:
        assert "first images" in found


@pytest.mark.parametrize("values", ["scaled", "levels"])
def test_a_run_tells_unused_levels_before_it_trains(pictures, tmp_path, monkeypatch, caplog, values):
    (tmp_path / "dark").mkdir()
    for file in pictures.iterdir():
        with Image.open(file) as picture:
            Image.fromarray(np.asarray(picture) // 128).save(tmp_path / "dark" / file.name)

    def train(*arguments: object) -> None:
        raise Stopped

    monkeypatch.setattr("auxar.pipeline.FactorTraining", train)
    with pytest.raises(Stopped):
        run(tmp_path / "run", tiny(tmp_path / "dark", image__levels=2, data__values=values))
    assert sum("images use only 1 of 2 levels, 0 (" in text for text in caplog.messages) == (values == "scaled")


# --- sources ---------------------------------------------------------------------------------------------------------


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    numbered(number).save(buffer, "png")
    return buffer.getvalue()


FORMS = {
    "images": (lambda n: {"bytes": encoded(n), "path": f"{n}.png"}, datasets.Image()),
    "struct": (
        lambda n: {"bytes": encoded(n), "path": None},
        {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
    ),
    "binary": (encoded, datasets.Value("binary")),
}


def write_parquet(
    path: Path, form: str = "images", columns: tuple[str, ...] = ("picture",), count: int = 8, first: int = 0
) -> Path:
    """Writes numbered images. The numbers of each further column are larger by 100."""
    make, feature = FORMS[form]
    path.parent.mkdir(exist_ok=True, parents=True)
    types = datasets.Features({**dict.fromkeys(columns, feature), "label": datasets.Value("int64")})
    numbers = range(first, first + count)
    images = {name: [make(100 * place + n) for n in numbers] for place, name in enumerate(columns)}
    rows = {**images, "label": list(numbers)}
    with path.open("wb") as file:  # `to_parquet` would read some paths as addresses.
        datasets.Dataset.from_dict(rows, features=types).to_parquet(file)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_parquet_columns_of_encoded_images(tmp_path, form):
    images = stored(write_parquet(tmp_path / "set.parquet", form))
    assert numbers(images.fetch(range(8))) == list(range(8))
    assert images.name(5) == ("5.png" if form == "images" else "image 5")


def test_remote_files_are_fetched(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("0.png", encoded(0))
    source = EncodedImages(None, "image", None, "", "", reach=Reach((tmp_path.resolve(),), repository="own/set"))
    value = {"path": f"zip://0.png::{archive}", "bytes": None}
    assert (source.name(value, 0), source.content(value)) == (value["path"], encoded(0))
    with pytest.raises(UserError, match="cannot be downloaded"):
        source.content({"path": f"zip://0.png::{tmp_path}/none.zip", "bytes": None})


def test_parquet_folder_has_the_splits_its_files_name(tmp_path):
    for name, count in (("train", 6), ("test", 3)):
        write_parquet(tmp_path / f"{name}-00000-of-00001.parquet", count=count)
    for streaming in (False, True):
        sets = load(tmp_path, heldout="test", streaming=streaming)
        found = [numbers(pixels) for _, pixels in evaluation_batches(sets.heldout, batch_size=9)]
        assert found == [[0, 1, 2]]


def every_number(sets: DataSets) -> list[int]:
    return sorted(members(sets.train) + members(sets.heldout))


# Each name is a pattern or an address for some library, and the name beside it is the one that it resolves to.
ODD = {
    "white[1]": "white1",
    "a*": "aa",
    "a?": "ab",
    "{a,b}": "a",
    "p%20q": "p q",
    "two\nlines": "two lines",
    "zip:\\a": "a",
    "#a": "a",
    "a [!b]": "a c",
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ODD)
def test_local_path_is_no_pattern(tmp_path, name, streaming):
    for place, first in ((name, 0), (ODD[name], 100)):
        for file in (f"{place}.parquet", f"{place}/{place.replace(chr(10), '[1]')}.parquet"):
            write_parquet(tmp_path / file, count=12, first=first)
    for path in (f"{name}.parquet", name):
        assert every_number(load(tmp_path / path, split=Split(0.5), streaming=streaming)) == list(range(12))


def test_path_that_datasets_cannot_read_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(write_parquet(tmp_path / "other.parquet").read_bytes())
    file = write_parquet(tmp_path / "x::y.parquet")
    assert f"the path of the parquet file {file} contains '::'; rename it" in message(file)
    assert "rename it" in message(write_parquet(tmp_path / "a::b" / "train.parquet").parent)
    write_parquet(tmp_path / "c" / "two\nlines.parquet")
    assert "rename it" in message(tmp_path / "c")


def test_parquet_is_read_beside_more_images(tmp_path):
    write_parquet(tmp_path / "train.parquet")
    for number in range(20, 25):
        numbered(number).save(tmp_path / f"{number}.png")
    assert every_number(load(tmp_path, split=Split(0.5))) == list(range(8))


@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
def test_card_of_a_parquet_folder_names_its_splits(tmp_path, card):
    folder = tmp_path / "set[1]"
    for number, name in enumerate(("one/a", "one/b", "two/a")):
        write_parquet(folder / f"{name}.parquet", count=2, first=10 * number)
    text = (
        "configs:\n"
        "- {config_name: one, data_files: [{split: train, path: one/a*}, {split: val, path: one/b*}]}\n"
        "- {config_name: two, data_files: two/*}\n"
    )
    (folder / card).write_text(f"---\n{text}---\n" if card == "README.md" else text)
    assert every_number(load(folder, config="one", heldout="val")) == [0, 1, 10, 11]
    assert every_number(load(folder, config="two", split=Split(0.5))) == [20, 21]
    assert "BuilderConfig 'three' not found" in message(folder, config="three")


def test_name_of_a_file_format_is_no_data_set(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("imagefolder", "parquet"):
        assert f"'{name}' is the name of a file format" in message(name)


def test_registered_name_wins_over_a_folder(tmp_path, monkeypatch):
    write_parquet(tmp_path / "set.parquet")
    (tmp_path / "toys").mkdir()
    monkeypatch.chdir(tmp_path)
    options = attrs.make_class("Options", [], frozen=True)
    toys = Component("dataset", "toys", options, lambda config: tmp_path / "set.parquet")
    registry = Registry({("dataset", "toys"): toys}, {("dataset", "toys"): "this test"})
    sets = load_images(DataConfig("toys", split=Split(0.5)), SPEC, registry)
    assert sorted(members(sets.train) + members(sets.heldout)) == list(range(8))


def test_shipped_emoji():
    sets = load_images(DataConfig("noto-emoji"), ImageSpec(3, height=32, width=32), load_plugins())
    assert isinstance(sets.train, StoredImages)
    pixels = sets.train.fetch(range(len(sets.train)))
    assert len(pixels) > 1000
    assert len(torch.unique(pixels.flatten(1), dim=0)) == len(pixels)
    assert (pixels != 255).flatten(1).any(1).all()


def test_subfolders_are_splits_when_one_has_the_name(tmp_path):
    for name, count in (("train", 4), ("val", 2)):
        (tmp_path / name).mkdir()
        for number in range(count):
            numbered(number).save(tmp_path / name / f"{number}.png")
    sets = load(tmp_path, heldout="val")
    assert isinstance(sets.train, StoredImages)
    assert isinstance(sets.heldout, StoredImages)
    assert (len(sets.train), len(sets.heldout)) == (4, 2)
    assert sets.heldout.name(1) == "val/1.png"
    with pytest.raises(
        UserError, match=r"data.heldout: .* no split 'vall'; did you mean 'val'\? \(known: train, val\)"
    ):
        load(tmp_path, heldout="vall")
    with pytest.raises(UserError, match="'train' is also the training split"):
        load(tmp_path, heldout="train")


def test_names_are_relative_and_hidden_files_are_ignored(folder, images, tmp_path):
    assert sorted(images.name(i) for i in range(COUNT))[0] == "part0/000.png"
    for number in range(2):
        numbered(number).save(tmp_path / f"{number}.png")
    (tmp_path / "._0.png").write_bytes(b"resource fork")
    assert len(stored(tmp_path)) == 2


def test_fingerprint_follows_data_and_preparation(folder, tmp_path):
    copy = tmp_path / "copy"
    for file in folder.rglob("*.png"):
        target = copy / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    for streaming in (False, True):
        first = load(folder, streaming=streaming).train.fingerprint
        assert first == load(copy, streaming=streaming).train.fingerprint
        assert first != load(folder, streaming=streaming).heldout.fingerprint
        assert first != load(folder, ImageSpec(3, height=4, width=4, levels=8), streaming=streaming).train.fingerprint
        assert first != load(folder, streaming=streaming, split=Split(seed=1)).train.fingerprint
        assert first != load(folder, streaming=streaming, limit=20).train.fingerprint


def test_second_load_converts_nothing(folder, images, monkeypatch):
    def never(*args: Any) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr("auxar.data.conversion.Preparation.__call__", never)
    assert len(stored(folder)) == COUNT


def test_changed_file_is_converted_again(tmp_path):
    for number in (1, 2):
        numbered(number).save(tmp_path / f"{number}.png")
    assert numbers(stored(tmp_path).fetch([0, 1])) == [1, 2]
    numbered(7).save(tmp_path / "1.png")
    os.utime(tmp_path / "1.png", (1, 1))
    assert numbers(stored(tmp_path).fetch([0, 1])) == [7, 2]


@pytest.mark.parametrize("change", ["the content", "the file", "the link"])
def test_changed_file_of_equal_size_and_time_is_converted_again(tmp_path, change):
    folder = tmp_path / "images"
    folder.mkdir()
    file, other, first, second = folder / "1.ppm", folder / "2.ppm", tmp_path / "first.ppm", tmp_path / "second.ppm"
    for number, target in ((1, file), (2, other), (3, first), (4, second)):
        numbered(number).save(target)
        os.utime(target, (1, 1))
    if change == "the link":
        file.unlink()
        file.symlink_to(first)
    before = numbers(stored(folder).fetch([0, 1]))
    if change == "the content":
        file.write_bytes(second.read_bytes())
        os.utime(file, (1, 1))
    elif change == "the file":
        second.replace(file)
    else:
        file.unlink()
        file.symlink_to(second)
    assert (file.stat().st_size, file.stat().st_mtime) == (first.stat().st_size, 1)
    assert before == [3 if change == "the link" else 1, 2]
    assert numbers(stored(folder).fetch([0, 1])) == [4, 2]


# --- splits and broken images ----------------------------------------------------------------------------------------


def members(images: ImageSet) -> list[int]:
    return [number for _, pixels in evaluation_batches(images, batch_size=5) for number in numbers(pixels)]


@pytest.mark.parametrize("streaming", [False, True])
def test_split_is_disjoint_complete_and_reproducible(folder, streaming):
    sets = load(folder, split=Split(0.7, seed=2), streaming=streaming)
    train, heldout = members(sets.train), members(sets.heldout)
    assert sorted(train + heldout) == list(range(COUNT))
    assert heldout
    if not streaming:
        assert len(train) == round(0.7 * COUNT)
    again = load(folder, split=Split(0.7, seed=2), streaming=streaming)
    assert (members(again.train), members(again.heldout)) == (train, heldout)
    assert set(members(load(folder, split=Split(0.7, seed=3), streaming=streaming).train)) != set(train)


@pytest.mark.parametrize("streaming", [False, True])
def test_limit_takes_the_first_images(folder, streaming):
    sets = load(folder, limit=10, split=Split(0.5), streaming=streaming)
    everything = [file for _, file in sorted((f"part{n % 3}/{n:03}", n) for n in range(COUNT))]
    assert sorted(members(sets.train) + members(sets.heldout)) == sorted(everything[:10])


def test_split_needs_an_image_on_each_side(folder):
    with pytest.raises(
        UserError, match=r"data.split.train: 0.99 gives 5 training images and 0 held-out images; .*; use 0.8$"
    ):
        load(folder, limit=5, split=Split(0.99))
    assert load(folder, limit=5, split=Split(0.8))


@pytest.fixture(scope="module")
def damaged(folder, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("damaged")
    for number in range(12):
        numbered(number).save(root / f"{number:02}.png")
    (root / "03.png").write_bytes(b"no image")
    (root / "08.png").write_bytes((root / "08.png").read_bytes()[:60])
    return root


@pytest.mark.parametrize("broken", ["error", "skip"])
def test_image_that_could_not_be_read_once_is_read_again(tmp_path, monkeypatch, broken):
    for number in range(8):
        numbered(number).save(tmp_path / f"{number}.png")

    def failing(path: Path) -> bytes:
        if path.name in ("3.png", "5.png"):
            raise OSError(errno.EIO, "Input/output error")
        return path.read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr("auxar.data.source.read_file", failing)
        for _ in range(2):
            if broken == "error":
                assert "3.png (and 1 more) in the split 'train'" in message(tmp_path)
            else:
                assert every_number(load(tmp_path, split=Split(0.5), broken="skip")) == [0, 1, 2, 4, 6, 7]
    assert every_number(load(tmp_path, split=Split(0.5), broken=broken)) == list(range(8))


def test_image_that_needed_too_much_memory_is_read_again(tmp_path, monkeypatch):
    for number in range(4):
        numbered(number).save(tmp_path / f"{number}.png")

    def exhausted(picture: Image.Image, original: Image.Image) -> Image.Image:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "_upright", exhausted)
        assert "more memory than is available" in message(tmp_path)
    assert every_number(load(tmp_path, split=Split(0.5))) == list(range(4))


def test_repaired_file_that_a_parquet_file_names(tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        numbered(number).save(file)
    types = datasets.Features({"image": datasets.Image(decode=False)})
    rows = [{"bytes": None, "path": str(file)} for file in files]
    datasets.Dataset.from_dict({"image": rows}, features=types).to_parquet(tmp_path / "set.parquet")
    content = files[2].read_bytes()
    files[2].write_bytes(content[:50])
    for _ in range(2):
        assert "2.png in the split 'train'" in message(tmp_path / "set.parquet")
    files[2].write_bytes(content)
    assert every_number(load(tmp_path / "set.parquet", split=Split(0.5))) == list(range(4))


def test_only_broken_images_are_tried_again(damaged, monkeypatch):
    first = load(damaged, split=Split(0.5), broken="skip")
    tried = []
    convert = conversion.Preparation.__call__

    def watched(self: conversion.Preparation, content: bytes, name: str) -> np.ndarray:
        tried.append(name)
        return convert(self, content, name)

    monkeypatch.setattr(conversion.Preparation, "__call__", watched)
    second = load(damaged, split=Split(0.5), broken="skip")
    assert tried
    assert sorted(tried) == sorted(first.skipped) == sorted(second.skipped)
    assert second.train.fingerprint == first.train.fingerprint


def test_broken_images_end_the_run_or_are_skipped(damaged):
    with pytest.raises(UserError, match=r"03.png \(and 1 more\) in the split .* cannot be read as an image: .*'skip'"):
        load(damaged)
    sets = load(damaged, broken="skip", split=Split(0.5))
    assert sets.skipped == ("03.png", "08.png")
    assert sorted(members(sets.train) + members(sets.heldout)) == [0, 1, 2, 4, 5, 6, 7, 9, 10, 11]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_broken_images_in_a_stream(damaged, caplog, workers):
    with pytest.raises(UserError, match=r"^data.path: 0[38].png cannot be read as an image: .*data.broken = 'skip'"):
        batches(whole_stream(damaged), workers=workers)
    with caplog.at_level(logging.WARNING, "auxar.data.streamed"):
        found = [n for batch in batches(whole_stream(damaged, broken="skip"), steps=5) for n in numbers(batch)]
    assert Counter(found) == dict.fromkeys((0, 1, 2, 4, 5, 6, 7, 9, 10, 11), 2)
    assert "03.png" in caplog.text


# --- training batches ------------------------------------------------------------------------------------------------

orders = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@orders
@given(st.integers(1, 12), st.integers(0, 2**40), st.integers(1, 3))
def test_each_image_is_used_equally_often(images, batch_size, seed, epochs):
    # Batches may span two epochs. Whenever a multiple of COUNT images was used, each image was used equally often; in
    # between, the numbers of uses differ by at most one.
    used = Counter(dict.fromkeys(range(COUNT), 0))
    position = 0
    for batch in batches(images, batch_size=batch_size, steps=epochs * COUNT // batch_size + 1, seed=seed):
        for number in numbers(batch):
            used[number] += 1
            position += 1
            assert max(used.values()) - min(used.values()) <= 1
            if position % COUNT == 0:
                assert set(used.values()) == {position // COUNT}


@orders
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99), st.booleans())
def test_batches_do_not_depend_on_processes(images, processes, share, seed, flip):
    options = {"batch_size": processes * share, "steps": 7, "seed": seed, "flip": flip}
    whole = batches(images, **options)
    shares = [batches(images, **options, rank=rank, processes=processes) for rank in range(processes)]
    assert equal(whole, [torch.cat(parts) for parts in zip(*shares, strict=True)])


@orders
@given(st.integers(1, 30), st.integers(0, 12), st.integers(0, 99), st.booleans())
def test_resumption_is_continuation(images, batch_size, start, seed, flip):
    options = {"batch_size": batch_size, "steps": 12, "seed": seed, "flip": flip}
    assert equal(batches(images, **options)[start:], batches(images, **options, start=start))


@orders
@given(st.integers(1, 9), st.integers(0, 8), st.integers(1, 40), st.booleans())
def test_resumption_of_a_stream_is_continuation(folder, batch_size, start, buffer, flip):
    images = stream(folder, shuffle_buffer=buffer)
    options = {"batch_size": batch_size, "steps": 9, "flip": flip}
    assert equal(batches(images, **options)[start:], batches(images, **options, start=start))


def test_resumption_of_a_stream_that_skips_broken_images(damaged):
    images = whole_stream(damaged, broken="skip")
    assert equal(batches(images)[4:], batches(images, start=4))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(folder, images, workers):
    state = torch.get_rng_state()
    for kind in (images, stream(folder)):
        assert equal(batches(kind, flip=True, start=2), batches(kind, flip=True, start=2, workers=workers))
    assert torch.equal(state, torch.get_rng_state())


def test_stream_uses_each_image_once_an_epoch_in_an_order_of_its_own(folder):
    images = stream(folder, split=Split(0.8))
    count = len(members(images))
    found = [number for batch in batches(images, batch_size=count, steps=3) for number in numbers(batch)]
    epochs = [found[place : place + count] for place in range(0, 3 * count, count)]
    assert all(sorted(epoch) == sorted(members(images)) for epoch in epochs)
    assert all(first != second for first, second in itertools.combinations([*epochs, members(images)], 2))
    assert not equal(batches(images), batches(images, seed=4))


def test_shares_of_a_stream_are_together_the_batch(folder):
    images = stream(folder)
    shares = [batches(images, flip=True, rank=rank, processes=2) for rank in range(2)]
    assert equal(batches(images, flip=True), [torch.cat(parts) for parts in zip(*shares, strict=True)])


def test_flip_mirrors_half_of_the_images(images):
    plain = torch.cat(batches(images, steps=200))
    flipped = torch.cat(batches(images, steps=200, flip=True))
    mirrored = (flipped == plain.flip(-1)).flatten(1).all(1)
    assert ((flipped == plain).flatten(1).all(1) ^ mirrored).all()
    assert 0.44 < mirrored.float().mean() < 0.56  # 800 random bits, 3.4 standard deviations
    # Over the epochs, each image appears both mirrored and not mirrored.
    assert len({(n, bool(m)) for n, m in zip(numbers(plain), mirrored, strict=True)}) == 2 * COUNT


def test_orders_differ_between_seeds_and_epochs(images):
    one = [numbers(batch) for batch in batches(images, batch_size=COUNT, steps=2)]
    other = [numbers(batch) for batch in batches(images, batch_size=COUNT, steps=2, seed=4)]
    assert len({tuple(order) for order in (*one, *other)}) == 4


def test_orders_stay_the_same_from_version_to_version(images):
    assert [numbers(batch) for batch in batches(images, steps=2)] == [[20, 12, 3, 22], [15, 17, 13, 1]]


def test_batch_that_cannot_be_shared(images):
    with pytest.raises(UserError, match=r"training.batch_size: 10 is not divisible by .*, 4; use 8 or 12"):
        training_batches(images, batch_size=10, steps=1, seed=0, flip=False, processes=4)


# --- evaluation ------------------------------------------------------------------------------------------------------


@orders
@given(st.integers(1, 30), st.integers(1, 5), st.none() | st.integers(1, 30), st.booleans())
def test_evaluation_covers_every_image_once(folder, images, batch_size, processes, limit, streaming):
    kind: ImageSet = whole_stream(folder) if streaming else images
    found: list[tuple[int, int]] = []
    owners: list[tuple[int, int]] = []
    sizes = []
    for rank in range(processes):
        parts = list(evaluation_batches(kind, batch_size=batch_size, limit=limit, rank=rank, processes=processes))
        assert all(len(pixels) == batch_size for _, pixels in parts[:-1])
        sizes.append(sum(len(pixels) for _, pixels in parts))
        for indices, pixels in parts:
            owners += [(rank, index) for index in indices.tolist()]
            found += zip(indices.tolist(), numbers(pixels), strict=True)
    count = min(COUNT, limit or COUNT)
    expected = numbers(images.fetch(range(COUNT)))[:count]
    assert sorted(found) == list(enumerate(expected))
    # The batches are the same as with one process, and processes take them in turn.
    assert max(sizes) - min(sizes) <= batch_size
    assert all(index // batch_size % processes == rank for rank, index in owners)


# --- errors ----------------------------------------------------------------------------------------------------------


def message(path: Path | str, image: ImageSpec = SPEC, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(path, image, **options)
    return str(caught.value)


def test_missing_path(folder):
    assert f"did you mean '{folder}'" in message(f"{folder}s")
    assert f"did you mean '{folder}/part1'" in message(f"{folder}/parrt1/deeper")
    assert "does not exist; expected a folder of images" in message("./nothing/like/it")


def test_unreachable_hub(monkeypatch):
    def refuse() -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.get_session", refuse)
    for streaming in (False, True):
        text = message("flwrlabs/celeba", streaming=streaming)
        assert "hub could not be reached, and 'flwrlabs/celeba' is not in the local cache of `datasets`; " in text
        assert "--set data.path=FOLDER" in text
    with pytest.raises(UserError, match="is not a registered data set either; did you mean 'noto-emoji'"):
        load_images(DataConfig("noto-emojis"), SPEC, load_plugins())
    assert not datasets.config.HF_HUB_OFFLINE


def test_cached_set_that_cannot_be_loaded(monkeypatch):
    def other(*args: Any, **options: Any) -> None:
        raise ValueError("BuilderConfig 'b' not found.\nAvailable: ['c']")

    monkeypatch.setattr("auxar.data.hub._reachable", lambda: False)
    monkeypatch.setattr(datasets, "load_dataset", other)
    text = message("a/b")
    assert "could not be loaded from the local cache of `datasets`: BuilderConfig 'b' not found. Available" in text
    assert "registered" not in text


def test_hub_that_has_no_such_set(monkeypatch):
    def missing(*args: Any, **options: Any) -> None:
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist\non the Hub")

    monkeypatch.setattr("auxar.data.hub._reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", missing)
    assert "'a/b' could not be loaded from the Hugging Face hub: Dataset 'a/b' doesn't exist on the Hub" in message(
        "a/b"
    )


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    assert "has no images" in message(tmp_path)
    assert ".jpg" in message(tmp_path)
    assert "expected a folder of images or a .parquet file" in message(tmp_path / "notes.txt")


def unreadable(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Makes the listing of a folder fail. Permissions would not, because tests may run as root."""
    scan = os.scandir

    def refuse(path: Any = ".") -> Any:
        if not isinstance(path, int) and Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.parametrize("kind", ["png", "parquet"])
@pytest.mark.parametrize("place", [".", "b", "b/c"])
def test_folder_that_cannot_be_read(tmp_path, monkeypatch, place, kind):
    for number, name in enumerate(("a", "b/c", ".hidden")):
        if kind == "parquet":
            write_parquet(tmp_path / name / "train.parquet")
        else:
            (tmp_path / name).mkdir(parents=True)
            numbered(number).save(tmp_path / name / "x.png")
    with monkeypatch.context() as patch:
        unreadable(patch, tmp_path / place)
        for broken in ("error", "skip"):
            text = message(tmp_path, broken=broken)
            assert f"data.path: the folder {tmp_path / place} cannot be read: Permission denied; make it" in text
    unreadable(monkeypatch, tmp_path / ".hidden")  # Hidden folders are left out anyway.
    assert load(tmp_path, split=Split(0.5))


def test_path_that_cannot_be_looked_up(tmp_path):
    assert "cannot be read: File name too long" in message(f"{tmp_path}/{'a' * 300}")
    assert "cannot be read: Could not determine home directory" in message("~nobody-of-this-name/x")


def test_parquet_name_that_is_not_valid_utf8(tmp_path):
    source = write_parquet(tmp_path / "train.parquet")
    source.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.parquet"))
    assert "is not valid UTF-8; rename it" in message(tmp_path)


def test_parquet_that_is_none(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR")
    assert "bad.parquet cannot be read as parquet" in message(tmp_path / "bad.parquet")


def test_empty_set(tmp_path):
    write_parquet(tmp_path / "none.parquet", count=0)
    assert "none.parquet contains no images" in message(tmp_path / "none.parquet")
    for name, count in (("train", 2), ("test", 0)):
        write_parquet(tmp_path / "splits" / f"{name}.parquet", count=count)
    assert "the split 'test' of" in message(tmp_path / "splits", heldout="test")


def test_unknown_split(folder):
    assert "data.train: " in message(folder, train="validation")
    assert "has no split 'validation' (known: train)" in message(folder, train="validation")


def test_stream_without_images_on_one_side(folder, tmp_path):
    assert "the stream gives no images for training: " in message(folder, streaming=True, split=Split(1e-9))
    text = message(folder, streaming=True, split=Split(1 - 1e-9))
    assert "the stream gives no held-out images: it is empty, or all its images are for training (data.split" in text
    for name, count in (("train", 2), ("test", 0)):
        write_parquet(tmp_path / f"{name}.parquet", count=count)
    text = message(tmp_path, heldout="test", streaming=True)
    assert "the split 'test' of" in text
    assert "contains no images, because it has no rows" in text


def test_stream_of_broken_images_gives_no_empty_batches(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"broken")
    images = stream(tmp_path, broken="skip", split=Split(0.5, seed=1))
    for processes in (1, 2):
        for rank in range(processes):
            with pytest.raises(UserError, match=r"gives no images for training: .* or broken"):
                list(evaluation_batches(images, batch_size=2, rank=rank, processes=processes))
            assert list(evaluation_batches(images, batch_size=2, limit=0, rank=rank, processes=processes)) == []
    with pytest.raises(UserError, match="gives no images for training"):
        batches(images)


def test_columns(tmp_path):
    two = write_parquet(tmp_path / "two.parquet", columns=("left", "right"))
    assert "2 columns with images" in message(two)
    assert "left (Image), right (Image), label (int64)" in message(two)
    assert "no column 'lefft'; did you mean 'left'?" in message(two, column="lefft")
    assert "column 'label' of" in message(two, column="label")
    datasets.Dataset.from_dict({"label": [1, 2]}).to_parquet(tmp_path / "none.parquet")
    assert "path: string>; the columns are label (int64)" in message(tmp_path / "none.parquet")


@pytest.mark.parametrize("source", ["parquet", "hub"])
def test_each_column_gives_its_own_images(tmp_path, monkeypatch, source):
    """Images of one column are not taken from the cache for another, and training notices that the column changed."""
    path = str(write_parquet(tmp_path / "two.parquet", columns=("left", "right")))
    if source == "hub":
        rows = datasets.Dataset.from_parquet(path)

        def load_from_hub(name: str, config: str | None, streaming: bool, registered: Any) -> Any:
            return {"train": rows.to_iterable_dataset() if streaming else rows}, Reach(())

        monkeypatch.setattr("auxar.data.source.load_from_hub", load_from_hub)
        path = "own/set"
    for column, first in (("left", 0), ("right", 100), ("left", 0)):
        assert numbers(stored(path, column=column).fetch(range(8))) == list(range(first, first + 8))
    left, right = (stream(path, column=column, split=Split(0.5)).fingerprint for column in ("left", "right"))
    assert left != right
    if source == "hub":
        assert left != stream(path, column="left", split=Split(0.5), config="other").fingerprint


def test_sizes(folder):
    text = message(folder, ImageSpec(3, height=8, width=6))
    assert "part0/000.png has 4×4 pixels, but [image] has 8×6" in text
    assert "(3×2 after data.crop)" in message(folder, crop=Crop(top=1, left=2))
    assert "data.crop: the margins leave nothing of part0/000.png" in message(folder, crop=Crop(top=4))


def test_shapes_that_data_cannot_supply(folder):
    assert "image.channels: expected 1 (gray) or 3 (RGB)" in message(folder, ImageSpec(4, height=4, width=4))
    assert "image.levels: expected 2 to 256" in message(folder, ImageSpec(3, height=4, width=4, levels=257))


def test_all_images_broken(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    assert "are broken; the first is a.png: the file is empty" in message(tmp_path, broken="skip")


def test_images_of_unusable_values_are_broken(tmp_path):
    Image.new("F", (4, 4), 0.5).save(tmp_path / "a.tiff")
    Image.new("I", (4, 4), 70_000).save(tmp_path / "b.tiff")
    assert "cannot be read as an image: pixel values are floats" in message(tmp_path)


def test_cache_that_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    assert "cannot be written: Not a directory; free disk space, or set" in message(folder)
