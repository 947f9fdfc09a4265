"""Tests of the pictures that files keep, and of those that are refused because a part would be lost."""

import os
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from helpers.image_kinds import RED, chunk, encode, png
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar_codec.pictures import read_picture, write_picture
from auxar_codec.tiles import from_tiles, to_tiles


def colors(height=3, width=5, channels=3):
    return np.arange(height * width * channels, dtype=np.uint8).reshape(height, width, channels)


def profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif() -> bytes:
    made = Image.Exif()
    made[0x010E] = "a picture"
    made[0x0112] = 6  # turned by 90 degrees
    return made.tobytes()


# WebP stores gray pictures as RGB.
@pytest.mark.parametrize(
    ("name", "gray"), [("a.png", False), ("a.png", True), ("a.webp", False), ("a.bmp", False), ("a.bmp", True)]
)
def test_pixels_and_metadata_are_kept(tmp_path, gray, name):
    values = colors()[..., 0] if gray else colors()
    metadata: dict[str, Any] = {} if name == "a.bmp" else {"icc_profile": profile(), "exif": exif()}
    options: dict[str, Any] = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(values).save(tmp_path / name, **metadata, **options)
    picture = read_picture(tmp_path / name)
    write_picture(tmp_path / "out.png", picture)
    with Image.open(tmp_path / "out.png") as written:
        assert written.mode == ("L" if gray else "RGB")
        assert np.array_equal(np.asarray(written), values), "pixels are as they are stored, not turned"
        assert written.info.get("icc_profile") == metadata.get("icc_profile")
        assert written.getexif() == (Image.open(tmp_path / name).getexif())
    again = read_picture(tmp_path / "out.png")
    assert (again.profile, again.exif) == (picture.profile, picture.exif)


def test_colors_of_a_palette_become_rgb(tmp_path):
    Image.fromarray(colors()).quantize(7).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png").pixels
    assert np.array_equal(found.transpose(1, 2, 0), np.asarray(Image.open(tmp_path / "a.png").convert("RGB")))


@pytest.mark.parametrize(
    "content",
    [png(4, 1, 8, 0, bytes(5), chunk(b"acTL", bytes(8))), encode(RED, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")],
    ids=["frames", "EXIF"],
)
def test_damaged_metadata_is_read_without_a_warning_of_pillow(content, recwarn):
    read_picture(content)
    assert not [str(warning.message) for warning in recwarn if "PIL" in warning.filename]


def test_a_palette_with_opacities_is_read_without_a_warning_of_pillow(tmp_path, recwarn):
    """Opacities that are all 255 are left out."""
    picture = Image.fromarray(colors()).quantize(4)
    picture.save(tmp_path / "a.png", transparency=bytes([255] * 4))
    assert "transparency" in Image.open(tmp_path / "a.png").info
    expected = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, expected)
    assert not [each for each in recwarn if "Transparency" in str(each.message)]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "1", "P", "PA"])
def test_values_are_kept_as_gray_or_rgb_without_an_opaque_alpha_channel(mode):
    gray = np.array([[0, 255, 255], [255, 0, 0]], np.uint8)
    expected = gray[None] if mode != "RGBA" else colors().transpose(2, 0, 1)
    picture = Image.fromarray(expected[0] if mode != "RGBA" else colors()).convert(mode)
    found = read_picture(picture)
    assert np.array_equal(found.pixels, expected)
    if mode in ("RGBA", "LA"):
        alpha = picture.getchannel("A")
        alpha.putpixel((0, 0), 254)
        picture.putalpha(alpha)
        with pytest.raises(UserError, match="transparency"):
            read_picture(picture)


def save(path, **options):
    Image.fromarray(colors()).save(path, **options)


def save_animation(path):
    frames = [Image.fromarray(colors() + k) for k in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def save_deep(path, first=(), header=(2, 2, 16, 2, 0, 0, 0), then=()):
    """Writes a picture that Pillow cannot write, such as an RGB picture with 16 bits, with other chunks first."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    own = (b"IHDR", struct.pack(">IIBBBBB", *header))
    rows = b"".join(b"\0" + b"\xff" * 12 for _ in range(2))
    parts = [chunk(*each) for each in (*first, own, *then, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize(
    ("save", "name", "message"),
    [
        (lambda path: Image.fromarray(colors(channels=4)).save(path), "a.png", "transparency"),
        (lambda path: Image.fromarray(colors(channels=2), "LA").save(path), "a.png", "transparency"),
        (lambda path: Image.fromarray(colors()[..., 0]).save(path, transparency=3), "a.png", "transparency"),
        (lambda path: save_deep(path, (), (48, 2, 2, 0, 0, 0, 0), [(b"tRNS", b"\0\3")]), "a.png", "transparency"),
        (lambda path: save_deep(path, (), (24, 2, 4, 0, 0, 0, 0), [(b"tRNS", b"\0\x0f")]), "a.png", "transparency"),
        (lambda path: Image.fromarray(colors().astype(np.uint16)[..., 0]).save(path), "a.png", "16 bits"),
        (save_deep, "a.png", "it has 16 bits for each value, and only 8 are kept"),
        (lambda path: save_deep(path, [(b"tEXt", b"Title\0x")]), "a.png", "it has 16 bits for each value, and only 8"),
        (lambda path: save_deep(path, [(b"CgBI", bytes(4))]), "a.png", "it has 16 bits for each value, and only 8"),
        (lambda path: save_deep(path, [(b"IHDR", bytes.fromhex("00000002000000020802000000"))]), "a.png", "it has 16 "),
        (lambda path: Image.fromarray(colors(channels=4), "CMYK").save(path), "a.jpg", "its mode is CMYK"),
        (save, "a.tif", "no picture of the formats .*; convert it to PNG first"),
        (save_animation, "a.gif", "it has 2 frames"),
        (lambda path: Image.new("L", (1, 70_000)).save(path), "a.png", "it has a side of 70,000 pixels"),
        (
            lambda path: save_deep(path, header=(4, 3, 8, 2, 0, 0, 0)),
            "a.png",
            "3×4 pixels, and its data has fewer",
        ),
        (lambda path: save_deep(path, header=(12, 2, 8, 3, 0, 0, 0)), "a.png", r"it is damaged \(AssertionError\)"),
        (os.mkfifo, "a.png", "cannot be compressed: it is not a regular file"),
        (lambda path: path.write_bytes(b"no picture"), "a.png", "it is no picture of the formats"),
        (lambda path: None, "a.png", "cannot be compressed: No such file"),
        (lambda path: save(path, icc_profile=bytes(2**18 + 1)), "a.png", "profile has 262,145 bytes, and at most 26"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pictures_of_which_a_part_would_be_lost_are_refused(tmp_path, save, name, message):
    save(tmp_path / name)
    with pytest.raises(UserError, match=message) as caught:
        read_picture(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@given(height=st.integers(1, 9), width=st.integers(1, 9), tile=st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_tiles_join_to_the_picture(height, width, tile):
    pixels = np.arange(2 * height * width).reshape(2, height, width)
    tiles = to_tiles(pixels, ImageSpec(2, height=tile[0], width=tile[1]))
    assert tiles.shape == (-(-height // tile[0]) * -(-width // tile[1]), 2, *tile)
    assert np.array_equal(from_tiles(tiles, height, width), pixels)
