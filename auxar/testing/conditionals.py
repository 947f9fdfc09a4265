"""The check of a head's draws for any number of levels, by the distribution functions of its channels."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from auxar.model import Adjustments, Head, ImageSpec, Interval, RestrictableHead
from auxar.testing.frequencies import check_uniform
from auxar.testing.laws import runs
from auxar.testing.pixels import Possible, drawn_pixels, normal_noise, random_uniforms

DRAWN = 4000
"""The number of pixels that are drawn, each with its own parameters."""
SIZE = 3.0
"""Standard deviation of the random parameters. With a larger one, most values are certain."""
RULE = Adjustments()
"""The rule under which pixels have the probabilities that the head gives them."""
MOST_EVALUATED = 10_000_000
"""The largest number of predicted values at once, for heads that cannot compute the probability of an interval."""


def check_conditionals(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the law `draws` for a spec whose pixels may be too many to be enumerated.

    If a channel's value x has the distribution that the head gives it after the earlier channels, then a number drawn
    uniformly between the probabilities of the values below x and of the values up to x is uniform in (0, 1). The
    numbers of different channels are independent.
    """
    parameters = normal_noise((DRAWN, head.parameter_count), seed) * SIZE
    if not isinstance(head, RestrictableHead):
        _check_few(head, spec, parameters, seed)
        return
    everything = Possible.everything(spec)
    uniforms = random_uniforms((DRAWN, head.uniform_count), seed)
    drawn = drawn_pixels(head, spec, parameters, uniforms, RULE)
    _check("draw", spec, *_masses(head, spec, parameters, drawn, everything), seed)
    uniforms = random_uniforms((DRAWN, head.restricted_uniform_count), seed)
    possible = Possible.random(DRAWN, spec, seed)
    drawn = drawn_pixels(head, spec, parameters, uniforms, RULE, possible)
    _check("draw_restricted", spec, *_masses(head, spec, parameters, drawn, possible), seed)


def _check_few(head: Head, spec: ImageSpec, parameters: Tensor, seed: int) -> None:
    """Checks few pixels of a head that has likelihoods of channels, but not the probabilities of intervals.

    All values of each channel are evaluated, which takes long for many levels.
    """
    count = max(2, MOST_EVALUATED // (spec.levels * head.parameter_count))
    parameters = parameters[:: -(-DRAWN // count)]
    drawn = drawn_pixels(head, spec, parameters, random_uniforms((len(parameters), head.uniform_count), seed), RULE)
    values = torch.arange(spec.levels)
    below, own = [], []
    for channel in range(spec.channels):
        image = drawn[:, :, None, None].repeat(1, 1, 1, spec.levels)
        image[:, channel] = values
        with runs("channel_log_prob", image=spec), torch.no_grad():
            nats = head.channel_log_prob(parameters[:, :, None, None].expand(-1, -1, 1, spec.levels), image)
        if nats is None:
            return
        likely = nats[:, channel, 0].exp()
        value = drawn[:, channel, None]
        below.append(likely.masked_fill(values >= value, 0).sum(1))
        own.append(likely.gather(1, value)[:, 0])
    # The channels are tested together, because there are so few pixels.
    _check("draw", spec, torch.cat(below)[:, None], torch.cat(own)[:, None], seed)


def _masses(
    head: RestrictableHead, spec: ImageSpec, parameters: Tensor, drawn: Tensor, possible: Possible
) -> tuple[Tensor, Tensor]:
    """The probabilities of the possible values below each drawn one, and of the drawn one itself: (n, c) each."""
    bounds = possible.of(drawn)
    low, high = (values.expand_as(drawn) for values in (bounds.low, bounds.high))

    def nats(low: Tensor, high: Tensor) -> Tensor:
        image, *ends = (values.T[None, :, None, :] for values in (drawn, low, high))
        with runs("channel_log_mass", image=spec), torch.no_grad():
            return head.channel_log_mass(parameters.T[None, :, None, :], image, Interval(*ends))[0, :, 0].T

    whole = nats(low, high)
    below = (nats(low, (drawn - 1).maximum(low)) - whole).exp()
    return torch.where(drawn > low, below, 0), (nats(drawn, drawn) - whole).exp()


def _check(name: str, spec: ImageSpec, below: Tensor, own: Tensor, seed: int) -> None:
    """Checks the numbers between `below` and `below + own`, (n, c), of each channel and of each pair of channels."""
    share = torch.rand(below.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    numbers = (below + share * own).unbind(1)
    for channel, values in enumerate(numbers):
        message = f"{name} draws values of channels that do not have the probabilities of channel_log_prob"
        check_uniform(values, f"{message}, given the earlier channels", image=spec, channel=channel)
    for first, second in itertools.combinations(range(len(numbers)), 2):
        for values in (numbers[first] + numbers[second], numbers[first] - numbers[second]):
            message = f"{name} draws the channels {first} and {second} of a pixel with dependent noise"
            check_uniform(values % 1, message, image=spec)
