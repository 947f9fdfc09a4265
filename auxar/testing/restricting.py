"""The check of the laws `restricted` and `given` of decoders."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.model import Adjusted, Adjustments, ByChannel, GivenView, Interval, SampleRequest
from auxar.testing.drawing import COMPARED, DRAWN, check_answer, check_known, draws
from auxar.testing.examples import all_images, between, random_images, random_known, sum_support
from auxar.testing.frequencies import check_frequencies
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, check_equal
from auxar.testing.modules import CLOSE, NARROW
from auxar.testing.networks import Distribution, check_total, nats, repeated

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
        _check_given(model, sums, seed)
    if model.restricts:
        _check_given(model, attrs.evolve(sums, restricted=True), seed)
        _check_given(model, between(model.image, Interval(low, high)), seed)
        _check_views(model, seed)


def _check_given(model: Distribution, given: GivenView, seed: int) -> None:
    everything, features = all_images(model.image), model.features(1, seed)
    every, exact = repeated(features, len(everything)), model.exact or given.restricted
    likelihoods = _check_restricted if given.restricted else _likelihoods
    found = likelihoods(model, everything, every, _repeated(given, len(everything)))[0]
    law = "restricted" if given.restricted else "given"
    check_total(law, "with a given view, the probabilities of all images", found, exact)
    if exact:
        request = SampleRequest(tuple(range(DRAWN)), seed, given=_repeated(given, DRAWN))
        drawn = draws(model, repeated(features, DRAWN), request)
        _check_drawn(drawn, request)
        check_frequencies(drawn, everything, found, model.image.levels, "image")


def _check_views(model: Distribution, seed: int) -> None:
    """Checks images that are drawn given different views, also with known pixels of images that have these views."""
    views, features = random_images(COMPARED, model.image, seed + 1), repeated(model.features(1, seed), COMPARED)
    given = GivenView(sum_support(model.image, "everything"), views, True)
    known = attrs.evolve(random_known(views, model.image, seed), limits=None)
    for each in (None, known):
        request = SampleRequest(tuple(range(COMPARED)), seed, known=each, given=given)
        drawn = draws(model, features, request)
        _check_drawn(drawn, request)
        if each is not None:
            check_known(drawn, each, model.image)


def _repeated(given: GivenView, count: int) -> GivenView:
    return attrs.evolve(given, view=given.view.expand(count, -1, -1, -1))


def check_large_restricted(model: Distribution, seed: int) -> None:
    """Checks the law `restricted` with larger images, whose views, features and requests all differ."""
    if not model.restricts:
        return
    image, features = random_images(MANY, model.image, seed), model.features(MANY, seed)
    given = GivenView(sum_support(model.image, "squares"), image, True)
    _check_restricted(model, image, features, given)
    _check_restricted(model, random_images(MANY, model.image, seed + 3), features, given)
    expected = check_invariances(_function(model, given), image, features, image)["restricted log_prob"]
    # The limits allow images with these views, so that drawn images have them.
    known = random_known(image, model.image, seed)
    request = SampleRequest(tuple(range(1, MANY + 1)), seed + 1, RULE, depth=1, known=known, given=given)
    drawn = draws(model, features, request)
    _check_drawn(drawn, request)
    check_answer(model, features, request, drawn)
    model.module.float()
    found, _ = _likelihoods(model, image, None if features is None else features.float(), given, NARROW)
    message = "log_prob restricted to intervals in float32 differs from that in float64"
    check_equal("precision", message, found, expected, NARROW, image=model.image)


def _function(model: Distribution, given: GivenView) -> Function:
    """The restricted log-likelihood as a function of images, features and the views that are given."""

    def compute(image: Tensor, features: Tensor | None, view: Tensor) -> Results:
        return {"restricted log_prob": model.compute(image, features, attrs.evolve(given, view=view))}

    return attrs.evolve(model.function, what="log_prob, with intervals", compute=compute)


def _inside(image: Tensor, given: GivenView) -> Tensor:
    """Whether all values of images are in their intervals, (b,)."""
    found = given.support.intervals(image, given.view)
    return ((image >= found.low) & (image <= found.high)).flatten(1).all(1)


def _check_drawn(drawn: Tensor, request: SampleRequest) -> None:
    given = request.given
    if given is not None and given.restricted and not _inside(drawn, given).all():
        broken("restricted", "a drawn image does not have the view that it is restricted to", drawn=drawn)


def _check_restricted(
    model: Distribution, image: Tensor, features: Tensor | None, given: GivenView
) -> tuple[Tensor, ByChannel]:
    """Checks that restricted log-likelihoods are the free ones minus those of the intervals, and -∞ outside.

    Returns the restricted log-likelihoods.
    """
    free, whole = _likelihoods(model, image, features, attrs.evolve(given, restricted=False))
    found, channels = _likelihoods(model, image, features, given)
    inside = _inside(image, given)
    if (found[~inside] != -torch.inf).any():
        broken("restricted", "log_prob restricted to intervals must be -∞ for images with a value outside")
    if whole.inside is not None:
        message = "restricted log_prob must be the free one minus `inside`, the log-probability of the intervals"
        expected = free - whole.inside.sum(1)
        check_equal("restricted", message, found[inside], expected[inside], CLOSE, image=model.image)
        if channels.channels is not None and whole.channels is not None:
            single, message = whole.channels - whole.inside, f"{message}, also for single channels"
            check_equal("restricted", message, channels.channels[inside], single[inside], CLOSE, image=model.image)
    return found, channels


def _likelihoods(
    model: Distribution, image: Tensor, features: Tensor | None, given: GivenView, error: float = CLOSE
) -> tuple[Tensor, ByChannel]:
    """The log-likelihoods of images with given views, (b,), also by channel. Checks that they agree."""
    found, channels = nats(model, image, features, given), model.by_channel(image, features, given)
    for total in (channels.total, *([] if channels.channels is None else [channels.channels.sum(1)])):
        message = "with given views, log_prob_by_channel must add up to log_prob"
        check_equal("channels" if given.restricted else "given", message, total, found, error)
    return found, channels
