"""Tests of the shipped augmentations: variants, their probabilities, and conditions that change with images."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.image_sets import load
from helpers.tiny_runs import tiny, write
from PIL import Image

import auxar
from auxar.data.batches import TrainingExamples
from auxar.errors import UserError
from auxar.model import Condition, ImageSpec
from auxar.model.augmentation import variants_of
from auxar.recipe.condition import ConditionConfig
from auxar_augmentations import Channels, Flip, Shift, Transpose, Turns

SPEC = ImageSpec(3, height=5, width=5)
ALL = [Flip(), Shift(2), Turns(), Transpose(), Channels()]
IMAGE = torch.arange(75, dtype=torch.uint8).reshape(1, 3, 5, 5)


def variants(augmentation: Any) -> list[torch.Tensor]:
    return [augmentation(IMAGE, variant)[0] for variant in range(augmentation.variants(SPEC))]


def expected() -> dict[str, list[torch.Tensor]]:
    """All variants of the image, computed from the places of its pixels."""
    image = IMAGE[0]
    shifts = itertools.product(range(-2, 3), repeat=2)
    places = torch.arange(5)
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    return {
        "flip": [image, image[:, rows, 4 - columns]],
        "shift": [image[:, (rows - a).clamp(0, 4), (columns - b).clamp(0, 4)] for a, b in shifts],
        "turns": [image, image[:, columns, 4 - rows], image[:, 4 - rows, 4 - columns], image[:, 4 - columns, rows]],
        "transpose": [image, image[:, columns, rows]],
        "channels": [image[list(order)] for order in itertools.permutations(range(3))],
    }


@pytest.mark.parametrize("augmentation", ALL, ids=lambda each: each.name)
def test_the_variants_are_all_of_their_kind(augmentation):
    def contents(images):
        return sorted(image.flatten().tolist() for image in images)

    assert contents(variants(augmentation)) == contents(expected()[augmentation.name])
    assert torch.equal(variants(augmentation)[0], IMAGE[0])


MASK = ConditionConfig("mask", suffix=".mask.png", classes=16)
SAME = ConditionConfig("image", suffix=".same.png")


def test_an_augmentation_with_too_many_variants_is_left_out():
    found = [image.flatten().tolist() for image in variants_of(IMAGE, [Shift(2), Turns(), Flip()], SPEC)]
    assert found == [flipped.flatten().tolist() for one in variants(Shift(2)) for flipped in (one, one.flip(2))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Different images, with masks whose classes are the values of red, and with copies of themselves in `same`."""
    root = tmp_path_factory.mktemp("images")
    (root / "masks").mkdir()
    (root / "same").mkdir()
    for number in range(6):
        pixels = torch.randint(16, (5, 5, 3), generator=torch.Generator().manual_seed(number), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(root / "masks" / f"{number}.png")
        Image.fromarray(pixels[:, :, 0].numpy()).save(root / "masks" / f"{number}.mask.png")
        for ending in (".png", ".same.png"):
            Image.fromarray(pixels.numpy()).save(root / "same" / f"{number}{ending}")
    return root


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("augment", [(each,) for each in ALL[:4]] + [tuple(ALL[3::-1])], ids=str)
def test_masks_move_with_their_images_and_all_variants_occur(folder, augment, streaming):
    images = load(folder / "masks", SPEC, MASK, streaming=streaming).train
    seen: Counter[Any] = Counter()
    for batch in TrainingExamples(images, batch_size=10, steps=60, seed=1, augment=augment):
        assert "condition" in batch
        assert torch.equal(batch["image"][:, :1].int(), batch["condition"])
        seen.update(tuple(image.flatten().tolist()) for image in batch["image"])
    if len(augment) == 1 and augment[0].variants(SPEC) <= 4:
        assert len(seen) == augment[0].variants(SPEC) * 3
        assert min(seen.values()) > 0.5 * 600 / len(seen)


def test_orders_of_channels_change_images_but_not_masks(folder):
    mask, same = load(folder / "masks", SPEC, MASK).train, load(folder / "same", SPEC, SAME).train
    found = [
        [*TrainingExamples(each, batch_size=10, steps=6, seed=1, augment=augment)]
        for each, augment in ((mask, []), (mask, [Channels()]), (same, [Channels()]))
    ]
    for plain, with_mask, with_image in zip(*found, strict=True):
        assert torch.equal(plain["condition"], with_mask["condition"])
        assert not torch.equal(plain["image"], with_mask["image"])
        assert torch.equal(plain["image"].sort(1).values, with_mask["image"].sort(1).values)
        assert torch.equal(with_image["image"].int(), with_image["condition"])


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (["turns"], "training.augment: turns: expected square images, got 8×16×3 with 256 levels"),
        (["transpose"], "training.augment: transpose: expected square images, got 8×16×3 with 256 levels"),
        (["flip", "flip"], "training.augment: expected each augmentation once, got flip twice"),
        (["flop"], "training.augment[0]: no augmentation is named 'flop'; did you mean 'flip'?"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(pictures, tmp_path, augment, message):
    recipe = write(tmp_path / "recipe.toml", tiny(pictures, image__width=16, training__augment=augment))
    with pytest.raises(UserError) as error:
        auxar.check(recipe)
    assert message in str(error.value)


def test_a_condition_of_another_size_cannot_be_shifted():
    small = Condition("image", ImageSpec(1, height=4, width=8))
    assert Flip().changes(small, SPEC)
    with pytest.raises(UserError, match="expected a condition of 5×5 pixels, got 4×8×1 with 256 levels"):
        Shift().changes(small, SPEC)
    with pytest.raises(UserError, match="expected square images, got 4×8×1"):
        Turns().changes(small, SPEC)


def test_loops_of_users_refuse_what_is_no_augmentation(folder):
    wrong: Any = ["flip"]
    with pytest.raises(UserError, match=r"augment: expected augmentations, such as .*Flip\(\), got 'flip'"):
        load(folder / "masks", SPEC, MASK).train.shuffled(4, augment=wrong)
