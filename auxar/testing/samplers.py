"""The contract check of samplers."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.errors import UserError
from auxar.model import (
    CausalNetwork,
    DrawSource,
    ForceSource,
    GivenView,
    ImageSpec,
    RestrictableHead,
    Rule,
    Sampler,
    SampleRequest,
)
from auxar.plugins import Registry, load_plugins
from auxar.recipe.choices import HeadChoice
from auxar.testing import laws
from auxar.testing.drawing import reference_sampler
from auxar.testing.examples import (
    RULES,
    SEEDS,
    random_features,
    random_images,
    random_known,
    randomized,
    specs_of,
    sum_support,
)
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.modules import CLOSE, MANY, NARROW
from auxar.testing.sources import NotingSource

EXAMPLES = 30
"""The number of examples that the search tries."""
IMAGES = specs_of("1×1×1 2, 1×4×3 16, 5×1×1 256, 3×4×3 256, 6×7×1 4, 7×5×3 256")


LARGE = ImageSpec(3, height=15, width=11)
"""A larger image. It has more rows and columns than a sampler is likely to treat together."""


def check_sampler(
    build: Callable[[Any], Sampler], config: object, *, networks: Sequence[CausalNetwork] | None = None
) -> None:
    """Checks the sampler that `build(config)` returns, with random weights, features and requests.

    The laws:

    - `options`: no option is a path of a file, because runs do not keep files.
    - `spec`: `build` returns an `auxar.Sampler`.
    - `build`: if `networks` is None, `Sampler.check` accepts at least one of the default networks.
    - `equality`: in float64, images equal those of the sampler `raster`, which runs the network once for each pixel.
      This is checked for every rule, with known pixels, with limits on the other pixels (`Known.limits`), and with and
      without a restriction to views.
    - `source`: the sampler requests every pixel once from its pixel source, in an order that respects the source's
      `reach`, and passes the network's predictions to the source. The sampler's image consists of the pixels from the
      source. This is also checked for many larger images and weights in float32.
    - `order`: `Sampler.lag` is 1 … width, and the sampler requests pixels in order of row · lag + column from a source
      that has this `lag`. Files of images are decoded in this order.
    - `shape`, `dtype`, `range`: images are int64 of shape (b, channels, height, width), with values in [0, levels).
    - `batch`: an image does not depend on the other images of the batch.
    - `layout`: images do not depend on the memory layout of the features.
    - `inputs`: the features do not change.
    - `mode`: the network is in evaluation mode while it is drawn from. The previous mode of each of its parts is
      restored afterwards, also if the pixel source raises an exception. `Sampler.check` changes no mode.
    - `weights`: weights and buffers of the network do not change. If they are changed between two calls, the second
      call draws with the new ones.
    - `state`: the sampler does not change torch's gradient mode or default dtype, or draw from or seed torch's random
      numbers.
    - `runs`: valid input raises no exception.

    `networks` lists the networks to draw from. They are copied, and the copies get random weights. By default, small
    networks of the shipped `pixelcnn` and `pixelcnn++` are used, with and without features, if `Sampler.check` accepts
    them. The largest of the networks is also drawn from in float32. Raises `ContractError` if a law is broken.
    """
    laws.check_options(config)
    sampler, reference = build(config), reference_sampler()
    laws.check_built(sampler, Sampler)
    given = [randomized(copy.deepcopy(network), k) for k, network in enumerate(networks or ())]
    chosen = given or _accepted(sampler, IMAGES)

    def check(place: int, seed: int, count: int, restricted: bool, sums: str | None, **options: Any) -> None:
        network = chosen[place]
        restricted = restricted and isinstance(network.head, RestrictableHead)
        request = _request(network.image, seed, count, **options)
        if sums:
            view = random_images(count, network.image, seed)
            request = attrs.evolve(request, given=GivenView(sum_support(network.image, sums), view, restricted))
        case, image = _Case(network, _features(network, count, seed), request), random_images(count, network.image, 1)
        with laws.about("the sampler", network=type(network).__name__, image=network.image, request=request):
            _check_case(sampler, reference, case)
            _check_invariances(sampler, case)
            _check_source(sampler, case, image, reach=seed % 3, ordered=seed % 2 == 0)

    laws.search(
        check,
        EXAMPLES,
        place=st.integers(0, len(chosen) - 1),
        seed=SEEDS,
        # At least two images are drawn, because the law `batch` compares an image of a batch with one drawn alone.
        count=st.integers(2, 3),
        rule=RULES,
        depth=st.integers(0, 2),
        share=st.sampled_from([0.0, 0.5, 1.0]),
        sums=st.sampled_from(["squares", "everything", None]),
        restricted=st.booleans(),
        limits=st.booleans(),
    )
    check_many(sampler, given)
    for network in chosen:
        with laws.calling("Sampler.check", module=network.train()):
            sampler.check(network)
    for network in (chosen[0], chosen[-1]):
        with laws.about("the sampler", network=type(network).__name__, image=network.image):
            _check_failure(sampler, network)
            _check_new_weights(sampler, reference, network)


@attrs.frozen(eq=False)
class _Case:
    """A network, its features and a request for images to draw from it."""

    network: CausalNetwork
    features: Tensor | None
    request: SampleRequest

    def drawn(self, sampler: Sampler) -> Tensor:
        """Draws the images of this case with a sampler."""
        return sampler.sample(self.network, self.features, DrawSource.of(self.network, self.request))

    def rows(self, features: Tensor | None, rows: Tensor) -> _Case:
        """The same case with some of its images, and with given features."""
        found, known, given = self.request, self.request.known, self.request.given
        numbers = tuple(found.numbers[row] for row in rows.tolist())
        known = known and known.of(rows)  # type: ignore[arg-type]
        given = given and attrs.evolve(given, view=given.view[rows])
        return attrs.evolve(
            self, features=features, request=attrs.evolve(found, numbers=numbers, known=known, given=given)
        )


def _check_case(sampler: Sampler, reference: Sampler, case: _Case) -> None:
    network = case.network
    with laws.calling("the reference sampler"):
        expected = case.drawn(reference)
    before = copy.deepcopy(network.state_dict())
    for training, law in ((False, "equality"), (True, "mode")):
        network.train(training)
        # A frozen part may stay in evaluation mode during training.
        list(network.modules())[-1].eval()
        with laws.calling("the sampler", case.features, module=network):
            found = case.drawn(sampler)
        laws.check_tensor("the drawn images", found, expected.shape, torch.int64)
        laws.check_range("the drawn images", found, network.image.levels)
        message = f"images must equal those of the sampler `raster`{', also of a network in training mode' * training}"
        laws.check_equal(law, message, found, expected)
    network.eval()
    for name, tensor in network.state_dict().items():
        laws.check_equal("weights", f"the sampler must not change {name} of the network", tensor, before[name])


def _check_invariances(sampler: Sampler, case: _Case) -> None:
    """Checks the invariances of drawn images, but for the device: noise may then be rounded to another value."""

    def compute(features: Tensor | None, rows: Tensor) -> Results:
        return {"an image": case.rows(features, rows.flatten()).drawn(sampler)}

    rows = torch.arange(len(case.request.numbers))[:, None]
    check_invariances(Function("the sampler", compute, module=case.network), case.features, rows, skip=("device",))


def _check_new_weights(sampler: Sampler, reference: Sampler, network: CausalNetwork) -> None:
    """Checks the law `weights`: after the weights of a network change, images are drawn with the new ones."""
    for seed in (1, 2):
        case = _Case(randomized(network, seed), _features(network, 2, 0), SampleRequest((0, 1)))
        with laws.calling("the sampler"):
            found = case.drawn(sampler)
        message = "after the weights of a network changed, images must be drawn with the new weights"
        laws.check_equal("weights", message, found, case.drawn(reference))


class _FailingSource(ForceSource):
    """A pixel source that fails at the last pixel."""

    def pixels(self, places: Tensor, parameters: Tensor) -> Tensor:
        if (places == len(self.image) - 2).any():
            raise ArithmeticError("this pixel source fails on purpose")
        return super().pixels(places, parameters)


def _check_failure(sampler: Sampler, network: CausalNetwork) -> None:
    """Checks the law `mode` if the pixel source fails. Its exception must reach the caller."""
    source = _FailingSource(random_images(2, network.image, 0), network.image)
    calls = laws.calling("the sampler, whose pixel source fails,", module=network.train())
    with calls, contextlib.suppress(ArithmeticError):
        sampler.sample(network, _features(network, 2, 0), source)
        laws.broken("source", "the sampler hides the exception of a pixel source that fails")
    network.eval()


def _check_source(sampler: Sampler, case: _Case, image: Tensor, reach: int, *, ordered: bool = False) -> None:
    """Checks the law `source`, with a source that returns the pixels of a given image, and the law `order`."""
    network = case.network
    lag = None
    if ordered:
        with laws.calling("Sampler.lag", module=network):
            lag = sampler.lag(network, reach)
        if type(lag) is not int or not 1 <= lag <= network.image.width:
            laws.broken("order", f"Sampler.lag must return an integer from 1 to the width, got {lag!r}")
    source = NotingSource(image, network.image, network.head.parameter_count, reach, lag)
    with laws.calling("the sampler, with a custom pixel source,", case.features, module=network):
        found = sampler.sample(network, case.features, source)
    source.check_finished()
    laws.check_equal("source", "the sampler's image differs from the pixels of the source", found, image)
    with torch.no_grad():
        expected = network(network.encode(image), case.features)
    # A sampler may sum in another order or use faster implementations of functions, which round differently.
    close = CLOSE if expected.dtype == torch.float64 else NARROW
    message = f"the parameters passed to the source differ from the network's predictions in {expected.dtype}"
    laws.check_equal("source", message, source.parameters, expected.double(), close, images=len(image))


def check_many(sampler: Sampler, given: Sequence[CausalNetwork]) -> None:
    """Checks the law `source` with many larger images and weights in float32, as images are drawn from a model.

    If the caller of the check passed networks, the one with the largest images is used.
    """
    networks = sorted(given, key=lambda network: network.image.dims) or _accepted(sampler, [LARGE])
    network = copy.deepcopy(networks[-1]).float()
    case = _Case(network, _features(network, MANY, 0), SampleRequest(tuple(range(MANY))))
    _check_source(sampler, case, random_images(MANY, network.image, 0), reach=1)


def _accepted(sampler: Sampler, images: Sequence[ImageSpec]) -> list[CausalNetwork]:
    networks, reasons = [], []
    for seed, network in enumerate(_networks(load_plugins(), images)):
        try:
            sampler.check(network)
        except UserError as error:
            reasons.append(str(error))
        else:
            networks.append(randomized(network, seed))
    if not networks:
        reason = f"the sampler accepts none of the default networks ({reasons[0]})"
        raise laws.ContractError("build", f"{reason}; pass networks that it accepts with networks=[…]")
    return networks


def _networks(registry: Registry, images: Sequence[ImageSpec]) -> list[CausalNetwork]:
    """Small networks of the shipped kinds `pixelcnn` and `pixelcnn++`."""
    sizes = {"pixelcnn": {"filters": 3, "blocks": 2}, "pixelcnn++": {"filters": 2, "nr_resnet": 1}}
    found = []
    for name, options in sizes.items():
        network = registry.get("network", name, "auxar.testing")
        for place, image in enumerate(images):
            value = "softmax" if place % 3 == 0 else {"name": "logistic_mixture", "components": 2}
            head = HeadChoice.from_recipe(value, registry, "auxar.testing")
            found += [network.build(network.config(**options, head=head), image, channels) for channels in (0, 2)]
    return found


def _features(network: CausalNetwork, count: int, seed: int) -> Tensor | None:
    return random_features(network, network.image, network.features_channels, count, seed)


def _request(
    image: ImageSpec, seed: int, count: int, rule: Rule, depth: int, share: float, limits: bool
) -> SampleRequest:
    """A request with a share of known pixels, and random limits of the others if there are `limits`."""
    known = random_known(random_images(count, image, seed + 3), image, seed, share)
    known = known if limits else attrs.evolve(known, limits=None)
    return SampleRequest(tuple(range(seed, seed + 7 * count, 7)), seed, rule, depth, known if share or limits else None)
