"""Runs programs by the functions of the C++ library."""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar import CausalNetwork, PixelSource, UserError
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
from auxar_samplers.engines.native.library import library
from auxar_samplers.engines.native.sources import described, native_source

logger = logging.getLogger("auxar")

STEPS_OF_A_CALL = 256
"""Steps of one image that the library runs before it returns to Python, which then hears signals such as Ctrl-C.

With more images a step takes longer, and there are as many fewer of them.
"""
MOST_ENCODED_LEVELS = 2**16
"""Levels of images whose encoding is tabulated for the library; images with more are encoded between its calls."""


@attrs.frozen
class NativeConfig:
    """A C++ library that is compiled once on this machine: the fastest on a CPU, in float32 and float64."""


class NativeEngine(Engine):
    """Runs a program over all its steps in C++, the source included if the library has a function for it."""

    priority = 10

    def prepare(self, program: Program, source: PixelSource) -> Callable[[], None]:
        return _Run(program, source)


class _Run:
    """A program in the form that the library takes. Raises `UnavailableError` if it cannot run here."""

    def __init__(self, program: Program, source: PixelSource) -> None:
        layout = program.layout
        suffix = {torch.float32: "float", torch.float64: "double"}.get(layout.like.dtype)
        if layout.like.device.type != "cpu" or suffix is None:
            raise UnavailableError(
                f"it computes in float32 and float64 on a CPU, not in {layout.like.dtype} on {layout.like.device}"
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
        # The library reads memory by its address: whatever it reads is kept alive here.
        self._kept: list[object] = []
        self._native = self._made()
        self._set_source()

    def __call__(self) -> None:
        for first, last in self._program.bands():
            if self._native.source is not None:
                self._steps(first, last)
                continue
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
        for number, (instructions, threads) in enumerate(zip(program.lists, self._threads(), strict=True)):
            for instruction in instructions:
                if instruction not in made:
                    made[instruction] = self._instruction(instruction)
            array = (structures.Instruction * len(instructions))(*[made[each] for each in instructions])
            self._kept.append(array)
            lists[number] = structures.List(array, len(instructions), threads)
        self._kept += [clocks, lists]
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
        )

    def _set_source(self) -> None:
        """Has the library call the source itself, if it has a function for it and the encoding is a table."""
        program, native = self._program, self._native
        network = program.network
        source = native_source(self._source, program)
        if source is None:
            _say_called_back(described(self._source))
            return
        if type(network).encode is not CausalNetwork.encode or network.image.levels > MOST_ENCODED_LEVELS:
            _say_called_back(f"{type(network).__name__}.encode")
            return
        channels = network.image.channels
        every = torch.arange(network.image.levels, device="cpu").view(-1, 1, 1).expand(-1, 1, channels)
        encoded = program.encode(every)[:, 0].contiguous()
        drawn = torch.empty((native.slots, native.batch, channels), dtype=torch.int64, device="cpu")
        self._kept.append(source)
        function = getattr(self._library, source.function) if isinstance(source.function, str) else source.function
        native.source = ctypes.cast(function, ctypes.c_void_p)
        native.source_state = ctypes.cast(ctypes.pointer(source.state), ctypes.c_void_p)
        native.parameters = self._address(program.output.values)
        native.drawn, native.image = self._address(drawn), self._address(program.image)
        native.encoded, native.pixels = self._address(encoded), self._address(program.pixels.values)
        native.channels, native.inputs = channels, program.pixels.values.shape[1]
        native.levels = network.image.levels
        native.source_threads = torch.get_num_threads()

    def _threads(self) -> list[int]:
        """The threads of each list: no more than its group's largest product has pieces, which would only wait.

        A group is all lists over as many slots. They have the same number, since a team of threads that changes its
        size from list to list ends and starts threads all the time.
        """
        slots, pieces = [], []
        size = self._layout.like.element_size()
        for instructions in self._program.lists:
            products = [each for each in instructions if isinstance(each, Product)]
            slots.append(max((self._program.clocks[each.clock].slots for each in products), default=1))
            found = [1]
            for product in products:
                rows = self._program.clocks[product.clock].slots * self._layout.batch
                found.append(self._library.tiles(*map(ctypes.c_int64, (rows, product.bias.shape[0], size))))
            pieces.append(max(found))
        most = {each: max(p for s, p in zip(slots, pieces, strict=True) if s == each) for each in slots}
        return [min(most[each], torch.get_num_threads()) for each in slots]

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
            made.panels = self._panels(torch.cat(instruction.matrices))
            made.bias = self._bias(instruction)
            if instruction.initial is not None:
                initial = self._operand(instruction.initial)
                self._kept.append(initial)
                made.initial = ctypes.pointer(initial)
            return made
        made.function = self._function(instruction)
        if isinstance(instruction.output, Ring):
            ring = instruction.output
            made.wrapped = ring.before if ring.wraps else 0
            made.mirror = ring.capacity * ring.values.shape[2] if ring.values.shape[1] > ring.capacity else 0
        return made

    def _check_product(self, product: Product) -> None:
        """Raises `UserError` unless the matrices fit the operands: the library takes their sizes from the operands."""
        for operand, matrix in zip(product.operands, product.matrices, strict=True):
            read = self._read(operand)
            if matrix.shape != (read, product.output.values.shape[1]):
                raise UserError(
                    f"a layer reads {matrix.shape[0]} values to {matrix.shape[1]}, and {read} to "
                    f"{product.output.values.shape[1]} are there; `encode` must give as many channels as they read"
                )
            if matrix.dtype != self._layout.like.dtype:
                raise UnavailableError(f"its weights are of {self._layout.like.dtype} and {matrix.dtype}")

    def _read(self, operand: Operand) -> int:
        """Values that an operand gives to each row of a product."""
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

    def _function(self, instruction: Pointwise) -> int:
        name = "copy" if instruction.function is identity else FUNCTIONS[instruction.function]
        numbers = sum(isinstance(operand, float | int) for operand in instruction.operands)
        if len(instruction.operands) > self._library.most_operands():
            raise UnavailableError(f"{name} of more than {self._library.most_operands()} values has no native form")
        if numbers and name not in ("add", "sub", "mul"):
            raise UnavailableError(f"{name} with a number as its argument has no native form")
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

    def _bias(self, product: Product) -> int:
        """The padded bias: zeros where there is a table of initial values, which contains it."""
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
def _say_called_back(source: str) -> None:
    """Says, once for each kind of source, that it runs outside of the library."""
    logger.info("the native engine calls %s back at each step: its library has no function for it", source)
