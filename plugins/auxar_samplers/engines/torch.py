"""The engine `torch`, which runs programs with PyTorch operations."""

import functools
from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar import PixelSource
from auxar_samplers.asking import ask
from auxar_samplers.compiler import program as ir
from auxar_samplers.engines.base import Engine, call_back, logger
from auxar_samplers.engines.positions import Positions

Recorder = Callable[[Callable[[], None]], Callable[[], None]]
"""A function that records the operations of a function, without running them, and returns a function that runs them."""


@attrs.frozen
class TorchConfig:
    """Runs programs with PyTorch operations. It works on any device and needs no C++ compiler."""

    record: bool = True
    """Whether a GPU records the operations of a step once, as a CUDA graph, and then repeats them, so that Python does
    not start each operation."""


class TorchEngine(Engine):
    """Runs each instruction as a few PyTorch operations.

    The positions of a step are stored on the device, so that the device does not wait for the host. On a GPU, a step is
    recorded once and then repeated, unless `record` is False or the pixel source does not work in place.
    """

    priority = 0

    def __init__(self, *, record: bool = True) -> None:
        self.record = record

    def prepare(self, program: ir.Program, source: PixelSource) -> Callable[[], None]:
        return _Run(program, source, self._recorder(program.layout.like.device, source))

    def _recorder(self, device: torch.device, source: PixelSource) -> Recorder | None:
        recorded = self.record and device.type == "cuda" and source.takes_outside and source.in_place
        return record_on_gpu if recorded else None


class _Run:
    """A run of a program, with one function for each instruction. The functions read indices from `positions`."""

    def __init__(self, program: ir.Program, source: PixelSource, record: Recorder | None) -> None:
        self.program = program
        self.source = source
        self.batch = program.layout.batch
        self.positions = Positions(program)
        call = functools.cache(self._call)
        self.lists = [list(map(call, one)) for one in program.lists]
        self.positions.finish()
        # A source with `takes_outside` gets all places at every step, so that all steps have the same shapes.
        self.places = None
        if source.takes_outside:
            self.places = torch.from_numpy(program.places).to(program.image.device)
        self.record = record

    def __call__(self) -> None:
        numbers, draws = self.program.steps[:, 0].tolist(), (self.program.draws >= 0).tolist()
        functions: dict[tuple[int, bool], Callable[[], None]] = {}
        for first, last in self.program.bands():
            for step in range(first, last):
                kind = numbers[step], draws[step] and self.places is not None
                if kind not in functions:
                    function = functools.partial(self._step, *kind)
                    functions[kind] = function if self.record is None else Recorded(function, self.record)
                functions[kind]()
                if draws[step] and self.places is None:
                    call_back(self.program, self.source, step)

    def _step(self, number: int, draws: bool) -> None:
        """Runs a list of instructions at the next positions. Then draws pixels if `draws` is set."""
        self.positions.advance(number)
        for call in self.lists[number]:
            call()
        if draws:
            self._draw()

    def _draw(self) -> None:
        assert self.places is not None
        places = self.places.index_select(0, self.positions.draw).view(-1)
        drawn = ask(self.source, places, self.program.output.values, self.program.image.shape[2])
        self.program.image.index_copy_(0, places, drawn)
        self.program.pixels.values.copy_(self.program.encode(drawn))

    def _call(self, instruction: ir.Instruction) -> Callable[[], object]:
        if isinstance(instruction, ir.Product):
            return self._product(instruction)
        return self._keep(instruction) if isinstance(instruction, ir.Keep) else self._pointwise(instruction)

    def _slots(self, instruction: ir.Instruction) -> int:
        return self.program.clocks[instruction.clock].slots

    def _product(self, instruction: ir.Product) -> Callable[[], None]:
        terms = [(self._reader(operand, instruction), matrix.contiguous()) for operand, matrix in instruction.terms]
        initial = None if instruction.initial is None else self._reader(instruction.initial, instruction)
        by_slot = instruction.output.values.view(-1, self.batch, instruction.output.values.shape[1])
        output = by_slot[instruction.phase :: instruction.stride][: self._slots(instruction)]

        def product() -> None:
            total = instruction.bias if initial is None else initial()
            for read, matrix in terms:
                total = torch.addmm(total, read(), matrix)
            output.copy_(total.view(-1, self.batch, total.shape[1]))

        return product

    def _pointwise(self, instruction: ir.Pointwise) -> Callable[[], object]:
        reads = [self._reader(operand, instruction) for operand in instruction.operands]
        function = instruction.function
        if isinstance(instruction.output, ir.Ring):
            write = self._writer(instruction.output, instruction)
        else:
            write = instruction.output.values[: self._slots(instruction) * self.batch].copy_
        return lambda: write(function(*[read() for read in reads]))

    def _keep(self, instruction: ir.Keep) -> Callable[[], object]:
        slots = self._slots(instruction)
        row = instruction.source.values[:, instruction.first : instruction.first + slots].transpose(0, 1)
        return functools.partial(self._writer(instruction.output, instruction), row)

    def _reader(self, operand: ir.Operand, reader: ir.Instruction) -> Callable[[], Any]:
        rows = self._slots(reader) * self.batch
        if isinstance(operand, ir.Scratch):
            values = operand.values[:rows]
            return lambda: values
        if isinstance(operand, ir.Table):
            table, place = operand.values, self.positions.places(reader.clock, reader.lead)
            return lambda: table.index_select(0, place()).view(rows, -1)
        if isinstance(operand, ir.Window):
            ring = operand.ring
            by_slot = ring.values.unflatten(0, (-1, self.batch))[ring.before + operand.shift :: operand.stride]
            by_slot = by_slot[: self._slots(reader)]
            at = self.positions.ring(ring.clock, -operand.delay, ring.capacity, range(operand.length))
            return lambda: by_slot.index_select(2, at()).view(rows, -1)
        return lambda: operand

    def _writer(self, ring: ir.Ring, writer: ir.Instruction) -> Callable[[Tensor], object]:
        slots = self._slots(writer)
        copies = ring.values.shape[1] // ring.capacity
        at = self.positions.ring(writer.clock, 0, ring.capacity, range(0, copies * ring.capacity, ring.capacity))
        valid = self.positions.valid(writer.clock, writer.lead)
        by_slot = ring.values.unflatten(0, (-1, self.batch))
        own = by_slot[ring.before : ring.before + slots]
        front = by_slot[: ring.before] if ring.wraps and ring.before else None
        wrapped = torch.tensor([(slot - ring.before) % slots for slot in range(ring.before)], device=own.device)
        zero = torch.zeros((), dtype=own.dtype, device=own.device)

        def write(value: Tensor) -> None:
            inside = torch.where(valid()[:, None, None], value.view(slots, self.batch, -1), zero)
            inside = inside[:, :, None].expand(-1, -1, copies, -1)
            own.index_copy_(2, at(), inside)
            if front is not None:
                front.index_copy_(2, at(), inside.index_select(0, wrapped))

        return write


def record_on_gpu(function: Callable[[], None]) -> Callable[[], None]:
    """Records the operations of a function as a CUDA graph. Raises `RuntimeError` if one of them cannot be recorded.

    The function must read and write tensors that stay where they are in memory, and must not read values on the host.
    """
    graph = torch.cuda.CUDAGraph()
    # The outer context restores the stream also after a failed recording.
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph):
        function()
    return graph.replay


class Recorded:
    """Runs a function without arguments many times. The second call records its operations; later calls repeat them.

    The first call runs the function itself, which lets libraries reserve their memory. If the operations cannot be
    recorded, every call runs the function.
    """

    def __init__(self, function: Callable[[], None], record: Recorder) -> None:
        self._run = function
        self._record = record
        self._calls = 0

    def __call__(self) -> None:
        self._calls += 1
        if self._calls == 2:
            try:
                self._run = self._record(self._run)
            except RuntimeError as error:
                logger.debug("the operations of a step are not recorded: %s", error)
        self._run()
