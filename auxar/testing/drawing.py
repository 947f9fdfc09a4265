"""Checks of drawn images, and a sampler that draws many small images fast."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.model import (
    Adjusted,
    Adjustments,
    CausalNetwork,
    DrawSource,
    ImageSpec,
    Interval,
    Known,
    PixelSource,
    Sampler,
    SampleRequest,
    evaluating,
)
from auxar.plugins import load_plugins
from auxar.testing.examples import all_images, random_images
from auxar.testing.frequencies import check_frequencies
from auxar.testing.laws import broken, described, runs, unchanged
from auxar.testing.networks import Distribution, nats, rows_of

DRAWN = 5000
"""The number of images drawn to compare their frequencies with the model's probabilities."""
COMPARED = 64
"""The number of images drawn to compare requests that differ in one part."""
DIFFERENT = 20
"""The least number of neighbors among the compared images that must differ, so that equal draws are no coincidence."""
DRAW_RULES = (
    Adjusted(Adjustments(temperature=3.0)),
    Adjusted(Adjustments(reduction=0.8, min_weight=0.3)),
    Adjusted(Adjustments(centers=True, min_weight=0.05)),
)
"""The drawing rules that are checked besides the ancestral one."""


class DistinctSampler(Sampler):
    """Draws pixel by pixel like the sampler `raster`, but runs the network once for each distinct image.

    Thousands of tiny images with equal features soon contain every possible image, so most of them are equal.
    """

    @torch.no_grad()
    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        _, height, width = network.image.shape
        device = next(network.parameters()).device
        image = torch.zeros((source.count, *network.image.shape), dtype=torch.int64, device=device)
        with evaluating(network):
            for place in range(height * width):
                row, column = divmod(place, width)
                first, which = _distinct(image, features)
                some = None if features is None else features[first]
                parameters = network(network.encode(image[first]), some)[:, :, row, column][which]
                image[:, :, row, column] = source.pixels(torch.tensor([place], device=device), parameters)[0]
        return image


def _distinct(image: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
    """The indices of one of each distinct pair of image and features, and the number of each image's pair."""
    values = image.flatten(1)
    if features is not None and not (features == features[:1]).all():
        values = torch.cat([values.double(), features.flatten(1).double()], dim=1)
    distinct, which = values.unique(dim=0, return_inverse=True)
    first = which.new_zeros(len(distinct)).scatter_(0, which, torch.arange(len(which), device=which.device))
    return first, which


def check_draws(model: Distribution, seed: int) -> None:
    """Checks the law `draws`: on a tiny spec, the frequencies of drawn images match their probabilities."""
    everything = all_images(model.image)
    features = model.features(1, seed)
    many = None if features is None else features.expand(DRAWN, -1, -1, -1)
    drawn = draws(model, many, SampleRequest(tuple(range(DRAWN)), seed))
    # The log-likelihood of a lower bound says nothing about frequencies.
    if model.exact:
        every = None if features is None else features.expand(len(everything), -1, -1, -1)
        check_frequencies(drawn, everything, nats(model, everything, every), model.image.levels, "image")


def draws(
    model: Distribution, features: Tensor | None, request: SampleRequest, sampler: Sampler | None = None
) -> Tensor:
    """Draws images, by default with `DistinctSampler`. Checks the laws `draw`, `range`, `inputs` and `mode`."""
    with unchanged("draw", model.module, features), runs("draw", image=model.image, rule=request.rule):
        drawn = model.draw(features, request, sampler or DistinctSampler())
    expected = (len(request.numbers), *model.image.shape)
    if not isinstance(drawn, Tensor) or drawn.dtype != torch.int64 or tuple(drawn.shape) != expected:
        broken("draw", f"draw must return torch.int64 of shape {expected}, got {described(drawn)}")
    outside = ((drawn < 0) | (drawn >= model.image.levels)).flatten(1).any(1)
    if outside.any():
        broken("range", f"a drawn image has a value outside [0, {model.image.levels})", drawn=drawn[outside][0])
    return drawn


def check_requests(model: Distribution, seed: int) -> None:
    """Checks that drawn images depend on each part of the request: the laws `draw`, `known` and `rule`."""
    features = model.features(1, seed)
    many = None if features is None else features.expand(COMPARED, -1, -1, -1)
    request = SampleRequest(tuple(range(COMPARED)), seed)
    drawn = draws(model, many, request)
    others = {
        "another seed": draws(model, many, attrs.evolve(request, seed=seed + 1)),
        "another depth": draws(model, many, attrs.evolve(request, depth=1)),
        "other numbers": draws(model, many, attrs.evolve(request, numbers=tuple(range(1, COMPARED + 1)))),
    }
    if (drawn[1:] != drawn[:-1]).flatten(1).any(1).sum() >= DIFFERENT:
        for what, other in others.items():
            if torch.equal(other, drawn):
                broken("draw", f"a request with {what} draws the same images", image=model.image)
        if torch.equal(others["another seed"][:-1], drawn[1:]):
            message = "number n of seed s + 1 draws the same image as number n + 1 of seed s"
            broken("draw", f"{message}; use the noise of SampleRequest.uniforms", image=model.image)
    known = random_known(model.image, COMPARED, seed)
    for rule in DRAW_RULES:
        limited = attrs.evolve(request, rule=rule, known=known)
        check_answer(model, many, limited, draws(model, many, limited))


def check_answer(model: Distribution, features: Tensor | None, request: SampleRequest, drawn: Tensor) -> None:
    """Checks that images which `draw` returned fit their request: the laws `known` and `rule`."""
    known = request.known
    if known is not None and ((drawn < known.lowest()) | (drawn > known.highest(model.image.levels))).any():
        broken("known", "draw must keep known pixels and the limits of the other pixels", image=model.image)
    if model.network is None:
        return
    with torch.no_grad():
        expected = DistinctSampler().sample(model.network, features, DrawSource.of(model.network, request))
    if not torch.equal(drawn, expected):
        message = "for this request, draw must return the images that a sampler draws with auxar.DrawSource"
        restricted = request.given is not None and request.given.restricted
        broken("rule", message, image=model.image, rule=request.rule, restricted=restricted)


def random_known(image: ImageSpec, count: int, seed: int) -> Known:
    """Random known pixels, and random limits of the other pixels, for `count` images."""
    mask = torch.rand(count, image.height, image.width, generator=torch.Generator().manual_seed(seed)) < 0.3
    ends = random_images(count, image, seed + 1), random_images(count, image, seed + 2)
    limits = Interval(torch.minimum(*ends), torch.maximum(*ends))
    return Known(random_images(count, image, seed), mask, limits)


def check_draw(model: Distribution, seed: int) -> None:
    """Checks the laws `draw`, `range` (of drawn images) and `known` (known pixels keep their values)."""
    sampler = reference_sampler()
    features = model.features(3, seed)
    numbers = (5, 0, 2)
    drawn = draws(model, features, SampleRequest(numbers, seed), sampler)
    again = draws(model, features, SampleRequest(numbers, seed), sampler)
    single = draws(model, rows_of(features, torch.tensor([1])), SampleRequest((0,), seed), sampler)
    if not torch.equal(drawn, again) or not torch.equal(drawn[1:2], single):
        message = "a drawn image differs between calls or batches; it must depend only on its features and its request"
        broken("draw", message, seed=seed)
    known = attrs.evolve(random_known(model.image, 3, seed), limits=None)
    completed = draws(model, features, SampleRequest(numbers, seed, known=known), sampler)
    if not torch.equal(attrs.evolve(known, values=completed).filled(), known.filled()):
        broken("known", "drawing changed a known pixel", mask=known.mask, drawn=completed)


def reference_sampler() -> Sampler:
    """The sampler `raster`, which runs the network once for each pixel and is the reference for other samplers."""
    component = load_plugins().get("sampler", "raster", "auxar.testing")
    found: Sampler = component.build(component.config())
    return found
