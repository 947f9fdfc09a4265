"""Tests of the division of images into training, validation and held-out images."""

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from helpers.image_sets import load, members, refusal, write_numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.data.splits import divided_rows, sides_of_stream
from auxar.data.stored import StoredImages
from auxar.recipe import DataConfig, Split


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the splits `train`, `val` and `test` of 20, 3 and 3 images."""
    root = tmp_path_factory.mktemp("splits")
    for name, count, first in (("train", 20, 0), ("val", 3, 20), ("test", 3, 23)):
        write_numbered(root / name, count, first)
    return root


def keys(fraction: float = 0.0, **options: Any) -> dict[str, Any]:
    """Keys of [data] with half of the training split for training, unless `options` name a split of held-out images."""
    return {"split": Split(0.5, validation=fraction), **options}


@settings(deadline=None)
@given(st.integers(8, 60), st.floats(0.3, 0.7), st.floats(0.3, 0.7), st.integers(0, 99), st.none() | st.just("test"))
def test_parts_are_disjoint_and_complete_and_held_out_images_stay_the_same(count, train, validation, seed, heldout):
    """For rows and for positions in a stream, and for held-out images of the same or of another split."""
    without = DataConfig("images", heldout=heldout, split=Split(train, seed=seed))
    config = attrs.evolve(without, split=Split(train, seed, validation))
    rows = np.arange(count) * 2
    before, after = divided_rows(without, rows), divided_rows(config, rows)
    assert before.validation is None
    assert after.validation is not None
    assert len(after.validation) == round(validation * len(before.train))
    kept = set(before.train.tolist()) - set(after.validation.tolist())
    assert after.train.tolist() == [row for row in before.train.tolist() if row in kept]
    assert sorted([*after.train, *after.validation]) == sorted(before.train)
    if before.heldout is not None and after.heldout is not None:
        assert heldout is None
        assert np.array_equal(after.heldout, before.heldout)
        assert sorted([*before.train, *before.heldout]) == rows.tolist()
    else:
        assert (before.heldout, after.heldout, before.train.tolist()) == (None, None, rows.tolist())

    old, new = sides_of_stream(without), sides_of_stream(config)
    assert (new.heldout, old.validation) == (old.heldout, None)
    for position in range(count):
        of_old = old.train.holds(position)
        sides = [new.train.holds(position), new.validation.holds(position)]
        assert sum(sides) == of_old
        assert of_old is not (old.heldout is not None and old.heldout.holds(position))


@pytest.mark.parametrize("heldout", [None, "test"])
@pytest.mark.parametrize("streaming", [False, True])
def test_validation_images_are_a_fraction_or_a_split(folder, streaming, heldout):
    options: dict[str, Any] = {"streaming": streaming, "heldout": heldout}
    found: list[Any] = [
        load(folder, **keys(**more, **options)) for more in ({}, {"fraction": 0.4}, {"validation": "val"})
    ]
    without, part, split = found
    assert without.validation is None
    assert members(split.validation) == [20, 21, 22]
    assert members(split.train) == members(without.train)
    assert sorted(members(part.train) + members(part.validation)) == sorted(members(without.train))
    assert members(part.train)
    for sets in (part, split):
        assert members(sets.heldout) == members(without.heldout)
        assert sets.heldout.fingerprint == without.heldout.fingerprint
        assert sets.facts.items() > {("the held-out images", without.facts["the held-out images"])}
        assert sets.facts.keys() - without.facts.keys() == {"the validation images"}
    assert split.train.fingerprint == without.train.fingerprint != part.train.fingerprint
    prints = {images.fingerprint for images in (without.train, part.train, part.validation, split.validation) if images}
    assert len(prints) == 4


def test_mistakes_in_the_choice_of_validation_images_are_reported(folder, tmp_path):
    text = refusal(folder, **keys(validation="vall"))
    assert text.startswith("data.validation: ")
    assert "has no split 'vall'; did you mean 'val'? (known: test, train, val)" in text
    other = (
        "; choose another split, or replace data.validation by data.split.validation, a fraction of the training images"
    )
    assert (
        refusal(folder, **keys(validation="train"))
        == f"data.validation: 'train' is also the split of data.train{other}"
    )
    text = refusal(folder, **keys(validation="test", heldout="test"))
    assert text == f"data.validation: 'test' is also the split of data.heldout{other}"
    for fraction, found, advice in (
        (0.01, "0 validation images and 10", 0.1),
        (0.99, "10 validation images and 0", 0.9),
    ):
        text = refusal(folder, **keys(fraction))
        assert text == (
            f"data.split.validation: {fraction} gives {found} training images; each set needs at least 1; use {advice}"
        )
        assert isinstance(load(folder, **keys(advice)).validation, StoredImages)
    assert "the stream gives no validation images: " in refusal(folder, **keys(1e-9, streaming=True))
