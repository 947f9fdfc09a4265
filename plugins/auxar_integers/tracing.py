"""Finds the range of every value of a traced network or embedding."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from auxar import CausalNetwork, NetworkEmbedding
from auxar_integers.quantities import NoIntegersError
from auxar_samplers.compiler.tracer import graph_of


def sizes_of(network: CausalNetwork | NetworkEmbedding) -> dict[str, tuple[int, ...]]:
    """`Operation.sizes` of the layers of a network or an embedding that have any, by the names of the operations."""
    graph = graph_of(network, NoIntegersError)
    names, needed = taken_names(graph), needed_nodes(graph)
    layers = [node for node in graph.nodes if node in needed and node.op == "call_module"]
    found = {new_name(str(node.target), names): sizes(node.args) for node in layers}
    return {name: own for name, own in found.items() if own}


def taken_names(graph: fx.Graph) -> set[str]:
    """The names of a graph's inputs. A layer may have the name of an input that no other operation reads."""
    inputs = zip(("image", "features"), (node for node in graph.nodes if node.op == "placeholder"), strict=False)
    return {name for name, node in inputs if [str(user.target) for user in node.users] != [name]}


def sizes(args: Sequence[Any]) -> tuple[int, ...]:
    """The arguments of a layer that are no values: the height and width of an upsampling layer's result."""
    return tuple(each for each in args if not isinstance(each, fx.Node))


def new_name(wanted: str, names: set[str]) -> str:
    """A name that is not in `names` yet, to which it is added. A `ModuleDict` accepts no dots."""
    wanted = wanted.replace(".", "/")
    name, number = wanted, 2
    while name in names:
        name, number = f"{wanted}#{number}", number + 1
    names.add(name)
    return name


def needed_nodes(graph: fx.Graph) -> set[fx.Node]:
    """The nodes on which the output depends, and the output."""
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in needed:
            needed.update((node, *node.all_input_nodes))
    return needed


class Ranges(fx.Interpreter):
    """Runs the graph of a network or an embedding, and records the largest magnitude of every value over all calls."""

    def __init__(self, network: CausalNetwork | NetworkEmbedding) -> None:
        super().__init__(network, graph=graph_of(network, NoIntegersError))
        self.network = network
        self.largest: dict[fx.Node, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.numel():
            self.largest[n] = max(float(value.detach().abs().max()), self.largest.get(n, 0.0))
        return value

    @torch.no_grad()
    def add(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Records the values for a batch of images or views, integers (b, c, h, w), and returns the result."""
        found: Tensor = self.run(self.network.encode(image), *(() if features is None else (features,)))
        for node, largest in self.largest.items():
            if not math.isfinite(largest):
                raise NoIntegersError(f"the values that {node.name} computes are not finite")
        return found
