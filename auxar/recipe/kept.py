"""Counts the bytes that the forward pass of a module keeps for its backward pass, on tensors without values."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn

from auxar.model import recomputable_blocks

Storages = dict[int, UntypedStorage]
"""The memory of tensors by address. It is kept alive, because otherwise its address could be used again."""


@contextlib.contextmanager
def without_values(precision: str) -> Iterator[str]:
    """A context to build and run a model on tensors without values. Yields the device on which to build the model.

    `precision` is a value of `training.precision`. The device "meta" is fast, but it does not support autocast, which
    bfloat16 needs. There, PyTorch's fake tensors act as tensors of the CPU.
    """
    if precision == "float32":
        yield "meta"
        return
    from torch._subclasses.fake_tensor import FakeTensorMode  # It takes a second to import.

    # PyTorch logs every exception of an operation, such as that of a tensor that is too large, before it raises it.
    logger = logging.getLogger(FakeTensorMode.__module__)
    with FakeTensorMode(allow_non_fake_inputs=True):
        disabled, logger.disabled = logger.disabled, True
        try:
            yield "cpu"
        finally:
            logger.disabled = disabled


def kept_bytes(module: nn.Module, inputs: Sequence[Any], *, precision: str, recompute: bool) -> int:
    """Returns the number of bytes that autograd keeps for the backward pass, without those of the parameters.

    If `recompute`, the bytes of three groups of tensors are counted: tensors that are kept outside of recomputable
    blocks, the inputs of blocks, and the inner tensors of the block that keeps most. One block is recomputed at a time.
    """
    outside: Storages = {}
    blocks: list[Storages] = []
    place = outside

    def keep(tensor: Tensor) -> None:
        # The hook returns None: no backward pass follows, and returning the tensor would create a reference cycle.
        storage = tensor.untyped_storage()
        place[storage._cdata] = storage

    def before(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal place
        for value in (*given, *named.values()) if recompute else ():
            if isinstance(value, Tensor):
                keep(value)
        place = {} if recompute else outside
        blocks.append(place)

    def after(block: nn.Module, given: object, output: object) -> None:
        nonlocal place
        place = outside

    low = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda nothing: nothing)
    with contextlib.ExitStack() as hooked, low, hooks:
        for block in recomputable_blocks(module):
            hooked.enter_context(block.register_forward_pre_hook(before, with_kwargs=True))
            hooked.enter_context(block.register_forward_hook(after))
        module(*inputs)
    own = {parameter.untyped_storage()._cdata for parameter in module.parameters()}
    others = (_bytes(block, own | outside.keys()) for block in blocks)
    return _bytes(outside, own) + max(others, default=0)


def _bytes(storages: Storages, without: set[int]) -> int:
    return sum(storage.nbytes() for address, storage in storages.items() if address not in without)
