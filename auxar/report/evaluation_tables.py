"""Builds the tables of an evaluation from its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from auxar.evaluation.records import ChannelFigures, Evaluation, FactorFigures, Figures
from auxar.report import words
from auxar.report.tables import (
    Annotated,
    Cell,
    Column,
    FactorName,
    Measured,
    Row,
    Table,
    own_size,
    share,
    wasted_own_size,
    wasted_share,
    with_coarser,
)

Images = Literal["heldout", "training"]
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
        figures = _figures(factor, images)
        rows.append(
            Row(
                (
                    _name(factors, depth),
                    factor.image.size,
                    factor.kind,
                    _nats(figures),
                    own_size(figures),
                    share(figures),
                    with_coarser(figures, factor.cumulative_kind),
                )
            )
        )
    rows.append(Row((words.TOTAL, size, evaluation.kind, "", "", _total(evaluation, images), ""), total=True))
    caption = f"bits/dim ± standard error over {evaluation.images.get(images, 0):,} images"
    return Table(f"{words.SETS[images].capitalize()} images", caption, columns, rows)


def difference_table(evaluation: Evaluation) -> Table:
    """Builds the table that compares bits/dim on held-out and on training images."""
    factors = evaluation.factors
    columns = (FACTOR, KIND, Column("held-out"), Column("training"), Column("difference"))
    rows = []
    for depth, factor in enumerate(factors):
        apart = factor.difference
        cells = (
            own_size(factor.heldout),
            own_size(factor.training),
            Measured(apart.bits_per_dim, apart.standard_error) if apart else Measured(),
        )
        rows.append(Row((_name(factors, depth), factor.kind, *cells)))
    apart = evaluation.difference
    cells = (
        _total(evaluation, "heldout"),
        _total(evaluation, "training"),
        Measured(apart.bits_per_dim, apart.standard_error) if apart else Measured(),
    )
    rows.append(Row((words.TOTAL, evaluation.kind, *cells), total=True))
    caption = "bits/dim; a large positive difference means overfitting"
    return Table("Held-out minus training images", caption, columns, rows)


def factor_table(evaluation: Evaluation) -> Table:
    """Builds the table of each factor's bits/dim on all sets of images, with its image size, parameters and steps."""
    factors = evaluation.factors
    sets: list[Images] = ["heldout"]
    if any(factor.training for factor in factors):
        sets.append("training")
    columns = [FACTOR, KIND]
    for images in sets:
        columns += (Column(name, over=words.SETS[images]) for name in (words.OWN_SIZE, words.SHARE))
    columns += (Column("size"), Column("parameters"), Column("steps"))
    rows = []
    for depth, factor in enumerate(factors):
        cells: list[Cell] = [_name(factors, depth), factor.kind]
        for images in sets:
            figures = _figures(factor, images)
            # Shares have no standard errors here, because the table would be wider than the page.
            cells += (own_size(figures), Measured(share(figures).value))
        size = Annotated(factor.image.size, words.levels_where_mixed(factor.image, factors))
        steps = Annotated(words.count(factor.steps), words.end_of_training(factor))
        rows.append(Row((*cells, size, words.count(factor.parameters), steps)))
    totals = [cell for images in sets for cell in ("", _total(evaluation, images))]
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
    coarsest_first = list(reversed(factors))
    columns = [Column("resolution"), *(Column(_resolution(factor, factors)) for factor in coarsest_first)]
    scores = [Measured(with_coarser(factor.heldout, factor.cumulative_kind).value) for factor in coarsest_first]
    kinds = [factor.cumulative_kind if factor.heldout else words.MISSING for factor in coarsest_first]
    title = "By resolution, from the last view to the image"
    caption = "held-out bits/dim of an image together with its views, per sub-pixel of this image"
    return Table(title, caption, columns, [Row(("bits/dim", *scores)), Row(("kind", *kinds))])


def channel_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of held-out bits/dim of each channel. Returns None if no factor has them."""
    factors = evaluation.factors
    most = max(len(_channels(factor)) for factor in factors)
    if not most:
        return None
    rows = []
    for depth, factor in enumerate(factors):
        cells = [own_size(channel) for channel in _channels(factor)]
        rows.append(Row((_name(factors, depth), factor.kind, *_filled(cells, most))))
    caption = "held-out bits/dim given the previous channels; their mean is the factor's bits/dim"
    return Table("By channel", caption, [FACTOR, KIND, *map(Column, words.channel_names(most))], rows)


def wasted_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of held-out bits/dim that free decoders spend on images with other views.

    Returns None if no factor has these figures.
    """
    factors = evaluation.factors
    free = [(depth, factor) for depth, factor in enumerate(factors) if factor.support == "free"]
    if all(factor.heldout is None or factor.heldout.wasted_bits_per_dim is None for _, factor in free):
        return None
    most = max(len(_channels(factor)) for _, factor in free)
    columns = [
        FACTOR,
        Column(words.OWN_SIZE, screen="of own image"),
        Column(words.SHARE, screen=f"of {factors[0].image.size}"),
        *map(Column, words.channel_names(most)),
    ]
    rows = []
    for depth, factor in free:
        channels = [wasted_own_size(channel) for channel in _channels(factor)]
        cells = (wasted_own_size(factor.heldout), wasted_share(factor.heldout))
        rows.append(Row((_name(factors, depth), *cells, *_filled(channels, most))))
    total = Measured(evaluation.wasted_bits_per_dim.get("heldout"), evaluation.wasted_standard_error.get("heldout"))
    rows.append(Row((words.TOTAL, "", total, *[""] * most), total=True))
    return Table(WASTED_TITLE, WASTED_CAPTION, columns, rows)


def sample_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of bits/dim for held-out images and for samples of the model. Returns None without samples."""
    factors = evaluation.factors
    rows, count = [], 0
    for depth, factor in enumerate(factors):
        found = factor.samples
        if found is None:
            return None
        count = found.count
        given = Measured(found.given_heldout_views, found.given_heldout_views_standard_error)
        cells = (own_size(factor.heldout), given, Measured(found.in_chain, found.in_chain_standard_error))
        rows.append(Row((_name(factors, depth), *cells)))
    columns = [FACTOR, *map(Column, ("held-out images", "samples given held-out views", "samples of the chain"))]
    caption = (
        f"bits/dim of the factor's own image ± standard error, for {count:,} exact samples of each "
        "kind. If the model fits its data, they are about equal to those of held-out images; larger ones mean that "
        "samples are unlike the data"
    )
    return Table("Samples under the model", caption, columns, rows)


def _name(factors: Sequence[FactorFigures], depth: int) -> FactorName:
    return FactorName(factors[depth].factor, depth, len(factors))


def _figures(factor: FactorFigures, images: Images) -> Figures | None:
    return factor.heldout if images == "heldout" else factor.training


def _nats(figures: Figures | None) -> Measured:
    if figures is None:
        return Measured()
    return Measured(figures.nats, figures.nats_standard_error, digits=words.DIGITS_OF_NATS)


def _total(evaluation: Evaluation, images: Images) -> Measured:
    return Measured(evaluation.bits_per_dim.get(images), evaluation.standard_error.get(images))


def _channels(factor: FactorFigures) -> Sequence[ChannelFigures]:
    return (factor.heldout and factor.heldout.channels) or ()


def _filled(cells: Sequence[Cell], count: int) -> list[Cell]:
    """Returns the cells, filled up with dashes to `count` cells."""
    return [*cells, *[words.MISSING] * (count - len(cells))]


def _resolution(factor: FactorFigures, factors: Sequence[FactorFigures]) -> str:
    """Returns height × width. If two images share these, channels and (if mixed) numbers of levels are added."""
    image = factor.image
    if len({(other.image.height, other.image.width) for other in factors}) == len(factors):
        return f"{image.height}×{image.width}"
    return f"{image.size} {words.levels_where_mixed(image, factors)}".strip()
