"""Tests of unusual, damaged and malicious image files. The tables of image_files.md say what happens to each kind."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import PIL
import pytest
from helpers.tiny_runs import PROJECT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageCms

from auxar.data import StoredImages, conversion, load_images, training_batches
from auxar.data.conversion import BrokenImage, Preparation, decode, opened
from auxar.draw.given import _mask
from auxar.draw.image_files import image_files
from auxar.draw.inputs import as_batch
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.plugins import Registry
from auxar.recipe import Crop, DataConfig, Split

SPEC = ImageSpec(3, height=8, width=8)
DATA = DataConfig("pictures", resize="stretch")
RED = np.full((8, 8, 3), (200, 40, 20), np.uint8)
# The picture has no symmetry, so all its rotations and reflections differ.
UPRIGHT = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


# --- files -----------------------------------------------------------------------------------------------------------


def encode(pixels: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    """Returns the bytes of a picture encoded in the image format `kind`."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if kind == "WEBP":
        options = {"lossless": True, **options}
    if kind in ("JPEG", "MPO") and picture.mode != "CMYK":
        options = {"quality": 100, "subsampling": 0, **options}
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Returns a chunk of a PNG file with a valid checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colors: int, pixels: bytes, *others: bytes) -> bytes:
    """Returns a PNG file, with other chunks before the pixels. `pixels` are raw rows, each after a zero byte."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colors, 0, 0, 0))
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


LONG_TEXT = zlib.compress(bytes(2**26))


def with_text(kind: bytes, before: bytes) -> bytes:
    """Returns a PNG file with a text or a color profile of 64 MiB that is compressed to 64 KiB."""
    return png(8, 8, 8, 0, bytes(72), chunk(kind, before + LONG_TEXT))


def changed(content: bytes, place: int) -> bytes:
    """Returns the file with all bits of one byte inverted."""
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def turned(orientation: int) -> np.ndarray:
    """Returns the stored pixels that are displayed as `UPRIGHT` under an EXIF orientation."""
    # The entries are for the EXIF orientations 1 to 8. Each names the displayed sides of the stored row 0 and column 0.
    sides = [
        "top left",
        "top right",
        "bottom right",
        "bottom left",
        "left top",
        "right top",
        "right bottom",
        "left bottom",
    ]
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


# Test files by kind. A file in `READ` comes with its expected pixels, shape (8, 8, 3).
BROKEN: dict[str, dict[str, bytes]] = {
    "empty": {"": b""},
    "cut off in its header": {
        name: content for kind in EVERY for name, content in cuts(kind, 1, 2, 8, 12, 17).items() if kind != "PPM"
    }
    | cuts("PPM", 1, 2, 5)
    | cuts("GIF", 100)
    | cuts("TIFF", 30),
    "cut off in its pixels": cuts("PNG", 60, 100, -30)
    | cuts("JPEG", 300, -60, -2)
    | cuts("GIF", -40, -5)
    | cuts("WEBP", 40, 100, -1)
    | cuts("BMP", 60, 150, -1)
    | cuts("PPM", 20, 100, -1)
    | cuts("AVIF", -1)
    # Pillow writes the tags of an uncompressed TIFF file before its pixels, so these cuts only remove pixels.
    | cuts("TIFF", -100, -1),
    "damaged pixels, if the format has checksums": {
        "PNG": changed(encode(NOISE, "PNG"), 80),
        "deflate": changed(encode(NOISE, "TIFF", compression="tiff_adobe_deflate"), 9),
        "WEBP": changed(encode(NOISE, "WEBP"), 21),
    },
    "text file with the extension of an image": {"": b"What is in this file is text.\n"},
    "PostScript file with the extension of an image": {"": encode(RED, "EPS")},
    "another format, such as JPEG 2000 or ICO": {
        kind: encode(RED, kind) for kind in ("JPEG2000", "ICO", "TGA", "PCX", "PDF")
    },
    "more than 100,000,000 pixels": {
        "where Pillow warns": png(10_001, 10_000, 1, 0, b""),
        "where Pillow refuses": png(20_000, 10_000, 1, 0, b""),
        "as large as can be": png(2**31 - 1, 2**31 - 1, 8, 2, b""),
        "GIF": encode(RED, "GIF")[:6] + b"\xff\xff\xff\xff" + encode(RED, "GIF")[10:],
        "PPM": b"P6 50000 50000 255\n",
        "BMP": encode(RED, "BMP")[:18] + struct.pack("<ii", 50_000, 50_000) + encode(RED, "BMP")[26:],
        "TIFF": with_tag(with_tag(encode(RED, "TIFF"), 256, 50_000), 257, 50_000),
    },
    "more than 1,000,000 pixels in a row or column": {
        "row": png(1_000_001, 1, 8, 0, b""),
        "column": png(1, 1_000_001, 8, 0, b""),
    },
    "TIFF with tiles of more than 100,000,000 pixels": {"": tiled(10_016)},
    "PNG with several headers (chunks IHDR)": {"two": png(8, 8, 8, 0, bytes(72), png(8, 8, 8, 0, b"")[8:33])},
    "PNG in a variant of Apple (chunk CgBI)": {"later": png(8, 8, 8, 0, bytes(72), chunk(b"CgBI", bytes(4)))},
    "PNG with a compressed text or profile of more than 1 MiB": {
        "zTXt": with_text(b"zTXt", b"key\0\0"),
        "iTXt": with_text(b"iTXt", b"key\0\1\0\0\0"),
        "iCCP": with_text(b"iCCP", b"key\0\0"),
    },
    "transparent color in an image with 16 bits per channel": {
        "gray": deep((0x8234,), 0, chunk(b"tRNS", struct.pack(">H", 0x8234))),
        "colors": deep((0x8234, 0x12FF, 0), 2, chunk(b"tRNS", struct.pack(">HHH", 0x8234, 0x12FF, 0))),
    },
    "grayscale of more than 16 bits, or with negative values": {
        "more": encode(Image.new("I", (8, 8), 70_000), "TIFF"),
        "negative": encode(Image.new("I", (8, 8), -1), "TIFF"),
    },
    "floats": {"TIFF": encode(Image.new("F", (8, 8), 0.5), "TIFF"), "PFM": b"Pf\n8 8\n-1.0\n" + bytes(256)},
    "L\\*a\\*b\\*: TIFF": {"": encode(Image.new("LAB", (8, 8), (128, 128, 128)), "TIFF")},
}
READ: dict[str, dict[str, tuple[bytes, np.ndarray]]] = {
    "cut off after its last pixel": {
        "PNG": (encode(UPRIGHT, "PNG")[:-12], UPRIGHT),
        "GIF": (encode(RED, "GIF")[:-1], RED),
    },
    "extension of another format": {kind: (encode(RED, kind), RED) for kind in EVERY},
    "image of a single pixel": {kind: (encode(RED[:1, :1], kind), RED) for kind in EVERY},
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
        **(
            {"TIFF": (encode(Image.fromarray(RED).convert("YCbCr"), "TIFF"), RED)}
            if int(PIL.__version__.partition(".")[0]) >= 13  # Older versions of Pillow do not read it.
            else {}
        ),
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


# --- the tables ------------------------------------------------------------------------------------------------------


def documented() -> dict[str, tuple[str, list[str]]]:
    """Returns the tables of image_files.md by kind of file: the outcome, and regular expressions of the errors."""
    rows = {}
    for line in Path(__file__).with_name("image_files.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith(("| kind", "| ---")):
            kind, outcome, words = (cell.strip() for cell in line.strip("|").split("|"))
            assert kind not in rows
            texts = [re.escape(text).replace("…", ".+") for text in re.findall('"(.*?)"(?= or "|$)', words)]
            rows[kind] = (outcome, texts)
    return rows


ROWS = documented()


def leading_nowhere(folder: Path) -> Iterator[list[str]]:
    (folder / "nowhere.png").symlink_to(folder / "not there.png")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    yield ["nowhere.png", "itself.png"]


def too_many_bytes(folder: Path) -> Iterator[list[str]]:
    (folder / "long.bmp").write_bytes(encode(RED, "BMP"))
    os.truncate(folder / "long.bmp", conversion.MAX_BYTES + 1)
    yield ["long.bmp"]


# Kinds of files that cannot be given as bytes. Each function creates them in a folder and yields their names.
MADE: dict[str, Callable[[Path], Iterator[list[str]]]] = {
    "link to a file that does not exist": leading_nowhere,
    "more than 400,000,000 bytes": too_many_bytes,
}
ELSEWHERE = {
    "folder with the extension of an image",
    "name that is not valid UTF-8",
    "subfolder that cannot be read",
    'size other than that of `[image]`, with `data.resize = "none"`',
}


def test_each_row_has_its_files_and_each_file_its_row():
    assert set(ROWS) == {*BROKEN, *READ, *MADE, *ELSEWHERE}
    for kind, (outcome, words) in ROWS.items():
        expected = "read" if kind in READ else "broken" if kind in {*BROKEN, *MADE} else outcome
        assert outcome.startswith(expected), kind
        assert outcome.startswith("read") == (not words), kind


def test_the_page_names_formats_names_and_limits_as_they_are():
    page = (PROJECT / "docs" / "images.md").read_text(encoding="utf-8")
    sentence = page[page.index("These formats") : page.index("A file's content")]
    assert set(re.findall(r"[A-Z]\w+", sentence.upper().split(":")[1])) - {"AND", "WITH"} == {
        *conversion.FORMATS,
        "PBM",
        "PGM",
    }
    assert f"more than {conversion.LARGE:,} pixels" in page


# --- training --------------------------------------------------------------------------------------------------------


def config(folder: Path, **options: Any) -> DataConfig:
    return DataConfig(str(folder), **{"resize": "stretch", "split": Split(0.5), **options})


@pytest.fixture(scope="module")
def gs(tmp_path_factory) -> Iterator[Path]:
    """A fake Ghostscript on the PATH. The fixture returns the path of the file that it creates if it is started."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "gs").write_text(f"#!/bin/sh\ntouch {folder}/started\n")
    (folder / "gs").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        patch.setattr(EpsImagePlugin, "gs_binary", None)
        yield folder / "started"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, gs) -> tuple[dict[str, Any], list[str]]:
    """The result of loading a folder with all test files: the pixels, shape (8, 8, 3), or the problem of each file by
    name, and the warnings of Pillow."""
    folder = tmp_path_factory.mktemp("hostile")
    files = {(kind, name): content for kind in BROKEN for name, content in BROKEN[kind].items()}
    files |= {(kind, name): content for kind in READ for name, (content, _) in READ[kind].items()}
    for (kind, name), content in files.items():
        (folder / f"{file_name(kind, name)}.png").write_bytes(content)
    made = {kind: make(folder) for kind, make in MADE.items()}
    names = {kind: next(making) for kind, making in made.items()}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        sets = load_images(config(folder, broken="skip"), SPEC, Registry())
    for making in made.values():
        next(making, None)
    found: dict[str, Any] = {}
    assert isinstance(sets.train, StoredImages)
    for row in sets.train.prepared:
        pixels = row["pixels"] and np.frombuffer(row["pixels"], np.uint8).reshape(3, 8, 8).transpose(1, 2, 0)
        found[row["name"]] = row["problem"] or pixels
    for kind, members in names.items():
        found[kind] = [found.pop(name) for name in members]
    (folder / "long.bmp").unlink()
    return found, [str(warning.message) for warning in warned if "PIL" in warning.filename]


def file_name(kind: str, name: str) -> str:
    return re.sub(r"\W+", " ", f"{kind} - {name}").strip()


def told(kind: str, message: str) -> bool:
    """Whether a message matches an error that image_files.md gives for this kind."""
    return any(re.search(text, message) for text in ROWS[kind][1])


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_told_in_the_words_of_the_page(outcomes, kind):
    for name in BROKEN[kind]:
        problem = outcomes[0][f"{file_name(kind, name)}.png"]
        assert isinstance(problem, str), name
        assert "\n" not in problem
        assert any(re.fullmatch(text, problem) for text in ROWS[kind][1]), (name, problem)


@pytest.mark.parametrize("kind", MADE)
def test_what_is_no_file_is_told_in_the_words_of_the_page(outcomes, kind):
    assert all(told(kind, problem) for problem in outcomes[0][kind])


@pytest.mark.parametrize("kind", READ)
def test_other_files_are_read(outcomes, kind):
    for name, (_, expected) in READ[kind].items():
        pixels = outcomes[0][f"{file_name(kind, name)}.png"]
        assert isinstance(pixels, np.ndarray), (name, pixels)
        # AVIF, JPEG and YCbCr are lossy, so a small error is allowed.
        error = np.abs(pixels.astype(int) - expected).max()
        exact = kind.startswith(("rotated", "transp", "16", "palette", "gray", "black")) and "AVIF" not in name
        assert error <= (0 if exact else 4), name


def test_nothing_is_started_and_nothing_warned_of(outcomes, gs):
    assert not gs.exists()
    assert outcomes[1] == []


def test_one_broken_file_ends_the_run_with_a_sentence(tmp_path):
    for kind, content in (("empty", b""), ("more than 100,000,000 pixels", png(10_001, 10_000, 1, 0, b""))):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "a.png").write_bytes(content)
        with pytest.raises(UserError) as caught:
            load_images(config(folder), SPEC, Registry())
        beginning = f"data.path: a.png in the split 'train' of {folder} cannot be read as an image: "
        assert str(caught.value).startswith(beginning)
        assert told(kind, str(caught.value))


def test_folder_under_the_name_of_an_image(tmp_path):
    (tmp_path / "a.png").mkdir()
    for name in ("b.png", "c.png"):
        (tmp_path / "a.png" / name).write_bytes(encode(RED, "PNG"))
    sets = load_images(config(tmp_path), SPEC, Registry())
    assert isinstance(sets.train, StoredImages)
    assert isinstance(sets.heldout, StoredImages)
    assert sorted([sets.train.name(0), sets.heldout.name(0)]) == ["a.png/b.png", "a.png/c.png"]


def test_subfolder_that_cannot_be_read(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(encode(RED, "PNG"))
    scan = os.scandir

    def failing(path: Any) -> Any:
        # Permissions would not make it fail, because tests may run as root.
        if path == str(tmp_path / "b"):
            raise OSError(errno.EIO, "Input/output error", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(UserError) as caught:
        load_images(config(tmp_path, broken="skip"), SPEC, Registry())
    assert str(caught.value).startswith(f"data.path: the folder {tmp_path}/b cannot be read: Input/output error; ")
    assert told("subfolder that cannot be read", str(caught.value))


def test_name_that_is_not_valid_utf8(tmp_path):
    for name in (b"a.png", b"\xff.png"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(encode(RED, "PNG"))
    with pytest.raises(UserError) as caught:
        load_images(config(tmp_path, broken="skip"), SPEC, Registry())
    assert told("name that is not valid UTF-8", str(caught.value))


def test_another_size(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(encode(RED[:3], "PNG"))
    with pytest.raises(UserError) as caught:
        load_images(config(tmp_path, resize="none", broken="skip"), SPEC, Registry())
    assert told('size other than that of `[image]`, with `data.resize = "none"`', str(caught.value))


STREAMED = {
    "cut off in its pixels": encode(NOISE, "PNG")[:100],
    "more than 100,000,000 pixels": png(10_001, 10_000, 1, 0, b""),
    "PostScript file with the extension of an image": encode(RED, "EPS"),
}


@pytest.mark.parametrize("kind", STREAMED)
def test_streams_are_read_alike(tmp_path, caplog, gs, kind):
    for name in ("b.png", "c.png"):
        (tmp_path / name).write_bytes(encode(RED, "PNG"))
    content = STREAMED[kind]
    path = tmp_path / "a.png"

    def first(broken: str) -> np.ndarray:
        # With this seed, a.png and b.png are training images, and c.png is held out.
        train = load_images(
            config(tmp_path, streaming=True, broken=broken, split=Split(0.5, 1)), SPEC, Registry()
        ).train
        batches = training_batches(train, batch_size=2, steps=1, seed=0, flip=False)
        return next(iter(batches)).numpy()

    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^data\.path: a\.png cannot be read as an image: ") as caught:
        first("error")
    assert told(kind, str(caught.value))
    with caplog.at_level(logging.WARNING):
        assert (first("skip") == RED.transpose(2, 0, 1)).all()
    assert all(told(kind, message) for message in caplog.messages)
    assert caplog.messages
    assert not gs.exists()


# --- given images ----------------------------------------------------------------------------------------------------


def read_images(path: Path) -> Any:
    return as_batch([path], SPEC, Preparation.of(SPEC, DATA), "given")


def read_mask(path: Path) -> Any:
    return _mask(path, SPEC, 1)


def refusal(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_that_are_given(tmp_path, gs, kind):
    for content in BROKEN[kind].values():
        (tmp_path / "a.png").write_bytes(content)
        images = refusal(read_images, tmp_path / "a.png")
        mask = refusal(read_mask, tmp_path / "a.png")
        assert images.startswith(f"given: {tmp_path / 'a.png'} cannot be read: ")
        assert mask.startswith(f"keep: {tmp_path / 'a.png'} cannot be read: ")
        assert told(kind, images)
        assert told(kind, mask)
    assert not gs.exists()


def test_given_images_stand_upright(tmp_path):
    for value in range(1, 9):
        (tmp_path / "a.png").write_bytes(encode(turned(value), "PNG", exif=orientation(value)))
        found = read_images(tmp_path / "a.png")[0]
        assert (found.numpy() == UPRIGHT.transpose(2, 0, 1)).all()


def test_folders_that_are_given(tmp_path):
    (tmp_path / "a.png").mkdir()
    for name in (".b.png", "c.png", "d.AVIF", "e.txt"):
        (tmp_path / name).write_bytes(encode(RED, "PNG"))
    assert [file.name for file in image_files([tmp_path], "given")] == ["c.png", "d.AVIF"]


# --- one file --------------------------------------------------------------------------------------------------------


def test_sizes_up_to_the_limits_are_read():
    decode(encode(Image.new("1", (1_000_000, 100)), "PNG"), "L")
    # This size is just accepted; decoding fails because the file has no pixels.
    with pytest.raises(BrokenImage, match=r"^decoding failed"):
        decode(png(10_000, 10_000, 1, 0, b""), "L")


@pytest.mark.parametrize("resize", ["cover", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_the_narrowest_pictures_are_scaled(shape, resize):
    pixels = Preparation(SPEC, Crop(), resize)(encode(np.full((*shape, 3), 99, np.uint8), "PNG"), "a.png")
    assert pixels.shape == (3, 8, 8)
    assert (pixels == 99).all()


FOUR = np.arange(16, dtype=np.uint8).reshape(4, 4)
# Files whose stored values are 0 … 15, row by row.
STORED: dict[str, bytes] = {
    **{kind: encode(FOUR, kind) for kind in ("PNG", "BMP", "TIFF", "WEBP", "GIF")},
    "4 bits": png(4, 4, 4, 0, b"".join(bytes([0, 16 * a + b, 16 * c + d]) for a, b, c, d in FOUR.tolist())),
    "16 bits": encode(FOUR.astype(np.uint16), "PNG"),
    "palette": encode(Image.fromarray(np.repeat(FOUR[..., None], 3, 2)).quantize(16), "PNG"),
    "opaque": encode(Image.merge("LA", [Image.fromarray(FOUR), Image.new("L", (4, 4), 255)]), "PNG"),
    "turned": encode(np.rot90(FOUR).copy(), "PNG", exif=orientation(6)),
}


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("channels", [1, 3])
def test_stored_values_are_levels(kind, channels):
    preparation = Preparation(ImageSpec(channels, height=4, width=4, levels=16), Crop(), "none", "levels")
    assert (preparation(STORED[kind], "a") == FOUR).all()


def test_bits_are_levels():
    bits = Preparation(ImageSpec(1, height=8, width=8, levels=2), Crop(), "none", "levels")
    white = Image.new("1", (8, 8), 1)
    assert all((bits(content, "a") == 1).all() for content in (white, encode(white, "PNG"), encode(white, "TIFF")))


def test_resized_levels_are_levels():
    stripes = np.tile(np.array([0, 0, 16, 16], np.uint8), (16, 4))
    found = Preparation(ImageSpec(1, height=24, width=24, levels=17), Crop(), "stretch", "levels")(
        encode(stripes, "PNG"), "a"
    )
    assert set(found.ravel().tolist()) == {0, 2, 14, 16}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode(FOUR + 1, "PNG"), "has the value 16"),
        (encode(Image.new("I", (4, 4), -1), "TIFF"), "has the value -1"),
        (encode(np.full((4, 4), 256, np.uint16), "PNG"), "has the value 256"),
        (png(4, 4, 16, 2, bytes(100)), "has RGB pixels of 16 bits, which are not kept"),
        (
            with_tag(encode(RED, "TIFF"), 256, 4).replace(b"\b\0\b\0\b\0", b"\x10\0\x10\0\x10\0"),
            "has RGB pixels of 16 bits, which are not kept",
        ),
        (encode(FOUR, "JPEG"), "is a JPEG file, which does not keep values; expected PNG"),
        (b"P5 4 4 15\n" + FOUR.tobytes(), "is a PPM file, which does not keep values; expected PNG"),
        (encode(ALPHA, "PNG"), "is partly transparent"),
        (encode(np.stack([FOUR, FOUR, FOUR[::-1]], 2), "PNG"), "is in color, but the images are gray"),
        (encode(Image.new("CMYK", (4, 4)), "TIFF"), "has CMYK pixels of 8 bits, which are not kept"),
    ],
)
def test_values_that_are_no_levels_are_refused(content, reason):
    preparation = Preparation(ImageSpec(1, height=4, width=4, levels=16), Crop(), "stretch", "levels")
    with pytest.raises(UserError, match=f"data.values: a/b.png {reason}.* levels 0 … 15; change image.levels"):
        preparation(content, "a/b.png")
    all_levels = attrs.evolve(preparation, image=attrs.evolve(preparation.image, levels=256))
    if "-1" not in reason:
        assert (all_levels(content, "a") == attrs.evolve(all_levels, values="scaled")(content, "a")).all()


def test_an_error_of_pillow_is_one_short_line(monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", lambda *_: (_ for _ in ()).throw(ValueError("word \n" * 1000)))
    with pytest.raises(BrokenImage, match=r"^decoding failed: (word )+\[\.\.\.\]$") as caught:
        decode(encode(RED, "PNG"), "L")
    assert len(str(caught.value)) < 250


def test_memory_that_is_short_is_told(monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(BrokenImage, match=r"^decoding needs more memory than is available$"):
        decode(encode(RED, "PNG"), "L")


def test_warnings_come_back_when_the_last_file_is_closed(recwarn):
    warnings.simplefilter("always")
    filters, level = list(warnings.filters), logging.getLogger("PIL").level

    def warn() -> None:
        warnings.warn_explicit("odd", UserWarning, "Image.py", 1, module="PIL.Image")

    first, second = opened(encode(RED, "PNG")), opened(encode(RED, "GIF"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warn()
    assert not logging.getLogger("PIL.TiffImagePlugin").isEnabledFor(logging.ERROR)
    assert not recwarn
    second.__exit__(None, None, None)
    assert warnings.filters == filters
    assert logging.getLogger("PIL").level == level
    warn()
    assert len(recwarn) == 1


def test_large_pictures_take_turns(monkeypatch):
    monkeypatch.setattr(conversion, "LARGE", 10)
    done = threading.Event()

    def decode_large() -> None:
        decode(encode(RED, "PNG"), "L")
        done.set()

    thread = threading.Thread(target=decode_large)
    with opened(encode(RED, "PNG")):
        thread.start()
        assert decode(encode(RED[:2, :2], "PNG"), "L").size == (2, 2)
        assert not done.wait(0.2)
    thread.join(5)
    assert done.is_set()


SEEDS = {
    **{kind: encode(NOISE, kind) for kind in EVERY},
    "APNG": frames("PNG"),
    "animated GIF": frames("GIF"),
    "animated WebP": frames("WEBP"),
    "MPO": frames("MPO"),
    "progressive": encode(NOISE, "JPEG", progressive=True, exif=orientation(6)),
    "CMYK": encode(Image.new("CMYK", (8, 8)), "JPEG"),
    "palette": encode(palette(transparency=1), "PNG", exif=orientation(5)),
    "deep": deep((1, 2, 3, 4), 6),
    "run lengths": encode(Image.fromarray(NOISE).convert("P"), "TIFF", compression="packbits"),
    "LZW": encode(NOISE, "TIFF", compression="tiff_lzw"),
    "tiles": tiled(16),
    "text": b"P3 8 8 255\n" + b"1 2 3 " * 64,
}
FLIPS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=5)


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(SEEDS)),
    flips=FLIPS,
    end=st.just(1.0) | st.floats(0, 1),
    mode=st.sampled_from(["L", "RGB"]),
)
@example(kind="BMP", flips=[(0.085, 54)], end=1.0, mode="RGB")
def test_any_damage_gives_a_picture_within_limits_or_one_error(monkeypatch, caplog, kind, flips, end, mode):
    monkeypatch.setattr(conversion, "MAX_PIXELS", 10_000)
    content = bytearray(SEEDS[kind])
    for place, flip in flips:
        content[int(place * len(content))] ^= flip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            picture = decode(bytes(content[: round(end * len(content))]), mode)
        except BrokenImage:
            return
    assert picture.mode == mode
    assert picture.width * picture.height <= 10_000
    assert not caplog.records
