"""Traces networks and embeddings as graphs of layers and functions, and finds the range of every value."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from auxar import CausalNetwork, NetworkEmbedding
from auxar_integers.errors import NoIntegersError
from auxar_layers.convolutions import Convolution, Dropout
from auxar_samplers.compiler.trace import FUNCTIONS
from auxar_samplers.compiler.tracer import ThreadSafeTracer


class _Tracer(ThreadSafeTracer):
    def __init__(self, method: str) -> None:
        super().__init__(autowrap_functions=tuple(FUNCTIONS))
        self.traced_func_name = method

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(module, Convolution | Dropout) or super().is_leaf_module(module, module_qualified_name)


def trace(network: CausalNetwork | NetworkEmbedding) -> fx.Graph:
    """The graph of a network's prediction, or of an embedding's features, as a function of the encoded image or view.

    Raises `NoIntegersError` if it cannot be traced.
    """
    if isinstance(network, CausalNetwork):
        method, constants = "forward", None if network.features_channels else {"features": None}
    else:
        method, constants = "features", None
    try:
        return _Tracer(method).trace(network, constants)
    except Exception as error:  # Tracing runs the network's own code, which may raise any exception.
        raise NoIntegersError(f"{type(network).__name__} cannot be traced: {error}") from error


class Ranges(fx.Interpreter):
    """Runs the graph of a network or an embedding, and records the largest magnitude of every value over all calls."""

    def __init__(self, network: CausalNetwork | NetworkEmbedding) -> None:
        super().__init__(network, graph=trace(network))
        self.network = network
        self.largest: dict[fx.Node, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.numel():
            found = float(value.detach().abs().max())
            self.largest[n] = max(found, self.largest.get(n, 0.0))
        return value

    @torch.no_grad()
    def add(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Records the values for a batch of images or views, integers (b, c, h, w), and returns the result."""
        found: Tensor = self.run(self.network.encode(image), *(() if features is None else (features,)))
        return found
