"""The command `views`: writes the images of a recipe's data set, at a depth of its chain, as another recipe's data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import UserError, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from auxar.data.sets import DataSets, ImageSet
    from auxar.data.writing import WrittenViews
    from auxar.model import View
    from auxar.recipe import DataConfig

logger = logging.getLogger("auxar")


def _shown(found: WrittenViews) -> Result:
    files = [{"file": file, "images": images} for file, images in sorted(found.images.items())]
    return Result([str(found.path)], {"path": str(found.path), "depth": found.depth, "files": files})


@command("Train", show=_shown)
def write_views(
    recipe: str | PathLike[str],
    depth: int,
    out: str | PathLike[str],
    *,
    settings: Sequence[str] = (),
    trust_plugins: bool = False,
) -> WrittenViews:
    """Writes views of a recipe's images as another recipe's data.

    The images of the recipe's data set at one depth of its chain are written as parquet, with lossless pictures.
    Another recipe can then train the factors from this depth on without the full images. Like the data set, a file is
    divided by data.split, because it has all images of the split data.train in their order.

    Args:
        depth (--depth K): depth of the images: 0 for the cropped and resized image, k for its k-th view
        out (-o, --out PATH): a new file that ends in .parquet, for all images of the split data.train; any other name
            is a new folder, for the training images (train.parquet), the held-out images (test.parquet) and any
            validation images (validation.parquet)
        settings: override keys of the recipe, such as data.path=FOLDER

    Returns:
        The path, and the number of images of each file.

    Raises:
        UserError: the recipe or its images are invalid, the recipe has no such depth, pictures cannot hold its views,
            or the file or folder exists

    Examples:
        >>> import auxar
        >>> found = auxar.write_views("quickstart", 2, "coarse", settings=["data.limit=100"])
        >>> found.path.is_dir(), sorted(found.images)
        (True, ['test.parquet', 'train.parquet'])
    """
    from auxar.arguments import as_integer, as_path
    from auxar.data.loading import load_images
    from auxar.data.writing import WrittenViews, check_new, check_pictures
    from auxar.recipe import load_recipe
    from auxar.recipe.building import build_views
    from auxar.work.processes import working_together

    path, target = as_path(recipe, "recipe"), as_path(out, "out")
    depth = as_integer(depth, "depth")
    with working_together() as processes:
        with processes.agreeing():
            opened, registry = load_recipe(path, settings, trust_plugins=trust_plugins)
            config, views = opened.data, build_views(opened, registry)
            if not 0 <= depth <= (most := len(views)):
                raise UserError(
                    f"depth: expected the depth of the image or of a view of this recipe, 0 to {most}, got {depth}"
                )
            views = views[:depth]
            check_pictures(views[-1].view if views else opened.image, f"depth: the images at depth {depth}")
            if target.suffix == ".parquet" and config.streaming and config.heldout is None and config.broken == "skip":
                raise UserError(
                    "out: data.split would divide this file differently from the stream, whose broken images are left "
                    "out; write a folder (a name without .parquet), which has both sets, or set data.broken = 'error'"
                )
            check_new(target)
        with processes.agreeing():
            if not processes.is_main:
                return WrittenViews(target, depth, {})
            data = load_images(config, opened.image, registry, opened.condition)
            for name in data.skipped:
                logger.warning("this image cannot be read and is left out: %s", one_line(name))
            write = _write_file if target.suffix == ".parquet" else _write_folder
            return WrittenViews(target, depth, write(target, data, views, config))


def _write_file(target: Path, data: DataSets, views: Sequence[View], config: DataConfig) -> dict[str, int]:
    """Writes all images of the split `data.train` to one file. Returns their number by the name of the file."""
    count = _write(target, data.train.whole(), views, config, "images")
    logger.info("%d images of %s", count, views[-1].view if views else data.train.image)
    advice = "the same data.split and data.streaming divide it in the same way"
    if config.heldout is not None:
        advice = f"the images of data.heldout = '{config.heldout}' are not in it; a folder has both sets"
    logger.info("a recipe can use this file as data.path; %s", advice)
    return {target.name: count}


def _write_folder(target: Path, data: DataSets, views: Sequence[View], config: DataConfig) -> dict[str, int]:
    """Writes each set of images to a file in a new folder. Returns the numbers of images by the names of the files."""
    from auxar.data.writing import new_folder

    sets = {"train": ("training images", data.train), "test": ("held-out images", data.heldout)}
    use = "data.heldout = 'test'"
    if data.validation is not None:
        sets["validation"] = ("validation images", data.validation)
        use += " and data.validation = 'validation'"
    with new_folder(target) as folder:
        counts = {
            split: _write(folder / f"{split}.parquet", images, views, config, kind)
            for split, (kind, images) in sets.items()
        }
    told = (f"{counts[split]} {kind}" for split, (kind, _) in sets.items())
    logger.info("%s of %s", ", ".join(told), views[-1].view if views else data.train.image)
    logger.info("a recipe can use this folder as data.path, with %s", use)
    return {f"{split}.parquet": count for split, count in counts.items()}


def _write(file: Path, images: ImageSet, views: Sequence[View], config: DataConfig, kind: str) -> int:
    """Writes the views of a set of images to a file. Returns their number."""
    from auxar.data.writing import view_batches, write_images

    return write_images(
        file, view_batches(images, views, kind), views[-1].view if views else images.image, config.values
    )
