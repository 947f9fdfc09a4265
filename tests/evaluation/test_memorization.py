"""Tests that the nearest training images agree with a brute-force search."""

import gc
import weakref

import pytest
import torch
from helpers.causal_networks import SEEDS, generator, random_images, specs
from helpers.chains import chain_of, pyramid
from helpers.listed_images import Listed
from helpers.values import views_of
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.draw import figures
from auxar.errors import UserError
from auxar.evaluation.nearest import nearest, neighbors
from auxar.model import ImageSpec
from auxar_augmentations import Flip, Transpose


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
@given(stages=st.integers(0, 2), seed=SEEDS, augment=st.sampled_from([(), (Flip(),), (Flip(), Transpose())]))
def test_neighbors_are_nearest_by_pixels_and_by_the_coarsest_view(stages, seed, augment):
    spec = ImageSpec(3, height=4, width=4, levels=4)
    model = chain_of(spec, *[pyramid] * stages)
    images, training = random_images(3, spec, seed), random_images(10, spec, seed + 1)
    found = neighbors(model, images, Listed(spec, training), augment)
    variants = [training, training.flip(-1)] if augment else [training]
    variants = [each for one in variants for each in ([one, one.mT] if len(augment) == 2 else [one])]
    candidates = torch.stack(variants, 1).flatten(0, 1)
    assert found.images is images
    assert len(found.nearest) == (1 if stages == 0 else 2)
    for part, depth in zip(found.nearest, (0, -1)[: len(found.nearest)], strict=True):
        wanted, among = views_of(model, images)[depth], views_of(model, candidates)[depth]
        for row in range(3):
            number, distance = slow_nearest(wanted[row], among)
            assert part.numbers[row] == number // len(variants)
            assert part.distances[row].item() == pytest.approx(distance, rel=1e-14)
            assert torch.equal(part.images[row], candidates[number])


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
    with pytest.raises(UserError, match="no images to compare with"):
        nearest(white, [])


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


def test_the_rows_of_the_sheet_are_named_by_the_distances_of_what_is_near(monkeypatch):
    spec, labels = ImageSpec(3, height=8, width=8, levels=16), list[str]()
    model, training = chain_of(spec, pyramid), Listed(spec, random_images(20, spec, 1))
    samples, heldout = (neighbors(model, random_images(n, spec, n), training) for n in (10, 3))
    monkeypatch.setattr(figures, "labeled", lambda columns, names: labels.extend(names))
    figures.memorization_sheet(samples, heldout, spec)
    near = [
        [", ".join(f"{part.distances[row]:.2f}" for part in found.nearest) for row in range(count)]
        for found, count in ((samples, 8), (heldout, 3))
    ]
    assert labels == [" | ".join(both) for both in zip(near[0], [*near[1], *"-----"], strict=True)]
