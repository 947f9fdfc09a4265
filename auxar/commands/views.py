"""The command `views`: writes the images of a recipe's data set, at a depth of its chain, as another recipe's data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Sized
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from auxar.arguments import as_integer, as_path
from auxar.data import ImageSet, load_images
from auxar.data.writing import check_new, check_pictures, new_folder, write_images
from auxar.distributed.joining import working_together
from auxar.errors import UserError, one_line
from auxar.model import View
from auxar.progress import progress_bar
from auxar.recipe import load_recipe
from auxar.recipe.building import build_views

logger = logging.getLogger("auxar")

BATCH_VALUES = 2**22
"""Approximate number of sub-pixels of the images whose views are computed at once: 32 MiB as int64."""


def write_views(
    path: str | PathLike[str],
    depth: int,
    out: str | PathLike[str],
    *,
    settings: Sequence[str] = (),
    trust_plugins: bool = False,
) -> Path:
    """Writes the images of a recipe's data set at a depth of its chain as parquet, and returns the path of the result.

    `path` is a TOML file, or the name of a recipe that comes with auxar. Depth 0 is the prepared image, and depth k its
    k-th view. `settings` are `key=value` strings that override keys of the recipe. If `out` ends in .parquet, it is a
    file with all images of the split `data.train`, in their order, so that `data.split` divides it as it divides the
    data set. Otherwise it is a folder with the training images (train.parquet), the held-out images (test.parquet) and,
    if the recipe has them, the validation images (validation.parquet).

    Raises `UserError` if the recipe or its images are invalid, if the recipe has no such depth, if pictures cannot hold
    its views, or if `out` exists.

    Examples:
        >>> import auxar
        >>> folder = auxar.write_views("quickstart", 2, "coarse", settings=["data.limit=100"])
        >>> sorted(path.name for path in folder.iterdir())
        ['test.parquet', 'train.parquet']
    """
    out = as_path(out, "out")
    depth = as_integer(depth, "depth")
    with working_together() as processes:
        with processes.agreeing():
            recipe, registry = load_recipe(path, settings, trust_plugins=trust_plugins)
            views = build_views(recipe, registry)
            if not 0 <= depth <= len(views):
                raise UserError(
                    f"--depth {depth}: expected the depth of the image or of a view of this recipe, 0 to {len(views)}"
                )
            views, values = views[:depth], recipe.data.values
            spec = views[-1].view if views else recipe.image
            check_pictures(spec, f"--depth {depth}: the images at this depth")
            is_file = out.suffix == ".parquet"
            if is_file and recipe.data.streaming and recipe.data.heldout is None and recipe.data.broken == "skip":
                raise UserError(
                    f"--out {out}: data.split would divide this file differently from the stream, whose broken images "
                    "are left out; write a folder (--out without .parquet), which has both sets, or set data.broken = "
                    "'error'"
                )
            check_new(out)
        with processes.agreeing():
            if not processes.is_main:
                return out
            data = load_images(recipe.data, recipe.image, registry, recipe.condition)
            for name in data.skipped:
                logger.warning("this image cannot be read and is left out: %s", one_line(name))
            if is_file:
                count = write_images(out, _batches(data.train.whole(), views, "images"), spec, values)
                logger.info("%d images of %s", count, spec)
                if recipe.data.heldout is None:
                    advice = "the same data.split and data.streaming divide it in the same way"
                else:
                    advice = (
                        f"the images of data.heldout = '{recipe.data.heldout}' are not in it; a folder has both sets"
                    )
                logger.info("a recipe can use this file as data.path; %s", advice)
            else:
                sets = [("train", "training", data.train), ("test", "held-out", data.heldout)]
                use = "data.heldout = 'test'"
                if data.validation is not None:
                    sets.append(("validation", "validation", data.validation))
                    use += " and data.validation = 'validation'"
                with new_folder(out) as folder:
                    counts = []
                    for split, kind, images in sets:
                        batches = _batches(images, views, f"{kind} images")
                        count = write_images(folder / f"{split}.parquet", batches, spec, values)
                        counts.append(f"{count} {kind} images")
                logger.info("%s of %s", ", ".join(counts), spec)
                logger.info("a recipe can use this folder as data.path, with %s", use)
    return out


def _batches(images: ImageSet, views: Sequence[View], description: str) -> Iterator[tuple[list[str], Tensor]]:
    """Yields the names of images, and the last of their `views`, or the images themselves if there are no views."""
    size = max(1, min(1000, BATCH_VALUES // images.image.dims))
    total = len(images) if isinstance(images, Sized) else None
    names: list[str] = []
    batch: list[Tensor] = []
    with progress_bar(total=total, desc=description, unit="image") as progress:
        for name, image in images.named():
            names.append(name)
            batch.append(image)
            if len(batch) == size:
                yield names, _view(batch, views)
                progress.update(len(batch))
                names, batch = [], []
        if batch:
            yield names, _view(batch, views)
            progress.update(len(batch))


def _view(batch: Sequence[Tensor], views: Sequence[View]) -> Tensor:
    # The values of a view at a smaller depth may exceed 255, which uint8 cannot represent.
    found = torch.stack(list(batch)).to(torch.int64)
    for view in views:
        found = view(found)
    return found
