"""Tests that both engines compute the same values, and that PyTorch replaces the native engine where it cannot run."""

import copy
import errno
import hashlib
import logging
import operator
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.causal_networks import ENGINES, SEEDS, generator, needs_native, sample
from helpers.engines import PIXEL, program_of, run_lists, run_program
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from auxar.errors import UserError
from auxar.model import ForceSource, ImageSpec, SampleRequest
from auxar_layers.functional import concat_elu, gate
from auxar_pixelcnn import components
from auxar_samplers import AutoSampler, CachedSampler, WavefrontSampler
from auxar_samplers.compiler.program import Clock, Layout, Pointwise, Product, Window, identity
from auxar_samplers.compiler.trace import FUNCTIONS
from auxar_samplers.engines import UnavailableError, choice
from auxar_samplers.engines.native import library as compiling
from auxar_samplers.engines.native.engine import NativeEngine

DTYPES = [torch.float64, torch.float32]
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}


def layout_of(dtype=torch.float64, batch=1):
    return Layout(batch, torch.zeros((), dtype=dtype))


def normal(layout, noise, *shape):
    return torch.randn(shape, generator=noise, dtype=torch.float64).to(layout.like.dtype)


def steady(slots):
    """Returns a clock with one position, at which every slot has a different place inside the image."""
    return Clock(np.ones((1, slots), dtype=bool), torch.arange(slots)[None], 0)


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
@pytest.mark.parametrize("batch", [1, 3])
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
            product = Product(output, (operand,), (matrix,), bias, initial if slots % 2 else None, 0)
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
    matrices = tuple(normal(layout, noise, size, outputs) / 4 for size in inputs)
    return Product(output, tuple(operands), matrices, normal(layout, noise, outputs), initial, lead, **options)


@st.composite
def programs(draw):
    """Draws a program with all kinds of instructions, and the rings that it fills.

    The first list copies tables into two rings with different clocks. In the second list, a product reads windows of
    these rings, and a function of its output fills a third ring. Another product reads that ring and the output of the
    first product; a function of its output, at one phase of a third clock, fills a fourth ring.
    """
    layout = layout_of(draw(st.sampled_from(DTYPES)), draw(st.sampled_from([1, 3])))
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
    second = [*random_windows(draw, layout, rings[2], slots), sums]
    lead = draw(LEADS)
    sources = [
        Pointwise(rings[k], identity, (random_table(layout, noise, clocks[k], widths[k]),), draw(LEADS), k)
        for k in range(2)
    ]
    others = [
        random_product(layout, noise, sums, first, initial, lead),
        Pointwise(rings[2], gate, (sums,), lead),
        random_product(layout, noise, spread, second, None, lead, phase=phase, stride=stride),
        Pointwise(rings[3], concat_elu, (spread,), lead, 2),
    ]
    return layout, clocks, [sources, others], rings


@needs_native
@settings(deadline=None, max_examples=60)
@given(program=programs())
def test_both_engines_leave_the_same_in_every_ring(program):
    results = []
    for engine in ("torch", "native"):
        # Each engine runs on its own copy of the storage.
        layout, clocks, lists, rings = copy.deepcopy(program)

        def note(rings=rings):
            results.append([ring.values.clone() for ring in rings])

        # Before the first step, no ring has values to note.
        fills = [(2 * step, note) for step in range(1, STEPS)]
        run_program(engine, program_of(layout, clocks, lists, BOTH_LISTS, fills))
        note()
    for by_torch, by_native in zip(results[:STEPS], results[STEPS:], strict=True):
        for expected, found in zip(by_torch, by_native, strict=True):
            assert_near(found, expected)
            assert torch.equal(found == 0, expected == 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("wraps", [False, True])
def test_slots_outside_the_image_are_zeros_in_every_copy(engine, wraps):
    """Slots outside the image are stored as zeros, even if the value computed for them is NaN."""
    layout = layout_of(batch=2)
    valid = np.array([[True, False, True, False], [False, True, True, False]])
    clock = Clock(valid, torch.from_numpy(np.where(valid, 0, 1)), 0)
    ring = layout.ring(4, 3, 5, before=6, wraps=wraps)
    table = layout.table(1, 5)
    table.values[0], table.values[1] = 7, torch.nan
    run_lists(engine, layout, [clock], [[Pointwise(ring, torch.tanh, (table,), 0)]], (0, 0), (0, 1))
    by_slot = ring.values.view(10, 2, 6, 5)
    for position, inside in enumerate(valid):
        expected = [*(np.tile(inside, 2)[-6:] if wraps else [False] * 6), *inside]
        for copied in (position, position + 3):
            found = by_slot[:, :, copied]
            assert (found != 0).all((1, 2)).tolist() == expected
            assert torch.equal(found[~torch.tensor(expected)], torch.zeros_like(found[~torch.tensor(expected)]))
    assert (by_slot[:, :, [2, 5]] == 0).all()


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
PAIRS = [("scratch", "table"), ("table", "window"), ("window", "scratch"), ("number", "table"), ("window", "number")]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [*UNARY, gate])
def test_a_function_of_one_operand(engine, dtype, function):
    layout, noise = layout_of(dtype), generator(0)
    for channels in (1, 3, 4, 17):
        values = 3 * normal(layout, noise, 3, channels * (2 if function is gate else 1))
        for kind in KINDS:
            found = computed(engine, layout, function, channels, [stored(layout, kind, values)])
            assert_near(found, function(values.double()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", BINARY)
def test_a_function_of_two_operands_spreads_numbers_and_single_channels(engine, dtype, function):
    layout, noise = layout_of(dtype), generator(0)
    for width in (1, 3, 17):
        for first, second in [(width, width), (width, 1), (1, width)]:
            a, b = normal(layout, noise, 3, first), normal(layout, noise, 3, second)
            for left, right in PAIRS:
                expected = function(
                    a[:1, :1].double() if left == "number" else a.double(),
                    b[:1, :1].double() if right == "number" else b.double(),
                )
                operands = stored(layout, left, a), stored(layout, right, b)
                found = computed(engine, layout, function, expected.shape[1], operands)
                assert_near(found, expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_concat_elu_of_several_operands(engine, dtype, count):
    layout, noise = layout_of(dtype), generator(0)
    parts = [normal(layout, noise, 3, 1 + k % 4) for k in range(count)]
    operands = [stored(layout, KINDS[k % 3], part) for k, part in enumerate(parts)]
    found = computed(engine, layout, concat_elu, 2 * sum(part.shape[1] for part in parts), operands)
    assert_near(found, concat_elu(*[part.double() for part in parts]))


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


# Threads -------------------------------------------------------------------------------------------------------------


@needs_native
@settings(deadline=None, max_examples=12)
@given(program=programs())
def test_the_number_of_threads_changes_nothing(program):
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layout, clocks, lists, rings = copy.deepcopy(program)
            run_lists("native", layout, clocks, lists, *BOTH_LISTS)
            results.append([ring.values for ring in rings])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(first, second) for first, second in zip(results[0], other, strict=True))


# Cases without the native engine -------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Sets up an empty cache of compiled libraries; returns its folder, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("AUXAR_CXXFLAGS", raising=False)
    compiling.attempt.cache_clear()
    choice._warn_of_replacement.cache_clear()
    yield tmp_path / "cache"
    compiling.attempt.cache_clear()


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def engine_of(caplog, choice, layout, function=torch.tanh, operands=1):
    """Returns the name of the engine that runs a program."""
    ring = layout.ring(1, 1, 2 * operands)
    part = layout.scratch(1, 1 if function is concat_elu else 2)
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="auxar"):
        run_lists(choice, layout, [steady(1)], [[Pointwise(ring, function, (part,) * operands, 0)]], (0, 0))
    (used,) = (said for said in caplog.messages if said.startswith("sampling with "))
    return used.removeprefix("sampling with ")


def assert_torch_instead(caplog, reason, *arguments):
    with pytest.raises(UserError, match=f"(?s)engine 'native': .*{reason}.*; use engine 'torch'"):
        engine_of(caplog, "native", *arguments)
    assert engine_of(caplog, "auto", *arguments) == "TorchEngine"
    assert re.search(f"(?s)NativeEngine cannot run this program: .*{reason}", caplog.text)
    assert engine_of(caplog, "torch", *arguments) == "TorchEngine"


def test_without_a_compiler_pytorch_samples(bare, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(bare))
    assert_torch_instead(caplog, r"no C\+\+ compiler was found", layout_of())
    config = components.LightConfig(filters=2, blocks=1)
    network = components.light(config, ImageSpec(1, height=3, width=3, levels=3))
    request = SampleRequest((0,))
    found = [sample(WavefrontSampler(engine), network, request) for engine in ("auto", "torch")]
    assert torch.equal(*found)
    with pytest.raises(UserError, match="use engine 'torch'"):
        sample(WavefrontSampler("native"), network, request)


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("false", "compiler false failed"),
        ("true", "compiler true failed: status 0"),
        ("no-such-compiler", "no-such-compiler"),
        ("'", "CXX is not the command of a C.. compiler: No closing quotation"),
        ("sh -c 'printf \"\\351t\\351\" >&2; false' \udcff", "compiler sh failed: \ufffdt\ufffd"),
    ],
)
def test_a_compiler_that_does_not_work_is_as_good_as_none(bare, monkeypatch, caplog, compiler, reason):
    monkeypatch.setenv("CXX", compiler)
    assert_torch_instead(caplog, reason, layout_of())


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--no-such-flag", "--no-such-flag"),
        ("'", "AUXAR_CXXFLAGS are not the flags of a C.. compiler: No closing quot"),
    ],
)
def test_flags_for_the_processor_that_do_not_work_are_reported(bare, monkeypatch, caplog, flags, reason):
    monkeypatch.setenv("AUXAR_CXXFLAGS", flags)
    assert_torch_instead(caplog, reason, layout_of())


def test_a_compiler_that_fails_leaves_nothing_behind(bare, monkeypatch, caplog):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(UserError):
        engine_of(caplog, "native", layout_of())
    assert [path for path in (bare / "auxar").iterdir() if path.suffix != ".lock"] == []


def test_a_compiler_that_fails_is_run_once(bare, monkeypatch, tmp_path, caplog):
    """A compiler that fails is run once, also if `CXX` contains arguments."""
    calls = tmp_path / "calls"
    monkeypatch.setenv("CXX", f"sh -c 'echo called >> {calls}; exit 1'")
    for _ in range(3):
        assert engine_of(caplog, "auto", layout_of()) == "TorchEngine"
    assert calls.read_text() == "called\n"


@pytest.mark.parametrize(
    ("variable", "reason"), [("CXX", "the C++ compiler false failed: status 1"), ("PATH", "no C++ compiler was found")]
)
def test_an_engine_in_place_of_a_broken_one_is_told_once_as_a_warning(bare, monkeypatch, caplog, variable, reason):
    monkeypatch.setenv(variable, "false")
    engine_of(caplog, "auto", layout_of())
    (said,) = warnings(caplog)
    assert said.startswith(f"TorchEngine samples, more slowly, in place of an engine that does not work: {reason}")
    engine_of(caplog, "auto", layout_of())
    assert warnings(caplog) == []


def test_an_engine_in_place_of_one_that_does_not_support_the_program_is_not_warned_of(bare, caplog):
    engine_of(caplog, "auto", layout_of(torch.bfloat16))
    assert warnings(caplog) == []


def test_an_engine_by_another_name_is_refused():
    for sampler in (WavefrontSampler, CachedSampler, AutoSampler):
        with pytest.raises(ValueError, match="must be one of auto, native, torch or an EngineChoice, got 'fats'"):
            sampler("fats")


def test_other_types_of_numbers_are_for_pytorch(caplog):
    assert_torch_instead(caplog, "got torch.bfloat16", layout_of(torch.bfloat16))


@needs_native
def test_storage_on_another_device_is_for_pytorch():
    layout = Layout(1, torch.zeros((), dtype=torch.float64, device="meta"))
    program = program_of(layout, [steady(1)], [], [])
    with pytest.raises(UnavailableError, match=r"on a CPU are supported, got torch.float64 on meta"):
        NativeEngine().prepare(program, ForceSource(torch.zeros(1, 1, 1, 1, dtype=torch.int64), PIXEL))


@needs_native
def test_more_operands_than_the_library_takes_are_for_pytorch(caplog):
    assert_torch_instead(caplog, "at most 16 operands of concat_elu are supported, got 17", layout_of(), concat_elu, 17)


@needs_native
def test_a_product_of_other_sizes_never_reaches_the_library():
    layout = layout_of()
    weight = torch.zeros(2, 3, dtype=torch.float64)
    for inputs, outputs in [(4, 3), (2, 5)]:
        operand, output = layout.scratch(1, inputs), layout.scratch(1, outputs)
        product = Product(output, (operand,), (weight,), weight.new_zeros(outputs), None, 0)
        message = f"weight has 2 inputs and 3 outputs, but the layer reads {inputs} values and gives {outputs}"
        with pytest.raises(UserError, match=message):
            run_lists("native", layout, [steady(1)], [[product]], (0, 0))


@needs_native
def test_functions_of_a_number_are_for_pytorch():
    layout = layout_of()
    part = torch.full((3, 2), -1.0, dtype=torch.float64)
    operands = [stored(layout, "scratch", part), 0.5]
    assert_near(computed("auto", layout, functional.elu, 2, operands), functional.elu(part, 0.5))
    with pytest.raises(UserError, match="a number as an argument of elu is not supported"):
        computed("native", layout, functional.elu, 2, operands)


# One compilation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path):
    """The path of a copy of the compiled library."""
    name = Path(compiling.library()._name).name
    with compiling._cache() as folder:
        return shutil.copy(folder / name, tmp_path / "built")


@pytest.fixture
def compilations(built, bare, monkeypatch, tmp_path):
    """Sets `CXX` to a slow script that copies the compiled library; returns a function that counts its calls."""
    script, log = tmp_path / "compiler", tmp_path / "compilations"
    script.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\nsleep 0.3\nfor last; do :; done\ncp "{built}" "$last"\n')
    script.chmod(0o755)
    log.touch()
    monkeypatch.setenv("CXX", str(script))
    return lambda: len(log.read_text().splitlines())


ASK = "import runpy, sys; print(runpy.run_path(sys.argv[1])['library']()._name)"


def libraries(folder):
    return [*folder.glob("*.so")]


def processes(count):
    """Starts several processes together; returns the name of the library that each of them loads."""
    command = [sys.executable, "-c", ASK, compiling.__file__]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    found = [Path(process.communicate()[0].strip()).name for process in started]
    assert [process.returncode for process in started] == [0] * count
    return found


# Other tests are skipped where the native engine does not work. This one fails, so that none is skipped by mistake.
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("c++"), reason="needs a C++ compiler on Linux")
def test_the_library_is_compiled_once_for_all_processes(compilations, bare, tmp_path):
    name = Path(compiling.library()._name).name
    assert libraries(bare / "auxar") == [bare / "auxar" / name]
    assert compilations() == 1
    arguments = (tmp_path / "compilations").read_text().split()
    compiled = [Path(argument).name for argument in arguments if argument.startswith(str(compiling.SOURCES[0].parent))]
    assert compiled == ["program.cpp", "team.cpp"]
    compiling.attempt.cache_clear()
    assert Path(compiling.library()._name).name == name
    assert processes(1) == [name]
    assert compilations() == 1


@pytest.mark.slow
@needs_native
def test_processes_that_need_the_library_at_the_same_time_compile_it_once(compilations, bare):
    found = processes(3)
    assert len(set(found)) == 1
    assert compilations() == 1
    assert [path.name for path in libraries(bare / "auxar")] == [found[0]]


@needs_native
@pytest.mark.parametrize("changed", compiling.SOURCES, ids=lambda source: source.name)
def test_another_source_is_compiled_anew(compilations, monkeypatch, tmp_path, changed):
    first = Path(compiling.library()._name).name
    sources = tuple(shutil.copy(source, tmp_path / source.name) for source in compiling.SOURCES)
    with (tmp_path / changed.name).open("a") as file:
        file.write("// changed\n")
    monkeypatch.setattr(compiling, "SOURCES", sources)
    compiling.attempt.cache_clear()
    assert Path(compiling.library()._name).name != first
    assert compilations() == 2


@needs_native
def test_the_cache_is_for_its_user_alone(compilations, bare):
    compiling.library()
    assert (bare / "auxar").stat().st_mode & 0o77 == 0


# Damaged libraries ---------------------------------------------------------------------------------------------------


def flipped(content):
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


def cut(content):
    return content[: len(content) // 3]


@pytest.fixture
def damaged(compilations, bare):
    """Returns a function that compiles the library and damages it. It returns the library's path and intact content."""

    def damage(change):
        compiling.library()
        compiling.attempt.cache_clear()
        (path,) = libraries(bare / "auxar")
        content = path.read_bytes()
        path.unlink()  # This process has the file in memory, so it gets a new one.
        path.write_bytes(change(content))
        return path, content

    return damage


@needs_native
@pytest.mark.parametrize("change", [lambda content: b"", flipped], ids=["empty", "flipped"])
def test_a_damaged_library_is_compiled_again_with_a_warning(damaged, compilations, caplog, change):
    path, content = damaged(change)
    assert engine_of(caplog, "auto", layout_of()) == "NativeEngine"
    (said,) = warnings(caplog)
    assert said.startswith(f"{path} is damaged: its content does not match the checksum in its name")
    assert compilations() == 2
    assert path.read_bytes() == content
    compiling.attempt.cache_clear()
    assert engine_of(caplog, "auto", layout_of()) == "NativeEngine"
    assert warnings(caplog) == []
    assert compilations() == 2


@needs_native
def test_a_library_that_is_cut_does_not_kill_the_process(damaged, compilations):
    path, content = damaged(cut)
    assert processes(1) == [path.name]
    assert compilations() == 2
    assert path.read_bytes() == content


def is_library(handle):
    """Whether an open file is the library under its temporary name. A note beside the lock is written as well."""
    return ".so." in os.readlink(f"/proc/self/fd/{handle}")


@needs_native
def test_a_library_is_on_disk_before_it_gets_its_name(compilations, bare, monkeypatch):
    before = []
    fsync = os.fsync

    def watched(handle):
        if is_library(handle):
            before.append((os.fstat(handle).st_size > 0, libraries(bare / "auxar")))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    compiling.library()
    assert before == [(True, [])]
    assert len(libraries(bare / "auxar")) == 1


@needs_native
@pytest.mark.parametrize("wrong", ["no library", "another library"])
def test_a_wrong_library_is_not_kept(compilations, bare, built, monkeypatch, tmp_path, caplog, wrong):
    """A compiler that writes a wrong file without an error disables the engine only until the compiler is repaired."""
    made = tmp_path / "made"
    shutil.copy(built, made)
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\nfor last; do :; done\ncp "{made}" "$last"\n')
    made.write_bytes(b"not a library" if wrong == "no library" else Path(torch._C.__file__).read_bytes())
    assert_torch_instead(caplog, "cannot be stored or loaded", layout_of())
    assert libraries(bare / "auxar") == []
    shutil.copy(built, made)
    compiling.attempt.cache_clear()
    assert engine_of(caplog, "auto", layout_of()) == "NativeEngine"


# The cache folder ----------------------------------------------------------------------------------------------------


def plant(folder):
    """Replaces the library by one that leaves a mark when it is loaded. Returns its path and the mark's.

    Its name contains its checksum, as that of a compiled one does."""
    (path,) = libraries(folder)
    source, library, mark = (folder.parent / name for name in ("planted.cpp", "planted", "mark"))
    mark_it = f'std::fclose(std::fopen("{mark}", "w"));'
    source.write_text(f"#include <cstdio>\n__attribute__((constructor)) static void run() {{ {mark_it} }}\n")
    compiler = next(found for found in map(shutil.which, ("c++", "g++", "clang++")) if found)
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    path.unlink()
    checksum = hashlib.sha256(library.read_bytes()).hexdigest()
    name = re.sub(r"[0-9a-f]{64}\.so$", f"{checksum}.so", path.name)
    return library.rename(folder / name), mark


def assert_private(caplog, reason):
    """Asserts that the native engine has its library from a temporary folder, and that one warning gives the reason."""
    compiling.attempt.cache_clear()
    assert engine_of(caplog, "auto", layout_of()) == "NativeEngine"
    (said,) = warnings(caplog)
    assert said.startswith("the samplers' native engine is compiled in a private temporary folder")
    assert reason in said
    assert said.endswith("set XDG_CACHE_HOME to a folder of your own")
    folder = Path(compiling.library()._name).parent
    assert folder.name.startswith("auxar-")
    assert not folder.exists()
    engine_of(caplog, "auto", layout_of())
    assert warnings(caplog) == []


@needs_native
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o720, 0o702])
def test_no_code_is_loaded_from_a_folder_that_others_can_write_to(compilations, bare, caplog, mode):
    compiling.library()
    path, mark = plant(bare / "auxar")
    (bare / "auxar").chmod(mode)
    before = {path.name for path in (bare / "auxar").iterdir()}
    assert_private(caplog, f"{bare / 'auxar'} is open to other users (mode {mode:04o}, expected 0700); delete it, or")
    assert not mark.exists()
    assert path.exists()
    assert {path.name for path in (bare / "auxar").iterdir()} == before


@needs_native
def test_no_code_is_loaded_from_a_folder_of_another_user(compilations, bare, monkeypatch, caplog):
    compiling.library()
    _, mark = plant(bare / "auxar")
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert_private(caplog, f"{bare / 'auxar'} belongs to another user (number {owner}); set")
    assert not mark.exists()


@needs_native
def test_no_code_is_loaded_through_a_link(compilations, bare, caplog):
    compiling.library()
    _, mark = plant(bare / "auxar")
    (bare / "auxar").rename(bare / "elsewhere")
    (bare / "auxar").symlink_to(bare / "elsewhere")
    assert_private(caplog, str(bare / "auxar"))
    assert not mark.exists()


@needs_native
def test_a_planted_library_would_leave_its_mark(compilations, bare):
    """The library of the tests above is loaded, and noticed, from a folder in which only this user can plant it."""
    compiling.library()
    compiling.attempt.cache_clear()
    _, mark = plant(bare / "auxar")
    compiling.library()
    assert mark.exists()


@needs_native
def test_a_cache_folder_that_cannot_be_made_is_replaced(compilations, bare, caplog):
    bare.write_text("a file")
    assert_private(caplog, f"'{bare / 'auxar'}'")
    assert bare.read_text() == "a file"


@needs_native
def test_a_cache_folder_on_a_full_disk_is_replaced(compilations, bare, monkeypatch, caplog):
    fsync, errors = os.fsync, [OSError(errno.ENOSPC, "No space left on device")]

    def full(handle):
        if errors and is_library(handle):
            raise errors.pop()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert_private(caplog, ".so cannot be written: No space left on device; set")
    assert errors == []
    assert libraries(bare / "auxar") == []


@needs_native
def test_a_user_without_a_home_folder_can_sample(compilations, monkeypatch, caplog, tmp_path):
    """A relative path of the home folder would lead into the current folder."""

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert_private(caplog, "Could not determine home directory")
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    caplog.clear()
    compiling.attempt.cache_clear()
    assert_private(caplog, "the cache folder home/.cache is a relative path; set XDG_CACHE_HOME")
    assert not (tmp_path / "home").exists()


@needs_native
def test_a_relative_cache_folder_is_ignored(compilations, monkeypatch, tmp_path):
    """A relative path would lead into the current folder, whose files may come from a stranger."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    compiling.library()
    assert len(libraries(tmp_path / "home" / ".cache" / "auxar")) == 1
    assert list((tmp_path / "here").iterdir()) == []
