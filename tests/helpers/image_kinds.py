"""Image files of every kind, with their pixels or the reason why they are broken."""

import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from helpers.image_sets import encoded

RED = np.full((8, 8, 3), (200, 40, 20), np.uint8)
# The picture has no symmetry, so all its rotations and reflections differ.
UPRIGHT = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


def encode(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """The content of a file of this format, with as little loss as possible."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if kind == "WEBP":
        options = {"lossless": True, **options}
    if kind in ("JPEG", "MPO") and picture.mode != "CMYK":
        options = {"quality": 100, "subsampling": 0, **options}
    return encoded(picture, kind, **options)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Returns a chunk of a PNG file with a valid checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int, height: int, depth: int, colors: int, pixels: bytes, *others: bytes, interlaced: bool = False
) -> bytes:
    """Returns a PNG file, with other chunks before the pixels. `pixels` are raw rows, each after a zero byte."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colors, 0, 0, interlaced))
    parts = [b"\x89PNG\r\n\x1a\n", header, *others, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    return b"".join(parts)


def deep(color: tuple[int, ...], kind: int, *others: bytes) -> bytes:
    """Returns a PNG file of one color with 16 bits per channel."""
    return png(8, 8, 16, kind, (b"\0" + struct.pack(f">{len(color)}H", *color) * 8) * 8, *others)


def tiled(side: int) -> bytes:
    """Returns a TIFF file of one pixel that claims a tile of `side` × `side` pixels, but contains only one byte."""
    entries = [(256, 1), (257, 1), (258, 8), (259, 8), (262, 1), (277, 1), (322, side), (323, side), (324, 8), (325, 1)]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 10) + b"x\0" + struct.pack("<H", len(entries)) + table + bytes(4)


def with_tag(content: bytes, tag: int, value: int) -> bytes:
    """Returns a little-endian TIFF file with the value of one tag replaced."""
    table = struct.unpack_from("<I", content, 4)[0]
    place = next(
        table + 2 + 12 * k for k in range(99) if struct.unpack_from("<H", content, table + 2 + 12 * k)[0] == tag
    )
    return content[: place + 8] + struct.pack("<HH", value, 0) + content[place + 12 :]


def changed(content: bytes, place: int) -> bytes:
    """Returns the file with all bits of one byte inverted."""
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def turned(orientation: int) -> np.ndarray:
    """Returns the stored pixels that are displayed as `UPRIGHT` under an EXIF orientation."""
    # The entries are for the EXIF orientations 1 to 8. Each names the displayed sides of the stored row 0 and column 0.
    sides = [*("top left", "top right", "bottom right", "bottom left")]
    sides += [*("left top", "right top", "right bottom", "left bottom")]
    row, column = sides[orientation - 1].split()
    stored = UPRIGHT if row in ("top", "bottom") else UPRIGHT.transpose(1, 0, 2)
    return stored[:: -1 if row in ("bottom", "right") else 1, :: -1 if column in ("bottom", "right") else 1]


def orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def frames(kind: str, **options: Any) -> bytes:
    return encode(RED, kind, save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")], **options)


def palette(**info: Any) -> Image.Image:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([1, 2, 3, 200, 40, 20])
    picture.info.update(info)
    return picture


ALPHA = Image.new("RGBA", (8, 8), (0, 0, 0, 51))
ON_WHITE = np.full((8, 8, 3), 204, np.uint8)
GRAY = np.full((8, 8, 3), 77, np.uint8)
CYAN = np.full((8, 8, 3), (0, 255, 255), np.uint8)
WHITE = np.full((8, 8, 3), 255, np.uint8)
DEEP = np.full((8, 8, 3), (0x82, 0x12, 0xFF), np.uint8)
EXACT = {"PNG": RED, "BMP": RED, "PPM": RED, "TIFF": RED, "WEBP": RED, "GIF": RED}
LOSSY = {"JPEG": RED, "AVIF": RED}
EVERY = {**EXACT, **LOSSY}
NOISE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def cuts(kind: str, *places: int) -> dict[str, bytes]:
    """Returns copies of a file of noise, each cut off at one of the places. A negative place counts from the end."""
    content = encode(NOISE, kind)
    return {f"{kind} at {place}": content[:place] for place in places}


def higher(content: bytes) -> bytes:
    """Returns a JPEG file whose header says that it has 64 rows."""
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + b"\0\x40" + content[place + 2 :]


SCANS: dict[str, dict[str, Any]] = {"4:4:4": {}, "4:2:0": {"subsampling": 2}, "restarts": {"restart_marker_blocks": 1}}
UNKNOWN = r"the format is unknown or not supported; expected AVIF, .+"
FAILED = r"decoding failed: .+"
# Files by kind, after the reason why they are broken.
BROKEN: dict[str, tuple[str, dict[str, bytes]]] = {
    "empty": ("the file is empty", {"": b""}),
    "cut off in its pixels": (
        FAILED,
        cuts("PNG", 60, 100, -30)
        | cuts("JPEG", 300, -60, -2)
        | cuts("GIF", -40, -5)
        | cuts("WEBP", 40, 100, -1)
        | cuts("BMP", 60, 150, -1)
        | cuts("PPM", 20, 100, -1)
        | cuts("AVIF", -1)
        # Pillow writes the tags of an uncompressed TIFF file before its pixels, so these cuts only remove pixels.
        | cuts("TIFF", -100, -1),
    ),
    "damaged pixels, if the format has checksums": (
        FAILED,
        {
            "PNG": changed(encode(NOISE, "PNG"), 80),
            "deflate": changed(encode(NOISE, "TIFF", compression="tiff_adobe_deflate"), 9),
            "WEBP": changed(encode(NOISE, "WEBP"), 21),
        },
    ),
    "fewer rows than the header says": (
        "decoding failed: (its header says .* pixels, and its data has fewer|image file is truncated .*)",
        {
            "PNG": png(8, 8, 8, 2, (b"\0" + b"\xff" * 24) * 3),
            "one row": png(10_000, 10_000, 8, 0, b"\1" * 10_001),
            "JPEG with an end": encode(NOISE, "JPEG")[:-200] + b"\xff\xd9",
            **{f"higher JPEG, {name}": higher(encode(RED, "JPEG", **options)) for name, options in SCANS.items()},
            "TIFF": with_tag(encode(NOISE, "TIFF"), 257, 9),
        },
    ),
    "another format": (
        UNKNOWN,
        {
            "text": b"What is in this file is text.\n",
            **{kind: encode(RED, kind) for kind in ("EPS", "JPEG2000", "ICO", "TGA", "PCX", "PDF")},
        },
    ),
    "more than 100,000,000 pixels": (
        "the image has more than 100,000,000 pixels",
        {
            "where Pillow warns": png(10_001, 10_000, 1, 0, b""),
            "where Pillow refuses": png(20_000, 10_000, 1, 0, b""),
            "as large as can be": png(2**31 - 1, 2**31 - 1, 8, 2, b""),
            "GIF": encode(RED, "GIF")[:6] + b"\xff\xff\xff\xff" + encode(RED, "GIF")[10:],
            "PPM": b"P6 50000 50000 255\n",
            "BMP": encode(RED, "BMP")[:18] + struct.pack("<ii", 50_000, 50_000) + encode(RED, "BMP")[26:],
            "TIFF": with_tag(with_tag(encode(RED, "TIFF"), 256, 50_000), 257, 50_000),
        },
    ),
    "more than 1,000,000 pixels in a row or column": (
        "the image is more than 1,000,000 pixels wide or high",
        {"row": png(1_000_001, 1, 8, 0, b""), "column": png(1, 1_000_001, 8, 0, b"")},
    ),
    "TIFF with large tiles": ("each tile of the TIFF file has more than 100,000,000 pixels", {"": tiled(10_016)}),
    "transparent color in an image with 16 bits per channel": (
        "a 16-bit color is marked as transparent, which is not supported",
        {
            "gray": deep((0x8234,), 0, chunk(b"tRNS", struct.pack(">H", 0x8234))),
            "colors": deep((0x8234, 0x12FF, 0), 2, chunk(b"tRNS", struct.pack(">HHH", 0x8234, 0x12FF, 0))),
            "dark colors": deep((0x34, 0xFF, 0), 2, chunk(b"tRNS", struct.pack(">HHH", 0x34, 0xFF, 0))),
        },
    ),
    "grayscale of more than 16 bits, or with negative values": (
        "gray values are outside the 16-bit range 0 … 65,535",
        {
            "more": encode(Image.new("I", (8, 8), 70_000), "TIFF"),
            "negative": encode(Image.new("I", (8, 8), -1), "TIFF"),
        },
    ),
    "floats": (
        "pixel values are floats of unknown range; integers are expected",
        {"TIFF": encode(Image.new("F", (8, 8), 0.5), "TIFF"), "PFM": b"Pf\n8 8\n-1.0\n" + bytes(256)},
    ),
    "L*a*b*": (
        r"colors are L\*a\*b\*, which is not supported; gray or RGB is expected",
        {"": encode(Image.new("LAB", (8, 8), (128, 128, 128)), "TIFF")},
    ),
}
# Files by kind, with their expected pixels, shape (8, 8, 3).
READ: dict[str, dict[str, tuple[bytes, np.ndarray]]] = {
    "cut off after its last pixel": {
        "PNG": (encode(UPRIGHT, "PNG")[:-12], UPRIGHT),
        "GIF": (encode(RED, "GIF")[:-1], RED),
    },
    "JPEG": {
        **{name: (encode(RED, "JPEG", **options), RED) for name, options in SCANS.items()},
        "progressive": (encode(RED, "JPEG", progressive=True), RED),
        "one more file after it": (encode(RED, "JPEG") * 2, RED),
    },
    "extension of another format": {kind: (encode(RED, kind), RED) for kind in EVERY},
    "animation: GIF, APNG, WebP, AVIF": {
        **{kind: (frames(kind), RED) for kind in ("GIF", "PNG", "WEBP", "AVIF")},
        "PNG with a picture apart": (frames("PNG", default_image=True), RED),
    },
    "several pages or images: TIFF, MPO": {
        "TIFF": (frames("TIFF"), RED),
        "MPO": (frames("MPO"), RED),
        "MPO that has lost the second": (frames("MPO")[:-100], RED),
    },
    "palette": {kind: (encode(palette(), kind), RED) for kind in ("PNG", "GIF", "BMP", "TIFF")},
    "black and white, 1 bit": {
        **{kind: (encode(Image.new("1", (8, 8), 1), kind), WHITE) for kind in ("PNG", "BMP", "TIFF", "PPM")},
        "fax": (encode(Image.new("1", (8, 8), 1), "TIFF", compression="group4"), WHITE),
    },
    "grayscale": {kind: (encode(GRAY[..., 0], kind), GRAY) for kind in ("PNG", "JPEG", "TIFF", "BMP", "PPM")},
    "transparency: alpha channel, transparent palette entry or color": {
        "PNG": (encode(ALPHA, "PNG"), ON_WHITE),
        "WEBP": (encode(ALPHA, "WEBP", exact=True), ON_WHITE),
        "TIFF": (encode(ALPHA, "TIFF"), ON_WHITE),
        "AVIF": (encode(ALPHA, "AVIF", quality=100), ON_WHITE),
        "gray": (encode(ALPHA.convert("LA"), "PNG"), ON_WHITE),
        "few bits": (png(8, 8, 2, 0, b"\0UU" * 8, chunk(b"tRNS", b"\0\1")), WHITE),
        "few bits, more in the color": (png(8, 8, 2, 0, b"\0UU" * 8, chunk(b"tRNS", b"\1\5")), WHITE),
        "more bits in the color": (png(8, 8, 8, 2, (b"\0" + b"MNO" * 8) * 8, chunk(b"tRNS", b"\1M\2N\3O")), WHITE),
        "more bits in the gray": (png(8, 8, 8, 0, (b"\0" + b"M" * 8) * 8, chunk(b"tRNS", b"\1M")), WHITE),
        "palette": (encode(palette(transparency=1), "PNG"), WHITE),
        "turned palette": (encode(palette(transparency=1), "PNG", exif=orientation(6)), WHITE),
        "GIF": (encode(palette(transparency=1), "GIF", transparency=1), WHITE),
        "color": (encode(RED, "PNG", transparency=(200, 40, 20)), WHITE),
    },
    "16 bits per channel: grayscale, RGB, RGBA": {
        "gray": (deep((0x8299,), 0), np.full((8, 8, 3), 0x82, np.uint8)),
        "gray PPM": (b"P5 8 8 65535\n" + b"\x82\x99" * 64, np.full((8, 8, 3), 0x82, np.uint8)),
        "gray TIFF": (encode(Image.new("I;16", (8, 8), 0x8299), "TIFF"), np.full((8, 8, 3), 0x82, np.uint8)),
        "big-endian TIFF": (encode(Image.new("I;16B", (8, 8), 0x8299), "TIFF"), np.full((8, 8, 3), 0x82, np.uint8)),
        "RGB": (deep((0x8299, 0x1299, 0xFFFF), 2), DEEP),
        "RGBA": (deep((0, 0, 0, 0x3399), 6), ON_WHITE),
    },
    "CMYK: JPEG, TIFF": {
        kind: (encode(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), kind), CYAN) for kind in ("JPEG", "TIFF")
    },
    "YCbCr: JPEG, TIFF": {
        "JPEG": (encode(RED, "JPEG"), RED),
        "JPEG in TIFF": (encode(Image.fromarray(RED).convert("YCbCr"), "TIFF", compression="jpeg", quality=100), RED),
    },
    "rotated or mirrored by EXIF (eight orientations)": {
        f"{kind} {value}": (encode(turned(value), kind, exif=orientation(value)), UPRIGHT)
        for value in range(1, 9)
        for kind in ("PNG", "WEBP", "TIFF")
    },
    "EXIF data that cannot be read": {
        "JPEG": (encode(RED, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), RED),
        **{f"not even a header, {kind}": (encode(RED, kind, exif=b"no"), RED) for kind in ("JPEG", "PNG", "WEBP")},
        "an orientation that there is not": (encode(RED, "PNG", exif=orientation(99)), RED),
    },
    "color profile (ICC)": {
        "PNG": (encode(RED, "PNG", icc_profile=profile()), RED),
        "JPEG": (encode(RED, "JPEG", icc_profile=profile()), RED),
        "no profile": (encode(RED, "PNG", icc_profile=b"nonsense"), RED),
    },
}
