"""Words and numbers that screen and page share: each is written here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from auxar.evaluation.records import Exactness, FactorFigures
from auxar.interfaces import ImageSpec

DIGITS = 4
"""Digits of bits/dim after the point. Two runs often differ in the third, so that it may not be rounded."""
DIGITS_ON_A_RUNS_PAGE = 3
"""The page of a single run shows one digit less: its widest table has nine columns, and it compares no runs."""
DIGITS_OF_NATS = 1
MISSING = "–"
TOTAL = "total"
OWN_SIZE, SHARE = "own size", "share"
SETS = {"heldout": "held-out", "training": "training"}
"""The sets of images that a run is evaluated on, by their key in records."""


@attrs.frozen
class WeightsWords:
    """Which weights a figure belongs to."""

    name: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.name}, {self.meaning}"


WEIGHTS: Mapping[str, WeightsWords] = {
    "ema": WeightsWords("EMA", "the running average of the weights"),
    "last": WeightsWords("last", "the weights of the last step"),
    "mixed": WeightsWords("mixed", "averages for some factors, weights of the last step for others"),
}


@attrs.frozen
class KindWords:
    """What a figure says about the images' own bits/dim."""

    name: str
    formula: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.name}: {self.meaning}"


KINDS: Mapping[Exactness, KindWords] = {
    "bound": KindWords("a bound", "log p(X, X̂) ≤ log p(X)", "the images' own bits/dim are at most this"),
    "exact": KindWords("exact", "log p(X)", "the images' own bits/dim"),
}


def number(value: float | None, digits: int = DIGITS, *, signed: bool = False) -> str:
    """A number, or a dash for None; with `signed`, a plus before what is above zero as it is rounded.

    Examples:
        >>> number(2.34567), number(None), number(-0.00001)
        ('2.3457', '–', '0.0000')
        >>> number(0.25, 2, signed=True), number(0.0001, 2, signed=True)
        ('+0.25', '0.00')
    """
    if value is None:
        return MISSING
    text = f"{value:z.{digits}f}"
    return f"+{text}" if signed and value > 0 and text.strip("0.") else text


def uncertainty(error: float | None, digits: int = DIGITS) -> str:
    """A standard error with its sign; nothing for None, as of a single image.

    Examples:
        >>> uncertainty(0.0123)
        '± 0.0123'
    """
    return "" if error is None else f"± {error:.{digits}f}"


def wasted(value: float, digits: int = DIGITS) -> str:
    """The part of a bound that free decoders spend on images with other views, as a clause.

    Examples:
        >>> wasted(0.25, 3)
        '0.250 bits/dim fall on images with other views'
    """
    return f"{number(value, digits)} bits/dim fall on images with other views"


def mixed_levels(factors: Sequence[FactorFigures]) -> bool:
    """Whether the images of a chain differ in their number of values per sub-pixel."""
    return len({factor.image.levels for factor in factors}) > 1


def levels_where_mixed(image: ImageSpec, factors: Sequence[FactorFigures]) -> str:
    """The image's number of levels, to stand behind its size; nothing where all images of the chain have the same."""
    return f"({image.levels} levels)" if mixed_levels(factors) else ""


def channel_names(count: int) -> list[str]:
    """Headings of the columns of single channels."""
    return [f"channel {number}" for number in range(count)]


def count(value: int) -> str:
    """A number of parameters or steps; a dash for zero, as of a factor that is not trained."""
    return f"{value:,}" if value else MISSING


def plural(count: int, noun: str) -> str:
    """A number of things.

    Examples:
        >>> plural(1, "value"), plural(2000, "value")
        ('1 value', '2,000 values')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def short_count(count: int) -> str:
    """A large number in few digits.

    Examples:
        >>> short_count(123456)
        '123.5 k'
    """
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.1f}{name}"
    return str(count)


def duration(seconds: float) -> str:
    """A time in the largest unit of which it has at least two.

    Examples:
        >>> duration(100), duration(7200)
        ('100.0 s', '2.0 h')
    """
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def sentence(caption: str) -> str:
    """A caption, written to follow a colon, as a sentence of its own.

    Examples:
        >>> sentence("held-out bits/dim")
        'Held-out bits/dim.'
    """
    return f"{caption[0].upper()}{caption[1:]}."
