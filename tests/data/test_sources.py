"""Tests of sources of images: folders, parquet files and the hub, their splits and names, and what is read again."""

import errno
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from helpers.image_sets import (
    SPEC,
    encoded,
    every_number,
    load,
    members,
    numbered,
    numbers,
    refusal,
    write_numbered,
    write_parquet,
)
from helpers.tiny_runs import run, stopping_at, tiny
from PIL import Image

from auxar import pipeline
from auxar.data.level_use import unused_levels
from auxar.data.loading import load_images
from auxar.data.reach import Reach
from auxar.data.sets import ImageSet
from auxar.data.source import EncodedImages
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.plugins import load_plugins
from auxar.recipe import Crop, DataConfig, Split

BOTH = pytest.mark.parametrize("streaming", [False, True])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("numbered")
    for part in range(3):
        write_numbered(root / f"part{part}", 4, 10 * part)
    return root


def names(images: ImageSet) -> list[str]:
    return [name for name, _ in images.named()]


# --- splits and names ------------------------------------------------------------------------------------------------


@BOTH
def test_subfolders_are_splits_when_one_has_the_name(tmp_path, streaming):
    for name, first in (("train", 0), ("val", 10)):
        write_numbered(tmp_path / name, 3, first)
    (tmp_path / "val" / "._010.png").write_bytes(b"resource fork")
    sets = load(tmp_path, heldout="val", streaming=streaming)
    assert names(sets.train) == ["train/000.png", "train/001.png", "train/002.png"]
    assert names(sets.heldout) == ["val/010.png", "val/011.png", "val/012.png"]
    told = "has no split 'vall'; did you mean 'val'? (known: train, val)"
    assert told in refusal(tmp_path, heldout="vall", streaming=streaming)
    assert "'train' is also the training split" in refusal(tmp_path, heldout="train")


@BOTH
def test_parquet_files_are_splits_by_their_names_and_win_over_images(tmp_path, streaming):
    for name, count in (("train", 6), ("test", 3)):
        write_parquet(tmp_path / f"{name}-00000-of-00001.parquet", count)
    write_numbered(tmp_path, 5, 20)
    sets = load(tmp_path, heldout="test", streaming=streaming)
    assert (members(sets.train), members(sets.heldout)) == (list(range(6)), [0, 1, 2])


# Each name is a pattern or an address for some library, and the name beside it is the one that it resolves to.
ODD = {"white[1]": "white1", "a*": "aa", "{a,b}": "a", "p%20q": "p q", "two\nlines": "two lines", "zip:\\a": "a"}


@pytest.mark.parametrize("name", ODD)
def test_a_local_path_is_no_pattern(tmp_path, name):
    for place, first in ((name, 0), (ODD[name], 100)):
        for file in (f"{place}.parquet", f"{place}/{place.replace(chr(10), '[1]')}.parquet"):
            write_parquet(tmp_path / file, 12, first)
    for path, streaming in ((f"{name}.parquet", False), (name, False), (name, True)):
        assert every_number(load(tmp_path / path, streaming=streaming)) == list(range(12))


def test_a_path_that_datasets_cannot_read_is_refused(tmp_path):
    file = write_parquet(tmp_path / "x::y.parquet")
    assert f"the path of the parquet file {file} contains '::'; rename it" in refusal(file)


@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
def test_the_card_of_a_parquet_folder_names_its_splits(tmp_path, card):
    folder = tmp_path / "set[1]"
    for number, name in enumerate(("one/a", "one/b", "two/a")):
        write_parquet(folder / f"{name}.parquet", 2, 10 * number)
    text = (
        "configs:\n"
        "- {config_name: one, data_files: [{split: train, path: one/a*}, {split: val, path: one/b*}]}\n"
        "- {config_name: two, data_files: two/*}\n"
    )
    (folder / card).write_text(f"---\n{text}---\n" if card == "README.md" else text)
    assert every_number(load(folder, config="one", heldout="val")) == [0, 1, 10, 11]
    assert every_number(load(folder, config="two")) == [20, 21]
    assert "BuilderConfig 'three' not found" in refusal(folder, config="three")


@BOTH
def test_a_limit_takes_the_first_images(folder, streaming):
    assert every_number(load(folder, limit=6, streaming=streaming)) == [0, 1, 2, 3, 10, 11]


def test_remote_files_are_fetched(tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("0.png", encoded(numbered(0)))
    source = EncodedImages(None, "image", None, "", "", reach=Reach((tmp_path.resolve(),), repository="own/set"))
    value = {"path": f"zip://0.png::{archive}", "bytes": None}
    assert (source.name(value, 0), source.content(value)) == (value["path"], encoded(numbered(0)))
    with pytest.raises(UserError, match="cannot be downloaded"):
        source.content({"path": f"zip://0.png::{tmp_path}/none.zip", "bytes": None})


# --- fingerprints and the cache --------------------------------------------------------------------------------------


@BOTH
def test_the_fingerprint_follows_data_and_preparation(folder, tmp_path, streaming):
    copy = shutil.copytree(folder, tmp_path / "copy")
    gray = ImageSpec(3, height=4, width=4, levels=8)

    def found(path: Path = folder, image: ImageSpec = SPEC, **options: Any) -> str:
        return load(path, image, streaming=streaming, **options).train.fingerprint

    assert found() == found(copy)
    others = [
        found(image=gray),
        found(split=Split(0.5, seed=1)),
        found(limit=9),
        found(crop=Crop(left=1), resize="cover"),
    ]
    heldout = load(folder, streaming=streaming).heldout.fingerprint
    assert len({found(), heldout, *others}) == 6


@pytest.mark.parametrize("change", ["the content", "the file"])
def test_a_changed_file_of_equal_size_and_time_is_converted_again(tmp_path, change):
    folder, other = tmp_path / "images", tmp_path / "3.ppm"
    folder.mkdir()
    file = folder / "1.ppm"
    for number, target in ((1, file), (2, folder / "2.ppm"), (3, other)):
        numbered(number).save(target)
        os.utime(target, (1, 1))
    assert every_number(load(folder)) == [1, 2]
    before = file.stat()
    if change == "the content":
        file.write_bytes(other.read_bytes())
        os.utime(file, (1, 1))
    else:
        other.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime) == (before.st_size, 1)
    assert every_number(load(folder)) == [2, 3]


@pytest.mark.parametrize("source", ["parquet", "hub"])
def test_each_column_gives_its_own_images(tmp_path, monkeypatch, source):
    """Images of one column are not taken from the cache for another, and training notices that the column changed."""
    right = [{"bytes": encoded(numbered(100 + number)), "path": ""} for number in range(8)]
    path = str(write_parquet(tmp_path / "two.parquet", right=right))
    if source == "hub":
        rows = datasets.Dataset.from_parquet(path)

        def load_from_hub(name: str, config: str | None, streaming: bool, registered: Any) -> Any:
            return {"train": rows.to_iterable_dataset() if streaming else rows}, Reach(())

        monkeypatch.setattr("auxar.data.source.load_from_hub", load_from_hub)
        path = "own/set"
    for column, first in (("image", 0), ("right", 100), ("image", 0)):
        assert every_number(load(path, column=column)) == list(range(first, first + 8))
    keys: list[dict[str, Any]] = [
        {"column": "image"},
        {"column": "right"},
        *([{"column": "image", "config": "other"}] * (source == "hub")),
    ]
    assert len({load(path, streaming=True, **key).train.fingerprint for key in keys}) == len(keys)
    assert "2 columns with images; set data.column to one of them; the columns are image (" in refusal(path)


# --- broken images ---------------------------------------------------------------------------------------------------


def test_broken_images_end_the_run_or_are_skipped_and_only_they_are_tried_again(tmp_path, conversions):
    write_numbered(tmp_path, 12)
    (tmp_path / "003.png").write_bytes(b"no image")
    (tmp_path / "008.png").write_bytes((tmp_path / "008.png").read_bytes()[:60])
    assert refusal(tmp_path, config="a").endswith(" is a folder of image files, which has no configurations")
    text = refusal(tmp_path)
    assert text.startswith(f"data.path: 003.png (and 1 more) in the split 'train' of {tmp_path} cannot be read as an")
    assert "set data.broken = 'skip'" in text
    first = load(tmp_path, broken="skip")
    assert first.skipped == ("003.png", "008.png")
    assert every_number(first) == [0, 1, 2, 4, 5, 6, 7, 9, 10, 11]
    conversions.clear()
    second = load(tmp_path, broken="skip")
    assert set(conversions) == set(first.skipped) == set(second.skipped)
    assert second.train.fingerprint == first.train.fingerprint


@pytest.mark.parametrize("broken", ["error", "skip"])
def test_an_image_that_could_not_be_read_once_is_read_again(tmp_path, monkeypatch, broken):
    write_numbered(tmp_path, 8)

    def failing(path: Path) -> bytes:
        if path.name in ("003.png", "005.png"):
            raise OSError(errno.EIO, "Input/output error")
        return path.read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr("auxar.data.source.read_file", failing)
        for _ in range(2):
            if broken == "error":
                assert "003.png (and 1 more) in the split 'train'" in refusal(tmp_path)
            else:
                assert every_number(load(tmp_path, broken="skip")) == [0, 1, 2, 4, 6, 7]
    assert every_number(load(tmp_path, broken=broken)) == list(range(8))


def test_a_set_of_broken_images_is_refused(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    assert "are broken; the first is a.png: the file is empty" in refusal(tmp_path, broken="skip")


# --- what cannot be read ---------------------------------------------------------------------------------------------


def test_a_missing_path_is_told_with_the_nearest_one(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    assert f"did you mean '{folder}'" in refusal(f"{folder}s")
    assert f"did you mean '{folder}/part1'" in refusal(f"{folder}/parrt1/deeper")
    assert "does not exist; expected a folder of images" in refusal("./nothing/like/it")
    assert "cannot be read: File name too long" in refusal(f"{tmp_path}/{'a' * 300}")
    assert "cannot be read: Could not determine home directory" in refusal("~nobody-of-this-name/x")
    assert "'imagefolder' is the name of a file format" in refusal("imagefolder")
    (tmp_path / "notes.txt").write_text("no image")
    assert "has no images; expected files that end in .avif" in refusal(tmp_path)
    assert "expected a folder of images or a .parquet file" in refusal(tmp_path / "notes.txt")


def test_the_hub_that_cannot_be_reached(monkeypatch):
    def refuse() -> None:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.get_session", refuse)
    for streaming in (False, True):
        text = refusal("flwrlabs/celeba", streaming=streaming)
        assert "hub could not be reached, and 'flwrlabs/celeba' is not in the local cache of `datasets`; " in text
        assert "--set data.path=FOLDER" in text
    with pytest.raises(UserError, match="is not a registered data set either; did you mean 'emoji'"):
        load_images(DataConfig("emojis"), SPEC, load_plugins())
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_set_that_cannot_be_loaded(monkeypatch):
    streams = []

    def other(*args: Any, streaming: bool, **options: Any) -> None:
        streams.append(streaming)
        raise ValueError("BuilderConfig 'b' not found.\nAvailable: ['c']")

    monkeypatch.setattr(datasets, "load_dataset", other)
    for reachable, place in ((True, "the Hugging Face hub"), (False, "the local cache of `datasets`")):
        monkeypatch.setattr("auxar.data.hub._reachable", lambda reachable=reachable: reachable)
        text = refusal("a/b", streaming=reachable)
        assert f"could not be loaded from {place}: BuilderConfig 'b' not found. Available" in text
        assert "registered" not in text
    assert streams == [True, False]


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    for name in ("a", "b/c", ".hidden"):
        write_numbered(tmp_path / name, 2)
    scan, refused = os.scandir, [tmp_path / "b" / "c"]

    def refuse(path: Any = ".") -> Any:
        # Permissions would not make it fail, because tests may run as root.
        if not isinstance(path, int) and Path(path) in refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    text = f"data.path: the folder {refused[0]} cannot be read: Permission denied; make it"
    assert text in refusal(tmp_path, broken="skip")
    refused[:] = [tmp_path / ".hidden"]  # Hidden folders are left out anyway.
    assert load(tmp_path)


@pytest.mark.parametrize("extension", ["png", "parquet"])
def test_a_name_that_is_not_valid_utf8(tmp_path, extension):
    (tmp_path / f"\udcff.{extension}").write_bytes(b"")
    assert "is not valid UTF-8; rename it" in refusal(tmp_path)


def test_a_stream_without_images_on_one_side(folder):
    assert "the stream gives no images for training: " in refusal(folder, streaming=True, split=Split(1e-9))
    text = refusal(folder, streaming=True, split=Split(1 - 1e-9))
    assert "the stream gives no held-out images: it is empty, or all its images are on other sides" in text


def test_images_of_another_size(folder):
    assert "part0/000.png has 4×4 pixels; expected 8×6" in refusal(folder, ImageSpec(3, height=8, width=6))
    assert "(3×2 after data.crop)" in refusal(folder, crop=Crop(top=1, left=2))
    assert "data.crop: the margins leave nothing of part0/000.png" in refusal(folder, crop=Crop(top=4))


# --- levels ----------------------------------------------------------------------------------------------------------


@BOTH
def test_pixels_are_levels_if_the_recipe_says_so(tmp_path, streaming):
    for number in range(17):
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / f"{number:02}.png")

    def found(levels: int = 17, **options: Any) -> tuple[str, list[int]]:
        image = ImageSpec(1, height=4, width=4, levels=levels)
        train = load(tmp_path, image, streaming=streaming, **options).train
        return train.fingerprint, numbers(next(train.whole().in_order(17)))

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
        ([7], 256, "scaled", "1 of 256 levels, 7"),
        (range(17), 17, "levels", None),
        ([0, 255], 2, "scaled", None),
        (range(0, 256, 7), 256, "scaled", None),
        (range(40, 200), 256, "scaled", None),
    ],
)
def test_levels_that_are_not_used_are_told(tmp_path, pixels, levels, values, expected):
    for number in range(8):
        Image.fromarray(np.resize(np.array(pixels, np.uint8), (16, 16))).save(tmp_path / f"{number}.png")
    image = ImageSpec(1, height=16, width=16, levels=levels)
    stored, streamed = (
        unused_levels(load(tmp_path, image, streaming=streaming, values=values).train, values)
        for streaming in (False, True)
    )
    if stored is None or streamed is None:
        assert expected is stored is streamed is None
    else:
        assert expected in stored
        assert "first images" in streamed


def test_a_run_tells_unused_levels_before_it_trains(pictures, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pipeline, "unused_levels", lambda *_: "words")
    with stopping_at(pipeline, "FactorTraining", 1):
        run(tmp_path / "run", tiny(pictures))
    assert sum("words" in text for text in caplog.messages) == 1
