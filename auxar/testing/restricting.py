"""The check of the laws `restricted` and `given` of decoders."""

from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.model import Adjusted, Adjustments, ByChannel, GivenView, Interval, SampleRequest
from auxar.testing.drawing import COMPARED, DRAWN, check_answer, check_known, draws
from auxar.testing.examples import all_images, between, random_images, random_known, sum_support
from auxar.testing.frequencies import check_frequencies
from auxar.testing.laws import broken, check_equal
from auxar.testing.modules import CLOSE, check_narrow, check_values
from auxar.testing.networks import Distribution, check_total, repeated

MANY = 6
"""The number of larger images, each with a view and features of its own."""
RULE = Adjusted(Adjustments(reduction=0.6, temperature=3.0, min_weight=0.3))
"""A drawing rule that changes what every shipped head draws."""


def check_given(model: Distribution, seed: int) -> None:
    """Checks the laws `given` and `restricted` of a decoder, on a tiny spec.

    The probabilities of all images with a given view sum to one, and the frequencies of drawn images match them. The
    view is the sum of all sub-pixels, or random intervals of them.
    """
    sums = GivenView(sum_support(model.image, "everything"), random_images(1, model.image, seed))
    low, high = random_images(2, model.image, seed).sort(0).values.split(1)
    if model.features_channels:
        _check_given(attrs.evolve(model, given=sums), seed)
    if model.restricts:
        for given in (attrs.evolve(sums, restricted=True), between(model.image, Interval(low, high))):
            _check_given(attrs.evolve(model, given=given), seed)
        # Images that are drawn given different views, also with known pixels of images that have these views.
        own = attrs.evolve(model, given=attrs.evolve(sums, restricted=True))
        views, features = random_images(COMPARED, model.image, seed + 1), repeated(model.features(1, seed), COMPARED)
        known = attrs.evolve(random_known(views, model.image, seed), limits=None)
        _drawn(own, features, _request(own, views, seed))
        check_known(_drawn(own, features, _request(own, views, seed, known=known)), known, model.image)


def _check_given(model: Distribution, seed: int) -> None:
    assert model.given is not None
    everything, features, given = all_images(model.image), model.features(1, seed), model.given
    inputs = everything, repeated(features, len(everything)), given.view.expand(len(everything), -1, -1, -1)
    found = _check_restricted(model, *inputs) if given.restricted else _likelihoods(model, *inputs)[0]
    law = "restricted" if given.restricted else "given"
    check_total(law, "with a given view, the probabilities of all images", found, model.exact)
    if model.exact:
        drawn = _drawn(model, repeated(features, DRAWN), _request(model, given.view.expand(DRAWN, -1, -1, -1), seed))
        check_frequencies(drawn, everything, found, model.image.levels, "image")


def _request(model: Distribution, views: Tensor, seed: int, **options: Any) -> SampleRequest:
    assert model.given is not None
    return SampleRequest(tuple(range(len(views))), seed, given=attrs.evolve(model.given, view=views), **options)


def _drawn(model: Distribution, features: Tensor | None, request: SampleRequest) -> Tensor:
    """Draws the images of a request. Checks that they have their views, if they are restricted to them."""
    drawn, given = draws(model, features, request), request.given
    if given is not None and given.restricted and not _inside(drawn, given).all():
        broken("restricted", "a drawn image does not have the view that it is restricted to", drawn=drawn)
    return drawn


def check_large_restricted(model: Distribution, seed: int) -> None:
    """Checks the law `restricted` with larger images, whose views, features and requests all differ."""
    if not model.restricts:
        return
    image, features = random_images(MANY, model.image, seed), model.features(MANY, seed)
    restricted = attrs.evolve(model, given=GivenView(sum_support(model.image, "squares"), image, True))
    _check_restricted(restricted, image, features, image)
    _check_restricted(restricted, random_images(MANY, model.image, seed + 3), features, image)
    # The limits allow images with these views, so that drawn images have them.
    request = _request(restricted, image, seed + 1, rule=RULE, depth=1, known=random_known(image, model.image, seed))
    check_answer(restricted, features, request, _drawn(restricted, features, request))
    check_values(restricted, seed)
    check_narrow(restricted, seed)


def _inside(image: Tensor, given: GivenView) -> Tensor:
    """Whether all values of images are in their intervals, (b,)."""
    return ~given.interval(image).outside(image).flatten(1).any(1)


def _check_restricted(model: Distribution, image: Tensor, features: Tensor | None, view: Tensor) -> Tensor:
    """Checks that restricted log-likelihoods are the free ones minus those of the intervals, and -∞ outside.

    Returns the restricted log-likelihoods.
    """
    assert model.given is not None
    given = attrs.evolve(model.given, view=view)
    free, whole = _likelihoods(attrs.evolve(model, given=attrs.evolve(given, restricted=False)), image, features, view)
    found, channels = _likelihoods(model, image, features, view)
    inside = _inside(image, given)
    if (found[~inside] != -torch.inf).any():
        broken("restricted", "log_prob restricted to intervals must be -∞ for images with a value outside")
    if whole.inside is not None:
        message = "restricted log_prob must be the free one minus `inside`, the log-probability of the intervals"
        expected = free - whole.inside.sum(1)
        check_equal("restricted", message, found[inside], expected[inside], CLOSE)
        if channels.channels is not None and whole.channels is not None:
            single, message = whole.channels - whole.inside, f"{message}, also for single channels"
            check_equal("restricted", message, channels.channels[inside], single[inside], CLOSE)
    return found


def _likelihoods(model: Distribution, image: Tensor, features: Tensor | None, view: Tensor) -> tuple[Tensor, ByChannel]:
    """The log-likelihoods of images with given views, (b,), also by channel. Checks that they agree."""
    found, channels = model.values(image, features, view), model.by_channel(image, features, view)
    law = "channels" if model.given is not None and model.given.restricted else "given"
    for total in (channels.total, *([] if channels.channels is None else [channels.channels.sum(1)])):
        check_equal(law, "with given views, log_prob_by_channel must add up to log_prob", total, found, CLOSE)
    return found, channels
