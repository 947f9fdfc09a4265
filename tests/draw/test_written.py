"""Tests that images in memory become a data set with the same pixels and labels."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.tiny_runs import said
from PIL import Image

import auxar
from auxar.cli import main

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)


class Items(torch.utils.data.Dataset):
    """A data set of PyTorch with the given items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, number):
        return self.items[number]


class Unreadable(Items):
    """A data set whose files are missing."""

    def __getitem__(self, number):
        raise FileNotFoundError(2, "no such file", f"{number}.png")


def stored(folder, split="train"):
    """The labels of a split, or None."""
    table = pq.read_table(folder / f"{split}.parquet")
    return table["label"].to_pylist() if "label" in table.column_names else None


def pixels(tmp_path, folder, channels=3):
    """The images of the split train, as a recipe reads them."""
    (tmp_path / "own.toml").write_text(f"""
        data = {{ path = {json.dumps(str(folder))}, split = {{ train = 0.5 }} }}
        image = {{ channels = {channels}, height = 8, width = 10 }}
        prior = "convnet"
        training = {{ steps = 1 }}
    """)
    sets = auxar.load_images(auxar.build(tmp_path / "own.toml"))
    return np.stack([image.numpy() for part in (sets.train, sets.heldout) for _, image in part.every(1, 0, None)])


FORMS = {
    "channels last": PIXELS,
    "channels first": torch.from_numpy(PIXELS).permute(0, 3, 1, 2),
    "Pillow": [Image.fromarray(image) for image in PIXELS],
    "a data set of Pillow images": Items([(Image.fromarray(image), 7) for image in PIXELS]),
    "a list of pairs": [(image, 7) for image in PIXELS],
    "a data set of tensors": Items([torch.from_numpy(image).permute(2, 0, 1) for image in PIXELS]),
    "with labels": (PIXELS, torch.arange(6)),
    "with names": (PIXELS, list("abcabc")),
}
SAME = {"a data set of Pillow images": [7] * 6, "a list of pairs": [7] * 6}
LABELS = SAME | {"with labels": [*range(6)], "with names": [*"abcabc"]}


@pytest.mark.parametrize("form", FORMS)
def test_pixels_and_labels_are_read_back(form, tmp_path):
    folder = auxar.write_dataset(tmp_path / "own", train=FORMS[form])
    assert [path.name for path in folder.iterdir()] == ["train.parquet"]
    assert stored(folder) == LABELS.get(form)
    found = pixels(tmp_path, folder)
    expected = PIXELS.transpose(0, 3, 1, 2)
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in expected)


def test_gray_images_stay_gray_and_palettes_become_colors(tmp_path):
    gray = PIXELS[..., 0]
    folder = auxar.write_dataset(tmp_path / "gray", train=gray, test=gray[:2], validation=gray[2:3])
    assert sorted(path.stem for path in folder.iterdir()) == ["test", "train", "validation"]
    found = pixels(tmp_path, folder, channels=1)
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in gray)
    palette = Image.fromarray(PIXELS[0] // 128 * 255).convert("P")
    folder = auxar.write_dataset(tmp_path / "palette", train=[palette] * 3)
    assert (pixels(tmp_path, folder)[0] == np.asarray(palette.convert("RGB")).transpose(2, 0, 1)).all()


def test_a_recipe_for_arrays_with_labels_is_written_and_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.arange(60) % 3
    images = (labels[:, None, None] * 80 + np.zeros((60, 8, 8))).astype(np.uint8)
    auxar.write_dataset("own", train=(images[:50], labels[:50]), test=(images[50:], labels[50:]))
    recipe = auxar.load_recipe(auxar.new_recipe("own", minutes=1))
    assert recipe.condition.names == ("0", "1", "2")
    assert recipe.data.heldout == "test"
    assert main(["check", "own.toml"]) == 0


def test_wrong_images_are_refused_and_nothing_is_left(tmp_path):
    floats, few = PIXELS / 255, (PIXELS, [0, 1])
    mixed = Items([(PIXELS[0], 0), (PIXELS[1], "b")])
    large = (PIXELS, [2**70] * 6)
    for images, message in (
        ({"test": PIXELS}, r"^train: expected images, a pair"),
        ({"train": floats}, r"^train: .*integers.*round"),
        ({"train": np.ma.masked_less(PIXELS, 9)}, r"^train: expected an array without a mask; replace its masked val"),
        ({"train": (PIXELS, b"abcdef")}, r"^train: expected a list with a label for each image, got b'abcdef'"),
        ({"train": (PIXELS, ["\udc80"] * 6)}, r"^train: picture 0: expected a label that is an integer or a string"),
        ({"train": few}, r"^train: expected a label for each image, got 2 for 6$"),
        ({"train": mixed}, r"^train: expected labels of one type"),
        ({"train": Items([(PIXELS[0], 0), PIXELS[1]])}, r"^train: expected labels of one type"),
        ({"train": PIXELS, "tset": PIXELS}, r"^tset: there is no such split; did you mean 'test'\?"),
        ({"train": large}, r"^train: expected labels of at most 64 bits"),
        ({"train": Unreadable([0])}, r"^train\[0\] cannot be read: .*no such file"),
        ({"train": {"a": PIXELS}}, r"^train\[0\] cannot be read: KeyError\(0\); expected images, a pair"),
        ({"train": Items([()])}, r"^train\[0\]: expected at least one image, got an empty tuple$"),
        ({"train": Items([{"image": 1}])}, r"^train\[0\]: .*, got .* \(dict\); give a list of \(row\['image'\], row"),
        ({"train": (PIXELS, np.zeros(6))}, r"^train: picture 0: expected a label that is an integer or a string"),
        ({"train": 3}, r"^train: expected images, a pair .* got 3"),
        ({"train": ["a.png"]}, r"^train: there is no file or folder a\.png"),
        ({"train": Items([])}, r"^train: expected at least one image, got none"),
    ):
        with pytest.raises(auxar.UserError, match=message):
            auxar.write_dataset(tmp_path / "own", **images)
        assert list(tmp_path.iterdir()) == []
    auxar.write_dataset(tmp_path / "own", train=PIXELS)
    assert "exists and is not replaced" in said(auxar.write_dataset, tmp_path / "own", train=PIXELS)
