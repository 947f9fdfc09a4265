"""Whether samples are copies of training images: the nearest of them, and how near they are to unseen images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
import torch
from torch import Tensor

from auxar.data import ImageSet, evaluation_batches
from auxar.errors import UserError
from auxar.interfaces import Prior

Batches = Iterable[tuple[Tensor, Tensor]]
"""Numbers of images, int64 (b,), and the images, integers (b, c, h, w)."""


@attrs.frozen(eq=False)
class Nearest:
    """The image of a set that is nearest to each of some images (b, c, h, w)."""

    numbers: Tensor
    """Their numbers in the set: int64, (b,). Of several that are equally near, the lowest."""
    distances: Tensor
    """Root mean square of the differences over all sub-pixels, in units of levels: float64, (b,)."""
    images: Tensor
    """The images that were found: (b, c, h, w), of the type of those they are near to."""


@attrs.frozen(eq=False)
class Neighbors:
    """Images (b, *model.image.shape) and the training images that are nearest to them."""

    images: Tensor
    by_pixels: Nearest
    by_coarsest: Nearest | None
    """The training images whose coarsest views are nearest; None for a model without views."""

    @property
    def nearest(self) -> list[Nearest]:
        """By pixels and, where there are views, by the coarsest view."""
        return [found for found in (self.by_pixels, self.by_coarsest) if found is not None]


def nearest(
    images: Tensor, batches: Batches, views: Callable[[Tensor], Sequence[Tensor]] = lambda image: [image]
) -> tuple[Nearest, ...]:
    """The nearest to `images` (b, c, h, w), by each of the `views` that are made of an image.

    Goes once through `batches`, in whatever order they come, and keeps no more than one of them. Distances are exact
    sums of integers. Raises `UserError` if there is no image in them.
    """
    wanted = views(images)
    found: list[Nearest | None] = [None] * len(wanted)
    for numbers, batch in batches:
        batch = batch.to(images.device)
        for k, (one, many) in enumerate(zip(wanted, views(batch), strict=True)):
            found[k] = _nearer(found[k], _nearest_in(one, many, numbers.to(images.device), batch.to(images.dtype)))
    complete = tuple(best for best in found if best is not None)
    if not complete:
        raise UserError("there are no images to find the nearest among")
    return complete


def mirrored(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """Each batch, and the same images mirrored left to right: for a model that was trained on both."""
    for numbers, images in batches:
        yield numbers, images
        yield numbers, images.flip(-1)


def neighbors(
    model: Prior, images: Tensor, training: ImageSet, *, batch_size: int = 64, limit: int | None = None, flip: bool
) -> Neighbors:
    """The training images, the first `limit` of them, that are nearest to `images` (b, *model.image.shape).

    With `flip`, as [training] has it, mirrored ones count as well. Memory does not grow with their number. Raises
    `UserError` for images that the model does not describe, and if a training image cannot be read.
    """
    model.image.check(images)
    batches: Batches = evaluation_batches(training, batch_size=batch_size, limit=limit)
    found = nearest(images, mirrored(batches) if flip else batches, lambda image: _compared(model, image))
    return Neighbors(images, found[0], found[1] if len(found) > 1 else None)


def _compared(model: Prior, image: Tensor) -> list[Tensor]:
    views = model.views(image)
    return [views[0], views[-1]] if len(views) > 1 else views


def _nearest_in(wanted: Tensor, many: Tensor, numbers: Tensor, images: Tensor) -> Nearest:
    """The nearest in one batch of at least one image."""
    squares = _squared_distances(wanted, many)
    least = squares.amin(1)
    tied = torch.where(squares == least[:, None], numbers, torch.iinfo(torch.int64).max)
    lowest, place = tied.min(1)
    return Nearest(lowest, (least / wanted.shape[1:].numel()).sqrt(), images[place])


def _nearer(best: Nearest | None, other: Nearest) -> Nearest:
    """Image by image the nearer one, and of two that are as near the one with the lower number."""
    if best is None:
        return other
    closer = (other.distances < best.distances) | ((other.distances == best.distances) & (other.numbers < best.numbers))
    return Nearest(
        torch.where(closer, other.numbers, best.numbers),
        torch.where(closer, other.distances, best.distances),
        torch.where(closer[:, None, None, None], other.images, best.images),
    )


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Sums of squared differences, (b, c, h, w) and (n, c, h, w) to float64 (b, n).

    Integers below 2⁵³ all along, so that float64 holds each exactly and a matrix product may sum in any order.
    """
    first, second = first.flatten(1).double(), second.flatten(1).double()
    return first.square().sum(1)[:, None] - 2 * first @ second.T + second.square().sum(1)
