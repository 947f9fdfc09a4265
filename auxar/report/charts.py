"""Draws charts as inline SVG, so that pages show them without a script.

The report of a run has its curves of training, and a comparison has the bits/dim of runs against the cost of training.
`page` passes charts to templates, which say where they stand; `reading` reads the data of curves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np
from markupsafe import Markup

from auxar.evaluation.comparison import Comparison
from auxar.report import words
from auxar.report.html import render

# Sizes are in units of the drawing. The page shows one unit as about one CSS pixel.
WIDTH, HEIGHT = 320, 216
LEFT, RIGHT, TOP, BOTTOM = 40, 312, 24, 178
POINTS = 300
"""Maximum number of points of the running mean; the curve of logged values has at most twice as many. More points would
not be visible at the size of the drawing."""
LIMIT = 1000.0
"""Largest absolute value that is drawn, in bits/dim. Larger values would flatten the rest of the chart."""
DIGITS = words.DIGITS_ON_A_RUNS_PAGE


@attrs.frozen
class Chart:
    """A chart as SVG, with the numbers of values that it does not show."""

    svg: Markup
    not_drawn: int
    """Number of logged values that are not finite or larger than `LIMIT` in absolute value."""
    above: int
    """Number of early values that are cut off at the top of the drawing."""


@attrs.frozen
class Scale:
    """A linear axis that maps the values low … high to the drawing positions start … end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def ticks(low: float, high: float, count: int) -> list[float]:
    """Returns at most `count` + 1 ticks within [low, high], for low < high.

    Their distance is 1, 2 or 5 times a power of ten.
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounding removes floating-point errors, so that 3 · 0.1 becomes 0.3.
    return [round(k * step, 12) for k in range(first, last + 1)]


def smoothed(values: np.ndarray) -> np.ndarray:
    """Returns the running mean over about a fifteenth of the curve. The window shrinks symmetrically at both ends."""
    count = len(values)
    index = np.arange(count)
    reach = np.minimum(np.minimum(index, count - 1 - index), count // 30)
    total = np.concatenate([[0.0], np.cumsum(values)])
    means: np.ndarray = (total[index + reach + 1] - total[index - reach]) / (2 * reach + 1)
    return means


def loss_chart(
    factor: str,
    points: Mapping[int, float],
    heldout: float | None,
    validation: Mapping[int, float] | None = None,
    kept: int | None = None,
) -> Chart | None:
    """Draws bits/dim by step, with a dashed line at the held-out value. Returns None if no value can be drawn.

    `points`, the logged values of training, and `validation`, the values of validation images, must be in ascending
    order of steps. The value of validation images at the step `kept`, whose weights the run keeps, is marked. The
    vertical axis covers the held-out value, the marked value, and all others except those of the first twentieth of
    training, which may be cut off. Fewer than 30 points are shown in full.
    """
    logged, evaluated = _Curve.of(points), _Curve.of(validation or {})
    if not logged:
        return None
    if heldout is not None and not abs(heldout) <= LIMIT:
        heldout = None
    x, y = _scales(logged, evaluated, heldout, kept)
    evenly = np.unique(np.linspace(0, len(logged) - 1, min(POINTS, len(logged))).round().astype(int))
    smooth = _Curve(logged.steps, smoothed(logged.values)).at(evenly)
    svg = render(
        "chart.svg",
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        described=f"bits/dim of {factor} against step: {', '.join(_described(logged, evaluated, heldout, kept))}",
        readouts=json.dumps([*_readouts(x, y, logged, smooth, evaluated)], separators=(",", ":")),
        levels=levels(y),
        # Only ticks at whole steps are drawn.
        steps=[(x(tick), f"{tick:,.0f}") for tick in ticks(x.low, x.high, 3) if tick == int(tick)],
        raw=logged.extremes().places(x, y),
        smooth=smooth.places(x, y),
        validation=evaluated.extremes().places(x, y),
        kept=next(iter(evaluated.at(evaluated.steps == kept).places(x, y)), None),
        heldout=None if heldout is None else (y(heldout), words.number(heldout, DIGITS)),
    )
    return Chart(svg, len(points) - len(logged), int((logged.values > y.high).sum()))


@attrs.frozen(eq=False)
class _Curve:
    """The steps and values of the points of a curve, in ascending order of steps."""

    steps: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, points: Mapping[int, float]) -> _Curve:
        """The points that can be drawn."""
        # A comparison with NaN is false, so this condition also excludes NaN.
        drawn = {step: value for step, value in points.items() if abs(value) <= LIMIT}
        return cls(np.array([*drawn], dtype=np.int64), np.array([*drawn.values()], dtype=np.float64))

    def __len__(self) -> int:
        return len(self.steps)

    def at(self, index: np.ndarray) -> _Curve:
        """The points at some indices."""
        return _Curve(self.steps[index], self.values[index])

    def extremes(self) -> _Curve:
        """The lowest and highest point of each of at most `POINTS` segments, which keep the look of the curve."""
        segments = np.array_split(np.arange(len(self)), max(1, min(POINTS, len(self)))) if len(self) else []
        found = {int(part[find(self.values[part])]) for part in segments for find in (np.argmin, np.argmax)}
        return self.at(np.array(sorted(found), dtype=np.int64))

    def places(self, x: Scale, y: Scale) -> list[str]:
        """The positions of the points in the drawing."""
        return [f"{x(step)},{y(value)}" for step, value in zip(self.steps, self.values, strict=True)]


def _scales(logged: _Curve, evaluated: _Curve, heldout: float | None, kept: int | None) -> tuple[Scale, Scale]:
    """The axes of steps and of bits/dim."""
    # A short curve is shown in full, because its first twentieth is at most one point.
    first = len(logged) // 20 if len(logged) >= 30 else 0
    covered = (evaluated.steps >= logged.steps[first]) | (evaluated.steps == kept) | (first == 0)
    shown = [*logged.values[first:], *evaluated.values[covered], *([] if heldout is None else [heldout])]
    last = max(1, int(logged.steps[-1]), *evaluated.steps[-1:].tolist())
    return Scale(0, last, LEFT, RIGHT), _axis([*map(float, shown)], BOTTOM, TOP, share=0.06)


def levels(y: Scale) -> list[tuple[float, str]]:
    """The positions and labels of the ticks of bits/dim."""
    marks = ticks(y.low, y.high, 5)
    # Labels have enough decimals to tell neighboring ticks apart, and at least one.
    gap = marks[1] - marks[0] if len(marks) > 1 else 0.1
    digits = max(1, -math.floor(math.log10(gap) + 1e-9))
    return [(y(mark), f"{mark:.{digits}f}") for mark in marks]


def _described(logged: _Curve, evaluated: _Curve, heldout: float | None, kept: int | None) -> Iterator[str]:
    """Phrases that describe the chart to users who do not see it."""
    yield f"{len(logged)} values"
    yield f"last {words.number(logged.values[-1], DIGITS)}"
    if heldout is not None:
        yield f"held-out {words.number(heldout, DIGITS)}"
    if evaluated:
        yield f"validation {words.number(evaluated.values[-1], DIGITS)}"
    if kept in evaluated.steps:
        yield f"weights of step {kept:,} kept"


def _readouts(x: Scale, y: Scale, logged: _Curve, smooth: _Curve, evaluated: _Curve) -> Iterator[tuple[float, ...]]:
    """For each point of the running mean: its place, and what the script shows there."""
    values = logged.values[np.isin(logged.steps, smooth.steps)]
    for step, value, mean in zip(smooth.steps.tolist(), values.tolist(), smooth.values.tolist(), strict=True):
        # The value of the last evaluation up to this step, if there is one.
        last = evaluated.values[: np.searchsorted(evaluated.steps, step, "right")][-1:]
        at = (x(step), min(BOTTOM, max(TOP, y(mean))))
        yield (*at, step, round(value, 4), round(mean, 4), *last.round(4).tolist())


def cost_charts(comparison: Comparison) -> list[tuple[str, Markup]]:
    """The titles and drawings of bits/dim against training minutes and against multiply-adds.

    A drawing is left out if fewer than two runs have a total and a known cost.
    """
    bits = {number: run.bits_per_dim for number, run in enumerate(comparison.runs, 1)}
    drawn = {k: value for k, value in bits.items() if value is not None and math.isfinite(value)}
    runs = [(k, comparison.runs[k - 1], value) for k, value in drawn.items()]
    minutes = [(k, run.seconds / 60, value) for k, run, value in runs if run.seconds]
    multiply_adds = [(k, run.multiply_adds, value) for k, run, value in runs if run.multiply_adds]
    charts = (("Training time", "minutes", minutes), ("Training compute", "multiply-adds", multiply_adds))
    return [(title, _cost_chart(name, points)) for title, name, points in charts if len(points) > 1]


def _cost_chart(name: str, points: Sequence[tuple[int, float, float]]) -> Markup:
    """Draws points against a cost on a logarithmic axis: the number of a run, its cost and its bits/dim."""
    x = _axis([math.log10(cost) for _, cost, _ in points], LEFT, RIGHT)
    y = _axis([value for *_, value in points], BOTTOM, TOP)
    described = "; ".join(f"run {number}: {value:.{words.DIGITS}f} at {cost:.3g}" for number, cost, value in points)
    return render(
        "cost_chart.svg",
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
        described=f"bits/dim against {name}: {described}",
        name=name,
        levels=levels(y),
        ticks=[(x(math.log10(cost)), f"{cost:.3g}") for cost in _ticks(10**x.low, 10**x.high)],
        places=[(x(math.log10(cost)), y(value), number) for number, cost, value in points],
    )


def _axis(values: Sequence[float], start: float, end: float, share: float = 0.1) -> Scale:
    """An axis with some space on both sides of the values, about a share of their range."""
    low, high = min(values), max(values)
    space = max(share * (high - low), 1e-3 * abs(high), 1e-3)
    return Scale(low - space, high + space, start, end)


def _ticks(low: float, high: float) -> list[float]:
    """Two or more round numbers in [low, high], for a logarithmic axis; perhaps only one if the interval is short."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        found = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(found) >= 2:
            return found
    return ticks(low, high, 3)
