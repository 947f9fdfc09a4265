"""Tests of the places of the bits of single pixels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auxar.draw.likelihoods import _spread


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
