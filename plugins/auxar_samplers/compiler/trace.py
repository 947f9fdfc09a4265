"""Traces a causal network with `torch.fx` and lists the values from which its predictions are computed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from auxar import CausalNetwork
from auxar_layers.convolutions import CausalConv2d, Dropout, Pointwise, UpsamplingConv2d
from auxar_layers.functional import concat_elu, gate
from auxar_layers.integer_functions import IntegerConcat, IntegerFunction
from auxar_samplers.compiler.tracer import EXPRESSIONS, FUNCTIONS, Tracer, graph_of, unsupported, unusual


def channels_of(static: Tensor) -> int:
    """The number of channels of a static value, which may have any shape that broadcasts to (b, c, h, w)."""
    return static.shape[-3] if static.dim() > 2 else 1


class NoScheduleError(Exception):
    """Raised if the compiler does not support a part of a network. The message names the part."""


NOT_CAUSAL = "the network is not causal: a prediction depends on its own pixel or on a pixel to its right"
LAYERS = (CausalConv2d, Pointwise, UpsamplingConv2d, Dropout, IntegerFunction)
"""The supported layers."""
NAMES = {*FUNCTIONS.values(), *(function.__name__ for function in EXPRESSIONS)}
SUPPORTED = (
    f"the supported functions are {', '.join(sorted(NAMES))}, and the supported layers CausalConv2d, "
    "Pointwise, UpsamplingConv2d and Dropout"
)
_ABSENT: Any = None  # A part that values of another kind have.


@attrs.frozen(eq=False)
class Value:
    """A value that depends on the drawn pixels.

    Other values, which depend only on features and weights, are *static*. They are nodes of the graph, and are computed
    once, before drawing.

    The kind "image" is the encoded image, "linear" is a sum of convolutions, "growth" is the output of an upsampling
    layer, and "function" is the result of a function that acts on each pixel independently.
    """

    name: str
    kind: Literal["image", "linear", "growth", "function"]
    channels: int
    terms: tuple[Term, ...] = ()
    """The terms of a linear value, which is their sum plus the bias."""
    bias: Tensor = _ABSENT
    """The bias of a linear value or a growth at all places, shape (channels,). Terms may have further biases."""
    layer: UpsamplingConv2d = _ABSENT
    """The upsampling layer of a growth."""
    function: Callable[..., Any] = _ABSENT
    """The function of a value of this kind."""
    arguments: tuple[Any, ...] = ()
    """The arguments of a function (values, static values and numbers) or of a growth (its source, height and width)."""

    @property
    def factor(self) -> int:
        """The upsampling factor of a growth."""
        assert isinstance(self.layer.factor, int)
        return self.layer.factor

    @property
    def inputs(self) -> tuple[Any, ...]:
        """All values, static values and numbers from which this value is computed directly."""
        return (*(term.source for term in self.terms), *self.arguments)

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values from which this value is computed directly."""
        return tuple(source for source in self.inputs if isinstance(source, Value))

    @property
    def reads(self) -> Iterator[tuple[Value, int, int, int]]:
        """The windows that this value reads: (source, rows above, first column, last column), relative to its place."""
        for term in self.terms:
            if isinstance(term.source, Value):
                for up, weight in term.rows:
                    yield term.source, up, term.columns[0], term.columns[0] + weight.shape[2] - 1
        yield from ((source, 0, 0, 0) for source in self.arguments if isinstance(source, Value))

    @property
    def varies(self) -> bool:
        """Whether a linear value has a part that depends on the place but not on the pixels."""
        return any(isinstance(term.source, fx.Node) or term.bias is not None for term in self.terms)


@attrs.frozen(eq=False)
class Term:
    """One term of a linear value: a causal convolution of one source."""

    source: Value | fx.Node
    weight: Tensor
    """The weight of the convolution, shape (outputs, inputs, kernel rows, kernel columns)."""
    above: tuple[int, int] = (0, 0)
    """The nearest and the farthest row that the kernel reads, in rows above the output."""
    columns: tuple[int, int] = (0, 0)
    """The first and the last column that the kernel reads, relative to the output."""
    stride: int = 1
    activated: bool = False
    """Whether concat-ELU is applied to the source before the convolution. Only static sources can be activated."""
    bias: Tensor | None = None
    """The bias of a layer whose first rows or columns of outputs are 0, shape (outputs,). The biases of other layers
    are part of the value's bias."""
    first: tuple[int, int] = (0, 0)
    """The first row and the first column at which `bias` is added."""

    @property
    def rows(self) -> list[tuple[int, Tensor]]:
        """The kernel rows as pairs of the number of rows above the output and the weight (outputs, inputs, columns)."""
        return [(self.above[1] - k, self.weight[:, :, k]) for k in range(self.weight.shape[2])]


@attrs.frozen(eq=False)
class Trace:
    """The traced values of a network, and a function that computes its static values."""

    image: Value
    values: tuple[Value, ...]
    """The values in an order in which they can be computed. The image is the first."""
    output: Value
    statics: Callable[[Tensor | None], dict[fx.Node, Tensor]]
    """A function that computes the static values, by graph node, from features (b, c, h, w) or None."""


def trace(network: CausalNetwork) -> Trace:
    """Traces a network. Raises `NoScheduleError` if the network has a layer or operation that is not supported."""
    return _Builder(network).build()


def _convolved(layer: CausalConv2d, source: Value | fx.Node) -> tuple[list[Term], Tensor]:
    """The terms of a causal convolution, and its bias at all places."""
    weight, (nearest, farthest), (left, right) = layer.weight(), layer.above, layer.columns
    if layer.last is None:
        kernels = [(weight, layer.above, layer.columns)]
    else:
        # The lowest row of the kernel is a term with fewer columns.
        own, width = (nearest, nearest), layer.last + 1 - left
        kernels = [
            (weight[:, :, :-1], (nearest + 1, farthest), (left, right)),
            (weight[:, :, -1:, :width], own, (left, layer.last)),
        ]
    terms = [Term(source, *kernel, stride=layer.stride) for kernel in kernels if kernel[0].numel()]
    if not any(layer.first):
        return terms, layer.bias
    terms[0] = attrs.evolve(terms[0], bias=layer.bias, first=layer.first)
    return terms, torch.zeros_like(layer.bias)


@attrs.frozen(eq=False)
class _Traced:
    """The graph of a network, with what was found in its modules, and the versions of buffers, when it was traced."""

    graph: fx.Graph
    found: list[Any]
    versions: list[int]

    def __reduce__(self) -> tuple[Any, ...]:
        return object, ()  # Copies are traced anew.


def _graph(network: CausalNetwork) -> fx.Graph:
    """The graph of a network. It is traced again after an attribute of a module or a buffer got another value."""
    with Tracer.lock:  # Tracing must not see half of a change.
        every = chain.from_iterable(vars(module).items() for module in network.modules())
        own = [each for each in every if each[0] not in ("_traced", "training")]
        nested = (tree_leaves(x) if isinstance(x, dict | list | tuple) and x else (name, x) for name, x in own)
        now = list(chain.from_iterable(nested))
        versions = [each._version for each in now if type(each) is Tensor and not each.is_inference()]
        known: Any = vars(network).get("_traced")
        if not isinstance(known, _Traced) or known.versions != versions or [*map(id, known.found)] != [*map(id, now)]:
            vars(network)["_traced"] = known = _Traced(graph_of(network, NoScheduleError), now, versions)
        return known.graph  # type: ignore[no-any-return]


class _Builder:
    def __init__(self, network: CausalNetwork) -> None:
        self.network = network
        self.modules = dict(network.named_modules())
        self.like = next(network.parameters())
        self.graph = _graph(network)
        self.values: dict[fx.Node, Value] = {}
        self.functions: dict[tuple[object, ...], Value] = {}
        self.order: list[Value] = []
        self.static_channels: dict[fx.Node, int] = {}

    def build(self) -> Trace:
        image, *others = [node for node in self.graph.nodes if node.op == "placeholder"]
        output = next(node for node in self.graph.nodes if node.op == "output").args[0]
        if not isinstance(output, fx.Node):
            raise NoScheduleError(f"the network must return a single tensor, got {output!r}")
        self.moving = {image}
        for node in self.graph.nodes:
            if self.moving.intersection(node.all_input_nodes):
                self.moving.add(node)
        if output not in self.moving:
            raise NoScheduleError("the network's prediction does not depend on the image")
        self.features = next((node for node in others if node.users), None)
        pixel = torch.zeros((1, self.network.image.channels, 1, 1), dtype=torch.int64, device=self.like.device)
        self.values[image] = self._add("image", "image", self.network.encode(pixel).shape[1])
        nodes = [node for node in self.graph.nodes if node in self.moving and node.op not in ("placeholder", "output")]
        if problems := list(dict.fromkeys(filter(None, map(self._problem, nodes)))):
            raise NoScheduleError(f"{'; '.join(problems)}; {SUPPORTED}")
        for node in nodes:
            self.values[node] = self._value(node)
        needed = {self.values[output]}
        for value in reversed(self.order):
            if value in needed:
                needed.update(value.sources)
        values = tuple(value for value in self.order if value in needed)
        statics = {each for value in values for each in value.inputs if isinstance(each, fx.Node)}
        return Trace(self.values[image], values, self.values[output], lambda features: self._statics(features, statics))

    def _statics(self, features: Tensor | None, wanted: Iterable[fx.Node]) -> dict[fx.Node, Tensor]:
        needed = set(wanted)
        for node in reversed(self.graph.nodes):
            if node in needed:
                needed.update(node.all_input_nodes)
        found: dict[fx.Node, Tensor] = {}
        interpreter = fx.Interpreter(self.network, graph=self.graph)
        for node in self.graph.nodes:
            if node in needed and node.op == "placeholder":
                assert features is not None
                found[node] = features
            elif node in needed:
                arguments = fx.map_arg((node.args, node.kwargs), found.__getitem__)
                found[node] = getattr(interpreter, node.op)(node.target, *arguments)
        return found

    def _add(self, name: str, kind: Any, channels: int, **parts: Any) -> Value:
        self.order.append(Value(name, kind, channels, **parts))
        return self.order[-1]

    def _problem(self, node: fx.Node) -> str | None:
        """The reason why an operation is not supported, with its place in the network; None if it is supported."""
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if (isinstance(module, LAYERS) and not isinstance(module, IntegerConcat)) or node.target in FUNCTIONS:
            if isinstance(getattr(module, "factor", 1), tuple):
                return f"the layer {node.target} has a factor for rows and another for columns"
            name = getattr(node.target, "__name__", node.target)
            return f"{name} has keyword arguments; pass them by position" if unusual(node) else None
        return unsupported(node, self.modules, "is not supported")

    def _value(self, node: fx.Node) -> Value:
        arguments = [self._argument(argument) for argument in node.args]
        if node.op == "call_function":
            return self._function(node.target, arguments)
        module = self.modules[str(node.target)]
        if isinstance(module, CausalConv2d):
            return self._linear(str(node.target), *_convolved(module, arguments[0]))
        if isinstance(module, Pointwise):
            return self._linear(str(node.target), self._mixed(module, arguments), module.bias)
        if isinstance(module, UpsamplingConv2d):
            parts = {"layer": module, "bias": module.bias, "arguments": tuple(arguments)}
            return self._add(str(node.target), "growth", module.bias.shape[0], **parts)
        if isinstance(module, IntegerFunction):
            return self._function(module, arguments)
        found: Value = arguments[0]  # Dropout changes nothing.
        return found

    def _argument(self, argument: Any) -> Any:
        return self.values.get(argument, argument) if isinstance(argument, fx.Node) else argument

    def _linear(self, name: str, terms: Sequence[Term], bias: Tensor) -> Value:
        return self._add(name, "linear", bias.shape[0], terms=tuple(terms), bias=bias)

    def _mixed(self, module: Pointwise, arguments: Sequence[Value | fx.Node]) -> tuple[Term, ...]:
        pieces = module.weight().split(module.parts, dim=1)
        terms = []
        for argument, piece in zip(arguments, pieces, strict=True):
            if isinstance(argument, fx.Node):
                terms.append(Term(argument, piece, activated=module.activation))
            else:
                terms.append(Term(self._function(concat_elu, [argument]) if module.activation else argument, piece))
        return tuple(terms)

    def _function(self, function: Any, arguments: Sequence[Any]) -> Value:
        """The value of a function call. Equal calls share one value: two blocks may apply elu to the same input."""
        key = (function, *arguments)
        if key in self.functions:
            return self.functions[key]
        if function is operator.add and (total := self._sum(*arguments)) is not None:
            return total
        widths = [self._channels(argument) for argument in arguments if isinstance(argument, Value | fx.Node)]
        if isinstance(function, IntegerFunction):
            channels = function.channels(*widths)
        elif function is concat_elu:
            channels = 2 * sum(widths)
            if not all(isinstance(argument, Value) for argument in arguments):
                raise NoScheduleError(
                    "a call of concat_elu combines values that depend on the image with values that do not; "
                    "only separate calls are supported"
                )
        else:
            channels = widths[0] // 2 if function is gate else max(widths)
        name = FUNCTIONS.get(function) or type(function).__name__
        value = self._add(name, "function", channels, function=function, arguments=tuple(arguments))
        self.functions[key] = value
        return value

    def _channels(self, argument: Value | fx.Node) -> int:
        if isinstance(argument, Value):
            return argument.channels
        if argument not in self.static_channels:
            # All static values from which values that depend on the image are computed.
            statics = {each for node in self.moving for each in node.all_input_nodes} - self.moving
            features = None
            if self.features is not None:
                height, width = self.network.image.shape[1:]
                features = self.like.new_zeros((1, self.network.features_channels, height, width))
            found = self._statics(features, statics)
            self.static_channels = {each: channels_of(found[each]) for each in statics}
        return self.static_channels[argument]

    def _sum(self, first: Any, second: Any) -> Value | None:
        """Merges a sum of linear values into one linear value. Returns None if the sum cannot be merged.

        One of the two operands may be a 1×1 convolution of static values.
        """
        parts, others = self._parts(first), self._parts(second)
        if parts is None or others is None or not (isinstance(first, Value) or isinstance(second, Value)):
            return None
        (name, terms, bias), (other, more, offset) = parts, others
        if first is second or len(bias) != len(offset):
            return None
        return self._linear(f"{name} + {other}", terms + more, bias + offset)

    def _parts(self, part: Any) -> tuple[str, tuple[Term, ...], Tensor] | None:
        if isinstance(part, Value) and part.kind == "linear":
            return part.name, part.terms, part.bias
        if isinstance(part, fx.Node) and part.op == "call_module" and not part.kwargs:
            module = self.modules[str(part.target)]
            if isinstance(module, Pointwise):
                arguments = [self._argument(argument) for argument in part.args]
                return str(part.target), self._mixed(module, arguments), module.bias
        return None
