"""Tests that factors are converted to integers with the ranges of all training images, and of their conditions."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.matrix import at_once
from helpers.one_by_one import OneByOne

import auxar
from auxar.training.conversion import training_values


def test_integers_are_near_floats_for_all_images_that_gave_the_ranges(random_run_of):
    path = random_run_of("labels")
    floats, integers = OneByOne(path), OneByOne(path, "integer")
    images = next(auxar.load_images(auxar.load(path)).train.in_order_examples(100))
    for number, image in enumerate(images["image"]):
        assert "condition" in images
        for condition in (images["condition"][number][None].long(), None):
            expected = floats.nats_of(image, condition)
            assert integers.nats_of(image, condition) == pytest.approx(expected, rel=0.005, abs=0.05)


def test_integers_do_not_depend_on_how_many_images_are_computed_at_once(random_run_of, tmp_path):
    one = random_run_of("labels")
    other = Path(shutil.copytree(one, tmp_path / "run"))
    for file in [other / "integer.json", *other.glob("factors/*/integer.safetensors")]:
        file.unlink()
    with at_once(100):
        assert auxar.integers(other).digests == auxar.integers(one).digests


@pytest.mark.parametrize("count", [1, 3, 100])
def test_images_that_give_the_ranges_come_with_their_conditions(random_run_of, count):
    model = auxar.load(random_run_of("masks"))
    data = auxar.load_images(model)
    values = training_values(model.chain, data, count)
    every = next(data.train.in_order_examples(100))
    step = max(1, len(every) // count)
    numbers = list(range(0, len(every), step))[:count]
    assert torch.equal(values["image"], every["image"][numbers].long())
    assert torch.equal(values["condition"], every["condition"][numbers])
    assert torch.equal(values["view1"], model.chain.values(every["image"].long())["view1"][numbers])
