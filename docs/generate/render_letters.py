"""Renders the images of the data set `letters` from npm packages of fonts, which fonts.csv beside the set names.

    npm install --prefix FONTS @fontsource/NAME@VERSION …   (without packages, the script prints this command)
    python docs/generate/render_letters.py FONTS/node_modules plugins/auxar_letters/letters

The files train.parquet and test.parquet have an image of each letter A … Z in each font, regular and, if the font has
it, bold: black on white, 32×32, in 16 grays. The letters of a font have one size. One font of ten is held out, with all
of its letters. An image that nearly equals an earlier one is left out. The output depends on the versions of the
packages, of Pillow (pixels) and of datasets (file format).
"""

import csv
import hashlib
import string
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
from emoji_splits import near, without_equal
from PIL import Image, ImageDraw, ImageFont

SIZE, BOX = 32, 28
"""Side of an image, and the largest height and width of a font's letters in it, in pixels."""
OVERSAMPLING = 8
STEP = 17
"""Distance of neighboring grays, which are 0, 17, …, 255."""
EQUAL = 3.0
"""The mean absolute difference of values, 0 … 255, below which two images of a letter count as equal."""
PGM = b"P5 32 32 255\n"
"""Header of an image. Parquet compresses images without compression best, since they share many bytes."""
HELD_OUT = 10
"""One font of this many is held out."""


def files_of(node_modules: Path, name: str, version: str) -> dict[str, Path]:
    """The files of a font by weight, 400 and perhaps 700; empty if its package is not there in this version."""
    folder = node_modules / "@fontsource" / name
    package = folder / "package.json"
    if not package.is_file() or f'"version": "{version}"' not in package.read_text():
        return {}
    files = {weight: folder / "files" / f"{name}-latin-{weight}-normal.woff" for weight in ("400", "700")}
    return {weight: file for weight, file in files.items() if file.is_file()}


def render(file: Path) -> np.ndarray:
    """Renders the letters A … Z of a font, uint8, (26, 32, 32): the tallest or the widest letter fills the box."""
    large = ImageFont.truetype(file, 1000)
    boxes = [large.getbbox(letter) for letter in string.ascii_uppercase]
    largest = max(max(right - left, bottom - top) for left, top, right, bottom in boxes)
    font = ImageFont.truetype(file, 1000 * BOX * OVERSAMPLING / largest)
    found = []
    for letter in string.ascii_uppercase:
        left, top, right, bottom = font.getbbox(letter)
        canvas = Image.new("L", (SIZE * OVERSAMPLING,) * 2, "white")
        place = ((canvas.width - left - right) // 2, (canvas.height - top - bottom) // 2)
        ImageDraw.Draw(canvas).text(place, letter, font=font, fill="black")
        values = np.asarray(canvas.reduce(OVERSAMPLING))
        found.append(((values.astype(np.int64) + STEP // 2) // STEP * STEP).astype(np.uint8))
    return np.stack(found)


def is_held_out(name: str) -> bool:
    """Whether the letters of a font are test images, which depends only on its name."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % HELD_OUT == 0


def main(node_modules: Path, output: Path) -> None:
    """Writes train.parquet and test.parquet, with columns `image`, `letter`, `font` and `weight`."""
    with (output.parent / "fonts.csv").open(encoding="utf-8", newline="") as file:
        fonts = sorted(csv.DictReader(file), key=lambda font: hashlib.sha256(font["name"].encode()).hexdigest())
    files = [files_of(node_modules, font["name"], font["version"]) for font in fonts]
    if not all(files):
        install = " ".join(f"@fontsource/{font['name']}@{font['version']}" for font in fonts)
        raise SystemExit(f"{node_modules}: not all fonts are there; run: npm install {install}")
    styles = [(font["name"], weight) for font, own in zip(fonts, files, strict=True) for weight in own]
    images = np.stack([render(file) for own in files for file in own.values()])
    rows = []
    for number, letter in enumerate(string.ascii_uppercase):
        kept = without_equal(len(styles), near(images[:, number, :, :, None], EQUAL))
        rows += [(place, number, letter) for place in kept]
    output.mkdir(exist_ok=True)
    for split in ("train", "test"):
        chosen = [row for row in sorted(rows) if is_held_out(styles[row[0]][0]) == (split == "test")]
        columns = {
            "image": [{"bytes": PGM + images[place, number].tobytes(), "path": None} for place, number, _ in chosen],
            "letter": [letter for _, _, letter in chosen],
            "font": [styles[place][0] for place, _, _ in chosen],
            "weight": [styles[place][1] for place, _, _ in chosen],
        }
        types = {name: datasets.Value("string") for name in columns} | {"image": datasets.Image()}
        path = output / f"{split}.parquet"
        datasets.Dataset.from_dict(columns, features=datasets.Features(types)).to_parquet(path)
        pq.write_table(pq.read_table(path), path, compression="zstd", compression_level=19)
        print(f"{path}: {len(chosen)} letters of {len({styles[place][0] for place, _, _ in chosen})} fonts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
