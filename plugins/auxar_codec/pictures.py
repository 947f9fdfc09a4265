"""Pictures that a file can keep without loss, read from image files and written as PNG."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import attrs
import numpy as np
from PIL import Image, UnidentifiedImageError

from auxar import UserError, replacing
from auxar_codec.index import MOST_METADATA, MOST_PIXELS, MOST_SIDE

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


def picture_files(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    """The given files and, in place of each given folder, the files in it that are named as images, sorted by name.

    Raises `UserError` if there are none at one of the paths.
    """
    found = [file for path in paths for file in _files(Path(path))]
    if not found:
        raise UserError("paths: expected at least one image file, or a folder of images")
    return found


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    # Files of formats that are not kept are taken, too, so that none is left out without a word.
    endings = Image.registered_extensions()
    named = [file for file in path.glob("[!.]*") if file.is_file() and file.suffix.lower() in endings]
    if not named:
        raise UserError(f"paths: there is no file or folder of images {path}")
    return sorted(named)


def read_picture(path: Path) -> Picture:
    """Reads a picture from an image file, with the pixels as they are stored.

    Colors of a palette become RGB. Raises `UserError`, with the reason, if the file cannot be read, or if a part of the
    picture could not be kept: transparency, more than 8 bits, several frames, or a color space other than gray and RGB.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            _check(picture)
            return _kept(picture)
    except UnidentifiedImageError:
        reason = f"it is no picture of the formats {', '.join(FORMATS)}, or it is damaged; convert it to PNG first"
    except Exception as error:  # Pillow raises many kinds of exceptions for damaged files.
        reason = getattr(error, "strerror", None) or str(error)
    raise UserError(f"{path} cannot be compressed: {reason}")


def _check(picture: Image.Image) -> None:
    """Raises `ValueError` if a part of a picture would be lost. Its pixels are not decoded."""
    if picture.width * picture.height > MOST_PIXELS:
        raise ValueError(f"it has {picture.width * picture.height:,} pixels, and at most {MOST_PIXELS:,} are allowed")
    if max(picture.size) > MOST_SIDE:
        raise ValueError(f"it has a side of {max(picture.size):,} pixels, and at most {MOST_SIDE:,} are allowed")
    # Pillow reduces the values of a PNG file of 16 bits to 8 bits, and names only the decoder differently.
    if "16B" in str(getattr(picture, "tile", "")):
        raise ValueError("it has 16 bits for each value, and only 8 are kept")
    if (frames := getattr(picture, "n_frames", 1)) > 1:
        raise ValueError(f"it has {frames} frames, and only single pictures are kept")
    if picture.has_transparency_data:
        raise ValueError("it has transparency, which is not kept; blend it onto a background first")
    if picture.mode not in ("L", "P", "RGB"):
        raise ValueError(
            f"its mode is {picture.mode}, and only gray and RGB pictures of 8 bits are kept; convert it first"
        )


def _kept(picture: Image.Image) -> Picture:
    pixels = np.asarray(picture.convert("RGB") if picture.mode == "P" else picture)
    profile, exif = picture.info.get("icc_profile") or b"", picture.info.get("exif") or b""
    for what, found in (("color profile", profile), ("EXIF data", exif)):
        if len(found) > MOST_METADATA:
            raise ValueError(f"its {what} has {len(found):,} bytes, and at most {MOST_METADATA:,} are kept")
    return Picture(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), profile, exif)


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a picture as PNG. Raises `UserError` if the file cannot be written."""
    pixels = picture.pixels
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    exif = {"exif": picture.exif} if picture.exif else {}
    with replacing(path) as temporary:
        image.save(temporary, format="PNG", icc_profile=picture.profile or None, **exif)
