"""Bits/dim and labels of images beside those of held-out images: scores, means and accuracy.

Maps show which pixels are unusual for a model.
"""

import contextlib
import csv
import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.data.writing import new_folder
from auxar.draw.classification import Accuracy, Classes
from auxar.draw.conditions import digest_of, or_null
from auxar.draw.image_model import ImageModel
from auxar.draw.loading import load_images
from auxar.errors import UserError, logger
from auxar.evaluation.codecs import codec_bits_per_dim, has_codec
from auxar.evaluation.facts import Exactness
from auxar.evaluation.stored import stored_evaluation
from auxar.files import check_replaceable, is_file, read_bytes, write_text
from auxar.model import CONDITION, IMAGE
from auxar.work.chunks import Tensors, Work

KEY = "key"
"""Name of the last column of a table of scores: a digest of the other columns and of the key of the work."""
CHUNK = 64
"""Number of images in a chunk of a table of scores."""
BRIGHTEST = 0.999
"""Share of all pixels whose colors are not the strongest ones."""


@attrs.frozen
class ImageScore:
    """How unusual an image is for a model."""

    file: Path
    """The image file."""
    bits_per_dim: float
    """Bits/dim of the image under the model. Large values are unusual for the model, or complex."""
    other_bits_per_dim: float | None = None
    """Bits/dim of the image under another model or, if none is given, in a lossless file (PNG or WebP, whichever is
    smaller); None if these codecs cannot store the model's images."""
    difference: float | None = None
    """`bits_per_dim` minus `other_bits_per_dim` (Serrà et al. 2020, Ren et al. 2019). Large values are unusual for the
    model, whether the image is complex or not."""
    rank: float | None = None
    """Share of held-out images with smaller `bits_per_dim`, 0 … 1; None if there are no held-out images."""
    difference_rank: float | None = None
    """Share of held-out images with a smaller `difference`, 0 … 1; None if it is unknown."""


FIELDS = [field.name for field in attrs.fields(ImageScore)]
"""The columns of a table of scores, without the key."""


@attrs.frozen
class Scores:
    """The result of `auxar.score`: an `ImageScore` for each image."""

    images: tuple[ImageScore, ...] = attrs.field(repr=False)
    """The scores of the images, in the order in which they were given."""
    kind: Exactness
    """Whether bits/dim are exact or an upper bound."""
    heldout_images: int
    """Number of held-out images that the ranks compare with."""
    strongest: float | None = None
    """Bits of the strongest colors of the maps; None if there are no maps."""

    def csv(self, key: str | None = None) -> str:
        """The scores as a table of comma-separated values, with a line of headings. Unknown values are empty.

        With a `key`, which says how they were computed, it is the last value of each line. Bytes of file names that are
        not UTF-8 are escaped.
        """
        text = io.StringIO()
        names = FIELDS if key is None else [*FIELDS, KEY]
        writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**attrs.asdict(image, recurse=False), KEY: key} for image in self.images)
        return text.getvalue().encode("utf-8", "backslashreplace").decode()


class ScoreTable(Work):
    """The work of writing the scores of images into a table (CSV)."""

    def __init__(
        self,
        models: tuple[ImageModel, ImageModel | None],
        files: Sequence[Path],
        images: Sequence[Tensor],
        condition: Tensor | None,
        table: Path,
    ) -> None:
        """`images` are first those of the files and then held-out images, with their conditions, or None.

        `models` are the model and the one that it is compared with, or None.
        """
        self.models, self.files, self.images, self.condition = models, files, images, condition
        facts: dict[str, Any] = {"images": digest_of(*images, condition)}
        for name, model in zip(("", "against "), models, strict=True):
            if model is not None:
                facts[name + "weights"] = {factor: origin.checksum for factor, origin in model.origins.items()}
                facts[name + "digests"] = model.chain.digests
        super().__init__(table, {**facts, "files": list(map(str, files))}, math.ceil(len(images) / CHUNK))

    def compute(self, number: int) -> Tensors:
        """The values of the images of a chunk."""
        rows = slice(number * CHUNK, (number + 1) * CHUNK)
        return _values(*self.models, self.images[rows], None if self.condition is None else self.condition[rows])

    def conclude(self, found: list[Tensors]) -> None:
        """Writes the table."""
        columns = {name: torch.cat([own[name] for own in found]) for name in found[0]}
        write_text(self.output, self._table(_scores(self.models[0], self.files, columns)))

    def is_concluded(self) -> bool:
        """Whether the table is there."""
        return self.read() is not None

    def read(self) -> Scores | None:
        """The scores in the table; None if there is none, or another one."""
        text = read_bytes(self.output).decode("utf-8", "replace") if is_file(self.output) else ""
        with contextlib.suppress(csv.Error, KeyError, ValueError):  # Another file.
            rows = csv.DictReader(io.StringIO(text))
            values = [[float(row[name]) if row[name] else None for name in FIELDS[1:]] for row in rows]
            images = (ImageScore(file, *own) for file, own in zip(self.files, values, strict=True))  # type: ignore[arg-type]
            found = Scores(tuple(images), _kind(self.models[0]), len(self.images) - len(self.files))
            return found if self._table(found) == text else None  # Of a table that was changed, nothing is believed.
        return None

    def _table(self, scores: Scores) -> str:
        """The table of some scores, which only the same work can have."""
        return scores.csv(hashlib.sha256(f"{self.key}\n{scores.csv()}".encode()).hexdigest()[:32])


def scored(
    model: ImageModel,
    files: Sequence[Path],
    images: Sequence[Tensor],
    condition: Any,
    heldout: int,
    table: Path | None = None,
    *,
    replace: bool = False,
    against: ImageModel | None = None,
    maps: Path | None = None,
) -> Scores:
    """Scores images (c, h, w), which may have several sizes, and ranks them among up to `heldout` held-out images.

    The images are read from files. If some `condition` is given, held-out images are given their own, and otherwise the
    null condition. Without held-out images, or if they cannot be loaded, which a warning says, there are no ranks. The
    scores are also written into a `table`, which processes write together, and maps into the new folder `maps`. Both
    compare with the model `against`, if one is given. Raises `UserError` if the table exists with other scores and
    `replace` is False, or if the images do not fit the other model.
    """
    given = None if condition is None else model.conditions(condition, len(images))
    kinds = {(each.image.channels, each.image.levels) for each in (model, against) if each is not None}
    if against is not None and len(kinds) > 1:
        raise UserError(f"against: expected a model of images like {model.image}, got one of {against.image}")
    own, own_given = images, given
    if heldout:
        try:
            data = load_images(model).heldout
            known = model.run and stored_evaluation(model.run.evaluation)
            if model.run and known and known.data.heldout_fingerprint != data.fingerprint:
                logger.warning("ranks compare with other held-out images than the evaluation of %s", model.run.name)
            examples = data.spaced_examples(heldout)
            images = [*images, *examples[IMAGE]]
            given = None if given is None or CONDITION not in examples else torch.cat([given, examples[CONDITION]])
        except UserError as error:
            logger.warning("images are not compared with held-out images: %s", error)
    if table is None:
        scores: Scores | None = _scores(model, files, _values(model, against, images, given))
    else:
        work = ScoreTable((model, against), files, images, given, table)
        if not work.is_concluded():
            if table.resolve() in {Path(file).resolve() for file in files}:
                raise UserError(f"out: {table} is one of the images; choose another name")
            check_replaceable(table, replace)
        work.do("scores")
        scores = work.read()
    assert scores is not None
    if maps is None:
        return scores
    return attrs.evolve(scores, strongest=_write_maps(maps, model, against, files, own, own_given))


def _write_maps(
    folder: Path,
    model: ImageModel,
    against: ImageModel | None,
    files: Sequence[Path],
    images: Sequence[Tensor],
    condition: Tensor | None,
) -> float:
    """Writes a map of each image (c, h, w), a PNG file of its size, into a new folder.

    A pixel is red if it has more bits under the model than under the model `against`, and blue if it has fewer. Without
    `against`, it is the redder the more bits it has. Returns the number of bits of the strongest colors, which is the
    same in all maps.
    """
    maps, other = [], None if against is None else or_null(None, against.condition)
    for number, image in enumerate(images):
        own = or_null(None, model.condition) if condition is None else condition[number, None]
        bits = model.pixel_bits(image[None], condition=own)[0]
        maps.append(bits if against is None else bits - against.pixel_bits(image[None], condition=other)[0])
    # PyTorch's quantile refuses more than 2²⁴ numbers.
    most = max(float(np.quantile(torch.cat([bits.abs().flatten() for bits in maps]).numpy(), BRIGHTEST)), 1e-9)
    with new_folder(folder) as temporary:
        for number, (file, bits) in enumerate(zip(files, maps, strict=True)):
            red, blue = (bits / most).clamp(0, 1), (-bits / most).clamp(0, 1)
            colors = 1 - torch.stack([blue, red + blue, red], 2)
            picture = Image.fromarray((255 * colors).round().numpy().astype(np.uint8))
            picture.save(temporary / f"{number:06d}-{file.stem}.png")
    return most


def _scores(model: ImageModel, files: Sequence[Path], columns: dict[str, Tensor]) -> Scores:
    """The scores of the images of files from the values of these and, further down, of held-out images."""
    own = {name: values[: len(files)] for name, values in columns.items()}
    others = {name: values[len(files) :] for name, values in columns.items()}
    count = len(others["bits_per_dim"])
    for name, rank in (("bits_per_dim", "rank"), ("difference", "difference_rank")):
        if count and name in others:
            own[rank] = torch.searchsorted(others[name].sort().values, own[name]).double() / count
    rows = zip(*(values.tolist() for values in own.values()), strict=True)
    images = (ImageScore(file, **dict(zip(own, row, strict=True))) for file, row in zip(files, rows, strict=True))
    return Scores(tuple(images), _kind(model), count)


def _kind(model: ImageModel) -> Exactness:
    return "exact" if model.exact else "bound"


def _values(
    model: ImageModel, against: ImageModel | None, images: Sequence[Tensor], condition: Any
) -> dict[str, Tensor]:
    """Fields of `ImageScore` for each image, float64 (n,): bits/dim of the model and of another model or a codec, and
    their difference."""
    own = model.bits_per_dim(images, condition=or_null(condition, model.condition))
    if against is not None:
        stored = against.bits_per_dim(images, condition=or_null(None, against.condition))
    elif has_codec(model.image):
        stored = torch.tensor([codec_bits_per_dim(image) for image in images], dtype=torch.float64)
    else:
        return {"bits_per_dim": own}
    return {"bits_per_dim": own, "other_bits_per_dim": stored, "difference": own - stored}


def heldout_accuracy(model: ImageModel, count: int) -> Classes:
    """Classifies up to `count` held-out images of a model with labels."""
    examples = load_images(model).heldout.spaced_examples(count)
    classes = model.classify(examples[IMAGE])
    accuracy = Accuracy.of(classes.labels, examples[CONDITION].flatten().long(), classes.names)
    return Classes((), "exact" if classes.exact else "bound", model.chain.condition_factor is not None, accuracy)
