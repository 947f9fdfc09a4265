"""Builds the tables of a comparison of runs from its records."""

from collections.abc import Iterator
from pathlib import Path

from auxar.errors import one_line
from auxar.evaluation.comparison import ComparedRun, Comparison, Margin
from auxar.recipe.facts import short_keys
from auxar.report import words
from auxar.report.evaluation_tables import FACTOR, KIND, MEANING, WASTED, codec_table, shares_of, wasted_rows
from auxar.report.tables import RUN, Column, Measured, Row, RunName, Table, captioned, measured

MINUS = Column("minus run 1")
MOST_KEYS = 5
"""Maximum number of keys of recipes that have a column in the table of settings."""


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Returns all tables in the order in which they are shown.

    Without views, the tables by resolution and by factor would repeat the total.
    """
    tables = [total_table(comparison), settings_table(comparison) if len(comparison.runs) > 1 else None]
    if any(len(run.factors) > 1 for run in comparison.runs):
        tables += [resolution_table(comparison), factor_table(comparison), wasted_table(comparison)]
    tables.append(codec_table(comparison.runs[0].evaluation, "run 1"))
    return captioned(tables, words.given([run.evaluation.condition for run in comparison.runs]))


def settings_table(comparison: Comparison) -> Table:
    """Builds the table of means over seeds, with one row for each setting and a column for each key that differs."""
    settings = comparison.settings
    keys = list(settings[0].values)
    names = list(short_keys(keys).values())
    rows = []
    for setting in settings:
        values = [words.MISSING if value is None else one_line(f"{value}") for value in setting.values.values()]
        mean = Measured(setting.bits_per_dim, kind=setting.kind), Measured(setting.deviation)
        rows.append(Row((", ".join(map(str, setting.runs)), *values[:MOST_KEYS], *mean, str(len(setting.seeds)))))
    caption = "held-out bits/dim, mean and sample standard deviation over seeds"
    if any(len(setting.seeds) == 1 for setting in settings):
        caption += "; a single seed leaves out the noise of training"
    if len(keys) > MOST_KEYS:
        caption += f"; the recipes also differ in {', '.join(names[MOST_KEYS:])}"
    columns = [Column("runs", left=True), *map(Column, (*names[:MOST_KEYS], "bits/dim", "deviation", "seeds"))]
    return Table("By setting", caption, columns, rows)


def total_table(comparison: Comparison) -> Table:
    """Builds the table of total bits/dim, with one row for each run."""
    names = ("compared on", "images", "weights", "parameters", "steps")
    cost = (Column("training minutes", on_screen=False), Column("training multiply-adds", on_screen=False))
    rows = []
    for name, run in _numbered(comparison):
        bits, kind, margin = measured(run.heldout.bits_per_dim), run.evaluation.kind, run.margin
        facts = f"{run.images:,}", words.WEIGHTS[run.evaluation.weights].name, f"{run.parameters:,}", run.steps
        minutes = words.MISSING if run.seconds is None else f"{run.seconds / 60:,.1f}"
        multiply_adds = words.MISSING if run.multiply_adds is None else f"{run.multiply_adds:.1e}"
        rows.append(Row((name, bits, kind, _margin(margin), _basis(margin), *facts, minutes, multiply_adds)))
    notes = (
        "“Minus run 1” is the run’s bits/dim minus those of run 1, averaged over the images that both were evaluated "
        "on. Its standard error is computed from the differences on single images, so variation between images that "
        "affects both runs equally cancels. “Unpaired” marks the difference of two means over images that may differ.",
        "An exact figure is the bits/dim of the image itself. A bound is the bits/dim of the image together with its "
        "views; the bits/dim of the image itself are lower or equal.",
    )
    caption = "held-out bits/dim ± standard error; a negative difference means better than run 1"
    columns = [RUN, Column("bits/dim"), KIND, MINUS, *map(Column, names), *cost]
    return Table("Whole model", caption, columns, rows, notes)


def resolution_table(comparison: Comparison) -> Table:
    """Builds the table of bits/dim by resolution, with a column for each resolution that occurs in any run."""
    images = comparison.resolutions
    rows = []
    for name, run in _numbered(comparison):
        found = [run.factor_of(image) for image in images]
        cells = [measured(each.heldout.cumulative, kind=each.cumulative_kind) if each else Measured() for each in found]
        rows.append(Row((name, *cells)))
    caption = "held-out bits/dim of an image together with its views, per sub-pixel of this image"
    return Table("By resolution", caption, [RUN, *map(Column, words.resolution_names(images))], rows)


def factor_table(comparison: Comparison) -> Table:
    """Builds the table of bits/dim by factor, with one row for each factor of each run."""
    size = comparison.image.size
    own, share = shares_of(size)
    term, parameters = Column("term", left=True), Column("parameters", on_screen=False)
    columns = (FACTOR, KIND, own, MINUS, share, term, parameters, Column("steps"))
    rows = []
    for name, run in _numbered(comparison):
        for factor in run.factors:
            facts, found, minus = factor.facts, factor.heldout, _margin(factor.margin)
            bits = measured(found.bits_per_dim), minus, measured(found.share)
            model = str(facts), f"{facts.parameters:,}", words.count(facts.steps)
            rows.append(Row((facts.factor, facts.kind, *bits, *model), run=name))
    notes = (
        f"{MEANING} A difference is shown if both runs have the same views from the image down to the factor. “Bound” "
        "marks the figures of free decoders, which make the model’s total a bound.",
    )
    caption = f"held-out bits per sub-pixel of the factor's own image, and of the full image ({size})"
    return Table("By factor", caption, columns, rows, notes)


def wasted_table(comparison: Comparison) -> Table | None:
    """Builds the table of bits that free decoders waste, with one row for each; None if no run has figures of them."""
    rows = [row for name, run in _numbered(comparison) for row in wasted_rows(run.evaluation, run=name)]
    return Table(*WASTED, (FACTOR, *shares_of(comparison.image.size)), rows) if rows else None


def _numbered(comparison: Comparison) -> Iterator[tuple[RunName, ComparedRun]]:
    for number, run in enumerate(comparison.runs, start=1):
        yield RunName(number, Path(run.run).name), run


def _margin(margin: Margin | None) -> Measured:
    return Measured(margin.bits_per_dim, margin.standard_error, signed=True) if margin else Measured()


def _basis(margin: Margin | None) -> str:
    """Returns the number of images that both runs were evaluated on, or `unpaired` for a difference of two means."""
    if margin is None:
        return words.MISSING
    return "unpaired" if margin.images is None else f"{margin.images:,} images"
