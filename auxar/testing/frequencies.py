"""A test of whether drawn values have the probabilities that a model gives them."""

import torch
from torch import Tensor

from auxar.testing.laws import broken

CAREFUL = 7.0
"""The number c in the limit f + c · √(2f) + c² of the χ² test with f bins. A correct model exceeds the limit less than
once in 10¹⁰ tests."""
BINS = 16
"""The number of equal parts of (0, 1) in which uniform numbers are counted."""


def check_frequencies(drawn: Tensor, everything: Tensor, nats: Tensor, levels: int, what: str) -> None:
    """Checks the law `draws`: the frequencies of drawn values match their probabilities.

    `drawn` has the drawn values, int64 (n, …), and `everything` all values in the order in which their sub-pixels count
    as digits of a number with base `levels`, (N, …). `nats` has their log-likelihoods, (N,). `what` names the values in
    messages.
    """
    dims = everything[0].numel()
    digits = torch.tensor([levels**k for k in range(dims - 1, -1, -1)])
    counts = torch.bincount((drawn.cpu().flatten(1) * digits).sum(1), minlength=len(everything)).double()
    expected = nats.double().exp().cpu() * len(drawn)
    # Values with an expected count below 5 share one bin, so that the statistic nearly follows a χ² distribution.
    common = expected >= 5
    pairs = [(counts[common], expected[common]), (counts[~common].sum()[None], expected[~common].sum()[None])]
    found, likely = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    if _deviates((found - likely).square() / likely.clamp(min=1.0)):
        worst = int(((counts - expected).abs() / expected.clamp(min=1.0).sqrt()).argmax())
        broken(
            "draws",
            f"this {what} was drawn {int(counts[worst])} times in {len(drawn):,} draws; from its probability, "
            f"{expected[worst]:.1f} times are expected",
            **{what: everything[worst]},
        )


def _deviates(terms: Tensor) -> bool:
    """Whether the sum of the terms of a χ² statistic, one for each bin, exceeds the limit."""
    freedom = len(terms)
    return bool(terms.sum() > freedom + CAREFUL * (2 * freedom) ** 0.5 + CAREFUL**2)


def check_uniform(numbers: Tensor, message: str, **example: object) -> None:
    """Checks the law `draws`: numbers, (n,), may have been drawn uniformly from (0, 1). `message` says what they mean.

    They would be uniform if values were drawn with their probabilities, so the number of a value is where its
    probability lies among those of all values in their order.
    """
    counts = torch.histc(numbers.cpu(), BINS, 0, 1)
    expected = len(numbers) / BINS
    if _deviates((counts - expected).square() / expected):
        worst = int((counts - expected).abs().argmax())
        share = f"{worst / BINS:.3g} … {(worst + 1) / BINS:.3g}"
        found = f"of {len(numbers):,} draws, {int(counts[worst])} have a cumulative probability of {share}"
        broken("draws", f"{message}: {found}, where {expected:.0f} are expected", **example)


def check_alike(first: Tensor, second: Tensor, law: str, message: str, **example: object) -> None:
    """Checks that two samples of integers, (n,) each, may have the same distribution. `message` says what differs."""
    values = max(int(first.max()), int(second.max())) + 1
    one, two = (torch.bincount(drawn.cpu(), minlength=values).double() for drawn in (first, second))
    both = one + two
    if _deviates(((one - two).square() / both.clamp(min=1))[both >= 10]):
        worst = int(((one - two).abs() / both.clamp(min=1).sqrt()).argmax())
        counts = (
            f"the value {worst} was drawn {int(one[worst])} and {int(two[worst])} times in {len(first):,} draws each"
        )
        broken(law, f"{message}: {counts}", **example)
