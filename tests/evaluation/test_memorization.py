"""Tests that the nearest training images agree with a brute-force search."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from helpers.causal_networks import SEEDS, generator, random_images, specs
from helpers.listed_images import Listed
from helpers.sheets import cells, enlarged
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.draw import figures
from auxar.draw.sheets import labeled, to_uint8
from auxar.errors import UserError
from auxar.evaluation.nearest import mirrored, nearest, neighbors
from auxar.model import CausalDistribution, Chain, Factor, ImageSpec
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView


def model_of(image, stages):
    """Returns a model with a chain of pyramid views. Its weights do not matter."""
    light = components.LightConfig(filters=2, blocks=1, head=logistic_mixture(1))
    views = []
    for _ in range(stages):
        views.append(PyramidView(PyramidConfig(2), image))
        image = views[-1].view
    found = Chain([Factor(CausalDistribution(components.light(light, image)))])
    for view in reversed(views):
        embedding = components.embedding(
            components.EmbeddingConfig(filters=2, blocks_per_group=1), view.view, view.image
        )
        decoder = CausalDistribution(components.light(light, view.image, 2))
        found = Chain([Factor(decoder, view=view, embedding=embedding), found])
    return found


def batches(images, size, order=None):
    numbers = torch.arange(len(images)) if order is None else order
    return [(part, images[part]) for part in numbers.split(size)]


def slow_distance(first, second):
    """Computes the distance of two images with Python's integers."""
    differences = [int(a) - int(b) for a, b in zip(first.flatten(), second.flatten(), strict=True)]
    return (sum(difference**2 for difference in differences) / len(differences)) ** 0.5


def slow_nearest(image, candidates):
    """Returns the number and the distance of the nearest candidate, the first one if several are equally near."""
    found = [slow_distance(image, candidate) for candidate in candidates]
    return found.index(min(found)), min(found)


@settings(deadline=None, max_examples=100)
@given(spec=specs(), count=st.integers(1, 4), among=st.integers(1, 12), size=st.integers(1, 13), seed=SEEDS)
def test_the_nearest_is_that_of_looking_at_each(spec, count, among, size, seed):
    """Some cases have few levels and pixels, so that ties and copies occur. The batches' order does not matter."""
    images, others = random_images(count, spec, seed), random_images(among, spec, seed + 1)
    order = torch.randperm(among, generator=generator(seed))
    (found,) = nearest(images, batches(others.to(torch.int16), size, order))
    for row, image in enumerate(images):
        number, distance = slow_nearest(image, others)
        assert found.numbers[row] == number
        assert found.distances[row].item() == pytest.approx(distance, rel=1e-14)
        assert torch.equal(found.images[row], others[number])
    assert (found.numbers.dtype, found.distances.dtype) == (torch.int64, torch.float64)
    assert found.images.dtype == images.dtype
    for other_size in (1, among):
        (again,) = nearest(images, batches(others, other_size))
        assert torch.equal(again.numbers, found.numbers)
        assert torch.equal(again.distances, found.distances)
        assert torch.equal(again.images, found.images)


@settings(deadline=None, max_examples=30)
@given(
    stages=st.integers(0, 2),
    seed=SEEDS,
    size=st.integers(1, 9),
    limit=st.none() | st.integers(1, 12),
    flip=st.booleans(),
)
def test_neighbors_are_nearest_by_pixels_and_by_the_coarsest_view(stages, seed, size, limit, flip):
    spec = ImageSpec(3, height=4, width=4, levels=4)
    model = model_of(spec, stages)
    images, training = random_images(3, spec, seed), random_images(10, spec, seed + 1)
    found = neighbors(model, images, Listed(spec, training), batch_size=size, limit=limit, flip=flip)
    candidates = training[:limit]
    if flip:
        candidates = torch.stack([candidates, candidates.flip(-1)], 1).flatten(0, 1)
    assert found.images is images
    assert len(found.nearest) == (1 if stages == 0 else 2)
    for part, depth in zip(found.nearest, (0, -1)[: len(found.nearest)], strict=True):
        wanted, among = model.views(images)[depth], model.views(candidates)[depth]
        for row in range(3):
            number, distance = slow_nearest(wanted[row], among)
            assert part.numbers[row] == number // (2 if flip else 1)
            assert part.distances[row].item() == pytest.approx(distance, rel=1e-14)
            assert torch.equal(part.images[row], candidates[number])


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, place=st.integers(0, 19), size=st.integers(1, 21), turned=st.booleans())
def test_a_copy_is_found(seed, place, size, turned):
    spec = ImageSpec(3, height=8, width=8)
    training = random_images(20, spec, seed)
    images = random_images(3, spec, seed + 1)
    images[1] = training[place].flip(-1) if turned else training[place]
    found = neighbors(model_of(spec, 2), images, Listed(spec, training), batch_size=size, flip=turned)
    for part in found.nearest:
        assert part.numbers[1] == place
        assert part.distances[1] == 0
        assert torch.equal(part.images[1], images[1])
    assert (found.nearest[0].distances[::2] > 50).all(), "noise is far from other noise"


def test_of_copies_the_first_is_named():
    spec = ImageSpec(1, height=2, width=2)
    image = random_images(1, spec)
    others = torch.cat([255 - image, image, image, image])
    for size in range(1, 5):
        (found,) = nearest(image, reversed(batches(others, size)))
        assert found.numbers.tolist() == [1]


def test_distances_are_exact_for_large_images():
    """A difference of 1 in a single sub-pixel is found in a large image with the largest possible values."""
    spec = ImageSpec(3, height=128, width=128)
    white = torch.full((1, *spec.shape), 255)
    less, least = white.clone(), white.clone()
    less[0, 2, 100, 17:19] = 254
    least[0, 0, 3, 127] = 254
    (found,) = nearest(white, batches(torch.cat([less, least, 255 - white]), 2))
    assert found.numbers.tolist() == [1]
    assert found.distances.item() == pytest.approx(spec.dims**-0.5, rel=1e-14)


def test_no_more_than_a_batch_is_kept():
    spec = ImageSpec(1, height=2, width=2)
    seen: list[weakref.ref[torch.Tensor]] = []

    def watched():
        for number in range(8):
            gc.collect()
            # Only the previous batch may still be in memory.
            assert sum(reference() is not None for reference in seen) <= 1
            batch = random_images(5, spec, number)
            seen.append(weakref.ref(batch))
            yield torch.arange(5 * number, 5 * number + 5), batch
            del batch

    nearest(random_images(2, spec, 99), watched())
    assert len(seen) == 8


def test_mirrored_images_have_the_numbers_of_their_originals():
    images = random_images(3, ImageSpec(1, height=2, width=3))
    found = list(mirrored(batches(images, 2)))
    assert [numbers.tolist() for numbers, _ in found] == [[0, 1], [0, 1], [2], [2]]
    assert torch.equal(torch.cat([part for _, part in found[::2]]), images)
    assert torch.equal(torch.cat([part for _, part in found[1::2]]), images.flip(3))


def test_what_cannot_be_compared_is_told():
    spec = ImageSpec(1, height=2, width=2)
    model = model_of(spec, 0)
    with pytest.raises(UserError, match="no images to compare with"):
        nearest(random_images(1, spec), [])
    with pytest.raises(UserError, match="expected shape"):
        neighbors(
            model, random_images(1, ImageSpec(1, height=2, width=3)), Listed(spec, random_images(3, spec)), flip=False
        )


@pytest.mark.parametrize("stages", [0, 1])
def test_the_sheet_shows_samples_and_unseen_images_beside_what_is_near(stages, monkeypatch):
    spec = ImageSpec(3, height=8, width=8, levels=16)
    model = model_of(spec, stages)
    training = Listed(spec, random_images(20, spec, 1))
    images, unseen = random_images(10, spec, 2), random_images(3, spec, 3)
    images[4] = training.pixels[7]
    samples, heldout = (neighbors(model, part, training, flip=False) for part in (images, unseen))
    labels = []

    def noted(columns, names):
        labels.append(([title for title, _, _ in columns], names))
        return labeled(columns, names)

    monkeypatch.setattr(figures, "labeled", noted)
    picture = figures.memorization_sheet(samples, heldout, spec)
    ((titles, names),) = labels
    assert len(titles) == 2 + stages
    assert [name.partition(":")[0] for name in names] == [
        *(f"sample {k}" for k in range(8)),
        *(f"held out {k}" for k in range(3)),
    ]
    assert names[4].partition(": ")[2] == ", ".join(["0.00"] * (1 + stages))
    for name, row in ((names[0], 0), (names[10], 2)):
        found = samples if row == 0 else heldout
        assert [float(text) for text in name.partition(": ")[2].split(", ")] == pytest.approx(
            [part.distances[row].item() for part in found.nearest], abs=0.005
        )
    columns = [torch.cat([images[:8], unseen])]
    for one, other in zip(samples.nearest, heldout.nearest, strict=True):
        columns.append(torch.cat([one.images[:8], other.images]))
    tiles = cells(picture, 11, len(columns), 128, 128)
    for column, shown in enumerate(columns):
        for row, colors in enumerate(to_uint8(shown, spec)):
            assert np.array_equal(tiles[row, column], enlarged(colors, 128, 128))
