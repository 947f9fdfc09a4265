"""Runs a program by the functions of `native.cpp`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from auxar_samplers.compiler.program import (
    Clock,
    Instruction,
    Layout,
    Operand,
    Product,
    Ring,
    Scratch,
    Storage,
    Table,
    Window,
    identity,
)
from auxar_samplers.compiler.trace import FUNCTIONS
from auxar_samplers.engines.compiling import UnavailableError, library

# As the enumerations in native.cpp have them.
RING, SCRATCH, TABLE, NUMBER = range(4)
CODES = ("copy", "concat_elu", "gate", "elu", "relu", "sigmoid", "tanh", "neg", "add", "sub", "mul")


class _Clock(ctypes.Structure):
    _fields_ = [
        ("valid", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("origin", ctypes.c_int64),
        ("slots", ctypes.c_int64),
    ]


class _Operand(ctypes.Structure):
    _fields_ = [
        ("base", ctypes.c_void_p),
        ("kind", ctypes.c_int32),
        ("clock", ctypes.c_int32),
        ("channels", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("first_slot", ctypes.c_int64),
        ("slot_stride", ctypes.c_int64),
        ("depth", ctypes.c_int64),
        ("delay", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("number", ctypes.c_double),
    ]


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("is_product", ctypes.c_int32),
        ("function", ctypes.c_int32),
        ("clock", ctypes.c_int32),
        ("operand_count", ctypes.c_int32),
        ("lead", ctypes.c_int64),
        ("wrapped", ctypes.c_int64),
        ("mirror", ctypes.c_int64),
        ("operands", ctypes.POINTER(_Operand)),
        ("output", _Operand),
        ("panels", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("initial", ctypes.POINTER(_Operand)),
    ]


class _State(ctypes.Structure):
    _fields_ = [
        ("clocks", ctypes.POINTER(_Clock)),
        ("batch", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]


class NativeEngine:
    """A program in the form that the library takes. Raises `UnavailableError` where it cannot run."""

    def __init__(self, layout: Layout, clocks: Sequence[Clock], lists: Sequence[Sequence[Instruction]]) -> None:
        suffix = {torch.float32: "float", torch.float64: "double"}.get(layout.like.dtype)
        if layout.like.device.type != "cpu" or suffix is None:
            raise UnavailableError(f"it computes in float32 and float64 on a CPU, not in {layout.like.dtype} there")
        self._library = library()
        self._run = getattr(self._library, f"run_{suffix}")
        self._pack = getattr(self._library, f"pack_{suffix}")
        self._padded = getattr(self._library, f"padded_outputs_{suffix}")
        self._padded.restype = self._library.tiles.restype = ctypes.c_int64
        self._layout = layout
        # The library reads memory by its address: whatever it reads is kept alive here.
        self._kept: list[object] = [clocks, lists]
        self._clocks = (_Clock * len(clocks))(*[self._clock(clock) for clock in clocks])
        self._state = _State(self._clocks, layout.batch, self._threads(clocks, lists))
        made: dict[Instruction, _Instruction] = {}
        for instructions in lists:
            for instruction in instructions:
                if instruction not in made:
                    made[instruction] = self._instruction(instruction)
        self._lists = [(_Instruction * len(one))(*[made[instruction] for instruction in one]) for one in lists]
        self._positions = (ctypes.c_int64 * len(clocks))()

    def run(self, number: int, positions: Sequence[int]) -> None:
        """Runs one list, every clock at its position."""
        self._positions[:] = list(positions)
        instructions = self._lists[number]
        self._run(ctypes.byref(self._state), instructions, ctypes.c_int64(len(instructions)), self._positions)

    def _threads(self, clocks: Sequence[Clock], lists: Sequence[Sequence[Instruction]]) -> int:
        """No more than the largest product has pieces: threads without work make the others wait."""
        most = 1
        for product in (step for steps in lists for step in steps if isinstance(step, Product)):
            rows, outputs = clocks[product.clock].slots * self._layout.batch, product.matrices[0].shape[1]
            size = self._layout.like.element_size()
            most = max(most, self._library.tiles(*map(ctypes.c_int64, (rows, outputs, size))))
        return min(most, torch.get_num_threads())

    def _clock(self, clock: Clock) -> _Clock:
        valid = np.ascontiguousarray(clock.valid, dtype=np.uint8)
        self._kept.append(valid)
        return _Clock(valid.ctypes.data, self._address(clock.places), clock.origin, clock.slots)

    def _instruction(self, instruction: Instruction) -> _Instruction:
        operands = (_Operand * len(instruction.operands))(*[self._operand(o) for o in instruction.operands])
        self._kept.append(operands)
        made = _Instruction(
            clock=instruction.clock,
            operand_count=len(operands),
            lead=instruction.lead,
            operands=operands,
            output=self._storage(instruction.output),
        )
        if isinstance(instruction, Product):
            made.is_product = 1
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
            made.mirror = ring.depth * ring.values.shape[2] if ring.values.shape[1] > ring.depth else 0
        return made

    def _function(self, instruction: Instruction) -> int:
        assert not isinstance(instruction, Product)
        name = "copy" if instruction.function is identity else FUNCTIONS[instruction.function]
        numbers = sum(isinstance(operand, float | int) for operand in instruction.operands)
        if len(instruction.operands) > self._library.most_operands():
            raise UnavailableError(f"{name} of more than {self._library.most_operands()} values has no native form")
        if numbers and name not in ("add", "sub", "mul"):
            raise UnavailableError(f"{name} with a number as its argument has no native form")
        return CODES.index(name)

    def _operand(self, operand: Operand) -> _Operand:
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
            return _Operand(base=base, kind=TABLE, channels=channels, row_stride=stride, length=1)
        return _Operand(kind=NUMBER, channels=1, number=operand)

    def _storage(self, storage: Storage) -> _Operand:
        values = storage.values
        made = _Operand(
            base=self._address(values),
            kind=SCRATCH,
            channels=values.shape[-1],
            row_stride=values[0].numel(),
            slot_stride=1,
            length=1,
        )
        if isinstance(storage, Ring):
            made.kind, made.clock, made.depth = RING, storage.clock, storage.depth
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
        """In the table of an initial value the bias is contained."""
        outputs = product.output.values.shape[1]
        bias = product.output.values.new_zeros(self._padded(ctypes.c_int64(outputs)))
        if product.initial is None:
            bias[:outputs] = product.bias
        return self._address(bias)

    def _address(self, tensor: Tensor) -> int:
        assert tensor.is_contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()
