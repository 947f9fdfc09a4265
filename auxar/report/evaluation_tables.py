"""Builds the tables of an evaluation."""

from collections.abc import Callable, Sequence

from auxar.evaluation.codecs import JPEG_XL
from auxar.evaluation.evaluation import FROM_VIEWS, IN_CHAIN, Evaluation
from auxar.evaluation.facts import SETS, FactorFacts, Images
from auxar.report import words
from auxar.report.tables import Annotated, Cell, Column, FactorName, Measured, Row, RunName, Table, captioned, measured

FACTOR, KIND = Column("factor", left=True), Column("kind", left=True)
WASTED = (
    "Wasted bits",
    "held-out bits/dim that free decoders spend on images with other views. Setting support = 'restricted' saves this "
    "amount without further training",
)
"""The title and caption of tables of wasted bits."""


MEANING = (
    "“Own size” is a factor’s bits divided by the number of sub-pixels of the image that it predicts. “Share” is the "
    "same bits divided by the number of sub-pixels of the full image."
)


def shares_of(size: str) -> tuple[Column, Column]:
    """The columns of bits per sub-pixel of a factor's own image, and of the full image with a given size."""
    return Column(words.OWN_SIZE, screen="of own image"), Column(words.SHARE, screen=f"of {size}")


def report_tables(evaluation: Evaluation) -> list[Table]:
    """Returns the tables of a run's report in the order in which they are shown."""
    resolutions = resolution_table(evaluation) if len(evaluation.factors) > 1 else None
    return _complete(evaluation, factor_table(evaluation), resolutions)


def printed_tables(evaluation: Evaluation) -> list[Table]:
    """Returns the tables of an evaluation in a terminal in the order in which they are shown."""
    tables = [likelihood_table(evaluation, name) for name in evaluation.images]
    return _complete(evaluation, *tables, difference_table(evaluation) if len(tables) == len(SETS) else None)


def _complete(evaluation: Evaluation, *tables: Table | None) -> list[Table]:
    """The tables, and those that the report and the terminal share, with the condition in their captions."""
    shared = channel_table, wasted_table, sample_table, rule_table, codec_table
    return captioned([*tables, *(table(evaluation) for table in shared)], words.given([evaluation.condition]))


def _by_factor(
    evaluation: Evaluation,
    title: str,
    caption: str,
    columns: Sequence[Column],
    cells: Callable[[FactorFacts], Sequence[Cell]],
    total: Sequence[Cell] = (),
    notes: Sequence[str] = (),
) -> Table:
    """Builds a table with a row for each factor, whose further cells are `cells(factor)`, and a row of a total."""
    rows = [Row((name, *cells(each))) for name, each in zip(factor_names(evaluation), evaluation.factors, strict=True)]
    rows += [Row((words.TOTAL, *total), total=True)] if total else []
    return Table(title, caption, [FACTOR, *columns], rows, notes)


def factor_names(evaluation: Evaluation) -> list[FactorName]:
    """The names of the factors by depth."""
    factors = evaluation.factors
    return [FactorName(each.factor, depth, len(factors), each.condition) for depth, each in enumerate(factors)]


def likelihood_table(evaluation: Evaluation, images: Images) -> Table:
    """Builds the table of each factor's likelihoods on one set of images."""
    size, names = evaluation.image.size, [factor.factor for factor in evaluation.factors]
    cumulative = dict(zip(names, evaluation.cumulative_kinds, strict=True))

    def cells(factor: FactorFacts) -> list[Cell]:
        found = evaluation.figures(images, factor.factor)
        figures = measured(found.nats, digits=words.DIGITS_OF_NATS), measured(found.bits_per_dim), measured(found.share)
        return [factor.image.size, factor.kind, *figures, measured(found.cumulative, kind=cumulative[factor.factor])]

    columns = [Column("image", left=True), KIND, Column("nats per image"), *shares_of(size)]
    columns.append(Column("own image and views"))
    caption = f"bits/dim ± standard error over {evaluation.images.get(images, 0):,} images"
    total = (size, evaluation.kind, "", "", measured(evaluation.bits_per_dim(images)), "")
    return _by_factor(evaluation, f"{words.SETS[images].capitalize()} images", caption, columns, cells, total)


def difference_table(evaluation: Evaluation) -> Table:
    """Builds the table that compares bits/dim on held-out and on training images."""

    def cells(factor: FactorFacts | None) -> list[Cell]:
        name = None if factor is None else factor.factor
        means = *(evaluation.bits_per_dim(images, name) for images in SETS), evaluation.difference(name)
        return [evaluation.kind if factor is None else factor.kind, *map(measured, means)]

    columns = [KIND, *map(Column, ("held-out", "training", "difference"))]
    caption = "bits/dim; a large positive difference means overfitting"
    return _by_factor(evaluation, "Held-out minus training images", caption, columns, cells, cells(None))


def factor_table(evaluation: Evaluation) -> Table:
    """Builds the table of each factor's bits/dim on all sets of images, with its image size, parameters and steps."""
    sets: list[Images] = ["heldout", "training"] if "training" in evaluation.images else ["heldout"]
    whole = [factor.image for factor in evaluation.factors]

    def cells(factor: FactorFacts) -> list[Cell]:
        found = [evaluation.figures(images, factor.factor) for images in sets]
        # Shares have no standard errors here, because the table would be wider than the page.
        figures = [cell for each in found for cell in (measured(each.bits_per_dim), Measured(each.share.value))]
        size = Annotated(factor.image.size, words.levels_where_mixed(factor.image, whole))
        steps = Annotated(words.count(factor.steps), words.end_of_training(factor))
        return [factor.kind, *figures, size, words.count(factor.parameters), steps]

    shares = [Column(name, over=words.SETS[images]) for images in sets for name in (words.OWN_SIZE, words.SHARE)]
    columns = [KIND, *shares, *map(Column, ("size", "parameters", "steps"))]
    totals = [cell for images in sets for cell in ("", measured(evaluation.bits_per_dim(images)))]
    notes = [f"{MEANING} The shares add up to the model’s bits/dim."]
    if any(factor.kind == "bound" for factor in evaluation.factors):
        notes.append(
            "“Bound” marks the figures of free decoders, which also give probability to images with other views, and "
            "of a prior that computes a bound. It also marks every total that includes such a figure: the bits/dim of "
            "the image itself are at most this total. All other figures are exact."
        )
    total = [evaluation.kind, *totals, "", "", ""]
    caption = "± is one standard error over images"
    return _by_factor(evaluation, "Bits/dim by factor", caption, columns, cells, total, notes)


def resolution_table(evaluation: Evaluation) -> Table:
    """Builds the table of held-out bits/dim from the last view to the image, in the layout of the paper's tables."""
    factors = evaluation.factors
    names = words.resolution_names([factor.image for factor in reversed(factors)])
    found = [evaluation.figures("heldout", factor.factor) for factor in reversed(factors)]
    known = zip(found, reversed(evaluation.cumulative_kinds), strict=True)
    kinds = [words.MISSING if each.own is None else kind for each, kind in known]
    scores = [Measured(each.cumulative.value) for each in found]
    title = "By resolution, from the last view to the image"
    caption = "held-out bits/dim of an image together with its views, per sub-pixel of this image"
    columns = [Column("resolution"), *map(Column, names)]
    return Table(title, caption, columns, [Row(("bits/dim", *scores)), Row(("kind", *kinds))])


def codec_table(evaluation: Evaluation, model: str = "the model") -> Table | None:
    """Builds the table of bits/dim in files of lossless codecs, which names a model by some words.

    Returns None if no image was stored by codecs.
    """
    if not evaluation.codec_count:
        return None
    found = evaluation.codecs().items()
    rows = [Row((name, measured(mean), measured(difference, signed=True))) for name, (mean, difference) in found]
    caption = (
        f"bits/dim of {evaluation.codec_count:,} held-out images in files of lossless codecs, and bits/dim of {model} "
        f"({words.KINDS[evaluation.kind]}) minus these: below zero if the model needs fewer bits. A file has a header, "
        "which weighs more in small images"
    )
    if JPEG_XL not in evaluation.codecs():
        caption += f". {JPEG_XL} needs the package pillow-jxl-plugin"
    columns = [Column("codec", left=True), Column("bits/dim"), Column("model minus codec")]
    return Table("Compared with lossless codecs", caption, columns, rows)


def channel_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of held-out bits/dim of each channel. Returns None if no factor has them."""
    figures = {factor.factor: evaluation.figures("heldout", factor.factor) for factor in evaluation.factors}
    channels = {name: [measured(each.bits_per_dim) for each in own.channels] for name, own in figures.items()}
    most = max(map(len, channels.values()))
    if not most:
        return None
    caption = "held-out bits/dim given the previous channels; their mean is the factor's bits/dim"
    columns = [KIND, *map(Column, words.channel_names(most))]
    return _by_factor(
        evaluation, "By channel", caption, columns, lambda each: [each.kind, *_filled(channels[each.factor], most)]
    )


def wasted_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of wasted bits by factor; None if no free decoder has figures of them."""
    most = max((len(evaluation.figures("heldout", each.factor).channels) for each in _free(evaluation)), default=0)
    columns = [FACTOR, *shares_of(evaluation.image.size), *map(Column, words.channel_names(most))]
    rows = wasted_rows(evaluation, most)
    return Table(*WASTED, columns, rows) if rows else None


def wasted_rows(evaluation: Evaluation, channels: int = 0, run: RunName | None = None) -> list[Row]:
    """The rows of free decoders and of the whole model in a table of wasted bits, with columns for some channels."""
    rows, names = [], {name.name: name for name in factor_names(evaluation)}
    found = {factor.factor: evaluation.figures("heldout", factor.factor) for factor in _free(evaluation)}
    if all(figures.inside is None for figures in found.values()):
        return []
    for factor, figures in found.items():
        parts = [figures.wasted, figures.wasted_share, *(each.wasted for each in figures.channels[:channels])]
        rows.append(Row((names[factor], *_filled([*map(measured, parts)], 2 + channels)), run=run))
    total = measured(evaluation.figures("heldout").wasted)
    return [*rows, Row((words.TOTAL, "", total, *[""] * channels), run=run, total=True)]


def _free(evaluation: Evaluation) -> list[FactorFacts]:
    return [factor for factor in evaluation.factors if factor.support == "free"]


def sample_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of bits/dim for held-out images and for samples of the model. Returns None without samples."""
    if not evaluation.sample_count:
        return None

    def cells(factor: FactorFacts) -> list[Cell]:
        samples = (evaluation.samples(factor.factor, kind) for kind in (FROM_VIEWS, IN_CHAIN))
        counts = (evaluation.fallen(factor.factor, kind) for kind in (FROM_VIEWS, IN_CHAIN))
        fallen = [words.MISSING if count is None else f"{count:,}" for count in counts]
        return [measured(evaluation.bits_per_dim("heldout", factor.factor)), *map(measured, samples), *fallen]

    caption = (
        f"bits/dim of the factor's own image ± standard error, for {evaluation.sample_count:,} exact samples of each "
        "kind. If the model fits its data, they are about equal to those of held-out images; larger ones mean that "
        "samples are unlike the data. Samples that fell apart have energy in the highest frequency, as noise and "
        "checkerboards have, far above that of the held-out images"
    )
    names = ("held-out images", "samples given held-out views", "samples of the chain")
    columns = [*map(Column, (*names, "fallen given held-out views", "fallen of the chain"))]
    return _by_factor(evaluation, "Samples under the model", caption, columns, cells)


def rule_table(evaluation: Evaluation) -> Table | None:
    """Builds the table of held-out bits/dim by a rule. Returns None if no rule was evaluated."""
    if evaluation.rule is None:
        return None

    def cells(name: str | None = None) -> list[Cell]:
        means = evaluation.bits_per_dim("heldout", name), evaluation.under_rule("heldout", name)
        return [*map(measured, means), measured(evaluation.cost_of_rule("heldout", name), signed=True)]

    caption = (
        "held-out bits/dim of the factor's own image, under the model itself and under the distribution of the images "
        f"that the rule draws: {evaluation.rule}"
    )
    columns = [*map(Column, ("the model itself", "by the rule", "difference"))]
    return _by_factor(evaluation, "By a rule", caption, columns, lambda factor: cells(factor.factor), cells())


def _filled(cells: Sequence[Cell], count: int) -> list[Cell]:
    """Returns the cells, filled up with dashes to `count` cells."""
    return [*cells, *[words.MISSING] * (count - len(cells))]
