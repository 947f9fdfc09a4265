"""The law `any_size`: a component `at` another size equals one that is built for it, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from torch import Tensor, nn

from auxar.model import ImageSpec
from auxar.testing.laws import accepts, broken, check_equal, runs
from auxar.testing.modules import CLOSE


def other_size(spec: ImageSpec, factor: int = 1) -> ImageSpec:
    """A larger spec. Its height and width grow by different multiples of `factor`."""
    return attrs.evolve(spec, height=spec.height + factor, width=spec.width + 2 * factor)


def check_any_size(
    component: Any, make: Callable[[], Any], resized: Callable[[], Any], values: Callable[[Any], Tensor]
) -> None:
    """Checks the law `any_size` of a component, which has random weights if it has any.

    `make` builds a new component for another size, and `resized` calls `at` with that size. If the component has
    `any_size`, the result of `at` shares all weights, and has the `values` of the new component after it loads them.
    Otherwise, `at` raises `UserError`. A component that cannot be built for the other size passes.
    """
    name = type(component).__name__
    if not accepts(make):
        return
    if not component.any_size:
        if accepts(resized):
            broken("any_size", f"`at` must raise UserError for another size, because `any_size` of {name} is False")
        return
    with runs("at", law="any_size"):
        found, other = resized(), make()
        if isinstance(component, nn.Module):
            other.double().eval().load_state_dict(component.state_dict())
            own = dict(component.named_parameters())
            if any(own[name] is not parameter for name, parameter in found.named_parameters()):
                broken("any_size", "`at` must share the weights, not copy them")
    for spec in ("image", "view"):
        if (got := getattr(found, spec, None)) != (expected := getattr(other, spec, None)):
            broken("any_size", f"the `{spec}` of {name} after `at` must be {expected}, got {got}")
    message = f"results of {name} after `at` must be those of one that is built for the size with the same weights"
    check_equal("any_size", message, values(found), values(other), CLOSE)
