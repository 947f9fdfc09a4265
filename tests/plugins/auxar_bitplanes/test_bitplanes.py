"""Tests the view `bitplanes`: it keeps the upper bits, says what is known, and refuses what has too few bits."""

import pytest
import torch
from helpers.causal_networks import SEEDS, random_images, specs
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import ImageSpec, Known
from auxar_bitplanes import BitplanesConfig, BitplanesView


def of_levels(levels, drop=1):
    return BitplanesView(BitplanesConfig(drop), ImageSpec(1, height=1, width=2, levels=levels))


@settings(deadline=None, max_examples=60)
@given(drop=st.integers(1, 9), data=st.data(), seed=SEEDS)
def test_the_view_is_the_upper_digits_of_the_binary_number_and_known_where_its_pixel_is(drop, data, seed):
    spec = data.draw(specs(levels=[2**bits for bits in range(drop + 1, 11)]))
    view, image = BitplanesView(BitplanesConfig(drop), spec), random_images(2, spec, seed)
    bits = spec.levels.bit_length() - 1
    found = view(image)
    assert found.flatten().tolist() == [
        int(f"{value:0{bits}b}"[: bits - drop], 2) for value in image.flatten().tolist()
    ]
    assert found.shape == (2, *view.view.shape)
    assert view.view.levels == 2 ** (bits - drop)
    mask = random_images(2, spec, seed + 1)[:, 0] % 2 == 0
    known = view.known(Known(image.where(mask[:, None], -1), mask))
    assert torch.equal(known.mask, mask)
    assert torch.equal(known.filled(), found * mask[:, None])


@pytest.mark.parametrize(
    ("levels", "nearest"),
    [(2, "nearest: 4)"), (3, "nearest: 4)"), (5, "nearest: 4 or 8)"), (255, "nearest: 128 or 256)")],
)
def test_levels_that_are_no_power_of_two_are_refused(levels, nearest):
    with pytest.raises(UserError, match="power of two and at least 4") as error:
        of_levels(levels)
    assert nearest in str(error.value)
    assert f"1×2×1 with {levels} levels" in str(error.value)


@pytest.mark.parametrize(("bits", "drop"), [(2, 2), (8, 8), (8, 20)])
def test_one_bit_has_to_stay(bits, drop):
    of_levels(2**bits, bits - 1)
    with pytest.raises(UserError, match=rf"drop must be at most {bits - 1} for .* {bits} bits, got drop = {drop}"):
        of_levels(2**bits, drop)
