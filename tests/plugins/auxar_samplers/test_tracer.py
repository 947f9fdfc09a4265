"""Tests that networks are traced while other threads run or trace networks."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from auxar_samplers.compiler.tracer import Tracer


class Meeting(nn.Module):
    """A network that, while it is traced, waits until another thread has run a function."""

    def __init__(self, other):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.other = other

    def forward(self, x):
        thread = threading.Thread(target=self.other)
        thread.start()
        thread.join(0.5)
        return self.layer(x) @ self.layer.weight


@pytest.mark.parametrize("same", [False, True])
def test_modules_that_other_threads_run_are_no_part_of_the_trace(same):
    found: list[tuple[object, object]] = []

    def run():
        layer = network.layer if same else nn.Linear(2, 2)
        found.append((layer(torch.ones(1, 2)), layer.weight))

    network = Meeting(run)
    graph = Tracer().trace(network)
    assert [node.op for node in graph.nodes] == ["placeholder", "call_module", "get_attr", "call_function", "output"]
    [(value, weight)] = found
    assert isinstance(value, torch.Tensor)
    assert isinstance(weight, nn.Parameter)


def test_networks_are_traced_one_after_another():
    traced = []
    network = Meeting(lambda: traced.append(Tracer().trace(nn.Sequential(nn.Linear(2, 2), nn.Softplus()))))
    Tracer().trace(network)
    assert not traced  # The other thread waits.
    with ThreadPoolExecutor(4) as pool:
        graphs = [*pool.map(lambda _: Tracer().trace(nn.Sequential(nn.Linear(2, 2), nn.Softplus())), range(40))]
    assert all([node.op for node in graph.nodes][1:3] == ["call_module", "call_module"] for graph in graphs)
    assert isinstance(nn.Linear(2, 2)(torch.ones(1, 2)), torch.Tensor)
