"""Traces networks and embeddings with `torch.fx`, without being disturbed by other threads."""

import math
import operator
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from auxar import CausalNetwork, NetworkEmbedding, evaluating
from auxar_layers.convolutions import Convolution, Dropout
from auxar_layers.functional import concat_elu, gate
from auxar_layers.integer_functions import IntegerFunction


def _gelu(x: Any, approximate: str = "none") -> Any:
    """The expression of the approximation by tanh (Hendrycks & Gimpel 2016); None for the exact GELU."""
    if approximate != "tanh":
        return None
    tanh = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x)))
    return 0.5 * x * (1.0 + tanh)


def _hard_sigmoid(x: Any, inplace: bool = False) -> Any:
    sixth = x * (1 / 6)
    return functional.relu(sixth + 0.5) - functional.relu(sixth - 0.5)


def _hard_swish(x: Any, inplace: bool = False) -> Any:
    return x * _hard_sigmoid(x)


def _leaky_relu(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    return functional.relu(x) - negative_slope * functional.relu(-x)


FUNCTIONS: dict[Callable[..., Any], str] = {
    concat_elu: "concat_elu",
    gate: "gate",
    functional.elu: "elu",
    functional.relu: "relu",
    torch.relu: "relu",
    functional.silu: "silu",
    torch.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    operator.neg: "neg",
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
}
"""The supported functions and their names. Each acts on every pixel independently, with channels in dimension 1.

An `IntegerFunction` is supported, too."""


EXPRESSIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.gelu: _gelu,
    functional.hardsigmoid: _hard_sigmoid,
    functional.hardswish: _hard_swish,
    functional.leaky_relu: _leaky_relu,
}
"""Functions that are traced as expressions of the supported functions."""
INSTEAD = {"gelu": 'gelu(x, approximate="tanh"), which is nearly the same', "conv2d": "the layer CausalConv2d"}
"""Expressions that replace operations."""
ACTIVATIONS = (nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.LeakyReLU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Tanh)
"""Modules that are traced as the functions that they call."""
_DEFAULTS = {"inplace": False, "alpha": 1.0}


def unusual(node: fx.Node) -> dict[str, Any]:
    """The keyword arguments of a call without those that PyTorch itself passes, with their default values."""
    return {key: value for key, value in node.kwargs.items() if key not in _DEFAULTS or value != _DEFAULTS[key]}


def unsupported(node: fx.Node, modules: Mapping[str, nn.Module], problem: str) -> str:
    """A message that a layer or an operation of a graph has a problem, with its place in the network and advice."""
    if node.op == "call_module":
        return f"the layer {node.target} ({type(modules[str(node.target)]).__name__}) {problem}"
    paths = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
    place = f" in {paths[-1]}" if paths and paths[-1] else ""
    name = str(getattr(node.target, "__name__", node.target))
    return f"the operation {name}{place} {problem}" + (f" (write {INSTEAD[name]})" if name in INSTEAD else "")


class Tracer(fx.Tracer):
    """Traces one network at a time, and leaves modules alone that other threads run meanwhile.

    While it traces, `torch.fx` replaces the call of every module of the process. Calls in other threads are no part of
    the traced network.
    """

    lock: ClassVar[threading.RLock] = threading.RLock()
    _thread: int

    def __init__(self, method: str = "forward") -> None:
        super().__init__(autowrap_functions=(*FUNCTIONS, *EXPRESSIONS))
        self.traced_func_name = method

    def is_leaf_module(self, module: nn.Module, module_qualified_name: str) -> bool:
        leaves = Convolution | Dropout | IntegerFunction | nn.Linear | nn.LayerNorm
        if isinstance(module, ACTIVATIONS):
            return False
        return isinstance(module, leaves) or super().is_leaf_module(module, module_qualified_name)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any) -> Any:
        """Records an operation, or the operations of its expression."""
        expression = EXPRESSIONS.get(target) if kind == "call_function" else None
        if expression is not None and (found := expression(*args, **kwargs)) is not None:
            return found
        return super().create_proxy(kind, target, args, kwargs, *more, **options)

    def trace(self, root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Traces a network. `concrete_args` are the values of arguments that are constants in the graph."""
        with self.lock:
            self._thread = threading.get_ident()
            return super().trace(root, concrete_args)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Records the call of a module, or runs it if another thread calls it."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Tensor | Any:
        """Records the use of a parameter, or returns it if another thread uses it."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def graph_of(network: CausalNetwork | NetworkEmbedding, error: type[Exception]) -> fx.Graph:
    """The graph of a network's prediction, or of an embedding's features, as a function of the encoded image or view.

    It is traced in evaluation mode. Raises an exception of the type `error` if it cannot be traced.
    """
    constants = {"features": None} if isinstance(network, CausalNetwork) and not network.features_channels else None
    try:
        with evaluating(network):
            return Tracer("forward" if isinstance(network, CausalNetwork) else "features").trace(network, constants)
    except Exception as reason:  # Tracing runs the network's own code, which may raise any exception.
        raise error(f"{type(network).__name__} cannot be traced: {reason}") from reason
