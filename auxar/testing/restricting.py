"""The check of the laws `restricted` and `given` of decoders."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.model import (
    Adjusted,
    Adjustments,
    GivenView,
    ImageSpec,
    Interval,
    SampleRequest,
    SumSupport,
    Support,
)
from auxar.testing.drawing import COMPARED, DRAWN, check_answer, draws, random_known
from auxar.testing.examples import all_images, between, random_images, sum_support
from auxar.testing.frequencies import check_frequencies
from auxar.testing.laws import broken, described, runs, unchanged
from auxar.testing.networks import CLOSE, NARROW, Distribution, close, nats, rows_of

MANY = 6
"""The number of larger images, each with a view and features of its own."""
RULE = Adjusted(Adjustments(reduction=0.6, temperature=3.0, min_weight=0.3))
"""A drawing rule that changes what every shipped head draws."""


def check_restricted(model: Distribution, seed: int) -> None:
    """Checks the law `restricted` of a decoder that can be restricted, on a tiny spec.

    The restricted probabilities of the images inside of random intervals sum to one and equal the free ones divided by
    the probability of the intervals. Images that are drawn given their sums have these sums, and the frequencies of the
    images match their restricted probabilities.
    """
    if not model.restricts:
        return
    everything, features = all_images(model.image), model.features(1, seed)
    every = None if features is None else features.expand(len(everything), -1, -1, -1)
    ends = torch.minimum(*random_images(2, model.image, seed)), torch.maximum(*random_images(2, model.image, seed))
    interval = Interval(*(values.expand_as(everything).clone() for values in ends))
    inside = ((everything >= interval.low) & (everything <= interval.high)).flatten(1).all(1)
    given = between(model.image, interval)
    found, _ = _restricted_nats(model, everything, every, given)
    if (found[~inside] != -torch.inf).any():
        broken("restricted", "log_prob restricted to intervals must be -∞ for images with a value outside")
    total = found[inside].double().logsumexp(0).exp().item()
    if not abs(total - 1) <= 1e-6:
        message = f"the restricted probabilities of all images inside of intervals must add up to 1, got {total:.9g}"
        broken("restricted", message, low=ends[0], high=ends[1])
    _check_inside(model, everything[inside], rows_of(every, inside), _rows(given, inside))
    support = sum_support(model.image, "everything")
    _check_inside(model, everything, every, GivenView(support, everything, True))
    _check_restricted_draws(model, everything, every, support, seed)


def check_large_restricted(model: Distribution, seed: int) -> None:
    """Checks the law `restricted` with larger images, whose views, features and requests all differ."""
    if not model.restricts:
        return
    image, features = random_images(MANY, model.image, seed), model.features(MANY, seed)
    support = sum_support(model.image, "squares")
    given = GivenView(support, image, True)
    _check_inside(model, image, features, given)
    expected, _ = _restricted_nats(model, image, features, given)
    last = torch.tensor([MANY - 1])
    alone, _ = _restricted_nats(model, image[last], rows_of(features, last), _rows(given, last))
    if not close(alone, expected[last]):
        broken("batch", "log_prob restricted to intervals depends on the other images of the batch", image=model.image)
    other = (image[..., -1:, -1:] + 1) % model.image.levels
    ends = support.intervals(image, image)
    low, high = (
        torch.cat([values.flatten(2)[..., :-1], other.flatten(2)], 2).view_as(image) for values in (ends.low, ends.high)
    )
    if (_restricted_nats(model, image, features, between(model.image, Interval(low, high)))[0] != -torch.inf).any():
        broken("restricted", "log_prob restricted to intervals must be -∞ for images with a value outside")
    known = random_known(model.image, MANY, seed)
    # The limits allow images with these views, so that drawn images have them.
    lowest, highest = (random_images(MANY, model.image, seed + k) for k in (1, 2))
    limits = Interval(lowest.minimum(image), highest.maximum(image))
    known = attrs.evolve(known, values=image, limits=limits)
    numbers = tuple(range(1, MANY + 1))
    request = SampleRequest(numbers, seed + 1, RULE, depth=1, known=known, given=given)
    _check_large_draws(model, features, request, support, image)
    model.module.float()
    narrow = None if features is None else features.float()
    found, _ = _restricted_nats(model, image, narrow, given, NARROW)
    if not torch.allclose(found.double(), expected, rtol=NARROW, atol=NARROW):
        message = "log_prob restricted to intervals in float32 differs from that in float64"
        broken("precision", message, image=model.image, float32=found, float64=expected)


def _check_large_draws(
    model: Distribution, features: Tensor | None, request: SampleRequest, support: SumSupport, view: Tensor
) -> None:
    drawn = draws(model, features, request)
    for found, expected in zip(support.ranges(drawn), support.ranges(view), strict=True):
        if not torch.equal(found, expected):
            broken("restricted", "a drawn image does not have the view that it is restricted to", image=model.image)
    check_answer(model, features, request, drawn)


def _rows(given: GivenView, which: Tensor) -> GivenView:
    return attrs.evolve(given, view=given.view[which])


def _check_inside(model: Distribution, image: Tensor, features: Tensor | None, given: GivenView) -> None:
    """Checks that the restricted log-likelihoods of images are the free ones minus those of the intervals."""
    unrestricted = attrs.evolve(given, restricted=False)
    free, inputs = nats(model, image, features, unrestricted), (image, features, given.view)
    what = "log_prob_by_channel, with given views"
    with unchanged(what, model.module, *inputs), runs(what, image=model.image), torch.no_grad():
        found = model.by_channel(image, features, unrestricted)
    if not close(found.total, free):
        broken("given", "the total of log_prob_by_channel with given views differs from log_prob", image=model.image)
    if found.inside is None:
        return
    restricted, channels = _restricted_nats(model, image, features, given)
    message = "restricted log_prob must be the free one minus `inside`, the log-probability of the intervals"
    if not close(restricted, free - found.inside.sum(1)):
        expected = free - found.inside.sum(1)
        broken("restricted", message, image=model.image, expected=expected, found=restricted)
    if channels is not None and found.channels is not None and not close(channels, found.channels - found.inside):
        broken("restricted", f"{message}, also for single channels", image=model.image)


def _restricted_nats(
    model: Distribution, image: Tensor, features: Tensor | None, given: GivenView, error: float = CLOSE
) -> tuple[Tensor, Tensor | None]:
    """The restricted log-likelihoods of images, (b,), and those by channel if the model gives them, (b, c).

    Checks that they agree.
    """
    what, inputs = "log_prob, with intervals", (image, features, given.view)
    with unchanged(what, model.module, *inputs), runs(what, image=model.image), torch.no_grad():
        found = model.log_prob(image, features, given)
        channels = model.by_channel(image, features, given)
    if not isinstance(found, Tensor) or tuple(found.shape) != (len(image),) or not found.is_floating_point():
        broken("shape", f"log_prob must be floating point of shape ({len(image)},), got {described(found)}")
    totals = [channels.total, *([] if channels.channels is None else [channels.channels.sum(1)])]
    if not all(total.shape == found.shape and torch.allclose(total, found, rtol=error, atol=error) for total in totals):
        broken("channels", "restricted log_prob_by_channel must add up to restricted log_prob")
    return found, channels.channels


def _check_restricted_draws(
    model: Distribution, everything: Tensor, every: Tensor | None, support: Support, seed: int
) -> None:
    view = random_images(1, model.image, seed)
    many = None if every is None else every[:1].expand(DRAWN, -1, -1, -1)
    request = SampleRequest(tuple(range(DRAWN)), seed, given=GivenView(support, view.expand(DRAWN, -1, -1, -1), True))
    drawn = draws(model, many, request)
    _check_view(drawn, view, model.image)
    expected, _ = _restricted_nats(model, everything, every, GivenView(support, view.expand_as(everything), True))
    check_frequencies(drawn, everything, expected, model.image.levels, "image")
    # Other views for each image, and pixels known from images with these views.
    views = random_images(COMPARED, model.image, seed + 1)
    few = rows_of(many, torch.arange(COMPARED))
    request = SampleRequest(request.numbers[:COMPARED], seed, given=GivenView(support, views, True))
    _check_view(draws(model, few, request), views, model.image)
    known = attrs.evolve(random_known(model.image, COMPARED, seed), values=views, limits=None)
    completed = draws(model, few, attrs.evolve(request, known=known))
    _check_view(completed, views, model.image, "; pixels of an image with this view are known")
    if not torch.equal(attrs.evolve(known, values=completed).filled(), known.filled()):
        broken("known", "drawing with a restriction changed a known pixel", image=model.image)


def _check_view(drawn: Tensor, views: Tensor, image: ImageSpec, when: str = "") -> None:
    if (drawn.flatten(1).sum(1) != views.flatten(1).sum(1).to(drawn.device)).any():
        message = "a drawn image does not have the view that it is restricted to"
        broken("restricted", f"{message}{when}", image=image)


def check_given(model: Distribution, seed: int) -> None:
    """Checks the law `given` of a decoder on a tiny spec: it may use given views, but they do not restrict it.

    The probabilities of all images given a view sum to one, and the frequencies of images that are drawn given the view
    match them.
    """
    if not model.features_channels:
        return
    everything, features = all_images(model.image), model.features(1, seed)
    every, many = (
        None if features is None else features.expand(count, -1, -1, -1) for count in (len(everything), DRAWN)
    )
    support, view = sum_support(model.image, "everything"), random_images(1, model.image, seed)
    some = GivenView(support, view.expand_as(everything))
    with runs("log_prob_by_channel, with given views", image=model.image), torch.no_grad():
        model.by_channel(everything, every, some)
    found = nats(model, everything, every, some)
    total = found.double().logsumexp(0).exp().item()
    if abs(total - 1) > 1e-6 and (model.exact or total > 1):
        broken("given", f"with a given view, the probabilities of all images must add up to 1, got {total:.9g}")
    if model.exact:
        given = GivenView(support, view.expand(DRAWN, -1, -1, -1))
        drawn = draws(model, many, SampleRequest(tuple(range(DRAWN)), seed, given=given))
        check_frequencies(drawn, everything, found, model.image.levels, "image")
