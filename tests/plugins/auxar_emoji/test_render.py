"""Tests of the script that rendered the embedded data set, with a font that comes with Pillow."""

import inspect
import io
import unicodedata
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import ImageFont, features

from auxar_emoji import render


class Red(ImageFont.FreeTypeFont):
    """A font that is red wherever colors of the font are drawn. It draws the same box for each symbol that it lacks."""

    def getmask2(self, *arguments, **options):
        call = inspect.signature(super().getmask2).bind(*arguments, **options)
        if call.arguments["mode"] == "RGBA":
            call.arguments["ink"] = 0xFF0000FF
        return super().getmask2(*call.args, **call.kwargs)


FONT = Red(io.BytesIO(ImageFont.load_default(60).font_bytes), 60)
LEFT_OUT = "⬅◼▪🔘㊗Ⓜ🕐‼🦰✔🔠🔟⬛🅰🆗™▶◻▫🏻🇳"
"""One symbol of each kind that the embedded data set lacks."""


def test_every_embedded_image_is_that_of_a_candidate_in_order(tmp_path):
    file = Path(render.__file__).parent / "emoji32.parquet"
    embedded = Dataset.from_parquet(str(file), cache_dir=str(tmp_path))["name"]
    # Versions of Python that know more names than the one that wrote the file name more candidates by their names.
    candidates = list(render.candidates())
    names = ((render.name_of(text), f"U+{ord(text[0]):04X}") for text in candidates)
    assert all(any(name in each for each in names) for name in embedded)
    assert len(candidates) == len(set(candidates))
    assert not set(candidates) & set(LEFT_OUT)
    assert set("❤⌚😀") < set(candidates)


def test_a_symbol_is_rendered_small_and_centered_on_white():
    image = render.render(FONT, "X")
    assert image is not None
    assert (image.mode, image.size) == ("RGB", (32, 32))
    values = np.asarray(image)
    assert (values[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert (values[..., 0] == 255).all()
    ink = np.asarray(values[..., 1] < 128)
    left, top, right, bottom = FONT.getbbox("X")
    for axis, extent in ((0, bottom - top), (1, right - left)):
        places = np.flatnonzero(ink.any(1 - axis))
        assert abs(places[0] + places[-1] - 31) <= 1
        assert abs(len(places) - extent * 32 / 136) < 1.5


def test_the_file_has_each_symbol_once_and_no_unknown_flag(tmp_path, monkeypatch, capsys):
    def truetype(path, size, layout_engine):
        assert (path, size, layout_engine) == (tmp_path / "emoji.ttf", 109, ImageFont.Layout.RAQM)
        return FONT

    monkeypatch.setattr(ImageFont, "truetype", truetype)
    monkeypatch.setattr(features, "check", lambda feature: feature == "raqm")
    # The font draws the same box for both symbols of the second range, and two of them for each flag.
    monkeypatch.setattr(render, "BLOCKS", ((ord("A"), ord("C")), (0xE000, 0xE002)))
    monkeypatch.setattr(render, "REGIONAL_INDICATORS", render.REGIONAL_INDICATORS[:2])
    render.main(tmp_path / "emoji.ttf", tmp_path / "emoji.parquet")
    assert capsys.readouterr().out.endswith("emoji.parquet: 3 emoji\n")
    written = Dataset.from_parquet(str(tmp_path / "emoji.parquet"), cache_dir=str(tmp_path))
    assert written["name"][:] == ["LATIN CAPITAL LETTER A", unicodedata.name("B"), "U+E000"]
    for image, text in zip(written["image"], "AB\ue000", strict=True):
        rendered = render.render(FONT, text)
        assert rendered is not None
        assert image.tobytes() == rendered.tobytes()
