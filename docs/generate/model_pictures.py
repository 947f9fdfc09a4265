"""Draws the pictures of the README and of docs/start.md with trained models: `python docs/generate/model_pictures.py`.

They are not drawn when the documentation is checked, because single pixels differ between machines. The emoji of the
training and the held-out images are freely licensed (docs/emoji.md), so these sheets may show them.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import auxar
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
UNKNOWN = 128
"""Value of the pixels that are drawn, in the column with the kept pixels: gray."""


def main() -> None:
    """Draws all pictures, and replaces the files in docs/pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", type=Path, help="folder of a finished run of the recipe quickstart")
    options = parser.parse_args()
    model = auxar.load(MODEL)
    save(model.sample(64, rule=RULE, seed=0).sheet(columns=16, zoom=2), f"{MODEL}.png")
    save(model.sample(64, rule="ancestral", seed=0).sheet(columns=16, zoom=2), f"{MODEL}-exact.png")
    save(given_images(model), f"{MODEL}-given.png")
    save(nearest_images(), f"{MODEL}-nearest.png")
    save(colorings(auxar.load(COLORS)), f"{COLORS}-given.png")
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
    picture.save(PICTURES / name, optimize=True)
    print(f"docs/pictures/{name}")


if __name__ == "__main__":
    main()
