"""The engine `native`, which runs programs with the C++ library."""

import contextlib
import ctypes
import functools
import time
from collections.abc import Callable

import attrs
import torch

from auxar import CausalNetwork, PixelSource
from auxar.numerics.threads import threads
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.base import Engine, UnavailableError, call_back, logger
from auxar_samplers.engines.native.library import library
from auxar_samplers.engines.native.program import NativeProgram
from auxar_samplers.engines.native.sources import described, native_source

STEPS_OF_A_CALL = 256
"""The number of steps that the library runs in one call for a batch of one image.

Python handles signals such as Ctrl-C between the calls. A step takes longer for a larger batch, so the number is
divided by the batch size.
"""
MOST_ENCODED_LEVELS = 2**16
"""The largest number of levels for which the library gets a table of encoded values.

Pixels of images with more levels are drawn and encoded in Python, between calls of the library.
"""
LONG_FILL = 0.05
"""Seconds of one thread from which on all of PyTorch's threads fill tables. They keep their processors busy for three
or four milliseconds afterwards, so that the engine goes on with one thread for a while."""


@attrs.frozen
class NativeConfig:
    """Runs programs in a C++ library that is compiled once on this machine.

    It is the fastest engine on a CPU and supports float32 and float64.
    """


class NativeEngine(Engine):
    """Runs all steps of a program in C++.

    The pixel source also runs in C++ if there is a compiled function for it, the network uses the default `encode`, and
    images have at most `MOST_ENCODED_LEVELS` levels. Otherwise Python calls the source after each step that draws.
    """

    priority = 10

    def prepare(self, program: Program, source: PixelSource) -> Callable[[], None]:
        # Other threads of PyTorch would keep the processors that the engine's threads need busy for milliseconds.
        with threads(1) as most:
            return _Run(program, source, most)


class _Run:
    """A run of a program.

    The constructor raises `UnavailableError` if the library is unavailable or does not support the program.
    """

    def __init__(self, program: Program, source: PixelSource, most_threads: int) -> None:
        like = program.layout.like
        suffix = {torch.float32: "float", torch.float64: "double"}.get(like.dtype)
        if {like.device.type, default := torch.get_default_device().type} != {"cpu"} or suffix is None:
            found = f"{like.dtype} on {like.device}, and {default} as torch's default device"
            raise UnavailableError(f"only float32 and float64 on a CPU are supported, got {found}")
        self._library = library()
        self._run = getattr(self._library, f"run_{suffix}")
        self._program = program
        self._source = source
        self._most_threads = most_threads
        self._made = NativeProgram(program, self._library, suffix, most_threads)
        self._address = ctypes.addressof(self._made.structure)
        self._set_source()

    def __call__(self) -> None:
        bands, long = self._program.bands(), False
        while True:
            started = time.perf_counter()
            with contextlib.nullcontext(1) if long else threads(1):
                band = next(bands, None)  # fills the tables of side inputs
            if band is None:
                return
            # With all threads, filling the tables takes a fraction of the time.
            long = (time.perf_counter() - started) * (self._most_threads if long else 1) > LONG_FILL
            with threads(1):
                self._band(*band)

    def _band(self, first: int, last: int) -> None:
        if self._made.structure.source is None:
            for step in (self._program.draws[first:last] >= 0).nonzero()[0] + first:
                self._steps(first, int(step) + 1)
                call_back(self._program, self._source, int(step))
                first = int(step) + 1
        self._steps(first, last)

    def _steps(self, first: int, last: int) -> None:
        steps = max(1, STEPS_OF_A_CALL // max(1, self._program.layout.batch))
        for start in range(first, last, steps):
            self._run(self._address, start, min(start + steps, last))

    def _set_source(self) -> None:
        """Lets the library draw and encode pixels if the source is compiled and the encoding can be tabulated."""
        program, network = self._program, self._program.network
        source, reason = native_source(self._source, program, self._library), None
        if source is None:
            reason = "there is no compiled function for it"
        elif type(network).encode is not CausalNetwork.encode:
            reason = f"{type(network).__name__} has its own method `encode`"
        elif network.image.levels > MOST_ENCODED_LEVELS:
            reason = f"its images have more than {MOST_ENCODED_LEVELS} levels"
        if source is None or reason is not None:
            _say_called_back(described(self._source), str(reason))
            return
        channels, native, kept = network.image.channels, self._made.structure, self._made.kept
        every = torch.arange(network.image.levels, device="cpu").view(-1, 1, 1).expand(-1, 1, channels)
        kept.append(source)
        native.source = ctypes.cast(source.function, ctypes.c_void_p)
        native.source_state = ctypes.addressof(source.state)
        native.parameters = kept.address(program.output.values)
        native.drawn = kept.address(
            torch.empty((native.slots, native.batch, channels), dtype=torch.int64, device="cpu")
        )
        native.image = kept.address(program.image)
        native.encoded = kept.address(program.encode(every)[:, 0].contiguous())
        native.pixels = kept.address(program.pixels.values)
        native.mark = network.image.levels - 1 if network.encodes_integers else 1
        native.channels, native.inputs = channels, program.pixels.values.shape[1]
        native.levels = network.image.levels
        native.source_threads = min(self._most_threads, source.threads)


@functools.cache
def _say_called_back(source: str, reason: str) -> None:
    """Logs, once for each kind of source and each reason, that Python calls the source at each step."""
    logger.info("the native engine runs %s in Python at each step, which is slower: %s", source, reason)
