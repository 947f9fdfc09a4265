"""The contract of views."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.interfaces import INTEGER_DTYPES, ImageSpec, Known, View
from auxar.testing.examples import SPECS, extreme_images, images, random_images
from auxar.testing.laws import broken, described, devices, fitting, runs, search
from auxar.testing.supports import check_supports

EXAMPLES = 100


def check_view(
    build: Callable[[Any, ImageSpec], View], config: object, *, images: Sequence[ImageSpec] | None = None
) -> None:
    """Looks for an image at which the view that `build(config, image)` makes breaks a law.

    The laws: `build` (sizes that do not fit raise `UserError`), `spec` (`image` and `view` describe input and
    output), `determinism`, `shape`, `dtype`, `range`, `input` (left as it was), `batch` (each image by itself),
    `layout` (of memory), `device`, `known` (what `View.known` calls known follows from the known pixels), `monotone`
    (if the view says that it is), `support` (if the view has one: its intervals hold the values with which the view
    stays possible, and no others), `runs`.
    `images` are what it is built for, by default small images of many shapes, as far as the view takes them.
    Raises `ContractError`.
    """
    specs = fitting(lambda spec: build(config, spec), images or SPECS, images is not None, "images")
    views = {spec: build(config, spec) for spec in specs}
    for spec, view in views.items():
        _check_spec(view, spec)
        # Before any search: what it finds must be found again.
        for image in (random_images(2, spec, 0), torch.zeros(2, *spec.shape, dtype=torch.int64)):
            _check_determinism(view, build(config, spec), image)
    search(
        lambda example: _check_image(*example),
        EXAMPLES,
        example=st.sampled_from(specs).flatmap(lambda spec: _examples(views[spec], spec)),
    )
    # What the search has to be lucky to find: sums that no byte holds.
    for spec, view in views.items():
        extremes = extreme_images(spec)
        mask = torch.ones(len(extremes), spec.height, spec.width, dtype=torch.bool)
        for dtype in _dtypes(view):
            _check_image(view, extremes, dtype, extremes, mask)
    check_supports(lambda spec: build(config, spec), views, chosen=images is not None)


def _examples(view: View, spec: ImageSpec) -> st.SearchStrategy[tuple[View, Tensor, torch.dtype, Tensor, Tensor]]:
    masks = st.integers(0, 2**16).map(lambda seed: _mask(spec, seed))
    return st.tuples(st.just(view), images(spec), st.sampled_from(_dtypes(view)), images(spec), masks)


def _dtypes(view: View) -> list[torch.dtype]:
    """Those that hold all values of the image and of the view, the widest first."""
    largest = max(view.image.levels, view.view.levels) - 1
    return [dtype for dtype in INTEGER_DTYPES[::-1] if largest <= torch.iinfo(dtype).max]


def _mask(spec: ImageSpec, seed: int) -> Tensor:
    """Mostly known, so that something of the view is: booleans, (2, h, w)."""
    noise = torch.rand(2, spec.height, spec.width, generator=torch.Generator().manual_seed(seed))
    return noise < (1.0 if seed == 0 else 0.8)


def _check_spec(view: View, spec: ImageSpec) -> None:
    if not isinstance(view, View):
        broken("spec", f"build makes a {type(view).__name__}, expected an auxar.interfaces.View")
    if getattr(view, "image", None) != spec:
        broken(
            "spec",
            "the view's `image` is not what it was built for",
            built_for=spec,
            image=getattr(view, "image", None),
        )
    if not isinstance(getattr(view, "view", None), ImageSpec):
        broken("spec", "the view's `view` is not an ImageSpec", built_for=spec)


def _check_determinism(view: View, again: View, image: Tensor) -> None:
    results = []
    for seed, each in enumerate((view, view, again)):
        # A view may not read the clock, and not the random state either. That of other devices than the CPU is left
        # alone: images are on the CPU here, and a seed for devices that are not there takes milliseconds to put by.
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        with runs("the view", image=image):
            results.append(each(image.clone()))
    _check_result(view, image, results[0])
    if not all(isinstance(result, Tensor) and torch.equal(result, results[0]) for result in results):
        broken("determinism", "the same image has several views", image=image, views=results)


def _check_image(view: View, image: Tensor, dtype: torch.dtype, other: Tensor, mask: Tensor) -> None:
    image = image.to(dtype)
    before = image.clone()
    with runs("the view", image=image):
        found = view(image)
    _check_result(view, before, found)
    if not torch.equal(image, before):
        broken("input", "the view changes the image that it is given", before=before, after=image)
    if not torch.equal(view(before.clone()), found):
        broken("determinism", "the same image has several views", image=before)
    with runs("the view", image=before.to(torch.int64)):
        wide = view(before.to(torch.int64))
    if not torch.equal(wide, found.to(torch.int64)):
        broken("dtype", f"{dtype} gives another view than torch.int64", image=before, view=found, expected=wide)
    for index in range(len(image)):
        with runs("the view of a single image", image=before[index : index + 1]):
            alone = view(before[index : index + 1])
        if not torch.equal(alone, found[index : index + 1]):
            broken("batch", f"image {index} alone has another view", images=before, alone=alone, in_batch=found)
    with runs("the view of no image"):
        empty = view(before[:0])
    if tuple(empty.shape) != (0, *view.view.shape):
        broken("batch", f"of no image a view of shape {(0, *view.view.shape)} is expected, got {tuple(empty.shape)}")
    for strided in (before.contiguous(memory_format=torch.channels_last), before.mT.contiguous().mT):
        with runs("the view of an image in another layout of memory", strides=strided.stride()):
            same = torch.equal(view(strided), found)
        if not same:
            broken("layout", "the view depends on the layout of memory", image=before, strides=strided.stride())
    for device in devices()[1:]:
        moved = view(before.to(device))
        if moved.device.type != device.type or not torch.equal(moved.cpu(), found):
            broken("device", f"the view differs on {device}", image=before)
    _check_known(view, before.to(torch.int64), other, mask)
    if view.monotone:
        _check_monotone(view, before.to(torch.int64), other)


def _check_result(view: View, image: Tensor, found: Tensor) -> None:
    expected = (len(image), *view.view.shape)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        broken("shape", f"expected {expected}, got {described(found)}", image=image)
    if found.dtype != image.dtype:
        broken("dtype", f"expected that of the image, {image.dtype}, got {found.dtype}", image=image)
    if int(found.min()) < 0 or int(found.max()) >= view.view.levels:
        broken("range", f"the view leaves [0, {view.view.levels})", image=image, view=found)


def _check_known(view: View, image: Tensor, other: Tensor, mask: Tensor) -> None:
    """Images that agree where they are known agree in what is known of their views."""
    with runs("View.known", image=image, mask=mask):
        known = view.known(Known(image, mask))
    shape = (len(image), view.view.height, view.view.width)
    if known.mask.dtype != torch.bool or tuple(known.mask.shape) != shape:
        broken("known", f"the mask must be booleans of shape {shape}", found=known.mask.shape)
    if mask.all() and not known.mask.all():
        broken("known", "of an image that is known as a whole, the whole view is known", mask=known.mask)
    for filled in (image, torch.where(mask[:, None], image, other)):
        expected = attrs.evolve(known, values=view(filled))
        if not torch.equal(expected.filled(), known.filled()):
            broken("known", "a value of the view does not follow from the known pixels", image=filled, mask=mask)


def _check_monotone(view: View, image: Tensor, other: Tensor) -> None:
    """A sub-pixel that rises by one, of each image another one, lets every value of the view stay or rise by one."""
    place = other.flatten(1).sum(1, keepdim=True) % view.image.dims
    raised = image.flatten(1).scatter_add(1, place, torch.ones_like(place)).clamp(max=view.image.levels - 1)
    raised = raised.view_as(image)
    rise = view(raised) - view(image)
    if int(rise.min()) < 0 or int(rise.max()) > 1:
        broken("monotone", "a value of the view falls, or rises by more than one", image=image, raised=raised)
