"""Tests that the comparisons of frequencies name the values that deviate most."""

import pytest
import torch
from helpers.contract import breaks

from auxar.testing.frequencies import check_alike, check_frequencies, check_uniform

EVEN = (torch.arange(4000) + 0.5) / 4000
VALUES = torch.arange(4)[:, None]


def drawn(*counts):
    """Values 0, 1, … as often as given, int64 (n, 1)."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))[:, None]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (
            EVEN[(EVEN < 0.5) | (EVEN > 0.5625)],
            "3,750 draws, 0 have a cumulative probability of 0.5 … 0.562, where 234",
        ),
        (torch.cat([EVEN, torch.full((200,), 0.99)]), "450 have a cumulative probability of 0.938 … 1, where 262"),
    ],
    ids=["too few", "too many"],
)
def test_numbers_that_are_not_uniform_are_caught(numbers, message):
    check_uniform(EVEN, "these numbers deviate")
    assert message in breaks("draws", check_uniform, numbers, "these numbers deviate", channel=1)


def test_values_that_are_drawn_too_often_are_caught():
    nats = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    check_frequencies(drawn(1600, 1200, 800, 400), VALUES, nats, 4, "value")
    for counts, times in (((1100, 1200, 800, 900), 900), ((1600, 1600, 800, 0), 0)):
        found = breaks("draws", check_frequencies, drawn(*counts), VALUES, nats, 4, "value")
        assert f"this value was drawn {times} times in 4,000 draws; " in found
        assert "400.0 times are expected" in found


def test_values_that_are_hardly_ever_drawn_are_counted_together():
    values, nats = torch.arange(201)[:, None], torch.cat([torch.tensor([0.8]), torch.full((200,), 1e-3)]).log()
    check_frequencies(drawn(800, *[1] * 200), values, nats, 201, "value")
    check_frequencies(drawn(800, *[2] * 100, *[0] * 100), values, nats, 201, "value")
    found = breaks("draws", check_frequencies, drawn(600, *[2] * 200), values, nats, 201, "value")
    assert "this value was drawn 600 times in 1,000 draws; " in found


def test_samples_of_different_distributions_are_caught():
    first, second = drawn(2000, 2000).flatten(), drawn(2000, 1500, 500).flatten()
    check_alike(first, first.flip(0), "rule", "these samples differ")
    check_alike(first, drawn(2030, 1965, 5).flatten(), "rule", "these samples differ")
    found = breaks("rule", check_alike, first, second, "rule", "these samples differ", size=3)
    assert "these samples differ: the value 2 was drawn 0 and 500 times in 4,000 draws each" in found
