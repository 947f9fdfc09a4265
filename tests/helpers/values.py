"""Values of the variables of one factor, from single tensors."""

from __future__ import annotations

from torch import Tensor

from auxar.model import CONDITION, Factor, Values, variable_at


def values_of(
    factor: Factor, image: Tensor | None, view: Tensor | None = None, condition: Tensor | None = None
) -> Values:
    """The values of a factor's variable, `image`, and of the view and the condition that it is given."""
    return Values({CONDITION: condition, variable_at(factor.depth + 1): view, factor.variable: image})


def views_of(chain, image: Tensor) -> list[Tensor]:
    """The images and their views, by depth."""
    return chain.by_depth(chain.values(image))
