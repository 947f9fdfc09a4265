"""Tests of random crops of images of their own sizes. Each pixel of an image holds its number, row and column."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from helpers.image_sets import encoded, load, refusal
from helpers.tiny_runs import tiny, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import auxar
from auxar.data.batches import TrainingExamples, evaluation_examples
from auxar.data.conversion import Preparation
from auxar.data.crops import Crops
from auxar.data.loading import images_of
from auxar.data.sets import ImageSet
from auxar.data.stored import _batches
from auxar.errors import UserError
from auxar.model import ImageSpec, View
from auxar.plugins import load_plugins
from auxar.recipe import Crop, Split
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.loading import parse_recipe, recipe_text
from auxar_augmentations import Flip

SPEC = ImageSpec(3, height=4, width=6)
RANDOM: dict[str, Any] = {"crop": Crop(random=True), "split": Split(0.75)}
SIZES = [(4, 6), (9, 20), (30, 6), (5, 7), (4, 40), (9, 20), (12, 12), (30, 6)]
"""The sizes of the images by their numbers."""
sets = pytest.mark.parametrize("streaming", [False, True], ids=["stored", "streamed"])
few = settings(max_examples=30, deadline=None)


def located(number: int, height: int, width: int) -> np.ndarray:
    rows, columns = np.indices((height, width))
    return np.stack([np.full_like(rows, number), rows, columns], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sizes")
    for number, size in enumerate(SIZES):
        Image.fromarray(located(number, *size)).save(root / f"{number}.png")
    return root


def first_pixels(batches: Any) -> list[list[int]]:
    """The number, row and column of the first pixel of each crop."""
    return [pixel for batch in batches for pixel in batch["image"][:, :, 0, 0].tolist()]


def crops_of(images: ImageSet, *, workers: int = 0, **options: Any) -> list[list[int]]:
    found = TrainingExamples(images, **{"batch_size": 4, "steps": 40, "seed": 3, **options})
    return first_pixels(found.read(workers))


@sets
def test_crops_are_parts_of_their_images_at_different_places(folder, streaming):
    images = load(folder, SPEC, streaming=streaming, **RANDOM).train
    seen = set()
    for batch in TrainingExamples(images, batch_size=5, steps=40, seed=1):
        assert batch["image"].shape == (5, *SPEC.shape)
        for crop in batch["image"].permute(0, 2, 3, 1).numpy():
            number, row, column = crop[0, 0].tolist()
            assert np.array_equal(crop, located(number, *SIZES[number])[row : row + 4, column : column + 6])
            seen.add((number, row, column))
    # Every image is seen at several places, unless it has the size of a crop: at other ones in each of the epochs.
    for number, count in Counter(number for number, *_ in seen).items():
        height, width = SIZES[number]
        most = (height - 3) * (width - 5)
        assert min(most, 2) <= count <= most
        assert most < 20 or count > len(SIZES)


@sets
def test_crops_depend_on_the_seed_and_the_place_in_the_sequence_alone(folder, streaming):
    images = load(folder, SPEC, streaming=streaming, **RANDOM).train
    expected = crops_of(images)
    assert crops_of(images, start=7) == expected[28:]
    assert crops_of(images, workers=2) == expected
    assert crops_of(images, batch_size=10, steps=16) == expected
    shares = [crops_of(images, rank=rank, processes=2) for rank in range(2)]
    assert [each for at in range(0, 80, 2) for share in shares for each in share[at : at + 2]] == expected
    assert crops_of(images, seed=4) != expected
    whole = load(folder, SPEC, streaming=streaming, **RANDOM).train
    assert crops_of(whole) == expected


def test_mirrored_crops_are_the_same_crops(folder):
    images = load(folder, SPEC, **RANDOM).train
    plain, mirrored = (
        torch.cat([each["image"] for each in TrainingExamples(images, batch_size=8, steps=9, seed=2, augment=augment)])
        for augment in ([], [Flip()])
    )
    same, turned = ((each == plain).flatten(1).all(1) for each in (mirrored, mirrored.flip(-1)))
    assert (same | turned).all()
    assert same.any()
    assert turned.any()


def test_processes_with_shards_of_their_own_draw_different_places(tmp_path):
    for number, name in enumerate(["train-00000-of-00002", "train-00001-of-00002", "test"]):
        table = pa.table({"image": [encoded(located(number, 40, 60))]})
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
    images = load(tmp_path, SPEC, streaming=True, heldout="test", shards="own", crop=Crop(random=True)).train
    places = [[place for _, *place in crops_of(images, rank=rank, processes=2)] for rank in range(2)]
    assert places[0] != places[1]


@few
@given(st.tuples(st.integers(1, 5), st.integers(1, 5)), st.integers(1, 4), st.integers(0, 30), st.integers(0, 1000))
def test_places_are_multiples_of_the_stride_and_reach_every_border(stride, steps, more, seed):
    height, width = (steps * each for each in stride)
    crops = Crops(ImageSpec(1, height=height, width=width), stride)
    places = np.indices((height + more, width + more))
    found = [crops.random(places, seed, number)[:, 0, 0].tolist() for number in range(300)]
    for first, center, step in zip(zip(*found, strict=True), crops.center(places)[:, 0, 0], stride, strict=True):
        last = more // step * step
        assert set(first) <= set(range(0, last + 1, step))
        assert {0, last} <= set(first)
        assert center in range(max(0, more // 2 - step + 1), more // 2 + 1)


def test_training_sees_pixels_at_the_borders_as_often_as_others(monkeypatch):
    monkeypatch.setattr("auxar.data.crops.generator", lambda _, number: SimpleNamespace(random=lambda: number))
    crops, seen = Crops(ImageSpec(1, height=8, width=8), (2, 2)), np.zeros((40, 40), int)
    firsts: Counter[int] = Counter()
    for number in range(25):  # One for each place from -8 to 40.
        crops.random(seen, (number + 0.5) / 25)[...] += 1
        firsts[int(crops.random(np.indices((40, 40))[0], (number + 0.5) / 25)[0, 0])] += 1
    assert firsts == {0: 5, 32: 5} | dict.fromkeys(range(2, 32, 2), 1)
    assert seen[20, 20] == 4 < min(seen[0, 0], seen[39, 39])


def test_places_depend_on_every_part_of_their_key():
    crops, rows = Crops(ImageSpec(1, height=2, width=2)), np.indices((90, 90))[0]
    keys = [(seed, place, *part) for seed in range(3) for place in range(3) for part in ((), (0,), (1,))]
    assert len({int(crops.random(rows, *key)[0, 0]) for key in keys}) > 20


REGISTRY = load_plugins()


@pytest.mark.parametrize("name", REGISTRY.names("view"))
@few
@given(st.integers(1, 3), st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))
def test_the_view_of_a_crop_is_the_crop_of_the_view(name, steps, taller, wider, seed):
    component = REGISTRY.components["view", name]

    def view_of(height: int, width: int) -> View:
        found: View = component.build(component.config(), ImageSpec(3, height=height, width=width))
        return found

    rows, columns = view_of(12, 12).stride
    small = view_of(rows * steps, columns * steps)
    whole = small.at(ImageSpec(3, height=rows * (steps + taller), width=columns * (steps + wider)))
    image = torch.randint(256, (2, *whole.image.shape), generator=torch.Generator().manual_seed(seed))
    crop = Crops(small.image, whole.stride).random(image, seed)
    of_view = Crops(small.view).random(whole(image), seed)
    assert torch.equal(small(crop), of_view)


def test_the_stride_of_a_recipe_is_the_product_of_its_views(folder, tmp_path):
    table = {"name": "pyramid", "factor": 2}
    stages = [{"view": view, "embedding": "convnet", "decoder": "convnet"} for view in (table, "grayscale", table)]
    keys = {"path": str(folder), "crop": "random", "split": {"train": 0.75}}
    recipe = auxar.load_recipe(
        write(tmp_path / "recipe.toml", tiny(folder, data=keys, stage=stages, image={"height": 4, "width": 4}))
    )
    assert recipe.data.crop == Crop(random=True)
    images = images_of(recipe).train
    assert images.crops == Crops(recipe.image, (4, 4))
    assert {each % 4 for _, *place in crops_of(images) for each in place} == {0}


@sets
def test_a_picture_smaller_than_a_crop_is_one_sentence(tmp_path, streaming):
    for number in range(9):
        Image.fromarray(located(number, 9, 9)).save(tmp_path / f"large{number}.png")
    Image.fromarray(located(9, 9, 6)).save(tmp_path / "small.png")
    refused = refusal(tmp_path, SPEC, crop=Crop(left=1, random=True), streaming=streaming)
    assert refused == (
        "data.crop: small.png has 9×6 pixels (9×5 after data.crop), which is smaller than the crops of [image], 4×6 "
        "(height×width); remove it from the data set, or make image.height and image.width smaller"
    )


def test_margins_are_cut_off_first(folder):
    images = load(folder, attrs.evolve(SPEC, width=5), crop=Crop(top=0, left=1, random=True), split=Split(0.75)).train
    assert min(column for _, _, column in crops_of(images)) == 1


def test_images_of_one_size_are_not_taken_from_the_cache_of_images_of_their_own_sizes(folder):
    fingerprint = load(folder, SPEC, **RANDOM).train.fingerprint
    assert "data.resize: 1.png has 9×20 pixels; expected 4×6" in refusal(folder, SPEC)
    assert load(folder, SPEC, resize="cover", split=Split(0.75)).train.fingerprint != fingerprint


def test_labels_come_with_their_crops(tmp_path):
    names = ("cat", "dog")
    for number in range(8):
        (tmp_path / names[number % 2]).mkdir(exist_ok=True)
        Image.fromarray(located(number, 10, 9 + number)).save(tmp_path / names[number % 2] / f"{number}.png")
    images = load(tmp_path, SPEC, ConditionConfig("label", folders=True, names=names), **RANDOM).train
    for batch in TrainingExamples(images, batch_size=4, steps=6, seed=0):
        assert "condition" in batch
        assert (batch["image"][:, 0, 0, 0] % 2).tolist() == batch["condition"].flatten().tolist()


def test_settings_change_single_keys(folder, tmp_path):
    path = write(tmp_path / "recipe.toml", tiny(folder, data__crop="random"))
    for setting, expected in (
        ("data.crop.left=3", Crop(left=3, random=True)),
        ("data.crop={ top = 2 }", Crop(top=2, random=True)),
        ("data.crop.random=false", Crop()),
        ("data.crop=random", Crop(random=True)),
    ):
        recipe = auxar.load_recipe(path, [setting])
        assert recipe.data.crop == expected
        assert parse_recipe(recipe_text(recipe), tmp_path) == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__resize": "cover"}, "data.crop: random crops are of images of their own sizes; leave out data.resize"),
        (
            {"condition": {"kind": "mask", "suffix": ".m.png", "classes": 2}},
            "random crops .* condition of the kind mask",
        ),
        ({"data__crop": "left"}, "data.crop: expected a table or \"random\", got the string 'left'"),
        ({"prior": "transformer"}, "data.crop: random crops need networks for images of any size: prior: "),
        ({"image__width": 9}, "^image: random crops have multiples of 2 rows and 2 columns, .* got 8×9$"),
        (
            {"image__width": 9, "data__crop": {}, "training__data": {"path": "other", "crop": "random"}},
            "^image: random crops have multiples of 2 rows and 2 columns, .* got 8×9$",
        ),
        ({"training__crop": [6, 5]}, "^training.crop: random crops have multiples of 2 .* got 6×5$"),
        ({"training__factor": {"prior": {"crop": [3, 4]}}}, "^training.factor.prior.crop: random .* got 3×4$"),
        ({"training__crop": [10, 8]}, "training.crop: expected at most the height and width of .image., 8×8, got .10"),
        (
            {"training__crop": [8, 8], "data__crop": {}},
            "training.crop: this is the size of random crops; set data.crop",
        ),
    ],
)
def test_what_does_not_fit_random_crops_is_refused(folder, tmp_path, changes, message):
    table = tiny(folder, **{"data__path": str(folder), "data__crop": "random", **changes})
    with pytest.raises(UserError, match=message):
        auxar.check(write(tmp_path / "recipe.toml", table))


# --- whole images ----------------------------------------------------------------------------------------------------


@sets
@few
@given(st.integers(1, 9), st.integers(1, 4), st.none() | st.integers(1, 9))
def test_batches_for_evaluation_have_whole_images_of_one_size(folder, streaming, batch_size, processes, limit):
    images = load(folder, SPEC, streaming=streaming, **RANDOM).train.whole()
    expected = SIZES[:limit]

    def batches(rank: int, processes: int) -> list[list[int]]:
        found = []
        for numbers, batch in evaluation_examples(
            images, batch_size=batch_size, limit=limit, rank=rank, processes=processes
        ):
            assert len(batch) == 1 or batch["image"][:, 0].numel() <= batch_size * SPEC.height * SPEC.width
            for number, image in zip(numbers.tolist(), batch["image"].permute(0, 2, 3, 1).numpy(), strict=True):
                assert np.array_equal(image, located(number, *expected[number]))
            found.append(numbers.tolist())
        return found

    whole = batches(0, 1)
    assert sorted(number for batch in whole for number in batch) == list(range(len(expected)))
    assert sorted(whole) == sorted(batch for rank in range(processes) for batch in batches(rank, processes))


def test_few_images_of_their_own_sizes_are_converted_at_once():
    """They may be large."""
    for crops, sizes in ((None, [20]), (Crops(SPEC), [8, 8, 4])):
        assert [len(part) for part in _batches(range(20), Preparation(SPEC, Crop(), "none", crops=crops))] == sizes


@sets
def test_images_that_need_one_size_are_centers(folder, streaming):
    images = load(folder, SPEC, streaming=streaming, **RANDOM).train.whole()
    for examples in (images.first_examples(100), images.spaced_examples(100)):
        assert [tuple(pixel) for pixel in examples["image"][:, :, 0, 0].tolist()] == [
            (number, (height - 4) // 2, (width - 6) // 2) for number, (height, width) in enumerate(SIZES)
        ]
    if not streaming:
        assert [tuple(images[number].shape[1:]) for number in range(len(SIZES))] == SIZES
