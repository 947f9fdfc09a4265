"""Tests that each image keeps its condition when sets are divided, shuffled, mirrored, streamed, shared and cached."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.matrix import BATCH, MATRIX, NAMES
from helpers.references import Pictures, augmented, chance, divided, read, training_batch
from helpers.tiny_runs import write
from torch import Tensor

import auxar
from auxar.data.batches import TrainingExamples
from auxar.data.sets import DataSets
from auxar_augmentations import Flip, Shift

BROKEN = 5
"""The position of a broken image, which is left out."""


@pytest.fixture
def folder(name, pictures_of, tmp_path) -> Path:
    """The images of a run of `MATRIX`, and a broken image among them."""
    copy = Path(shutil.copytree(pictures_of[name], tmp_path / "pictures"))
    (copy / f"{BROKEN - 1:03}a.png").write_bytes(b"no picture")
    (copy / f"{BROKEN - 1:03}a.txt").write_text(NAMES[0])
    return copy


@pytest.fixture
def pictures(name, pictures_of) -> Pictures:
    return read(pictures_of[name], NAMES if name == "labels" else None, masks=name == "masks")


def loaded(name: str, folder: Path, streaming: bool) -> DataSets:
    changes = {"data__streaming": streaming, "data__shuffle_buffer": 4, "data__broken": "skip"}
    recipe = auxar.load_recipe(write(folder.parent / "recipe.toml", MATRIX[name](folder, **changes)))
    return auxar.load_images(recipe)


def same(found: list[Any], images: Tensor, conditions: Tensor) -> bool:
    given = torch.cat([batch["condition"] for batch in found])
    return torch.equal(torch.cat([batch["image"] for batch in found]), images) and torch.equal(given, conditions.int())


def examples(images, steps: int, **options) -> list[Any]:
    return list(
        TrainingExamples(images, batch_size=6, steps=steps, seed=1, augment=[Flip(), Shift()], drop=0.3, **options)
    )


def test_stored_images(name, folder, pictures):
    for _ in range(2):  # The second time, they are read from the cache.
        sets, parts = loaded(name, folder, False), divided(pictures, 0.6, 0.3)
        for part in ("train", "validation", "heldout"):
            found = list(getattr(sets, part).in_order_examples(BATCH, limit=7))
            expected = parts[part].of(list(range(min(7, len(parts[part])))))
            assert same(found, expected.images, expected.conditions)
            assert [len(batch) for batch in found[:-1]] == [BATCH] * (len(found) - 1)
    expected = training_batch(parts["train"], range(6 * 4), 1, drop=0.3)
    assert same(examples(sets.train, 4), expected.images, expected.conditions)
    assert same(examples(sets.train, 4, start=2), expected.images[12:], expected.conditions[12:])
    shares = [examples(sets.train, 4, rank=rank, processes=2) for rank in range(2)]
    assert same([part for both in zip(*shares, strict=True) for part in both], expected.images, expected.conditions)


def test_streamed_images(name, folder, pictures):
    sets = loaded(name, folder, True)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "heldout": []}
    for row in range(len(pictures)):
        place = row + (row >= BROKEN)  # The broken image has a position in the stream.
        train = chance("stream split", 0, place) < 0.6
        chosen = train and chance("stream validation", 0, place) < 0.3
        parts["validation" if chosen else "train" if train else "heldout"].append(row)
    for part, rows in parts.items():
        found = list(getattr(sets, part).in_order_examples(BATCH))
        assert same(found, pictures.images[rows], pictures.conditions[rows])
    rows = parts["train"]
    given = [pictures.of([row]) for row in rows]
    batches = examples(sets.train, 5)
    seen: list[int] = []
    for place in range(6 * 5):
        batch = batches[place // 6].rows(slice(place % 6, place % 6 + 1))
        dropped = chance("drop", 1, place) < 0.3
        found = [torch.equal(augmented(one.images[0], 1, place)[None], batch["image"]) for one in given]
        own = found.index(True)
        condition = augmented(given[own].conditions[0], 1, place)[None]
        assert torch.equal(batch["condition"], torch.full_like(condition, -1).int() if dropped else condition.int())
        seen.append(own)
    epochs = [seen[: len(rows)], seen[len(rows) : 2 * len(rows)], list(range(len(rows)))]
    assert all(sorted(epoch) == epochs[2] for epoch in epochs), "an epoch has each image once"
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    again = examples(sets.train, 5, start=2)
    shares = [examples(sets.train, 5, rank=rank, processes=2) for rank in range(2)]
    images, conditions = (torch.cat([batch[key] for batch in batches]) for key in ("image", "condition"))
    assert same(again, images[12:], conditions[12:])
    assert same([part for both in zip(*shares, strict=True) for part in both], images, conditions)
