"""Pictures that a file can keep without loss, read from image files and written as PNG."""

import io
import re
from pathlib import Path
from typing import BinaryIO

import attrs
import numpy as np
from PIL import Image, UnidentifiedImageError

from auxar import UserError, replacing
from auxar.numerics.silence import silence
from auxar.numerics.whole_pictures import load_whole
from auxar_codec.index import MOST_METADATA, MOST_PIXELS, MOST_SIDE

FORMATS = ("PNG", "WEBP", "JPEG", "BMP", "GIF")
"""Formats of image files, as Pillow names them, in which it is known whether a picture has more than 8 bits."""

KEPT = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""Pillow's modes of pictures that can be kept, and the modes in which their values are read."""


@attrs.frozen(eq=False)
class Picture:
    """A gray or RGB picture with 8 bits for each value, and the metadata that a file keeps."""

    pixels: np.ndarray
    """The values, uint8, (1, height, width) if the picture is gray, or (3, height, width)."""
    profile: bytes = b""
    """The ICC color profile; empty if there is none."""
    exif: bytes = b""
    """The EXIF data; empty if there is none. Pixels are kept as they are stored, without the rotation in EXIF data."""


def read_picture(source: Path | bytes | BinaryIO | Image.Image, label: str = "") -> Picture:
    """Reads a picture from an image file, or its content, with the pixels as they are stored, or from a Pillow image.

    Colors of a palette become RGB, or gray if all of them are, and the values of bilevel pictures become 0 and 255. An
    alpha channel that is opaque everywhere is left out. Raises `UserError`, with the reason, if the picture cannot be
    read, or if a part of it could not be kept: transparency, more than 8 bits, several frames, or a color space other
    than gray and RGB.
    """
    try:
        if isinstance(source, Image.Image):
            return _kept(source)
        if isinstance(source, Path) and source.exists() and not source.is_file():  # Reading a pipe may never end.
            raise ValueError("it is not a regular file")
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        if not isinstance(file, Path) and not hasattr(file, "read"):
            raise TypeError(f"expected a picture, an array, a path or an open file, got {type(source).__name__}")
        with silence, Image.open(file, formats=FORMATS) as picture:
            return _kept(picture)
    except UnidentifiedImageError:
        reason = f"it is no picture of the formats {', '.join(FORMATS)}, or it is damaged; convert it to PNG first"
    except Exception as error:  # Pillow raises many kinds of exceptions for damaged files.
        reason = getattr(error, "strerror", None) or str(error) or f"it is damaged ({type(error).__name__})"
    name = label or (source if isinstance(source, Path) else "the picture")
    raise UserError(f"{name} cannot be compressed: {reason}")


def _check(picture: Image.Image) -> None:
    """Decodes a picture. Raises an exception if it is damaged, and `ValueError` if a part of it would be lost."""
    if picture.width * picture.height > MOST_PIXELS:
        raise ValueError(f"it has {picture.width * picture.height:,} pixels, and at most {MOST_PIXELS:,} are allowed")
    if max(picture.size) > MOST_SIDE:
        raise ValueError(f"it has a side of {max(picture.size):,} pixels, and at most {MOST_SIDE:,} are allowed")
    # Pillow reduces the values of a PNG file of 16 bits to 8 bits, and names only the decoder differently.
    decoder = str(getattr(picture, "tile", ""))
    if "16B" in decoder:
        raise ValueError("it has 16 bits for each value, and only 8 are kept")
    if (frames := getattr(picture, "n_frames", 1)) > 1:
        raise ValueError(f"it has {frames} frames, and only single pictures are kept")
    load_whole(picture)
    transparent = picture.has_transparency_data and picture.convert("RGBA").getchannel("A").getextrema() != (255, 255)
    # Pillow scales the pixels of gray PNG files of 2 and 4 bits to 0 … 255, but not the value that is transparent.
    if transparent or ("transparency" in picture.info and re.search("L;[24]'", decoder)):
        raise ValueError("it has transparency, which is not kept; blend it onto a background first")
    if picture.mode not in KEPT:
        raise ValueError(
            f"its mode is {picture.mode}, and only gray and RGB pictures of 8 bits are kept; convert it first"
        )


def _kept(picture: Image.Image) -> Picture:
    _check(picture)
    # Pillow warns if it converts a palette with opacities to RGB at once.
    colors = picture.convert("RGBA") if picture.mode == "P" and picture.has_transparency_data else picture
    pixels = np.asarray(colors.convert(KEPT[picture.mode]))
    if picture.mode in ("P", "PA") and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    profile, exif = picture.info.get("icc_profile") or b"", picture.info.get("exif") or b""
    exif = exif if exif.startswith(b"Exif") or not exif else b"Exif\0\0" + exif  # WebP has no such prefix.
    for what, found in (("color profile", profile), ("EXIF data", exif)):
        if not isinstance(found, bytes):
            raise ValueError(f"its {what} is not bytes, but of the type {type(found).__name__}")
        if len(found) > MOST_METADATA:
            raise ValueError(f"its {what} has {len(found):,} bytes, and at most {MOST_METADATA:,} are kept")
    return Picture(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), profile, exif)


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a picture as PNG. Raises `UserError` if the file cannot be written."""
    image = pillow_image(picture)
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", icc_profile=picture.profile or None, exif=picture.exif or None)


def pillow_image(picture: Picture) -> Image.Image:
    """A picture as a Pillow image, whose `info` has its color profile and EXIF data."""
    pixels = picture.pixels
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    metadata = {"icc_profile": picture.profile, "exif": picture.exif}
    image.info.update({name: content for name, content in metadata.items() if content})
    return image
