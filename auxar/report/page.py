"""Builds the report page of a run. A section without data says so or is omitted."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
from markupsafe import Markup

from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import FactorFacts
from auxar.evaluation.figures import Mean
from auxar.report import pictures, words
from auxar.report.charts import LIMIT, Chart, loss_chart
from auxar.report.evaluation_tables import report_tables
from auxar.report.html import document, render, resource
from auxar.report.reading import RunContent
from auxar.report.tables import FactorName
from auxar.runs.metrics import Curve

PAGE = "report"
"""The kind of this page."""
DIGITS = words.DIGITS_ON_A_RUNS_PAGE


def page(run: RunContent) -> str:
    """Returns the report page of a run as an HTML document. The page also works without JavaScript."""
    evaluation = run.evaluation
    names = [factor.name for factor in run.factors]
    charts = [(name, run.curves.get(name)) for name in dict.fromkeys([*names, *run.curves])]
    drawn = {name: chart for name, curve in charts if curve and (chart := _chart(run, name, curve))}
    main = render(
        "report.html",
        run=run,
        digits=DIGITS,
        uncompressed=f"{math.log2(evaluation.image.levels):.3g}" if evaluation else None,
        cards=[*_cards(evaluation)] if evaluation else [],
        samples=[*pictures.sheets(run)],
        growth=[*pictures.growth(run)],
        missing=pictures.missing(run),
        figures=[pictures.Figure(entry.title, picture, entry.caption) for entry, picture in run.figures],
        tables=report_tables(evaluation) if evaluation else [],
        difference=evaluation and _score(evaluation.difference()),
        strips=[(factor, run.strips[factor.name]) for factor in run.factors if factor.name in run.strips],
        charts=[*drawn.values()],
        validated=any(run.curves[name].validation for name in drawn),
        undrawn=[name for name, _ in charts if name not in drawn],
    )
    return document(PAGE, run.name, main, script=resource("script.js"))


def _score(mean: Mean) -> tuple[str, str]:
    """A mean in bits/dim, and the remark in smaller type that follows it."""
    return words.number(mean.value, DIGITS), f"{words.uncertainty(mean.error, DIGITS)} bits/dim".strip()


def _cards(evaluation: Evaluation) -> Iterator[tuple[str, str, str, str]]:
    """The title, text, remark and note of each card at the top of the page."""
    heldout, training = evaluation.figures("heldout"), evaluation.bits_per_dim("training")
    kind, weights = words.kind(evaluation.kind, evaluation.condition), words.weights(evaluation)
    parameters = [factor.parameters for factor in evaluation.factors]
    if heldout.own is not None:
        wasted = heldout.wasted.value if evaluation.kind == "bound" else None
        note = str(kind) if wasted is None else f"{kind}; {words.wasted(wasted, DIGITS)}"
        yield ("Held-out images", *_score(heldout.bits_per_dim), note)
    if training.value is not None:
        text, remark = _score(training)
        yield "Training images", text, "", f"{remark}, {kind.name}"
    if evaluation.condition is not None:
        yield "Condition", evaluation.condition, "", "; ".join(words.condition(evaluation)) or "given to every factor"
    if (count := evaluation.images.get("heldout")) is not None:
        yield "Evaluated on", f"{count:,}", "", "held-out images"
    yield "Weights", weights.name, "", weights.meaning
    if all(parameters):
        text = words.short_count(sum(parameters))
        yield "Parameters", text, "", f"in {words.plural(len(parameters), 'factor')}"


@attrs.frozen
class _FactorChart:
    """The loss curve of a factor, with its name, title and caption. The name of an unknown factor is None."""

    svg: Markup
    factor: FactorName | None
    title: str
    caption: str


def _chart(run: RunContent, name: str, curve: Curve) -> _FactorChart | None:
    """The chart of a factor; None if no value can be drawn."""
    factors = {factor.factor: factor for factor in run.evaluation.factors} if run.evaluation else {}
    known = factors.get(name)
    bits = run.evaluation.bits_per_dim("heldout", name).value if run.evaluation and known else None
    chart = loss_chart(name, curve.bits_per_dim, bits, curve.validation, known.steps if known else None)
    if chart is None:
        return None
    title = name if known is None or bits is None else f"{name}, {known.kind}"
    factor = next((factor for factor in run.factors if factor.name == name), None)
    return _FactorChart(chart.svg, factor, title, f"{'; '.join(_facts(chart, curve, known))}.")


def _facts(chart: Chart, curve: Curve, factor: FactorFacts | None) -> Iterator[str]:
    """Phrases about the training of a factor, and about values that its chart does not show."""
    yield f"{max(curve.bits_per_dim):,} steps"
    if factor and factor.stopped_early:
        yield "stopped early"
    if factor and factor.kept == "best":
        yield f"weights of step {factor.steps:,}, the best by validation images"
    yield f"{words.duration(curve.seconds)} of training"
    if chart.above:
        yield f"{words.plural(chart.above, 'early value')} above the top of the chart"
    if chart.not_drawn:
        yield f"{words.plural(chart.not_drawn, 'value')} not drawn (not finite, or outside ±{LIMIT:,.0f} bits/dim)"
    if factor and (parts := words.history(factor.history)):
        yield parts
