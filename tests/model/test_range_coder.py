"""Tests that a range coder reads the values that it wrote, in hardly more bits than their frequencies allow."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auxar.numerics.range_coder import TOTAL, RangeDecoders
from auxar.numerics.range_coder import encode as encode_in_python
from auxar_samplers.engines.native import sources

PARTS = st.sets(st.integers(1, TOTAL - 1), max_size=6) | st.sets(
    st.sampled_from([1, 2, TOTAL // 2, TOTAL - 2, TOTAL - 1]), max_size=5
)
"""Cumulative frequencies at which one value ends and the next one begins."""


@st.composite
def sequences(draw, count):
    """Values as (start, frequency) with the edges of all values of their distributions."""
    found = []
    for _ in range(count):
        edges = [0, *sorted(draw(PARTS)), TOTAL]
        value = draw(st.integers(0, len(edges) - 2))
        found.append((edges, value))
    return found


def encode(ranges):
    """The bytes of ranges, which Python and C++ write alike."""
    found = encode_in_python(ranges)
    assert sources.stream(torch.tensor(ranges, dtype=torch.int64).reshape(-1, 2).T) in (found, None)
    return found


def decoded(streams, sequences):
    """The values of each stream, decoded one after another."""
    decoders = RangeDecoders(streams)
    found: list[list[int]] = [[] for _ in streams]
    for step in range(max(map(len, sequences))):
        chosen = [row for row, sequence in enumerate(sequences) if step < len(sequence)]
        starts, frequencies = [], []
        for row, target in zip(chosen, decoders.targets(chosen), strict=True):
            edges = sequences[row][step][0]
            value = int(np.searchsorted(edges, target, side="right")) - 1
            found[row].append(value)
            starts.append(edges[value])
            frequencies.append(edges[value + 1] - edges[value])
        decoders.take(chosen, np.array(starts), np.array(frequencies))
    return found


def ranges(sequence):
    return [(edges[value], edges[value + 1] - edges[value]) for edges, value in sequence]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_values_are_decoded_from_their_bytes(data):
    streams = data.draw(st.lists(st.integers(0, 40).flatmap(sequences), min_size=1, max_size=3))
    if not any(streams):
        return
    written = [encode(ranges(each)) for each in streams]
    assert decoded(written, streams) == [[value for _, value in each] for each in streams]
    for stream, sequence in zip(written, streams, strict=True):
        bits = sum(math.log2(TOTAL / frequency) for _, frequency in ranges(sequence))
        assert len(stream) <= bits / 8 + 2


def test_the_leading_bytes_carry_over():
    """The highest value again and again makes a number of nothing but ones, which a last value carries to the end."""
    sequence = [([0, TOTAL - 1, TOTAL], 1)] * 3 + [([0, 1, TOTAL], 1)] * 50 + [([0, TOTAL - 1, TOTAL], 1)] * 50
    assert decoded([encode(ranges(sequence))], [sequence]) == [[1] * 103]


@pytest.mark.parametrize("start", [1, 255, 256, 2**16, TOTAL // 2, TOTAL - 1])
def test_the_last_byte_is_rounded_up_beyond_the_bytes_before_it(start):
    """After three bytes, the lower end of the interval is above 255 · 2⁵⁶, so that the last byte carries over."""
    sequence = [([0, start, start + 1, TOTAL][: 3 if start == TOTAL - 1 else 4], 1)]
    assert len(encode(ranges(sequence))) <= 3
    assert decoded([encode(ranges(sequence))], [sequence]) == [[1]]


def test_long_streams_take_the_bits_of_their_frequencies():
    numbers = random.Random(1)
    sequence = []
    for _ in range(10_000):
        edge = numbers.choice([1, 1000, TOTAL // 3, TOTAL - 5])
        sequence.append(([0, edge, TOTAL], int(numbers.random() > edge / TOTAL)))
    written = encode(ranges(sequence))
    bits = sum(math.log2(TOTAL / frequency) for _, frequency in ranges(sequence))
    assert bits / 8 <= len(written) <= bits / 8 * (1 + 1e-6) + 2
    assert decoded([written], [sequence]) == [[value for _, value in sequence]]
