"""Checks of drawn images, and a sampler that draws many small images fast."""

import attrs
import torch
from torch import Tensor

from auxar.model import (
    Adjusted,
    Adjustments,
    CausalNetwork,
    DrawSource,
    ImageSpec,
    Known,
    PixelSource,
    Sampler,
    SampleRequest,
    evaluating,
)
from auxar.plugins import load_plugins
from auxar.testing.examples import all_images, random_images, random_known
from auxar.testing.frequencies import check_frequencies
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, calling, check_equal, check_range, check_tensor
from auxar.testing.networks import Distribution, repeated

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
    everything, features = all_images(model.image), model.features(1, seed)
    drawn = draws(model, repeated(features, DRAWN), SampleRequest(tuple(range(DRAWN)), seed))
    # The log-likelihood of a lower bound says nothing about frequencies.
    if model.exact:
        likely = model.values(everything, repeated(features, len(everything)))
        check_frequencies(drawn, everything, likely, model.image.levels, "image")


def draws(
    model: Distribution, features: Tensor | None, request: SampleRequest, sampler: Sampler | None = None
) -> Tensor:
    """Draws images, by default with `DistinctSampler`. Checks the laws `draw`, `range`, `inputs` and `mode`."""
    with calling("draw", features, module=model.module):
        given = () if features is None else (features,)
        drawn: Tensor = model.module.draw(request, sampler or DistinctSampler(), *given)
    check_tensor("draw", drawn, (len(request.numbers), *model.image.shape), torch.int64, law="draw")
    check_range("draw", drawn, model.image.levels)
    return drawn


def check_requests(model: Distribution, seed: int) -> None:
    """Checks that drawn images depend on each part of the request: the laws `draw`, `known` and `rule`."""
    many = repeated(model.features(1, seed), COMPARED)
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
                broken("draw", f"a request with {what} draws the same images")
        if torch.equal(others["another seed"][:-1], drawn[1:]):
            message = "number n of seed s + 1 draws the same image as number n + 1 of seed s"
            broken("draw", f"{message}; use the noise of SampleRequest.uniforms")
    known = random_known(random_images(COMPARED, model.image, seed), model.image, seed)
    for rule in DRAW_RULES:
        limited = attrs.evolve(request, rule=rule, known=known)
        check_answer(model, many, limited, draws(model, many, limited))


def check_answer(model: Distribution, features: Tensor | None, request: SampleRequest, drawn: Tensor) -> None:
    """Checks that images which `draw` returned fit their request: the laws `known` and `rule`."""
    if request.known is not None:
        check_known(drawn, request.known, model.image)
    if model.network is None:
        return
    with torch.no_grad():
        expected = DistinctSampler().sample(model.network, features, DrawSource.of(model.network, request))
    message = "for this request, draw must return the images that a sampler draws with auxar.DrawSource"
    check_equal("rule", message, drawn, expected, rule=request.rule)


def check_draw(model: Distribution, seed: int) -> None:
    """Checks the invariances of drawn images: they depend on their features and their numbers alone."""
    sampler = reference_sampler()

    def compute(features: Tensor | None, numbers: Tensor) -> Results:
        request = SampleRequest(tuple(numbers.flatten().tolist()), seed)
        return {"a drawn image": draws(model, features, request, sampler)}

    function = Function("draw", compute, module=model.module)
    check_invariances(function, model.features(3, seed), torch.tensor([[5], [0], [2]]), skip=("device",))


def check_known(drawn: Tensor, known: Known, image: ImageSpec) -> None:
    """Checks the law `known`: drawn images keep the known pixels, and lie in the limits of the others."""
    if ((drawn < known.lowest()) | (drawn > known.highest(image.levels))).any():
        broken("known", "draw must keep known pixels and the limits of the other pixels", mask=known.mask, drawn=drawn)


def reference_sampler() -> Sampler:
    """The sampler `raster`, which runs the network once for each pixel and is the reference for other samplers."""
    component = load_plugins().get("sampler", "raster", "auxar.testing")
    found: Sampler = component.build(component.config())
    return found
