"""The state of any optimizer of PyTorch as tensors and a JSON document, so that it can be stored without pickle.

In the document, numbers, strings, booleans, None and lists stand for themselves. A tensor is `{"tensor": name}`, a
tuple is `{"tuple": [...]}`, and a dictionary is `{"dict": [[key, value], ...]}`, because its keys need not be strings.
Floats that are not finite are written as Python's `json` writes them, `Infinity` or `NaN`.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError, one_line, shown
from auxar.files import parse_json
from auxar.model import Factor

PREFIX = "optimizer."
"""The beginning of the names of an optimizer's tensors."""
NOT_STORED = ("params", "lr", "fused", "foreach", "capturable", "differentiable")
"""Keys of parameter groups that are not stored. The training loop sets the learning rate in every step, and the
device on which training continues decides on the implementation, such as a fused one."""
CONSTANTS: tuple[Any, ...] = (Callable, torch.dtype, torch.device)
"""Types of values of parameter groups that do not change during training, such as functions. They are not stored."""


@attrs.frozen(eq=False)
class OptimizerState:
    """The state of an optimizer that was read from a file."""

    path: Path
    """The file that it was read from."""
    optimizer: Mapping[str, Any]
    """The name of the optimizer and its options, as a table."""
    parameters: list[list[str]]
    """The names of the parameters in each parameter group."""
    groups: list[dict[str, Any]]
    """The values of each parameter group, without the keys `NOT_STORED`."""
    state: dict[Any, Any]
    """The entry "state" of `Optimizer.state_dict()`."""

    def restore(self, optimizer: torch.optim.Optimizer, name: str, factor: Factor) -> None:
        """Loads the state into the optimizer `name`, which was made for the parameters of `factor`.

        Raises `UserError` if it cannot continue from this state, for example because another optimizer has written it.
        """
        try:
            if self.optimizer["name"] != name:
                raise ValueError(f"it is the state of the optimizer {shown(self.optimizer['name'])}")
            if self.parameters != _parameters(optimizer, factor):
                raise ValueError("it has other parameter groups")
            now = optimizer.state_dict()["param_groups"]
            device = next(weight.device for group in optimizer.param_groups for weight in group["params"])
            placed: dict[Any, Tensor] = {}
            # PyTorch moves the state of parameters to their devices, but leaves other state as it is.
            indices = {index for group in now for index in group["params"]}
            others = {key: value for key, value in self.state.items() if key not in indices}
            state = self.state | _as_saved(others, device, placed)
            groups = [{**own, **_as_saved(saved, device, placed)} for own, saved in zip(now, self.groups, strict=True)]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            # PyTorch has converted these entries to the dtype of their parameters. The stored ones keep their own.
            for key, entry in optimizer.state_dict()["state"].items():
                if key in indices and isinstance(entry, dict):
                    stored = self.state[key]
                    entry |= {name: _as_saved(value, entry.get(name), placed) for name, value in stored.items()}
        except Exception as error:  # The optimizer may be of a plugin and raise any exception.
            raise UserError(
                f"{self.path}: the optimizer '{name}' cannot continue from this state ({one_line(str(error))}). If its "
                "plugin has changed, restore the version that this training began with, or train the factor in a new "
                "folder (--out)"
            ) from error


def stored_state(optimizer: Any, table: Mapping[str, Any], factor: Factor) -> tuple[dict[str, Tensor], str]:
    """Returns the state of an optimizer as tensors, whose names begin with `PREFIX`, and as a document.

    `table` is the table of the recipe that chooses the optimizer, with its name and its options. Raises `UserError` if
    the state has a value that cannot be stored.
    """
    saved = optimizer.state_dict()
    writer = _Writer(table["name"])
    groups = [
        {key: value for key, value in group.items() if key not in NOT_STORED and not isinstance(value, CONSTANTS)}
        for group in saved["param_groups"]
    ]
    document = {
        "optimizer": table,
        "parameters": _parameters(optimizer, factor),
        "groups": writer.plain(groups, ("groups",)),
        "state": writer.plain(saved["state"], ()),
    }
    return writer.tensors, json.dumps(document)


def read_state(path: Path, text: str, tensors: Mapping[str, Tensor]) -> OptimizerState:
    """Reads a state from the tensors and the document in a file."""
    document = parse_json(text)
    groups, state = (_value(document[key], tensors) for key in ("groups", "state"))
    return OptimizerState(path, document["optimizer"], document["parameters"], groups, state)


class _Writer:
    """Converts values to a document, and collects their tensors."""

    def __init__(self, optimizer: str) -> None:
        self.optimizer = optimizer
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[int, str] = {}
        """The names of the tensors by `id`. A tensor that occurs several times is stored once."""

    def plain(self, value: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized:
            return self._tensor(value.detach(), self.names.get(id(value)) or self._name(value, path))
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Mapping):
            pairs = [[self.plain(key, (*path, "key")), self.plain(own, (*path, key))] for key, own in value.items()]
            return {"dict": pairs}
        if isinstance(value, list | tuple):
            entries = [self.plain(own, (*path, index)) for index, own in enumerate(value)]
            return {"tuple": entries} if isinstance(value, tuple) else entries
        place, found = ".".join(map(str, path)), one_line(shown(value))
        raise UserError(
            f"the optimizer '{self.optimizer}' has {found} in its state at {place}; a "
            "checkpoint can store dense tensors, numbers, strings, None, and lists, tuples and dictionaries of them"
        )

    def _name(self, value: Tensor, path: tuple[Any, ...]) -> str:
        name = PREFIX + ".".join(map(str, path))
        while name in self.tensors:  # Keys may contain dots.
            name += "+"
        self.names[id(value)] = name
        return name

    def _tensor(self, value: Tensor, name: str) -> dict[str, Any]:
        if value.is_contiguous():
            self.tensors[name] = value
            return {"tensor": name}
        # The order of the axes in memory is kept, because sums and products of matrices can depend on it.
        order = sorted(range(value.ndim), key=value.stride, reverse=True)
        self.tensors[name] = value.permute(order)
        return {"tensor": name, "order": order}


def _value(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Converts a part of a document back to a value."""
    if isinstance(node, list):
        return [_value(own, tensors) for own in node]
    if not isinstance(node, dict):
        return node
    if "tensor" in node:
        tensor = tensors[node["tensor"]]
        return tensor.permute(*map(node["order"].index, range(tensor.ndim))) if "order" in node else tensor
    if "tuple" in node:
        return tuple(_value(node["tuple"], tensors))
    return {_value(key, tensors): _value(own, tensors) for key, own in node["dict"]}


def _as_saved(value: Any, like: Any, placed: dict[Any, Tensor]) -> Any:
    """The value with its tensors on the device of `like`, which is a device or a value of the same structure.

    `placed` has the tensors that were moved before, so that a tensor that occurs several times stays one tensor.
    """
    if isinstance(value, Tensor):
        device = like.device if isinstance(like, Tensor) else like if isinstance(like, torch.device) else value.device
        return placed.setdefault((id(value), device), value.to(device))
    if isinstance(value, dict):
        inner = like if isinstance(like, dict) else dict.fromkeys(value, like)
        return {key: _as_saved(own, inner.get(key), placed) for key, own in value.items()}
    if isinstance(value, list | tuple):
        parts = like if isinstance(like, list | tuple) and len(like) == len(value) else [like] * len(value)
        return type(value)(_as_saved(own, part, placed) for own, part in zip(value, parts, strict=True))
    return value


def _parameters(optimizer: Any, factor: Factor) -> list[list[str]]:
    """The names of the parameters in each of the optimizer's parameter groups."""
    names = {id(parameter): name for name, parameter in factor.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]
