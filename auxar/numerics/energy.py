"""The energy of an image in its highest frequency, which is large in noise and checkerboards."""

import torch
from torch import Tensor

REGION = 16
"""Height and width of a region, in pixels."""
FALLEN = 1.5
"""Factor by which the energy of a fallen image exceeds the largest energy of real images."""


def energies(images: Tensor) -> Tensor:
    """Computes the largest energy of a region in each image, integers (b, c, h, w), in levels: float64, (b,).

    The energy of a region is the mean of |a − b − c + d| / 2 over its blocks of 2×2 pixels a b c d and its channels.
    Regions have `REGION`×`REGION` pixels, or the sides of the image if these are smaller. The energy of an image
    without blocks, a row or a column of pixels, is 0.

    Examples:
        >>> checkerboard = 8 * ((torch.arange(4)[:, None] + torch.arange(5)) % 2).expand(1, 3, 4, 5)
        >>> energies(torch.cat([checkerboard, torch.ones(1, 3, 4, 5)])).tolist()
        [8.0, 0.0]
    """
    blocks = images.double().diff(dim=2).diff(dim=3).abs().mean(1, keepdim=True) / 2
    if 0 in blocks.shape:
        return blocks.new_zeros(len(images))
    region = [min(REGION - 1, side) for side in blocks.shape[2:]]
    return torch.nn.functional.avg_pool2d(blocks, region, stride=1).amax((1, 2, 3))
