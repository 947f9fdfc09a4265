"""Tests of the trained models: their sizes, their integers, and what they can do."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import auxar
import auxar_codec
import auxar_letters
import auxar_models

FOLDER = Path(auxar_models.__file__).parent
LETTERS = pq.read_table(Path(auxar_letters.__file__).parent / "letters" / "test.parquet").slice(0, 64).to_pylist()


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_models_are_small():
    assert size_of(FOLDER) <= 16_000_000
    assert size_of(FOLDER / "photos") <= 2_000_000


@pytest.mark.parametrize("name", ["emoji32", "emoji32_color", "photos"])
def test_a_model_codes_pictures_without_being_converted(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    codec = auxar_codec.codec(name)
    image = codec.model.image
    grays = 17 * ((np.arange(image.height)[:, None] + np.arange(image.width)) // 5 % 16).astype(np.uint8)
    picture = np.stack([grays, grays // 2, 255 - grays], 2)
    content = codec.encode([picture])
    assert len(content) < picture.size
    (found,) = codec.decode(content).values()
    assert np.array_equal(np.asarray(found), picture)
    assert not list(tmp_path.iterdir())


def test_letters_are_drawn_in_integers_without_being_converted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = auxar.load("letters32", arithmetic="integer")
    assert model.sample(2, condition="A").tensor.shape == (2, 1, 32, 32)
    assert set(model.chain.digests) == {"stage0", "stage1", "prior"}


@pytest.mark.slow
def test_letters_are_read():
    pictures = [Image.open(io.BytesIO(row["image"]["bytes"])) for row in LETTERS]
    model = auxar.load("letters32")
    found = model.classify(pictures).probabilities.argmax(1)
    right = sum(model.condition.names[label] == row["letter"] for label, row in zip(found, LETTERS, strict=True))
    assert right >= 0.9 * len(LETTERS)


def test_photographs_have_free_licenses_and_their_authors_are_named():
    with (FOLDER / "photos" / "photographs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 89
    assert all(row["license"].startswith(("CC0", "CC-BY-", "CC-BY (", "Public Domain")) for row in rows)
    assert not any("-SA-" in row["license"] for row in rows)
    assert all(row["author"] and row["source"] for row in rows)
