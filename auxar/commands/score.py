"""The command `score`: how unusual images are for a model, for instance to find outliers."""

from __future__ import annotations

import bisect
import csv
import io
import logging
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from auxar.arguments import as_integer, as_path, as_paths
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.evaluation.codecs import codec_bits_per_dim, has_codec
from auxar.evaluation.records import Exactness
from auxar.generation.image_files import images_at
from auxar.image_model.loading import load
from auxar.image_model.model import ImageModel
from auxar.image_model.recipe_images import load_images

logger = logging.getLogger("auxar")

HELDOUT = 200
"""Default number of held-out images with which images are compared."""


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
    """Number of held-out images that the ranks compare with."""

    def csv(self) -> str:
        """The scores as a table of comma-separated values, with a line of headings. Unknown values are empty."""
        text = io.StringIO()
        names = [field.name for field in attrs.fields(ImageScore)]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(image, name) for name in names] for image in self.images)
        return text.getvalue()


def score(
    path: str | PathLike[str],
    paths: Iterable[str | PathLike[str]],
    *,
    condition: Any = None,
    heldout: int = HELDOUT,
    resize: str | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> Scores:
    """Scores images by how unusual they are for a run's model, beside its held-out images.

    `path` is the run's folder or the name of a model, and `paths` are image files, or folders of image files. `resize`
    is the treatment of images of other sizes, as in `ImageModel.prepare`; the default is the recipe's. `heldout` images
    of the run's data are scored as well, evenly spaced (of a stream, the first ones), which gives the ranks. Without
    these data, a warning says so and the ranks are None.

    `condition` is the condition of a model that has one, as for `ImageModel.log_prob`: one, or one for each image.
    Held-out images are then given their own conditions. The default is the null condition for all.

    Raises `UserError` if there are no images, if one of them cannot be read or has another size, if the condition does
    not fit the model, or as `auxar.load`.

    Examples:
        >>> import auxar
        >>> drawn = auxar.sample("runs/quickstart", images=2, rule="map", seed=3)
        >>> scores = auxar.score("runs/quickstart", [drawn / "images"], heldout=8)
        >>> [image.file.name for image in scores.images], scores.heldout_images
        (['000000.png', '000001.png'], 8)
    """
    folder, files = as_path(path, "path"), as_paths(paths, "paths")
    as_integer(heldout, "heldout", least=0)
    found = [file for each in files for file in images_at(each)]
    if not found:
        raise UserError("paths: expected at least one image file, or a folder of images")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar score: run this command in one process")
    model = load(folder, device, trust_plugins=trust_plugins)
    values = _values(model, model.prepare(found, resize=resize), condition)
    others = _heldout(model, heldout, conditioned=condition is not None) if heldout else None
    ranks = [_ranks(*pair) for pair in zip(values, others, strict=True)] if others else [[None] * len(found)] * 3
    rows = zip(found, *values, ranks[0], ranks[2], strict=True)
    count = len(others[0]) if others else 0
    return Scores(tuple(ImageScore(*row) for row in rows), "exact" if model.exact else "bound", count)


Values = tuple[Sequence[float], Sequence[float | None], Sequence[float | None]]
"""Bits/dim of the model, of a codec, and their difference, for each image."""


def _values(model: ImageModel, images: Tensor, condition: Any) -> Values:
    bits = model.bits_per_dim(images, condition=condition).tolist()
    if not has_codec(model.image):
        return bits, [None] * len(bits), [None] * len(bits)
    stored = [codec_bits_per_dim(image) for image in images]
    return bits, stored, [own - other for own, other in zip(bits, stored, strict=True)]


def _ranks(values: Sequence[float | None], others: Sequence[float | None]) -> list[float | None]:
    """The share of `others` that are smaller than each value; None where values are unknown."""
    known = sorted(other for other in others if other is not None)
    return [None if value is None or not known else bisect.bisect_left(known, value) / len(known) for value in values]


def _heldout(model: ImageModel, count: int, *, conditioned: bool) -> Values | None:
    """The values of evenly spaced held-out images; None, with a warning, if these cannot be loaded.

    `conditioned` images are given their own conditions, others the null condition.
    """
    try:
        found = load_images(model).heldout.spaced_examples(count)
        return _values(model, found.image, found.condition if conditioned else None)
    except UserError as error:
        logger.warning("images are not compared with held-out images: %s", error)
        return None
