"""Tests of the scripts that rendered the embedded data set `emoji`, with small packages and drawings of rectangles."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from PIL import Image, ImageDraw

from auxar_emoji import catalog, packages, render_vendors, rendering, splits
from auxar_emoji.catalog import Emoji, code_of
from auxar_emoji.vendors import VENDORS

FACES = {f"1f60{digit}": f"face {digit}" for digit in (0, 1, 3, 7)}
"""Emoji of the small packages, with their names."""
SUBGROUPS = {"0": "face-smiling", "1": "arrow", "2": "time", "3": "person-role", "4": "country-flag"}
ENTRIES = [
    *((code, name, 0) for code, name in FACES.items()),
    ("27A1-FE0F", "right arrow", 1),
    ("1F553", "four o’clock", 2),
    ("231A", "watch", 2),
    ("1F9D1-200D-1F680", "astronaut", 3),
    ("1F469-200D-1F680", "woman astronaut", 3),
    ("1F477-200D-2642-FE0F", "man construction worker", 3),
    ("1F9D1-200D-1F9B0", "person: red hair", 3),
    ("1F469", "woman", 3),
    ("1F1F3-1F1F1", "flag: Netherlands", 4),
]


def svg(box, color="red"):
    """The stand-in for a drawing: a rectangle (left, top, right, bottom) on a canvas of 64×64."""
    return json.dumps([box, color])


def rasterize(text, width):
    box, color = json.loads(text[text.index("[") : text.rindex("]") + 1])
    image = Image.new("RGBA", (width, width))
    if box:
        left, top, right, bottom = (round(side * width / 64) for side in box)
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), color)
    return image


@pytest.fixture
def small_resvg(monkeypatch):
    monkeypatch.setattr(rendering, "rasterize", rasterize)


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@pytest.fixture
def node_modules(tmp_path):
    """Packages with one drawing for each face, and with flags."""
    folder = tmp_path / "node_modules"
    for package, version in packages.PACKAGES.items():
        write(folder / package / "package.json", {"version": version})
    # The file has no order of its own, and entries without a subgroup.
    entries = [
        {"hexcode": code, "label": name, "subgroup": subgroup, "order": order}
        for order, (code, name, subgroup) in enumerate(ENTRIES)
    ]
    write(folder / catalog.PACKAGE / "en" / "data.json", [{"hexcode": "1F1E6", "label": "A"}, *entries[::-1]])
    write(folder / catalog.PACKAGE / "meta" / "groups.json", {"subgroups": SUBGROUPS})
    colors = ["#c00", "#0c0", "#00c", "#000"]
    for number, (name, (package_name, _)) in enumerate(VENDORS.items()):
        package = folder / package_name
        drawings = {code: svg([0, 0, 64, 16 + 8 * number], color) for code, color in zip(FACES, colors, strict=True)}
        drawings["1f1f3-1f1f1"] = svg([0, 0, 64, 40], "#00f")
        if name in packages.FOLDERS_OF_FILES:
            for code, drawing in drawings.items():
                write(package / packages.FOLDERS_OF_FILES[name] / f"{code}.svg", drawing)
            continue
        named = {FACES.get(code, "flag-nl").replace(" ", "-"): drawing for code, drawing in drawings.items()}
        icons = {icon: {"body": drawing} for icon, drawing in named.items()}
        icons["face-0"] |= {"width": 20}
        write(package / "icons.json", {"icons": icons, "height": 32, "width": 32})
        if name in ("noto", "fluent-flat"):
            codes = {f"{code.upper()}-FE0F": label.replace(" ", "-") for code, label in FACES.items()}
            write(package / "chars.json", codes | {"1f4a9": "face-0", "1f609": "no-such-icon"})
    return folder


def test_the_catalog_has_no_symbols_and_no_variants(node_modules):
    emoji = catalog.read_emoji(node_modules / catalog.PACKAGE)
    assert [each.name for each in emoji] == [*FACES.values(), "watch", "astronaut", "woman", "flag: Netherlands"]
    assert emoji[5] == Emoji("1f9d1-200d-1f680", "astronaut", "person-role")
    assert (emoji[0].group, emoji[5].group) == ("smileys", "people")
    assert code_of("2764-FE0F-200D-1F525") == "2764-200d-1f525"


def test_drawings_are_found_by_code_points_and_by_names(node_modules):
    emoji = catalog.read_emoji(node_modules / catalog.PACKAGE)
    for vendor in VENDORS:
        found = packages.read_drawings(vendor, node_modules, emoji)
        assert set(found) - {"1f1f3-1f1f1"} == set(FACES)
    text = packages.read_drawings("noto", node_modules, emoji)["1f600"]
    assert 'viewBox="0 0 20 32" width="20" height="32"' in text
    assert text.startswith("<svg ")
    assert text.endswith("</svg>")
    flags = [vendor for each, vendor, _ in render_vendors.drawings(node_modules, emoji) if each.group == "flags"]
    assert flags == ["twemoji"]


def test_other_versions_of_the_packages_are_refused(node_modules):
    packages.check_versions(node_modules)
    write(node_modules / "emojione" / "package.json", {"version": "3.0.0"})
    with pytest.raises(SystemExit, match=r"expected emojione in version 2\.2\.7, found 3\.0\.0; run: npm install "):
        packages.check_versions(node_modules)


@pytest.mark.parametrize("box", [(8, 8, 56, 32), (0, 40, 24, 64), (20, 1, 50, 63)])
def test_a_drawing_is_centered_and_its_longer_side_has_30_pixels(small_resvg, box):
    image = rendering.render(svg(box))
    assert image is not None
    assert (image.mode, image.size) == ("RGB", (32, 32))
    ink = 1 - np.asarray(image)[..., 1].astype(float) / 255
    assert np.asarray(image)[..., 0].min() == 255
    for across, low, high in ((0, 0, 2), (1, 1, 3)):
        profile = ink.max(across)
        length = (box[high] - box[low]) * 30 / max(box[2] - box[0], box[3] - box[1])
        assert profile.sum() == pytest.approx(length, abs=0.3)
        assert (profile * (np.arange(32) - 15.5)).sum() / profile.sum() == pytest.approx(0, abs=0.1)


def test_pairs_of_near_images_are_all_found():
    images = np.random.default_rng(0).integers(0, 254, (6, 32, 32, 3), dtype=np.uint8)
    images[3] = images[1] + 2
    assert splits.near(images, 2.001) == [(1, 3)]
    assert splits.near(images, 2.0) == []


def test_the_first_of_nearly_equal_images_is_kept():
    # Image 2 is near image 1 only, which is left out itself.
    assert splits.without_equal(4, [(0, 1), (1, 2)]) == [0, 2, 3]


def test_emoji_that_most_vendors_have_are_held_out_unless_they_are_similar_to_others():
    emoji = [Emoji(code, code, "heart") for code in ("1", "2", "2", "3", "3", "4")]
    emoji += [Emoji(f"a{number}", "", "drink") for number in range(45)]
    assert splits.held_out(emoji[:6], []) == {min("23", key=splits.order)}
    assert splits.held_out(emoji[:6], [(1, 3), (1, 2)]) == {min("14", key=splits.order)}
    assert splits.held_out(emoji[:6], [(1, 2), (3, 4)]) == {min("23", key=splits.order)}
    assert len(splits.held_out(emoji[6:], [])) == 2


def test_the_script_writes_both_splits(node_modules, tmp_path, monkeypatch, capsys, small_resvg):
    monkeypatch.setattr(render_vendors, "ProcessPoolExecutor", ThreadPoolExecutor)
    # This drawing nearly equals that of the first vendor, and this one is empty.
    write(node_modules / "@twemoji/svg" / "1f600.svg", svg([0, 0, 64, 16], "#c10000"))
    write(node_modules / "emojione" / "assets" / "svg" / "1f600.svg", svg(None))
    render_vendors.main(node_modules, tmp_path / "emoji")
    files = {split: tmp_path / "emoji" / f"{split}.parquet" for split in ("train", "test")}
    rows = {split: pq.read_table(file).to_pylist() for split, file in files.items()}
    found = {(row["emoji"], row["vendor"]) for table in rows.values() for row in table}
    expected = {(code, vendor) for code in FACES for vendor in VENDORS} | {("1f1f3-1f1f1", "twemoji")}
    assert found == expected - {("1f600", "twemoji"), ("1f600", "emojione")}
    assert {row["emoji"] for row in rows["test"]} == {min(list(FACES)[1:], key=splits.order), "1f1f3-1f1f1"}
    assert capsys.readouterr().out.splitlines()[1].endswith("test.parquet: 7 images of 2 emoji")
    codes = [row["emoji"] for row in rows["train"]]
    assert codes == sorted(codes, key=splits.order)
    read = Dataset.from_parquet(str(files["train"]), cache_dir=str(tmp_path / "cache"))
    assert read.column_names == ["image", "name", "emoji", "vendor", "group", "subgroup"]
    row = next(row for row in read if (row["emoji"], row["vendor"]) == ("1f600", "noto"))
    assert (row["name"], row["group"], row["subgroup"]) == ("face 0", "smileys", "face-smiling")
    image = rendering.render(svg([0, 0, 64, 16], "#c00"))
    assert image is not None
    assert row["image"].convert("RGB").tobytes() == image.tobytes()
