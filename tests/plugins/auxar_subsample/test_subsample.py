"""Tests the view `subsample`: it keeps pixels of images of any size, and says which of them are known."""

import torch
from helpers.causal_networks import SEEDS, SIZES, random_images, specs
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.model import ImageSpec, Known
from auxar_subsample import SubsampleConfig, SubsampleView


@settings(deadline=None, max_examples=80)
@given(factor=st.integers(2, 4), spec=specs(SIZES, levels=(2, 256)), seed=SEEDS)
def test_each_pixel_is_one_of_the_image_and_known_where_it_is(factor, spec, seed):
    view, image = SubsampleView(SubsampleConfig(factor), spec), random_images(2, spec, seed)
    rows, columns = (range(0, side, factor) for side in spec.shape[1:])
    assert view.view.shape == (spec.channels, len(rows), len(columns))
    expected = [[[[plane[r][c] for c in columns] for r in rows] for plane in each] for each in image.tolist()]
    found = view(image)
    assert found.tolist() == expected
    mask = random_images(2, spec, seed + 1)[:, 0] % 2 == 0
    known = view.known(Known(image.where(mask[:, None], -1), mask))
    for row, column in ((r, c) for r in range(len(rows)) for c in range(len(columns))):
        assert torch.equal(known.mask[:, row, column], mask[:, row * factor, column * factor])
    assert torch.equal(known.filled(), found * known.mask[:, None])


def test_the_view_shares_no_memory_with_its_image():
    image = random_images(1, ImageSpec(height=1, width=1), 0)
    before = image.clone()
    SubsampleView(SubsampleConfig(2), ImageSpec(height=1, width=1))(image).add_(1)
    assert torch.equal(image, before)
