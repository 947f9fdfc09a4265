"""Tests of image files: files of every kind give the pixels that viewers show, or an error with the reason."""

import logging
import os
import re
import threading
import warnings
from typing import Any

import attrs
import numpy as np
import pytest
from helpers.image_kinds import (
    ALPHA,
    BROKEN,
    EVERY,
    NOISE,
    READ,
    RED,
    UPRIGHT,
    chunk,
    encode,
    orientation,
    png,
    tiled,
    turned,
    with_tag,
)
from helpers.image_sets import load
from helpers.tiny_runs import PROJECT
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from auxar.data import decoding
from auxar.data.conversion import Preparation
from auxar.data.decoding import BrokenImage, eight_bit, opened
from auxar.data.level_use import unused_levels
from auxar.data.stored import StoredImages
from auxar.draw.forms import image_files
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.recipe import Crop

SPEC = ImageSpec(3, height=8, width=8)


def decode(source: bytes, mode: str) -> Image.Image:
    with opened(source) as picture:
        return eight_bit(picture).convert(mode)


# --- outcomes --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, Any]:
    """The result of loading a folder with all test files: the pixels, shape (8, 8, 3), or the problem of each file."""
    folder = tmp_path_factory.mktemp("files")
    files = {file_name(kind, name): content for kind, (_, made) in BROKEN.items() for name, content in made.items()}
    files |= {file_name(kind, name): content for kind in READ for name, (content, _) in READ[kind].items()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "nowhere.png").symlink_to(folder / "not there.png")
    (folder / "long.bmp").write_bytes(encode(RED, "BMP"))
    os.truncate(folder / "long.bmp", decoding.MAX_BYTES + 1)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        train = load(folder, SPEC, resize="stretch", broken="skip").train
    (folder / "long.bmp").unlink()
    assert [str(warning.message) for warning in warned if "PIL" in warning.filename] == []
    assert isinstance(train, StoredImages)
    found: dict[str, Any] = {}
    for row in train.prepared:
        pixels = row["pixels"] and np.frombuffer(row["pixels"], np.uint8).reshape(3, 8, 8).transpose(1, 2, 0)
        found[row["name"]] = row["problem"] or pixels
    return found


def file_name(kind: str, name: str) -> str:
    return re.sub(r"\W+", " ", f"{kind} - {name}").strip() + ".png"


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_told_with_the_reason(outcomes, kind):
    reason, files = BROKEN[kind]
    for name in files:
        problem = outcomes[file_name(kind, name)]
        assert isinstance(problem, str), name
        assert re.fullmatch(reason, problem), (name, problem)


def test_files_that_are_not_read_are_broken(outcomes):
    assert outcomes["nowhere.png"] == "the file does not exist, is not a regular file, or is not readable"
    assert outcomes["long.bmp"] == "the file has more than 400,000,000 bytes"


@pytest.mark.parametrize("kind", READ)
def test_other_files_are_read_in_color_and_in_gray(outcomes, kind):
    gray = Preparation(attrs.evolve(SPEC, channels=1), Crop(), "stretch")
    for name, (content, expected) in READ[kind].items():
        pixels = outcomes[file_name(kind, name)]
        assert isinstance(pixels, np.ndarray), (name, pixels)
        # AVIF, JPEG and YCbCr are lossy, so a small error is allowed.
        exact = kind.startswith(("rotated", "transp", "16", "palette", "gray", "black")) and "AVIF" not in name
        assert np.abs(pixels.astype(int) - expected).max() <= (0 if exact else 4), name
        luma = np.asarray(Image.fromarray(np.ascontiguousarray(expected)).convert("L")).astype(int)
        assert np.abs(gray(content, name)[0] - luma).max() <= (0 if exact else 4), name


def test_the_page_names_formats_and_limits_as_they_are():
    page = (PROJECT / "docs" / "images.md").read_text(encoding="utf-8")
    sentence = page[page.index("These formats") : page.index("A file's content")]
    named = set(re.findall(r"[A-Z]\w+", sentence.upper().split(":")[1])) - {"AND", "WITH"}
    assert named == {*decoding.FORMATS, "PBM", "PGM"}
    assert f"more than {decoding.LARGE:,} pixels" in page


def prepared(pixels: np.ndarray, image: ImageSpec, crop: Crop = Crop(), resize: str = "none", **options: Any) -> Any:  # noqa: B008
    return Preparation(image, crop, resize)(encode(pixels, "PNG", **options), "a.png")


def test_the_crop_takes_margins_off_what_stands_upright():
    image = ImageSpec(3, height=3, width=2)
    for value in range(1, 9):
        found = prepared(turned(value), image, Crop(left=1, right=5, top=2, bottom=3), exif=orientation(value))
        assert (found == UPRIGHT[2:5, 1:3].transpose(2, 0, 1)).all()


def test_pictures_are_covered_or_stretched_by_the_filter_of_lanczos():
    picture, size = Image.effect_mandelbrot((64, 32), (-2, -1.5, 1, 1.5), 50), (4, 4)
    stretched = picture.resize(size, Image.Resampling.LANCZOS)
    covered = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    for resize, expected in (("cover", covered), ("stretch", stretched)):
        found = prepared(np.asarray(picture), ImageSpec(1, height=4, width=4), resize=resize)
        assert np.array_equal(found[0], np.asarray(expected))


@pytest.mark.parametrize("levels", [2, 5, 16, 100, 255])
def test_levels_are_quantized_by_floor(levels):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = prepared(ramp, ImageSpec(1, height=16, width=16, levels=levels))
    assert found.ravel().tolist() == [value * levels // 256 for value in range(256)]


def test_folders_that_are_given(tmp_path):
    (tmp_path / "a.png").mkdir()
    for name in (".b.png", "c.png", "d.AVIF", "e.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in image_files([tmp_path], "given")] == ["c.png", "d.AVIF"]


def test_sizes_up_to_the_limits_are_read():
    decode(encode(Image.new("1", (1_000_000, 100)), "PNG"), "L")
    # This size is just accepted; decoding fails because the file has no pixels.
    with pytest.raises(BrokenImage, match=r"^decoding failed"):
        decode(png(10_000, 10_000, 1, 0, b""), "L")


# The channels of PNG files by their type of colors, and the bits of a value.
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


@given(
    kind=st.sampled_from([(colors, depth) for colors in DEPTHS for depth in DEPTHS[colors]]),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    interlaced=st.booleans(),
    value=st.sampled_from([b"\0", b"\0\0\1"]),
    part=st.floats(0, 1, exclude_max=True),
)
def test_a_png_file_is_read_if_it_has_all_rows_and_broken_otherwise(kind, shape, interlaced, value, part):
    (colors, depth), (height, width), pixels = kind, shape, np.zeros(shape)
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    passes = [pixels[row::down, column::across] for column, row, across, down in steps] if interlaced else [pixels]
    sizes = [-(-rows.shape[1] * depth * CHANNELS[colors] // 8) for rows in passes]
    data = b"".join(
        (b"\0" + (value * size)[:size]) * len(rows) for rows, size in zip(passes, sizes, strict=True) if size
    )
    palette = [chunk(b"PLTE", bytes(768))] if colors == 3 else []
    assert decode(png(width, height, depth, colors, data, *palette, interlaced=interlaced), "RGB").height == height
    with pytest.raises(BrokenImage, match="decoding failed"):
        decode(png(width, height, depth, colors, data[: int(part * len(data))], *palette, interlaced=interlaced), "RGB")


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


def test_resized_levels_are_levels():
    stripes = np.tile(np.array([0, 0, 16, 16], np.uint8), (16, 4))
    found = Preparation(ImageSpec(1, height=24, width=24, levels=17), Crop(), "stretch", "levels")(
        encode(stripes, "PNG"), "a"
    )
    assert set(found.ravel().tolist()) == {0, 2, 14, 16}


DEEP = {
    "gray PNG": encode(np.full((4, 4), 256, np.uint16), "PNG"),
    "PNG": png(4, 4, 16, 2, bytes(100)),
    "gray TIFF": encode(np.full((4, 4), 256, np.uint16), "TIFF"),
    "TIFF": with_tag(encode(RED, "TIFF"), 256, 4).replace(b"\b\0\b\0\b\0", b"\x10\0\x10\0\x10\0"),
    "PGM": b"P5 4 4 4095\n" + bytes(32),
    "PPM": b"P6 4 4 65535\n" + bytes(96),
}


@pytest.mark.parametrize("kind", sorted(DEEP.keys() - {"TIFF"}))
@pytest.mark.parametrize("streaming", [False, True])
def test_pictures_of_16_bits_are_named_once_for_a_data_set(tmp_path, caplog, kind, streaming):
    for number in range(4):
        (tmp_path / f"{number}.{kind.split()[-1].lower()}").write_bytes(DEEP[kind])
    for _ in range(2):  # The second time, prepared images are read.
        decoding.warned.clear()
        found = load(tmp_path, attrs.evolve(SPEC, height=4, width=4), streaming=streaming)
        expected = f"pictures in {tmp_path} have 16 bits per channel, of which only the upper 8 are used"
        assert [text.partition(":")[0] for text in caplog.messages] == [expected]
        caplog.clear()
    assert "they have 16 bits per channel" in (unused_levels(found.train, "scaled") or "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode(FOUR + 1, "PNG"), "has the value 16"),
        (encode(Image.new("I", (4, 4), -1), "TIFF"), "has the value -1"),
        (DEEP["gray PNG"], "has the value 256"),
        (DEEP["PNG"], "has RGB pixels of 16 bits, which are not kept"),
        (DEEP["TIFF"], "has RGB pixels of 16 bits, which are not kept"),
        (encode(FOUR, "JPEG"), "is a JPEG file, which does not keep values; expected PNG"),
        (b"P5 4 4 15\n" + FOUR.tobytes(), "is a PPM file, which does not keep values; expected PNG"),
        (encode(ALPHA, "PNG"), "is partly transparent"),
        (encode(np.stack([FOUR, FOUR, FOUR[::-1]], 2), "PNG"), "is in color, but the images are gray"),
        (encode(Image.new("CMYK", (4, 4)), "TIFF"), "has CMYK pixels of 8 bits, which are not kept"),
    ],
)
def test_values_that_are_no_levels_are_refused(content, reason):
    preparation = Preparation(ImageSpec(1, height=4, width=4, levels=16), Crop(), "stretch", "levels")
    advice = "convert it to 8 bits: it has 16 bits" if decoding.is_deep(content) else "change image.levels"
    assert decoding.is_deep(content) == (content in DEEP.values() or "-1" in reason)
    with pytest.raises(UserError, match=f"data.values: a/b.png {reason}.* levels 0 … 15; {advice}"):
        preparation(content, "a/b.png")
    all_levels = attrs.evolve(preparation, image=attrs.evolve(preparation.image, levels=256))
    if "-1" not in reason:
        assert (all_levels(content, "a") == attrs.evolve(all_levels, values="scaled")(content, "a")).all()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("word \n" * 1000), r"decoding failed: (word )+\[\.\.\.\]"),
        (MemoryError(), "decoding needs more memory than is available"),
    ],
)
def test_an_error_of_pillow_is_one_short_line(monkeypatch, error, reason):
    monkeypatch.setattr(Image.Image, "convert", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(BrokenImage) as caught:
        decode(encode(RED, "PNG"), "L")
    assert re.fullmatch(reason, str(caught.value))
    assert len(str(caught.value)) < 250


def test_a_tile_may_have_as_many_pixels_as_an_image(monkeypatch):
    for most, reason in ((256, "decoding failed"), (255, "each tile of the TIFF file has more than 255 pixels")):
        monkeypatch.setattr(decoding, "MAX_PIXELS", most)
        with pytest.raises(BrokenImage, match=reason):
            decode(tiled(16), "L")


def test_warnings_come_back_when_the_last_file_is_closed(recwarn):
    warnings.simplefilter("always")
    filters, level = list(warnings.filters), logging.getLogger("PIL").level

    def warn() -> None:
        warnings.warn_explicit("odd", UserWarning, "Image.py", 1, module="PIL.Image")

    with opened(encode(RED, "GIF")):
        with opened(encode(RED, "PNG")):
            pass
        warn()
        assert not logging.getLogger("PIL.TiffImagePlugin").isEnabledFor(logging.ERROR)
    assert not recwarn
    assert (warnings.filters, logging.getLogger("PIL").level) == (filters, level)
    warn()
    assert len(recwarn) == 1


def test_large_pictures_take_turns(monkeypatch):
    monkeypatch.setattr(decoding, "LARGE", 10)
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
    **{f"{kind} {name}": content for kind in READ for name, (content, _) in READ[kind].items()},
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
    monkeypatch.setattr(decoding, "MAX_PIXELS", 10_000)
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
