"""Tests that charts of the loss show logged values, their running mean and the held-out value at the right places."""

import json
import math
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.html_page import Page
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.report.charts import BOTTOM, LIMIT, TOP, loss_chart, smoothed, ticks
from auxar.report.charts import _ticks as cost_ticks


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 6))
def test_ticks_are_all_multiples_of_the_smallest_round_distance(low, width, count):
    high = low + width
    found = ticks(low, high, count)
    assert len(found) <= count + 1
    round_distances = (digit * Fraction(10) ** power for power in range(-5, 8) for digit in (1, 2, 5))
    distance = float(next(step for step in round_distances if step * count >= Fraction(high - low) * (1 - 1e-8)))
    slack = 1e-8 * max(abs(low), abs(high), 1)
    inside = [
        k * distance for k in range(math.ceil((low + slack) / distance), math.floor((high - slack) / distance) + 1)
    ]
    # A multiple at an end of the interval may be left out because of rounding.
    kept = [tick for tick in found if low + slack <= tick <= high - slack]
    assert kept == pytest.approx(inside, rel=1e-9, abs=1e-11)
    for end in (found[:1], found[-1:]):
        assert all(low - slack <= tick <= high + slack for tick in end)


@settings(deadline=None)
@given(st.floats(-6, 18), st.floats(2e-3, 12))
def test_costs_have_a_tick_even_in_a_short_interval(start, width):
    low, high = 10**start, 10 ** (start + width)
    found = cost_ticks(low, high)
    assert found
    assert found == sorted(found)
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in found)


def running_mean(values):
    """Averages over about a fifteenth of the values, or over fewer at both ends, with the value in the middle."""
    reach = [min(place, len(values) - 1 - place, len(values) // 30) for place in range(len(values))]
    return [np.mean(values[place - r : place + r + 1]) for place, r in enumerate(reach)]


@pytest.mark.parametrize("count", [1, 2, 29, 30, 75, 400])
def test_the_running_mean_is_over_a_fifteenth_of_the_values(count):
    values = np.random.default_rng(count).normal(3, 1, count)
    found = smoothed(values)
    assert found == pytest.approx(running_mean(values), rel=1e-9)
    assert (np.abs(found - values).max() > 0.1) == (count >= 30)


@pytest.mark.parametrize("count", [12, 90])
def test_a_chart_shows_each_value_where_its_axes_say(count):
    """Reads the scales of the axes back from their labels, and compares the drawn points with the values."""
    steps = [10 * number for number in range(1, count + 1)]
    noise = np.random.default_rng(0).normal(0, 0.2, count)
    values = [3 + 5 / (1 + number) + noise[number] for number in range(count)]
    evaluated = {step: 3.5 + 40 / step for step in steps[3::8]}
    best = max(evaluated)
    chart = loss_chart("prior", dict(zip(steps, values, strict=True)), 3.1, evaluated, best)
    svg = ElementTree.fromstring(chart.svg)
    labels = [node for node in svg.findall("text") if node.get("class") is None]
    grid = [float(node.attrib["y1"]) for node in svg.findall("line") if node.get("class") == "grid"]
    marks = [float(node.attrib["x1"]) for node in svg.findall("line") if node.get("class") == "axis"][:-1]
    heights = {float(str(node.text)): y for node, y in zip(labels[: len(grid)], grid, strict=True)}
    places = {float(str(node.text).replace(",", "")): x for node, x in zip(labels[len(grid) :], marks, strict=True)}
    assert min(len(heights), len(places)) >= 2
    assert list(heights) == sorted(heights)
    assert list(places) == sorted(places)
    (down, height), (right, place) = (np.polyfit(list(axis), list(axis.values()), 1) for axis in (heights, places))
    assert down < 0 < right
    means = running_mean(values)
    lines = {node.attrib["class"]: node.attrib["points"] for node in svg.iter("polyline")}
    curves = {"raw": (steps, values), "smooth": (steps, means), "validation": (evaluated, evaluated.values())}
    for kind, (abscissas, ordinates) in curves.items():
        found = np.array([[float(number) for number in point.split(",")] for point in lines[kind].split()])
        expected = np.stack([place + right * np.array([*abscissas]), height + down * np.array([*ordinates])], 1)
        assert found == pytest.approx(expected, abs=0.2)
    [line] = (node for node in svg.findall("line") if node.get("class") == "heldout")
    assert [float(line.attrib[key]) for key in ("y1", "y2")] == pytest.approx([height + down * 3.1] * 2, abs=0.2)
    [label] = (node.text for node in svg.findall("text") if node.get("class") == "heldout")
    assert label == "held-out 3.100"
    [mark] = (node for node in svg.findall("circle") if node.get("class") == "kept")
    at = [place + right * best, height + down * evaluated[best]]
    assert [float(mark.attrib[key]) for key in ("cx", "cy")] == pytest.approx(at, abs=0.2)
    described = f"bits/dim of prior against step: {count} values, last {values[-1]:.3f}, held-out 3.100"
    described += f", validation {evaluated[best]:.3f}, weights of step {best} kept"
    assert svg.get("aria-label") == described
    rows = json.loads(svg.attrib["data-points"])
    assert [row[2:] for row in rows] == [
        [
            *(step, round(value, 4), pytest.approx(mean, abs=1e-4)),
            *[round(evaluated[earlier], 4) for earlier in evaluated if earlier <= step][-1:],
        ]
        for step, value, mean in zip(steps, values, means, strict=True)
    ]
    # The point under the pointer lies on the running mean, or at the edge where that is cut off.
    at = [
        [place + right * step, min(max(height + down * mean, TOP), BOTTOM)]
        for step, mean in zip(steps, means, strict=True)
    ]
    assert np.array([row[:2] for row in rows]) == pytest.approx(np.array(at), abs=0.2)
    # The first twentieth of a long curve may be above the top.
    assert (chart.not_drawn, chart.above) == (0, sum(height + down * value < TOP for value in values))
    assert chart.above <= count // 20 if count >= 30 else chart.above == 0
    assert (chart.above > 0) == (count == 90)


def test_a_long_curve_keeps_its_highest_and_its_lowest_value():
    values = [3 + 0.1 * (-1) ** number for number in range(2000)]
    values[801], values[1502] = 9.0, -4.0
    svg = ElementTree.fromstring(loss_chart("prior", dict(enumerate(values)), None).svg)
    raw, smooth = (node.attrib["points"].split() for node in svg.iter("polyline"))
    assert (len(raw), len(smooth)) == (600, 300)
    x, y = np.array([[float(number) for number in point.split(",")] for point in raw]).T
    assert x[[y.argmin(), y.argmax()]] == pytest.approx([40 + 272 * 801 / 1999, 40 + 272 * 1502 / 1999], abs=0.1)
    assert y.max() - y.min() == pytest.approx(13 * (y.max() - np.median(y)) / 7, rel=0.05)


@pytest.mark.parametrize(("last", "expected"), [(1, ["0", "1"]), (2, ["0", "1", "2"]), (1200, ["0", "500", "1,000"])])
def test_only_whole_steps_are_named(last, expected):
    svg = ElementTree.fromstring(loss_chart("prior", {last: 3.0}, None).svg)
    assert [node.text for node in svg.findall("text") if node.get("y") == "195"] == expected


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 10**7), st.floats() | st.floats(0, 10), min_size=1, max_size=80),
    st.none() | st.floats() | st.floats(0, 10),
    st.dictionaries(st.integers(0, 10**7), st.floats() | st.floats(0, 10), max_size=5),
    st.none() | st.integers(0, 10),
)
def test_any_curve_can_be_drawn(points, heldout, validation, place):
    validation = dict(sorted(validation.items()))
    kept = None if place is None else [*validation, 3][min(place, len(validation))]
    chart = loss_chart("prior", dict(sorted(points.items())), heldout, validation, kept)
    drawn = [value for value in points.values() if abs(value) <= LIMIT]
    assert (chart is None) == (not drawn)
    if chart is not None:
        assert chart.not_drawn == len(points) - len(drawn)
        page = Page(chart.svg)
        assert all(0 <= x <= 320 and 0 <= y <= 216 for x, y, *_ in json.loads(page.all("svg")[0]["data-points"]))
