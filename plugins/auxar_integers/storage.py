"""Writes integer graphs as JSON and tensors, and reads them.

The description of a graph lists its operations in order: name, kind, inputs and constants. Weights, biases, multipliers
and tables are integer tensors. Reading needs nothing but these, so a graph does not depend on the code of the network
that it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from auxar_integers.graph import IntegerGraph, Operation
from auxar_layers.integer_convolutions import (
    IntegerCausalConv2d,
    IntegerConv2d,
    IntegerLayer,
    IntegerPointwise,
    IntegerTransposedConv2d,
    IntegerUpsamplingConv2d,
)
from auxar_layers.integer_functions import (
    IntegerConcat,
    IntegerConcatELU,
    IntegerELU,
    IntegerFunction,
    IntegerGate,
    IntegerProduct,
    IntegerReLU,
    IntegerSigmoid,
    IntegerSum,
    IntegerTanh,
    Lookup,
    Requantize,
)

MOST_SHIFT = 60
"""Maximum magnitude of a shift in bits."""
SUM = "add"
"""The kind of an operation that adds two values."""

PAIRS = ("above", "columns", "overlap")
"""Constants of layers that are two numbers."""
_LAYERS: Mapping[str, tuple[Callable[..., IntegerLayer], tuple[str, ...]]] = {
    "causal_conv": (IntegerCausalConv2d, ("above", "columns", "last", "stride")),
    "conv": (IntegerConv2d, ("stride",)),
    "pointwise": (IntegerPointwise, ()),
    "transposed_conv": (IntegerTransposedConv2d, ("factor",)),
    "upsampling_conv": (IntegerUpsamplingConv2d, ("factor", "overlap")),
}
"""The layers by kind, and the constants that they have besides their weights."""
_FUNCTIONS: Mapping[type[IntegerFunction], tuple[str, ...]] = {
    Requantize: ("multiplier", "shift", "bound"),
    IntegerSum: ("weights", "constant", "shift", "bound"),
    IntegerProduct: ("shift", "bound"),
    IntegerConcat: (),
    IntegerReLU: (),
    IntegerELU: ("lookup",),
    IntegerConcatELU: ("lookup",),
    IntegerSigmoid: ("lookup",),
    IntegerTanh: ("lookup",),
    IntegerGate: ("lookup", "shift", "bound"),
}
"""The functions, and the names of their arguments."""


def described(graph: IntegerGraph, prefix: str) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The description of a graph, and its integer tensors by names that begin with `prefix`."""
    kinds: dict[Any, str] = {layer: name for name, (layer, _) in _LAYERS.items()}
    kinds |= {each: each.kind for each in _FUNCTIONS}
    operations: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    tables: dict[Lookup, str] = {}
    for operation in graph.operations:
        module = operation.module
        entry: dict[str, Any] = {"name": operation.name, "kind": kinds[type(module)] if module is not None else SUM}
        entry["inputs"] = list(operation.inputs)
        if operation.sizes:
            entry["sizes"] = list(operation.sizes)
        name = f"{prefix}{operation.name}"
        if isinstance(module, IntegerLayer):
            tensors[f"{name}.weight"] = module.integers
            tensors[f"{name}.bias"] = module.bias
            constants = {each: getattr(module, each) for each in _LAYERS[entry["kind"]][1]}
            entry |= {each: value for each, value in constants.items() if value is not None}
            if isinstance(module, IntegerPointwise):
                entry["parts"] = list(module.inputs)
        elif module is not None:
            own: Any = module
            for each in _FUNCTIONS[type(module)]:
                if each == "lookup":
                    lookup: Lookup = own.sigmoid.lookup if isinstance(own, IntegerGate) else own.lookup
                    key = tables.setdefault(lookup, f"{prefix}table.{len(tables)}")
                    tensors[key] = lookup.table
                    entry["table"] = key
                elif each == "multiplier":
                    tensors[f"{name}.multiplier"] = own.multiplier
                else:
                    entry[each] = getattr(own, each)
        operations.append(entry)
    return operations, {name: _compact(tensor.detach()) for name, tensor in tensors.items()}


def read_graph(description: list[dict[str, Any]], tensors: Mapping[str, Tensor], prefix: str) -> IntegerGraph:
    """The graph with this description and these tensors. Raises `KeyError`, `TypeError` or `ValueError` if they do not
    describe a graph."""
    functions = {function.kind: (function, names) for function, names in _FUNCTIONS.items()}
    lookups: dict[str, Lookup] = {}
    operations = []
    for entry in description:
        kind, name = entry["kind"], f"{prefix}{entry['name']}"
        module: IntegerLayer | IntegerFunction | None
        if kind == SUM:
            module = None
        elif kind in _LAYERS:
            module = _layer(kind, entry, *(_integers(tensors[f"{name}.{each}"]) for each in ("weight", "bias")))
        else:
            function, names = functions[kind]
            arguments: list[Any] = []
            for each in names:
                if each == "lookup":
                    key = entry["table"]
                    arguments.append(lookups.setdefault(key, Lookup(_integers(tensors[key]))))
                elif each == "multiplier":
                    arguments.append(_integers(tensors[f"{name}.multiplier"]))
                else:
                    arguments.append(_constant(each, entry[each]))
            module = function(*arguments)
        operations.append(Operation(entry["name"], module, tuple(entry["inputs"]), tuple(entry.get("sizes", ()))))
    return IntegerGraph(operations)


def _integers(tensor: Tensor) -> Tensor:
    """The tensor. Raises `TypeError` if its type is not an integer type."""
    if tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(f"expected integers, got {tensor.dtype}")
    return tensor


def _constant(name: str, value: Any) -> Any:
    """The value of a constant. Raises `TypeError` or `ValueError` unless it is an integer, or a list of integers, that
    is possible for the constant with this name."""
    for each in value if name == "weights" else [value]:
        if type(each) is not int:
            raise TypeError(f"expected integers for {name}, got {each!r}")
    if (name == "bound" and value < 1) or (name == "shift" and not -MOST_SHIFT <= value <= MOST_SHIFT):
        raise ValueError(f"{name} is {value}")
    return value


def _layer(kind: str, entry: Mapping[str, Any], weight: Tensor, bias: Tensor) -> IntegerLayer:
    make, names = _LAYERS[kind]
    constants = {name: tuple(entry[name]) if name in PAIRS else entry[name] for name in names if name in entry}
    first, second = weight.shape[:2]
    layer: IntegerLayer
    if make is IntegerPointwise:
        layer = make(entry["parts"], first)
    elif "factor" in names:  # The weights of layers that enlarge their inputs begin with the dimension of inputs.
        layer = make(first, second, **constants)
    else:
        layer = make(second, first, **constants)
    layer.take(weight, bias)
    return layer


def _compact(tensor: Tensor) -> Tensor:
    """The integers of a float64 tensor in the smallest signed integer type that holds all of them."""
    exact = tensor.to(torch.int64)
    largest = int(exact.abs().max()) if exact.numel() else 0
    for dtype in (torch.int8, torch.int16, torch.int32):
        if largest <= torch.iinfo(dtype).max:
            return exact.to(dtype)
    return exact
