"""Checks of the log-likelihoods that a head computes for random parameters, pixels and intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.model import Head, ImageSpec, Interval, RestrictableHead
from auxar.testing.examples import all_images, random_images
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, calling, check_equal, check_tensor
from auxar.testing.networks import check_total
from auxar.testing.pixels import normal_noise, random_intervals

MODERATE = 1.0
"""The largest standard deviation of parameters for which float32 results must agree with float64 results."""
CLOSE = 1e-8
"""The relative and absolute tolerance of float64 log-likelihoods that are computed in two ways."""
NARROW = 1e-3
"""The relative and absolute tolerance of float32 log-likelihoods."""
IMAGES, ROWS, COLUMNS = 3, 2, 3
"""The number and the size of the images in the checks."""


@attrs.frozen(eq=False)
class Likelihoods:
    """The methods of a head that compute log-likelihoods, with arguments for them."""

    head: Head
    spec: ImageSpec
    image: Tensor
    """Integers, (b, c, h, w)."""
    parameters: Tensor
    """Parameters in float64, (b, parameter_count, h, w)."""
    interval: Interval
    """Intervals in [0, levels) that are not empty, (b, c, h, w)."""

    @classmethod
    def random(cls, head: Head, spec: ImageSpec, seed: int, size: float) -> Likelihoods:
        """Arguments for small images, whose parameters have the standard deviation `size`."""
        spec = attrs.evolve(spec, height=ROWS, width=COLUMNS)
        parameters = normal_noise((IMAGES, head.parameter_count, ROWS, COLUMNS), seed) * size
        intervals = random_intervals((IMAGES, *spec.shape), spec.levels, seed)
        return cls(head, spec, random_images(IMAGES, spec, seed), parameters, intervals)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The arguments of `function`."""
        return self.image, self.parameters, self.interval.low, self.interval.high

    @property
    def function(self) -> Function:
        """All log-likelihoods that the head offers, by the name of the method."""
        return Function("the head", self.compute, (self.spec.levels,), error=CLOSE)

    def compute(self, image: Tensor, parameters: Tensor, *ends: Tensor) -> Results:
        """The log-likelihoods for an image, parameters, and the low and high ends of intervals.

        Restricted ones of values outside of their intervals must be -∞, and are replaced by 0.
        """
        found: dict[str, Any] = {"log_prob": self.head.log_prob(parameters, image)}
        if (channels := self.head.channel_log_prob(parameters, image)) is not None:
            found["channel_log_prob"] = channels
        interval = Interval(*ends)
        if isinstance(self.head, RestrictableHead):
            found["channel_log_mass"] = self.head.channel_log_mass(parameters, image, interval)
            found["restricted_log_prob"] = self.head.restricted_log_prob(parameters, image, interval)
        for name, nats in found.items():
            check_tensor(name, nats, [*image.shape[:1], *image.shape[2 if name == "log_prob" else 1 :]])
        if "restricted_log_prob" in found:
            nats, outside = found["restricted_log_prob"], interval.outside(image)
            if (nats[outside] != -torch.inf).any():
                broken("restricted", "restricted_log_prob must be -∞ for values outside of their interval")
            found["restricted_log_prob"] = nats.masked_fill(outside, 0)
        return found

    def of(self, parameters: Tensor) -> Results:
        """The log-likelihoods for other parameters."""
        with calling("the head", self.image, parameters):
            return self.compute(self.image, parameters, self.interval.low, self.interval.high)


def check_laws(likelihoods: Likelihoods, seed: int, size: float) -> None:
    """Checks all laws of log-likelihoods. `size` is the standard deviation of the parameters."""
    head, spec = likelihoods.head, likelihoods.spec
    found = _check_nats(likelihoods, size)
    if spec.levels**spec.channels <= MOST_VALUES:
        _check_pixel_values(likelihoods)
    _check_channels(likelihoods, found)
    if spec.levels <= MOST_VALUES:
        for channel in range(spec.channels):
            _check_channel_values(likelihoods, channel, seed)
    if isinstance(head, RestrictableHead):
        _check_agreement(likelihoods, head, found)
    _check_gradients(likelihoods)


def _check_nats(likelihoods: Likelihoods, size: float) -> Results:
    """Checks all invariances, and the laws `finite`, `range` and `precision`. Returns the log-likelihoods.

    `size` is the standard deviation of the parameters.
    """
    found = check_invariances(likelihoods.function, *likelihoods.inputs)
    for name, nats in found.items():
        if not nats.isfinite().all():
            broken("finite", f"{name} is not finite")
        if (nats > CLOSE).any():
            broken("range", f"{name} gives a probability greater than 1", nats=nats.max())
    _check_pixels(likelihoods, found)
    _check_precision(likelihoods, found, size)
    return found


def _check_pixels(likelihoods: Likelihoods, found: Results) -> None:
    """Checks the law `batch` for pixels: alone, and in more and larger images."""
    count = IMAGES * ROWS * COLUMNS
    for numbers in (torch.tensor([[[count - 2]]]), (torch.arange(11 * 5 * 7) % count).view(11, 5, 7)):
        for name, nats in likelihoods.function(*(_arranged(each, numbers) for each in likelihoods.inputs)).items():
            message = f"{name} of a pixel must not depend on the other pixels or on how many there are"
            check_equal("batch", message, nats, _arranged(found[name], numbers), CLOSE)


def _arranged(values: Tensor, numbers: Tensor) -> Tensor:
    """The pixels with the given numbers, (b, h, w), of a tensor in which pixels have one value or several channels."""
    picked = values.flatten(-2)[numbers // (ROWS * COLUMNS), ..., numbers % (ROWS * COLUMNS)]
    return picked if picked.dim() == 3 else picked.movedim(3, 1).contiguous()


def _check_precision(likelihoods: Likelihoods, found: Results, size: float) -> None:
    rounded = likelihoods.parameters.bfloat16()
    coarse, narrow, exact = (
        likelihoods.of(rounded.to(dtype)) for dtype in (torch.bfloat16, torch.float32, torch.float64)
    )
    for name, nats in found.items():
        for given, result in (("bfloat16", coarse[name]), ("float32", narrow[name])):
            if result.dtype not in (torch.float32, torch.float64):
                message = f"{name} must be float32 or float64, got {result.dtype} for parameters in torch.{given}"
                broken("precision", message)
        check_tensor(f"{name} of parameters in float64", nats, nats.shape, torch.float64, law="precision")
        message = f"{name} of parameters in bfloat16 must be as for the same values in float32"
        check_equal("precision", message, coarse[name].double(), narrow[name].double(), 1e-5)
        if not narrow[name].isfinite().all():
            broken("finite", f"{name} is not finite for parameters in float32")
        if size <= MODERATE:
            message = f"{name} in float32 must be as in float64"
            check_equal("precision", message, narrow[name], exact[name], NARROW)


def _check_channels(likelihoods: Likelihoods, found: Results) -> None:
    """Checks the law `channels`."""
    if "channel_log_prob" in found:
        total = found["channel_log_prob"].sum(1)
        check_equal("channels", "channel_log_prob must add up to log_prob", total, found["log_prob"], CLOSE)
    levels = likelihoods.spec.levels
    # A mass is that of an interval, so it does not depend on the value of its own channel either.
    own = {"channel_log_prob": 1, "channel_log_mass": 0, "restricted_log_prob": 1}
    for first in range(likelihoods.spec.channels):
        image = likelihoods.image.clone()
        image[:, first:] = levels - 1 - image[:, first:]
        again = likelihoods.function(image, *likelihoods.inputs[1:])
        for name in own.keys() & found.keys():
            channels = slice(first + 1 - own[name])
            message = (
                f"{name} of channels before {first + 1 - own[name]} depends on the values of channel {first} and later"
            )
            check_equal("channels", message, again[name][:, channels], found[name][:, channels], CLOSE)


def _check_agreement(likelihoods: Likelihoods, head: RestrictableHead, found: Results) -> None:
    """Checks that the methods of a restrictable head agree, which is possible for any number of levels."""
    image = likelihoods.image
    single = head.channel_log_mass(likelihoods.parameters, image, Interval(image, image))
    message = "channel_log_mass of intervals of a single value must add up to log_prob"
    check_equal("mass", message, single.sum(1), found["log_prob"], CLOSE)
    # The rounding error of a difference grows with the numbers that are subtracted.
    scale = 1 + single.abs()
    message = "restricted_log_prob must be the log-likelihood of the value minus channel_log_mass"
    expected = (single - found["channel_log_mass"]).masked_fill(likelihoods.interval.outside(image), 0) / scale
    check_equal("restricted", message, found["restricted_log_prob"] / scale, expected, CLOSE)


def _check_gradients(likelihoods: Likelihoods) -> None:
    """Checks the law `gradient`. A restricted decoder is trained on images inside of the intervals."""
    for dtype in (torch.float32, torch.float64):
        parameters = likelihoods.parameters.to(dtype).requires_grad_()
        for name, nats in likelihoods.of(parameters).items():
            if not nats.requires_grad:
                broken("gradient", f"{name} does not depend on the parameters, so it has no gradient")
            (gradient,) = torch.autograd.grad(nats.sum(), parameters, retain_graph=True)
            if not gradient.isfinite().all():
                broken("gradient", f"the gradient of {name} is not finite in {dtype}")


MOST_VALUES = 5000
"""The largest number of values of a channel, or of a pixel, over which probabilities are summed."""


def _check_pixel_values(likelihoods: Likelihoods) -> None:
    """Checks that the probabilities of all values of a pixel add up to 1."""
    pixels = all_pixels(likelihoods.spec)
    parameters = likelihoods.parameters[:1, :, :1, :1].expand(-1, -1, 1, len(pixels))
    nats = likelihoods.head.log_prob(parameters, pixels.T[None, :, None, :])
    check_total("normalization", "the probabilities of all values of a pixel", nats[0, 0])


def all_pixels(spec: ImageSpec) -> Tensor:
    """All values of a pixel, int64 (levels ** channels, c)."""
    return all_images(attrs.evolve(spec, height=1, width=1)).flatten(1)


def _check_channel_values(likelihoods: Likelihoods, channel: int, seed: int) -> None:
    """Checks the sums over all values of a channel, given the earlier channels, for the first pixel of each image."""
    head, spec = likelihoods.head, likelihoods.spec
    parameters = likelihoods.parameters[:, :, :1, :1].expand(-1, -1, 1, spec.levels)
    image = likelihoods.image[:, :, :1, :1].repeat(1, 1, 1, spec.levels)
    image[:, channel] = torch.arange(spec.levels)
    found = head.channel_log_prob(parameters, image)
    if found is None and isinstance(head, RestrictableHead):
        found = head.channel_log_mass(parameters, image, Interval(image, image))
    if found is None:
        return
    nats = found[:, channel, 0]
    message = f"the probabilities of all values of channel {channel} must add up to 1, given the earlier channels"
    check_equal("normalization", message, nats.logsumexp(1), torch.zeros(len(nats)).double(), CLOSE)
    for bounds in _written(spec.levels, len(image), seed) if isinstance(head, RestrictableHead) else ():
        _check_mass(attrs.evolve(likelihoods, image=image, parameters=parameters), channel, bounds, nats)


def _check_mass(likelihoods: Likelihoods, channel: int, bounds: Interval, nats: Tensor) -> None:
    """Checks the law `mass` of a channel, whose values have the log-likelihoods `nats`, (b, levels).

    `bounds` has an interval for each image, (b,). The images of `likelihoods` have one value of the channel a column.
    """
    head, spec = likelihoods.head, likelihoods.spec
    assert isinstance(head, RestrictableHead)
    example: dict[str, Any] = {"image": spec, "low": bounds.low, "high": bounds.high}
    # Intervals are clipped to [0, levels), and an empty interval stands for its lower end.
    low = bounds.low.clamp(0, spec.levels - 1)
    clipped = Interval(low[:, None], bounds.high.clamp(max=spec.levels - 1).maximum(low)[:, None])
    expected = nats.masked_fill(clipped.outside(torch.arange(spec.levels)), -torch.inf).logsumexp(1)
    # One value is enough, because the law `channels` says that the mass of a channel does not depend on its value.
    image, parameters = likelihoods.image[..., :1], likelihoods.parameters[..., :1]
    first = Interval(*(end[:, None, None, None].expand(image.shape) for end in (bounds.low, bounds.high)))
    mass = head.channel_log_mass(parameters, image, first)[:, channel].flatten()
    message = f"channel_log_mass of channel {channel} must be the log-probability of the values in the interval"
    check_equal("mass", message, mass, expected, CLOSE, **example)


def _written(levels: int, count: int, seed: int) -> Iterator[Interval]:
    """Intervals (count,) as supports may give them: random ones, and ones that are empty or extend beyond the range."""
    yield random_intervals((count,), levels, seed)
    found = random_intervals((count,), levels, seed + 1)
    yield Interval(found.low - levels * (found.low == 0), found.high + 7 * (found.high == levels - 1))
    yield Interval(found.low, found.low - 1 - seed % 3)
    yield Interval(torch.full((count,), levels + seed % 3), torch.full((count,), levels + 4))
    yield Interval(torch.full((count,), -5), torch.full((count,), -1 - seed % 3))
