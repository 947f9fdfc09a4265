"""Blocks of networks that are computed a second time in the backward pass, so that training needs less memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


class RecomputableBlock(nn.Module):
    """A part of a network, such as a residual block, that supports `training.recompute`.

    PyTorch keeps the values inside of a network for the backward pass. With `training.recompute`, it keeps only the
    inputs of such a block, and computes the block a second time when the backward pass reaches it (gradient
    checkpointing). Derive a block from this class instead of `nn.Module`; nothing else is needed. The names in the
    state dict and the gradients stay the same.

    In a training step, `forward` is then called twice with the same inputs. It must compute the same values both times,
    so it may draw random numbers from torch only, and must change neither its inputs nor the block, such as the
    running averages of `nn.BatchNorm2d`. A block inside of another block is computed together with the outer one.
    """

    recomputed: bool = False
    """Whether the block is recomputed in training. `recomputing` sets it."""

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if self.recomputed and self.training:
            # Without gradients, `checkpoint` only calls the function.
            return checkpoint(super().__call__, *inputs, use_reentrant=False, **named)
        return super().__call__(*inputs, **named)


def recomputable_blocks(module: nn.Module) -> list[RecomputableBlock]:
    """Returns the blocks in a module that can be recomputed, except blocks inside of other blocks."""
    if isinstance(module, RecomputableBlock):
        return [module]
    found: dict[RecomputableBlock, None] = {}
    for child in module.children():
        found |= dict.fromkeys(recomputable_blocks(child))
    return list(found)


@contextlib.contextmanager
def recomputing(module: nn.Module) -> Iterator[None]:
    """A context in which the blocks of a module are recomputed in the backward pass.

    It has an effect on blocks in training mode, while gradients are recorded.
    """
    blocks = recomputable_blocks(module)
    for block in blocks:
        block.recomputed = True
    try:
        yield
    finally:
        for block in blocks:
            block.recomputed = False
