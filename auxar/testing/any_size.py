"""The law `any_size`: a component `at` another size equals one that is built for it, with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from torch import nn

from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.testing.laws import broken, check_equal, runs
from auxar.testing.modules import CLOSE, Trained


def other_size(spec: ImageSpec, factor: int = 1) -> ImageSpec:
    """A larger spec. Its height and width grow by different multiples of `factor`."""
    return attrs.evolve(spec, height=spec.height + factor, width=spec.width + 2 * factor)


def check_any_size(model: Trained, make: Callable[[], Trained], resized: Callable[[], Trained], seed: int = 0) -> None:
    """Checks the law `any_size` of a component with random weights.

    `make` builds a new component for another size, and `resized` calls `at` with that size. If the component has
    `any_size`, the result of `at` shares all weights, and computes what the new component computes after it loads them.
    Otherwise, `at` raises `UserError`.
    """
    name = type(model.module).__name__
    if not model.module.any_size:
        try:
            resized()
        except UserError:
            return
        broken("any_size", f"`at` must raise UserError for another size, because `any_size` of {name} is False")
    with runs("at", law="any_size"):
        found = resized()
        other = make()
        other.module.double().eval().load_state_dict(model.module.state_dict())
    for spec in ("image", "view"):
        if (got := getattr(found.module, spec, None)) != (expected := getattr(other.module, spec, None)):
            broken("any_size", f"the `{spec}` of {name} after `at` must be {expected}, got {got}")
    own = dict(model.module.named_parameters())
    if any(own[name] is not parameter for name, parameter in found.module.named_parameters()):
        broken("any_size", "`at` must share the weights, not copy them")
    inputs = other.inputs(3, seed)
    message = f"{model.what} after `at` must be that of {name} built at the other size with the same weights"
    check_equal("any_size", message, found.values(*inputs), other.values(*inputs), CLOSE)


def is_accepted(build: Callable[[], nn.Module | object]) -> bool:
    """Whether a function that builds a component accepts its size."""
    try:
        build()
    except UserError:
        return False
    return True
