"""Draws the pictures of the README and of docs/start.md with trained models: `python docs/generate/model_pictures.py`.

They are not drawn when the documentation is checked, because single pixels differ between machines. The emoji of the
training and the held-out images are freely licensed (docs/emoji.md), so these sheets may show them.
"""

import argparse
import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

import auxar
import auxar_letters
from auxar.draw.sheets import labeled
from auxar_rules import Reduced

PICTURES = Path(__file__).parents[1] / "pictures"
MODEL = "emoji32"
SHOWN = (0, 6, 36, 54, 72, 108, 150)
"""Numbers of the held-out images that are enlarged and completed."""
DRAWS = 3
KEPT_ROWS = 16
RULE = Reduced(0.6, min_weight=0.01)
"""The rule of the recipe emoji32."""
COLORS = "emoji32_color"
COLORED = (6, 20, 36, 54, 72, 108, 120)
"""Numbers of the held-out images that are colored."""
COLORINGS = 6
COLOR_RULE = Reduced(1.0)
"""The rule of the recipe emoji32_color."""
LETTERS = "letters32"
READ_AS = {"Q": "O", "R": "P", "E": "F", "G": "C", "B": "P", "K": "X"}
"""Held-out letters of which maps are drawn, and the letters that they are given as."""
PHOTOS = "photos"
CROP = (208, 80, 400, 208)
"""The shown part of the photograph: left, upper, right, lower."""
RETOUCHED = (480, 40, 570, 120)
"""The part of the photograph that is retouched."""
RGB = auxar.ImageSpec(3, height=32, width=32)
UNKNOWN = 128
"""Value of the pixels that are drawn, in the column with the kept pixels: gray."""


def main() -> None:
    """Draws all pictures, and replaces the files in docs/pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", type=Path, help="folder of a finished run of the recipe quickstart")
    parser.add_argument("--photograph", type=Path, help="the file coffee.png of scikit-image (CC0)")
    options = parser.parse_args()
    model = auxar.load(MODEL)
    save(model.sample(64, rule=RULE, seed=0).sheet(columns=16, zoom=2), f"{MODEL}.png")
    save(model.sample(64, rule="ancestral", seed=0).sheet(columns=16, zoom=2), f"{MODEL}-exact.png")
    save(given_images(model), f"{MODEL}-given.png")
    save(larger_images(model), f"{MODEL}-larger.png")
    save(nearest_images(), f"{MODEL}-nearest.png")
    save(colorings(auxar.load(COLORS)), f"{COLORS}-given.png")
    letters = auxar.load(LETTERS)
    save(letters.sample(52, condition="all", seed=0, rule="guided").sheet(columns=26, zoom=1), f"{LETTERS}.png")
    save(letter_maps(), f"{LETTERS}-maps.png")
    save(exact_photographs(auxar.load(PHOTOS)), f"{PHOTOS}-exact.webp")
    if options.photograph:
        save(enlarged_photograph(options.photograph, 1), f"{PHOTOS}-enlarged.webp")
        save(enlarged_photograph(options.photograph, 2), f"{PHOTOS}-enlarged-twice.webp")
        save(retouched_photograph(options.photograph), f"{PHOTOS}-map.webp")
    if options.quickstart:
        smileys = auxar.load(options.quickstart).sample(16, seed=0)
        save(smileys.sheet(columns=16, zoom=2), "quickstart.png")


def given_images(model: auxar.ImageModel) -> Image.Image:
    """A sheet of held-out images with their 8×8 views, enlargements of these, their upper halves, and completions."""
    images = heldout_images(model, SHOWN)
    smallest = len(model.factors) - 1
    view = model.views(images)[smallest]
    enlarged = model.draw_given(view, smallest, DRAWS, rule=RULE, seed=0).tensor
    completed = model.complete(images, KEPT_ROWS, DRAWS, rule=RULE, seed=0).tensor
    upper = images.clone()
    upper[:, :, KEPT_ROWS:] = UNKNOWN
    image, small = model.image, model.factors[smallest].image
    columns = [
        ("held-out image", images, image),
        ("view", view.tensor, small),
        *_draws("enlarged", enlarged, image),
        ("upper half", upper, image),
        *_draws("completed", completed, image),
    ]
    return labeled(columns, zoom=3)


def larger_images(model: auxar.ImageModel) -> Image.Image:
    """A sheet of held-out images, and of images of twice their size that are drawn given them."""
    images = heldout_images(model, range(6))
    larger = model.at(2 * model.image.height, 2 * model.image.width)
    drawn = larger.draw_given(images, 1, DRAWS, rule=RULE, seed=0).tensor
    return labeled([("held-out image", images, model.image), *_draws("drawn", drawn, larger.image)], zoom=2)


def colorings(model: auxar.ImageModel) -> Image.Image:
    """A sheet of held-out images with their gray views, and colorings of these."""
    images = heldout_images(model, COLORED)
    (_, gray) = model.views(images)
    colored = model.colorize(images, COLORINGS, rule=COLOR_RULE, seed=0).tensor
    columns = [
        ("held-out image", images, model.image),
        ("view", gray.tensor, model.factors[1].image),
        *_draws("colored", colored, model.image),
    ]
    return labeled(columns, zoom=3)


def letter_maps() -> Image.Image:
    """A sheet of held-out letters, and of maps of their bits given a letter minus the bits given none."""
    rows = pq.read_table(Path(auxar_letters.__file__).parent / "letters" / "test.parquet").to_pylist()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{letter}.png") for letter in READ_AS]
        for file in files:
            row = next(row for row in rows if row["letter"] == file.stem and row["weight"] == "400")
            Image.open(io.BytesIO(row["image"]["bytes"])).save(file)
        columns = [("held-out letter", rows_of(files), RGB)]
        for title, given in (("given itself", [*READ_AS]), ("given another", [*READ_AS.values()])):
            maps = Path(folder, title)
            auxar.score(LETTERS, files, condition=given, against=LETTERS, maps=maps, heldout=0)
            columns.append((title, rows_of(sorted(maps.iterdir())), RGB))
    return labeled(columns, zoom=3)


def rows_of(files: Sequence[Path]) -> Tensor:
    """The pictures in files of one size as RGB: int64, (b, 3, h, w)."""
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).long()


def exact_photographs(model: auxar.ImageModel) -> Image.Image:
    """Two rows of exact samples: with the limits of log-scales, and the same numbers and seed without them."""
    unlimited = attrs.evolve(model, chain=model.chain.without_limits())
    rows = [chosen.sample(8, rule="ancestral", seed=0).sheet(columns=8) for chosen in (model, unlimited)]
    together = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for number, row in enumerate(rows):
        together.paste(row, (0, number * row.height))
    return together


def enlarged_photograph(file: Path, times: int) -> Image.Image:
    """A part of a photograph that was halved some times, enlarged by Lanczos and by the model, and itself."""
    photograph = Image.open(file).convert("RGB")
    sizes = [(photograph.height >> k, photograph.width >> k) for k in range(times)]
    models = [auxar.load(PHOTOS).at(*size) for size in sizes]
    given = models[0].prepare([photograph])
    for model in models:
        given = model.views(given)[1].tensor
    drawn = given
    for model in reversed(models):
        drawn = model.draw_given(drawn, 1, rule="ancestral", seed=0).tensor[:, 0]
    small, large = (Image.fromarray(each[0].permute(1, 2, 0).byte().numpy()) for each in (given, drawn))
    shown = {
        f"1/{2**times} of the size": small.resize(photograph.size, Image.Resampling.NEAREST),
        "Lanczos": small.resize(photograph.size, Image.Resampling.LANCZOS),
        "drawn": large,
        "photograph": photograph,
    }
    return beside({title: picture.crop(CROP) for title, picture in shown.items()})


def retouched_photograph(file: Path) -> Image.Image:
    """A photograph, the same retouched, and maps of the bits of both."""
    photograph = Image.open(file).convert("RGB")
    retouched = photograph.copy()
    left, upper, right, lower = RETOUCHED
    part = retouched.crop(RETOUCHED)
    small = part.resize(((right - left) * 4 // 5, (lower - upper) * 4 // 5), Image.Resampling.LANCZOS)
    retouched.paste(small.resize(part.size, Image.Resampling.BICUBIC), (left, upper))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("photograph.png", "retouched.png")]
        photograph.save(files[0])
        retouched.save(files[1])
        auxar.score(PHOTOS, files, maps=Path(folder, "maps"), heldout=0)
        maps = [Image.open(path).copy() for path in sorted(Path(folder, "maps").iterdir())]
    shown = {"photograph": photograph, "its bits": maps[0], "retouched": retouched, "its bits ": maps[1]}
    return beside({title: picture.reduce(2) for title, picture in shown.items()})


def beside(pictures: dict[str, Image.Image]) -> Image.Image:
    """A sheet with the pictures of one size in a row, below their titles."""
    files = [np.asarray(picture.convert("RGB")) for picture in pictures.values()]
    spec = auxar.ImageSpec(3, height=files[0].shape[0], width=files[0].shape[1])
    tensors = [torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].long() for pixels in files]
    return labeled([(title, each, spec) for title, each in zip(pictures, tensors, strict=True)])


def heldout_images(model: auxar.ImageModel, numbers: Sequence[int]) -> Tensor:
    """The held-out images with these numbers: int64, (b, c, h, w)."""
    found = dict(auxar.load_images(model).heldout.every(1, 0, max(numbers) + 1))
    return torch.stack([found[number] for number in numbers])


def _draws(title: str, draws: Tensor, image: auxar.ImageSpec) -> list[tuple[str, Tensor, auxar.ImageSpec]]:
    """Columns of the draws (images, draws, c, h, w). Only the first has a title."""
    return [(title if number == 0 else "", draws[:, number], image) for number in range(draws.shape[1])]


def nearest_images() -> Image.Image:
    """The sheet of samples beside the nearest training images."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        found = auxar.figures(MODEL)
        return Image.open(Path(found) / "memorization.png").copy()


def save(picture: Image.Image, name: str) -> None:
    """Writes a picture into the folder of pictures."""
    picture.save(PICTURES / name, **({"quality": 90} if name.endswith(".webp") else {"optimize": True}))
    print(f"docs/pictures/{name}")


if __name__ == "__main__":
    main()
