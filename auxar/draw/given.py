"""Conversion of the images that a user gives to the views or known pixels that other images are drawn from."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.arguments import as_integer, check_flag
from auxar.data.conversion import Preparation
from auxar.draw.forms import Form, Mask, WrongForm, usual_preparation
from auxar.draw.images import Images
from auxar.draw.inputs import as_batch, read
from auxar.draw.plan import Given
from auxar.errors import UserError
from auxar.model import Chain, ImageSpec, Known


def check_given(paths: Sequence[Path] | None, stage: Any, as_view: Any, keep: Any) -> None:
    """Raises `UserError` if an option that says how given images are used is invalid, or does not fit the others."""
    check_flag(as_view, "as_view")
    for name, is_set in (("stage", stage is not None), ("as_view", as_view), ("keep", keep is not None)):
        if is_set and paths is None:
            raise UserError(f"{name}: expected images to draw from, which --given names")
    if keep is not None and (as_view or stage is not None):
        raise UserError(
            "keep: cannot be combined with --stage or --as-view, because it completes images, and these options draw "
            "images from a view"
        )


def read_given(
    chain: Chain,
    files: Sequence[Path],
    usual: Preparation | None,
    *,
    stage: Any = 0,
    as_view: bool = False,
    keep: Any = None,
) -> Given:
    """Reads image files for `auxar sample --given`, with options that `check_given` accepts.

    With `keep`, this part of the images is kept. Otherwise, images at depth `stage` are drawn from views at depth
    `stage` + 1, which the files show themselves if `as_view` is true. `usual` is the conversion of pictures of another
    size. Raises `UserError` if a file cannot be read or does not fit the model.
    """
    depth = None if keep is not None else 1 + _checked(chain, stage, "stage", 0, "; use --keep to complete images")
    if as_view and depth is not None:
        found = from_view(chain, files, depth, "given")
    else:
        try:
            images = as_batch(files, chain.image, usual, "given")
        except WrongForm as error:
            raise UserError(f"{error}; set data.resize to 'cover' or 'stretch', or data.crop") from None
        found = to_complete(chain, images, keep) if depth is None else _view_of(chain, 0, images, depth)
    return attrs.evolve(found, names=tuple(file.name for file in files))


def _checked(chain: Chain, number: Any, name: str, least: int, hint: str = "") -> int:
    """The number of a view. Raises `UserError`, beginning with its `name`, if the model has no such view."""
    views = len(chain.specs) - 1
    if not views:
        raise UserError(f"{name}: this model has no views to draw from{hint}")
    return as_integer(number, name, least, least + views - 1)


def from_view(chain: Chain, views: Any, depth: Any, what: str = "views") -> Given:
    """Converts views at a depth: integers, or pictures in the form that auxar writes. `what` names them in messages.

    Raises `UserError` if there is no view at this depth, or if the views do not fit.
    """
    depth = _checked(chain, depth, "depth", 1)
    return Given(depth, read(views, [_form(chain, depth)], what)[1].long())


def to_enlarge(chain: Chain, images: Any) -> Given:
    """Converts images to enlarge: views that are smaller than the image, or images, whose first smaller view is used.

    Raises `UserError` if the model has no smaller view, or if the images do not fit.
    """
    smaller = smaller_views(chain)
    if not smaller:
        raise _no_view(chain, "enlarging needs a view that is smaller than the image")
    depth, found = read(images, [_form(chain, depth) for depth in (*smaller, 0)], "images")
    return _view_of(chain, depth, found, depth or smaller[0])


def to_colorize(chain: Chain, images: Any, preparation: Preparation | None) -> Given:
    """Converts gray or color images to colorize to the first gray view that the model computes from a color image.

    Raises `UserError` if the model has no such view, or if the images do not fit. `preparation` is the conversion of
    pictures of other sizes.
    """
    specs, gray = chain.specs, gray_view(chain)
    if gray is None:
        raise _no_view(chain, "coloring needs a gray view")
    # Only drawn images say that they are gray views. Other gray images are taken as images without colors.
    forms = [_form(chain, gray)] if isinstance(images, Images) else []
    for depth in sorted({gray - 1, *([0] if specs[0].channels == 3 else [])}, reverse=True):
        color = _form(chain, depth) if depth or preparation is None else Form(specs[0], preparation)
        forms += [color, Form(attrs.evolve(color.spec, channels=1), None, depth, repeat=3)]
    return _view_of(chain, *read(images, forms, "images"), gray)


def to_complete(chain: Chain, images: Tensor, keep: Any) -> Given:
    """Converts images (g, *image.shape) and the part of them to keep to known pixels.

    `keep` is described at `ImageModel.complete`. Raises `UserError` if it is invalid.
    """
    known = Known(images.long(), _mask(keep, chain.image, len(images)))
    return Given(1, None, Images(images, chain.image, values=chain.picture_values), known)


def _form(chain: Chain, depth: int) -> Form:
    spec = chain.specs[depth]
    return Form(spec, usual_preparation(spec, values=chain.picture_values), depth)


def _view_of(chain: Chain, depth: int, images: Tensor, target: int) -> Given:
    """The views at depth `target` of images at a depth; the images themselves if they are at this depth."""
    view = images = images.long()
    for factor in chain.factors[depth:target]:
        view = factor.view_of(view)
    own = None if depth == target else Images(images, chain.specs[depth], values=chain.picture_values)
    return Given(target, view, own)


def _mask(keep: Any, image: ImageSpec, count: int) -> Tensor:
    """The mask of the pixels to keep, booleans (count, h, w)."""
    if isinstance(keep, str) and re.fullmatch(r"[0-9]{1,9}", keep):
        keep = int(keep)
    if isinstance(keep, int | np.integer):
        rows = as_integer(keep, "keep", 1, image.height - 1)
        return (torch.arange(image.height) < rows)[:, None].expand(count, image.height, image.width)
    spec = attrs.evolve(image, channels=1, levels=256)
    mask = read(keep, [Mask(spec, usual_preparation(spec))], "keep")[1][:, 0]
    if len(mask) not in (1, count):
        raise UserError(f"keep: expected one mask, or one for each of {count} images, got {len(mask)}")
    return mask.expand(count, image.height, image.width)


def _no_view(chain: Chain, need: str) -> UserError:
    views = ", ".join(map(str, chain.specs[1:])) or "none"
    return UserError(f"{need}; the views of this model are: {views}")


def smaller_views(chain: Chain) -> list[int]:
    """Depths of the views that have fewer rows or columns than the image."""
    first = chain.image
    return [depth for depth, spec in enumerate(chain.specs) if (spec.height, spec.width) != (first.height, first.width)]


def gray_view(chain: Chain) -> int | None:
    """Depth of the first view with one channel of an image with three channels; None if there is none."""
    specs = chain.specs
    return next((k for k in range(1, len(specs)) if (specs[k - 1].channels, specs[k].channels) == (3, 1)), None)
