"""Maps of images that show which pixels are unusual for a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.data.writing import new_folder
from auxar.draw.conditions import or_null
from auxar.draw.image_model import ImageModel

BRIGHTEST = 0.999
"""Share of all pixels whose colors are not the strongest ones."""


def write_maps(
    folder: Path,
    model: ImageModel,
    against: ImageModel | None,
    files: Sequence[Path],
    images: Sequence[Tensor],
    condition: Tensor | None,
) -> float:
    """Writes a map of each image (c, h, w), a PNG file of its size, into a new folder.

    A pixel is red if it has more bits under the model than under the model `against`, and blue if it has fewer. Without
    `against`, it is the redder the more bits it has. Returns the number of bits of the strongest colors, which is the
    same in all maps.
    """
    maps, other = [], None if against is None else or_null(None, against.condition)
    for number, image in enumerate(images):
        own = or_null(None, model.condition) if condition is None else condition[number, None]
        bits = model.pixel_bits(image[None], condition=own)[0]
        maps.append(bits if against is None else bits - against.pixel_bits(image[None], condition=other)[0])
    # PyTorch's quantile refuses more than 2²⁴ numbers.
    most = max(float(np.quantile(torch.cat([bits.abs().flatten() for bits in maps]).numpy(), BRIGHTEST)), 1e-9)
    with new_folder(folder) as temporary:
        for number, (file, bits) in enumerate(zip(files, maps, strict=True)):
            red, blue = (bits / most).clamp(0, 1), (-bits / most).clamp(0, 1)
            colors = 1 - torch.stack([blue, red + blue, red], 2)
            Image.fromarray((255 * colors).round().numpy().astype(np.uint8)).save(
                temporary / f"{number:06d}-{file.stem}.png"
            )
    return most
