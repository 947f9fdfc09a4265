"""Sizes of images in files of lossless codecs, as a measure of how complex an image is."""

from __future__ import annotations

import io

from PIL import Image, features
from torch import Tensor

from auxar.model import ImageSpec


def has_codec(image: ImageSpec) -> bool:
    """Whether images can be stored by the codecs: gray or RGB images with 256 levels."""
    return image.channels in (1, 3) and image.levels == 256


def codec_bits_per_dim(image: Tensor) -> float:
    """Bits for each sub-pixel of an image (c, h, w) in the smaller one of a PNG and a lossless WebP file.

    The size of a file includes its headers, which weigh more in small images. Pillow writes the files.

    Examples:
        >>> import torch
        >>> plain = codec_bits_per_dim(torch.zeros(3, 32, 32, dtype=torch.uint8))
        >>> noise = codec_bits_per_dim(torch.randint(256, (3, 32, 32)))
        >>> plain < 0.4, noise > 8
        (True, True)
    """
    return 8 * min(codec_sizes(image).values()) / image.numel()


def codec_sizes(image: Tensor) -> dict[str, int]:
    """The sizes in bytes of an image (c, h, w) in a PNG and, if Pillow writes it, in a lossless WebP file."""
    values = image.byte().cpu().numpy()
    picture = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
    sizes = {"PNG": _size(picture, "PNG", optimize=True)}
    if features.check("webp"):
        sizes["WebP (lossless)"] = _size(picture, "WEBP", lossless=True, quality=100, method=6)
    return sizes


def _size(picture: Image.Image, kind: str, **options: object) -> int:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getbuffer().nbytes
