"""Helpers to test engines and drawing functions alone, with handmade programs and the native library's sources."""

import ctypes
from collections.abc import Callable, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.model import DrawSource, ForceSource, ImageSpec, IntegerHead, PixelSource, SumSupport
from auxar_heads import softmax
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead
from auxar_pixelcnn import components
from auxar_samplers.compiler.program import Clock, Instruction, Layout, Program, Scratch
from auxar_samplers.engines.choice import EngineChoice
from auxar_samplers.engines.native.library import library
from auxar_samplers.engines.native.sources import native_source

PIXEL = ImageSpec(1, height=1, width=1, levels=2)


def steady(slots: int) -> Clock:
    """Returns a clock with one position, at which every slot has a different place inside the image."""
    return Clock(np.ones((1, slots), dtype=bool), torch.arange(slots)[None], 0)


def program_of(
    layout: Layout,
    clocks: Sequence[Clock],
    lists: Sequence[Sequence[Instruction]],
    steps: Sequence[Sequence[int]],
    fills: Sequence[tuple[int, Callable[[], None]]] = (),
) -> Program:
    """Returns a program that draws no pixels. A step is the number of an instruction list and the position of every
    clock.

    `fills` are pairs of a step and a function that is called before it.
    """
    network = components.light(components.LightConfig(filters=1, blocks=1, head=softmax()), PIXEL)
    network.to(layout.like.dtype)
    return Program(
        network,
        layout,
        tuple(clocks),
        tuple(map(tuple, lists)),
        steps=np.array(steps, dtype=np.int64),
        draws=np.full(len(steps), -1, dtype=np.int64),
        places=np.ones((1, 1), dtype=np.int64),
        output=layout.scratch(1, network.head.parameter_count),
        pixels=layout.scratch(1, 2),
        fills=tuple(fills),
    )


def source_of(program: Program) -> PixelSource:
    """Returns a source for a program that draws no pixels."""
    return ForceSource(torch.zeros(program.layout.batch, *PIXEL.shape, dtype=torch.int64), PIXEL)


def run_program(engine: str, program: Program) -> None:
    """Runs a program that draws no pixels with the named engine; `auto` selects the first engine that works."""
    EngineChoice.shipped(engine).run(program, source_of(program))


def run_lists(
    engine: str, layout: Layout, clocks: Sequence[Clock], lists: Sequence[Sequence[Instruction]], *steps: Sequence[int]
) -> None:
    """Runs instruction lists. Each step is the number of a list and the position of every clock."""
    run_program(engine, program_of(layout, clocks, lists, steps))


def fixed_support(image: ImageSpec, low: Tensor | int, high: Tensor | int) -> SumSupport:
    """Returns a support whose intervals are the same for every view. Their ends are expanded to an image, (c, h, w)."""
    ends = [torch.as_tensor(end).expand(image.shape).reshape(1, -1) for end in (low, high)]
    each = torch.arange(image.dims).view(image.shape), torch.tensor(1)
    return SumSupport(image, lambda: each, lambda view: (ends[0].expand(len(view), -1), ends[1].expand(len(view), -1)))


def native_pixels(source: PixelSource, places: Tensor, parameters: Tensor) -> Tensor:
    """Returns the pixels of the native library's drawing function for a source, like `PixelSource.pixels`."""
    program = _program_for(source, parameters)
    native = native_source(source, program, library())
    assert native is not None
    count, parameters, places = len(places), parameters.contiguous(), places.contiguous()
    drawn = torch.full((count, *program.image.shape[1:]), -1, dtype=torch.int64, device="cpu")
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    function = ctypes.cast(
        native.function, ctypes.CFUNCTYPE(None, pointer, pointer, size, pointer, pointer, size, size)
    )
    inputs, threads = (ctypes.addressof(native.state), places.data_ptr(), count), torch.get_num_threads()
    for thread in range(threads):  # in turn, so that a share that is missing or done twice is noticed
        function(*inputs, parameters.data_ptr(), drawn.data_ptr(), thread, threads)
    return drawn


def _program_for(source: PixelSource, parameters: Tensor) -> Program:
    """Returns a program that draws no pixels, with a network that matches the source's images and parameters."""
    program = program_of(Layout(source.count, parameters.new_zeros(1)), (), (), ())
    if isinstance(source, DrawSource):
        head = source.head
        assert isinstance(head, LogisticMixtureHead | SoftmaxHead | IntegerHead)
        spec = ImageSpec(head.channels, height=1, width=1, levels=source.levels)
        program.network.image = spec
        image = torch.zeros((len(source.uniforms), source.count, head.channels), dtype=torch.int64)
    else:
        assert isinstance(source, ForceSource)
        image = torch.zeros_like(source.image)
    output = Scratch(parameters.new_zeros((1, parameters.shape[1])))
    return attrs.evolve(program, image=image, output=output)


def pixels_by(engine: str, source: PixelSource, places: Tensor, parameters: Tensor) -> Tensor:
    """Returns the pixels that a shipped source draws under an engine, shape (n, count, c)."""
    return native_pixels(source, places, parameters) if engine == "native" else source.pixels(places, parameters)
