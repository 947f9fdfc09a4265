"""Tests of the data set `letters`: its rows, its splits and its fonts."""

import csv
import io
import string
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from auxar_letters import auxar_register_components

(COMPONENT,) = auxar_register_components()
FOLDER = COMPONENT.build(COMPONENT.config())
ROWS = {split: pq.read_table(FOLDER / f"{split}.parquet").to_pylist() for split in ("train", "test")}


def test_letters_of_a_font_are_in_one_split_and_its_package_is_named():
    with (FOLDER.parent / "fonts.csv").open(encoding="utf-8", newline="") as file:
        named = {font["name"]: font for font in csv.DictReader(file)}
    fonts = {split: {row["font"] for row in rows} for split, rows in ROWS.items()}
    assert not fonts["train"] & fonts["test"]
    assert (fonts["train"] | fonts["test"]) <= set(named)
    assert all(font["version"] and font["copyright"] for font in named.values())


@pytest.mark.parametrize("split", ROWS)
def test_each_letter_is_there_once_for_a_font_and_often_enough(split):
    counts = Counter((row["font"], row["weight"], row["letter"]) for row in ROWS[split])
    assert set(counts.values()) == {1}
    letters = Counter(row["letter"] for row in ROWS[split])
    assert sorted(letters) == list(string.ascii_uppercase)
    assert min(letters.values()) > max(letters.values()) / 5


def test_images_have_sixteen_grays_on_white():
    for row in ROWS["test"][::20]:
        pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        assert pixels.shape == (32, 32)
        assert (pixels % 17 == 0).all()
        assert (pixels[[0, 31]] == 255).mean() > 0.9
