"""Draws the bits/dim of compared runs against the cost of their training, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from auxar.evaluation.comparison import Comparison
from auxar.report import words
from auxar.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, levels, ticks
from auxar.report.html import render

FEWEST = 2
"""Smallest number of runs of known cost for which there is a drawing."""


def cost_charts(comparison: Comparison) -> list[tuple[str, Markup]]:
    """The titles and drawings of bits/dim against training minutes and against multiply-adds.

    A drawing is left out if fewer than `FEWEST` runs have a total and a known cost.
    """
    bits = {number: run.bits_per_dim for number, run in enumerate(comparison.runs, 1)}
    drawn = {k: value for k, value in bits.items() if value is not None and math.isfinite(value)}
    runs = [(k, comparison.runs[k - 1], value) for k, value in drawn.items()]
    minutes = [(k, run.seconds / 60, value) for k, run, value in runs if run.seconds]
    multiply_adds = [(k, run.multiply_adds, value) for k, run, value in runs if run.multiply_adds]
    charts = (("Training time", "minutes", minutes), ("Training compute", "multiply-adds", multiply_adds))
    return [(title, _chart(name, points)) for title, name, points in charts if len(points) >= FEWEST]


def _chart(name: str, points: Sequence[tuple[int, float, float]]) -> Markup:
    """Draws points against a cost on a logarithmic axis: the number of a run, its cost and its bits/dim."""
    x = _axis([math.log10(cost) for _, cost, _ in points], LEFT, RIGHT)
    y = _axis([value for *_, value in points], BOTTOM, TOP)
    places = [(x(math.log10(cost)), y(value), number) for number, cost, value in points]
    described = "; ".join(f"run {number}: {value:.{words.DIGITS}f} at {cost:.3g}" for number, cost, value in points)
    return render(
        "cost_chart.svg",
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        described=f"bits/dim against {name}: {described}",
        name=name,
        levels=levels(y),
        ticks=[(x(math.log10(cost)), f"{cost:.3g}") for cost in _ticks(10**x.low, 10**x.high)],
        places=places,
    )


def _axis(values: Sequence[float], start: float, end: float) -> Scale:
    """An axis with some space on both sides of the values."""
    low, high = min(values), max(values)
    space = max(0.1 * (high - low), 1e-3 * abs(high), 1e-3)
    return Scale(low - space, high + space, start, end)


def _ticks(low: float, high: float) -> list[float]:
    """Two or more round numbers in [low, high], for a logarithmic axis; perhaps only one if the interval is short."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        found = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(found) >= 2:
            return found
    return ticks(low, high, 3)
