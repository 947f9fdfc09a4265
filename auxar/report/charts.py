"""Loss curves as inline SVG, drawn in numbers so that the page works without a script."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import attrs
import numpy as np

from auxar.report import words
from auxar.report.html import Html, join, tag

# The drawing's own units: the page scales it to about one CSS pixel each.
WIDTH, HEIGHT = 320, 216
LEFT, RIGHT, TOP, BOTTOM = 40, 312, 24, 178
POINTS = 300
"""More points than this do not show at the drawing's size."""
LIMIT = 1000.0
"""bits/dim beyond which a training has diverged: such a value would only flatten the rest of its chart."""
DIGITS = words.DIGITS_ON_A_RUNS_PAGE


@attrs.frozen
class Chart:
    """A drawing, and counts of the values that it leaves out."""

    svg: Html
    not_drawn: int
    """Number of logged values that are not finite or beyond `LIMIT`."""
    above: int
    """Number of early values that lie above the top of the drawing."""


@attrs.frozen
class _Scale:
    """A linear axis: values low … high at drawing positions start … end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high], at most `count` + 1 of them. Needs low < high."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded, so that 3 · 0.1 is labeled 0.3.
    return [round(k * step, 12) for k in range(first, last + 1)]


def smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean over about a fifteenth of the curve; the window shrinks at both ends and stays symmetric."""
    count = len(values)
    index = np.arange(count)
    reach = np.minimum(np.minimum(index, count - 1 - index), count // 30)
    total = np.concatenate([[0.0], np.cumsum(values)])
    means: np.ndarray = (total[index + reach + 1] - total[index - reach]) / (2 * reach + 1)
    return means


def loss_chart(factor: str, points: Mapping[int, float], heldout: float | None) -> Chart | None:
    """bits/dim against step with the held-out value as a dashed line, or None if there is nothing to draw.

    `points` is in rising order of steps. The first twentieth of training starts far above the rest and may
    leave the chart at its top; the other points and the held-out value lie within.
    """
    # Written so that a comparison with "not a number", which is false, leaves it out.
    drawn = {step: value for step, value in points.items() if abs(value) <= LIMIT}
    steps, values = np.array(list(drawn)), np.array(list(drawn.values()))
    if not len(values):
        return None
    if heldout is not None and not abs(heldout) <= LIMIT:
        heldout = None
    settled = values[len(values) // 20 :]
    # A short curve is shown whole: it has no twentieth worth leaving out.
    shown = np.append(settled if len(values) >= 30 else values, settled if heldout is None else heldout)
    low, high = float(shown.min()), float(shown.max())
    space = max(0.06 * (high - low), 1e-3 * abs(high), 1e-3)
    y = _Scale(low - space, high + space, BOTTOM, TOP)
    x = _Scale(0, max(1, int(steps[-1])), LEFT, RIGHT)

    curve = smoothed(values)
    kept = np.unique(np.linspace(0, len(values) - 1, min(POINTS, len(values))).round().astype(int))
    last = f", last {words.number(values[-1], DIGITS)}"
    if heldout is not None:
        last += f", held-out {words.number(heldout, DIGITS)}"
    readouts = [
        (
            x(steps[i]),
            min(BOTTOM, max(TOP, y(curve[i]))),
            int(steps[i]),
            *(round(float(v[i]), 4) for v in (values, curve)),
        )
        for i in kept
    ]
    svg = tag(
        "svg",
        _axes(x, y),
        # An inner drawing of the same scale, because it cuts off what lies outside.
        tag(
            "svg",
            tag("polyline", points=_path(x, y, *_extremes(steps, values)), class_="raw"),
            tag("polyline", points=_path(x, y, steps[kept], curve[kept]), class_="smooth"),
            # A single point has no line.
            tag("circle", cx=x(steps[0]), cy=y(values[0]), r=3, class_="dot") if len(values) == 1 else None,
            x=LEFT,
            y=TOP,
            width=RIGHT - LEFT,
            height=BOTTOM - TOP,
            viewBox=f"{LEFT} {TOP} {RIGHT - LEFT} {BOTTOM - TOP}",
        ),
        _heldout_line(y, heldout),
        # Filled in by the script where the pointer is; without a script nothing is missing.
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


def _axes(x: _Scale, y: _Scale) -> Html:
    parts = []
    marks = ticks(y.low, y.high, 5)
    # Enough decimals to tell neighboring ticks apart, and one everywhere, so that labels keep their width.
    gap = marks[1] - marks[0] if len(marks) > 1 else 0.1
    digits = max(1, -math.floor(math.log10(gap) + 1e-9))
    for mark in marks:
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=y(mark), y2=y(mark), class_="grid"))
        parts.append(tag("text", f"{mark:.{digits}f}", x=LEFT - 7, y=y(mark) + 4, text_anchor="end"))
    # Steps are whole numbers, and so are their ticks.
    for step in (tick for tick in ticks(x.low, x.high, 3) if tick == int(tick)):
        parts.append(tag("line", x1=x(step), x2=x(step), y1=BOTTOM, y2=BOTTOM + 4, class_="axis"))
        # The last label may not leave the drawing.
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
        # In the corner that a falling curve leaves free.
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
    """The lowest and highest point of each of at most `POINTS` stretches; drawn, they look like the whole line."""
    chosen: set[int] = set()
    for stretch in np.array_split(np.arange(len(values)), min(POINTS, len(values))):
        chosen |= {int(stretch[values[stretch].argmin()]), int(stretch[values[stretch].argmax()])}
    index = sorted(chosen)
    return steps[index], values[index]


def _path(x: _Scale, y: _Scale, steps: np.ndarray, values: np.ndarray) -> str:
    return " ".join(f"{x(step)},{y(value)}" for step, value in zip(steps, values, strict=True))
