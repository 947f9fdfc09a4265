"""Checks of the methods by which a prior offers its factors, its views, samples and bits/dim."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.interfaces import INTEGER_DTYPES, DrawRule, Factor, Prior, SampleRequest
from auxar.interfaces.head import RULE_OPTIONS
from auxar.interfaces.rule_use import users
from auxar.model import Chain
from auxar.testing.drawing import DistinctSampler, random_known
from auxar.testing.examples import random_images
from auxar.testing.laws import broken, described, runs, unchanged
from auxar.testing.networks import close

RULE = DrawRule("reduced", reduction=0.6, temperature=3.0, min_weight=0.3)
"""A drawing rule that changes what every shipped head draws."""
IMAGES = 64
"""The number of random images. Single images may by chance show no difference between their views."""
SAMPLES, BATCH = 8, 3
"""The numbers of images that are sampled in all and at once."""


def check_parts(prior: Prior, seed: int) -> None:
    """Checks the laws `factors`, `views`, `parts`, `sample` and `bits`, with random images of the prior's spec."""
    image = random_images(IMAGES, prior.image, seed)
    with torch.no_grad():
        _check_factors(prior, image)
        _check_views(prior, image)
        _check_drawn_views(prior, image, seed)
        _check_parts(prior, image)
        _check_sample(prior, seed)
        _check_bits(prior, image)


def _check_factors(prior: Prior, image: Tensor) -> None:
    with runs("Prior.factors"):
        specs, factors, views = prior.specs, prior.factors, prior.views(image)
    names = [*(f"stage{depth}" for depth in range(len(specs) - 1)), "prior"]
    if [factor.name for factor in factors] != names or len(views) != len(specs):
        found = f"{[factor.name for factor in factors]} and {len(views)} entries of `views`"
        broken("factors", f"for `specs` of {len(specs)} depths, the factors must be named {names}, got {found}")
    given = [*specs[1:], None]
    for depth, factor in enumerate(factors):
        if (factor.depth, factor.image, factor.view_spec) != (depth, specs[depth], given[depth]):
            expected = f"depth {depth}, the image {specs[depth]} and the view {given[depth]}"
            found = f"depth {factor.depth}, the image {factor.image} and the view {factor.view_spec}"
            broken("factors", f"the factor {factor.name} must have {expected}, as in `specs`, got {found}")
    own = {id(parameter) for parameter in prior.parameters()}
    if {id(parameter) for factor in factors for parameter in factor.parameters()} != own:
        broken(
            "factors", "the parameters of the factors must be those of the model, not copies of them or some of them"
        )
    nats = [_factor_nats(factor, views[factor.depth : factor.depth + 2]) for factor in factors]
    with runs("log_prob, log_probs", image=image):
        whole, parts = prior.log_prob(image), prior.log_probs(image)
    if not close(sum(nats, torch.zeros_like(whole)), whole):
        broken("factors", "the log-likelihoods of the factors must add up to log_prob", image=image, expected=whole)
    if [(part.factor, part.image) for part in parts] != [(factor.name, factor.image) for factor in factors] or not all(
        close(part.log_prob, each) for part, each in zip(parts, nats, strict=True)
    ):
        broken("factors", "log_probs must give the log-likelihood of each factor, ordered by depth", image=image)


def _factor_nats(factor: Factor, inputs: Sequence[Tensor]) -> Tensor:
    """The log-likelihoods of a factor. Checks that those by channel have the same total, and that a view is needed."""
    name = f"the factor {factor.name}"
    with unchanged(name, factor, *inputs), runs(name):
        found, channels = factor(*inputs), factor.log_prob_by_channel(*inputs)
    if not isinstance(found, Tensor) or tuple(found.shape) != (len(inputs[0]),):
        broken("factors", f"{name} must return log-likelihoods of shape ({len(inputs[0])},), got {described(found)}")
    if not close(channels.total, found):
        broken("factors", f"the total of log_prob_by_channel of {name} differs from its log-likelihood", expected=found)
    with _refused("factors", f"{name} {'accepts a' if factor.view_spec is None else 'does not require its'} view"):
        factor(*(inputs[:1] if factor.view_spec else (inputs[0], inputs[0])))
    return found


def _check_views(prior: Prior, image: Tensor) -> None:
    views, specs = prior.views(image), prior.specs
    if not torch.equal(views[0], image):
        broken("views", "the first entry of `views` must be the image", image=image)
    for depth, (view, spec) in enumerate(zip(views, specs, strict=True)):
        fits = view.dtype in INTEGER_DTYPES and tuple(view.shape) == (len(image), *spec.shape)
        if not fits or int(view.min()) < 0 or int(view.max()) >= spec.levels:
            broken("views", f"the view at depth {depth} must have integers of {spec}, got {described(view)}")
        with runs("Prior.views", image=image):
            some = prior.views(image, depth)
        if not _equal(some, views[: depth + 1]):
            broken("views", f"with deepest = {depth}, `views` must return the depths 0 … {depth}", image=image)


def _check_drawn_views(prior: Prior, image: Tensor, seed: int) -> None:
    """Checks that `draw`, `draw_views` and `draw_from` agree, also with known pixels and under another rule."""
    deepest = len(prior.specs) - 1
    known = random_known(prior.image, len(image), seed)
    # All pixels of the first image are known, so all pixels of its views are.
    mask = known.mask.clone()
    mask[0] = True
    known = attrs.evolve(known, values=image, mask=mask, limits=None)
    plain = SampleRequest(tuple(range(3, 3 + len(image))), seed)
    for request in (plain, attrs.evolve(plain, rule=RULE), attrs.evolve(plain, known=known)):
        with unchanged("draw_views", prior), runs("draw_views", image=prior.image):
            drawn = prior.draw_views(request, DistinctSampler())
            alone = prior.draw(request, DistinctSampler())
        shapes = [(len(image), *spec.shape) for spec in prior.specs]
        if [tuple(view.shape) for view in drawn] != shapes:
            found = [tuple(view.shape) for view in drawn]
            broken("views", f"draw_views must return the image and its views, of shapes {shapes}, got {found}")
        if not torch.equal(drawn[0], alone):
            broken("views", "draw and draw_views must draw the same image for the same request", image=prior.image)
        for depth in range(1, deepest + 1):
            with unchanged("draw_from", prior, drawn[depth]), runs("draw_from", image=prior.image):
                again = prior.draw_from(drawn[depth], request, DistinctSampler(), from_depth=depth)
            if not _equal(again, drawn[: depth + 1]):
                message = f"draw_from the view that draw_views drew at depth {depth} must draw the same images"
                pixels = "" if request.known is None else ", with known pixels"
                broken("views", f"{message}{pixels}, and end with this view", image=prior.image)
        if request.known is not None and not _equal([view[:1] for view in drawn], prior.views(image[:1])):
            broken("known", "if all pixels of an image are known, draw_views must return its views", image=image[0])
        if prior.exact and request.known is None and not _equal(prior.views(drawn[0]), drawn):
            message = (
                "the views of a drawn image differ from the views that it was drawn from, so the model is not exact"
            )
            broken("views", message, image=prior.image)
    for depth in (0, deepest + 1):
        with _refused("views", f"draw_from accepts from_depth = {depth}, at which the model has no view"):
            prior.draw_from(image, plain, DistinctSampler(), from_depth=depth)


def _check_parts(prior: Prior, image: Tensor) -> None:
    with runs("Prior.parts"):
        same = Chain([], prior)
    if same.specs != prior.specs or same.exact != prior.exact or not close(same.log_prob(image), prior.log_prob(image)):
        message = "a Chain of the stages and the prior that `parts` returns must have the same specs and log_prob"
        broken("parts", message, image=prior.image)


def _check_sample(prior: Prior, seed: int) -> None:
    first = 5
    known = random_known(prior.image, SAMPLES, seed)
    # `sample` refuses options that no head uses.
    used = {option: bool(users(prior, option)) for option in RULE_OPTIONS}
    temperature = 3.0 if used["temperature"] else 1.0
    rule = DrawRule("reduced", 0.6 * used["reduction"], temperature, min_weight=0.3 * used["min_weight"])
    request = SampleRequest(tuple(range(first, first + SAMPLES)), seed + 1, rule, known=known)
    expected = prior.draw(request, DistinctSampler())
    # A frozen part may stay in evaluation mode during training.
    prior.train()
    list(prior.modules())[-1].eval()
    with unchanged("sample", prior), runs("sample", image=prior.image):
        found = prior.sample(
            SAMPLES,
            rule=rule,
            seed=seed + 1,
            first=first,
            batch_size=BATCH,
            sampler=DistinctSampler(),
            known=known,
        )
    prior.eval()
    if not torch.equal(found, expected):
        message = "sample must return the images that draw returns for the same numbers, seed, rule and known pixels"
        broken("sample", message, image=prior.image)


def _check_bits(prior: Prior, image: Tensor) -> None:
    with runs("bits_per_dim", image=image):
        found = prior.bits_per_dim(image)
    expected = -prior.log_prob(image) / (math.log(2) * prior.image.dims)
    if tuple(found.shape) != tuple(expected.shape) or not close(found, expected):
        message = "bits_per_dim must be -log_prob / (log 2 · sub-pixels)"
        broken("bits", message, image=image, expected=expected, found=found)
    with _refused("bits", "bits_per_dim accepts a value outside [0, levels)"):
        prior.bits_per_dim(torch.full_like(image, prior.image.levels))


@contextlib.contextmanager
def _refused(law: str, message: str) -> Iterator[None]:
    """Checks that the block raises `UserError`."""
    try:
        yield
    except UserError:
        return
    except Exception as error:  # A plugin's code may raise any exception.
        broken(law, f"{message}; it must raise UserError, but raised {type(error).__name__}: {error}")
    broken(law, f"{message}; it must raise UserError")


def _equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return len(first) == len(second) and all(torch.equal(*pair) for pair in zip(first, second, strict=True))
