"""The values that a factor gets in its training."""

from __future__ import annotations

from auxar.model import IMAGE, Chain, Factor, Values, variable_at


def inputs_of(model: Chain, factor: Factor, batch: Values, depth: int) -> Values:
    """The values of a factor's variables for a batch, whose images are those at a depth of `model`."""
    if depth:
        batch = batch.without(IMAGE) | {variable_at(depth): batch[IMAGE]}
    return model.with_views(batch, factor.depth + 1)
