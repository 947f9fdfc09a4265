"""Tests that random choices of the data are independent for different purposes, seeds, images and epochs."""

import itertools
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from helpers.image_sets import load, numbers, write_numbered
from helpers.independence import assert_independent
from helpers.listed_images import Listed

from auxar.data.batches import TrainingExamples
from auxar.data.crops import Crops
from auxar.data.randomness import generator, permutation, uniform
from auxar.data.splits import divided_rows, sides_of_stream
from auxar.model import Augmentation, Condition, ImageSpec, Values
from auxar.recipe import DataConfig, Split

SPEC = ImageSpec(3, height=1, width=1, levels=256)
COUNT = 1500


def test_numbers_of_other_keys_are_independent():
    """Keys whose parts would be equal if they were joined, added or exchanged are among them."""
    keys = [*itertools.product(("a", "b", "ab"), (1, 11, 111), (1, 11, 111)), ("a", 1), ("a",)]
    assert_independent({key: [uniform(*key, place) for place in range(1000)] for key in keys})
    assert_independent({key: permutation(1000, *key) for key in keys})
    assert_independent({key: [draw() for draw in [generator(*key).random] * 1000] for key in keys})
    values = [uniform("x", place) for place in range(4000)]
    assert np.abs(np.histogram(values, 4, (0, 1))[0] / 1000 - 1).max() < 0.15


@attrs.frozen
class Red(Augmentation):
    """An augmentation that writes the number of the variant into the first channel."""

    channel = 0

    def variants(self, image):
        return image.levels

    def __call__(self, images, variant):
        images = images.clone()
        images[:, self.channel] = variant
        return images


class Green(Red):
    """An augmentation that writes the number of the variant into the second channel."""

    channel = 1


class Blank(Listed):
    """A set of black images with labels."""

    condition: Any = Condition("label", ImageSpec(1, height=1, width=1, levels=2), optional=True)

    def training_examples(self, seed, shares):
        for share in shares:
            images = torch.zeros(len(share), *self.image.shape).byte()
            yield Values({"image": images, "condition": torch.ones(len(share), 1, 1, 1).int()})


def test_variants_of_augmentations_epochs_and_seeds_are_independent():
    """So are the conditions that are left out."""
    choices: dict[Any, Any] = {}
    for seed in (1, 2):
        read = TrainingExamples(
            Blank(SPEC, torch.zeros(0)), 50, 2 * COUNT // 50, seed, augment=[Red(), Green()], drop=0.4
        )
        batches: list[Any] = list(read)
        red, green, _ = torch.cat([batch["image"] for batch in batches])[:, :, 0, 0].T
        dropped = torch.cat([batch["condition"] for batch in batches]).flatten() < 0
        assert dropped.float().mean() == pytest.approx(0.4, abs=0.04)
        for name, values in (("red", red), ("green", green), ("dropped", dropped)):
            choices |= {(seed, name, epoch): part for epoch, part in enumerate(values.split(COUNT))}
            if name != "dropped":
                assert np.abs(np.histogram(values, 4, (0, 256))[0] / (COUNT / 2) - 1).max() < 0.2
    assert_independent(choices)


@pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
def test_orders_of_epochs_and_seeds_are_independent(tmp_path, streaming):
    data = load(write_numbered(tmp_path, 200), split=Split(0.99), streaming=streaming)
    count = len(list(data.train.every_example(1, 0, None)))
    orders: dict[Any, Any] = {}
    for seed in (1, 2):
        batches = TrainingExamples(data.train, count, 2, seed)
        orders |= {(seed, epoch): numbers(batch["image"]) for epoch, batch in enumerate(batches)}
    assert all(sorted(order) == sorted(orders[1, 0]) for order in orders.values())
    assert_independent(orders)


def test_rows_and_columns_of_crops_are_independent():
    crops, places = Crops(ImageSpec(1, height=1, width=1)), np.indices((50, 50))
    places_of: dict[Any, Any] = {}
    for key in ((1,), (2,), (1, 1), (1, 0)):
        at = np.array([crops.random(places, key[0], number, *key[1:])[:, 0, 0] for number in range(600)])
        places_of |= {(key, "row"): at[:, 0], (key, "column"): at[:, 1]}
    assert_independent(places_of)


def test_validation_images_are_chosen_independently_of_held_out_images():
    """They are half of the others, of rows and of a stream, and independent for each seed."""
    sides: dict[Any, Any] = {}
    for seed in (0, 1):
        config = DataConfig("images", split=Split(0.5, seed, 0.5))
        stream: Any = sides_of_stream(config)
        rows: Any = divided_rows(config, np.arange(2000))
        sides["stream", seed] = [stream.heldout.holds(position) for position in range(2000)]
        sides["rows", seed] = np.isin(np.arange(2000), rows.heldout)
        left = [position for position in range(2000) if not stream.heldout.holds(position)]
        validation = [stream.validation.holds(position) for position in left]
        assert np.mean(validation) == pytest.approx(0.5, abs=0.08)
        assert np.corrcoef(validation, left)[0, 1] == pytest.approx(0, abs=0.15)
        places = np.isin(np.sort([*rows.train, *rows.validation]), rows.validation)
        assert np.corrcoef(places, np.arange(1000))[0, 1] == pytest.approx(0, abs=0.15)
    assert_independent(sides)
