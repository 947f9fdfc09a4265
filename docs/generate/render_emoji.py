"""Renders the images of the data set `emoji` from npm packages.

    npm install --prefix DRAWINGS PACKAGE@VERSION …   (without packages, the script prints this command)
    pip install resvg-py==0.5.0
    python docs/generate/render_emoji.py DRAWINGS/node_modules plugins/auxar_emoji/emoji

It takes several minutes on two cores. The files train.parquet and test.parquet have one image, 32×32 RGB on white, for
each drawing of an emoji in emoji_catalog.py by a vendor in plugins/auxar_emoji/vendors.py. They are ordered by emoji,
in a random order, so that any part of a file has emoji of all groups. An image that nearly equals an earlier one is
left out. The flags of countries and regions are from Twemoji; flags of EmojiOne are round, and the other packages
have none. The output depends on the versions of the packages, of resvg-py (pixels), Pillow (pixels, WebP) and datasets
(file format).
"""

import io
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import datasets
import emoji_catalog as catalog
import emoji_packages as packages
import emoji_rendering as rendering
import emoji_splits as splits
import numpy as np
from emoji_catalog import Emoji
from PIL import Image

from auxar_emoji.vendors import VENDORS

PROCESSES = 2
FLAGS_OF_REGIONS = {"country-flag", "subdivision-flag"}
VENDOR_OF_FLAGS = "twemoji"


def drawings(node_modules: Path, emoji: list[Emoji]) -> Iterator[tuple[Emoji, str, str]]:
    """Yields all drawings, ordered by emoji and vendor: the emoji, the vendor's name and the SVG document."""
    found = {vendor: packages.read_drawings(vendor, node_modules, emoji) for vendor in VENDORS}
    for each in emoji:
        for vendor, svgs in found.items():
            is_chosen = vendor == VENDOR_OF_FLAGS or each.subgroup not in FLAGS_OF_REGIONS
            if each.code in svgs and is_chosen:
                yield each, vendor, svgs[each.code]


def encoded(image: np.ndarray) -> bytes:
    """The image as a lossless WebP file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, quality=100, method=6)
    return file.getvalue()


def main(node_modules: Path, output: Path) -> None:
    """Writes train.parquet and test.parquet, with columns `image` and, of type string, `name` … `subgroup`."""
    packages.check_versions(node_modules)
    rows = list(drawings(node_modules, catalog.read_emoji(node_modules / catalog.PACKAGE)))
    with ProcessPoolExecutor(PROCESSES) as pool:
        rendered = list(pool.map(rendering.render, [svg for _, _, svg in rows], chunksize=20))
        visible = [number for number, image in enumerate(rendered) if image is not None]
        images = np.stack([np.asarray(rendered[number]) for number in visible])
        kept = splits.without_equal(len(images), splits.near(images, splits.EQUAL))
        images, rows = images[kept], [rows[visible[number]] for number in kept]
        files = list(pool.map(encoded, images, chunksize=50))
    test = splits.held_out([emoji for emoji, _, _ in rows], splits.near(images, splits.SIMILAR))
    order = sorted(range(len(rows)), key=lambda number: splits.order(rows[number][0].code))
    output.mkdir(exist_ok=True)
    for split in ("train", "test"):
        numbers = [number for number in order if (rows[number][0].code in test) == (split == "test")]
        chosen = [rows[number] for number in numbers]
        columns = {
            "image": [{"bytes": files[number], "path": None} for number in numbers],
            "name": [emoji.name for emoji, _, _ in chosen],
            "emoji": [emoji.code for emoji, _, _ in chosen],
            "vendor": [vendor for _, vendor, _ in chosen],
            "group": [emoji.group for emoji, _, _ in chosen],
            "subgroup": [emoji.subgroup for emoji, _, _ in chosen],
        }
        types = {name: datasets.Value("string") for name in columns} | {"image": datasets.Image()}
        file = output / f"{split}.parquet"
        datasets.Dataset.from_dict(columns, features=datasets.Features(types)).to_parquet(file)
        print(f"{file}: {len(chosen)} images of {len({emoji.code for emoji, _, _ in chosen})} emoji")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
