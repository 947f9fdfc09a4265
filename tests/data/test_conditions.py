"""Tests of the conditions that come with images: columns, files beside images, folders; mirrored, dropped, streamed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from auxar.data import DataSets, Examples, evaluation_examples, load_images, training_examples
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.plugins import Registry
from auxar.recipe import ComponentChoice, Crop, DataConfig, Split
from auxar.recipe.condition import ConditionConfig

SPEC = ImageSpec(3, height=4, width=4)
COUNT = 12
NAMES = ("cat", "dog", "owl")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A separate cache folder of the `datasets` library for this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


def picture(number: int, height: int = 4, width: int = 4) -> Image.Image:
    """An image whose red channel is its number. Its left half is blue, so that mirroring can be detected."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = number
    pixels[:, : width // 2, 2] = 255
    return Image.fromarray(pixels)


def mask(number: int, height: int = 4, width: int = 4) -> Image.Image:
    """A mask of the classes 0, 1 and 2 that differs between numbers and between its left and right half."""
    values = np.zeros((height, width), np.uint8)
    values[:, width // 2 :] = 1 + number % 2
    return Image.fromarray(values)


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def table(path: Path, **columns: list[Any]) -> Path:
    """A parquet file of numbered images with further columns."""
    images = [{"bytes": encoded(picture(number)), "path": f"{number}.png"} for number in range(COUNT)]
    pyarrow.parquet.write_table(pa.table({"image": images, **columns}), path)
    return path


def load(path: Path, image: ImageSpec = SPEC, data: dict[str, Any] | None = None, **options: Any) -> DataSets:
    config = DataConfig(str(path), **{"split": Split(0.5), **(data or {})})
    return load_images(config, image, Registry(), ConditionConfig(**options))


def pairs(sets: DataSets) -> dict[int, list[int]]:
    """The condition of each image, by the image's number."""
    found: dict[int, list[int]] = {}
    for images in (sets.train, sets.heldout):
        for _, batch in evaluation_examples(images, batch_size=5):
            assert condition(batch).dtype == torch.int32
            assert images.condition is not None
            images.condition.check(condition(batch))
            found |= dict(zip(batch.image[:, 0, 0, 0].tolist(), condition(batch).flatten(1).tolist(), strict=True))
    return dict(sorted(found.items()))


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("text", [False, True], ids=["numbers", "names"])
def test_labels_in_a_column(tmp_path, text, streaming):
    labels = [number % 3 for number in range(COUNT)]
    path = table(tmp_path / "a.parquet", y=[NAMES[label] for label in labels] if text else labels)
    sets = load(path, kind="label", column="y", names=NAMES, data={"streaming": streaming})
    assert pairs(sets) == {number: [label] for number, label in enumerate(labels)}


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("form", ["columns", "list", "signs", "names", "table"])
def test_attributes(tmp_path, form, streaming):
    values = [[number % 2, number // 2 % 2, number // 4 % 2] for number in range(COUNT)]
    signs = [[2 * value - 1 for value in row] for row in values]
    forms: dict[str, dict[str, Any]] = {
        "columns": {name: [bool(row[k]) for row in values] for k, name in enumerate(NAMES)},
        "list": {"y": values},
        "signs": {"y": signs},
        "names": {"y": [[name for name, value in zip(NAMES, row, strict=True) if value] for row in values]},
        "table": {"y": [dict(zip(NAMES, row, strict=True)) for row in values]},
    }
    path = table(tmp_path / "a.parquet", **forms[form])
    where: dict[str, Any] = {"columns": NAMES} if form == "columns" else {"column": "y", "names": NAMES}
    sets = load(path, kind="attributes", data={"streaming": streaming}, **where)
    assert pairs(sets) == dict(enumerate(values))


@pytest.fixture
def folder(tmp_path):
    """A folder of images with labels, attributes, masks and images beside them."""
    root = tmp_path / "pictures"
    for number in range(COUNT):
        place = root / NAMES[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        picture(number).save(place / f"{number}.png")
        mask(number).save(place / f"{number}.mask.png")
        picture(100 + number).save(place / f"{number}.pair.png")
        label = {"label": number % 3, "attributes": {"cat": 1, "dog": 0, "owl": number % 2}}
        (place / f"{number}.json").write_text(json.dumps(label))
        (place / f"{number}.txt").write_text(f"{NAMES[number % 3]}\n")
    return root


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("where", [{"suffix": ".json", "key": "label"}, {"suffix": ".txt"}, {"folders": True}], ids=str)
def test_labels_beside_images_and_as_names_of_folders(folder, where, streaming):
    for file in folder.rglob("*.*.png"):
        file.unlink()
    sets = load(folder, kind="label", names=NAMES, data={"streaming": streaming}, **where)
    assert pairs(sets) == {number: [number % 3] for number in range(COUNT)}


def test_attributes_beside_images_as_text(folder):
    for file in folder.rglob("*.*.png"):
        file.unlink()
    for file in folder.rglob("*.txt"):
        file.write_text("owl, dog\n" if int(file.stem) % 2 else "")
    found = pairs(load(folder, kind="attributes", names=("owl", "cat", "dog"), suffix=".txt"))
    assert found == {number: [number % 2, 0, number % 2] for number in range(COUNT)}


def test_attributes_beside_images(folder):
    for file in folder.rglob("*.*.png"):
        file.unlink()
    sets = load(folder, kind="attributes", names=("owl", "dog"), suffix=".json", key="attributes")
    assert pairs(sets) == {number: [number % 2, 0] for number in range(COUNT)}


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
def test_masks_and_images_beside_images_are_not_images_of_the_set(folder, streaming):
    for file in folder.rglob("*.pair.png"):
        file.unlink()
    found = pairs(load(folder, kind="mask", suffix=".mask.png", classes=3, data={"streaming": streaming}))
    assert found == {number: 4 * [0, 0, 1 + number % 2, 1 + number % 2] for number in range(COUNT)}


def test_images_beside_images(folder):
    for file in folder.rglob("*.mask.png"):
        file.unlink()
    found = pairs(load(folder, kind="image", suffix=".pair.png"))
    assert found == {number: 16 * [100 + number] + 16 * [0] + 4 * [255, 255, 0, 0] for number in range(COUNT)}


def test_masks_in_a_column_of_images(tmp_path):
    path = table(tmp_path / "a.parquet", y=[{"bytes": encoded(mask(n)), "path": ""} for n in range(COUNT)])
    found = pairs(load(path, kind="mask", column="y", classes=3))
    assert found == {number: 4 * [0, 0, 1 + number % 2, 1 + number % 2] for number in range(COUNT)}


def test_masks_are_cropped_with_their_images_and_resized_without_interpolation(tmp_path):
    for number in range(4):
        picture(number, 10, 12).save(tmp_path / f"{number}.png")
        mask(number, 10, 12).save(tmp_path / f"{number}.mask.png")
    data = {"crop": Crop(left=4), "resize": "stretch"}
    found = pairs(load(tmp_path, kind="mask", suffix=".mask.png", classes=3, data=data))
    # Columns 4 … 11 remain: two of class 0 and six of another class.
    assert found == {number: 4 * [0, *(3 * [1 + number % 2])] for number in range(4)}


def test_an_image_of_its_own_size_is_neither_cropped_nor_compared(tmp_path):
    for number in range(4):
        picture(number, 10, 12).save(tmp_path / f"{number}.png")
        picture(50 + number, 2, 2).save(tmp_path / f"{number}.small.png")
    data = {"crop": Crop(left=6, top=4), "resize": "stretch"}
    sizes: dict[str, Any] = {"height": 2, "width": 2, "channels": 1}
    found = pairs(load(tmp_path, kind="image", suffix=".small.png", data=data, **sizes))
    assert list(map(len, found.values())) == 4 * [4]


def training(sets: DataSets, **options: Any) -> list[Examples]:
    return list(training_examples(sets.train, **{"batch_size": 6, "steps": 8, "seed": 3, "flip": False, **options}))


def condition(batch: Examples) -> torch.Tensor:
    assert batch.condition is not None
    return batch.condition


def equal(first: list[Examples], second: list[Examples]) -> bool:
    return all(
        torch.equal(a.image, b.image) and torch.equal(condition(a), condition(b))
        for a, b in zip(first, second, strict=True)
    )


@pytest.fixture
def masks(folder):
    for file in folder.rglob("*.pair.png"):
        file.unlink()
    return load(folder, kind="mask", suffix=".mask.png", classes=3)


def test_conditions_are_mirrored_with_their_images(masks):
    turns = []
    for plain, flipped in zip(training(masks), training(masks, flip=True), strict=True):
        turned = (plain.image != flipped.image).flatten(1).any(1)
        assert torch.equal(flipped.image[turned], plain.image[turned].flip(-1))
        assert torch.equal(condition(flipped)[turned], condition(plain)[turned].flip(-1))
        assert torch.equal(condition(flipped)[~turned], condition(plain)[~turned])
        turns += turned.tolist()
    assert 0 < sum(turns) < len(turns)


def test_conditions_are_dropped_as_often_as_asked_and_the_images_stay(masks):
    plain, dropped = training(masks, steps=400), training(masks, steps=400, drop=0.3)
    for before, after in zip(plain, dropped, strict=True):
        null = (condition(after) == -1).flatten(1)
        assert torch.equal(null.all(1), null.any(1))
        assert torch.equal(condition(after)[~null.all(1)], condition(before)[~null.all(1)])
        assert torch.equal(before.image, after.image)
    share = torch.cat([(condition(batch) == -1).flatten(1)[:, 0] for batch in dropped]).double().mean()
    assert abs(share - 0.3) < 0.04


def test_images_are_mirrored_and_their_conditions_dropped_independently(masks):
    plain, changed = training(masks, steps=200), training(masks, steps=200, flip=True, drop=0.5)
    turned = torch.cat([(a.image != b.image).flatten(1).any(1) for a, b in zip(plain, changed, strict=True)])
    null = torch.cat([(condition(batch) == -1).flatten(1).all(1) for batch in changed])
    for of_turned in (turned, ~turned):
        assert abs(null[of_turned].double().mean() - 0.5) < 0.08


def test_batches_are_the_same_after_a_restart_with_workers_and_in_several_processes(masks):
    options = {"flip": True, "drop": 0.3}
    whole = training(masks, **options)
    assert equal(training(masks, start=5, **options), whole[5:])
    assert equal(training(masks, workers=2, **options), whole)
    shares = [training(masks, rank=rank, processes=3, **options) for rank in range(3)]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([condition(part) for part in parts]), condition(batch))


def test_loops_of_users_get_conditions(masks):
    shuffled = next(masks.train.shuffled_examples(4, seed=1, flip=True))
    assert torch.equal(next(masks.train.shuffled(4, seed=1, flip=True)), shuffled.image)
    assert shuffled.condition is not None
    assert [len(batch) for batch in masks.heldout.in_order_examples(4)] == [4, 2]
    with pytest.raises(UserError, match="drop: expected a number from 0 to 1"):
        masks.train.shuffled_examples(4, drop=1.5)


def test_fingerprints_depend_on_conditions(tmp_path, monkeypatch):
    labels = [number % 3 for number in range(COUNT)]
    first = load(table(tmp_path / "a.parquet", y=labels), kind="label", column="y", classes=3).train
    again = load(table(tmp_path / "b.parquet", y=labels), kind="label", column="y", classes=3).train
    other = load(table(tmp_path / "c.parquet", y=labels[::-1]), kind="label", column="y", classes=3).train
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint
    for options in ({"drop": 0.5}, {"prior": ComponentChoice("pixelcnn")}, {"embedding": ComponentChoice("resnet")}):
        same: dict[str, Any] = {"kind": "label", "column": "y", "classes": 3, **options}
        assert load(tmp_path / "a.parquet", **same).train.fingerprint == first.fingerprint
    more = load(tmp_path / "a.parquet", kind="label", column="y", classes=4).train
    assert more.fingerprint != first.fingerprint
    # The condition of every image counts, also if conditions are read a few at a time.
    monkeypatch.setattr("auxar.data.stored.ROWS", 2)
    fingerprints = set()
    for changed in range(COUNT):
        own = [(label + (number == changed)) % 3 for number, label in enumerate(labels)]
        sets = load(table(tmp_path / f"{changed}.parquet", y=own), kind="label", column="y", classes=3)
        fingerprints |= {sets.train.fingerprint, sets.heldout.fingerprint}
    # Each change concerns one of the two sets, and the other is that of the unchanged labels.
    assert len(fingerprints) == COUNT + 2


def test_changed_files_beside_images_are_read_again(folder):
    for file in folder.rglob("*.*.png"):
        file.unlink()
    options: dict[str, Any] = {"kind": "label", "names": NAMES, "suffix": ".txt"}
    assert pairs(load(folder, **options))[0] == [0]
    (folder / "cat" / "0.txt").write_text("owl\n")  # The file has as many bytes as before.
    assert pairs(load(folder, **options))[0] == [2]


def test_conditions_of_other_settings_are_read_again(folder):
    """Each setting that says how conditions are read gives other conditions of the same images in the same cache."""
    for file in folder.rglob("*.*.png"):
        file.unlink()
    for file in folder.rglob("*.json"):
        number = int(file.stem)
        file.with_suffix(".other").write_text(str((number + 1) % 3))
        file.write_text(json.dumps({"label": number % 3, "second": (number + 2) % 3}))
    settings: list[dict[str, Any]] = [
        {"suffix": ".json", "key": "label"},
        {"suffix": ".json", "key": "second"},
        {"suffix": ".other"},
        {"suffix": ".txt"},
    ]
    sets = [load(folder, kind="label", names=NAMES, **each) for each in settings]
    assert [pairs(each)[0] for each in sets] == [[0], [2], [1], [0]]
    assert len({each.train.fingerprint for each in sets}) == 4


def test_an_image_whose_mask_is_missing_is_broken(folder, caplog):
    for file in folder.rglob("*.pair.png"):
        file.unlink()
    (folder / "cat" / "0.mask.png").unlink()
    options: dict[str, Any] = {"kind": "mask", "suffix": ".mask.png", "classes": 3}
    with pytest.raises(UserError, match=r"cat/0.png .*its mask cannot be read: the file does not exist"):
        load(folder, **options)
    sets = load(folder, data={"broken": "skip"}, **options)
    assert sets.skipped == ("cat/0.png",)
    assert 0 not in pairs(sets)


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "missing column": ({"y": [0]}, {"kind": "label", "column": "x", "classes": 3}, "condition.column: .*no column 'x'"),
    "label too large": (
        {"y": [3]},
        {"kind": "label", "column": "y", "classes": 3},
        "label 3 is no class; expected .* 0 to 2",
    ),
    "negative label": (
        {"y": [-1]},
        {"kind": "label", "column": "y", "classes": 3},
        "label -1 is no class; expected .* 0 to 2",
    ),
    "no label": ({"y": [None]}, {"kind": "label", "column": "y", "classes": 3}, "the label None is no class; expected"),
    "fraction": ({"y": [0.5]}, {"kind": "label", "column": "y", "classes": 3}, "the label 0.5 is no class; expected"),
    "unknown name": ({"y": ["dgo"]}, {"kind": "label", "column": "y", "names": NAMES}, "did you mean 'dog'"),
    "names unknown": ({"y": ["dog"]}, {"kind": "label", "column": "y", "classes": 3}, "condition.names gives names"),
    "too few attributes": (
        {"y": [[1]]},
        {"kind": "attributes", "column": "y", "names": NAMES},
        "1 attributes; expected 3",
    ),
    "attribute 2": (
        {"y": [[1, 0, 2]]},
        {"kind": "attributes", "column": "y", "names": NAMES},
        "'owl' is 2; expected",
    ),
    "attributes no list": (
        {"y": ["x"]},
        {"kind": "attributes", "column": "y", "names": NAMES},
        "'x' is unknown",
    ),
    "column of images": ({"y": [0]}, {"kind": "label", "column": "image", "classes": 3}, "no column with images"),
    "no mask": ({"y": [b"x"]}, {"kind": "mask", "column": "y", "classes": 3}, "its mask cannot be read"),
    "files": ({"y": [0]}, {"kind": "label", "suffix": ".txt", "classes": 3}, "condition.suffix: .*condition.column"),
    "mask of another size": (
        {"y": [encoded(mask(0, 2, 2))]},
        {"kind": "mask", "column": "y", "classes": 3},
        r"the mask of [01].png has 2×2 pixels .*but the image has 4×4",
    ),
    "mask with a class too many": (
        {"y": [encoded(mask(1))]},
        {"kind": "mask", "column": "y", "classes": 2},
        "the mask of [01].png has the class 2; expected integers from 0 to 1",
    ),
    "colored mask": (
        {"y": [encoded(picture(1))]},
        {"kind": "mask", "column": "y", "classes": 2},
        "has the colors RGB; expected a gray picture",
    ),
}


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_wrong_condition_is_one_error(tmp_path, case, streaming):
    columns, options, message = case
    columns = {name: values * COUNT for name, values in columns.items()}
    with pytest.raises(UserError, match=message):
        pairs(load(table(tmp_path / "a.parquet", **columns), data={"streaming": streaming}, **options))


def test_a_folder_has_no_columns_and_needs_folders_of_labels(folder):
    with pytest.raises(UserError, match=r"condition.column: .* has no column 'y'"):
        load(folder, kind="label", column="y", classes=3)
    with pytest.raises(UserError, match=r"condition.folders: cat/0.*is in no folder with the name of a class"):
        load(folder, kind="label", folders=True, names=("dog", "owl"))


def test_palettes_and_black_and_white_masks_are_classes(tmp_path):
    for number in range(4):
        picture(number).save(tmp_path / f"{number}.png")
        palette = mask(number).convert("P")
        palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
        image = palette if number % 2 else mask(0).point(lambda value: 255 * value).convert("1")
        image.save(tmp_path / f"{number}.mask.png")
    found = pairs(load(tmp_path, kind="mask", suffix=".mask.png", classes=3))
    assert found == {number: 4 * [0, 0, 1 + number % 2, 1 + number % 2] for number in range(4)}


def test_a_class_with_the_name_of_the_training_split_is_refused(folder):
    (folder / "cat").rename(folder / "train")
    options: dict[str, Any] = {"kind": "label", "folders": True, "names": ("train", "dog", "owl")}
    for file in folder.rglob("*.*.png"):
        file.unlink()
    with pytest.raises(UserError, match=r"data.train: 'train' is the training split, and also a class"):
        load(folder, **options)


@pytest.mark.parametrize("extension", ["gif", "jpg"])
def test_masks_whose_format_changes_values_are_refused(tmp_path, extension):
    for number in range(4):
        picture(number).save(tmp_path / f"{number}.png")
        mask(number).save(tmp_path / f"{number}.mask.{extension}")
    with pytest.raises(UserError, match="which does not keep the numbers of classes; use PNG or TIFF"):
        load(tmp_path, kind="mask", suffix=f".mask.{extension}", classes=3)


@pytest.mark.parametrize("values", [[1], [0.5], [{"a": 1}]], ids=["numbers", "fractions", "tables"])
def test_a_column_of_masks_holds_pictures(tmp_path, values):
    path = table(tmp_path / "a.parquet", y=values * COUNT)
    with pytest.raises(UserError, match=r"condition.column: column 'y' of .* holds no pictures"):
        load(path, kind="mask", column="y", classes=3)


def test_a_column_of_an_unknown_type_is_named(tmp_path):
    maps = pa.array([[("a", 1)]] * COUNT, pa.map_(pa.string(), pa.int64()))
    path = table(tmp_path / "a.parquet", y=maps)
    with pytest.raises(UserError, match=r"column 'y' has the type map<string, .*>, which cannot be read"):
        load(path, kind="label", column="y", classes=3)


def test_more_classes_than_a_byte_can_number(tmp_path):
    labels = [1000 * number for number in range(COUNT)]
    sets = load(table(tmp_path / "a.parquet", y=labels), kind="label", column="y", classes=20_000)
    assert pairs(sets) == {number: [label] for number, label in enumerate(labels)}


def test_an_image_of_a_wrong_own_size_names_the_keys_of_the_condition(tmp_path):
    for number in range(4):
        picture(number).save(tmp_path / f"{number}.png")
        picture(number, 3, 3).save(tmp_path / f"{number}.small.png")
    with pytest.raises(UserError, match=r"has 3×3 pixels, but condition.height and condition.width are 2 and 2"):
        load(tmp_path, kind="image", suffix=".small.png", height=2, width=2)


def test_a_text_may_begin_with_a_byte_order_mark(folder):
    for file in folder.rglob("*.*.png"):
        file.unlink()
    for file in folder.rglob("*.txt"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert pairs(load(folder, kind="label", names=NAMES, suffix=".txt"))[1] == [1]


@pytest.mark.parametrize("suffix", ["/x", "../x", ".txt/", "\0x", "x.png", ".a\\b", ".\n"])
def test_a_suffix_is_the_end_of_a_name(suffix):
    with pytest.raises(ValueError, match="suffix must be the end of a file name"):
        ConditionConfig(kind="label", suffix=suffix, classes=2)
