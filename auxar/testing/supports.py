"""The check of the law `support` of views.

Given the earlier sub-pixels, an interval must contain exactly the values that can be completed to an image with the
given view.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import ImageSpec, Known, RepeatedWalk, Support, View
from auxar.testing.centers import check_centers
from auxar.testing.enumeration import SPACES, check_space, enumerable_views
from auxar.testing.examples import SEEDS, extreme_images, images, random_images, random_known
from auxar.testing.intervals import check_earlier, check_intervals, interval_function
from auxar.testing.laws import check_built, search
from auxar.testing.walks import check_along, check_drawn, walk_of

EXAMPLES = 20
"""The number of examples that the search tries."""
ENOUGH = 64
"""The largest number of sub-pixels of an image in the search. Larger images are used only if the view accepts none of
this size."""
MANY = 9
"""The number of images of a large batch."""


def check_supports(build: Callable[[ImageSpec], View], views: dict[ImageSpec, View], *, chosen: bool) -> None:
    """Checks the supports of the views. Views without a support are skipped.

    If `chosen`, the caller selected the specs in `views`, and no other specs are tried. Raises `ContractError` if a
    support is wrong. Warns if no spec is small enough to compare intervals with an enumeration of all images.
    """
    supported = {spec: view for spec, view in views.items() if view.support is not None}
    if not supported:
        return
    spaces = enumerable_views(build, list(supported) if chosen else SPACES)
    for view in (*supported.values(), *spaces):
        check_built(view.support, Support, "the view's `support` must be None or", image=view.image)
    for view in spaces:
        check_space(view)
    if not spaces:
        message = "no accepted image spec has few enough possible images"
        warnings.warn(f"intervals of a support were not compared with all images: {message}", stacklevel=3)
    specs = list(supported)
    if not chosen:
        specs = [spec for spec in specs if spec.dims <= ENOUGH] or specs[:1]
    search(
        lambda example: _check_example(*example),
        EXAMPLES,
        example=st.sampled_from(specs).flatmap(lambda spec: st.tuples(st.just(supported[spec]), images(spec), SEEDS)),
    )
    # The search rarely produces images whose sums overflow a byte, or whose values are all at the ends of the range.
    most = max(spec.levels for spec in supported)
    for spec, view in supported.items():
        if chosen or spec.levels == most:
            check_intervals(view, extreme_images(spec))
    _check_many(supported[max(supported, key=lambda spec: spec.dims)])


def _check_example(view: View, image: Tensor, seed: int) -> None:
    noise, given = torch.Generator().manual_seed(seed), view(image)
    noisy = random_images(len(image), view.image, seed)
    check_intervals(view, image)
    reach = walk_of(view, given).reach
    check_centers(view, image, noisy, reach)
    check_along(view, image, given)
    drawn = check_drawn(view, given, noise)
    for first, second in ((image, noisy), (image, drawn), (drawn, image)):
        check_earlier(interval_function(view), first, second, given, view.image, reach, "support")
    check_intervals(view, drawn)
    known = _known(view, image, seed, noise)
    check_along(view, image, given, known)
    check_drawn(view, given, noise, known)
    check_along(view, noisy, given, follows=False)


def _known(view: View, image: Tensor, seed: int, noise: torch.Generator) -> Known:
    """Some pixels of the images, and sometimes limits of the other pixels that allow those of the images."""
    share, limited = torch.rand(2, generator=noise).tolist()
    known = random_known(image, view.image, seed, share)
    # Values of unknown pixels must be ignored, so they are set to -1.
    known = attrs.evolve(known, values=torch.where(known.mask[:, None], image, -1))
    return known if limited < 0.5 else attrs.evolve(known, limits=None)


def _check_many(view: View) -> None:
    """Checks a walk with many images, which may be large. `RepeatedWalk` is right if intervals are, but too slow."""
    given = view(random_images(MANY, view.image, 0))
    if not isinstance(walk_of(view, given), RepeatedWalk):
        check_drawn(view, given, torch.Generator().manual_seed(0))
