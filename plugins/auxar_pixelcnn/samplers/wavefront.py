"""The wavefront sampler: many rows of an image at once, each some columns behind the one above."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import numpy as np
import torch
from torch import Tensor, fx, nn

from auxar.errors import UserError
from auxar.interfaces import CausalNetwork, Draws, Sampler
from auxar_pixelcnn.layers import CausalConv2d, Pointwise
from auxar_pixelcnn.samplers.schedule import NoScheduleError, Schedule, make_schedule


@attrs.frozen
class WavefrontConfig:
    """Many rows at once, for networks of one resolution: exact, in about height · lag + width steps."""


class WavefrontSampler(Sampler):
    """Draws what the raster sampler draws. Raises `UserError` for a network with parts that it cannot run."""

    def check(self, network: CausalNetwork) -> None:
        self._schedule(network)

    @staticmethod
    def _schedule(network: CausalNetwork) -> Schedule:
        try:
            return make_schedule(network)
        except NoScheduleError as error:
            raise UserError(f"sampler 'wavefront': {error}; sampler 'raster' works for every network") from None

    @torch.no_grad()
    def sample(self, network: CausalNetwork, features: Tensor | None, draws: Draws) -> Tensor:
        schedule = self._schedule(network)
        training = network.training
        network.eval()
        try:
            return _Wavefront(network, schedule, features, draws).run()
        finally:
            network.train(training)


class _Places:
    """Which pixel each slot stands at, at any time: rows live in cyclic slots, a row in slot (row mod slots).

    A slot's period is `slots · lag` columns, of which those beyond the image's width stand for its zero padding.
    """

    def __init__(self, schedule: Schedule, height: int, width: int) -> None:
        self.slots = -(-(width + max(1, schedule.reach)) // schedule.lag)
        self.start = -max(schedule.leads.values())
        self.stop = schedule.lag * (height - 1) + width
        period = self.slots * schedule.lag
        furthest = self.stop + max(schedule.leads.values())
        earliest = self.start + min(schedule.leads.values())
        position = np.arange(earliest, furthest)[:, None] - schedule.lag * np.arange(self.slots)
        row = np.arange(self.slots) + self.slots * np.floor_divide(position, period)
        column = np.mod(position, period)
        self.valid = (row >= 0) & (row < height) & (column < width)
        self.index = np.where(self.valid, row * width + column, height * width)
        self.earliest = earliest


class _History:
    """The last values of one node, for every slot: a ring in time, written twice so that a window never wraps.

    Slots are repeated before the first one, so that "the slot above" is a view as well: (slots + above) · batch rows.
    """

    def __init__(self, depth: int, above: int, slots: int, batch: int) -> None:
        self.depth = depth
        self.above = above
        self.slots = slots
        self.batch = batch
        self.values = torch.empty(0)

    def write(self, time: int, value: Tensor, invalid: list[tuple[int, int]]) -> None:
        """Stores a step's values, (slots · batch, channels), with zeros for slots that stand outside the image."""
        if not len(self.values):
            self.values = value.new_zeros(((self.slots + self.above) * self.batch, 2 * self.depth, value.shape[1]))
        for first, last in invalid:
            value[first * self.batch : last * self.batch] = 0
        at = time % self.depth
        for position in (at, at + self.depth):
            self.values[self.above * self.batch :, position] = value
            for up in range(1, self.above + 1):
                slot = -up % self.slots
                row = (self.above - up) * self.batch
                self.values[row : row + self.batch, position] = value[slot * self.batch : (slot + 1) * self.batch]

    def window(self, time: int, delay: int, length: int, up: int) -> Tensor:
        """Values of `length` steps, the oldest `delay` ago, of the slots `up` above: (slots · batch, length · c)."""
        first = (time - delay) % self.depth
        row = (self.above - up) * self.batch
        rows = self.values[row : row + self.slots * self.batch, first : first + length]
        return rows.flatten(1) if length == 1 else rows.view(rows.shape[0], -1)


class _Wavefront:
    """One run: the state of all slots, and a list of operations that move it on by one column."""

    def __init__(self, network: CausalNetwork, schedule: Schedule, features: Tensor | None, draws: Draws) -> None:
        self.network = network
        self.schedule = schedule
        self.draws = draws
        self.modules = dict(network.named_modules())
        self.batch = len(draws.indices)
        self.channels, self.height, self.width = network.image.shape
        self.places = _Places(schedule, self.height, self.width)
        self.like = next(network.parameters())
        self.invalid = [_runs(~valid) for valid in self.places.valid]
        self.index = torch.from_numpy(self.places.index).to(self.like.device)
        self.static = self._run_static(features)
        self.tables: dict[tuple[fx.Node, fx.Node | None], Tensor] = {}
        self.values: dict[fx.Node, Tensor] = {}
        self.histories = self._make_histories()
        self.operations = [self._operation(node) for node in schedule.reads]

    def run(self) -> Tensor:
        """Draws the images: int64, (b, c, h, w)."""
        count = self.height * self.width
        network = self.network
        shape = (network.head.uniform_count, self.height, self.width)
        uniforms = _by_place(self.draws.uniforms(shape, self.like.device))
        image = torch.zeros((count + 1, self.batch * self.channels), dtype=torch.int64, device=self.like.device)
        start = self.places.start
        blank = torch.zeros((self.places.slots * self.batch, self.channels), dtype=torch.int64, device=self.like.device)
        self._write_pixels(start - 1, blank, [(0, self.places.slots)])
        for time in range(start, self.places.stop):
            for node, operation in zip(self.schedule.reads, self.operations, strict=True):
                value = operation(time)
                self.values[node] = value
                if node in self.histories:
                    self.histories[node].write(time, value, self._invalid(time, node))
            if time < 0:
                continue  # Only layers that run ahead have work before the first pixel.
            index = self._index(time, 0)
            noise = uniforms.index_select(0, index).view(self.places.slots * self.batch, -1)
            drawn = network.head.draw(self.values[self.schedule.output], noise, self.draws.rule)
            image.index_copy_(0, index, drawn.view(self.places.slots, -1))
            self._write_pixels(time, drawn, self._invalid(time, self.schedule.image))
        return image[:count].view(self.height, self.width, self.batch, -1).permute(2, 3, 0, 1).contiguous()

    def _write_pixels(self, time: int, drawn: Tensor, invalid: list[tuple[int, int]]) -> None:
        encoded = self.network.encode(drawn[:, :, None, None])[:, :, 0, 0]
        self.histories[self.schedule.image].write(time, encoded, invalid)

    def _index(self, time: int, lead: int) -> Tensor:
        return self.index[time + lead - self.places.earliest]

    def _invalid(self, time: int, node: fx.Node) -> list[tuple[int, int]]:
        return self.invalid[time + self.schedule.leads[node] - self.places.earliest]

    def _run_static(self, features: Tensor | None) -> dict[fx.Node, Tensor]:
        """What does not depend on the image: features, parameters and what is made of them alone."""
        found: dict[fx.Node, Tensor] = {}
        if self.schedule.features is not None and features is not None:
            found[self.schedule.features] = features.contiguous(memory_format=torch.channels_last)
        interpreter = fx.Interpreter(self.network, graph=self.schedule.graph)
        for node in self.schedule.graph.nodes:
            known = node.op != "placeholder" and all(i in found for i in node.all_input_nodes)
            if node in self.schedule.static and known:
                arguments = fx.map_arg((node.args, node.kwargs), found.__getitem__)
                found[node] = getattr(interpreter, node.op)(node.target, *arguments)
        return found

    def _everywhere(self, source: fx.Node) -> Tensor:
        """A static value at every place of every image, (b, c, h, w): what is the same at all places is spread."""
        value = self.static[source]
        return torch.broadcast_tensors(value, value.new_empty((self.batch, 1, self.height, self.width)))[0]

    def _make_histories(self) -> dict[fx.Node, _History]:
        depths: dict[fx.Node, int] = {}
        above: dict[fx.Node, int] = {}
        for node, reads in self.schedule.reads.items():
            for read in reads:
                for up, right in read.taps:
                    delay = self.schedule.delay(node, read.source, up, right)
                    if delay or self._convolution(node):
                        depths[read.source] = max(depths.get(read.source, 0), delay + 1)
                        above[read.source] = max(above.get(read.source, 0), up)
        return {
            # As deep as the oldest value read, so that a window that starts there ends before it is overwritten.
            node: _History(depth, above[node], self.places.slots, self.batch)
            for node, depth in depths.items()
        }

    def _convolution(self, node: fx.Node) -> bool:
        return node.op == "call_module" and isinstance(self.modules[str(node.target)], CausalConv2d)

    def _operation(self, node: fx.Node) -> Callable[[int], Tensor]:
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if isinstance(module, CausalConv2d):
                return self._convolve(node, module)
            if isinstance(module, Pointwise):
                return self._mix(node, module)
            (source,) = node.all_input_nodes
            return lambda time: self._value(time, node, source)
        function = node.target
        assert callable(function)

        def call(time: int) -> Tensor:
            def value(argument: fx.Node) -> Tensor:
                return self._value(time, node, argument)

            return function(*fx.map_arg(node.args, value), **fx.map_arg(node.kwargs, value))

        return call

    def _value(self, time: int, reader: fx.Node, source: fx.Node) -> Tensor:
        """The value of `source` at the place that `reader` stands at: (slots · batch, channels)."""
        if source in self.schedule.static:
            if (source, None) not in self.tables:
                self.tables[source, None] = _by_place(self._everywhere(source))
            return self._look_up(time, reader, self.tables[source, None])
        delay = self.schedule.delay(reader, source, 0, 0)
        return self.histories[source].window(time, delay, 1, 0) if delay else self.values[source]

    def _look_up(self, time: int, reader: fx.Node, table: Tensor) -> Tensor:
        rows = table.index_select(0, self._index(time, self.schedule.leads[reader]))
        return rows.view(self.places.slots * self.batch, -1)

    def _convolve(self, node: fx.Node, module: CausalConv2d) -> Callable[[int], Tensor]:
        """One matrix product for each row of taps: a window in time is a row of the kernel."""
        source = self.schedule.reads[node][0].source
        history = self.histories[source]
        weight = module.weight()
        products = []
        for kernel_row, up in enumerate(range(module.above[1], module.above[0] - 1, -1)):
            matrix = weight[:, :, kernel_row].permute(2, 1, 0).flatten(0, 1).contiguous()
            delay = self.schedule.delay(node, source, up, module.columns[0])
            products.append((matrix, delay, weight.shape[3], up))
        bias = module.bias

        def convolve(time: int) -> Tensor:
            matrix, *window = products[0]
            total = torch.addmm(bias, history.window(time, *window), matrix)
            for matrix, *window in products[1:]:
                total.addmm_(history.window(time, *window), matrix)
            return total

        return convolve

    def _mix(self, node: fx.Node, module: Pointwise) -> Callable[[int], Tensor]:
        """A 1×1 convolution; the part that reads static inputs is computed for the whole image at once."""
        weight = module.weight()
        pieces = weight.split([size * (2 if module.activation else 1) for size in module.inputs], dim=1)
        constant: Tensor | None = None
        moving: list[tuple[fx.Node, Tensor]] = []
        for source, piece in zip(_nodes(node.args), pieces, strict=True):
            if source in self.schedule.static:
                part = nn.functional.conv2d(module.activate(self._everywhere(source)), piece)
                constant = part if constant is None else constant + part
            else:
                moving.append((source, piece[:, :, 0, 0].t().contiguous()))
        table = None if constant is None else _by_place(constant + module.bias.view(1, -1, 1, 1))

        def mix(time: int) -> Tensor:
            total = module.bias if table is None else self._look_up(time, node, table)
            for source, matrix in moving:
                total = torch.addmm(total, module.activate(self._value(time, node, source)), matrix)
            return total

        return mix


def _nodes(arguments: Iterable[object]) -> list[fx.Node]:
    """Arguments that are all values of the graph."""
    return [argument for argument in arguments if isinstance(argument, fx.Node)]


def _by_place(values: Tensor) -> Tensor:
    """(b, c, h, w) to (h · w + 1, b · c), the last row zero: what slots outside the image look up."""
    rows = values.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    return torch.cat([rows, rows.new_zeros((1, rows.shape[1]))])


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of every run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
