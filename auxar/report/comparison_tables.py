"""The tables of a comparison, from its records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from auxar.evaluation.comparison import ComparedRun, Comparison, Margin
from auxar.report import words
from auxar.report.evaluation_tables import FACTOR, KIND, WASTED_CAPTION, WASTED_TITLE
from auxar.report.tables import (
    Column,
    Measured,
    Row,
    RunName,
    Table,
    own_size,
    share,
    wasted_own_size,
    wasted_share,
    with_coarser,
)

RUN = Column("run", left=True)
MINUS = Column("minus run 1")


def comparison_tables(comparison: Comparison) -> list[Table]:
    """All tables, in the order in which they are read."""
    wasted = wasted_table(comparison)
    tables = [total_table(comparison), resolution_table(comparison), factor_table(comparison)]
    return tables if wasted is None else [*tables, wasted]


def total_table(comparison: Comparison) -> Table:
    """A row for each run."""
    names = ("on", "images", "weights", "parameters", "steps")
    rows = []
    for name, run in _numbered(comparison):
        rows.append(
            Row(
                (
                    name,
                    Measured(run.bits_per_dim, run.standard_error),
                    run.kind,
                    _margin(run.margin),
                    _basis(run.margin),
                    f"{run.images:,}",
                    words.WEIGHTS[run.weights].name,
                    f"{run.parameters:,}",
                    run.steps,
                )
            )
        )
    notes = (
        "“Minus run 1” is the mean difference on the same images. Its standard error is that of the single images’ "
        "differences, so that variation between images which both runs share cancels. Unpaired, it is the difference "
        "of two means over images that need not be the same.",
        "An exact figure is the image’s own. A bound is that of an image and its views together: the image’s own "
        "bits/dim are at most this.",
    )
    caption = "held-out bits/dim ± standard error over images; a negative difference: better than run 1"
    return Table("In total", caption, [RUN, Column("bits/dim"), KIND, MINUS, *map(Column, names)], rows, notes)


def resolution_table(comparison: Comparison) -> Table:
    """bits/dim of every resolution that any of the runs has."""
    images = comparison.resolutions
    rows = []
    for name, run in _numbered(comparison):
        found = [run.factor_of(image) for image in images]
        cells = [with_coarser(factor.heldout, factor.cumulative_kind) if factor else Measured() for factor in found]
        rows.append(Row((name, *cells)))
    caption = "bits/dim of an image together with all coarser ones, over its own sub-pixels"
    return Table(
        "By resolution", caption, [RUN, *(Column(comparison.resolution_name(image)) for image in images)], rows
    )


def factor_table(comparison: Comparison) -> Table:
    """A row for each factor of each run."""
    size = comparison.image.size
    columns = (
        FACTOR,
        KIND,
        Column(words.OWN_SIZE),
        MINUS,
        Column(words.SHARE, screen=f"of {size}"),
        Column("term", left=True),
        Column("parameters", on_screen=False),
        Column("steps"),
    )
    rows = []
    for name, run in _numbered(comparison):
        for factor in run.factors:
            cells = (
                factor.factor,
                factor.kind,
                own_size(factor.heldout),
                _margin(factor.margin),
                share(factor.heldout),
                str(factor),
                f"{factor.parameters:,}",
                f"{factor.steps:,}",
            )
            rows.append(Row(cells, run=name))
    notes = (
        "“Own size” divides a factor’s bits by the sub-pixels of the image it predicts, “share” by those of the full "
        "image. Factors are subtracted where both runs have the same views down to them. “Bound” marks the figures of "
        "free decoders, terms of the model’s bound.",
    )
    caption = f"bits/dim of a factor's own size, and its share of the total ({size})"
    return Table("By factor", caption, columns, rows, notes)


def wasted_table(comparison: Comparison) -> Table | None:
    """Held-out bits/dim that free decoders spend on images with other views; None where none can tell."""
    columns = (FACTOR, Column(words.OWN_SIZE), Column(words.SHARE, screen=f"of {comparison.image.size}"))
    rows = []
    for name, run in _numbered(comparison):
        free = [factor for factor in run.factors if factor.support == "free"]
        if all(factor.heldout is None or factor.heldout.wasted_bits_per_dim is None for factor in free):
            continue
        for factor in free:
            cells = (factor.factor, wasted_own_size(factor.heldout), wasted_share(factor.heldout))
            rows.append(Row(cells, run=name))
        total = Measured(run.wasted_bits_per_dim, run.wasted_standard_error)
        rows.append(Row((words.TOTAL, "", total), run=name, total=True))
    return Table(WASTED_TITLE, WASTED_CAPTION, columns, rows) if rows else None


def _numbered(comparison: Comparison) -> Iterator[tuple[RunName, ComparedRun]]:
    for number, run in enumerate(comparison.runs, start=1):
        yield RunName(number, Path(run.run).name), run


def _margin(margin: Margin | None) -> Measured:
    return Measured(margin.bits_per_dim, margin.standard_error, signed=True) if margin else Measured()


def _basis(margin: Margin | None) -> str:
    """What a difference is taken on."""
    if margin is None:
        return words.MISSING
    return "unpaired" if margin.images is None else f"{margin.images:,} pairs"
