"""The report's tables of bits/dim: by factor, by resolution and by channel, and what of them is wasted."""

from __future__ import annotations

from collections.abc import Sequence

from auxar.evaluation.records import ChannelFigures, Evaluation, FactorFigures, Figures
from auxar.report.markup import Html, join, tag
from auxar.report.words import (
    WASTED,
    absence,
    bits_words,
    count_words,
    factor_term,
    measured,
    resolution_words,
    size_words,
)


def likelihoods(evaluation: Evaluation | None) -> Html | None:
    if evaluation is None:
        return None
    untrained = [factor.factor for factor in evaluation.factors if factor.heldout is None]
    trained = len(untrained) < len(evaluation.factors)
    parts: list[Html | None] = []
    if untrained:
        parts.append(absence(f"Not trained yet, and so without a likelihood: {', '.join(untrained)}."))
    if trained:
        parts.append(_factor_table(evaluation))
        parts.append(
            tag(
                "p",
                "“Own size” divides a factor’s bits by the sub-pixels of the image it predicts, “share” by those of "
                "the full image: shares add up to the model’s bits/dim. ± is one standard error over images.",
                class_="soft",
            )
        )
        if any(factor.kind == "bound" for factor in evaluation.factors):
            parts.append(
                tag(
                    "p",
                    "“Bound” are the figures of free decoders, which also give probability to images of other views, "
                    "and all sums with them: the image’s own bits/dim are at most the model’s. All others are exact.",
                    class_="soft",
                )
            )
        if all(factor.training is None for factor in evaluation.factors):
            parts.append(absence("Training images were not evaluated, so there is nothing to compare with."))
        elif (difference := evaluation.difference) and difference.bits_per_dim is not None:
            words = measured(difference.bits_per_dim, difference.standard_error, "bits/dim")
            kinds = "two bounds" if evaluation.kind == "bound" else "two exact figures"
            sentence = ("Held-out less training images: ", words, f", the difference of {kinds}.")
            parts.append(tag("p", *sentence, class_="soft"))
        if len(evaluation.factors) > 1:
            parts.append(tag("h3", "By resolution, coarsest to finest", class_="below"))
            parts.append(_resolution_table(evaluation.factors))
            parts.append(
                tag(
                    "p",
                    "Held-out bits/dim of an image or view together with all coarser ones, over its own sub-pixels.",
                    class_="soft",
                )
            )
        if any(_channels(factor) for factor in evaluation.factors):
            parts.append(tag("h3", "By channel", class_="below"))
            parts.append(_channel_table(evaluation.factors))
            parts.append(
                tag("p", "Held-out bits/dim of a channel’s values, given the channels before it.", class_="soft")
            )
        if any(_wasted(factor) is not None for factor in evaluation.factors):
            parts.append(tag("h3", "Wasted bits", class_="below"))
            parts.append(_wasted_table(evaluation))
            parts.append(tag("p", WASTED, " Held-out bits/dim, as above.", class_="soft"))
    return tag("section", tag("h2", "Bits/dim by factor"), *parts)


def _factor_table(evaluation: Evaluation) -> Html:
    factors = evaluation.factors
    groups = {"heldout": "held-out"}
    if any(factor.training for factor in factors):
        groups["training"] = "training"
    first = [tag("th", name, scope="col", rowspan=2) for name in ("factor", "kind")]
    last = [tag("th", name, scope="col", rowspan=2) for name in ("size", "parameters", "steps")]
    over = [tag("th", name, scope="colgroup", colspan=2) for name in groups.values()]
    under = [tag("th", name, scope="col") for _ in groups for name in ("own size", "share")]
    head = tag("thead", tag("tr", *first, *over, *last), tag("tr", *under, class_="under"))

    rows = []
    for depth, factor in enumerate(factors):
        cells: list[object] = [factor.kind]
        for group in groups:
            figures: Figures | None = getattr(factor, group)
            cells.append(measured(figures.bits_per_dim, figures.standard_error) if figures else "–")
            cells.append(bits_words(figures.bits_per_dim_of_image) if figures else "–")
        cells += [size_words(factor.image, factors), count_words(factor.parameters), count_words(factor.steps)]
        rows.append(_row(depth, factors, cells))
    totals = [
        tag(
            "td",
            measured(evaluation.bits_per_dim.get(group), evaluation.standard_error.get(group)),
            colspan=2,
        )
        for group in groups
    ]
    whole = tag("th", "whole model", scope="row")
    rows.append(tag("tr", whole, tag("td", evaluation.kind), *totals, tag("td", colspan=3), class_="total"))
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll")


def _resolution_table(factors: Sequence[FactorFigures]) -> Html:
    coarsest_first = list(reversed(factors))
    scores = [factor.heldout.cumulative_bits_per_dim if factor.heldout else None for factor in coarsest_first]
    sizes = (tag("th", resolution_words(factor.image, factors), scope="col") for factor in coarsest_first)
    kinds = [factor.cumulative_kind if factor.heldout else "–" for factor in coarsest_first]
    rows = (("Bpd", [bits_words(score) for score in scores]), ("Kind", kinds))
    table = tag(
        "table",
        tag("thead", tag("tr", tag("th", "Res.", scope="row"), *sizes)),
        tag(
            "tbody",
            *(tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells)) for name, cells in rows),
        ),
    )
    return tag("div", table, class_="scroll narrow")


def _channels(factor: FactorFigures) -> Sequence[ChannelFigures]:
    return (factor.heldout and factor.heldout.channels) or ()


def _channel_table(factors: Sequence[FactorFigures]) -> Html:
    most = max(len(_channels(factor)) for factor in factors)
    rows = []
    for depth, factor in enumerate(factors):
        cells = [measured(channel.bits_per_dim, channel.standard_error) for channel in _channels(factor)]
        rows.append(_row(depth, factors, [factor.kind, *cells, *["–"] * (most - len(cells))]))
    return _narrow_table(("factor", "kind", *_channel_names(most)), rows)


def _wasted(factor: FactorFigures) -> float | None:
    return factor.heldout.wasted_bits_per_dim if factor.heldout else None


def _wasted_table(evaluation: Evaluation) -> Html:
    factors = evaluation.factors
    most = max(len(_channels(factor)) for factor in factors)
    rows = []
    for depth, factor in enumerate(factors):
        if factor.support != "free":
            continue
        cells: list[object] = ["–", "–"]
        if (figures := factor.heldout) is not None:
            cells = [
                measured(figures.wasted_bits_per_dim, figures.wasted_standard_error),
                measured(figures.wasted_bits_per_dim_of_image, figures.wasted_standard_error_of_image),
            ]
        cells += [measured(each.wasted_bits_per_dim, each.wasted_standard_error) for each in _channels(factor)]
        rows.append(_row(depth, factors, [*cells, *["–"] * (2 + most - len(cells))]))
    total = measured(evaluation.wasted_bits_per_dim.get("heldout"), evaluation.wasted_standard_error.get("heldout"))
    cells = [tag("td", cell) for cell in ("", total, *[""] * most)]
    rows.append(tag("tr", tag("th", "whole model", scope="row"), *cells, class_="total"))
    return _narrow_table(("factor", "own size", "share", *_channel_names(most)), rows)


def _row(depth: int, factors: Sequence[FactorFigures], cells: Sequence[object]) -> Html:
    """A factor's row."""
    name = join(factor_term(depth, len(factors)), " ", tag("small", factors[depth].factor))
    return tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells))


def _channel_names(count: int) -> list[str]:
    return [f"channel {number}" for number in range(count)]


def _narrow_table(names: Sequence[str], rows: Sequence[Html]) -> Html:
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in names)))
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll narrow")
