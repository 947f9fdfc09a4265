"""Tests that a view's known pixels are exactly those that the known pixels of the image determine."""

import itertools

import pytest
import torch

from auxar.model import ImageSpec, Known, View
from auxar.testing.examples import all_images
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_pyramid import PyramidConfig, PyramidView


def chain_of(image: ImageSpec, *configs: PyramidConfig | GrayscaleConfig) -> list[View]:
    """Returns a chain of views, from the image's view to the coarsest."""
    views: list[View] = []
    for config in configs:
        views.append(PyramidView(config, image) if isinstance(config, PyramidConfig) else GrayscaleView(config, image))
        image = views[-1].view
    return views


VIEWS = {
    "pyramid": chain_of(ImageSpec(1, height=2, width=4, levels=2), PyramidConfig(2)),
    "pyramid of 3 levels": chain_of(ImageSpec(1, height=2, width=2, levels=3), PyramidConfig(2)),
    "pyramid by 3": chain_of(ImageSpec(1, height=3, width=3, levels=2), PyramidConfig(3)),
    "grays of 4 levels": chain_of(ImageSpec(3, height=1, width=2, levels=4), GrayscaleConfig(3)),
    "nested pyramids": chain_of(ImageSpec(1, height=4, width=4, levels=2), PyramidConfig(2), PyramidConfig(2)),
    "means and their grays": chain_of(ImageSpec(3, height=2, width=2, levels=2), PyramidConfig(2), GrayscaleConfig(2)),
    "grays and their means": chain_of(ImageSpec(3, height=2, width=2, levels=2), GrayscaleConfig(2), PyramidConfig(2)),
}


def extent(values, group):
    """Returns the minimum and the maximum of each group of values, shape (groups, …), for values of shape (n, …)."""
    flat = values.flatten(1)
    start = torch.zeros((int(group.max()) + 1, flat.shape[1]), dtype=torch.int64)
    places = group[:, None].expand_as(flat)
    found = [start.scatter_reduce(0, places, flat, which, include_self=False) for which in ("amin", "amax")]
    return [part.view(-1, *values.shape[1:]) for part in found]


@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
def test_known_of_a_view_is_what_is_the_same_for_every_filling(views):
    """A pixel of a view is known if and only if it is equal for all images that agree on the known pixels."""
    image = views[0].image
    every = all_images(image)
    views_of_all = [every]
    for view in views:
        views_of_all.append(view(views_of_all[-1]))
    subsets = list(itertools.product([False, True], repeat=image.height * image.width))
    for subset in subsets[:: max(1, len(every) * len(subsets) // 2**22)]:
        mask = torch.tensor(subset).view(image.height, image.width)
        # Images are in the same group if they agree on the known pixels.
        digits = every[:, :, mask].flatten(1)
        group = (digits * image.levels ** torch.arange(digits.shape[1])).sum(1)
        known = Known(every, mask.expand(len(every), -1, -1))
        for view, values in zip(views, views_of_all[1:], strict=True):
            known = view.known(known)
            low, high = extent(values, group)
            assert torch.equal((low == high).all(1).all(0), known.mask[0])
            assert (known.mask == known.mask[:1]).all()
            where = known.mask[:, None].expand_as(values)
            assert torch.equal(known.values[where], values[where])
