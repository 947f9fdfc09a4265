"""Pictures of the pages, drawn by what they show: views, networks, likelihoods and schedules of auxar itself."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import attrs
import svg
import torch

from auxar.data import load_images
from auxar.generation.sheets import labeled
from auxar.interfaces import ImageSpec
from auxar.numerics import logistic
from auxar.plugins import load_plugins
from auxar.recipe import DataConfig
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_pixelcnn.networks import LightNetwork
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers.compiler.schedule import Schedule, make_schedule

CELL = 34
EMOJI = (1, 6, 11, 18)
"""Which of the training images are shown."""
SHOWN_STEP = 20


@attrs.frozen
class Picture:
    """A picture, and what is said in its place and below it."""

    draw: Callable[[], str | bytes]
    alternative: str
    caption: str


def picture(name: str) -> str:
    """The Markdown that shows a picture, from a page at the top of the site."""
    shown = PICTURES[name]
    return f"![{shown.alternative}](pictures/{name})\n\n*{shown.caption}*"


def views() -> bytes:
    """Images of the embedded set beside their views, as PNG."""
    image = ImageSpec(height=32, width=32)
    data = load_images(DataConfig("noto-emoji"), image, load_plugins().dataset_paths())
    found = dict(data.train.every(1, 0, max(EMOJI) + 1))
    images = torch.stack([found[number] for number in EMOJI])
    half = PyramidView(PyramidConfig(factor=2), image)
    quarter = PyramidView(PyramidConfig(factor=2), half.view)
    gray = GrayscaleView(GrayscaleConfig(levels=16), image)
    columns = [
        (images, image),
        (half(images), half.view),
        (quarter(half(images)), quarter.view),
        (gray(images), gray.view),
    ]
    sheet = labeled(columns, ["image", "pyramid", "twice", "grayscale"])
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    return content.getvalue()


def context() -> str:
    """Which pixels a network's prediction for one pixel reads, found by differentiating it."""
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
            (svg.ORANGE, False, "the pixel that is predicted"),
            (svg.BLUE, False, "pixels that the prediction reads"),
            (svg.PALE, False, "before it in raster order, but out of reach"),
            (None, False, "not known yet: only the view tells of what is there"),
        ],
    )
    return svg.drawing(CELL * image.width + 2, CELL * image.height + 102, *parts)


def pixels_read(network: LightNetwork, row: int, column: int) -> torch.Tensor:
    """Booleans (h, w): pixels on which the parameters of one pixel's distribution depend."""
    encoded = network.encode(torch.zeros((1, *network.image.shape), dtype=torch.int64)).requires_grad_()
    (gradient,) = torch.autograd.grad(network(encoded)[0, :, row, column].abs().sum(), encoded)
    return (gradient[0] != 0).any(0)


def head() -> str:
    """A mixture of two discretized logistics over 16 values: bars that add up to one."""
    levels = 16
    values = torch.arange(levels)
    logits = torch.tensor([0.6, 0.4]).log()
    means, log_scales = torch.tensor([-0.45, 0.7]), torch.tensor([-2.3, -1.4])
    joint = logits + logistic.log_mass(values[:, None], means, log_scales, levels)
    probabilities = joint.logsumexp(1).exp().tolist()
    height = 180
    scale = height / max(probabilities)
    parts = []
    for value, probability in zip(range(levels), probabilities, strict=True):
        left = 4 + CELL * value
        parts.append(svg.box(left, 20 + height - scale * probability, CELL - 4, scale * probability, svg.BLUE))
        parts.append(svg.words(left + CELL / 2 - 2, height + 34, str(value)))
        parts.append(svg.words(left + CELL / 2 - 2, 10 + height - scale * probability, f"{probability:.2f}", size=11))
    return svg.drawing(CELL * levels + 4, height + 48, *parts)


def support() -> str:
    """What the four pixels of a square with a given mean can be, as one after the other is drawn."""
    image = ImageSpec(1, height=2, width=2)
    view = PyramidView(PyramidConfig(factor=2), image)
    drawn = torch.tensor([[[[205, 118], [61, 18]]]])
    mean = view(drawn)
    assert view.support is not None
    found = view.support.intervals(drawn, mean)
    left, width, step = 150, 510, 52
    parts = [svg.words(left, 14, f"a square of mean {mean.item()}", anchor="start")]
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
        [(svg.BLUE, False, "values that can still give that mean"), (svg.ORANGE, False, "the one drawn")],
    )
    return svg.drawing(left + width + 190, bottom + 62, *parts)


def wavefront() -> str:
    """The step that each pixel is drawn in, and what is in work at one of them."""
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
            # Layers that run ahead have computed their values of these pixels' columns already.
            begun = SHOWN_STEP < step <= SHOWN_STEP + ahead
            place = left + CELL * column, top + CELL * row
            parts.append(svg.box(*place, CELL - 3, CELL - 3, svg.PALE if begun else fill, dashed=begun))
            ink = svg.DARK if fill or begun else svg.INK
            parts.append(svg.words(place[0] + CELL / 2 - 1.5, place[1] + CELL / 2 - 1.5, str(step), ink=ink, size=14))
    parts += svg.legend(
        left,
        top + CELL * image.height + 10,
        [
            (svg.ORANGE, False, f"drawn in step {SHOWN_STEP}, all at once"),
            (svg.BLUE, False, "drawn before"),
            (svg.PALE, True, f"drawn later; layers that run up to {ahead} columns ahead are computed"),
            (None, False, "drawn later"),
        ],
    )
    return svg.drawing(left + CELL * image.width + 2, top + CELL * image.height + 100, *parts)


def drawing_step(schedule: Schedule, row: int, column: int) -> int:
    """The step in which the wavefront draws a pixel."""
    return schedule.lag * row + column


def small_network(image: ImageSpec) -> LightNetwork:
    """A light network of one block, which reaches little far and fits into a picture."""
    torch.manual_seed(0)
    network = LightNetwork(image, LogisticMixtureHead(image, 2), filters=8, blocks=1, features_channels=0, dropout=0.0)
    return network.eval()


def soak() -> str:
    """Memory and open files of a process that runs the quickstart again and again, as measured."""
    rows = json.loads(Path(__file__).with_name("soak.json").read_text(encoding="utf-8"))["rows"]
    end = max(seconds for seconds, *_ in rows)
    most = 100 * math.ceil(max(row[2] for row in rows) / 100)
    left, width, height = 70, 560, 130

    def panel(top: float, title: str, column: int, highest: float, ink: str) -> list[str]:
        def place(row: list[float]) -> tuple[float, float]:
            return left + width * row[0] / end, top + height * (1 - row[column] / highest)

        parts = [svg.words(left, top - 14, title, anchor="start")]
        for value in (0, highest / 2, highest):
            y = top + height * (1 - value / highest)
            parts.append(svg.path([(left, y), (left + width, y)], svg.FAINT))
            parts.append(svg.words(left - 8, y, f"{value:g}", anchor="end", size=12))
        for before, row in itertools.pairwise(rows):
            if row[1] != before[1]:
                x = place(row)[0]
                parts.append(svg.path([(x, top), (x, top + height)], svg.FAINT))
        return [*parts, svg.path([place(row) for row in rows], ink)]

    parts = panel(30, "resident memory, MB", 2, most, svg.ORANGE)
    parts += panel(220, "open files", 3, 20, svg.LINE)
    for minutes in range(0, int(end / 60) + 1, 5):
        parts.append(svg.words(left + width * 60 * minutes / end, 366, str(minutes), size=12))
    parts.append(svg.words(left + width, 386, "minutes", anchor="end"))
    return svg.drawing(left + width + 20, 400, *parts)


PICTURES = {
    "views.png": Picture(
        views,
        "Small color pictures in four columns: as they are, at half and at a quarter of their size, and in gray",
        "Four of the embedded images, 32×32, and their views. The pyramid keeps the mean of each 2×2 square, and, "
        "twice, of those again; the grayscale view keeps one of 16 levels of luma.",
    ),
    "context.svg": Picture(
        context,
        "A grid of pixels: those that a prediction reads lie in the rows above and to the left",
        "What a causal network of one block reads, found by differentiating one of its predictions.",
    ),
    "head.svg": Picture(
        head,
        "Sixteen bars of different height",
        "A mixture of two logistic distributions, cut into 16 values: the probabilities add up to one.",
    ),
    "support.svg": Picture(
        support,
        "Four bars from 0 to 255: the interval of possible values becomes narrower with each pixel that is drawn",
        "Four pixels whose mean is given, drawn one after the other. The first is nearly free; the last can be one "
        "of four values, whatever came before.",
    ),
    "wavefront.svg": Picture(
        wavefront,
        "A grid of pixels with the number of the step in which each is drawn; each row is a few columns behind the "
        "row above",
        "An image of 8×16 drawn by a light network of one block, whose lag is 4. The number in a pixel is its step.",
    ),
    "soak.svg": Picture(
        soak,
        "Two lines over thirty minutes: resident memory, flat after the first run but for a small step, and open files",
        "One process that runs the quickstart again and again, on a CPU. An upright line is where a run begins.",
    ),
}
