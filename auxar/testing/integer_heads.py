"""Checks of the integer form of a head."""

import functools

import torch
from torch import Tensor

from auxar.model import PARAMETER_BITS, REFERENCES, Head, ImageSpec, IntegerHead, Interval, RestrictableHead
from auxar.model.rule import EXACT
from auxar.numerics.range_coder import TOTAL
from auxar.testing.head_draws import ADJUSTMENTS
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, calling, check_count, check_equal, check_tensor
from auxar.testing.likelihoods import MOST_VALUES
from auxar.testing.pixels import normal_noise, random_intervals, ways_to_draw

POINTS = 40
"""The number of values of an interval at which cumulative frequencies are computed."""
NEAR = 0.01
"""The largest sum, over all values, of the differences between probabilities in integers and in floating point."""

SIZES = torch.tensor([1.0, 0.1, 5.0, 30.0]).repeat(4)[:, None]
"""Standard deviations of the random parameters of pixels."""


def check_integer_head(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the law `integers` of the integer form of `head`, if there is one."""
    with calling("integer_head"):
        own = head.integer_head()
    if own is None:
        return
    if not isinstance(own, IntegerHead):
        broken("integers", f"integer_head must return None or an auxar.IntegerHead, got {own!r}")
    expected = head.parameter_count, spec.channels, spec.levels
    if (found := (own.parameter_count, own.channels, own.levels)) != expected:
        broken("integers", f"`parameter_count`, `channels`, `levels` of integer_head must be {expected}, got {found}")
    for name in ("uniform_count", "restricted_uniform_count"):
        check_count(own, name, spec.channels)
    rows = (normal_noise((len(SIZES), head.parameter_count), seed) * SIZES * 2**PARAMETER_BITS).round()
    _check_sums(own, rows, seed)
    for drawing in ways_to_draw(own, spec, len(rows), seed):
        drawing.random(rows, seed)
    if isinstance(head, RestrictableHead) and spec.levels <= MOST_VALUES:
        for channel in range(spec.channels):
            _check_near(head, own, rows[:1], channel, seed)


def _check_sums(own: IntegerHead, rows: Tensor, seed: int) -> None:
    """Checks cumulative frequencies in random intervals for parameters (n, parameter_count), with each adjustment."""
    interval = random_intervals((len(rows), own.channels), own.levels, seed)
    low, high = interval.low[..., None], interval.high[..., None]
    value = low + (torch.linspace(0, 1, POINTS) * (high - low + 1)).round().long()

    def compute(rows: Tensor, value: Tensor, low: Tensor, high: Tensor) -> Results:
        frequencies, found = own.frequencies(rows, adjustments), []
        for channel in range(own.channels):
            place = value[:, channel], low[:, channel], high[:, channel]
            found.append(frequencies.below(*place))
            check_tensor("Frequencies.below", found[-1], place[0].shape, torch.int64, law="integers")
            frequencies.take(place[0][:, POINTS // 2].minimum(place[2]))
        return {"below": torch.stack(found, 1)}

    function = Function("the integer head", compute)
    for adjustments in ADJUSTMENTS:
        check = functools.partial(check_invariances, function) if adjustments == EXACT else function
        below = check(rows, value, interval.low, interval.high)["below"]
        ends = torch.tensor([0, TOTAL]).expand(*value.shape[:2], 2)
        message = f"Frequencies.below must be 0 for `low`, and TOTAL = {TOTAL} for `high` + 1"
        check_equal("integers", message, below[..., [0, -1]], ends, adjustments=adjustments)
        if (below.diff() < (value.diff() if adjustments == EXACT else 0)).any():
            least = "positive for every value in the interval" if adjustments == EXACT else "at least 0"
            broken("integers", f"the frequencies of an integer head must be {least}", adjustments=adjustments)


def _check_near(head: RestrictableHead, own: IntegerHead, row: Tensor, channel: int, seed: int) -> None:
    """Checks the probabilities of all values of a channel, for integer parameters (1, parameter_count)."""
    noise, shape = torch.Generator().manual_seed(seed), (1, own.channels, 1, own.levels)
    image = torch.randint(own.levels, (*shape[:3], 1), generator=noise).repeat(1, 1, 1, own.levels)
    image[:, channel] = torch.arange(own.levels)
    grid = row[..., None, None].expand(-1, -1, 1, own.levels)
    floats = grid / 2**PARAMETER_BITS
    if head.centered:
        count = own.channels * (REFERENCES if head.neighbors else 1)
        centers = torch.randint(-(2**20), 2**20, (1, count, 1, 1), generator=noise).expand(-1, -1, 1, own.levels)
        grid, floats = own.around(grid, centers), head.around(floats, centers)
    ends = random_intervals((1, 1, 1, 1), own.levels, seed)
    whole = Interval(torch.zeros_like(image), torch.full_like(image, own.levels - 1))
    for interval in (whole, Interval(ends.low.expand(shape), ends.high.expand(shape))):
        frequencies = IntegerHead.coding_ranges(own, grid, image, interval)[1]
        message = "coding_ranges of the head must give the frequencies of `frequencies`"
        check_equal("integers", message, own.coding_ranges(grid, image, interval)[1], frequencies)
        found = frequencies[:, channel] / TOTAL
        expected = head.restricted_log_prob(floats, image, interval)[:, channel].exp()
        # The precision in an interval counts as often as values lie in it.
        mass = head.channel_log_mass(floats, image, interval)[:, channel].exp()
        if not (difference := float((mass * (found - expected)).abs().sum())) <= NEAR + 4 * own.levels / TOTAL:
            message = f"differ by {difference:.3g} from those of the head, over all values of channel {channel}"
            broken("integers", f"the probabilities of integer_head {message}")
