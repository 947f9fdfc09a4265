"""Tests of the conditions that come with images: columns, files beside images, folders; mirrored, dropped, streamed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers.image_sets import SPEC, encoded, numbered, write_parquet
from helpers.image_sets import load as load_set
from PIL import Image

from auxar.data.batches import TrainingExamples, evaluation_examples
from auxar.data.sets import DataSets
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.recipe import ComponentChoice, Crop
from auxar.recipe.condition import ConditionConfig
from auxar_augmentations import Flip

COUNT = 12
NAMES = ("cat", "dog", "owl")


def mask(number: int, height: int = 4, width: int = 4) -> Image.Image:
    """A mask of the classes 0, 1 and 2 that differs between numbers and between its left and right half."""
    values = np.zeros((height, width), np.uint8)
    values[:, width // 2 :] = 1 + number % 2
    return Image.fromarray(values)


def table(path: Path, **columns: Any) -> Path:
    """A parquet file of numbered images with further columns."""
    return write_parquet(path, COUNT, **columns)


def load(path: Path, image: ImageSpec = SPEC, data: dict[str, Any] | None = None, **options: Any) -> DataSets:
    return load_set(path, image, ConditionConfig(**options), **(data or {}))


def pairs(sets: DataSets) -> dict[int, list[int]]:
    """The condition of each image, by the image's number."""
    found: dict[int, list[int]] = {}
    for images in (sets.train, sets.heldout):
        for _, batch in evaluation_examples(images, batch_size=5):
            given: Any = batch["condition"]
            assert images.condition is not None
            images.condition.check(given)
            assert given.dtype == torch.int32
            found |= dict(zip(batch["image"][:, 0, 0, 0].tolist(), given.flatten(1).tolist(), strict=True))
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
    """A folder of images with labels and attributes beside them."""
    root = tmp_path / "pictures"
    for number in range(COUNT):
        place = root / NAMES[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        numbered(number).save(place / f"{number}.png")
        label = {"label": number % 3, "attributes": {"cat": 1, "dog": 0, "owl": number % 2}}
        (place / f"{number}.json").write_text(json.dumps(label))
        (place / f"{number}.txt").write_text(f"{NAMES[number % 3]}\n", encoding="utf-8-sig" if number % 2 else "utf-8")
    return root


@pytest.fixture
def masked(folder):
    """The folder with a mask beside each image."""
    for file in list(folder.rglob("*.png")):
        mask(int(file.stem)).save(file.with_suffix(".mask.png"))
    return folder


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("where", [{"suffix": ".json", "key": "label"}, {"suffix": ".txt"}, {"folders": True}], ids=str)
def test_labels_beside_images_and_as_names_of_folders(folder, where, streaming):
    sets = load(folder, kind="label", names=NAMES, data={"streaming": streaming}, **where)
    assert pairs(sets) == {number: [number % 3] for number in range(COUNT)}


def test_attributes_beside_images(folder):
    sets = load(folder, kind="attributes", names=("owl", "dog"), suffix=".json", key="attributes")
    assert pairs(sets) == {number: [number % 2, 0] for number in range(COUNT)}
    for file in folder.rglob("*.txt"):
        file.write_text("owl, dog\n" if int(file.stem) % 2 else "")
    found = pairs(load(folder, kind="attributes", names=("owl", "cat", "dog"), suffix=".txt"))
    assert found == {number: [number % 2, 0, number % 2] for number in range(COUNT)}


def test_images_beside_images(folder):
    for file in list(folder.rglob("*.png")):
        numbered(100 + int(file.stem)).save(file.with_suffix(".pair.png"))
    found = pairs(load(folder, kind="image", suffix=".pair.png"))
    assert found == {number: 16 * [100 + number] + 16 * [0] + 4 * [255, 255, 0, 0] for number in range(COUNT)}


def test_images_of_16_bits_beside_images_are_named_once(folder, caplog):
    for file in list(folder.rglob("*.png")):
        Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(file.with_suffix(".pair.png"))
    found = pairs(load(folder, kind="image", suffix=".pair.png", channels=1))
    assert found == {number: 16 * [15] for number in range(COUNT)}
    assert [text.partition(",")[0] for text in caplog.messages] == [
        f"pictures in {folder} for [condition] have 16 bits per channel"
    ]


def test_masks_in_a_column_of_images(tmp_path):
    path = table(tmp_path / "a.parquet", y=[{"bytes": encoded(mask(n)), "path": ""} for n in range(COUNT)])
    found = pairs(load(path, kind="mask", column="y", classes=3))
    assert found == {number: 4 * [0, 0, 1 + number % 2, 1 + number % 2] for number in range(COUNT)}


def test_masks_are_cropped_with_their_images_and_resized_without_interpolation(tmp_path):
    for number in range(4):
        numbered(number, 10, 12).save(tmp_path / f"{number}.png")
        mask(number, 10, 12).save(tmp_path / f"{number}.mask.png")
    data = {"crop": Crop(left=5), "resize": "stretch"}
    found = pairs(load(tmp_path, kind="mask", suffix=".mask.png", classes=3, data=data))
    # Columns 5 … 11 remain: one of class 0, which a mean with its neighbor would change, and six of another class.
    assert found == {number: 4 * [0, *(3 * [1 + number % 2])] for number in range(4)}


def test_an_image_of_its_own_size_is_neither_cropped_nor_compared(tmp_path):
    for number in range(4):
        numbered(number, 10, 12).save(tmp_path / f"{number}.png")
        numbered(50 + number, 2, 2).save(tmp_path / f"{number}.small.png")
    data = {"crop": Crop(left=6, top=4), "resize": "stretch"}
    sizes: dict[str, Any] = {"height": 2, "width": 2, "channels": 1}
    found = pairs(load(tmp_path, kind="image", suffix=".small.png", data=data, **sizes))
    assert list(map(len, found.values())) == 4 * [4]
    image = ImageSpec(3, height=10, width=12)
    with pytest.raises(UserError, match=r"has 2×2 pixels, but condition.height and condition.width are 3 and 2"):
        load(tmp_path, image, kind="image", suffix=".small.png", **{**sizes, "height": 3})


def test_loops_of_users_and_of_workers_get_conditions(masked):
    masks = load(masked, kind="mask", suffix=".mask.png", classes=3)
    shuffled = next(masks.train.shuffled_examples(4, seed=1, augment=[Flip()]))
    assert torch.equal(next(masks.train.shuffled(4, seed=1, augment=[Flip()])), shuffled["image"])
    assert "condition" in shuffled
    assert [len(batch) for batch in masks.heldout.in_order_examples(4)] == [4, 2]
    options: dict[str, Any] = {"batch_size": 6, "steps": 3, "seed": 3, "augment": [Flip()], "drop": 0.3}
    own, of_workers = (TrainingExamples(masks.train, **options).read(workers) for workers in (0, 2))
    for one, other in zip(own, of_workers, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert "condition" in one
        assert "condition" in other
        assert torch.equal(one["condition"], other["condition"])
    with pytest.raises(UserError, match="drop: expected a number from 0 to 1"):
        masks.train.shuffled_examples(4, drop=1.5)


def test_fingerprints_depend_on_conditions(tmp_path):
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


def test_changed_files_beside_images_are_read_again(folder):
    options: dict[str, Any] = {"kind": "label", "names": NAMES, "suffix": ".txt"}
    assert pairs(load(folder, **options))[0] == [0]
    (folder / "cat" / "0.txt").write_text("owl\n")  # The file has as many bytes as before.
    assert pairs(load(folder, **options))[0] == [2]


def test_conditions_of_other_settings_are_read_again(folder):
    """Each setting that says how conditions are read gives other conditions of the same images in the same cache."""
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


def test_an_image_whose_mask_is_missing_is_broken(masked):
    (masked / "cat" / "0.mask.png").unlink()
    options: dict[str, Any] = {"kind": "mask", "suffix": ".mask.png", "classes": 3}
    with pytest.raises(UserError, match=r"cat/0.png .*its mask cannot be read: the file does not exist"):
        load(masked, **options)
    sets = load(masked, data={"broken": "skip"}, **options)
    assert sets.skipped == ("cat/0.png",)
    assert 0 not in pairs(sets)


LABEL: dict[str, Any] = {"kind": "label", "column": "y", "classes": 3}
ATTRIBUTES: dict[str, Any] = {"kind": "attributes", "column": "y", "names": NAMES}
MASK: dict[str, Any] = {"kind": "mask", "column": "y", "classes": 2}
WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "missing column": (0, {**LABEL, "column": "x"}, "condition.column: .*no column 'x'"),
    "label too large": (3, LABEL, "label 3 is no class; expected .* 0 to 2"),
    "negative label": (-1, LABEL, "label -1 is no class; expected .* 0 to 2"),
    "no label": (None, LABEL, "the label None is no class; expected"),
    "fraction": (0.5, LABEL, "the label 0.5 is no class; expected"),
    "unknown name": ("dgo", {"kind": "label", "column": "y", "names": NAMES}, "did you mean 'dog'"),
    "names unknown": ("dog", LABEL, "condition.names gives names"),
    "too few attributes": ([1], ATTRIBUTES, "1 attributes; expected 3"),
    "attribute 2": ([1, 0, 2], ATTRIBUTES, "'owl' is 2; expected"),
    "attributes no list": ("x", ATTRIBUTES, "'x' is unknown"),
    "column of images": (0, {**LABEL, "column": "image"}, "no column with images"),
    "no mask": (b"x", MASK, "its mask cannot be read"),
    "files": (0, {"kind": "label", "suffix": ".txt", "classes": 3}, "condition.suffix: .*condition.column"),
    "mask of another size": (encoded(mask(0, 2, 2)), MASK, r"mask of \d+.png has 2×2 pixels .*but the image has 4×4"),
    "mask with a class too many": (encoded(mask(1)), MASK, r"mask of \d+.png has the class 2; .* integers from 0 to 1"),
    "colored mask": (encoded(numbered(1)), MASK, "has the colors RGB; expected a gray picture"),
    "masks of fractions": (0.5, MASK, "condition.column: column 'y' of .* holds no pictures"),
    "masks of tables": ({"a": 1}, MASK, "condition.column: column 'y' of .* holds no pictures"),
    "unknown type": (
        pa.array([[("a", 1)]] * COUNT, pa.map_(pa.string(), pa.int64())),
        LABEL,
        "column 'y' has the type map<string, .*>, which cannot be read",
    ),
}


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_wrong_condition_is_one_error(tmp_path, case, streaming):
    value, options, message = case
    path = table(tmp_path / "a.parquet", y=value if isinstance(value, pa.Array) else [value] * COUNT)
    with pytest.raises(UserError, match=message):
        pairs(load(path, data={"streaming": streaming}, **options))


def test_a_folder_has_no_columns_and_needs_folders_of_labels(folder):
    with pytest.raises(UserError, match=r"condition.column: .* has no column 'y'"):
        load(folder, kind="label", column="y", classes=3)
    with pytest.raises(UserError, match=r"condition.folders: cat/0.*is in no folder with the name of a class"):
        load(folder, kind="label", folders=True, names=("dog", "owl"))


def test_palettes_and_black_and_white_masks_are_classes(tmp_path):
    for number in range(4):
        numbered(number).save(tmp_path / f"{number}.png")
        palette = mask(number).convert("P")
        palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
        image = palette if number % 2 else mask(0).point(lambda value: 255 * value).convert("1")
        image.save(tmp_path / f"{number}.mask.png")
    found = pairs(load(tmp_path, kind="mask", suffix=".mask.png", classes=3))
    assert found == {number: 4 * [0, 0, 1 + number % 2, 1 + number % 2] for number in range(4)}


def test_a_class_with_the_name_of_the_training_split_is_refused(folder):
    (folder / "cat").rename(folder / "train")
    options: dict[str, Any] = {"kind": "label", "folders": True, "names": ("train", "dog", "owl")}
    with pytest.raises(UserError, match=r"data.train: 'train' is the training split, and also a class"):
        load(folder, **options)


def test_masks_whose_format_changes_values_are_refused(tmp_path):
    for number in range(4):
        numbered(number).save(tmp_path / f"{number}.png")
        mask(number).save(tmp_path / f"{number}.mask.jpg")
    with pytest.raises(UserError, match="which does not keep the numbers of classes; use PNG or TIFF"):
        load(tmp_path, kind="mask", suffix=".mask.jpg", classes=3)


def test_more_classes_than_a_byte_can_number(tmp_path):
    labels = [1000 * number for number in range(COUNT)]
    sets = load(table(tmp_path / "a.parquet", y=labels), kind="label", column="y", classes=20_000)
    assert pairs(sets) == {number: [label] for number, label in enumerate(labels)}


def test_a_suffix_is_the_end_of_a_name():
    for suffix in ("../x", ".txt/", "x.png", ".\n"):
        with pytest.raises(ValueError, match="suffix must be the end of a file name"):
            ConditionConfig(kind="label", suffix=suffix, classes=2)
