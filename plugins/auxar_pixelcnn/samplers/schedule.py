"""From a causal network to the schedule of its wavefront, by a dry run over its layers.

Row r of the image runs `lag` columns behind row r - 1, so that one step works on many rows at once. A layer whose
output is needed to the right of the current pixel runs ahead of it by its `lead`. Both follow from what the layers
read; nothing is configured. At time t the row in a slot stands at column c, and a value of lead l is that of column
c + l. A value of row r - up, column c + right, was computed `delay` steps ago (0 is this step):

    delay = lag · up + lead(input) - lead(reader) - right
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import fx, nn
from torch.nn import functional

from auxar.interfaces import CausalNetwork
from auxar_pixelcnn.functional import concat_elu, gate
from auxar_pixelcnn.layers import CausalConv2d, Dropout, NormalizedLayer, Pointwise

POINTWISE: tuple[Callable[..., Any], ...] = (
    concat_elu,
    gate,
    functional.elu,
    functional.relu,
    torch.relu,
    torch.sigmoid,
    torch.tanh,
    operator.add,
    operator.sub,
    operator.mul,
    operator.neg,
)
"""Functions that act on each pixel alone, with channels in dimension 1, whatever the other dimensions are."""


class NoScheduleError(Exception):
    """The network has a part that a wavefront cannot run; the message says which."""


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__(autowrap_functions=POINTWISE)

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(module, NormalizedLayer | Dropout) or super().is_leaf_module(module, module_qualified_name)


@attrs.frozen
class Read:
    """What one operation reads of one value: rows above and columns to the right of its own place."""

    source: fx.Node
    taps: tuple[tuple[int, int], ...] = ((0, 0),)


@attrs.frozen
class Schedule:
    """A network's operations in order, with what depends on the features alone apart, and their timing."""

    graph: fx.Graph
    image: fx.Node
    features: fx.Node | None
    static: frozenset[fx.Node]
    """Values that depend on features and parameters alone: computed once, for the whole image."""
    reads: dict[fx.Node, tuple[Read, ...]]
    """The operations of a step, in order, and the values of the image's side that each reads."""
    output: fx.Node
    leads: dict[fx.Node, int]
    lag: int

    def delay(self, reader: fx.Node, source: fx.Node, up: int, right: int) -> int:
        """Steps since the value was computed that `reader` reads of `source`; the drawn pixel is at least 1 old."""
        return self.lag * up + self.leads[source] - self.leads[reader] - right

    @property
    def reach(self) -> int:
        """Columns to either side that any operation reads: so many must be kept zero beyond the image's edge."""
        return max(abs(right) for reads in self.reads.values() for read in reads for _, right in read.taps)


def make_schedule(network: CausalNetwork) -> Schedule:
    """The schedule of a network. Raises `NoScheduleError` for one that is not made of layers known here."""
    graph = _trace(network)
    modules = dict(network.named_modules())
    image, *others = [node for node in graph.nodes if node.op == "placeholder"]
    features = next((node for node in others if node.users), None)
    output = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(output, fx.Node):
        raise NoScheduleError("the network does not give one tensor")
    moving = {image}
    reads: dict[fx.Node, tuple[Read, ...]] = {}
    for node in graph.nodes:
        sources = [source for source in node.all_input_nodes if source in moving]
        if node.op == "output" or not sources:
            continue
        reads[node] = _reads(node, sources, modules)
        moving.add(node)
    if output not in reads:
        raise NoScheduleError("the prediction does not depend on the image")
    leads = _leads(image, output, reads)
    reads = {node: read for node, read in reads.items() if node in leads}
    static = frozenset(node for node in graph.nodes if node not in moving and node.op != "output")
    return Schedule(graph, image, features, static, reads, output, leads, _lag(image, reads, leads))


def _trace(network: CausalNetwork) -> fx.Graph:
    try:
        return _Tracer().trace(network, None if network.features_channels else {"features": None})
    except Exception as error:  # Tracing runs the network's own code, which may do anything.
        raise NoScheduleError(f"the network cannot be traced: {error}") from error


def _reads(node: fx.Node, sources: list[fx.Node], modules: dict[str, nn.Module]) -> tuple[Read, ...]:
    if node.op == "call_module":
        module = modules[str(node.target)]
        if isinstance(module, CausalConv2d) and module.stride == 1:
            return (Read(sources[0], tuple(module.taps)),)
        if isinstance(module, Pointwise | Dropout):
            return tuple(Read(source) for source in sources)
        raise NoScheduleError(f"the layer {node.target} ({type(module).__name__}) has no wavefront form")
    if node.op == "call_function" and node.target in POINTWISE:
        return tuple(Read(source) for source in sources)
    raise NoScheduleError(f"the operation {node.op} {node.target} has no wavefront form")


def _leads(image: fx.Node, output: fx.Node, reads: dict[fx.Node, tuple[Read, ...]]) -> dict[fx.Node, int]:
    leads = {output: 0}
    for node in reversed(reads):
        if node not in leads:
            continue  # Nothing that is predicted depends on it.
        for source, up, right in _taps(reads[node]):
            # Rows above are had at any lead, given enough lag: no sooner than the pixel itself will do.
            needed = leads[node] + right if up == 0 else -1
            leads[source] = max(leads.get(source, needed), needed)
    if leads.get(image, -1) >= 0:
        raise NoScheduleError("a prediction depends on the pixel itself or on one to its right")
    # A pixel is known once it is drawn, at the end of its step: that is the next step's column - 1.
    leads[image] = 0
    return leads


def _lag(image: fx.Node, reads: dict[fx.Node, tuple[Read, ...]], leads: dict[fx.Node, int]) -> int:
    lag = 1
    for node in reads:
        for source, up, right in _taps(reads[node]):
            if up:
                youngest = 1 if source is image else 0
                lag = max(lag, -((leads[source] - leads[node] - right - youngest) // up))
    return lag


def _taps(reads: tuple[Read, ...]) -> list[tuple[fx.Node, int, int]]:
    return [(read.source, up, right) for read in reads for up, right in read.taps]
