"""Computes the cost of a recipe before training: parameters, multiply-adds and memory of every factor."""

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils.flop_counter import FlopCounterMode

from auxar.errors import UserError, naming
from auxar.model import CONDITION, Factor, ImageSpec, Values, recomputable_blocks, variable_at
from auxar.numerics.changing import changed
from auxar.recipe import Recipe
from auxar.recipe.building import build_model, sizes_in_64_bits
from auxar.recipe.schema import TrainingConfig

Storages = dict[int, UntypedStorage]
"""The memory of tensors by address. It is kept alive, because otherwise its address could be used again."""


@attrs.frozen
class FactorCost:
    """The size of one factor, and the computation and memory of training it in a run with a single process."""

    factor: str
    formula: str
    image: ImageSpec
    view: ImageSpec | None
    parameters: int
    multiply_adds: int
    """Multiply-adds of one forward pass over one image."""
    recompute: bool
    """Whether the blocks of the factor are recomputed in training."""
    memory: int
    """Training memory in bytes, in the recipe's precision.

    It includes the weights, gradients, two moments of each weight, as Adam needs them (Muon needs less), the weight
    average (if `ema` > 0), all in float32, and the tensors kept for the backward pass of one accumulated part of a
    batch. With `recompute`, the latter are the tensors that are kept outside of blocks, the inputs of blocks, and the
    inner tensors of the block that keeps most.
    """
    steps: int | None = None
    """Number of training steps; None if the time of steps was not measured."""
    minutes: float | None = None
    """Minutes that these steps take on this machine, without compiling; None if they were not measured."""


@attrs.frozen
class RecipeCheck:
    """The result of `auxar.check`: the cost of a valid recipe."""

    recipe: str
    """The recipe as it was given: a path, or the name of a recipe that comes with auxar."""
    precision: str
    """The precision of training."""
    factors: list[FactorCost]
    """The cost of each factor, from the image down."""
    mistake: UserError | None
    """A mistake that depends on this machine, such as missing images; None if there is none."""


def factor_costs(recipe: Recipe) -> list[FactorCost]:
    """Computes the parameters, multiply-adds and memory of each factor of a recipe, from the image down.

    The networks run on tensors that have shapes but no values. Raises `UserError` if components do not fit each other,
    or if a tensor would have 2^63 bytes or more.

    Examples:
        >>> import auxar
        >>> for cost in auxar.factor_costs(auxar.load_recipe("quickstart")):
        ...     print(cost.factor, cost.formula, cost.parameters)
        stage0 p(32×32×3 | 16×16×3) 118781
        stage1 p(16×16×3 | 8×8×3) 151229
        prior p(8×8×3) 184740
    """
    precision = recipe.training.precision
    costs = []
    with without_values(precision) as device:
        model = build_model(recipe, on=device)
        for number, factor in enumerate(model.all_factors):
            config = recipe.training_of(factor.name)
            trained = factor if config.crop is None else model.at(*config.crop).all_factors[number]
            with naming(factor.name), sizes_in_64_bits():
                costs.append(_cost(factor, trained, config, precision))
    return costs


def _cost(factor: Factor, trained: Factor, config: TrainingConfig, precision: str) -> FactorCost:
    """The cost of a factor, which is `trained` at the size of its crops."""
    part = math.ceil(config.batch_size / config.accumulate)
    parameters = sum(parameter.numel() for parameter in factor.parameters())
    kept = kept_bytes(trained.train(), [_values(trained, part)], precision=precision, recompute=config.recompute)
    return FactorCost(
        factor.name,
        str(factor),
        factor.image,
        factor.view_spec,
        parameters,
        multiply_adds(factor),
        config.recompute,
        parameters * 4 * (5 if config.ema else 4) + kept,
    )


def _values(factor: Factor, batch: int) -> Values:
    """Values of a factor's variables without content, for a batch."""
    device = next(factor.parameters(), torch.empty(0)).device
    specs: dict[str, ImageSpec] = {}
    if factor.condition is not None:
        specs[CONDITION] = factor.condition.spec
    if factor.view_spec is not None:
        specs[variable_at(factor.depth + 1)] = factor.view_spec
    specs[factor.variable] = factor.image
    shapes = {name: (batch, *spec.shape) for name, spec in specs.items()}
    return Values({name: torch.zeros(shape, dtype=torch.uint8, device=device) for name, shape in shapes.items()})


def multiply_adds(factor: Factor) -> int:
    """The multiply-adds of a forward pass of a factor over one image. The factor is in evaluation mode afterwards."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        conditional = factor.eval().given(values := _values(factor, 1))
        conditional.log_prob(values[factor.variable])
    return int(counter.get_total_flops()) // 2


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
    with FakeTensorMode(allow_non_fake_inputs=True), changed([logger], disabled=True):
        yield "cpu"


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
