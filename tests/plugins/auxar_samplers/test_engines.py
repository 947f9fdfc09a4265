"""Tests that both engines compute the same values, with any number of threads, and what the native engine refuses."""

import copy
import operator

import numpy as np
import pytest
import torch
from helpers.causal_networks import ENGINES, SEEDS, generator, needs_native
from helpers.engines import PIXEL, program_of, run_lists, run_program, steady
from helpers.marks import with_slow
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from auxar.model import ForceSource
from auxar.numerics.threads import threads
from auxar_layers import integer_functions as functions
from auxar_layers.functional import concat_elu, gate
from auxar_samplers.compiler.program import Clock, Layout, Pointwise, Product, Table, Window, identity
from auxar_samplers.compiler.tracer import FUNCTIONS
from auxar_samplers.engines import UnavailableError
from auxar_samplers.engines.native.engine import NativeEngine

DTYPES = [torch.float64, torch.float32]
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}


def layout_of(dtype=torch.float64, batch=1):
    return Layout(batch, torch.zeros((), dtype=dtype))


class WholeLayout(Layout):
    """The storage of a program of integers."""


def normal(layout, noise, *shape, scale=1.0):
    found = torch.randn(shape, generator=noise, dtype=torch.float64) * scale
    return (found * 8000).round() if isinstance(layout, WholeLayout) else found.to(layout.like.dtype)


def assert_near(found, expected):
    """Asserts that values agree up to the tolerance of their dtype, relative to the largest value of each row."""
    tolerance = TOLERANCES[found.dtype]
    size = 1 + expected.double().abs().amax(-1, keepdim=True)
    torch.testing.assert_close(found.double() / size, expected.double() / size, rtol=tolerance, atol=tolerance)


# Equal storage -------------------------------------------------------------------------------------------------------

# These numbers cover all widths of the library's panels and of their last parts, for both dtypes and vector lengths.
OUTPUTS = (1, 2, 3, 4, 5, 8, 9, 12, 13, 16, 17, 24, 25, 33, 48, 49, 100)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", with_slow([1, 3], 1))
def test_a_product_is_one_at_every_size(engine, dtype, batch):
    """A product is correct for 1 to 20 slots and all numbers of outputs in `OUTPUTS`, with a bias or a table."""
    layout, noise = layout_of(dtype, batch), generator(0)
    for outputs in OUTPUTS:
        for slots in range(1, 21):
            inputs = 1 + (slots + outputs) % 7
            operand, output = layout.scratch(slots, inputs), layout.scratch(slots, outputs)
            operand.values.copy_(normal(layout, noise, slots * batch, inputs))
            matrix, bias = normal(layout, noise, inputs, outputs), normal(layout, noise, outputs)
            initial = layout.table(slots, outputs)
            initial.values[:-1].copy_(normal(layout, noise, slots, batch, outputs))
            product = Product(output, ((operand, matrix),), bias, initial if slots % 2 else None, 0)
            run_lists(engine, layout, [steady(slots)], [[product]], (0, 0))
            start = initial.values[:-1].flatten(0, 1) if slots % 2 else bias
            assert_near(output.values, operand.values.double() @ matrix.double() + start.double())


STEPS = 7
# Steps alternate between the instruction lists 0 and 1. The clocks advance independently.
BOTH_LISTS = [(number, step, step // 2, step) for step in range(STEPS) for number in (0, 1)]
LEADS = st.integers(-1, 2)


def random_clock(draw, noise, slots):
    """Draws a clock whose slots are inside the image at random positions and places, long enough for all `LEADS`."""
    valid = torch.rand((STEPS + 3, slots), generator=noise) < draw(st.sampled_from([0.5, 0.9, 1]))
    places = torch.randint(STEPS * slots, (STEPS + 3, slots), generator=noise)
    return Clock(valid.numpy(), places.where(valid, STEPS * slots), -1)


def random_table(layout, noise, clock, channels):
    table = layout.table(STEPS * clock.slots, channels)
    table.values[:-1].copy_(normal(layout, noise, *table.values[:-1].shape))
    return table


def random_ring(draw, layout, number, clock, channels):
    wraps = draw(st.booleans())
    sides = {"before": draw(st.integers(0, 3)), "after": 0 if wraps else draw(st.integers(0, 2)), "wraps": wraps}
    copies = draw(st.integers(1, 2))
    return layout.ring(clock.slots, draw(st.integers(1, 4)), channels, **sides, copies=copies, clock=number)


def random_windows(draw, layout, ring, slots):
    """Returns a list of one random window of a ring for a reader with this many slots; it is empty if none fits."""
    stride = draw(st.integers(1, 2))
    room = len(ring.values) // layout.batch - 1 - stride * (slots - 1)
    if room < 0:
        return []
    length = draw(st.integers(1, ring.capacity)) if ring.values.shape[1] > ring.capacity else 1
    return [Window(ring, draw(st.integers(0, 5)), draw(st.integers(0, room)) - ring.before, length, stride)]


def random_product(layout, noise, output, operands, initial, lead, **options):
    outputs = output.values.shape[1]
    inputs = [o.length * o.ring.values.shape[2] if isinstance(o, Window) else o.values.shape[1] for o in operands]
    matrices = tuple(normal(layout, noise, size, outputs, scale=0.25) for size in inputs)
    terms = tuple(zip(operands, matrices, strict=True))
    return Product(output, terms, normal(layout, noise, outputs), initial, lead, **options)


@st.composite
def programs(draw):
    """Draws a program with all kinds of instructions, and the rings that it fills. It has one list or two.

    The first list copies tables into two rings with different clocks. In the second list, a product reads windows of
    these rings, and a function of its output fills a third ring. Another product reads that ring, the output of the
    first product and, in programs of integers, a function of that ring. A function of its output, at one phase of a
    third clock, fills a fourth ring. The native engine may store the first three rings of integers in 16 bits, outside
    of the program, so only the last is given.
    """
    # With many images, threads of the native engine compute integers of images of their own.
    layout, whole = layout_of(draw(st.sampled_from(DTYPES)), draw(st.sampled_from([1, 35]))), draw(st.booleans())
    if whole:
        layout = WholeLayout(layout.batch, torch.zeros((), dtype=torch.float64))
    noise = generator(draw(SEEDS))
    clocks = [random_clock(draw, noise, draw(st.integers(1, 7))) for _ in range(2)]
    slots, widths = clocks[0].slots, draw(st.tuples(*[st.sampled_from([1, 3, 8, 30])] * 4))
    stride = draw(st.integers(1, 3))
    phase = draw(st.integers(0, stride - 1))
    valid = np.zeros((STEPS + 3, stride * slots), dtype=bool)
    valid[:, phase::stride] = clocks[0].valid
    clocks.append(Clock(valid, torch.zeros(valid.shape, dtype=torch.int64), -1))
    rings = [random_ring(draw, layout, k, clocks[k], widths[n]) for n, k in enumerate([0, 1, 0])]
    rings.append(random_ring(draw, layout, 2, clocks[2], 2 * widths[3]))
    sums, spread = layout.scratch(slots, 2 * widths[2]), layout.scratch(stride * slots, widths[3])
    initial = random_table(layout, noise, clocks[0], 2 * widths[2]) if draw(st.booleans()) else None
    first = [Window(rings[0]), *(w for ring in rings[:2] for w in random_windows(draw, layout, ring, slots))]
    again = layout.scratch(slots, widths[2])
    # Sums may have more than 16 bits.
    second = [*random_windows(draw, layout, rings[2], slots), *[again] * whole, *[sums] * draw(st.booleans())] or [sums]
    lead = draw(LEADS)
    copies, gated, last = [identity, identity], gate, concat_elu
    if whole:
        tables = [functions.Lookup(make(10, 2**15 - 1)) for make in (functions.sigmoid_table, functions.elu_table)]
        copies = [functions.Requantize(multiplier=torch.ones(width), bound=2**15 - 1) for width in widths[:2]]
        gated = functions.IntegerGate(lookup=tables[0], shift=20, bound=draw(st.sampled_from([2**15 - 1, 2**20])))
        last = functions.IntegerConcatELU(lookup=tables[1])
    sources = [
        Pointwise(rings[k], copies[k], (random_table(layout, noise, clocks[k], widths[k]),), draw(LEADS), k)
        for k in range(2)
    ]
    others = [
        random_product(layout, noise, sums, first, initial, lead),
        Pointwise(rings[2], gated, (sums,), lead),
        random_product(layout, noise, spread, second, None, lead, phase=phase, stride=stride),
        Pointwise(rings[3], last, (spread,), lead, 2),
    ]
    tripled = functions.IntegerSum(weights=[3], shift=1, bound=2**15 - 1)
    others[2:2] = [Pointwise(again, tripled, (Window(rings[2]),), lead)] * whole
    lists = [sources, others] if draw(st.booleans()) else [[*reversed(sources), *others]]
    return layout, clocks, lists, rings[3 * whole :]


@pytest.mark.usefixtures("instruction_set")
@settings(deadline=None, max_examples=20)
@given(program=programs(), count=st.integers(1, 3))
def test_both_engines_leave_the_same_in_every_ring_with_any_number_of_threads(program, count):
    results, usual = [], torch.get_num_threads()
    for engine, number in (("torch", usual), ("native", usual), ("native", count)):
        # Each engine runs on its own copy of the storage.
        layout, clocks, lists, rings = copy.deepcopy(program)

        def note(rings=rings):
            results.append([ring.values.clone() for ring in rings])

        # Before the first step, no ring has values to note.
        fills = [(2 * step, note) for step in range(1, STEPS)]
        with threads(number):
            steps = [(number % len(lists), *positions) for number, *positions in BOTH_LISTS]
            run_program(engine, program_of(layout, clocks, lists, steps, fills))
        note()
    by_torch, by_native, by_threads = (results[k * STEPS : (k + 1) * STEPS] for k in range(3))
    for rings in zip(by_torch, by_native, by_threads, strict=True):
        for expected, found, again in zip(*rings, strict=True):
            assert_near(found, expected)
            assert torch.equal(found == 0, expected == 0)
            assert torch.equal(again, found)


@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (0, 3, 2), (3, 2, 0)])
def test_values_of_other_rows_are_complete_before_they_are_read(order):
    """A product reads values of other slots, which the same step writes before or after it, or which a table shares."""
    results = []
    for engine, number in (("torch", 1), ("native", 1), ("native", 3)):
        layout, noise = WholeLayout(35, torch.zeros(()).double()), generator(0)
        places = torch.stack([torch.arange(3).roll(step) for step in range(3)])
        clock = Clock(np.ones((3, 3), dtype=bool), places, 0)
        ring, found = (layout.ring(3, 1, 8, before=1, wraps=True) for _ in range(2))
        sums, shared = layout.scratch(3, 8), layout.scratch(4, 8)
        function = functions.Requantize(multiplier=torch.ones(8), shift=5, bound=2**15 - 1)
        instructions = [
            Pointwise(shared if 3 in order else ring, function, (random_table(layout, noise, clock, 8),), 0),
            random_product(layout, noise, sums, [Window(ring, shift=-1)], None, 0),
            Pointwise(found, function, (sums,), 0),
            Pointwise(sums, function, (Table(shared.values.view(4, 35, 8)),), 0),
        ]
        with threads(number):
            run_lists(engine, layout, [clock], [[instructions[k] for k in order]], *((0, step) for step in range(3)))
        results.append(found.values)
    assert all(torch.equal(each, results[0]) for each in results)


# Functions -----------------------------------------------------------------------------------------------------------

UNARY = [
    *(functional.elu, functional.relu, torch.relu, functional.silu),
    *(torch.sigmoid, torch.tanh, operator.neg, identity),
]
BINARY = [operator.add, operator.sub, operator.mul]


def test_every_function_is_tried_here():
    assert {*UNARY, *BINARY, gate, concat_elu} == {*FUNCTIONS, identity}


def stored(layout, kind, values):
    """Returns an operand with these values, (slots, channels), for the clock of `steady`."""
    slots, channels = values.shape
    if kind == "number":
        return values[0, 0].item()
    if kind == "table":
        table = layout.table(slots, channels)
        table.values[:-1, 0].copy_(values)
        return table
    if kind == "window":
        ring = layout.ring(slots, 2, channels, before=1)
        ring.values[1:, 1].copy_(values)
        return Window(ring, delay=3)
    scratch = layout.scratch(slots, channels)
    scratch.values.copy_(values)
    return scratch


def computed(engine, layout, function, channels, operands, slots=3):
    output = layout.scratch(slots, channels)
    run_lists(engine, layout, [steady(slots)], [[Pointwise(output, function, tuple(operands), 0)]], (0, 0))
    return output.values


KINDS = ["scratch", "table", "window"]


def operands_of(function):
    """Numbers of channels of the operands with which a function is tried."""
    if function in BINARY:
        return [sizes for width in (1, 3, 17) for sizes in ((width, width), (width, 1), (1, width))]
    if function is concat_elu:
        return [tuple(1 + k % 4 for k in range(count)) for count in (1, 2, 3, 16)]
    return [(channels * (1 + (function is gate)),) for channels in (1, 3, 4, 17)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [*UNARY, *BINARY, gate, concat_elu])
def test_a_function_of_operands_of_every_kind(engine, dtype, function):
    """Single channels and numbers are spread over the channels of the other operand."""
    layout, noise = layout_of(dtype), generator(0)
    for channels in operands_of(function):
        parts = [normal(layout, noise, 3, width) for width in channels]
        for shift in range(5 if function in BINARY else 3):
            kinds = [KINDS[(k + shift) % 3] for k in range(len(parts))]
            values = [3 * part for part in parts]
            if shift > 2:
                kinds[shift - 3] = "number"
                values[shift - 3] = values[shift - 3][:1, :1]
            expected = function(*(value.double() for value in values))
            operands = [stored(layout, kind, value) for kind, value in zip(kinds, values, strict=True)]
            assert_near(computed(engine, layout, function, expected.shape[1], operands), expected)


def everywhere():
    """Returns arguments: tiny and huge values of both signs, a fine grid from -100 to 100, and ±infinity."""
    powers = 10.0 ** torch.linspace(-30, 30, 1201, dtype=torch.float64)
    grid = torch.linspace(-100, 100, 40001, dtype=torch.float64)
    single = torch.tensor([0, 1e-8, 0.3, 0.34657, 0.34658, 1, 87, 88, 88.8, 100, 104, torch.inf], dtype=torch.float64)
    return torch.cat([powers, -powers, grid, single, -single])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [functional.elu, torch.sigmoid, torch.tanh, gate, concat_elu])
def test_a_function_is_accurate_everywhere(engine, dtype, function):
    """Functions are accurate to a few units in the last place, even near zero, where elu(x) ≈ x and tanh(x) ≈ x."""
    layout = layout_of(dtype)
    values = everywhere().to(dtype)[None]
    if function is gate:
        values = torch.cat([torch.linspace(-3, 3, values.shape[1], dtype=dtype)[None], values], dim=1)
    expected = function(values.double())
    found = computed(engine, layout, function, expected.shape[1], [stored(layout, "scratch", values)], slots=1)
    precision = torch.finfo(dtype)
    # Subnormal results have fewer digits, so their tolerance is absolute.
    torch.testing.assert_close(found.double(), expected, rtol=3 * precision.eps, atol=4 * precision.tiny)


# What the native engine does not run ---------------------------------------------------------------------------------


@needs_native
@pytest.mark.parametrize(
    ("dtype", "device", "function", "operands", "message"),
    [
        (torch.bfloat16, "cpu", torch.tanh, 1, "on a CPU are supported, got torch.bfloat16 on cpu"),
        (torch.float64, "meta", torch.tanh, 1, "on a CPU are supported, got torch.float64 on meta"),
        (torch.float64, "cpu", concat_elu, 17, "at most 16 operands of concat_elu are supported, got 17"),
        (torch.float64, "cpu", functional.elu, None, "a number as an argument of elu is not supported"),
        (torch.float64, "cpu", torch.exp, 1, "the function builtin_function_or_method is not supported"),
    ],
)
def test_the_native_engine_leaves_to_pytorch_what_it_does_not_support(dtype, device, function, operands, message):
    layout = Layout(1, torch.zeros((), dtype=dtype, device=device))
    part = layout.scratch(1, 1)
    arguments = (part, 0.5) if operands is None else (part,) * operands
    ring = layout.ring(1, 1, 2 * len(arguments) if function is concat_elu else 1)
    program = program_of(layout, [steady(1)], [[Pointwise(ring, function, arguments, 0)]], [(0, 0)])
    with pytest.raises(UnavailableError, match=message):
        NativeEngine().prepare(program, ForceSource(torch.zeros(1, 1, 1, 1, dtype=torch.int64), PIXEL))
    if device == "cpu":
        run_program("auto", program)
