"""The contract check of views."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import INTEGER_DTYPES, ImageSpec, Interval, Known, View
from auxar.testing.examples import SPECS, extreme_images, images, random_images
from auxar.testing.laws import (
    broken,
    channels_last,
    columns_first,
    described,
    devices,
    fitting,
    keeps_state,
    runs,
    search,
)
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

    - `build`: the only error that `build` raises is `UserError`, for specs that it does not support.
    - `spec`: `image` is the spec passed to `build`, and `view` is an `ImageSpec`.
    - `determinism`: equal images have equal views.
    - `shape`: the view of an image has the shape that `view` describes.
    - `dtype`: the view has the dtype of the image, and its values do not depend on the dtype.
    - `range`: the values of the view lie in [0, levels).
    - `input`: neither the view nor `View.known` modifies its input.
    - `state`: the view does not change torch's gradient mode or default dtype, or draw from or seed torch's random
      numbers.
    - `batch`: the view of an image does not depend on the other images of the batch.
    - `layout`: the view does not depend on the memory layout of the image.
    - `device`: the view on a GPU equals that on the CPU.
    - `known`: values that `View.known` marks as known are determined by the known pixels. Limits that it returns allow
      the view of every image with the known pixels, and, if these have limits themselves, within their limits.
    - `monotone` (if `View.monotone` is true): if a sub-pixel rises by one, each value of the view stays or rises by
      one.
    - `centers` (if the support gives them): centers are integers in range that depend on the view and on earlier pixels
      alone, not on batch, dtype, memory layout or device. A walk gives the same, also if pixels are known.
    - `support` (if the view has a support): given the earlier sub-pixels, an interval contains exactly the values that
      can be completed to an image with the given view. Known pixels and limits only narrow the intervals of a walk, and
      exclude no value of an image that has them and the view.
    - `runs`: valid input raises no exception.

    `images` lists the image specs to build the view for. `build` must accept each of them. By default, small specs of
    many shapes and a larger one are tried, and specs that `build` refuses with `UserError` are skipped. Raises
    `ContractError` if a law is broken.
    """
    specs = fitting(lambda spec: build(config, spec), images or [*SPECS, LARGE], images is not None, "images")
    views = {spec: build(config, spec) for spec in specs}
    large = max(specs, key=lambda spec: spec.dims)
    for spec, view in views.items():
        _check_spec(view, spec)
        # Determinism is checked before the search, because the search relies on reproducible failures.
        for image in (random_images(2, spec, 0), torch.zeros(2, *spec.shape, dtype=torch.int64)):
            _check_determinism(view, build(config, spec), image)
    small = [spec for spec in specs if spec != LARGE] or specs
    search(
        lambda example: _check_image(*example),
        EXAMPLES,
        example=st.sampled_from(small).flatmap(lambda spec: _examples(views[spec], spec)),
    )
    # The search rarely produces images whose sums overflow a byte, or images just below white.
    for spec, view in views.items():
        if view.monotone:
            for value in (0, spec.levels - 2):
                _check_monotone(view, torch.full((1, *spec.shape), value))
        extremes = extreme_images(spec)
        mask = torch.ones(len(extremes), spec.height, spec.width, dtype=torch.bool)
        for dtype in _dtypes(view):
            _check_image(view, extremes, dtype, extremes, mask)
    many, others = random_images(MANY, large, 0), random_images(MANY, large, 1)
    _check_image(views[large], many, torch.int64, others, _mask(large, 1, MANY))
    check_supports(lambda spec: build(config, spec), views, chosen=images is not None)


def _examples(view: View, spec: ImageSpec) -> st.SearchStrategy[tuple[View, Tensor, torch.dtype, Tensor, Tensor]]:
    masks = st.integers(0, 2**16).map(lambda seed: _mask(spec, seed))
    return st.tuples(st.just(view), images(spec), st.sampled_from(_dtypes(view)), images(spec), masks)


def _dtypes(view: View) -> list[torch.dtype]:
    """The integer dtypes that can hold all values of the image and of the view, widest first."""
    largest = max(view.image.levels, view.view.levels) - 1
    return [dtype for dtype in INTEGER_DTYPES[::-1] if largest <= torch.iinfo(dtype).max]


def _mask(spec: ImageSpec, seed: int, count: int = 2) -> Tensor:
    """A mask of known pixels, booleans (count, h, w).

    Most pixels are known, so that usually some pixels of the view are known too.
    """
    noise = torch.rand(count, spec.height, spec.width, generator=torch.Generator().manual_seed(seed))
    return noise < (1.0 if seed == 0 else 0.8)


def _check_spec(view: View, spec: ImageSpec) -> None:
    if not isinstance(view, View):
        broken("spec", f"build must return an auxar.View, got {type(view).__name__}")
    if getattr(view, "image", None) != spec:
        broken(
            "spec",
            "the view's `image` must be the spec passed to build",
            built_for=spec,
            image=getattr(view, "image", None),
        )
    if not isinstance(getattr(view, "view", None), ImageSpec):
        found = type(getattr(view, "view", None)).__name__
        broken("spec", f"the view's `view` must be an auxar.ImageSpec, got {found}", built_for=spec)


def _check_determinism(view: View, again: View, image: Tensor) -> None:
    results = []
    for seed, each in enumerate((view, view, again)):
        # A view must not depend on the random state, so each call gets another seed. Only the CPU's generator is
        # seeded: the images are on the CPU here, and seeding absent devices takes milliseconds.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        with keeps_state("the view"), runs("the view", image=image):
            results.append(each(image.clone()))
    _check_result(view, image, results[0])
    if not all(isinstance(result, Tensor) and torch.equal(result, results[0]) for result in results):
        broken("determinism", "repeated calls with the same image give different views", image=image, views=results)


def _check_image(view: View, image: Tensor, dtype: torch.dtype, other: Tensor, mask: Tensor) -> None:
    image = image.to(dtype)
    before = image.clone()
    with runs("the view", image=image):
        found = view(image)
    _check_result(view, before, found)
    if not torch.equal(image, before):
        broken("input", "the view modifies its input image", before=before, after=image)
    if not torch.equal(view(before.clone()), found):
        broken("determinism", "repeated calls with the same image give different views", image=before)
    with runs("the view", image=before.to(torch.int64)):
        wide = view(before.to(torch.int64))
    if not torch.equal(wide, found.to(torch.int64)):
        message = f"the view of an image in {dtype} differs from the view of the same image in torch.int64"
        broken("dtype", message, image=before, view=found, expected=wide)
    for index in range(len(image)):
        with runs("the view of a single image", image=before[index : index + 1]):
            alone = view(before[index : index + 1])
        if not torch.equal(alone, found[index : index + 1]):
            message = f"the view of image {index} alone differs from its view in a batch"
            broken("batch", message, images=before, alone=alone, in_batch=found)
    with runs("the view of an empty batch"):
        empty = view(before[:0])
    if tuple(empty.shape) != (0, *view.view.shape):
        broken("batch", f"the view of an empty batch must have shape {(0, *view.view.shape)}, got {tuple(empty.shape)}")
    for strided in (channels_last(before), columns_first(before)):
        with runs("the view of an image in another memory layout", strides=strided.stride()):
            same = torch.equal(view(strided), found)
        if not same:
            broken(
                "layout", "the view depends on the memory layout of the image", image=before, strides=strided.stride()
            )
    for device in devices()[1:]:
        moved = view(before.to(device))
        if moved.device.type != device.type or not torch.equal(moved.cpu(), found):
            message = f"the view of an image on {device} must be on that device and equal to the view on the CPU"
            broken("device", message, image=before)
    _check_known(view, before.to(torch.int64), other, mask)
    if view.monotone:
        _check_monotone(view, before.to(torch.int64))


def _check_result(view: View, image: Tensor, found: Tensor) -> None:
    expected = (len(image), *view.view.shape)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        broken("shape", f"the view must have shape {expected}, got {described(found)}", image=image)
    if found.dtype != image.dtype:
        broken("dtype", f"the view must have the dtype of the image, {image.dtype}, got {found.dtype}", image=image)
    if int(found.min()) < 0 or int(found.max()) >= view.view.levels:
        broken("range", f"the view has a value outside [0, {view.view.levels})", image=image, view=found)


def _check_known(view: View, image: Tensor, other: Tensor, mask: Tensor) -> None:
    """Checks the law `known`: images with equal known pixels have equal views wherever the views are known."""
    known = _known(view, Known(image, mask))
    shape = (len(image), view.view.height, view.view.width)
    if known.mask.dtype != torch.bool or tuple(known.mask.shape) != shape:
        broken("known", f"the mask of View.known must be torch.bool of shape {shape}, got {described(known.mask)}")
    if known.values.dtype != image.dtype or tuple(known.values.shape) != (len(image), *view.view.shape):
        needed = f"{image.dtype} of shape {(len(image), *view.view.shape)}"
        broken("known", f"the values of View.known must be {needed}, got {described(known.values)}")
    if mask.all() and not known.mask.all():
        message = "all pixels of the image are known, but View.known does not mark the whole view as known"
        broken("known", message, mask=known.mask)
    # Images with the same known pixels, and limits that contain all of them.
    possible = image, torch.where(mask[:, None], image, other)
    ends = Interval(torch.minimum(*possible), torch.maximum(*possible))
    for found in (known, _known(view, Known(image, mask, ends))):
        for filled in possible:
            _check_known_view(view, found, filled, mask)
    same = view.known(Known(columns_first(image), columns_first(mask)))
    if not torch.equal(same.mask, known.mask) or not torch.equal(same.filled(), known.filled()):
        broken("known", "View.known depends on the memory layout of the known pixels", image=image, mask=mask)


def _check_known_view(view: View, known: Known, image: Tensor, mask: Tensor) -> None:
    """Checks that the known pixels of a view, and their limits, are right for an image with the known pixels."""
    values = view(image)
    if not torch.equal(attrs.evolve(known, values=values).filled(), known.filled()):
        message = "View.known marks a value as known that depends on unknown pixels"
        broken("known", message, image=image, mask=mask)
    if ((values < known.lowest()) | (values > known.highest(view.view.levels))).any():
        message = "the limits of View.known exclude the view of an image with the known pixels"
        broken("known", message, image=image, mask=mask)


def _known(view: View, known: Known) -> Known:
    tensors = [known.values, known.mask, *([] if known.limits is None else [known.limits.low, known.limits.high])]
    before = [values.clone() for values in tensors]
    with runs("View.known", image=known.values, mask=known.mask, limits=known.limits):
        found = view.known(known)
    if not all(torch.equal(*pair) for pair in zip(tensors, before, strict=True)):
        broken("input", "View.known changes the known pixels", before=before[0], after=known.values, mask=known.mask)
    return found


def _check_monotone(view: View, image: Tensor) -> None:
    """Checks the law `monotone`: if one sub-pixel rises by one, every value of the view stays or rises by one.

    Each sub-pixel, or each of `MOST_RAISED` random ones, is raised in its own copy of the first image.
    """
    spec = view.image
    # Other images have other places, so that none is always left out.
    places = torch.randperm(spec.dims, generator=torch.Generator().manual_seed(int(image.sum())))[:MOST_RAISED]
    before = image[:1].expand(len(places), *spec.shape).clone()
    after = before.clone()
    rows = torch.arange(len(places))
    after.view(len(places), -1)[rows, places] += 1
    possible = (after < spec.levels).flatten(1).all(1)
    rise = view(after[possible]) - view(before[possible])
    if rise.numel() and (int(rise.min()) < 0 or int(rise.max()) > 1):
        row = int(((rise < 0) | (rise > 1)).flatten(1).any(1).nonzero()[0])
        message = "if a sub-pixel rises by one, a value of the view falls or rises by more than one"
        broken("monotone", message, image=before[possible][row], raised=after[possible][row])
