"""Checks of causal networks: each pixel is encoded alone, and predicted from earlier pixels alone, also in steps."""

import torch
from torch import Tensor

from auxar.model import CausalNetwork, StepwiseNetwork
from auxar.testing.examples import random_images
from auxar.testing.laws import broken, calling, check_equal, check_tensor, described
from auxar.testing.modules import CLOSE

ROUNDING = 1e-12
"""The relative and absolute tolerance of the causality check, in float64. Smaller changes count as rounding."""
FEW = 9
"""The number of pixels that are changed in a large image."""
AT_ONCE = 64
"""The batch size of the causality check, in which each image has a different pixel changed."""


def check_causality(network: CausalNetwork, features: Tensor | None, seed: int) -> None:
    """Checks the laws `encode` and `causality`. The latter is checked for every pixel."""
    image = random_images(1, network.image, seed)
    _check_encode(network, image)
    # Pixels are tested in chunks, because one image for each pixel of a large image would not fit into memory.
    for places in torch.arange(network.image.height * network.image.width).split(AT_ONCE):
        _check_ahead(network, features, image, places)


def check_some_causality(network: CausalNetwork, features: Tensor | None, seed: int) -> None:
    """Checks the law `causality` for `FEW` evenly spaced pixels of an image that may be large.

    It is checked in evaluation mode and in training mode, with equal random numbers for both predictions. A network
    that is causal in evaluation mode only is trained to use pixels that are unknown when it draws.
    """
    places = torch.linspace(0, network.image.height * network.image.width - 1, FEW).long().unique()
    image = random_images(1, network.image, seed)
    for training in (False, True):
        network.train(training)
        _check_ahead(network, features, image, places)


def _check_encode(network: CausalNetwork, image: Tensor) -> None:
    """Checks the law `encode`: each pixel is encoded alone, as samplers do, and in the same way at every place."""
    pixels = image.flatten(2)[0].T[:, :, None, None]
    with calling("encode", image, module=network), torch.no_grad():
        whole, alone = network.encode(image), network.encode(pixels)
    if whole.dim() != 4 or tuple(whole.shape[2:]) != tuple(image.shape[2:]):
        broken("encode", f"encode must return one vector for each pixel, got {described(whole)}")
    message = "encode must convert each pixel alone and in the same way at every place"
    check_equal("encode", message, alone.flatten(1), whole.flatten(2)[0].T)


def _check_ahead(network: CausalNetwork, features: Tensor | None, image: Tensor, places: Tensor) -> None:
    """Changes each pixel at `places` (n,), and all pixels after it, in its own copy of the image.

    Predictions for the pixel and for earlier ones must not change.
    """
    spec = network.image
    before = image.repeat(len(places), 1, 1, 1)
    later = torch.arange(spec.height * spec.width).view(spec.height, spec.width) >= places[:, None, None, None]
    after = torch.where(later, (before + 1) % spec.levels, before)
    if features is not None:
        features = features.expand(len(places), -1, -1, -1)
    with calling("the network", before, after, features, module=network, random=network.training), torch.no_grad():
        # The original and the changed image have the same index in two batches, because vectorized functions may
        # round differently at different indices of one batch.
        one, two = (_predictions(network, images, features) for images in (before, after))
    check_tensor("the network", one, (len(places), network.head.parameter_count, spec.height, spec.width))
    # Changes up to rounding are ignored: fast Fourier transforms, for example, spread rounding errors over all pixels.
    differs = ((one - two).abs() > ROUNDING * (1 + one.abs())).any(1).flatten(1)
    ahead = (differs & (torch.arange(differs.shape[1]) <= places[:, None])).nonzero()
    if len(ahead):
        row, place = ahead[-1].tolist()
        changed, seen = divmod(int(places[row]), spec.width), divmod(place, spec.width)
        broken(
            "causality",
            f"the prediction for row {seen[0]}, column {seen[1]} depends on the pixel in row {changed[0]}, column "
            f"{changed[1]}, or on one after it{', in training mode' * network.training}",
            image=image[0],
        )


def _predictions(network: CausalNetwork, images: Tensor, features: Tensor | None) -> Tensor:
    """The network's parameters for images. In training mode, every call uses the same random numbers for dropout."""
    if network.training:
        torch.default_generator.manual_seed(0)
    found: Tensor = network(network.encode(images), features)
    return found


def check_steps(network: StepwiseNetwork, features: Tensor | None, seed: int) -> None:
    """Checks the law `steps`, for two images at once and for one of them alone, whose steps take turns.

    `features` are those of two images.
    """
    images = random_images(2, network.image, seed)
    alone = None if features is None else features[1:]
    with calling("the network's stepper", images, features, module=network), torch.no_grad():
        expected = network(network.encode(images), features).flatten(2)
        steppers = network.stepper(2, features), network.stepper(1, alone)
        pixels: list[Tensor | None] = [None, *network.encode(images).flatten(2).unbind(2)]
        for place, (pixel, parameters) in enumerate(zip(pixels, expected.unbind(2), strict=False)):
            found = steppers[0](pixel), steppers[1](None if pixel is None else pixel[1:])
            row, column = divmod(place, network.image.width)
            message = f"the step for row {row}, column {column} predicts other parameters than the network"
            for own, right in zip(found, (parameters, parameters[1:]), strict=True):
                check_tensor("a step", own, right.shape, right.dtype, law="steps")
                check_equal("steps", message, own, right, CLOSE, images=len(right))
