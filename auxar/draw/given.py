"""Conversion of the images that a user gives to the views or known pixels that other images are drawn from."""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.arguments import as_integer, check_flag, described
from auxar.data.conversion import BrokenImage, Preparation, WrongSize, opened
from auxar.draw.arrays import Array, fitted
from auxar.draw.image_files import content_of
from auxar.draw.images import Images
from auxar.draw.inputs import as_batch, check_pictured, gathered, is_pictured
from auxar.draw.pictures import WrongColors, mask_values, picture_values, view_values
from auxar.draw.plan import Given
from auxar.errors import UserError, one_line
from auxar.model import Chain, ImageSpec, Known
from auxar.recipe import Crop

T = TypeVar("T")

LONGEST_NUMBER = 9
"""Maximum number of digits of a text that is a number of rows, and not the path of a mask."""


@attrs.frozen
class Form:
    """A form in which images can be given: the images of one depth, or gray images in place of its color images."""

    depth: int
    """Depth of the images that the form is converted to."""
    spec: ImageSpec
    """Shape and range of an image as it is given."""
    values: str
    """The meaning of the pixels of picture files, as in `Preparation.values`."""
    repeat: int = 1
    """Number of times that the channel of a gray image is repeated."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.spec.height, self.spec.width

    def array(self, array: Array, label: str) -> Tensor:
        """Converts integers in this form to a batch. Raises `UserError`, beginning with `label`, if they do not fit."""
        batch = fitted(array, self.spec, label, resizable=False)
        return batch.expand(-1, self.repeat, -1, -1) if self.repeat > 1 else batch

    def picture(self, source: bytes | Image.Image, label: str) -> np.ndarray:
        """Converts a picture in this form to the values of an image, (c, h, w), as training and `--as-view` do.

        Raises `UserError`, beginning with `label`, if the picture cannot be read or does not fit.
        """
        check_pictured(self.spec, label)
        if self.depth == 0:
            values = picture_values(source, Preparation(self.spec, Crop(), "none", self.values), label, label)
        else:
            values = view_values(source, self.spec, self.values, label)
        return np.repeat(values, self.repeat, axis=0)


def check_given(paths: Sequence[Path] | None, stage: Any, as_view: Any, keep: Any) -> None:
    """Raises `UserError` if an option that says how given images are used is invalid, or does not fit the others."""
    if stage is not None:
        as_integer(stage, "stage")
    check_flag(as_view, "as_view")
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int | str | os.PathLike)):
        raise UserError(f"keep: expected a number of rows, the path of a mask, or None, got {described(keep)}")
    for name, is_set in (("stage", stage is not None), ("as_view", as_view), ("keep", keep is not None)):
        if is_set and paths is None:
            raise UserError(f"{name}: expected images to draw from, which --given names")
    if keep is not None and (as_view or stage is not None):
        raise UserError(
            "keep: cannot be combined with --stage or --as-view, because it completes images, and these options draw "
            "images from a view"
        )


def read_given(
    chain: Chain, files: Sequence[Path], usual: Preparation | None, *, stage: int = 0, as_view: bool = False, keep: Any
) -> Given:
    """Reads image files for `auxar sample --given`, with options that `check_given` accepts.

    With `keep`, this part of the images is kept. Otherwise, images at depth `stage` are drawn from views at depth
    `stage` + 1, which the files show themselves if `as_view` is true. `usual` is the conversion of pictures of another
    size. Raises `UserError` if a file cannot be read or does not fit the model.
    """
    names = tuple(file.name for file in files)
    if keep is not None:
        images = as_batch(files, chain.image, usual, what="given", of_command=True)
        is_rows = isinstance(keep, str) and keep.isdecimal() and len(keep) <= LONGEST_NUMBER
        return attrs.evolve(to_complete(chain, images, int(keep) if is_rows else keep)[0], names=names)
    _check_stage(chain, stage)
    view = chain.specs[stage + 1]
    if as_view:
        if not is_pictured(view):
            raise UserError(f"as_view: pictures cannot show the views of this stage, {view}; give images")
        return attrs.evolve(from_view(chain, files, stage + 1, what="given"), names=names)
    try:
        images = as_batch(files, chain.image, usual, what="given", of_command=True).long()
    except WrongColors as error:
        if chain.image.channels == 3 and view.channels == 1:
            raise UserError(f"{error}; to draw colors for a gray picture, add --as-view") from None
        raise
    return Given(stage + 1, chain.views(images, stage + 1)[stage + 1], images, names=names)


def _check_stage(chain: Chain, stage: int) -> None:
    stages = len(chain.specs) - 1
    if not stages:
        raise UserError("given: this model has no views to draw from; use --keep to complete images")
    if not 0 <= stage < stages:
        raise UserError(f"stage: expected the number of a stage of this model, from 0 to {stages - 1}, got {stage}")


def from_view(chain: Chain, views: Any, depth: Any, what: str = "views") -> Given:
    """Converts views at a depth: integers, or pictures in the form that auxar writes. `what` names them in messages.

    Raises `UserError` if there is no view at this depth, or if the views do not fit.
    """
    _needs_views(chain, "drawing from a view")
    deepest = len(chain.specs) - 1
    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= deepest:
        raise UserError(
            f"depth: expected the depth of a view of this model, from 1 to {deepest}, got {described(depth)}"
        )
    form = Form(depth, chain.specs[depth], chain.picture_values)
    _check_spec(views, [form], what)
    return Given(depth, gathered(views, form.array, lambda *picture: form.picture(*picture[:2]), what).long())


def to_enlarge(chain: Chain, images: Any) -> tuple[Given, Images | None]:
    """Converts images to enlarge: views that are smaller than the image, or images, whose first smaller view is used.

    Also returns the given images; None if they are views. Raises `UserError` if the model has no smaller view, or if
    the images do not fit.
    """
    _needs_views(chain, "enlarging")
    specs, smaller = chain.specs, smaller_views(chain)
    if not smaller:
        raise UserError(f"enlarging needs a view that is smaller than the image; {_abilities(chain)}")
    expected = (
        f"this model enlarges images of {_sizes(specs[depth] for depth in smaller)} pixels, and draws images of "
        f"{_sizes(specs[:1])} again from their view of {_sizes([specs[smaller[0]]])}"
    )
    depth, found = _Reading(
        [Form(depth, specs[depth], chain.picture_values) for depth in (*smaller, 0)], expected
    ).read(images)
    if depth:
        return Given(depth, found), None
    return Given(smaller[0], chain.views(found, smaller[0])[smaller[0]], found), Images(
        found, specs[0], values=chain.picture_values
    )


def to_colorize(chain: Chain, images: Any, preparation: Preparation | None) -> tuple[Given, Images | None]:
    """Converts gray or color images to colorize to the first gray view that the model computes from a color image.

    Also returns the given images; None if they are gray views. Raises `UserError` if the model has no such view, or if
    the images do not fit. `preparation` is the conversion of pictures of other sizes.
    """
    specs, gray = chain.specs, gray_view(chain)
    if gray is None:
        raise UserError(f"coloring needs a gray view, and this model has none; {_abilities(chain)}")
    if isinstance(images, Images) and images.spec == specs[gray]:
        return from_view(chain, images, gray), None
    depths = sorted({gray - 1, *([0] if specs[0].channels == 3 else [])}, reverse=True)
    forms = [
        Form(depth, spec, chain.picture_values, repeat)
        for depth in depths
        for spec, repeat in ((specs[depth], 1), (attrs.evolve(specs[depth], channels=1), 3))
    ]
    expected = f"this model colors images of {_sizes(specs[depth] for depth in reversed(depths))} pixels"
    depth, found = _Reading(forms, expected, preparation if depths[-1] == 0 else None).read(images)
    view = found
    for factor in chain.factors[depth:gray]:
        view = factor.view_of(view)
    return Given(gray, view), Images(found, specs[depth], values=chain.picture_values)


def to_complete(chain: Chain, images: Tensor, keep: Any) -> tuple[Given, Images]:
    """Converts images (g, *image.shape) and the part of them to keep to known pixels. Also returns the images.

    `keep` is described at `ImageModel.complete`. Raises `UserError` if it is invalid.
    """
    images = images.long()
    known = Known(images, _mask(keep, chain.image, len(images)))
    return Given(1, None, images, known), Images(images, chain.image, values=chain.picture_values)


class _Reading:
    """Converts images to a batch at the depth of the first form that they fit. All have to be of one depth.

    `expected` is the end of messages about a wrong size. `preparation` converts pictures of other sizes to images.
    """

    def __init__(self, forms: Sequence[Form], expected: str, preparation: Preparation | None = None) -> None:
        self.forms = forms
        self.expected = expected
        self.preparation = preparation
        self._depth: int | None = None

    def read(self, images: Any) -> tuple[int, Tensor]:
        """Returns the depth of the images and their batch: int64, (n, *spec.shape)."""
        _check_spec(images, self.forms, "images")
        batch = gathered(images, self._from_array, self._from_picture, "images").long()
        assert self._depth is not None
        return self._depth, batch

    def _from_array(self, array: Array, label: str) -> Tensor:
        shape = tuple(array.shape)
        sizes = {shape[-2:], shape[-3:-1]} if isinstance(array, np.ndarray) else {shape[-2:]}
        fitting = [form for form in self.forms if form.size in sizes]
        if not fitting:
            raise UserError(f"{label}: got the shape {shape}; {self.expected}")
        return self._first(fitting, label, lambda form: form.array(array, label))

    def _from_picture(self, source: bytes | Image.Image, label: str, name: str) -> np.ndarray:
        try:
            with opened(source) as picture:
                size = picture.height, picture.width
        except BrokenImage as error:
            raise UserError(f"{label} cannot be read: {error}") from None
        if fitting := [form for form in self.forms if form.size == size]:
            return self._first(fitting, label, lambda form: form.picture(source, label))
        advice = ""
        if self.preparation is not None:
            advice = "; model.prepare(images, resize='cover') resizes pictures"
            with contextlib.suppress(WrongSize):
                values = self.preparation(source, name)
                self._found(0, label)
                return values
        raise UserError(f"{label} has {size[0]}×{size[1]} pixels; {self.expected}{advice}")

    def _first(self, forms: Sequence[Form], label: str, convert: Callable[[Form], T]) -> T:
        """The result of the first form that can convert the image. Raises the error of the first form if none can."""
        problems = []
        for form in forms:
            try:
                found = convert(form)
            except UserError as error:
                problems.append(error)
            else:
                self._found(form.depth, label)
                return found
        raise problems[0]

    def _found(self, depth: int, label: str) -> None:
        if self._depth not in (None, depth):
            raise UserError(f"{label}: expected an image of the same kind and size as the one before; {self.expected}")
        self._depth = depth


def _check_spec(images: Any, forms: Iterable[Form], what: str) -> None:
    """Raises `UserError` for `Images` with another shape or range than all forms. Integers alone do not show it."""
    if isinstance(images, Images) and images.spec not in (specs := [form.spec for form in forms]):
        raise UserError(f"{what}: got images of {images.spec}; expected {' or '.join(map(str, specs))}")


def _mask(keep: Any, image: ImageSpec, count: int) -> Tensor:
    """The mask of the pixels to keep, booleans (count, h, w)."""
    shape = (image.height, image.width)
    if isinstance(keep, os.PathLike) or (isinstance(keep, str) and not keep.isdecimal()):
        file = Path(keep)
        content = content_of(file, "keep", "; expected a number of rows, a mask, or the path of a mask")
        mask = torch.from_numpy(mask_values(content, image, f"keep: {one_line(str(file))}"))
    elif isinstance(keep, Image.Image):
        mask = torch.from_numpy(mask_values(keep, image, "keep: the picture"))
    elif isinstance(keep, Tensor | np.ndarray) and keep.ndim:
        mask = torch.as_tensor(keep).cpu()
        if mask.dtype != torch.bool or tuple(mask.shape) not in (shape, (count, *shape)):
            found = f"{mask.dtype} of shape {tuple(mask.shape)}"
            raise UserError(f"keep: expected a mask of booleans of shape {shape} or {(count, *shape)}, got {found}")
    else:
        mask = (torch.arange(image.height) < _rows(keep, image))[:, None].expand(shape)
    return mask.expand(count, *shape)


def _rows(keep: Any, image: ImageSpec) -> int:
    try:
        rows = -1 if isinstance(keep, bool) else operator.index(keep)
    except TypeError:
        rows = -1
    if not 0 < rows < image.height:
        raise UserError(
            f"keep: expected a number of rows from 1 to {image.height - 1}, or a mask (the path of a picture, a "
            f"picture, or booleans of shape {(image.height, image.width)}), got {described(keep)}"
        )
    return rows


def _needs_views(chain: Chain, what: str) -> None:
    if len(chain.specs) == 1:
        raise UserError(f"{what} needs a view, and this model has none; {_abilities(chain)}")


def smaller_views(chain: Chain) -> list[int]:
    """Depths of the views that have fewer rows or columns than the image."""
    first = chain.image
    return [depth for depth, spec in enumerate(chain.specs) if (spec.height, spec.width) != (first.height, first.width)]


def gray_view(chain: Chain) -> int | None:
    """Depth of the first view with one channel of an image with three channels; None if there is none."""
    specs = chain.specs
    return next((k for k in range(1, len(specs)) if (specs[k - 1].channels, specs[k].channels) == (3, 1)), None)


def _abilities(chain: Chain) -> str:
    """The kinds of drawing that the model supports, for a message that refuses another kind."""
    can = []
    if gray_view(chain) is not None:
        can.append("color gray images")
    if smaller := smaller_views(chain):
        can.append(f"enlarge images of {_sizes(chain.specs[depth] for depth in smaller)} pixels")
    if len(chain.specs) > 1:
        can.append("draw images from views (draw_given)")
    return f"it can {', '.join([*can, 'complete images'])}"


def _sizes(specs: Iterable[ImageSpec]) -> str:
    """Different sizes in pixels, as text."""
    return " or ".join(dict.fromkeys(f"{spec.height}×{spec.width}" for spec in specs))
