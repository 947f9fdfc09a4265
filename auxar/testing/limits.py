"""The laws of heads with limits (`Head.limitable`)."""

from __future__ import annotations

import math

import torch

from auxar.model import Head, ImageSpec
from auxar.testing.laws import broken, calling, check_equal
from auxar.testing.likelihoods import Likelihoods

WIDE = 30.0
"""Standard deviation of random parameters, many of which exceed each limit."""


def limited(head: Head, seed: int) -> Head:
    """The head with limits that the seed chooses. Every other seed gives a head without limits."""
    if seed % 2 == 0:
        return head
    return head.bounded({name: values[seed // 2 % len(values)] for name, values in head.limitable.items()})


def check_limits(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the law `limits` for a head without limits."""
    likelihoods = Likelihoods.random(head, spec, seed, WIDE)
    parameters, image = likelihoods.parameters, likelihoods.image

    def nats(of: Head) -> torch.Tensor:
        with calling("bounded", parameters, image):
            return of.log_prob(parameters, image)

    free = nats(head)
    for name, values in head.limitable.items():
        if len(values) < 2 or not all(map(math.isfinite, values)) or [*values] != sorted(set(values), reverse=True):
            broken("limits", f"the limits of {name} must be two or more finite numbers that fall", found=list(values))
        tight = head.bounded({name: values[-1]})
        if dict(tight.limits) != {name: values[-1]}:
            broken("limits", "`bounded` must return a head with the given limits", found=dict(tight.limits))
        if torch.equal(nats(tight), free):
            broken("limits", f"the lowest limit of {name} must change likelihoods", found=free)
        check_equal("limits", "`bounded` must not change the head", nats(head), free)
        check_equal("limits", "likelihoods without limits must be those of the head", nats(tight.bounded({})), free)
