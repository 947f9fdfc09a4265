"""The command `views`: writes the images of a recipe's data set, at a depth of its chain, as another recipe's data."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import UserError, logger

if TYPE_CHECKING:
    from pathlib import Path

    from auxar.data.sets import DataSets
    from auxar.data.writing import WrittenViews
    from auxar.model import View
    from auxar.recipe import DataConfig


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
    from auxar.data.writing import WrittenViews, check_new, check_pictures
    from auxar.draw.loading import load_images
    from auxar.recipe import load_recipe
    from auxar.recipe.building import build_views
    from auxar.work.processes import working_together

    path, target = as_path(recipe, "recipe"), as_path(out, "out")
    depth = as_integer(depth, "depth")
    with working_together() as processes:
        with processes.agreeing():
            opened = load_recipe(path, settings, trust_plugins=trust_plugins)
            config, views = opened.data, build_views(opened)
            if not 0 <= depth <= len(views):
                known = f"the depth of the image or of a view of this recipe, 0 to {len(views)}"
                raise UserError(f"depth: expected {known}, got {depth}")
            if config.crop.random:
                raise UserError("data.crop: images of several sizes are not written; leave out random crops")
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
            return WrittenViews(target, depth, _write(target, load_images(opened), views, config))


def _write(target: Path, data: DataSets, views: Sequence[View], config: DataConfig) -> dict[str, int]:
    """Writes all images of the split `data.train` to a file, or each set of images to a file in a new folder.

    Returns the numbers of images by the names of the files.
    """
    from auxar.data.writing import new_folder, view_batches, write_images

    image, is_file = views[-1].view if views else data.train.image, target.suffix == ".parquet"
    if is_file:
        sets = {target.name: ("images", data.train.whole())}
        advice = "this file as data.path; the same data.split and data.streaming divide it in the same way"
        if config.heldout is not None:
            missing = f"the images of data.heldout = '{config.heldout}' are not in it"
            advice = f"this file as data.path; {missing}; a folder has both sets"
    else:
        sets = {"train.parquet": ("training images", data.train), "test.parquet": ("held-out images", data.heldout)}
        advice = "this folder as data.path, with data.heldout = 'test'"
        if data.validation is not None:
            sets["validation.parquet"] = ("validation images", data.validation)
            advice += " and data.validation = 'validation'"
    with contextlib.nullcontext(target.parent) if is_file else new_folder(target) as folder:
        counts = {
            name: write_images(folder / name, view_batches(images, views, kind), image, config.values)
            for name, (kind, images) in sets.items()
        }
    logger.info("%s of %s", ", ".join(f"{counts[name]} {kind}" for name, (kind, _) in sets.items()), image)
    logger.info("a recipe can use %s", advice)
    return counts
