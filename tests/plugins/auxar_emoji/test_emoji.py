"""Tests of the embedded data set `emoji`: its images, its splits and its options."""

import io
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.tiny_runs import PROJECT
from PIL import Image

import auxar_emoji
from auxar import ImageSpec, UserError
from auxar.testing import check_dataset
from auxar_emoji.groups import GROUP_OF, GROUPS
from auxar_emoji.selection import FILES, EmojiConfig, build
from auxar_emoji.vendors import VENDORS

FOLDER = Path(auxar_emoji.__file__).parent
SKIN_TONES = {f"{code:x}" for code in range(0x1F3FB, 0x1F400)}
FACES = EmojiConfig(vendors=("noto", "twemoji"), groups=("cat-face", "monkey-face"))
SIMILAR = 3.0
"""The distance below which images of different emoji were not divided."""
COLUMNS = ("name", "emoji", "vendor", "group", "subgroup")


def rows_of(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


@pytest.fixture(scope="module")
def rows():
    return {split: rows_of(FILES, split) for split in ("train", "test")}


@pytest.fixture(scope="module")
def images(rows):
    """The pixels of each split, shape (n, 32, 32, 3), uint8."""
    found = {}
    for split, table in rows.items():
        pictures = [Image.open(io.BytesIO(row["image"]["bytes"])) for row in table]
        assert {(picture.format, picture.mode) for picture in pictures} == {("WEBP", "RGB")}
        found[split] = np.stack([np.asarray(picture) for picture in pictures])
    return found


def test_the_embedded_files_have_at_most_8_megabytes():
    assert sum(file.stat().st_size for file in FOLDER.rglob("*.parquet")) <= 8_000_000


def test_every_image_has_a_vendor_and_a_group_and_is_its_vendors_only_one(rows):
    table = [row for split in rows.values() for row in split]
    assert {row["vendor"] for row in table} == set(VENDORS)
    assert {row["subgroup"] for row in table} == set(GROUP_OF)
    assert all(row["group"] == GROUP_OF[row["subgroup"]] and row["name"] for row in table)
    assert len({(row["emoji"], row["vendor"]) for row in table}) == len(table) > 6000
    assert not any(SKIN_TONES & set(row["emoji"].split("-")) for row in table)


def test_no_emoji_is_in_both_splits_and_one_in_20_of_each_group_is_held_out(rows):
    emoji = {split: {row["emoji"] for row in table} for split, table in rows.items()}
    assert not emoji["train"] & emoji["test"]
    assert 0.05 <= len(emoji["test"]) / len(emoji["train"]) <= 0.08
    subgroups = defaultdict(set)
    for row in (*rows["train"], *rows["test"]):
        subgroups[row["subgroup"]].add(row["emoji"])
    for codes in subgroups.values():
        assert len(codes & emoji["test"]) == max(len(codes) // 20, 1)


def test_each_emoji_is_in_one_place_and_groups_are_mixed(rows):
    for table in rows.values():
        codes = [row["emoji"] for row in table]
        assert len(set(codes)) == 1 + sum(a != b for a, b in itertools.pairwise(codes))
        assert {row["group"] for row in table[: len(table) // 4]} == set(GROUPS)


def test_images_have_white_borders_and_are_distinct(images):
    pixels = np.concatenate([images["train"], images["test"]])
    assert len({image.tobytes() for image in pixels}) == len(pixels)
    border = np.concatenate([pixels[:, [0, -1]].reshape(-1), pixels[:, :, [0, -1]].reshape(-1)])
    assert (border == 255).mean() > 0.99
    inside = np.asarray((pixels < 250).any(-1))
    # The longer side of each drawing has 30 pixels, or fewer if its ends are pale.
    sides = np.maximum(inside.any(1).sum(1), inside.any(2).sum(1))
    assert np.median(sides) == 30
    assert sides.max() <= 32


def test_no_held_out_image_nearly_equals_a_training_image(images):
    coarse = {
        split: torch.tensor(pixels).float().reshape(-1, 4, 8, 4, 8, 3).mean((2, 4)).flatten(1)
        for split, pixels in images.items()
    }
    # The distance of the means of 8×8 pixels is at most that of the pixels.
    near = torch.cdist(coarse["test"], coarse["train"], p=1) / 48 < SIMILAR
    pairs = near.nonzero().tolist()
    assert pairs
    for test, train in pairs:
        difference = np.abs(images["test"][test].astype(int) - images["train"][train]).mean()
        assert difference >= SIMILAR


def test_options_choose_vendors_and_groups_and_leave_the_splits_alone(rows):
    folder = build(FACES)
    for split, table in rows.items():
        chosen = [row for row in table if row["vendor"] in FACES.vendors and row["subgroup"] in FACES.groups]
        assert rows_of(folder, split) == chosen
        assert len(chosen) > 3
    assert build(EmojiConfig(vendors=FACES.vendors[::-1], groups=(*FACES.groups, "cat-face"))) == folder
    assert build(EmojiConfig(groups=tuple(GROUP_OF))) == build(EmojiConfig()) == FILES
    smileys = build(EmojiConfig(FACES.vendors, ("smileys",)))
    assert folder != smileys == build(EmojiConfig(FACES.vendors, GROUPS["smileys"]))


def test_it_keeps_the_contract_of_data_sets():
    no_flags = EmojiConfig(vendors=("noto",), groups=("country-flag",))
    image = ImageSpec(3, height=32, width=32)
    check_dataset(build, FACES, image=image, splits=["train", "test"], refused=[no_flags])
    few = EmojiConfig(vendors=("noto",), groups=("animal-amphibian",))
    for config, advice in ((no_flags, "vendors that have some: twemoji"), (few, "choose a larger group")):
        with pytest.raises(UserError, match=rf"^groups: noto have no images .* split train; {advice}$"):
            build(config)


def test_options_are_lists_of_names():
    for options in ({"vendors": ("nota",)}, {"groups": ("smiley",)}, {"groups": ()}):
        with pytest.raises(UserError, match=r"^(vendors|groups) (has the unknown name|must be a list of names)"):
            EmojiConfig(**options)


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_vendors_license_is_beside_the_data_and_in_the_documentation(vendor):
    lines = (PROJECT / "docs" / "emoji.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith(f"| `{vendor}` |") and "npm" not in line and "](" in line)
    package, notice, license, file = [cell.strip() for cell in row.strip("|").split("|")[2:]]
    assert package == "`{}` {}".format(*VENDORS[vendor])
    text = (FOLDER / "licenses" / file.strip("`")).read_text()
    start = {"Apache-2.0": "Version 2.0, January 2004", "CC-BY-4.0": "Attribution 4.0 International Public License"}
    assert license in (*start, "MIT")
    for part in (package.replace("`", ""), notice, start.get(license, "Permission is hereby")):
        assert part in text


def test_the_license_of_the_names_is_beside_the_data():
    assert "emojibase-data 17.0.0" in (FOLDER / "licenses" / "emojibase.txt").read_text()


def test_edges_are_where_neighboring_pixels_differ():
    folder = build(EmojiConfig(vendors=("noto",), groups=("cat-face",), edges=True))
    plain = build(EmojiConfig(vendors=("noto",), groups=("cat-face",)))
    for split in ("train", "test"):
        rows = pq.read_table(folder / f"{split}.parquet")
        assert rows["name"] == pq.read_table(plain / f"{split}.parquet")["name"]
        for image, edges in zip(rows["image"].to_pylist(), rows["edges"].to_pylist(), strict=True):
            pixels, found = (np.asarray(Image.open(io.BytesIO(each["bytes"]))) for each in (image, edges))
            for row, column in itertools.product(range(0, 31, 5), range(0, 31, 5)):
                own = pixels[row, column].astype(int)
                others = pixels[row + 1, column].astype(int), pixels[row, column + 1].astype(int)
                assert found[row, column] == any(np.abs(own - other).max() >= 80 for other in others)
    assert pq.read_table(plain / "test.parquet").column_names == ["image", *COLUMNS]
