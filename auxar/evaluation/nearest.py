"""A check for memorization: the training images nearest to samples and, for comparison, to held-out images."""

from collections.abc import Callable, Iterable, Sequence

import attrs
import torch
from torch import Tensor

from auxar.data.batches import evaluation_examples
from auxar.data.sets import ImageSet
from auxar.errors import UserError
from auxar.model import IMAGE, Augmentation, Chain
from auxar.model.augmentation import variants_of

BATCH = 64
"""Number of training images that are compared at once."""
Batches = Iterable[tuple[Tensor, Tensor]]
"""Batches of images with their numbers in the set: int64 (b,), and integers (b, c, h, w)."""


@attrs.frozen(eq=False)
class Nearest:
    """The nearest image of a set for each of several given images (b, c, h, w)."""

    numbers: Tensor
    """The number of each nearest image in the set: int64, (b,). If several are equally near, the lowest number."""
    distances: Tensor
    """Root mean square difference of the values of all sub-pixels: float64, (b,)."""
    images: Tensor
    """The nearest images: (b, c, h, w), with the dtype of the given images."""


@attrs.frozen(eq=False)
class Neighbors:
    """Images (b, *model.image.shape), and the training images nearest to them by pixels and by coarsest view."""

    images: Tensor
    nearest: tuple[Nearest, ...]
    """The nearest training images by pixels and, if the model has views, by the coarsest view."""


def nearest(
    images: Tensor, batches: Batches, views: Callable[[Tensor], Sequence[Tensor]] = lambda image: [image]
) -> tuple[Nearest, ...]:
    """The images in `batches` nearest to `images` (b, c, h, w): one result for each view that `views` computes.

    By default, the images themselves are compared. Iterates once over `batches`, in any order, and keeps one batch in
    memory. Sums of squared differences are exact. Raises `UserError` if `batches` contains no image.
    """
    wanted = views(images)
    found: list[Nearest | None] = [None] * len(wanted)
    for numbers, batch in batches:
        batch = batch.to(images.device)
        for k, (one, many) in enumerate(zip(wanted, views(batch), strict=True)):
            found[k] = _nearer(found[k], _nearest_in(one, many, numbers.to(images.device), batch.to(images.dtype)))
    complete = tuple(best for best in found if best is not None)
    if not complete:
        raise UserError("there are no images to compare with; at least one is needed")
    return complete


def neighbors(model: Chain, images: Tensor, training: ImageSet, augment: Sequence[Augmentation] = ()) -> Neighbors:
    """Finds the training images nearest to `images` (b, *model.image.shape).

    With `augment`, which should be the augmentations of the training, variants of training images are compared as well;
    see `variants_of`. Memory does not grow with the number of training images. Raises `UserError` if `images` do not
    match `model.image`, or if a training image cannot be read.
    """
    model.image.check(images)
    batches = (
        (numbers, variant)
        for numbers, batch in evaluation_examples(training, batch_size=BATCH)
        for variant in variants_of(training.centered(batch[IMAGE]), augment, training.image)
    )
    # The images themselves are compared and, if the model has views, their coarsest views.
    deepest = max(1, len(model.factors) - 1)
    return Neighbors(images, nearest(images, batches, lambda image: model.by_depth(model.values(image))[::deepest]))


def _nearest_in(wanted: Tensor, many: Tensor, numbers: Tensor, images: Tensor) -> Nearest:
    """The nearest images within one batch, which must not be empty.

    Sums of squared differences are integers. While they stay below 2⁵³, as they do for 256 levels, float64 represents
    them exactly, and the order of summation in a matrix product does not matter.
    """
    first, second = wanted.flatten(1).double(), many.flatten(1).double()
    squares = first.square().sum(1)[:, None] - 2 * first @ second.T + second.square().sum(1)
    least = squares.amin(1)
    tied = torch.where(squares == least[:, None], numbers, torch.iinfo(torch.int64).max)
    lowest, place = tied.min(1)
    return Nearest(lowest, (least / wanted.shape[1:].numel()).sqrt(), images[place])


def _nearer(best: Nearest | None, other: Nearest) -> Nearest:
    """The nearer of two candidates for each image; if both are equally near, the one with the lower number."""
    if best is None:
        return other
    closer = (other.distances < best.distances) | ((other.distances == best.distances) & (other.numbers < best.numbers))
    return Nearest(
        torch.where(closer, other.numbers, best.numbers),
        torch.where(closer, other.distances, best.distances),
        torch.where(closer[:, None, None, None], other.images, best.images),
    )
