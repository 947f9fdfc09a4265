"""Tests of labels that are the numbers of the variants of training images. Images that are not changed have label 0."""

import attrs
import numpy as np
import pytest
import torch
from helpers.tiny_runs import run, tiny, write

import auxar
from auxar.data.batches import TrainingExamples
from auxar.draw.conditions import usual_conditions
from auxar.errors import UserError
from auxar.recipe.building import build_augmentations
from auxar.runs.weights import recipe_part

LABELS = {"kind": "label", "augmentation": "turns", "classes": 4}
AUGMENT = ["flip", "turns"]


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
    table = tiny(pictures, condition=LABELS, training__augment=AUGMENT, arithmetic="integer")
    return run(tmp_path_factory.mktemp("labels") / "run", table)


@pytest.mark.parametrize("streaming", [False, True])
def test_training_images_have_the_number_of_their_variant(pictures, tmp_path, streaming):
    table = tiny(pictures, condition=LABELS, training__augment=AUGMENT, data__streaming=streaming)
    recipe = auxar.load_recipe(write(tmp_path / "recipe.toml", table))
    sets, augment = auxar.load_images(recipe), build_augmentations(recipe.training)
    found = {
        name: list(TrainingExamples(sets.train, batch_size=8, steps=4, seed=3, augment=chosen, labels_of=name))
        for name, chosen in (("turns", augment), ("none", augment[:1]))
    }
    [first] = TrainingExamples(sets.train, batch_size=32, steps=1, seed=3, augment=augment[::-1], labels_of="turns")
    assert torch.equal(first["condition"], torch.cat([batch["condition"] for batch in found["turns"]]))
    for turned, plain in zip(found["turns"], found["none"], strict=True):
        assert "condition" in turned
        assert turned["condition"].dtype == torch.int32
        for image, label, before in zip(turned["image"], turned["condition"].flatten(), plain["image"], strict=True):
            assert torch.equal(image, before.rot90(int(label), (1, 2)))
        assert "condition" in plain
        assert not plain["condition"].any()
    assert {int(label) for batch in found["turns"] for label in batch["condition"].flatten()} == {0, 1, 2, 3}
    assert not torch.cat([batch["condition"] for batch in sets.heldout.in_order_examples(4)]).any()


def test_the_model_is_used_for_images_as_they_are(finished):
    for arithmetic in ("float", "integer"):
        model = auxar.load(finished, arithmetic=arithmetic)
        images = auxar.load_images(model).heldout.first_examples(4)["image"]
        first, other = (model.bits_per_dim(images, condition=number) for number in (0, 1))
        assert torch.equal(model.bits_per_dim(images), first)
        assert not torch.equal(first, other), "training learned a difference"
        usual, upright, turned = (model.sample(2, seed=1, condition=given) for given in (None, 0, 1))
        assert np.array_equal(usual, upright)
        assert not np.array_equal(usual, turned)
    assert usual_conditions(model.condition).values is None, "samples are not divided among the variants"
    folders = [auxar.sample(finished, images=2, condition=given).name for given in (None, 3)]
    assert folders == ["integer-ancestral-seed0", "integer-ancestral-3-seed0"]


def test_weights_belong_to_the_augmentation_of_the_labels(pictures, tmp_path):
    table = tiny(pictures, condition=LABELS, training__augment=AUGMENT)
    recipe = auxar.load_recipe(write(tmp_path / "recipe.toml", table))
    assert recipe.condition is not None
    other = attrs.evolve(recipe, condition=attrs.evolve(recipe.condition, augmentation="quarters"))
    assert recipe_part(recipe, "prior") != recipe_part(other, "prior")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training__augment": ["flip"]},
            "training.augment: expected turns, which condition.augmentation names, got flip",
        ),
        ({"condition__classes": 3}, "training.augment: turns has 4 variants, but the condition has 3 classes"),
        ({"condition__drop": 0.1}, "condition: augmentation gives each image a known label; leave out drop and prior"),
        (
            {"condition__suffix": ".txt"},
            "condition: exactly one of column, columns, suffix, folders, augmentation must",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(pictures, tmp_path, changes, message):
    table = tiny(pictures, **{"condition": LABELS, "training__augment": AUGMENT, **changes})
    with pytest.raises(UserError) as error:
        auxar.check(write(tmp_path / "recipe.toml", table))
    assert message in str(error.value)
