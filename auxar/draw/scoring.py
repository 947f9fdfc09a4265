"""Bits/dim of images under a model and in files of codecs, and their ranks among held-out images."""

from __future__ import annotations

import bisect
import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.draw.image_model import ImageModel
from auxar.draw.recipe_images import load_images
from auxar.errors import UserError
from auxar.evaluation.codecs import codec_bits_per_dim, codec_sizes, has_codec
from auxar.evaluation.facts import Exactness
from auxar.evaluation.figures import Mean
from auxar.progress import BAR_DELAY, progress_bar

logger = logging.getLogger("auxar")


@attrs.frozen
class ImageScore:
    """How unusual an image is for a model."""

    file: Path
    """The image file."""
    bits_per_dim: float
    """Bits/dim of the image under the model. Large values are unusual for the model, or complex."""
    codec_bits_per_dim: float | None
    """Bits/dim of the image in a lossless file (PNG or WebP, whichever is smaller); None if these codecs cannot store
    the model's images."""
    difference: float | None
    """`bits_per_dim` minus `codec_bits_per_dim` (Serrà et al. 2020). Large values are unusual for the
    model, whether the image is complex or not."""
    rank: float | None = None
    """Share of held-out images with smaller `bits_per_dim`, 0 … 1; None if there are no held-out images."""
    difference_rank: float | None = None
    """Share of held-out images with a smaller `difference`, 0 … 1; None if it is unknown."""


@attrs.frozen
class Scores:
    """The result of `auxar.score`: an `ImageScore` for each image."""

    images: tuple[ImageScore, ...]
    """The scores of the images, in the order in which they were given."""
    kind: Exactness
    """Whether bits/dim are exact or an upper bound."""
    heldout_images: int
    """Number of held-out images that the ranks compare with, or that were measured if no images were given."""
    means: Mapping[str, Mean] = attrs.field(factory=dict)
    """Mean bits/dim of held-out images under the model (`model`) and in files of lossless codecs (`PNG`, …). Empty if
    images were given."""

    def csv(self) -> str:
        """The scores as a table of comma-separated values, with a line of headings. Unknown values are empty."""
        text = io.StringIO()
        names = [field.name for field in attrs.fields(ImageScore)]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(image, name) for name in names] for image in self.images)
        return text.getvalue()


Values = tuple[Sequence[float], Sequence[float | None], Sequence[float | None]]
"""Bits/dim of the model, of a codec, and their difference, for each image."""


def values_of(model: ImageModel, images: Tensor, condition: Any) -> Values:
    bits = model.bits_per_dim(images, condition=condition).tolist()
    if not has_codec(model.image):
        return bits, [None] * len(bits), [None] * len(bits)
    stored = [codec_bits_per_dim(image) for image in images]
    return bits, stored, [own - other for own, other in zip(bits, stored, strict=True)]


def check_needs_images(options: Mapping[str, Any], heldout: int) -> None:
    """Raises `UserError` if an option is given that only images of the user have, or if there is nothing to measure."""
    for name, value in options.items():
        if value is not None:
            raise UserError(f"{name}: expected images to score; held-out images are measured as they are")
    if not heldout:
        raise UserError("heldout: expected at least 1, because no images are given, got 0")


def heldout_means(model: ImageModel, count: int) -> Scores:
    """Measures up to `count` held-out images, with their own conditions, under the model and in files of codecs."""
    found = load_images(model).heldout.spaced_examples(count)
    means = {"model": Mean.of(model.bits_per_dim(found.image, condition=found.condition))}
    if has_codec(model.image):
        sizes = [
            codec_sizes(image) for image in progress_bar(found.image, desc="codecs", unit="image", delay=BAR_DELAY)
        ]
        for name in sizes[0]:
            bits = torch.tensor([8 * size[name] / model.image.dims for size in sizes], dtype=torch.float64)
            means[name] = Mean.of(bits)
    return Scores((), "exact" if model.exact else "bound", len(found.image), means)


def ranks_among(values: Sequence[float | None], others: Sequence[float | None]) -> list[float | None]:
    """The share of `others` that are smaller than each value; None where values are unknown."""
    known = sorted(other for other in others if other is not None)
    return [None if value is None or not known else bisect.bisect_left(known, value) / len(known) for value in values]


def heldout_values(model: ImageModel, count: int, *, conditioned: bool) -> Values | None:
    """The values of evenly spaced held-out images; None, with a warning, if these cannot be loaded.

    `conditioned` images are given their own conditions, others the null condition.
    """
    try:
        found = load_images(model).heldout.spaced_examples(count)
        return values_of(model, found.image, found.condition if conditioned else None)
    except UserError as error:
        logger.warning("images are not compared with held-out images: %s", error)
        return None
