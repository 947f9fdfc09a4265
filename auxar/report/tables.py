"""Tables as content: what their cells say, without how a screen or a page draws them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from auxar.evaluation.records import ChannelFigures, Exactness, Figures


@attrs.frozen
class Measured:
    """A mean and its standard error; without a mean a dash."""

    value: float | None = None
    error: float | None = None
    kind: Exactness | None = None
    """Exact or a bound, where this differs within a column."""
    digits: int | None = None
    """Digits after the point where they are not those of the whole table."""
    signed: bool = False


@attrs.frozen
class Annotated:
    """A text, and a remark that a page shows smaller."""

    text: str
    remark: str


@attrs.frozen
class FactorName:
    """A factor of a chain of `count`: its name, and on a page also its term, p(X_depth | X_depth+1)."""

    name: str
    depth: int
    count: int


@attrs.frozen
class RunName:
    """A run of a comparison: its number, and on a page also its name."""

    number: int
    name: str


Cell = str | Measured | Annotated | FactorName | RunName


@attrs.frozen
class Column:
    """A column and its heading."""

    name: str
    screen: str | None = None
    """The heading on a screen, where no note below the table explains it."""
    over: str = ""
    """A heading above this and its neighbors with the same one."""
    left: bool = False
    """Whether a screen aligns it to the left. The first columns that are name the row, and are repeated where a table
    is too wide for one line."""
    on_screen: bool = True
    """Whether a screen has room for it."""


@attrs.frozen
class Row:
    """A cell for every column; the first names the row."""

    cells: Sequence[Cell]
    run: RunName | None = None
    """The run that the row belongs to, in a table with several rows per run."""
    total: bool = False


@attrs.frozen
class Table:
    """A table, its title, and what has to be said about it."""

    title: str
    caption: str
    """What the numbers are, written to follow a colon."""
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    """Sentences for a reader who has room for them."""


# Cells of a factor's or a channel's figures; without figures they are dashes.


def own_size(figures: Figures | ChannelFigures | None) -> Measured:
    """bits/dim over its own sub-pixels."""
    return Measured(figures.bits_per_dim, figures.standard_error) if figures else Measured()


def share(figures: Figures | None) -> Measured:
    """bits/dim over the sub-pixels of the whole image."""
    return Measured(figures.bits_per_dim_of_image, figures.standard_error_of_image) if figures else Measured()


def with_coarser(figures: Figures | None, kind: Exactness) -> Measured:
    """bits/dim of a factor and all coarser ones, over its own sub-pixels."""
    if figures is None or figures.cumulative_bits_per_dim is None:
        return Measured()
    return Measured(figures.cumulative_bits_per_dim, figures.cumulative_standard_error, kind)


def wasted_own_size(figures: Figures | ChannelFigures | None) -> Measured:
    """bits/dim over its own sub-pixels that fall on images with other views."""
    return Measured(figures.wasted_bits_per_dim, figures.wasted_standard_error) if figures else Measured()


def wasted_share(figures: Figures | None) -> Measured:
    """The same over the sub-pixels of the whole image."""
    if figures is None:
        return Measured()
    return Measured(figures.wasted_bits_per_dim_of_image, figures.wasted_standard_error_of_image)
