"""The contract of optimizers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from auxar.recipe.component_choice import takes_steps
from auxar.runs.optimizer_state import read_state, stored_state
from auxar.testing.laws import broken, check_equal, check_options, refusals, runs

STEPS = 40
"""Number of training steps."""


def check_optimizer(build: Callable[..., Any], config: Any) -> None:
    """Checks an optimizer by training a small network.

    `build(config, factor)` or `build(config, factor, steps)` is the function of the optimizer's `Component`, and
    `config` has its options. Raises `ContractError` if a law is broken:

    - `options`: no option is a path of a file, because runs do not keep files
    - `weights`: the optimizer has all trainable weights of the network and no others, and does not change a weight
      without a gradient
    - `training`: steps with the learning rate of `config` reduce the loss
    - `rates`: a step with the learning rate 0 in each parameter group (`lr`) does not change the weights
    - `resume`: the state can be stored without pickle, and a new optimizer that loads it continues training with the
      same bits
    - `runs`: nothing else fails
    """
    check_options(config)
    network = _Network()
    optimizer = _built(build, config, network)
    losses = [_step(network, optimizer, number) for number in range(STEPS // 2)]
    continued = _Network()
    continued.load_state_dict(network.state_dict())
    other = _built(build, config, continued)
    _restore(optimizer, network, other, continued)
    losses += [_step(network, optimizer, number) for number in range(STEPS // 2, STEPS)]
    first, last = (sum(part) / len(part) for part in (losses[:5], losses[-5:]))
    if not last < first:
        broken("training", f"the loss does not fall in {STEPS} steps", first=first, last=last)
    for number in range(STEPS // 2, STEPS):
        _step(continued, other, number)
    for name, value in continued.state_dict().items():
        message = "training that continues from the stored state gives other weights"
        check_equal("resume", message, value, network.state_dict()[name], name=name)
    if network.unused.item() != 1:
        broken("weights", "a weight without a gradient changes", found=network.unused)
    before = [weight.detach().clone() for weight in network.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    _step(network, optimizer, STEPS)
    for found, expected in zip(network.parameters(), before, strict=True):
        check_equal("rates", "a step with lr = 0 in every parameter group changes weights", found, expected)


class _Network(nn.Module):
    """A network with weights of 0 to 4 dimensions, and a weight without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ELU(), nn.Flatten(), nn.Linear(64, 16), nn.ELU())
            self.head = nn.Linear(16, 1)
        self.gain = nn.Parameter(torch.ones(()))
        self.unused = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(image)) * self.gain
        return found


def _built(build: Callable[..., Any], config: Any, network: nn.Module) -> Optimizer:
    with runs("build"):
        found = build(config, network, **({"steps": STEPS} if takes_steps(build) else {}))
    if not isinstance(found, Optimizer):
        broken("runs", f"build must return a torch.optim.Optimizer, got {type(found).__name__}")
    given = {id(weight) for group in found.param_groups for weight in group["params"]}
    for name, weight in network.named_parameters():
        if id(weight) not in given:
            broken("weights", f"the optimizer does not have the weight {name}")
    if len(given) > len(list(network.parameters())):
        broken("weights", "the optimizer has weights that are not of the network")
    return found


def _step(network: nn.Module, optimizer: Optimizer, number: int) -> float:
    """Makes a step on random images, and returns the loss."""
    with torch.random.fork_rng(), runs("a step"):
        torch.manual_seed(number)
        image = torch.rand(16, 3, 4, 4)
        loss = (network(image) - image.mean((1, 2, 3))[:, None]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def _restore(optimizer: Optimizer, network: Any, other: Optimizer, continued: Any) -> None:
    """Stores the state of an optimizer, and loads it into another one."""
    with refusals("resume"):
        tensors, document = stored_state(optimizer, {"name": "it"}, network)
        copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        read_state(Path("checkpoint"), document, copies).restore(other, "it", continued)
