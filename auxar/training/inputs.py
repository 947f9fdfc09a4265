"""The inputs of a factor in its training."""

from __future__ import annotations

from torch import Tensor

from auxar.data.examples import Examples
from auxar.model import Chain, Factor

Inputs = tuple[Tensor, Tensor | None, Tensor | None]
"""The arguments of `Factor.forward`: images at the factor's depth, their views and their conditions."""


def inputs_of(model: Chain, factor: Factor, batch: Examples, depth: int) -> Inputs:
    """The inputs of a factor of `model` for a batch of images or, with `depth`, of their views at this depth."""
    views = model.views(batch.image, factor.depth + 1, depth=depth)
    return factor.inputs(dict(enumerate(views, depth)), batch.condition)
