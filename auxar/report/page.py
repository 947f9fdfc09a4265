"""Builds the report page of a run, and the page of a comparison of runs, each as one self-contained HTML page.

A section of the report without data says so or is omitted. The captions of pictures say how they were drawn.
"""

import json
import math
from collections.abc import Iterator

import attrs
from markupsafe import Markup

from auxar.evaluation.comparison import Comparison
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import FactorFacts
from auxar.evaluation.figures import Mean
from auxar.model import FLOAT
from auxar.report import words
from auxar.report.charts import LIMIT, Chart, cost_charts, loss_chart
from auxar.report.comparison_tables import comparison_tables
from auxar.report.evaluation_tables import report_tables
from auxar.report.html import document, render, resource
from auxar.report.reading import Picture, RunContent, Samples
from auxar.report.tables import FactorName
from auxar.runs.metrics import Curve

PAGE, COMPARISON = "report", "comparison"
"""The kinds of pages."""
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
        samples=[*sheets(run)],
        growth=[*growth(run)],
        missing=missing(run),
        figures=[Figure(entry.title, picture, entry.caption) for entry, picture in run.figures],
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
        yield "Parameters", words.short_count(sum(parameters)), "", f"in {words.plural(len(parameters), 'factor')}"


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


def comparison_page(comparison: Comparison) -> str:
    """Returns the comparison as an HTML document, which has no script."""
    title = f"{len(comparison.runs)} runs compared"
    content = {"comparison": comparison, "tables": comparison_tables(comparison), "charts": cost_charts(comparison)}
    return document(COMPARISON, title, render("comparison.html", title=title, **content))


@attrs.frozen
class Figure:
    """A picture with its title and caption."""

    title: str
    picture: Picture
    caption: str
    content: str = attrs.field(default=attrs.Factory(lambda self: self.title, takes_self=True))
    """Alternative text of the picture, for readers who cannot see it; by default its title."""
    tiles: str | None = None
    """JSON for the script that shows the bits/dim of the image under the pointer."""

    @property
    def alternative(self) -> str:
        """The text that stands for the picture if it is not shown."""
        return f"{self.content}. {self.caption}"


def sheets(run: RunContent) -> Iterator[Figure]:
    """The sheets of samples and of held-out images."""
    if run.sheet:
        caption, tiles = "The run does not record how these samples were drawn.", None
        if run.samples:
            likely = _likely(run.samples, run.condition, views=len(run.factors) > 1)
            caption, tiles = " ".join(filter(None, [_drawn(run.samples), likely])), _tiles(run.samples)
        yield Figure("Sampled images", run.sheet, caption, "Sheet of sampled images", tiles)
    if run.heldout:
        caption = "These are real images that the model was not trained on, for comparison with the samples."
        yield Figure("Held-out images", run.heldout, caption, "Sheet of held-out images")


def growth(run: RunContent) -> Iterator[Figure]:
    """The picture of samples from coarse to fine, unless it is one of the run's figures."""
    if run.growth and not _has_growth(run):
        caption = (
            "Each row shows one sample. The last view is on the left, and every other image is drawn given the image "
            "to its left."
        )
        yield Figure("From coarse to fine", run.growth, caption, "Sampled images from coarse to fine")


def missing(run: RunContent) -> str | None:
    """A sentence that says which pictures of samples are missing; None if there are all."""
    if run.too_large:
        return f"These pictures are too large for this page: {', '.join(run.too_large)}."
    if not run.sheet:
        return "No samples have been drawn yet."
    if not run.growth and not _has_growth(run) and len(run.factors) > 1:
        return "The picture of these samples from coarse to fine is missing."
    return None


def _has_growth(run: RunContent) -> bool:
    return any(entry.file == "growth.png" for entry, _ in run.figures)


def _drawn(samples: Samples) -> str:
    parts = [
        words.plural(samples.count, "sample"),
        f"drawing rule ‘{samples.rule.get('name')}’ ({samples.meaning})",
        f"seed {samples.seed}",
        f"sampler ‘{samples.sampler}’",
    ]
    if samples.arithmetic != FLOAT:
        parts.append(f"in {words.ARITHMETICS.get(samples.arithmetic, samples.arithmetic)}")
    parts.append(f"drawn in {words.duration(samples.seconds)}")
    return ", ".join(parts) + "."


def _likely(samples: Samples, condition: str | None, *, views: bool) -> str | None:
    """A sentence with the range of the samples' bits/dim. None if they are not recorded."""
    scores = [score for score in samples.bits_per_dim or () if math.isfinite(score)]
    if not scores:
        return None
    likely = f"Their bits/dim range from {words.number(min(scores), DIGITS)} to {words.number(max(scores), DIGITS)}"
    together = ", each sample together with its drawn views" if views else ""
    return likely + together + (f" ({words.kind(samples.kind, condition)})." if samples.kind else ".")


def _tiles(samples: Samples) -> str | None:
    """JSON for the script that shows the bits/dim of the image under the pointer.

    The list holds the sheet's number of columns, the bits/dim of all images, and the unit. The result is None if the
    columns or the bits/dim are not recorded.
    """
    if samples.columns is None or samples.columns < 1 or not samples.bits_per_dim:
        return None
    unit = f"bits/dim, {samples.kind}" if samples.kind else "bits/dim"
    # JSON cannot represent infinity and NaN.
    scores = [round(score, DIGITS) if math.isfinite(score) else None for score in samples.bits_per_dim]
    return json.dumps([samples.columns, scores, unit])
