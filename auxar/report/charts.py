"""Draws loss curves as inline SVG, so that the page shows them without a script."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import attrs
import numpy as np

from auxar.report import words
from auxar.report.html import Html, join, tag

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

    svg: Html
    not_drawn: int
    """Number of logged values that are not finite or larger than `LIMIT` in absolute value."""
    above: int
    """Number of early values that are cut off at the top of the drawing."""


@attrs.frozen
class _Scale:
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
    steps, values = _drawable(points)
    validation_steps, validation_values = _drawable(validation or {})
    if not len(values):
        return None
    if heldout is not None and not abs(heldout) <= LIMIT:
        heldout = None
    # A short curve is shown in full, because its first twentieth is at most one point.
    first = len(values) // 20 if len(values) >= 30 else 0
    marked = validation_steps == kept
    shown = np.concatenate(
        [
            values[first:],
            [] if heldout is None else [heldout],
            validation_values[(validation_steps >= steps[first]) | marked | (first == 0)],
        ]
    )
    low, high = float(shown.min()), float(shown.max())
    space = max(0.06 * (high - low), 1e-3 * abs(high), 1e-3)
    y = _Scale(low - space, high + space, BOTTOM, TOP)
    x = _Scale(0, max(1, int(steps[-1]), *validation_steps[-1:].tolist()), LEFT, RIGHT)

    curve = smoothed(values)
    sampled = np.unique(np.linspace(0, len(values) - 1, min(POINTS, len(values))).round().astype(int))
    last = f", last {words.number(values[-1], DIGITS)}"
    if heldout is not None:
        last += f", held-out {words.number(heldout, DIGITS)}"
    if len(validation_values):
        last += f", validation {words.number(validation_values[-1], DIGITS)}"
    if marked.any():
        last += f", weights of step {kept:,} kept"
    readouts = [
        (
            x(steps[i]),
            min(BOTTOM, max(TOP, y(curve[i]))),
            int(steps[i]),
            *(round(float(v[i]), 4) for v in (values, curve)),
            # The value of the last evaluation up to this step, if there is one.
            *validation_values[: np.searchsorted(validation_steps, steps[i], "right")][-1:].round(4).tolist(),
        )
        for i in sampled
    ]
    svg = tag(
        "svg",
        _axes(x, y),
        # A nested svg element of the same scale clips the curves to the plot area.
        tag(
            "svg",
            tag("polyline", points=_path(x, y, *_extremes(steps, values)), class_="raw"),
            tag("polyline", points=_path(x, y, steps[sampled], curve[sampled]), class_="smooth"),
            # A line through a single point is invisible, so a dot is drawn.
            tag("circle", cx=x(steps[0]), cy=y(values[0]), r=3, class_="dot") if len(values) == 1 else None,
            _validation_curve(x, y, validation_steps, validation_values),
            x=LEFT,
            y=TOP,
            width=RIGHT - LEFT,
            height=BOTTOM - TOP,
            viewBox=f"{LEFT} {TOP} {RIGHT - LEFT} {BOTTOM - TOP}",
        ),
        _kept_mark(x, y, validation_steps[marked], validation_values[marked]),
        _heldout_line(y, heldout),
        # The script shows this cursor at the pointer. Without a script it stays hidden.
        tag(
            "g",
            tag("line", y1=TOP, y2=BOTTOM),
            tag("circle", r=3.5),
            tag("text", y=TOP - 9, text_anchor="end", x=RIGHT),
            class_="cursor",
            visibility="hidden",
        ),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"bits/dim of {factor} against step: {len(values)} values{last}",
        data_points=json.dumps(readouts, separators=(",", ":")),
        class_="chart",
    )
    return Chart(svg, len(points) - len(values), int((values > high + space).sum()))


def _drawable(points: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and the values of the points that can be drawn."""
    # A comparison with NaN is false, so this condition also excludes NaN.
    drawn = {step: value for step, value in points.items() if abs(value) <= LIMIT}
    return np.array(list(drawn), dtype=np.int64), np.array(list(drawn.values()), dtype=np.float64)


def _validation_curve(x: _Scale, y: _Scale, steps: np.ndarray, values: np.ndarray) -> Html | None:
    if len(values) == 0:
        return None
    if len(values) == 1:
        return tag("circle", cx=x(steps[0]), cy=y(values[0]), r=2, class_="validation")
    return tag("polyline", points=_path(x, y, *_extremes(steps, values)), class_="validation")


def _kept_mark(x: _Scale, y: _Scale, steps: np.ndarray, values: np.ndarray) -> Html:
    marks = (
        tag("circle", cx=x(step), cy=y(value), r=4, class_="kept") for step, value in zip(steps, values, strict=True)
    )
    return join(*marks)


def _axes(x: _Scale, y: _Scale) -> Html:
    parts = []
    marks = ticks(y.low, y.high, 5)
    # Labels have enough decimals to tell neighboring ticks apart, and at least one.
    gap = marks[1] - marks[0] if len(marks) > 1 else 0.1
    digits = max(1, -math.floor(math.log10(gap) + 1e-9))
    for mark in marks:
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=y(mark), y2=y(mark), class_="grid"))
        parts.append(tag("text", f"{mark:.{digits}f}", x=LEFT - 7, y=y(mark) + 4, text_anchor="end"))
    # Only ticks at whole steps are drawn.
    for step in (tick for tick in ticks(x.low, x.high, 3) if tick == int(tick)):
        parts.append(tag("line", x1=x(step), x2=x(step), y1=BOTTOM, y2=BOTTOM + 4, class_="axis"))
        # The last label must not extend beyond the drawing.
        anchor = "end" if x(step) > RIGHT - 14 else "middle"
        position = x(step) + 6 if anchor == "end" else x(step)
        parts.append(tag("text", f"{step:,.0f}", x=position, y=BOTTOM + 17, text_anchor=anchor))
    return join(
        *parts,
        tag("line", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM, class_="axis"),
        tag("text", "bits/dim", x=6, y=TOP - 9, class_="name"),
        tag("text", "step", x=RIGHT, y=BOTTOM + 34, text_anchor="end", class_="name"),
    )


def _heldout_line(y: _Scale, heldout: float | None) -> Html | None:
    if heldout is None:
        return None
    return join(
        tag("line", x1=LEFT, x2=RIGHT, y1=y(heldout), y2=y(heldout), class_="heldout"),
        # The label is in the corner that a falling curve leaves free.
        tag(
            "text",
            f"held-out {words.number(heldout, DIGITS)}",
            x=RIGHT,
            y=TOP + 12,
            text_anchor="end",
            class_="heldout",
        ),
    )


def _extremes(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lowest and highest point of each of at most `POINTS` segments, which keep the look of the curve."""
    chosen: set[int] = set()
    for stretch in np.array_split(np.arange(len(values)), min(POINTS, len(values))):
        chosen |= {int(stretch[values[stretch].argmin()]), int(stretch[values[stretch].argmax()])}
    index = sorted(chosen)
    return steps[index], values[index]


def _path(x: _Scale, y: _Scale, steps: np.ndarray, values: np.ndarray) -> str:
    return " ".join(f"{x(step)},{y(value)}" for step, value in zip(steps, values, strict=True))
