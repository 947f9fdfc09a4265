"""Curves of measured trainings, drawn from results.json: free and restricted decoders over the steps of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import svg
from measurements import TIGHT, Measurements, TrainingCurve, read_measurements
from pictures import Picture, markdown
from result_tables import COARSE

from auxar.report.charts import ticks

WIDTH, HEIGHT, GAP = 290, 150, 74
"""Size of a panel, and the distance to the next, in SVG units."""
LEFT, TOP = 52, 58
COLORS = {"free": svg.ORANGE, "restricted": svg.LINE}
EARLY = 0.05
"""The share of the steps at the beginning that is not drawn, because bits/dim are far higher there."""

Points = list[tuple[float, float]]


@attrs.frozen
class Comparison:
    """A picture of free and restricted decoders, with one column of panels for each decoder."""

    decoders: Mapping[str, tuple[str, str]]
    """The recipe and the factor of each decoder, by the title of its panel."""
    validation: bool
    """Whether bits/dim of validation images are drawn instead of those of training batches."""
    caption: str


COMPARISONS = {
    "results-table2.svg": Comparison(
        {"16×16 given 8×8": (COARSE, "stage1"), "32×32 given 16×16": (COARSE, "stage0")},
        validation=False,
        caption="Free and restricted decoders over the steps of their training on faces: above, bits/dim of training "
        "batches of the factor's own image, as means over 60 parts of the training; below, their difference, free "
        "minus restricted, which is what the restriction saves. Both see the same batches. The beginning is cut off.",
    ),
    "results-table1.svg": Comparison(
        {
            "colors given 4-bit gray": ("small/table1/grayscale", "stage0"),
            "16×16 given 8×8": ("small/table1/pyramid", "stage1"),
            "32×32 given 16×16": ("small/table1/pyramid", "stage0"),
        },
        validation=True,
        caption="Free and restricted decoders over the steps of their training on 2,660 images of CIFAR-10: above, "
        "bits/dim of 140 validation images of the factor's own image, as means over the seeds; below, their "
        "difference, free minus restricted. The beginning is cut off.",
    ),
}


def curves(name: str) -> str:
    """Formats a picture of curves and its caption as Markdown, or says that there are no measurements for it yet."""
    shown = result_pictures(read_measurements()).get(name)
    if shown is None:
        return "*Not measured yet: the curves are drawn when these trainings are finished.*"
    return markdown(name, shown)


def result_pictures(measured: Measurements) -> dict[str, Picture]:
    """Returns the pictures of curves that have been measured, by the name of their file."""
    found = {}
    for name, comparison in COMPARISONS.items():
        pairs = pairs_of(measured, comparison)
        if pairs:
            found[name] = Picture(
                lambda pairs=pairs: drawn(pairs),  # type: ignore[misc]
                "Curves of a free and of a restricted decoder over training steps, with the restricted one below, and "
                "their difference",
                comparison.caption,
            )
    return found


def pairs_of(measured: Measurements, comparison: Comparison) -> dict[str, tuple[Points, Points]]:
    """Returns the points of the free and the restricted decoder for each title whose decoders are both measured."""
    pairs = {}
    for title, (recipe, factor) in comparison.decoders.items():
        free, restricted = (measured.curve(prefix + recipe, factor) for prefix in ("", TIGHT))
        if free is not None and restricted is not None:
            pairs[title] = (_points(free, comparison), _points(restricted, comparison))
    return pairs


def drawn(pairs: Mapping[str, tuple[Points, Points]]) -> str:
    """Draws a column of panels for each pair of curves: the curves, and below them their difference."""
    parts = []
    for index, (support, ink) in enumerate(COLORS.items()):
        x = LEFT + 130 * index
        parts += [svg.path([(x, 14), (x + 22, 14)], ink), svg.words(x + 30, 14, support, anchor="start")]
    for column, (title, (free, restricted)) in enumerate(pairs.items()):
        left = LEFT + (WIDTH + GAP) * column
        apart = [(step, bits - dict(restricted)[step]) for step, bits in free if step in dict(restricted)]
        parts.append(svg.words(left, TOP - 18, f"{title}: bits/dim", anchor="start"))
        parts += panel(left, TOP, [(free, svg.ORANGE), (restricted, svg.LINE)])
        below = TOP + HEIGHT + GAP - 8
        parts.append(svg.words(left, below - 18, "saved by the restriction: bits/dim", anchor="start"))
        parts += panel(left, below, [(apart, svg.INK)], from_zero=True)
        parts.append(svg.words(left + WIDTH, below + HEIGHT + 36, "training steps", anchor="end", size=12))
    columns = len(pairs)
    return svg.drawing(LEFT + (WIDTH + GAP) * columns - GAP + 24, TOP + 2 * HEIGHT + GAP + 44, *parts)


def panel(left: float, top: float, curves: Sequence[tuple[Points, str]], *, from_zero: bool = False) -> list[str]:
    """Draws curves over training steps, each with its color, on common axes. Early points are left out."""
    last = max(step for points, _ in curves for step, _ in points)
    shown = [([(step, bits) for step, bits in points if step >= EARLY * last], ink) for points, ink in curves]
    values = [bits for points, _ in shown for _, bits in points]
    low, high = min([*values, *([0.0] if from_zero else [])]), max(values)
    margin = 0.06 * (high - low) or 0.1
    low, high = low - (0 if from_zero and low == 0 else margin), high + margin

    def place(step: float, bits: float) -> tuple[float, float]:
        return left + WIDTH * step / last, top + HEIGHT * (high - bits) / (high - low)

    parts = []
    for bits in ticks(low, high, 4):
        y = place(0, bits)[1]
        parts.append(svg.path([(left, y), (left + WIDTH, y)], svg.FAINT))
        parts.append(svg.words(left - 8, y, f"{bits:g}", anchor="end", size=12))
    for step in ticks(0, last, 4):
        parts.append(svg.words(place(step, low)[0], top + HEIGHT + 16, f"{step:,.0f}", size=12))
    parts += [svg.path([place(*point) for point in points], ink) for points, ink in shown]
    return parts


def _points(curve: TrainingCurve, comparison: Comparison) -> Points:
    return curve.validation if comparison.validation else curve.training
