"""A sampler that draws many small images fast."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar.interfaces import CausalNetwork, PixelSource, Sampler
from auxar.interfaces.evaluating import evaluating


class DistinctSampler(Sampler):
    """Draws pixel by pixel like the sampler `raster`, but runs the network once for each distinct image.

    Thousands of tiny images with equal features soon contain every possible image, so most of them are equal.
    """

    @torch.no_grad()
    def sample(self, network: CausalNetwork, features: Tensor | None, source: PixelSource) -> Tensor:
        _, height, width = network.image.shape
        device = next(network.parameters()).device
        image = torch.zeros((source.count, *network.image.shape), dtype=torch.int64, device=device)
        with evaluating(network):
            for place in range(height * width):
                row, column = divmod(place, width)
                first, which = _distinct(image, features)
                some = None if features is None else features[first]
                parameters = network(network.encode(image[first]), some)[:, :, row, column][which]
                image[:, :, row, column] = source.pixels(torch.tensor([place], device=device), parameters)[0]
        return image


def _distinct(image: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor]:
    """The indices of one of each distinct pair of image and features, and the number of each image's pair."""
    values = image.flatten(1)
    if features is not None and not (features == features[:1]).all():
        values = torch.cat([values.double(), features.flatten(1).double()], dim=1)
    distinct, which = values.unique(dim=0, return_inverse=True)
    first = which.new_zeros(len(distinct)).scatter_(0, which, torch.arange(len(which), device=which.device))
    return first, which
