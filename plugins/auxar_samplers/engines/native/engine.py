"""The engine `native`, which runs programs with the C++ library."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import time
from collections.abc import Callable

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar import CausalNetwork, PixelSource, UserError
from auxar.numerics.threads import threads
from auxar_layers.integer_functions import IntegerFunction, IntegerReLU
from auxar_samplers.compiler.program import (
    Clock,
    Instruction,
    Keep,
    Operand,
    Pointwise,
    Product,
    Program,
    Ring,
    Scratch,
    Storage,
    Table,
    Window,
    identity,
)
from auxar_samplers.compiler.trace import FUNCTIONS
from auxar_samplers.engines.base import Engine, UnavailableError, call_back
from auxar_samplers.engines.native import structures
from auxar_samplers.engines.native.integers import constants
from auxar_samplers.engines.native.library import library
from auxar_samplers.engines.native.pieces import weights_in_pieces
from auxar_samplers.engines.native.sources import described, native_source

logger = logging.getLogger("auxar")

STEPS_OF_A_CALL = 256
"""The number of steps that the library runs in one call for a batch of one image.

Python handles signals such as Ctrl-C between the calls. A step takes longer for a larger batch, so the number is
divided by the batch size.
"""
MOST_ENCODED_LEVELS = 2**16
"""The largest number of levels for which the library gets a table of encoded values.

Pixels of images with more levels are drawn and encoded in Python, between calls of the library.
"""


@attrs.frozen
class NativeConfig:
    """Runs programs in a C++ library that is compiled once on this machine.

    It is the fastest engine on a CPU and supports float32 and float64.
    """


LONG_FILL = 0.05
"""Seconds of one thread from which on all of PyTorch's threads fill tables. They keep their processors busy for three
or four milliseconds afterwards, so that the engine goes on with one thread for a while."""


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
    """A program converted to the library's structures.

    The constructor raises `UnavailableError` if the library is unavailable or does not support the program.
    """

    def __init__(self, program: Program, source: PixelSource, most_threads: int) -> None:
        layout = program.layout
        suffix = {torch.float32: "float", torch.float64: "double"}.get(layout.like.dtype)
        if layout.like.device.type != "cpu" or suffix is None:
            raise UnavailableError(
                f"only float32 and float64 on a CPU are supported, got {layout.like.dtype} on {layout.like.device}"
            )
        self._library = library()
        self._codes = structures.codes(self._library)
        self._run = getattr(self._library, f"run_{suffix}")
        self._pack = getattr(self._library, f"pack_{suffix}")
        self._padded = getattr(self._library, f"padded_outputs_{suffix}")
        self._padded.restype = self._library.tiles.restype = ctypes.c_int64
        self._layout = layout
        self._program = program
        self._source = source
        self._most_threads = most_threads
        # The library gets addresses only, so every object that it reads is kept alive here.
        self._kept: list[object] = []
        self._piece_bytes = 0
        self._native = self._made()
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
        if self._native.source is None:
            for step in (self._program.draws[first:last] >= 0).nonzero()[0] + first:
                self._steps(first, int(step) + 1)
                call_back(self._program, self._source, int(step))
                first = int(step) + 1
        self._steps(first, last)

    def _steps(self, first: int, last: int) -> None:
        steps = max(1, STEPS_OF_A_CALL // max(1, self._layout.batch))
        for start in range(first, last, steps):
            stop = min(start + steps, last)
            self._run(ctypes.byref(self._native), ctypes.c_int64(start), ctypes.c_int64(stop))

    def _made(self) -> structures.Program:
        program = self._program
        clocks = (structures.Clock * len(program.clocks))(*[self._clock(clock) for clock in program.clocks])
        made: dict[Instruction, structures.Instruction] = {}
        lists = (structures.List * len(program.lists))()
        for number, (instructions, count) in enumerate(zip(program.lists, self._threads(), strict=True)):
            for instruction in instructions:
                if instruction not in made:
                    made[instruction] = self._instruction(instruction)
            array = (structures.Instruction * len(instructions))(*[made[each] for each in instructions])
            self._kept.append(array)
            lists[number] = structures.List(array, len(instructions), count)
        self._kept += [clocks, lists]
        pieces, not_pieces = torch.zeros(self._piece_bytes, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
        return structures.Program(
            clocks=clocks,
            lists=lists,
            steps=self._array(program.steps),
            draws=self._array(program.draws),
            places=self._array(program.places),
            clock_count=len(clocks),
            slots=program.places.shape[1],
            batch=self._layout.batch,
            outside=len(program.image) - 1,
            bytes=self._address(pieces),
            not_pieces=self._address(not_pieces),
        )

    def _set_source(self) -> None:
        """Lets the library draw and encode pixels if the source is compiled and the encoding can be tabulated."""
        program, native = self._program, self._native
        network = program.network
        source = native_source(self._source, program, self._library)
        if source is None:
            _say_called_back(described(self._source), "there is no compiled function for it")
            return
        if type(network).encode is not CausalNetwork.encode:
            _say_called_back(described(self._source), f"{type(network).__name__} has its own method `encode`")
            return
        if network.image.levels > MOST_ENCODED_LEVELS:
            _say_called_back(described(self._source), f"its images have more than {MOST_ENCODED_LEVELS} levels")
            return
        channels = network.image.channels
        every = torch.arange(network.image.levels, device="cpu").view(-1, 1, 1).expand(-1, 1, channels)
        encoded = program.encode(every)[:, 0].contiguous()
        drawn = torch.empty((native.slots, native.batch, channels), dtype=torch.int64, device="cpu")
        self._kept.append(source)
        native.source = ctypes.cast(source.function, ctypes.c_void_p)
        native.source_state = ctypes.cast(ctypes.pointer(source.state), ctypes.c_void_p)
        native.parameters = self._address(program.output.values)
        native.drawn, native.image = self._address(drawn), self._address(program.image)
        native.encoded, native.pixels = self._address(encoded), self._address(program.pixels.values)
        native.mark = network.image.levels - 1 if network.encodes_integers else 1
        native.channels, native.inputs = channels, program.pixels.values.shape[1]
        native.levels = network.image.levels
        native.source_threads = min(self._most_threads, source.threads)

    def _threads(self) -> list[int]:
        """The number of threads for each list: at most the number of tiles of its largest product.

        More threads would only wait.
        """
        found = []
        size = self._layout.like.element_size()
        for instructions in self._program.lists:
            pieces = [1]
            for product in instructions:
                if isinstance(product, Product):
                    rows = self._program.clocks[product.clock].slots * self._layout.batch
                    pieces.append(self._library.tiles(*map(ctypes.c_int64, (rows, product.bias.shape[0], size))))
            found.append(min(max(pieces), self._most_threads))
        return found

    def _clock(self, clock: Clock) -> structures.Clock:
        valid = np.ascontiguousarray(clock.valid, dtype=np.uint8)
        self._kept.append(valid)
        return structures.Clock(valid.ctypes.data, self._address(clock.places), clock.origin, clock.slots)

    def _instruction(self, instruction: Instruction) -> structures.Instruction:
        if isinstance(instruction, Keep):
            return self._keep(instruction)
        operands = (structures.Operand * len(instruction.operands))(*[self._operand(o) for o in instruction.operands])
        self._kept.append(operands)
        made = structures.Instruction(
            clock=instruction.clock,
            operand_count=len(operands),
            lead=instruction.lead,
            operands=operands,
            output=self._storage(instruction.output),
        )
        if isinstance(instruction, Product):
            self._check_product(instruction)
            made.kind = self._codes["product"]
            made.output.first_slot, made.output.slot_stride = instruction.phase, instruction.stride
            weight = torch.cat(instruction.matrices)
            made.panels = self._panels(weight)
            made.bias = self._bias(instruction)
            self._set_pieces(made, weight, self._program.clocks[instruction.clock].slots * self._layout.batch)
            if instruction.initial is not None:
                initial = self._operand(instruction.initial)
                self._kept.append(initial)
                made.initial = ctypes.pointer(initial)
            return made
        made.function = self._function(instruction)
        if isinstance(instruction.function, IntegerFunction) and not isinstance(instruction.function, IntegerReLU):
            made.constants = ctypes.pointer(self._constants(instruction.function))
        if isinstance(instruction.output, Ring):
            ring = instruction.output
            made.wrapped = ring.before if ring.wraps else 0
            made.mirror = ring.capacity * ring.values.shape[2] if ring.values.shape[1] > ring.capacity else 0
        return made

    def _check_product(self, product: Product) -> None:
        """Raises `UserError` if a matrix does not fit its operand and the output, or the program's dtype.

        The library does not check this: it computes the sizes of matrices from the operands.
        """
        for operand, matrix in zip(product.operands, product.matrices, strict=True):
            read = self._read(operand)
            if matrix.shape != (read, product.output.values.shape[1]):
                raise UserError(
                    f"a layer's weight has {matrix.shape[0]} inputs and {matrix.shape[1]} outputs, but the layer reads "
                    f"{read} values and gives {product.output.values.shape[1]}; check the sizes of the network's "
                    "layers and the number of channels that its `encode` gives"
                )
            if matrix.dtype != self._layout.like.dtype:
                raise UserError(f"all weights must have one dtype, got {self._layout.like.dtype} and {matrix.dtype}")

    def _read(self, operand: Operand) -> int:
        """The number of values that a product reads from an operand for each row."""
        if isinstance(operand, Window):
            return operand.length * operand.ring.values.shape[-1]
        return operand.values.shape[-1] if isinstance(operand, Scratch | Table) else 1

    def _keep(self, instruction: Keep) -> structures.Instruction:
        source = self._storage(instruction.source)
        source.first_slot = instruction.first
        self._kept.append(source)
        output = self._storage(instruction.output)
        operands = ctypes.pointer(source)
        return structures.Instruction(
            kind=self._codes["keep"], clock=instruction.clock, operand_count=1, operands=operands, output=output
        )

    def _constants(self, function: IntegerFunction) -> structures.Constants:
        made, arrays = constants(function)
        for name, tensor in arrays.items():
            setattr(made, name, self._address(tensor))
        self._kept.append(made)
        return made

    def _function(self, instruction: Pointwise) -> int:
        name = "copy" if instruction.function is identity else FUNCTIONS.get(instruction.function)
        if isinstance(instruction.function, IntegerFunction):
            name = instruction.function.kind
        if name is None:
            raise UnavailableError(f"the function {type(instruction.function).__name__} is not supported")
        numbers = sum(isinstance(operand, float | int) for operand in instruction.operands)
        if len(instruction.operands) > self._library.most_operands():
            most = self._library.most_operands()
            raise UnavailableError(f"at most {most} operands of {name} are supported, got {len(instruction.operands)}")
        if numbers and name not in ("add", "sub", "mul"):
            raise UnavailableError(f"a number as an argument of {name} is not supported, only of add, sub and mul")
        return self._codes[name]

    def _operand(self, operand: Operand) -> structures.Operand:
        if isinstance(operand, Window):
            ring = self._storage(operand.ring)
            ring.first_slot, ring.slot_stride = operand.ring.before + operand.shift, operand.stride
            ring.delay, ring.length = operand.delay, operand.length
            return ring
        if isinstance(operand, Scratch):
            return self._storage(operand)
        if isinstance(operand, Table):
            channels = operand.values.shape[2]
            stride = self._layout.batch * channels
            base = self._address(operand.values)
            return structures.Operand(
                base=base, kind=self._codes["table"], channels=channels, row_stride=stride, length=1
            )
        return structures.Operand(kind=self._codes["number"], channels=1, number=operand)

    def _storage(self, storage: Storage) -> structures.Operand:
        values = storage.values
        made = structures.Operand(
            base=self._address(values),
            kind=self._codes["scratch"],
            channels=values.shape[-1],
            row_stride=values[0].numel(),
            slot_stride=1,
            length=1,
        )
        if isinstance(storage, Ring):
            made.kind, made.clock, made.capacity = self._codes["ring"], storage.clock, storage.capacity
            made.first_slot = storage.before
        return made

    def _panels(self, weight: Tensor) -> int:
        weight = weight.contiguous()
        inputs, outputs = weight.shape
        padded = weight.new_empty(inputs * self._padded(ctypes.c_int64(outputs)))
        address = self._address(padded)
        size = ctypes.c_int64
        self._pack(ctypes.c_void_p(weight.data_ptr()), size(inputs), size(outputs), ctypes.c_void_p(address))
        return address

    def _set_pieces(self, made: structures.Instruction, weight: Tensor, rows: int) -> None:
        """Lets the library multiply 8-bit pieces if the weights are integers and the processor is fast at it."""
        if weight.dtype != torch.float64:
            return
        found = weights_in_pieces(self._library, weight)
        if found is None:
            return
        weights, offsets, inputs = found
        pieces = structures.Pieces(self._address(weights), self._address(offsets), inputs)
        self._kept.append(pieces)
        made.pieces = ctypes.pointer(pieces)
        self._piece_bytes = max(self._piece_bytes, 2 * rows * inputs)

    def _bias(self, product: Product) -> int:
        """The address of the padded bias. It holds zeros if the product has initial values, which contain the bias."""
        outputs = product.output.values.shape[1]
        bias = product.output.values.new_zeros(self._padded(ctypes.c_int64(outputs)))
        if product.initial is None:
            bias[:outputs] = product.bias
        return self._address(bias)

    def _address(self, tensor: Tensor) -> int:
        assert tensor.is_contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _array(self, array: np.ndarray) -> int:
        contiguous = np.ascontiguousarray(array, dtype=np.int64)
        self._kept.append(contiguous)
        return contiguous.ctypes.data


@functools.cache
def _say_called_back(source: str, reason: str) -> None:
    """Logs, once for each kind of source and each reason, that Python calls the source at each step."""
    logger.info("the native engine runs %s in Python at each step, which is slower: %s", source, reason)
