"""Checks that a run makes of plugins, because a mistake in them would give wrong figures without an error.

The contract checks of `auxar.testing` are far more thorough, and show examples.
"""

import copy
import functools

import torch
from torch import Tensor

from auxar.errors import UserError, logger
from auxar.model.augmentation import MOST_VARIANTS, Augmentation
from auxar.model.factor import Factor
from auxar.model.image import ImageSpec

NOISE = 0.1
"""Standard deviation of the noise that is added to weights."""
ROUNDING = 1e-3
"""Changes of predictions, absolute and relative, that count as rounding, in float32."""


def checked(nats: Tensor, factor: str) -> Tensor:
    """Returns log-likelihoods of a factor. Warns, once for each factor, if some are NaN."""
    if nats.isnan().any():
        _warn_of_nan(factor)
    return nats


@functools.cache
def _warn_of_nan(factor: str) -> None:
    logger.warning(
        "log-likelihoods of factor %s are NaN, because its weights are so large that values in its networks overflow; "
        "images that it draws and figures have no meaning",
        factor,
    )


@torch.no_grad()
def check_causal(factor: Factor) -> None:
    """Raises `UserError` if a prediction of the factor's network depends on its own pixel, a later one or other images.

    Weights get noise, because weights that are 0 before the training would hide what a network reads. A factor whose
    distribution is no causal network, or in integers, is not checked.
    """
    if factor.network is None or factor.network.encodes_integers:
        return
    network, random = copy.deepcopy(factor.network).cpu().float().eval(), torch.Generator().manual_seed(0)
    for weights in network.parameters():
        weights.add_(NOISE * torch.randn(weights.shape, generator=random, dtype=weights.dtype))
    spec = network.image
    place = min((spec.height + 1) * spec.width // 2, spec.height * spec.width - 1)  # in the middle
    later = torch.arange(spec.height * spec.width).view(spec.height, spec.width) >= place
    before = torch.randint(spec.levels, (1, *spec.shape), generator=random)
    after = torch.where(later, (before + spec.levels // 2) % spec.levels, before)
    shape = (1, network.features_channels, spec.height, spec.width)
    features = torch.randn(shape, generator=random) if network.features_channels else None

    def predicted(*images: Tensor) -> Tensor:
        own = None if features is None else features.repeat(len(images), 1, 1, 1)
        found: Tensor = network(network.encode(torch.cat(images)), own)
        return found[:1].flatten(2)[..., : place + 1]

    # Batches of other sizes may be computed in another order, and rounding grows in deep networks.
    for first, second, what in (
        ((before,), (after,), "is not causal: a prediction depends on its own pixel or on a later one"),
        ((before, before), (before, spec.levels - 1 - before), "mixes the images of a batch"),
    ):
        one, two = predicted(*first), predicted(*second)
        if bool(((one - two).abs() > ROUNDING * (1 + one.abs())).any()):
            raise UserError(
                f"factor {factor.name}: the network {type(network).__name__} {what}, so figures would be no "
                "likelihoods; `auxar.testing.check_network` shows where"
            )


@torch.no_grad()
def check_augmentation(augmentation: Augmentation, images: Tensor, spec: ImageSpec) -> None:
    """Checks the variants of images, integers (b, *spec.shape), and of their negatives.

    Raises `UserError` if variant 0 is another image, if the augmentation changes its argument, or if a variant has
    another shape, dtype or range than the image, or depends on the other images or on chance.
    """
    images = torch.cat([images, spec.levels - 1 - images])  # A single image would hide what depends on others.
    for variant in range(min(augmentation.variants(spec), MOST_VARIANTS)):
        found = augmentation(given := images.clone(), variant)
        alike = isinstance(found, Tensor) and (found.shape, found.dtype) == (images.shape, images.dtype)
        alone = [augmentation(image[None].clone(), variant) for image in images] if alike else []
        for is_wrong, what in (
            (not torch.equal(given, images), "changes its argument"),
            (not alike, "must return a tensor of the shape and dtype of the images"),
            (alike and not 0 <= int(found.min()) <= int(found.max()) < spec.levels, "leaves the range of the images"),
            (alike and not variant and not torch.equal(found, images), "changes images that it must leave as they are"),
            (alike and not torch.equal(torch.cat(alone), found), "depends on the batch of an image, or on chance"),
        ):
            if is_wrong:
                told = f"the augmentation {type(augmentation).__name__} {what} (variant {variant})"
                raise UserError(f"{told}; `auxar.testing.check_augmentation` shows where")


@torch.no_grad()
def check_view(factor: Factor, image: Tensor, view: Tensor) -> None:
    """Checks the view of a factor on images, integers (b, *factor.image.shape), whose views are `view`.

    Raises `UserError` if it changes its argument, if its values are outside of its range, if it gives other values at a
    second call with further images, or if a decoder is restricted and values of the images lie outside of the intervals
    of their view.
    """
    assert factor.view is not None
    name = f"factor {factor.name}: the view {type(factor.view).__name__}"
    advice = "`auxar.testing.check_view` shows where"
    other = factor.image.levels - 1 - image
    factor.view_of(given := other.clone())
    if not torch.equal(given, other):
        raise UserError(f"{name} changes its argument; {advice}")
    ends = torch.stack([torch.zeros_like(other[0]), torch.full_like(other[0], factor.image.levels - 1)])
    found, levels = factor.view_of(torch.cat([image, other, ends]).long()), factor.view.view.levels
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= levels:
        raise UserError(f"{name} gives values {low} … {high}, but its range is 0 … {levels - 1}; {advice}")
    if not torch.equal(found[: len(image)], view.long()):
        raise UserError(f"{name} gives other values for the same images at a second call, in another batch; {advice}")
    if factor.restricted and (images := factor.given_view(view)) is not None:
        outside = int(images.interval(image.long()).outside(image).sum())
        if outside:
            raise UserError(
                f"{name} has another support: {outside:,} of {image.numel():,} values of images lie outside of the "
                f"intervals of their view; {advice}"
            )
