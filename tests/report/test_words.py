"""Tests of the formats of durations and counts in reports."""

import pytest

from auxar.report import words


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0.0 s"),
        (119.9, "119.9 s"),
        (120, "2.0 min"),
        (7200, "2.0 h"),
        (172800, "2.0 days"),
        (907200, "10.5 days"),
    ],
)
def test_a_duration_is_in_the_largest_unit_of_which_it_has_two(seconds, expected):
    assert words.duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0"), (999, "999"), (1000, "1.0 k"), (1_234_567, "1.2 M"), (2 * 10**9, "2.0 G")],
)
def test_a_short_count_is_in_the_largest_unit_that_it_reaches(count, expected):
    assert words.short_count(count) == expected
