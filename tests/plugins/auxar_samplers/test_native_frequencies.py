"""Tests that the C++ library has the same integer frequencies as the heads in Python."""

import torch
from helpers.causal_networks import SEEDS, generator, needs_native
from helpers.engines import fixed_support, native_pixels
from helpers.integer_heads import RULES, heads, parameters_of
from hypothesis import given, settings

from auxar import DrawSource, ImageSpec
from auxar.model.integers import find_value
from auxar.numerics.range_coder import TOTAL

COUNT = 40


def native_draws(head, parameters, uniforms, rule, walk):
    """Draws pixels with the library from parameters (n, parameter_count), noise (n, k) and the centers of a walk."""
    count = len(parameters)
    noise = torch.cat([uniforms, uniforms[:1]]).unsqueeze(1)
    source = DrawSource(head, head.levels, rule, noise, None, walk)
    return native_pixels(source, torch.arange(count), parameters)[:, 0]


def random_walk(head, seed):
    """A walk along a row of pixels, each with a center of its own; None if the head takes none."""
    if not head.centered:
        return None
    image = ImageSpec(head.channels, height=1, width=COUNT, levels=head.levels)
    found = torch.randint(head.levels, image.shape, generator=generator(seed + 1))
    return fixed_support(image, found, found).walk(torch.zeros(1, 1, 1, 1))


@needs_native
@settings(deadline=None, max_examples=40)
@given(head=heads(), rule=RULES, seed=SEEDS)
def test_noise_at_both_ends_of_a_range_draws_its_value(head, rule, seed):
    own, noise = head.integer_head(), generator(seed)
    parameters = parameters_of(head, COUNT, seed, 2.0).contiguous()
    low, high = torch.zeros(COUNT, dtype=torch.int64), torch.full((COUNT,), head.levels - 1)
    walk = random_walk(own, seed)
    moved = parameters if walk is None else own.around(parameters, walk.centers(torch.arange(COUNT))[:, 0])
    pixels = own.frequencies(moved, rule)
    values, ends = [], []
    for _ in range(head.channels):
        likely = find_value(pixels, torch.randint(TOTAL, (COUNT,), generator=noise), low, high)
        value = torch.randint(head.levels, (COUNT,), generator=noise)
        found = pixels.below(torch.stack([value, value + 1], dim=1), low, high)
        values.append(torch.where(found[:, 0] < found[:, 1], value, likely))
        ends.append(pixels.below(torch.stack([values[-1], values[-1] + 1], dim=1), low, high))
        pixels.take(values[-1])
    expected, ranges = torch.stack(values, dim=1), torch.stack(ends, dim=1).double()
    for targets in (ranges[..., 0], ranges[..., 1] - 2.0**-10):
        assert torch.equal(native_draws(own, parameters, targets / TOTAL, rule, random_walk(own, seed)), expected)
