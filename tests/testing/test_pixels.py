"""Tests that the random arguments of the checks of heads cover all cases, and are the same in each run."""

import torch

from auxar.testing.laws import keeps_state
from auxar.testing.pixels import random_intervals, random_uniforms


def test_random_intervals_are_of_all_kinds():
    with keeps_state("random_intervals"):
        found, again = (random_intervals((2000,), 9, seed=0) for _ in range(2))
    assert torch.equal(found.low, again.low)
    assert torch.equal(found.high, again.high)
    assert not torch.equal(found.low, random_intervals((2000,), 9, seed=1).low)
    assert int(found.low.min()) == 0
    assert int(found.high.max()) == 8
    assert (found.low <= found.high).all()
    first, last = found.low == 0, found.high == 8
    inside = (found.low > 0) & (found.high < 8)
    for kind in (
        inside & (found.low == found.high),
        first & last,
        first & ~last,
        ~first & last,
        inside & (found.low < found.high),
    ):
        assert 0.05 < kind.double().mean().item() < 0.5


def test_random_uniforms_begin_and_end_at_the_ends_of_their_range():
    with keeps_state("random_uniforms"):
        found = random_uniforms((50, 3), seed=0)
    assert torch.equal(found, random_uniforms((50, 3), seed=0))
    assert (found[0] == 2.0**-53).all()
    assert (found[-1] == 1 - 2.0**-53).all()
    assert found[1:-1].unique().numel() == 48 * 3
