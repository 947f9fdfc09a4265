"""Pictures that a file can keep without loss, read from image files and written as PNG."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
from PIL import Image

from auxar.coding.index import MOST_METADATA
from auxar.data.conversion import BrokenImage, opened, read_file, stored_bits
from auxar.errors import UserError
from auxar.files import replacing

FORMATS = ("PNG", "WEBP", "JPEG", "BMP", "GIF")
"""Formats of image files, as Pillow names them, in which it is known whether a picture has more than 8 bits."""


@attrs.frozen(eq=False)
class Picture:
    """A gray or RGB picture with 8 bits for each value, and the metadata that a file keeps."""

    pixels: np.ndarray
    """The values, uint8, (1, height, width) if the picture is gray, or (3, height, width)."""
    profile: bytes = b""
    """The ICC color profile; empty if there is none."""
    exif: bytes = b""
    """The EXIF data; empty if there is none. Pixels are kept as they are stored, without the rotation in EXIF data."""


def read_picture(path: Path) -> Picture:
    """Reads a picture from an image file, with the pixels as they are stored.

    Colors of a palette become RGB. Raises `UserError`, with the reason, if the file cannot be read, or if a part of the
    picture could not be kept: transparency, more than 8 bits, several frames, or a color space other than gray and RGB.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        with opened(content, upright=False) as picture:
            if picture.format not in FORMATS:
                raise BrokenImage(f"its format is {picture.format}; convert it to PNG first")
            # Pillow reduces colors of 16 bits to 8 bits.
            if (bits := stored_bits(picture, content)) > 8:
                raise BrokenImage(f"it has {bits} bits for each value, and only 8 are kept")
            return _kept(picture)
    except BrokenImage as error:
        raise UserError(f"{path} cannot be compressed: {error}") from None


def _kept(picture: Image.Image) -> Picture:
    if getattr(picture, "n_frames", 1) > 1:
        raise BrokenImage(f"it has {picture.n_frames} frames, and only single pictures are kept")  # type: ignore[attr-defined]
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        raise BrokenImage("it has transparency, which is not kept; blend it onto a background first")
    if picture.mode == "P":
        picture = picture.convert("RGB")
    if picture.mode not in ("L", "RGB"):
        raise BrokenImage(
            f"its mode is {picture.mode}, and only gray and RGB pictures of 8 bits are kept; convert it first"
        )
    profile, exif = picture.info.get("icc_profile") or b"", picture.info.get("exif") or b""
    for what, found in (("color profile", profile), ("EXIF data", exif)):
        if len(found) > MOST_METADATA:
            raise BrokenImage(f"its {what} has {len(found):,} bytes, and at most {MOST_METADATA:,} are kept")
    pixels = np.asarray(picture)
    return Picture(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), profile, exif)


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a picture as PNG. Raises `UserError` if the file cannot be written."""
    pixels = picture.pixels
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    with replacing(path) as temporary:
        image.save(
            temporary,
            format="PNG",
            icc_profile=picture.profile or None,
            **({"exif": picture.exif} if picture.exif else {}),
        )
