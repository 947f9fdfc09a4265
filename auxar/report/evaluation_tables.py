"""Builds the tables of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from auxar.evaluation.evaluation import FROM_VIEWS, IN_CHAIN, Evaluation
from auxar.evaluation.facts import SETS, FactorFacts, Images
from auxar.report import words
from auxar.report.tables import Annotated, Cell, Column, FactorName, Measured, Row, Table, measured

FACTOR, KIND = Column("factor", left=True), Column("kind", left=True)
WASTED_TITLE = "Wasted bits"
WASTED_CAPTION = (
    "held-out bits/dim that free decoders spend on images with other views. Setting support = 'restricted' "
    "saves this amount without further training"
)


def report_tables(evaluation: Evaluation) -> list[Table]:
    """Returns the tables of a run's report in the order in which they are shown."""
    tables: list[Table | None] = [factor_table(evaluation)]
    if len(evaluation.factors) > 1:
        tables.append(resolution_table(evaluation))
    tables += [channel_table(evaluation), wasted_table(evaluation), sample_table(evaluation)]
    return [table for table in tables if table is not None]


def likelihood_table(evaluation: Evaluation, images: Images) -> Table:
    """Builds the table of each factor's likelihoods on one set of images."""
    factors = evaluation.factors
    size = factors[0].image.size
    columns = (
        FACTOR,
        Column("image", left=True),
        KIND,
        Column("nats per image"),
        Column(words.OWN_SIZE, screen="of own image"),
        Column(words.SHARE, screen=f"of {size}"),
        Column("own image and views"),
    )
    rows = []
    for depth, factor in enumerate(factors):
        found, kind = evaluation.figures(images, factor.factor), evaluation.cumulative_kinds[depth]
        figures = (
            measured(found.nats, digits=words.DIGITS_OF_NATS),
            measured(found.bits_per_dim),
            measured(found.share),
            measured(found.cumulative, kind=kind),
        )
        rows.append(Row((_name(factors, depth), factor.image.size, factor.kind, *figures)))
    total = measured(evaluation.bits_per_dim(images))
    rows.append(Row((words.TOTAL, size, evaluation.kind, "", "", total, ""), total=True))
    caption = f"bits/dim ± standard error over {evaluation.images.get(images, 0):,} images"
    return Table(f"{words.SETS[images].capitalize()} images", caption, columns, rows)


def difference_table(evaluation: Evaluation) -> Table:
    """Builds the table that compares bits/dim on held-out and on training images."""
    factors = evaluation.factors
    columns = (FACTOR, KIND, Column("held-out"), Column("training"), Column("difference"))
    rows = [
        Row((_name(factors, depth), factor.kind, *_difference(evaluation, factor.factor)))
        for depth, factor in enumerate(factors)
    ]
    rows.append(Row((words.TOTAL, evaluation.kind, *_difference(evaluation)), total=True))
    caption = "bits/dim; a large positive difference means overfitting"
    return Table("Held-out minus training images", caption, columns, rows)


def factor_table(evaluation: Evaluation) -> Table:
    """Builds the table of each factor's bits/dim on all sets of images, with its image size, parameters and steps."""
    factors = evaluation.factors
    sets: list[Images] = ["heldout"]
    if "training" in evaluation.images:
        sets.append("training")
    columns = [FACTOR, KIND]
    for images in sets:
        columns += (Column(name, over=words.SETS[images]) for name in (words.OWN_SIZE, words.SHARE))
    columns += (Column("size"), Column("parameters"), Column("steps"))
    whole = [factor.image for factor in factors]
    rows = []
    for depth, factor in enumerate(factors):
        cells: list[Cell] = [_name(factors, depth), factor.kind]
        for images in sets:
            found = evaluation.figures(images, factor.factor)
            # Shares have no standard errors here, because the table would be wider than the page.
            cells += (measured(found.bits_per_dim), Measured(found.share.value))
        size = Annotated(factor.image.size, words.levels_where_mixed(factor.image, whole))
        steps = Annotated(words.count(factor.steps), words.end_of_training(factor))
        rows.append(Row((*cells, size, words.count(factor.parameters), steps)))
    totals = [cell for images in sets for cell in ("", measured(evaluation.bits_per_dim(images)))]
    rows.append(Row((words.TOTAL, evaluation.kind, *totals, "", "", ""), total=True))
    notes = [
        "“Own size” is a factor’s bits divided by the number of sub-pixels of the image that it predicts. “Share” is "
        "the same bits divided by the number of sub-pixels of the full image. The shares add up to the model’s "
        "bits/dim."
    ]
    if any(factor.kind == "bound" for factor in factors):
        notes.append(
            "“Bound” marks the figures of free decoders, which also give probability to images with other views, and "
            "of a prior that computes a bound. It also marks every total that includes such a figure: the bits/dim of "
            "the image itself are at most this total. All other figures are exact."
        )
    return Table("Bits/dim by factor", "± is one standard error over images", columns, rows, notes)


def resolution_table(evaluation: Evaluation) -> Table:
    """Builds the table of held-out bits/dim from the last view to the image, in the layout of the paper's tables."""
    factors = evaluation.factors
    names = words.resolution_names([factor.image for factor in reversed(factors)])
    scores, kinds = [], []
    for factor, kind in zip(reversed(factors), reversed(evaluation.cumulative_kinds), strict=True):
        found = evaluation.figures("heldout", factor.factor)
        scores.append(Measured(found.cumulative.value))
        kinds.append(words.MISSING if found.own is None else kind)
    title = "By resolution, from the last view to the image"
    caption = "held-out bits/dim of an image together with its views, per sub-pixel of this image"
    columns = [Column("resolution"), *map(Column, names)]
    return Table(title, caption, columns, [Row(("bits/dim", *scores)), Row(("kind", *kinds))])


def channel_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of held-out bits/dim of each channel. Returns None if no factor has them."""
    figures = [evaluation.figures("heldout", factor.factor) for factor in evaluation.factors]
    channels = [[measured(channel.bits_per_dim) for channel in found.channels] for found in figures]
    most = max(map(len, channels))
    if not most:
        return None
    rows = [
        Row((_name(evaluation.factors, depth), factor.kind, *_filled(channels[depth], most)))
        for depth, factor in enumerate(evaluation.factors)
    ]
    caption = "held-out bits/dim given the previous channels; their mean is the factor's bits/dim"
    return Table("By channel", caption, [FACTOR, KIND, *map(Column, words.channel_names(most))], rows)


def wasted_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of held-out bits/dim that free decoders spend on images with other views.

    Returns None if no factor has these figures.
    """
    factors = evaluation.factors
    free = [
        (depth, evaluation.figures("heldout", factor.factor))
        for depth, factor in enumerate(factors)
        if factor.support == "free"
    ]
    if all(found.inside is None for _, found in free):
        return None
    most = max(len(found.channels) for _, found in free)
    columns = [
        FACTOR,
        Column(words.OWN_SIZE, screen="of own image"),
        Column(words.SHARE, screen=f"of {factors[0].image.size}"),
        *map(Column, words.channel_names(most)),
    ]
    rows = []
    for depth, found in free:
        parts = [found.wasted, found.wasted_share, *(channel.wasted for channel in found.channels)]
        rows.append(Row((_name(factors, depth), *_filled([*map(measured, parts)], 2 + most))))
    rows.append(Row((words.TOTAL, "", measured(evaluation.figures("heldout").wasted), *[""] * most), total=True))
    return Table(WASTED_TITLE, WASTED_CAPTION, columns, rows)


def sample_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of bits/dim for held-out images and for samples of the model. Returns None without samples."""
    if not evaluation.sample_count:
        return None
    rows = []
    for depth, factor in enumerate(evaluation.factors):
        given, in_chain = (measured(evaluation.samples(factor.factor, kind)) for kind in (FROM_VIEWS, IN_CHAIN))
        heldout = measured(evaluation.bits_per_dim("heldout", factor.factor))
        rows.append(Row((_name(evaluation.factors, depth), heldout, given, in_chain)))
    columns = [FACTOR, *map(Column, ("held-out images", "samples given held-out views", "samples of the chain"))]
    caption = (
        f"bits/dim of the factor's own image ± standard error, for {evaluation.sample_count:,} exact samples of each "
        "kind. If the model fits its data, they are about equal to those of held-out images; larger ones mean that "
        "samples are unlike the data"
    )
    return Table("Samples under the model", caption, columns, rows)


def _name(factors: Sequence[FactorFacts], depth: int) -> FactorName:
    return FactorName(factors[depth].factor, depth, len(factors))


def _difference(evaluation: Evaluation, factor: str | None = None) -> list[Cell]:
    """The cells of held-out and training bits/dim, and of their difference."""
    return [
        *(measured(evaluation.bits_per_dim(images, factor)) for images in SETS),
        measured(evaluation.difference(factor)),
    ]


def _filled(cells: Sequence[Cell], count: int) -> list[Cell]:
    """Returns the cells, filled up with dashes to `count` cells."""
    return [*cells, *[words.MISSING] * (count - len(cells))]
