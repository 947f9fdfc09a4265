"""Pictures for the documentation, computed with auxar's own views, networks, heads and schedules."""

import io
from collections.abc import Callable

import attrs
import numpy as np
import pyarrow.parquet as pq
import svg
import torch
from PIL import Image

from auxar.data.loading import load_images
from auxar.draw.sheets import labeled
from auxar.model import ImageSpec
from auxar.plugins import load_plugins
from auxar.recipe import DataConfig
from auxar_emoji.selection import FILES
from auxar_emoji.vendors import VENDORS
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_pixelcnn.networks import LightNetwork
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers.compiler.wavefront import Schedule, make_schedule

CELL = 34
"""Side of a cell in the pictures of grids, with its gap, in SVG units."""
EMOJI = (1, 6, 11, 18)
"""Numbers of the training images of `emoji` that are shown."""
EMOJI_OF_ALL = 20
"""Number of emoji of the data set `emoji` that are shown, by all vendors."""
SHOWN_STEP = 20
"""The step of the wavefront sampler that its picture shows."""


@attrs.frozen
class Picture:
    """A picture with its alternative text and its caption."""

    draw: Callable[[], str | bytes]
    alternative: str
    caption: str


def picture(name: str) -> str:
    """Formats a picture and its caption as Markdown, for a page in the top folder of the site."""
    shown = PICTURES[name]
    return f"![{shown.alternative}](pictures/{name})\n\n*{shown.caption}*"


def views() -> bytes:
    """Draws emoji beside their views, as PNG."""
    image = ImageSpec(height=32, width=32)
    data = load_images(DataConfig("emoji"), image, load_plugins())
    found = dict(data.train.every(1, 0, max(EMOJI) + 1))
    images = torch.stack([found[number] for number in EMOJI])
    half = PyramidView(PyramidConfig(factor=2), image)
    quarter = PyramidView(PyramidConfig(factor=2), half.view)
    gray = GrayscaleView(GrayscaleConfig(levels=16), image)
    columns = [
        ("image", images, image),
        ("pyramid", half(images), half.view),
        ("pyramid twice", quarter(half(images)), quarter.view),
        ("grayscale", gray(images), gray.view),
    ]
    return as_png(labeled(columns))


def emoji() -> bytes:
    """Draws the first training emoji of the data set `emoji` that all vendors have, a row for each vendor, as PNG."""
    image = ImageSpec(height=32, width=32)
    images: dict[str, dict[str, torch.Tensor]] = {}
    for row in pq.read_table(FILES / "train.parquet").slice(0, 500).to_pylist():
        pixels = np.array(Image.open(io.BytesIO(row["image"]["bytes"])))
        images.setdefault(row["emoji"], {})[row["vendor"]] = torch.from_numpy(pixels).permute(2, 0, 1)
    complete = [found for found in images.values() if len(found) == len(VENDORS)][:EMOJI_OF_ALL]
    columns = [("", torch.stack([found[vendor] for vendor in VENDORS]), image) for found in complete]
    return as_png(labeled(columns, list(VENDORS), zoom=1))


def as_png(sheet: Image.Image) -> bytes:
    """Encodes a picture as PNG."""
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    return content.getvalue()


def context() -> str:
    """Draws the pixels that a network's prediction for one pixel depends on, found from gradients."""
    image = ImageSpec(height=7, width=15)
    row, column = 4, 7
    read = pixels_read(small_network(image), row, column)
    parts = []
    for r in range(image.height):
        for c in range(image.width):
            before = (r, c) < (row, column)
            fill = svg.ORANGE if (r, c) == (row, column) else svg.BLUE if read[r, c] else svg.PALE if before else None
            parts.append(svg.box(2 + CELL * c, 2 + CELL * r, CELL - 3, CELL - 3, fill))
    parts += svg.legend(
        2,
        CELL * image.height + 10,
        [
            (svg.ORANGE, False, "predicted pixel"),
            (svg.BLUE, False, "pixels that the prediction depends on"),
            (svg.PALE, False, "earlier pixels that are outside the receptive field"),
            (None, False, "later pixels, which the network knows only through the view"),
        ],
    )
    return svg.drawing(CELL * image.width + 2, CELL * image.height + 102, *parts)


def pixels_read(network: LightNetwork, row: int, column: int) -> torch.Tensor:
    """Returns the pixels on which the predicted parameters of one pixel depend: booleans, shape (h, w)."""
    encoded = network.encode(torch.zeros((1, *network.image.shape), dtype=torch.int64)).requires_grad_()
    (gradient,) = torch.autograd.grad(network(encoded)[0, :, row, column].abs().sum(), encoded)
    return (gradient[0] != 0).any(0)


def support() -> str:
    """Draws the intervals of possible values for four pixels with a given mean that are drawn one after the other."""
    image = ImageSpec(1, height=2, width=2)
    view = PyramidView(PyramidConfig(factor=2), image)
    drawn = torch.tensor([[[[205, 118], [61, 18]]]])
    mean = view(drawn)
    assert view.support is not None
    found = view.support.intervals(drawn, mean)
    left, width, step = 150, 510, 52
    parts = [svg.words(left, 14, f"a square with mean {mean.item()}", anchor="start")]
    names = ("first pixel", "second", "third", "last")
    rows = zip(
        names, found.low.flatten().tolist(), found.high.flatten().tolist(), drawn.flatten().tolist(), strict=True
    )
    for row, (name, low, high, value) in enumerate(rows):
        top = 34 + step * row
        parts.append(svg.words(left - 16, top + 11, name, anchor="end"))
        parts.append(svg.box(left, top, width, 22, None))
        parts.append(svg.box(left + 2 * low, top, max(2 * (high - low), 3), 22, svg.BLUE))
        parts.append(svg.box(left + 2 * value - 2, top - 4, 4, 30, svg.ORANGE))
        words = f"{low} … {high}, drawn: {value}"
        parts.append(svg.words(left + width + 14, top + 11, words, anchor="start"))
    bottom = 34 + step * len(names)
    parts += [svg.words(left + 2 * value, bottom - 14, str(value), size=12) for value in (0, 64, 128, 192, 255)]
    parts += svg.legend(
        left,
        bottom + 8,
        [(svg.BLUE, False, "values with which the mean is still possible"), (svg.ORANGE, False, "drawn value")],
    )
    return svg.drawing(left + width + 190, bottom + 62, *parts)


def wavefront() -> str:
    """Draws the step in which the wavefront sampler draws each pixel, and the progress at step `SHOWN_STEP`."""
    image = ImageSpec(height=8, width=16)
    schedule = make_schedule(small_network(image))
    ahead = max(schedule.leads.values())
    left, top = 56, 4
    parts = []
    for row in range(image.height):
        parts.append(svg.words(left - 8, top + CELL * (row + 0.5), f"row {row}", anchor="end"))
        for column in range(image.width):
            step = drawing_step(schedule, row, column)
            fill = svg.ORANGE if step == SHOWN_STEP else svg.BLUE if step < SHOWN_STEP else None
            # Layers that run ahead have already computed their values at these pixels.
            begun = SHOWN_STEP < step <= SHOWN_STEP + ahead
            place = left + CELL * column, top + CELL * row
            parts.append(svg.box(*place, CELL - 3, CELL - 3, svg.PALE if begun else fill, dashed=begun))
            ink = svg.DARK if fill or begun else svg.INK
            parts.append(svg.words(place[0] + CELL / 2 - 1.5, place[1] + CELL / 2 - 1.5, str(step), ink=ink, size=14))
    parts += svg.legend(
        left,
        top + CELL * image.height + 10,
        [
            (svg.ORANGE, False, f"drawn together in step {SHOWN_STEP}"),
            (svg.BLUE, False, "drawn earlier"),
            (svg.PALE, True, f"drawn later, but layers that run up to {ahead} columns ahead have values here"),
            (None, False, "drawn later"),
        ],
    )
    return svg.drawing(left + CELL * image.width + 2, top + CELL * image.height + 100, *parts)


def drawing_step(schedule: Schedule, row: int, column: int) -> int:
    """Returns the step in which the wavefront sampler draws a pixel."""
    return schedule.lag * row + column


def small_network(image: ImageSpec) -> LightNetwork:
    """Returns a `pixelcnn` network of one block, whose receptive field is small enough for a picture."""
    torch.manual_seed(0)
    network = LightNetwork(image, LogisticMixtureHead(image, 2), filters=8, blocks=1, features_channels=0, dropout=0.0)
    return network.eval()


PICTURES = {
    "views.png": Picture(
        views,
        "Four emoji in four columns: the image, the image at half and at a quarter of its size, and in grayscale",
        "Four of the emoji that come with auxar, 32×32, and their views. The pyramid view is the mean of each 2×2 "
        "square. Applied twice, it divides height and width by four. The grayscale view is the luma, quantized to 16 "
        "levels.",
    ),
    "emoji.png": Picture(
        emoji,
        "Six rows of emoji, one for each vendor, with the same emoji in each column",
        "Some images of the data set `emoji`, 32×32, by its six vendors.",
    ),
    "context.svg": Picture(
        context,
        "A grid of pixels. The pixels that one prediction depends on lie above it and to its left",
        "The pixels that one prediction of a small causal network depends on, found from gradients.",
    ),
    "support.svg": Picture(
        support,
        "Four bars from 0 to 255. The interval of possible values becomes narrower with each pixel that is drawn",
        "Four pixels with a given mean, drawn one after the other. The first can still take almost any value, the last "
        "at most four.",
    ),
    "wavefront.svg": Picture(
        wavefront,
        "A grid of pixels, each with the number of the step in which it is drawn. Each row is a few columns behind the "
        "row above",
        "The step in which the wavefront sampler draws each pixel of an 8×16 image with a `pixelcnn` network of one "
        "block, whose lag is 4. Each row is 4 columns behind the row above.",
    ),
}
