"""Chooses the upper limits of the parameters that a trained factor predicts.

A network extrapolates where drawn pixels are unlike all training images: the more its context deviates from them, the
larger are the scales that it predicts, so noise spreads over the rest of the image. Upper limits (see `Head.limitable`)
prevent this. Real images hardly need larger parameters, so they cost nearly the same bits.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence

import attrs
import torch

from auxar.data.sets import ImageSet
from auxar.errors import logger
from auxar.model import Chain, Factor, Values, evaluating
from auxar.numerics.threads import ThreadChoice
from auxar.recipe import TrainingConfig
from auxar.training.inputs import inputs_of

MOST_IMAGES, LEAST_IMAGES, MOST_DIMS = 256, 16, 2**22
"""Maximum and minimum numbers of training images for the choice of limits, and the maximum number of their sub-pixels
if they are more than the minimum."""


def limit_factor(
    model: Chain, factor: Factor, images: ImageSet, config: TrainingConfig, size: int, device: torch.device
) -> None:
    """Gives a trained factor of `model` the limits of its parameters in place of its present ones.

    They are chosen from the images of its training, which has the keys `config`, in batches of `size` images, and cost
    at most `config.limits_cost`. Messages name the limits and their cost.
    """
    if factor.network is None or not factor.network.head.limitable:
        return
    count = max(LEAST_IMAGES, min(MOST_IMAGES, MOST_DIMS // factor.image.dims))
    batches = images.spaced_examples(count).to(device).split(size)
    inputs = [inputs_of(model, factor, batch, config.depth) for batch in batches]
    for name, cost in LimitChoice(factor, inputs, ThreadChoice(device), config.limits_cost).choose().items():
        message = "factor %s: %s are at most %g, which costs %.4f bits/dim on training images"
        logger.info(message, factor.name, name, factor.limits[name], cost)


@attrs.frozen(eq=False)
class LimitChoice:
    """The choice of the upper limits of a factor's parameters from training images."""

    factor: Factor
    batches: Sequence[Values]
    """The values of the factor's variables for training images, in batches."""
    threads: ThreadChoice
    most: float
    """Maximum number of bits/dim that the limit of one kind of parameters may cost."""

    def choose(self) -> dict[str, float]:
        """Gives the factor the lowest limits that cost at most `most`, and returns the cost of each in bits/dim.

        They replace its present limits. Kinds of parameters get their limits one after another. A kind of which each
        limit costs more gets none. Lower limits are expected to cost at least as much as higher ones.
        """
        network = self.factor.network
        assert network is not None
        self.factor.limit({})
        with evaluating(self.factor):
            costs = {name: self._limit(name, values) for name, values in network.head.limitable.items()}
        return {name: cost for name, cost in costs.items() if cost is not None}

    def _limit(self, name: str, values: Sequence[float]) -> float | None:
        """Limits one kind of parameters, and returns the cost of its limit in bits/dim; None if it gets no limit."""
        limits, bits = self.factor.limits, self._bits_per_dim()
        costs: dict[float, float] = {}

        def is_costly(value: float) -> bool:
            self.factor.limit({**limits, name: value})
            costs[value] = self._bits_per_dim() - bits
            return not costs[value] <= self.most

        count = bisect.bisect_left(values, True, key=is_costly)
        if count == 0:
            self.factor.limit(limits)
            return None
        self.factor.limit({**limits, name: values[count - 1]})
        return costs[values[count - 1]]

    def _bits_per_dim(self) -> float:
        sizes = [batch[self.factor.variable].numel() for batch in self.batches]
        work = zip(self.batches, sizes, strict=True)
        nats = [self.threads.result(functools.partial(self.factor, batch), size) for batch, size in work]
        return -torch.cat(nats).double().sum().item() / (math.log(2) * sum(sizes))
