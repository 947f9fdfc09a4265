"""Converts a program to the structures that the C++ library reads."""

import ctypes
import functools
import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auxar import UserError
from auxar_layers.integer_functions import IntegerFunction, IntegerReLU
from auxar_samplers.compiler import program as ir
from auxar_samplers.compiler.tracer import FUNCTIONS
from auxar_samplers.engines.base import UnavailableError
from auxar_samplers.engines.native.groups import groups_of, local_places, tables_of
from auxar_samplers.engines.native.integers import constants_of, packed_weights
from auxar_samplers.engines.native.library import Kept, codes, structures


class NativeProgram:
    """A program in the library's structures, for at most `most_threads` threads, and the objects that they point to.

    Raises `UnavailableError` if the library does not support the program, and `UserError` if its weights do not fit.
    """

    def __init__(self, program: ir.Program, library: ctypes.CDLL, suffix: str, most_threads: int) -> None:
        self._program = program
        self._batch = program.layout.batch
        self._library = library
        self._codes = codes(library)
        self._pack = getattr(library, f"pack_{suffix}")
        self._padded = getattr(library, f"padded_outputs_{suffix}")
        self._most_threads = most_threads
        self._words = 0
        self.kept = Kept()
        instructions = {each for instructions in program.lists for each in instructions}
        # The weights of products, and their packed form if they are integers of 16 bits, otherwise None.
        self._weights = {each: self._weights_of(each) for each in instructions if isinstance(each, ir.Product)}
        # The memory of storage of integers of 16 bits. The program's own tensors for it stay zero, and are not read.
        shared = tables_of(instructions)
        self._narrow = {
            each: torch.zeros_like(each.values, dtype=torch.int16) for each in self._in_words(instructions, shared)
        }
        # Whether each thread computes images of its own, and the places of scratches that it then has for a few rows.
        # Products of floats are faster with many rows.
        packed = all(words is not None for _, words in self._weights.values())
        self._by_images = packed and (most_threads == 1 or self._batch >= library.rows_at_once() * most_threads)
        self._groups = [list(groups_of(each)) for each in program.lists]
        self._local, self._places = local_places(program, self._groups[0], shared) if self._by_images else ({}, 0)
        self._place_size = library.rows_at_once() * 8 * max((each.values.shape[1] for each in self._local), default=0)
        self.structure = self._made()
        """The structure `Program`."""

    def _made(self) -> Any:
        program, address = self._program, self.kept.address
        clocks = (structures.Clock * len(program.clocks))(*map(self._clock, program.clocks))
        made = functools.cache(self._instruction)
        lists = (structures.List * len(program.lists))()
        for number, instructions in enumerate(program.lists):
            array = (structures.Instruction * len(instructions))(*map(made, instructions))
            for start in {0, *itertools.accumulate(map(len, self._groups[number]))} - {len(array)}:
                array[start].waits = True
            lists[number] = structures.List(address(array), len(instructions), self._threads(instructions))
        return structures.Program(
            clocks=address(clocks),
            lists=address(lists),
            steps=address(np.ascontiguousarray(program.steps, dtype=np.int64)),
            draws=address(np.ascontiguousarray(program.draws, dtype=np.int64)),
            places=address(np.ascontiguousarray(program.places, dtype=np.int64)),
            clock_count=len(clocks),
            slots=program.places.shape[1],
            batch=self._batch,
            outside=len(program.image) - 1,
            by_images=self._by_images,
            room=self._places * self._place_size,
            words=address(torch.zeros(self._words, dtype=torch.int16)),
            not_words=address(torch.zeros(1, dtype=torch.int64)),
        )

    def _weights_of(self, product: ir.Product) -> tuple[Tensor, Any]:
        """The weights of a product, and their packed form, or None if it multiplies floating-point numbers."""
        self._check_product(product)
        weight = torch.cat([matrix for _, matrix in product.terms]).contiguous()
        exact = weight.dtype == torch.float64 and torch.equal(product.bias, product.bias.round())
        return weight, packed_weights(self._library, weight, self.kept) if exact else None

    def _in_words(self, instructions: set[ir.Instruction], shared: set[int]) -> set[ir.Storage]:
        """The storage that takes 16 bits for each value: it has such integers, and products of integers read it."""
        found, needed = set[ir.Storage](), set[ir.Storage | ir.Table]()
        others: set[ir.Storage | ir.Table] = {self._program.output, self._program.pixels}
        for each in instructions:
            bound = getattr(each.function, "bound", 0) if isinstance(each, ir.Pointwise) else 0
            (found if 0 < bound < 2**15 else others).add(each.output)
            if isinstance(each, ir.Keep):
                others.add(each.source)
        for product, (_, words) in self._weights.items():
            read = {x.ring if isinstance(x, ir.Window) else x for x in product.operands}
            (others if words is None else needed).update(read)
        return {each for each in (found & needed) - others if each.values.data_ptr() not in shared}

    def _threads(self, instructions: tuple[ir.Instruction, ...]) -> int:
        """The number of threads for a list: at most the number of tiles of its largest product."""
        if self._by_images:
            return self._most_threads
        size = self._program.layout.like.element_size()
        products = [each for each in instructions if isinstance(each, ir.Product)]
        tiles: list[int] = [self._library.tiles(self._rows(each), each.bias.shape[0], size) for each in products]
        return min(max([1, *tiles]), self._most_threads)

    def _rows(self, instruction: ir.Instruction) -> int:
        return self._program.clocks[instruction.clock].slots * self._batch

    def _clock(self, clock: ir.Clock) -> Any:
        valid = np.ascontiguousarray(clock.valid, dtype=np.uint8)
        return structures.Clock(self.kept.address(valid), self.kept.address(clock.places), clock.origin, clock.slots)

    def _instruction(self, instruction: ir.Instruction) -> Any:
        sources = (instruction.source,) if isinstance(instruction, ir.Keep) else instruction.operands
        operands = (structures.Operand * len(sources))(*map(self._operand, sources))
        made = structures.Instruction(
            clock=instruction.clock,
            operand_count=len(operands),
            lead=instruction.lead,
            operands=self.kept.address(operands),
            output=self._operand(instruction.output),
        )
        if isinstance(instruction, ir.Keep):
            made.kind, operands[0].first_slot = self._codes["keep"], instruction.first
        elif isinstance(instruction, ir.Product):
            self._set_product(made, instruction)
        else:
            self._set_function(made, instruction)
        return made

    def _set_product(self, made: Any, product: ir.Product) -> None:
        made.kind = self._codes["product"]
        made.output.first_slot, made.output.slot_stride = product.phase, product.stride
        weight, words = self._weights[product]
        inputs, outputs = weight.shape
        padded = self._padded(outputs)
        bias = weight.new_zeros(padded)
        made.bias = self.kept.address(bias)
        if product.initial is None:
            bias[:outputs] = product.bias
        else:  # The initial values contain the bias.
            made.initial = self.kept.address(self._operand(product.initial))
        # The library multiplies integers of 16 bits if the weights are such integers and the processor is fast at it.
        if words is not None:
            made.words = self.kept.address(words)
            self._words = max(self._words, self._rows(product) * words.inputs)
        else:
            panels = weight.new_empty(inputs * padded)
            made.panels = self.kept.address(panels)
            self._pack(weight.data_ptr(), inputs, outputs, made.panels)

    def _check_product(self, product: ir.Product) -> None:
        """Raises `UserError` if a matrix does not fit its operand and the output, or the program's dtype.

        The library does not check this: it computes the sizes of matrices from the operands.
        """
        dtype, gives = self._program.layout.like.dtype, product.output.values.shape[1]
        for operand, matrix in product.terms:
            values = operand.ring.values if isinstance(operand, ir.Window) else operand.values
            read = values.shape[-1] * (operand.length if isinstance(operand, ir.Window) else 1)
            if matrix.shape != (read, gives):
                raise UserError(
                    f"a layer's weight has {matrix.shape[0]} inputs and {matrix.shape[1]} outputs, but the layer reads "
                    f"{read} values and gives {gives}; check the sizes of the network's layers and the number of "
                    "channels that its `encode` gives"
                )
            if matrix.dtype != dtype:
                raise UserError(f"all weights must have one dtype, got {dtype} and {matrix.dtype}")

    def _set_function(self, made: Any, instruction: ir.Pointwise) -> None:
        function, ring = instruction.function, instruction.output
        made.function = self._codes[self._name(instruction)]
        if isinstance(function, IntegerFunction) and not isinstance(function, IntegerReLU):
            made.constants = self.kept.address(constants_of(function, self.kept))
        if isinstance(ring, ir.Ring):
            made.wrapped = ring.before if ring.wraps else 0
            made.mirror = ring.capacity * ring.values.shape[2] if ring.values.shape[1] > ring.capacity else 0

    def _name(self, instruction: ir.Pointwise) -> str:
        function, count = instruction.function, len(instruction.operands)
        name = "copy" if function is ir.identity else FUNCTIONS.get(function)
        if isinstance(function, IntegerFunction):
            name = function.kind if self._program.layout.like.dtype == torch.float64 else None
        if name is None:
            raise UnavailableError(f"the function {type(function).__name__} is not supported")
        if count > (most := self._library.most_operands()):
            raise UnavailableError(f"at most {most} operands of {name} are supported, got {count}")
        if name not in ("add", "sub", "mul") and any(isinstance(each, float | int) for each in instruction.operands):
            raise UnavailableError(f"a number as an argument of {name} is not supported, only of add, sub and mul")
        return name

    def _operand(self, operand: ir.Operand | ir.Storage) -> Any:
        if isinstance(operand, ir.Window):
            made = self._operand(operand.ring)
            made.first_slot, made.slot_stride = operand.ring.before + operand.shift, operand.stride
            made.delay, made.length = operand.delay, operand.length
            return made
        if not isinstance(operand, ir.Ring | ir.Scratch | ir.Table):
            return structures.Operand(kind=self._codes["number"], channels=1, number=operand)
        narrow = None if isinstance(operand, ir.Table) else self._narrow.get(operand)
        values: Tensor = operand.values if narrow is None else narrow
        made = structures.Operand(
            words=narrow is not None,
            base=self.kept.address(values),
            kind=self._codes[type(operand).__name__.lower()],
            channels=values.shape[-1],
            row_stride=values[0].numel(),
            slot_stride=1,
            length=1,
        )
        if isinstance(operand, ir.Ring):
            made.clock, made.capacity, made.first_slot = operand.clock, operand.capacity, operand.before
        elif operand in self._local:
            made.kind, made.base = self._codes["local"], self._local[operand] * self._place_size
        return made
