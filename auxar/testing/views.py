"""The contract check of views."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import ImageSpec, Interval, Known, View
from auxar.testing import laws
from auxar.testing.examples import SPECS, extreme_images, images, random_images
from auxar.testing.invariances import Function, check_invariances, columns_first
from auxar.testing.modules import check_any_size, other_size
from auxar.testing.supports import check_supports

EXAMPLES = 100
"""The number of examples that the search tries."""
LARGE = ImageSpec(height=48, width=32)
"""The spec of larger images, of which many are checked at once."""
MANY = 17
"""The number of larger images."""
MOST_RAISED = 64
"""The approximate number of sub-pixels of an image that are raised one by one."""


def check_view(
    build: Callable[[Any, ImageSpec], View], config: object, *, images: Sequence[ImageSpec] | None = None
) -> None:
    """Checks the view that `build(config, image)` returns, with random and extreme images.

    The laws:

    - `options`: no option is a path of a file, because runs do not keep files.
    - `build`: the only error that `build` raises is `UserError`, for specs that it does not support.
    - `spec`: `image` is the spec passed to `build`, also that of the support, and `view` is an `ImageSpec`.
    - `determinism`: equal images have equal views.
    - `shape`: the view of an image has the shape that `view` describes.
    - `dtype`: the view has the dtype of the image, and its values do not depend on the dtype.
    - `range`: the values of the view lie in [0, levels).
    - `inputs`: neither the view, nor `View.known`, nor the support changes its arguments.
    - `state`: no method changes torch's gradient mode or default dtype, or draws from or seeds torch's random numbers.
    - `batch`: the view of an image does not depend on the other images of the batch.
    - `layout`: the view does not depend on the memory layout of the image.
    - `device`: the view on a GPU equals that on the CPU.
    - `any_size`: `at` gives the view that is built for images of another size, or, if `any_size` is False, raises
      `UserError`.
    - `stride` (if `View.any_size` is true): the view of an image without its first rows and columns, as many as
      `stride` says, is the view of the image without as many first rows and columns as it then has less.
    - `known`: values that `View.known` marks as known are determined by the known pixels. Limits that it returns allow
      the view of every image with the known pixels, and, if these have limits themselves, within their limits.
    - `monotone` (if `View.monotone` is true): if a sub-pixel rises by one, each value of the view stays or rises by
      one.
    - `centers` (if the support gives them): centers are integers in range that depend on the view and on earlier pixels
      alone. A walk gives the same, also if pixels are known.
    - `support` (if the view has a support): given the earlier sub-pixels, an interval contains exactly the values that
      can be completed to an image with the given view. Known pixels and limits only narrow the intervals of a walk, and
      exclude no value of an image that has them and the view.
    - `runs`: valid input raises no exception.

    The laws `determinism`, `dtype`, `batch`, `layout` and `device` hold for the intervals and centers of a support too.

    `images` lists the image specs to build the view for. `build` must accept each of them. By default, small specs of
    many shapes and a larger one are tried, and specs that `build` refuses with `UserError` are skipped. Raises
    `ContractError` if a law is broken.
    """
    laws.check_options(config)
    make = functools.partial(build, config)
    specs = laws.fitting(make, images, [*SPECS, LARGE], "images")
    views = {spec: make(spec) for spec in specs}
    for spec, view in views.items():
        laws.check_built(view, View, image=spec)
        laws.check_built(getattr(view, "view", None), ImageSpec, "the View's `view` must be")
        _check_images(view, make(spec))
    small = [spec for spec in specs if spec != LARGE] or specs

    example = st.sampled_from(small).flatmap(lambda spec: _examples(views[spec], spec))

    def check(example: tuple[View, Tensor, Tensor, Tensor]) -> None:
        _check_image(*example)

    laws.search(check, EXAMPLES, example=example)
    large = max(specs, key=lambda spec: spec.dims)
    many, others = random_images(MANY, large, 0), random_images(MANY, large, 1)
    _check_image(views[large], many, others, _mask(large, 1, MANY))
    check_supports(make, views, chosen=images is not None)
    for view in views.values():
        check_any_size(view, [other_size(view.image)], make, lambda found: found(random_images(3, found.image, 0)))


def _check_stride(view: View) -> None:
    """Checks the law `stride` with an image that has one stride more rows and columns than those of the view."""
    with laws.runs("stride", law="stride"):
        rows, columns = view.stride
    larger = view.at(attrs.evolve(view.image, height=view.image.height + rows, width=view.image.width + columns))
    image = random_images(3, larger.image, 0)
    first = larger.view.height - view.view.height, larger.view.width - view.view.width
    expected, found = larger(image)[..., first[0] :, first[1] :], view(image[..., rows:, columns:])
    message = f"the view of an image without as many rows and columns as its stride, {rows} and {columns}, must be the "
    laws.check_equal(
        "stride", f"{message}view without the rows and columns that it has less", found, expected, image=image
    )


def _check_images(view: View, again: View) -> None:
    """Checks a view, and another one that is built from the same options, with images that a search rarely produces.

    These are images whose sums overflow a byte, and images just below white.
    """
    if view.any_size:
        _check_stride(view)
    extremes = extreme_images(view.image)
    mask = torch.ones(len(extremes), view.image.height, view.image.width, dtype=torch.bool)
    found = _check_image(view, extremes, extremes, mask)
    other = _function(again)(extremes)
    laws.check_equal(
        "determinism", "a view that is built again must be the same", other["the view"], found, image=extremes
    )
    for value in (0, view.image.levels - 2) if view.monotone else ():
        _check_monotone(view, torch.full((1, *view.image.shape), value))


def _examples(view: View, spec: ImageSpec) -> st.SearchStrategy[tuple[View, Tensor, Tensor, Tensor]]:
    masks = st.integers(0, 2**16).map(lambda seed: _mask(spec, seed))
    return st.tuples(st.just(view), images(spec), images(spec), masks)


def _function(view: View) -> Function:
    def compute(image: Tensor) -> dict[str, Tensor]:
        found = view(image)
        laws.check_tensor("the view", found, (len(image), *view.view.shape), image.dtype)
        laws.check_range("the view", found, view.view.levels)
        return {"the view": found}

    return Function("the view", compute, (max(view.image.levels, view.view.levels),))


def _mask(spec: ImageSpec, seed: int, count: int = 2) -> Tensor:
    """A mask of known pixels, booleans (count, h, w).

    Most pixels are known, so that usually some pixels of the view are known too.
    """
    noise = torch.rand(count, spec.height, spec.width, generator=torch.Generator().manual_seed(seed))
    return noise < (1.0 if seed == 0 else 0.8)


def _check_image(view: View, image: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Checks all laws for images, and returns their views. `other` are as many images, and `mask` known pixels."""
    function = _function(view)
    found = check_invariances(function, image)["the view"]
    function(image[:0])
    _check_known(view, image, other, mask)
    if view.monotone:
        _check_monotone(view, image)
    return found


def _check_known(view: View, image: Tensor, other: Tensor, mask: Tensor) -> None:
    """Checks the law `known`: images with equal known pixels have equal views wherever the views are known."""
    known = _known(view, Known(image, mask))
    size = (len(image), view.view.height, view.view.width)
    laws.check_tensor("the mask of View.known", known.mask, size, torch.bool, law="known")
    laws.check_tensor(
        "the values of View.known", known.values, (len(image), *view.view.shape), image.dtype, law="known"
    )
    if mask.all() and not known.mask.all():
        message = "all pixels of the image are known, but View.known does not mark the whole view as known"
        laws.broken("known", message, mask=known.mask)
    # Images with the same known pixels, and limits that contain all of them.
    possible = image, torch.where(mask[:, None], image, other)
    ends = Interval(torch.minimum(*possible), torch.maximum(*possible))
    for found in (known, _known(view, Known(image, mask, ends))):
        for filled in possible:
            _check_known_view(view, found, filled, mask)
    same = view.known(Known(columns_first(image), columns_first(mask)))
    if not torch.equal(same.mask, known.mask) or not torch.equal(same.filled(), known.filled()):
        laws.broken("known", "View.known depends on the memory layout of the known pixels", image=image, mask=mask)


def _check_known_view(view: View, known: Known, image: Tensor, mask: Tensor) -> None:
    """Checks that the known pixels of a view, and their limits, are right for an image with the known pixels."""
    values = view(image)
    if not torch.equal(attrs.evolve(known, values=values).filled(), known.filled()):
        laws.broken("known", "View.known marks a value as known that depends on unknown pixels", image=image, mask=mask)
    if ((values < known.lowest()) | (values > known.highest(view.view.levels))).any():
        message = "the limits of View.known exclude the view of an image with the known pixels"
        laws.broken("known", message, image=image, mask=mask)


def _known(view: View, known: Known) -> Known:
    limits = () if known.limits is None else (known.limits.low, known.limits.high)
    with laws.calling("View.known", known.values, known.mask, *limits):
        return view.known(known)


def _check_monotone(view: View, image: Tensor) -> None:
    """Checks the law `monotone`: if one sub-pixel rises by one, every value of the view stays or rises by one.

    Each sub-pixel, or each of `MOST_RAISED` random ones, is raised in its own copy of the first image.
    """
    spec = view.image
    # Other images have other places, so that none is always left out.
    places = torch.randperm(spec.dims, generator=torch.Generator().manual_seed(int(image.sum())))[:MOST_RAISED]
    before = image[:1].expand(len(places), *spec.shape).clone()
    after = before.clone()
    after.view(len(places), -1)[torch.arange(len(places)), places] += 1
    possible = (after < spec.levels).flatten(1).all(1)
    rise = view(after[possible]) - view(before[possible])
    if rise.numel() and (int(rise.min()) < 0 or int(rise.max()) > 1):
        row = int(((rise < 0) | (rise > 1)).flatten(1).any(1).nonzero()[0])
        message = "if a sub-pixel rises by one, a value of the view falls or rises by more than one"
        laws.broken("monotone", message, image=before[possible][row], raised=after[possible][row])
