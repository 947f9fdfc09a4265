"""The check of blocks that are computed a second time in the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from auxar.model import recomputable_blocks, recomputing
from auxar.testing.laws import broken, runs


def check_recomputation(module: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Checks the law `recompute` of a module in training mode: the same step with and without recomputation.

    `loss` computes the loss of the step. Loss, gradients and the state of the module afterwards must be equal to the
    last bit. Random numbers of torch are drawn from the same seed both times, and their state is restored.
    """
    if not recomputable_blocks(module):
        return
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    kept, kept_state = _step(module, loss, contextlib.nullcontext())
    module.load_state_dict(state)
    with runs("training with recomputed blocks"):
        found, found_state = _step(module, loss, recomputing(module))
    for name, tensor in kept.items():
        if not torch.equal(found[name], tensor):
            broken("recompute", f"{name} differs if auxar.RecomputableBlock is recomputed", kept=tensor)
    for name, tensor in kept_state.items():
        if not torch.equal(found_state[name], tensor):
            broken("recompute", f"`forward` of an auxar.RecomputableBlock must not change its state, here {name}")


def _step(
    module: nn.Module, loss: Callable[[], Tensor], context: contextlib.AbstractContextManager[None]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The loss and the gradients of a step, and the state afterwards."""
    module.zero_grad(set_to_none=True)
    with torch.random.fork_rng(), context:
        torch.manual_seed(0)
        value = loss()
        if value.requires_grad:
            value.backward()
    found = {"the loss": value.detach()}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            found[f"the gradient of {name}"] = parameter.grad
    return found, {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
