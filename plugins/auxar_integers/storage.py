"""Writes integer graphs as JSON and tensors, and reads them.

The description of a graph lists its operations in order: name, kind, inputs and constants. Weights, biases, multipliers
and tables are integer tensors. Reading needs nothing but these, so a graph does not depend on the code of the network
that it was made from.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from auxar_integers.graph import IntegerGraph
from auxar_integers.steps import Operation
from auxar_layers.integer_convolutions import INTEGER_LAYERS, IntegerLayer
from auxar_layers.integer_functions import IntegerFunction, Lookup

MOST_SHIFT = 60
"""Maximum magnitude of a shift in bits."""
SUM = "add"
"""The kind of an operation that adds two values."""
_KINDS: dict[str, Any] = {**{each.kind: each for each in INTEGER_LAYERS.values()}, **IntegerFunction.by_kind}


def described(graph: IntegerGraph, prefix: str) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The description of a graph, and its integer tensors by names that begin with `prefix`."""
    operations: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    tables: dict[Lookup, str] = {}
    for operation in graph.operations:
        module: Any = operation.module
        kind = SUM if module is None else module.kind
        entry: dict[str, Any] = {"name": operation.name, "kind": kind, "inputs": list(operation.inputs)}
        if own := graph.sizes.get(operation.name):
            entry["sizes"] = list(own)
        name = f"{prefix}{operation.name}"
        if isinstance(module, IntegerLayer):
            tensors[f"{name}.weight"] = module.integers
            tensors[f"{name}.bias"] = module.bias
        for each in () if module is None else module.constants:
            value = getattr(module, each)
            if isinstance(value, Lookup):
                entry["table"] = tables.setdefault(value, f"{prefix}table.{len(tables)}")
                tensors[entry["table"]] = value.table
            elif isinstance(value, Tensor):
                tensors[f"{name}.{each}"] = value
            elif value is not None:
                entry[each] = value
        operations.append(entry)
    return operations, {name: _compact(tensor.detach()) for name, tensor in tensors.items()}


def read_graph(description: list[dict[str, Any]], tensors: Mapping[str, Tensor], prefix: str) -> IntegerGraph:
    """The graph with this description and these tensors. Raises `KeyError`, `TypeError` or `ValueError` if they do not
    describe a graph."""
    lookups: dict[str, Lookup] = {}
    operations = []
    for entry in description:
        module = None if entry["kind"] == SUM else _module(entry, tensors, f"{prefix}{entry['name']}", lookups)
        operations.append(Operation(entry["name"], module, tuple(entry["inputs"]), tuple(entry.get("sizes", ()))))
    return IntegerGraph(operations)


def _module(
    entry: Mapping[str, Any], tensors: Mapping[str, Tensor], name: str, lookups: dict[str, Lookup]
) -> IntegerLayer | IntegerFunction:
    kind = _KINDS[entry["kind"]]
    constants: dict[str, Any] = {}
    if issubclass(kind, IntegerLayer):
        constants = {each: _integers(tensors[f"{name}.{each}"]) for each in ("weight", "bias")}
    for each in kind.constants:
        if each == "lookup":
            key = entry["table"]
            constants[each] = lookups.setdefault(key, Lookup(_integers(tensors[key])))
        elif each == "multiplier":
            constants[each] = _integers(tensors[f"{name}.multiplier"])
        elif each != "last" or each in entry:
            constants[each] = _constant(each, entry[each])
    made: IntegerLayer | IntegerFunction = kind.of(**constants) if issubclass(kind, IntegerLayer) else kind(**constants)
    return made


def _integers(tensor: Tensor) -> Tensor:
    """The tensor. Raises `TypeError` if its type is not an integer type."""
    if tensor.is_floating_point() or tensor.is_complex():
        raise TypeError(f"expected integers, got {tensor.dtype}")
    return tensor


def _constant(name: str, value: Any) -> Any:
    """The value of a constant. Raises `TypeError` or `ValueError` unless it is an integer, or a list of integers, that
    is possible for the constant with this name."""
    if isinstance(value, list | tuple):
        value = tuple(_constant("", each) for each in value)
    elif type(value) is not int:
        raise TypeError(f"expected integers for {name}, got {value!r}")
    if (name == "bound" and value < 1) or (name == "shift" and not -MOST_SHIFT <= value <= MOST_SHIFT):
        raise ValueError(f"{name} is {value}")
    return value


def _compact(tensor: Tensor) -> Tensor:
    """The integers of a float64 tensor in the smallest signed integer type that holds all of them."""
    exact = tensor.to(torch.int64)
    largest = int(exact.abs().max()) if exact.numel() else 0
    for dtype in (torch.int8, torch.int16, torch.int32):
        if largest <= torch.iinfo(dtype).max:
            return exact.to(dtype)
    return exact
