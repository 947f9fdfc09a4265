"""Tests that the state of any optimizer is stored and read back to the last bit."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auxar.errors import UserError
from auxar.files import DamagedFile, read_tensors, write_tensors
from auxar.runs.optimizer_state import OptimizerState, read_state, stored_state


class Net(nn.Module):
    """Two layers with different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2)


class Odd(torch.optim.Optimizer):
    """An optimizer with two parameter groups, and with state of all kinds after its first step."""

    def __init__(self, net: Any) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(net.first.parameters()), "function": len},
            {"params": list(net.second.parameters())},
        ]
        super().__init__(groups, {"lr": 0.1, "steps": 0, "dtype": torch.bfloat16})

    def step(self, closure: Any = None) -> None:
        shared = torch.rand(3)
        for group in self.param_groups:
            group["steps"] += 1
            group |= {"best": math.inf, "history": (1 / 3, [None, True, "é"]), "scale": torch.tensor(1.5)}
            for parameter in group["params"]:
                self.state[parameter] = {
                    "half": torch.randn_like(parameter).bfloat16(),
                    "byte": torch.rand(2).to(torch.float8_e4m3fn),
                    "indices": torch.arange(3),
                    "mask": torch.tensor([True, False]),
                    "number": torch.tensor(1 / 3, dtype=torch.float64),
                    "list": [torch.rand(2, 2).bfloat16(), {"table": {5: torch.zeros(0)}}],
                    "transposed": torch.rand(4, 3).T,
                    "shared": shared,
                    "part of it": shared[1:],
                    "weights": parameter,
                    "a.b": torch.ones(1),
                    "a": {"b": torch.zeros(1)},
                    "lowest": -math.inf,
                    "zero": -0.0,
                    "none": None,
                }
        self.state["everywhere"] = {"norm": torch.rand(2).bfloat16()}  # type: ignore[index]


def assert_equal(first: Any, second: Any) -> None:
    """Asserts that two states have the same types, values and order of axes in memory."""
    if isinstance(first, Tensor):
        assert (first.dtype, first.shape, first.stride()) == (second.dtype, second.shape, second.stride())
        assert torch.equal(first.reshape(-1).view(torch.uint8), second.reshape(-1).view(torch.uint8))
        return
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert list(first) == list(second)
        assert_equal(list(first.values()), list(second.values()))
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for own, other in zip(first, second, strict=True):
            assert_equal(own, other)
    else:
        assert repr(first) == repr(second)


def through_a_file(optimizer: torch.optim.Optimizer, net: Any, file: Path) -> OptimizerState:
    tensors, document = stored_state(optimizer, {"name": "odd"}, net)
    weights = {f"factor.{name}": tensor for name, tensor in net.state_dict().items()}
    write_tensors(file, weights | tensors, {"optimizer": document})
    found, metadata = read_tensors(file)
    return read_state(file, metadata["optimizer"], found)


def test_state_of_all_kinds_is_the_same_to_the_last_bit(tmp_path):
    net: Any = Net()
    optimizer, other = Odd(net), Odd(net)
    optimizer.step()
    through_a_file(optimizer, net, tmp_path / "file").restore(other, "odd", net)
    assert_equal(optimizer.state_dict()["state"], other.state_dict()["state"])
    for group, restored in zip(optimizer.param_groups, other.param_groups, strict=True):
        assert_equal({key: restored[key] for key in group}, group)
    assert len({id(other.state[parameter]["shared"]) for parameter in net.parameters()}) == 1


def test_values_that_cannot_be_stored_are_named():
    net: Any = Net()
    optimizer = Odd(net)
    for value in ({1, 2}, torch.ones(2).to_sparse()):
        optimizer.state[net.first.weight] = {"value": {"here": value}}
        with pytest.raises(UserError, match=r"the optimizer 'odd' has .* in its state at 0\.value\.here"):
            stored_state(optimizer, {"name": "odd"}, net)


def test_another_optimizer_is_told_and_is_no_damage(tmp_path):
    net: Any = Net()
    optimizer = Odd(net)
    optimizer.step()
    state = through_a_file(optimizer, net, tmp_path / "file")
    for other, name, reason in (
        (Odd(net), "even", "it is the state of the optimizer 'odd'"),
        (torch.optim.SGD(net.parameters()), "odd", "it has other parameter groups"),
    ):
        with pytest.raises(UserError) as caught:
            state.restore(other, name, net)
        assert not isinstance(caught.value, DamagedFile)
        start = f"{tmp_path / 'file'}: the optimizer '{name}' cannot continue from this state ({reason}). If its plugin"
        assert str(caught.value).startswith(start)
