"""Tests that products of integers are exact with every instruction set, for every size, also of more than 16 bits."""

import numpy as np
import pytest
import torch
from helpers.causal_networks import SEEDS
from helpers.engines import run_lists, steady
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auxar.numerics.threads import threads
from auxar_samplers.compiler.program import Layout, Product
from auxar_samplers.engines.native.integers import packed_weights
from auxar_samplers.engines.native.library import Kept, library

pytestmark = pytest.mark.usefixtures("instruction_set")

LARGEST = 2**15
LEAST, MOST = -LARGEST, LARGEST - 1


def integers(numbers, shape, least, most):
    """Random integers, many of them at the ends of the range."""
    found = numbers.integers(least, most, shape, endpoint=True)
    ends = numbers.choice([least, most, 0, -1, 255, 256], shape)
    return torch.from_numpy(np.where(numbers.random(shape) < 0.3, np.clip(ends, least, most), found)).double()


def product(numbers, rows, sizes, outputs, *, initial, most=LARGEST - 1, weight=LARGEST, count=1):
    """A product of random integers, and that of Python's integers, with weights of -weight … weight."""
    batch = 2 if rows % 2 == 0 else 1
    slots = rows // batch
    layout = Layout(batch, torch.zeros(1, dtype=torch.float64))
    operands, inputs = [], []
    for size in sizes:
        values = integers(numbers, (slots * batch, size), -LARGEST, most)
        scratch = layout.scratch(slots, size)
        scratch.values.copy_(values)
        operands.append(scratch)
        inputs.append(values)
    matrices = tuple(integers(numbers, (size, outputs), -weight, min(weight, MOST)) for size in sizes)
    bias = integers(numbers, (outputs,), -(2**40), 2**40)
    table = None
    start = bias.expand(rows, outputs)
    if initial:
        start = integers(numbers, (rows, outputs), -(2**40), 2**40)
        table = layout.table(slots, outputs)
        table.values[:-1] = start.view(slots, batch, outputs)
    output = layout.scratch(slots, outputs)
    made = Product(output, tuple(zip(operands, matrices, strict=True)), bias, table, 0)
    with threads(count):
        run_lists("native", layout, [steady(slots)], [[made]], (0, 0))
    exact = torch.cat(inputs, 1).long() @ torch.cat(matrices).long() + start.long()
    return output.values.view(rows, outputs), exact


@settings(deadline=None, max_examples=25)
@given(
    seed=SEEDS,
    rows=st.integers(1, 40),
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=3),
    outputs=st.integers(1, 90),
    weight=st.sampled_from([1, 500, 2**11, 2**13, LARGEST]),
    initial=st.booleans(),
    count=st.integers(1, 3),
)
@example(seed=0, rows=16, sizes=[64], outputs=16, weight=LARGEST, initial=False, count=1)
@example(seed=0, rows=1, sizes=[1], outputs=1, weight=1, initial=True, count=2)
@example(seed=0, rows=2, sizes=[64, 65], outputs=130, weight=2**11, initial=True, count=1)
def test_products_of_integers_are_exact(seed, rows, sizes, outputs, weight, initial, count):
    """Small weights have one part and large ones have two, and sums over many inputs have several blocks."""
    numbers = np.random.default_rng(seed)
    found, exact = product(numbers, rows, sizes, outputs, weight=weight, initial=initial, count=count)
    assert torch.equal(found.long(), exact)


@pytest.mark.parametrize("most", [LARGEST, 2**31 - 1, 2**31])
def test_values_of_more_bits_are_multiplied_all_the_same(most):
    found, exact = product(np.random.default_rng(0), 9, [70], 40, initial=False, most=most)
    assert torch.equal(found.long(), exact)


def multiplied(values, matrix):
    """The product of values (inputs,) with a matrix by the library, without a bias."""
    layout = Layout(1, torch.zeros(1, dtype=torch.float64))
    scratch, output = layout.scratch(1, len(values)), layout.scratch(1, matrix.shape[1])
    scratch.values.copy_(values)
    made = Product(output, ((scratch, matrix),), torch.zeros(matrix.shape[1]).double(), None, 0)
    run_lists("native", layout, [steady(1)], [[made]], (0, 0))
    return output.values[0]


def test_the_largest_sums_fit():
    """With the largest number of inputs, all values and weights at their ends."""
    inputs = library().most_inputs_of_words() or 32768
    for value, weight in ((-LARGEST, LEAST), (LARGEST - 1, MOST), (-LARGEST, MOST), (-LARGEST, 2048), (-LARGEST, -128)):
        matrix = torch.full((inputs, 1), float(weight), dtype=torch.float64)
        assert multiplied(torch.full((inputs,), float(value)), matrix).item() == inputs * value * weight


@pytest.fixture
def multiplies_words(instruction_set):
    if not library().most_inputs_of_words():
        pytest.skip(f"the library for {instruction_set} does not multiply integers of 16 bits")


@pytest.mark.usefixtures("multiplies_words")
@pytest.mark.parametrize("value", [0.5, LEAST - 1, MOST + 1, float("nan"), float("inf"), -(2.0**40)])
def test_other_weights_are_not_packed(value):
    matrix = torch.zeros(3, 2, dtype=torch.float64)
    assert packed_weights(library(), matrix, Kept()) is not None
    matrix[1, 1] = value
    assert packed_weights(library(), matrix, Kept()) is None
    assert packed_weights(library(), torch.zeros(library().most_inputs_of_words() + 1, 1).double(), Kept()) is None


@pytest.mark.usefixtures("multiplies_words")
@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, inputs=st.integers(1, 300), outputs=st.integers(1, 4), weight=st.integers(1, LARGEST))
@example(seed=0, inputs=100, outputs=3, weight=500)
@example(seed=0, inputs=20, outputs=1, weight=LARGEST)
def test_sums_of_a_block_fit_into_32_bits(seed, inputs, outputs, weight):
    """Products of a block's weights with values of 16 bits add up to less than 2³¹ in magnitude, in any order.

    Blocks are also not much shorter than they must be, because each costs a sum in float64.
    """
    matrix = integers(np.random.default_rng(seed), (inputs, outputs), -weight, min(weight, MOST))
    words = packed_weights(library(), matrix, Kept())
    if words is None:
        assert matrix.abs().amax() == LARGEST, "pairs of other weights fit"
        return
    sums = [block.abs().sum(0).amax().item() for block in matrix.split(words.block)]
    assert max(sums) * LARGEST < 2**31
    assert words.block >= min(inputs, 0.3 * 2**16 // weight)


@pytest.mark.usefixtures("multiplies_words")
def test_weights_that_do_not_fit_in_pairs_are_not_packed():
    assert packed_weights(library(), torch.full((2, 1), float(LEAST)).double(), Kept()) is None
    assert packed_weights(library(), torch.full((1, 1), float(LEAST)).double(), Kept()) is not None
