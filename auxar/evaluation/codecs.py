"""Sizes of images in files of lossless codecs, as a measure of how complex an image is."""

import contextlib
import importlib
import io
import math
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image, features
from torch import Tensor

from auxar.arguments import described
from auxar.data.sets import ImageSet
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.progress import BAR_DELAY, progress_bar
from auxar.work.chunks import Tensors

JPEG_XL = "JPEG XL (lossless)"
"""Name of the codec that needs an optional package."""
MOST_IMAGES = 200
"""Maximum number of held-out images of an evaluation that the codecs store."""


def has_codec(image: ImageSpec) -> bool:
    """Whether the codecs can store images: gray or RGB images with 256 levels."""
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
    sizes = codec_sizes(image)
    sizes.pop(JPEG_XL, None)  # The value should not depend on an optional package.
    return 8 * min(sizes.values()) / image.numel()


def codec_sizes(image: Tensor) -> dict[str, int]:
    """The sizes in bytes of an image in files of lossless codecs, by the name of the codec.

    `image` is a tensor of integers in [0, 256), shape (c, h, w) with 1 or 3 channels. The codecs are PNG and, if Pillow
    writes them, WebP and JPEG XL. Pillow writes JPEG XL with the package `pillow-jxl-plugin`.

    Raises:
        UserError: `image` has another type, shape or range.

    Examples:
        >>> import torch
        >>> sizes = codec_sizes(torch.zeros(3, 32, 32, dtype=torch.uint8))
        >>> sizes["PNG"] < 200
        True
    """
    if not isinstance(image, Tensor) or image.dim() != 3 or len(image) not in (1, 3):
        found = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else described(image)
        raise UserError(f"image: expected a tensor of shape (c, h, w) with 1 or 3 channels, got {found}")
    spec = ImageSpec(len(image), height=image.shape[1], width=image.shape[2])
    spec.check(image[None])
    spec.check_range(image)
    values = image.byte().cpu().numpy()
    picture = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
    sizes = {"PNG": _size(picture, "PNG", optimize=True)}
    if features.check("webp"):
        # The highest effort takes 30 to 80 times as long, and files of faces were not smaller.
        sizes["WebP (lossless)"] = _size(picture, "WEBP", lossless=True)
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")
        sizes[JPEG_XL] = _size(picture, "JXL", lossless=True, effort=9)
    return sizes


def codec_nats(images: ImageSet, limit: int | None) -> Tensors:
    """The sizes of the first images of a set in files of lossless codecs, by the name of the codec.

    A size is -log(256) times the bytes of a file, float64 (1, n), to compare with log-likelihoods in nats. There are at
    most `MOST_IMAGES` images, or `limit` if it is smaller. The result is empty if the codecs cannot store them.
    """
    if not has_codec(images.image):
        return {}
    in_order = [image for _, image in images.every(1, 0, min(MOST_IMAGES, limit or MOST_IMAGES))]
    # Pillow encodes without the interpreter's lock, so threads run in parallel here.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        found = pool.map(codec_sizes, in_order)
        sizes = [*progress_bar(found, total=len(in_order), desc="codecs", unit="image", delay=BAR_DELAY)]
    return {
        name: -math.log(256) * torch.tensor([[size[name] for size in sizes]], dtype=torch.float64) for name in sizes[0]
    }


def _size(picture: Image.Image, kind: str, **options: object) -> int:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getbuffer().nbytes
