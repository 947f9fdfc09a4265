"""Converts the graph of a trained network to integers.

Terms of a sum of convolutions share one step for each output channel, so the sum is computed before it is rounded. With
integer inputs q of step δ and a weight w, the product w · δ is rounded to a multiple of the channel's step. So is the
bias. The sum is then converted to integers with a power-of-two step by `Requantize`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from auxar_integers.graph import IntegerGraph
from auxar_integers.quantities import NoIntegersError, Quantity, Sum, Term, in_integers
from auxar_integers.steps import Operation
from auxar_integers.tracing import Ranges, needed_nodes, new_name, sizes, taken_names
from auxar_layers import integer_functions as functions
from auxar_layers.convolutions import Convolution, Dropout, Pointwise
from auxar_layers.functional import concat_elu, gate
from auxar_layers.integer_convolutions import INTEGER_LAYERS
from auxar_samplers.compiler.tracer import unsupported, unusual

LARGEST_WEIGHT = 2**15 - 129
"""Bound of 16-bit weights: the largest number that two signed bytes can represent, which processors with tiles need."""


@attrs.frozen
class IntegerConfig:
    """Integers, whose sums and products are exact, so that frequencies and samples are the same on every machine."""

    weights: int = attrs.field(default=16, validator=[attrs.validators.ge(4), attrs.validators.le(16)])
    """Bits of each weight, 4 … 16. Outputs whose products would not add up in 32 bits have weights of fewer bits."""
    activations: int = attrs.field(default=16, validator=[attrs.validators.ge(4), attrs.validators.le(16)])
    """Bits of each value between layers, 4 … 16."""


_WITH_ONE_SOURCE: Mapping[Any, tuple[type[functions.IntegerFunction], Callable[[int, int], Tensor] | None]] = {
    functional.relu: (functions.IntegerReLU, None),
    torch.relu: (functions.IntegerReLU, None),
    functional.elu: (functions.IntegerELU, functions.elu_table),
    concat_elu: (functions.IntegerConcatELU, functions.elu_table),
    torch.sigmoid: (functions.IntegerSigmoid, functions.sigmoid_table),
    torch.tanh: (functions.IntegerTanh, functions.tanh_table),
}
"""Functions of a single value that need nothing but their table, if they have one."""
_WITH_TWO_ARGUMENTS = (operator.add, operator.sub, operator.mul, torch.cat)


class Converter:
    """Converts the graph of a network or an embedding with the ranges of its values.

    `output` has the step and the bound of the result; by default, they are those of other values.
    """

    def __init__(
        self, ranges: Ranges, inputs: Sequence[Quantity], config: IntegerConfig, output: Quantity | None = None
    ) -> None:
        self.check(ranges.network, ranges.graph)
        self.ranges = ranges
        self.modules = dict(ranges.network.named_modules())
        self.inputs = list(inputs)
        self.weight_bound = min(2 ** (config.weights - 1) - 1, LARGEST_WEIGHT)
        self.bound = 2 ** (config.activations - 1) - 1
        self.output = output
        self.operations: list[Operation] = []
        self.values: dict[fx.Node, Quantity | Sum] = {}
        self.lookups: dict[tuple[Callable[[int, int], Tensor], int], functions.Lookup] = {}
        self.names = taken_names(ranges.graph)
        self.activated: dict[str, Quantity] = {}

    @classmethod
    def check(cls, network: nn.Module, graph: fx.Graph) -> None:
        """Raises `NoIntegersError`, with all their names, if layers or functions have no integer counterpart."""
        modules, needed = dict(network.named_modules()), needed_nodes(graph)
        image = next(node for node in graph.nodes if node.op == "placeholder")
        nodes = [node for node in graph.nodes if node in needed and node.op not in ("placeholder", "output")]
        if problems := list(dict.fromkeys(filter(None, (cls._problem(node, modules, image) for node in nodes)))):
            raise NoIntegersError("; ".join(problems))

    @classmethod
    def _problem(cls, node: fx.Node, modules: Mapping[str, nn.Module], image: fx.Node) -> str | None:
        """The reason why an operation has no integer counterpart; None if it has one."""
        name, none = getattr(node.target, "__name__", node.target), "has no integer counterpart"
        if node.op == "call_module":
            kind = type(modules[str(node.target)])
            return None if issubclass(kind, Dropout) or kind in INTEGER_LAYERS else unsupported(node, modules, none)
        if node.op == "get_attr":  # A factor for each channel, or for all, or something else.
            return None if all(user.target is operator.mul for user in node.users) else f"the parameter {name} {none}"
        if node.op != "call_function" or node.target not in cls._functions:
            return unsupported(node, modules, none)
        if len(node.args) != (2 if node.target in _WITH_TWO_ARGUMENTS else 1):
            return f"a call of {name} with {len(node.args)} arguments {none}"
        if node.target is torch.cat and node.args[1] != 1:
            return f"a call of cat with dim = {node.args[1]} {none}"
        if node.target is operator.mul and all(each.op == "get_attr" for each in node.all_input_nodes):
            return f"a product of parameters and numbers alone {none}"
        if image in node.all_input_nodes:
            return f"{name} is applied to the image itself, which only layers may take"
        more = ", ".join(f"{key} = {value}" for key, value in unusual(node).items())
        return f"a call of {name} with {more} {none}" if more else None

    def convert(self) -> tuple[IntegerGraph, Quantity]:
        """Returns the integer graph and its result."""
        result: Quantity | None = None
        inputs = iter(self.inputs)
        needed = needed_nodes(self.ranges.graph)
        for node in self.ranges.graph.nodes:
            if node not in needed:
                continue
            if node.op == "placeholder":
                self.values[node] = next(inputs)
            elif node.op == "output":
                result = self._quantity(node.args[0], is_output=True)
            elif node.op != "get_attr":
                self.values[node] = self._value(node)
        assert result is not None
        if self.output is not None and result.step != self.output.step:
            result = self._rescaled("result", result, self.output.exponent, self.output.bound)
        return IntegerGraph(self.operations), result

    def _value(self, node: Any) -> Quantity | Sum:
        if node.op == "call_function":
            return self._functions[node.target](self, node)
        module = self.modules[str(node.target)]
        if isinstance(module, Dropout):
            return self.values[node.args[0]]
        assert isinstance(module, Convolution)
        sources = [self._quantity(each) for each in node.args if isinstance(each, fx.Node)]
        if isinstance(module, Pointwise) and module.activation:
            sources = [self._of_one(concat_elu, each) for each in sources]
        return Sum((Term(self._name(str(node.target)), module, tuple(sources), sizes(node.args)),))

    def _quantity(self, node: Any, *, is_output: bool = False) -> Quantity:
        """The value of a node as integers with a step. A sum is rounded when it is first needed."""
        found = self.values[node]
        if isinstance(found, Sum):
            self.values[node] = found = self._rounded(found, node, is_output=is_output)
        return found

    def _rescaled(self, name: str, source: Quantity, exponent: int, bound: int) -> Quantity:
        """A value with the step 2 to the power -`exponent`, limited to a bound."""
        finer = exponent - source.exponent
        module = functions.IntegerSum(weights=[2 ** max(0, finer)], shift=max(0, -finer), bound=bound)
        return Quantity(self._emit(name, module, source), 2.0**-exponent, bound, source.channels)

    def _rounded(self, found: Sum, node: fx.Node, *, is_output: bool) -> Quantity:
        bound = self.bound
        exponent = functions.exponent_of(self.ranges.largest[node], bound)
        if is_output and self.output is not None:
            exponent, bound = self.output.exponent, self.output.bound
        layers, multiplier, shift = in_integers(found, exponent, self.weight_bound)
        name = ""
        for term, layer in zip(found.terms, layers, strict=True):
            inputs = tuple(source.name for source in term.inputs)
            self.operations.append(Operation(term.name, layer, inputs, term.sizes))
            if name:
                total = self._name(f"{name}+")
                self.operations.append(Operation(total, None, (name, term.name)))
            name = total if name else term.name
        rounded = self._name(f"{name}:rounded")
        module = functions.Requantize(multiplier=multiplier, shift=shift, bound=bound)
        self.operations.append(Operation(rounded, module, (name,)))
        return Quantity(rounded, 2.0**-exponent, bound, len(multiplier))

    # Functions --------------------------------------------------------------------------------------------------------

    def _lookup(self, table: Callable[[int, int], Tensor], exponent: int) -> functions.Lookup:
        if (table, exponent) not in self.lookups:
            self.lookups[table, exponent] = functions.Lookup(table(exponent, self.bound))
        return self.lookups[table, exponent]

    def _of_function(self, node: Any) -> Quantity:
        return self._of_one(node.target, self._quantity(node.args[0]))

    def _of_one(self, function: Any, source: Quantity) -> Quantity:
        """A function of a single value. Two blocks may apply concat-ELU to the same value."""
        if function is concat_elu and source.name in self.activated:
            return self.activated[source.name]
        kind, table = _WITH_ONE_SOURCE[function]
        module = kind() if table is None else kind(lookup=self._lookup(table, source.exponent))
        name = self._emit(f"{source.name}:{kind.kind.removeprefix('integer_')}", module, source)
        if table in (functions.sigmoid_table, functions.tanh_table):
            return Quantity(name, 2.0**-functions.TABLE_BITS, 2**functions.TABLE_BITS, source.channels)
        found = attrs.evolve(source, name=name, channels=module.channels(source.channels))
        if function is concat_elu:
            self.activated[source.name] = found
        return found

    def _of_cat(self, node: Any) -> Quantity:
        sources = [self._quantity(each) for each in node.args[0]]
        exponent = min(source.exponent for source in sources)
        # All values get the coarsest step.
        same = [
            source if source.exponent == exponent else self._rescaled("coarser", source, exponent, self.bound)
            for source in sources
        ]
        name = self._emit("concat", functions.IntegerConcat(), *same)
        channels, bound = sum(source.channels for source in sources), max(source.bound for source in same)
        return attrs.evolve(same[0], name=name, channels=channels, bound=bound)

    def _of_silu(self, node: Any) -> Quantity:
        source = self._quantity(node.args[0])
        return self._product(node, source, self._of_one(torch.sigmoid, source))

    def _of_gate(self, node: Any) -> Quantity:
        source = self._quantity(node.args[0])
        finest, lookup = source.exponent + functions.TABLE_BITS, self._lookup(functions.sigmoid_table, source.exponent)
        exponent = min(functions.exponent_of(self.ranges.largest[node], self.bound), finest)
        module = functions.IntegerGate(lookup=lookup, shift=finest - exponent, bound=self.bound)
        name = self._emit(f"{source.name}:gate", module, source)
        return Quantity(name, 2.0**-exponent, self.bound, source.channels // 2)

    def _of_sum(self, node: Any) -> Quantity | Sum:
        first, second = (self.values.get(each) for each in node.args)
        if (
            isinstance(first, Sum)
            and isinstance(second, Sum)
            and first is not second
            and node.target is operator.add
            and all(len(each.users) == 1 for each in node.args)
        ):
            return Sum(first.terms + second.terms)
        return self._weighted(node, [1, -1 if node.target is operator.sub else 1])

    def _of_negative(self, node: Any) -> Quantity:
        return self._weighted(node, [-1])

    def _weighted(self, node: Any, signs: Sequence[int]) -> Quantity:
        """A sum of values and numbers."""
        sources = [self._quantity(each) for each in node.args if isinstance(each, fx.Node)]
        finest = max(source.exponent for source in sources)
        exponent = min(finest, functions.exponent_of(self.ranges.largest[node], self.bound))
        signed = list(zip(node.args, signs, strict=True))
        of_sources = [sign for each, sign in signed if isinstance(each, fx.Node)]
        weights = [sign * 2 ** (finest - each.exponent) for each, sign in zip(sources, of_sources, strict=True)]
        constant = sum(sign * round(each * 2.0**finest) for each, sign in signed if not isinstance(each, fx.Node))
        module = functions.IntegerSum(weights=weights, constant=constant, shift=finest - exponent, bound=self.bound)
        name = self._emit("sum", module, *sources)
        return Quantity(name, 2.0**-exponent, self.bound, max(source.channels for source in sources))

    def _of_product(self, node: Any) -> Quantity | Sum:
        if attributes := [each for each in node.args if isinstance(each, fx.Node) and each.op == "get_attr"]:
            return self._scaled(node, attributes[0])
        sources = [self._quantity(each) for each in node.args if isinstance(each, fx.Node)]
        numbers = [each for each in node.args if not isinstance(each, fx.Node)]
        if not numbers:
            return self._product(node, *sources)
        # The number is rounded to an integer of at most 15 bits times a power of two.
        (number,), (source,) = numbers, sources
        bits = functions.exponent_of(abs(number), 2**15)
        exponent = min(functions.exponent_of(self.ranges.largest[node], self.bound), source.exponent + bits)
        shift = source.exponent + bits - exponent
        module = functions.IntegerSum(weights=[round(number * 2.0**bits)], shift=shift, bound=self.bound)
        return Quantity(self._emit("product", module, source), 2.0**-exponent, self.bound, source.channels)

    def _scaled(self, node: Any, attribute: fx.Node) -> Sum:
        """The product with a factor for each channel, or for all, as a 1×1 convolution with a diagonal weight."""
        (source,) = (self._quantity(each) for each in node.args if each is not attribute)
        factors: Tensor = operator.attrgetter(str(attribute.target))(self.ranges.network).detach()
        if factors.numel() not in (1, source.channels) or factors.numel() != max((1, *factors.shape[-3:-2])):
            shape = tuple(factors.shape)
            raise NoIntegersError(f"{attribute.target} has the shape {shape}; expected ({source.channels}, 1, 1)")
        layer = Pointwise([source.channels], source.channels, normalized=False)
        with torch.no_grad():
            layer.kernel.copy_(torch.diag(factors.flatten().expand(source.channels))[:, :, None, None])
        return Sum((Term(self._name(f"{attribute.target}:scale"), layer, (source,), ()),))

    def _product(self, node: Any, first: Quantity, second: Quantity) -> Quantity:
        """The product of two values, which is the value of a node."""
        whole = first.exponent + second.exponent
        exponent = min(functions.exponent_of(self.ranges.largest[node], self.bound), whole)
        name = self._emit("product", functions.IntegerProduct(shift=whole - exponent, bound=self.bound), first, second)
        return Quantity(name, 2.0**-exponent, self.bound, max(first.channels, second.channels))

    _functions: Mapping[Any, Callable[[Converter, Any], Quantity | Sum]] = {
        **dict.fromkeys(_WITH_ONE_SOURCE, _of_function),
        functional.silu: _of_silu,
        gate: _of_gate,
        operator.add: _of_sum,
        operator.sub: _of_sum,
        operator.neg: _of_negative,
        operator.mul: _of_product,
        torch.cat: _of_cat,
    }

    def _emit(self, name: str, module: functions.IntegerFunction, *sources: Quantity) -> str:
        name = self._name(name)
        self.operations.append(Operation(name, module, tuple(source.name for source in sources)))
        return name

    def _name(self, wanted: str) -> str:
        return new_name(wanted, self.names)
