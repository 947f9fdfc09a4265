"""Tests of the places of the bits of single pixels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import auxar
from auxar.draw.likelihoods import _spread


def test_bits_of_pixels_do_not_depend_on_later_pixels():
    torch.manual_seed(0)
    model = auxar.build("small/table1/plain", ["data.path=noto-emoji", "image={ height = 8, width = 8 }"])
    images = torch.randint(0, 256, (1, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    changed = images.clone()
    changed[:, :, 4, 3] = 255 - changed[:, :, 4, 3]
    before, after = (model.pixel_bits(each)[0].flatten() for each in (images, changed))
    place = 4 * 8 + 3
    assert torch.equal(before[:place], after[:place])
    assert not torch.allclose(before[place:], after[place:])


@given(st.data())
def test_bits_of_views_are_divided_by_area(data):
    sizes = st.integers(1, 12)
    height, width, rows, columns = (data.draw(sizes) for _ in range(4))
    bits = torch.rand((2, height, width), dtype=torch.float64)
    found = _spread(bits, torch.Size((rows, columns)))
    assert torch.allclose(found.sum((1, 2)), bits.sum((1, 2)))
    even = _spread(torch.ones((1, height, width), dtype=torch.float64), torch.Size((rows, columns)))
    assert torch.allclose(even, torch.full_like(even, height * width / (rows * columns)))


def test_bits_of_a_view_stay_in_its_place():
    bits = torch.tensor([[[4.0, 0.0], [0.0, 8.0]]], dtype=torch.float64)
    found = _spread(bits, torch.Size((4, 4)))[0]
    assert torch.allclose(found[:2, :2], torch.ones(2, 2, dtype=torch.float64))
    assert torch.allclose(found[2:, 2:], torch.full((2, 2), 2.0, dtype=torch.float64))
    assert float(found[:2, 2:].sum() + found[2:, :2].sum()) == pytest.approx(0, abs=1e-12)
