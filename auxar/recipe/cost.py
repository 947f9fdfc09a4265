"""Computes the cost of a recipe before training: parameters, multiply-adds and memory of every factor."""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from auxar.errors import UserError
from auxar.interfaces import Factor, ImageSpec
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.building import build_model, sizes_in_64_bits


@attrs.frozen
class FactorCost:
    """The size of one factor, and the computation and memory of training it in a run with a single process."""

    factor: str
    formula: str
    image: ImageSpec
    view: ImageSpec | None
    parameters: int
    multiply_adds: int
    """Multiply-adds of one forward pass over one image. A training step takes about three times as many per image."""
    memory: int
    """Training memory in bytes, in float32.

    It includes the weights, gradients, the optimizer's two moments, the weight average (if `ema` > 0), and the tensors
    kept for the backward pass of one accumulated part of a batch.
    """


def factor_costs(recipe: Recipe, registry: Registry) -> list[FactorCost]:
    """Returns the cost of each factor, from the image down.

    The networks run on the device "meta", which tracks shapes and computes no values. Raises `UserError` if components
    do not fit each other, or if a tensor would have 2^63 bytes or more.
    """
    model = build_model(recipe, registry, on="meta")
    costs = []
    for factor in model.factors:
        config = recipe.training_of(factor.name)
        part = math.ceil(config.batch_size / config.accumulate)
        parameters = sum(parameter.numel() for parameter in factor.parameters())
        weights = parameters * 4 * (5 if config.ema else 4)
        try:
            with sizes_in_64_bits():
                multiply_adds, kept_bytes = _multiply_adds(factor), _kept_bytes(factor, part)
        except UserError as error:
            raise UserError(f"{factor.name}: {error}") from None
        costs.append(
            FactorCost(
                factor.name,
                str(factor),
                factor.image,
                factor.view_spec,
                parameters,
                multiply_adds,
                weights + kept_bytes,
            )
        )
    return costs


def _inputs(factor: Factor, batch: int) -> tuple[Tensor, Tensor | None]:
    def blank(spec: ImageSpec) -> Tensor:
        return torch.zeros((batch, *spec.shape), dtype=torch.uint8, device="meta")

    return blank(factor.image), None if factor.view_spec is None else blank(factor.view_spec)


def _multiply_adds(factor: Factor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        factor.eval()(*_inputs(factor, 1))
    found: int = counter.get_total_flops() // 2
    return found


def _kept_bytes(factor: Factor, batch: int) -> int:
    """Returns the number of bytes that autograd keeps for the backward pass, without those of the parameters."""
    kept: dict[int, Any] = {}

    def keep(tensor: Tensor) -> None:
        # The hook returns None: no backward pass follows, and returning the tensor would create a reference cycle.
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage

    own = {parameter.untyped_storage()._cdata for parameter in factor.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda nothing: nothing):
        factor.train()(*_inputs(factor, batch))
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)
