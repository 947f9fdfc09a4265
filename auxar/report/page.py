"""Builds the report page of a run, section by section. A section without data says so or is omitted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import FactorFacts
from auxar.report import words
from auxar.report.charts import LIMIT, loss_chart
from auxar.report.evaluation_tables import report_tables
from auxar.report.html import Html, absence, document, join, resource, tag
from auxar.report.html_tables import measured, notes, symbol, table, term
from auxar.report.pictures import figures_section, samples_section, strips_section
from auxar.report.reading import RunContent
from auxar.report.tables import Table

PAGE = "report"
"""The kind of this page."""
DIGITS = words.DIGITS_ON_A_RUNS_PAGE


def page(run: RunContent) -> str:
    """Returns the report page of a run as an HTML document. The page also works without JavaScript."""
    main = tag(
        "main",
        _header(run),
        samples_section(run),
        figures_section(run),
        _likelihoods(run.evaluation, run.others),
        _curves(run),
        strips_section(run),
        _data(run.evaluation),
        _recipe(run.recipe),
    )
    return document(PAGE, run.name, main, style=resource("style.css"), script=resource("script.js"))


def _header(run: RunContent) -> Html:
    return tag(
        "header",
        tag("h1", run.name),
        _meaning(run.evaluation) if run.evaluation else None,
        _numbers(run.evaluation)
        if run.evaluation
        else absence("This run has not been evaluated yet, so its bits/dim on held-out images are unknown."),
        absence("The bits/dim of the whole model are unknown until all of its factors are trained.")
        if run.evaluation and run.evaluation.bits_per_dim().value is None
        else None,
        _networks(len(run.factors)) if run.factors else None,
        _formula(len(run.factors)) if run.factors else None,
        _sizes(run.evaluation.factors) if run.evaluation else None,
    )


def _meaning(evaluation: Evaluation) -> Html | None:
    """A paragraph that explains the held-out bits/dim in plain words. None if they are unknown."""
    bits, image = evaluation.bits_per_dim().value, evaluation.image
    if bits is None:
        return None
    channels = words.plural(image.channels, "channel")
    at_most = "at most " if evaluation.kind == "bound" else ""
    return tag(
        "p",
        f"On average, this model encodes each sub-pixel of a held-out image in {at_most}",
        tag("strong", words.number(bits, DIGITS), " bits"),
        f". An image has {image.dims:,} sub-pixels "
        f"({image.height} × {image.width} pixels with {channels}). Uncompressed, a sub-pixel takes "
        f"{math.log2(image.levels):.3g} bits. Fewer bits mean that the model predicts unseen images better.",
        class_="lead",
    )


def _networks(count: int) -> Html:
    """A sentence that explains the factorization. It ends with a colon, and the formula follows it."""
    if count == 1:
        text = "The model predicts the image pixel by pixel, each pixel from the earlier pixels:"
    else:
        text = (
            f"The model is a product of {count} factors. The last factor predicts the last view of the image pixel by "
            "pixel. Every other factor predicts the image, or a view, given the next view:"
        )
    return tag("p", text, class_="soft networks")


def _numbers(evaluation: Evaluation) -> Html:
    heldout, training = evaluation.figures("heldout"), evaluation.bits_per_dim("training")
    weights = words.weights(evaluation)
    parameters = [factor.parameters for factor in evaluation.factors]
    cards = []
    if heldout.own is not None:
        kind, bits = str(words.KINDS[evaluation.kind]), heldout.bits_per_dim
        if evaluation.kind == "bound" and heldout.wasted.value is not None:
            kind += f"; {words.wasted(heldout.wasted.value, DIGITS)}"
        score = measured(bits.value, bits.error, "bits/dim", DIGITS)
        cards.append(_card("Held-out images", score, kind, "first"))
    if training.value is not None:
        kind = words.KINDS[evaluation.kind].name
        note = f"{words.uncertainty(training.error, DIGITS)} bits/dim, {kind}".strip()
        cards.append(_card("Training images", words.number(training.value, DIGITS), note))
    if evaluation.condition is not None:
        note = "; ".join(words.condition(evaluation)) or "given to every factor"
        cards.append(_card("Condition", evaluation.condition, note))
    if (count := evaluation.images.get("heldout")) is not None:
        cards.append(_card("Evaluated on", f"{count:,}", "held-out images"))
    cards.append(_card("Weights", weights.name, weights.meaning))
    if all(parameters):
        factors = words.plural(len(parameters), "factor")
        cards.append(_card("Parameters", words.short_count(sum(parameters)), f"in {factors}"))
    return tag("dl", *cards, class_="numbers")


def _card(title: str, value: object, note: str, class_: str | None = None) -> Html:
    return tag("div", tag("dt", title), tag("dd", value), tag("dd", note), class_=class_)


def _likelihoods(evaluation: Evaluation | None, others: Sequence[Evaluation]) -> Html | None:
    if evaluation is None:
        return None
    untrained = evaluation.missing("heldout")
    parts: list[Html | None] = []
    if untrained:
        parts.append(absence(f"These factors are not trained yet, so they have no likelihood: {', '.join(untrained)}."))
    whole, *below = report_tables(evaluation)
    if len(untrained) < len(evaluation.factors):
        parts += (table(whole, DIGITS), notes(whole), _overfitting(evaluation))
        for other in others:
            text = words.cost_of(other, evaluation)
            parts.append(tag("p", f"{text[0].upper()}{text[1:]}.", class_="soft"))
        parts += map(_below, below)
    return tag("section", tag("h2", whole.title), *parts)


def _overfitting(evaluation: Evaluation) -> Html | None:
    """A sentence with the bits/dim of held-out images minus those of training images. None if they are unknown."""
    if "training" not in evaluation.images:
        return absence("Training images were not evaluated, so overfitting cannot be judged.")
    difference = evaluation.difference()
    if difference.value is None:
        return None
    score = measured(difference.value, difference.error, "bits/dim", DIGITS)
    kinds = "two bounds" if evaluation.kind == "bound" else "two exact figures"
    return tag("p", "Held-out minus training images: ", score, f", a difference of {kinds}.", class_="soft")


def _below(content: Table) -> Html:
    """A table with its title and notes, shown below another table of the section."""
    return join(tag("h3", content.title, class_="below"), table(content, DIGITS, narrow=True), notes(content))


def _curves(run: RunContent) -> Html:
    parts: list[Html | None] = [tag("h2", "Training")]
    names = [*run.factors, *(name for name in run.curves if name not in run.factors)]
    known = {factor.factor: factor for factor in run.evaluation.factors} if run.evaluation else {}
    charts, undrawn, validated = [], [], False
    for depth, name in enumerate(names):
        bits = run.evaluation.bits_per_dim("heldout", name).value if run.evaluation and name in known else None
        curve = run.curves.get(name)
        kept = known[name].steps if name in known else None
        chart = loss_chart(name, curve.bits_per_dim, bits, curve.validation, kept) if curve else None
        if curve is None or chart is None:
            undrawn.append(name)
            continue
        validated = validated or bool(curve.validation)
        notation = term(depth, len(run.factors)) if name in run.factors else None
        facts = [f"{max(curve.bits_per_dim):,} steps", *(_choice(known[name]) if name in known else ())]
        facts.append(f"{words.duration(curve.seconds)} of training")
        if chart.above:
            facts.append(f"{words.plural(chart.above, 'early value')} above the top of the chart")
        if chart.not_drawn:
            facts.append(
                f"{words.plural(chart.not_drawn, 'value')} not drawn (not finite, or outside ±{LIMIT:,.0f} bits/dim)"
            )
        if name in known and (parts_of_training := words.history(known[name].history)):
            facts.append(parts_of_training)
        kind = "" if bits is None else f", {known[name].kind}"
        title = tag("h3", notation, " " if notation else None, tag("small", f"{name}{kind}"))
        charts.append(tag("figure", title, chart.svg, tag("figcaption", "; ".join(facts) + ".")))
    if charts:
        heldout_key = run.evaluation is not None and "heldout" in run.evaluation.images
        parts.append(_legend(heldout_key, validated))
        parts.append(tag("div", *charts, class_="charts"))
    if undrawn:
        sentence = f"There are no training metrics yet for these factors: {', '.join(undrawn)}."
        parts.append(absence(sentence if charts else "There are no training metrics yet."))
    elif not charts:
        parts.append(absence("There are no training metrics yet."))
    return tag("section", *parts)


def _choice(factor: FactorFacts) -> Iterator[str]:
    """Phrases about the end of training and the choice of weights, if validation images have determined them."""
    if factor.stopped_early:
        yield "stopped early"
    if factor.kept == "best":
        yield f"weights of step {factor.steps:,}, the best by validation images"


def _legend(heldout: bool, validation: bool) -> Html:
    def key(class_: str, meaning: str) -> Html:
        sign = tag("line", x1=0, x2=28, y1=6, y2=6, class_=class_)
        if class_ == "kept":
            sign = tag("circle", cx=14, cy=6, r=4, class_=class_)
        return tag("span", tag("svg", sign, viewBox="0 0 28 12", class_="key", aria_hidden="true"), meaning)

    keys = [
        key("raw", "logged values"),
        key("smooth", "running mean"),
        key("validation", "validation images, evaluated during training") if validation else None,
        key("kept", "step of the weights that are used") if validation else None,
        key("heldout", "held-out images, evaluated at the end") if heldout else None,
    ]
    text = "Training loss by optimizer step, in bits/dim (per sub-pixel of the factor’s own image)."
    lead = tag("p", text, class_="soft")
    return join(lead, tag("p", *(join(child, " ") for child in keys), class_="soft legend"))


def _data(evaluation: Evaluation | None) -> Html:
    if evaluation is None:
        return tag("section", tag("h2", "Data"), absence("The data set is recorded when the run is evaluated."))
    data = evaluation.data
    used = [f"{count:,} {words.SETS[images]}" for images, count in evaluation.images.items()]
    facts = {
        "Path": tag("code", data.path),
        "Fingerprint": tag("code", data.fingerprint),
        "Images evaluated": " and ".join(used) or "none",
        "Images skipped": f"{data.skipped:,} (unreadable)" if data.skipped else "none",
    }
    terms = [join(tag("dt", name), tag("dd", value)) for name, value in facts.items()]
    return tag("section", tag("h2", "Data"), tag("dl", *terms, class_="facts"))


def _recipe(recipe: str | None) -> Html:
    if recipe is None:
        return tag("section", tag("h2", "Recipe"), absence("The run's folder contains no recipe."))
    return tag("details", tag("summary", "Recipe"), tag("pre", tag("code", recipe)), open=True)


def _formula(count: int) -> Html:
    """The formula p(X₀, …, X_K) = p(X₀ | X₁) … p(X_K) of a model with count = K + 1 factors, or p(X) for one factor."""
    if count == 1:
        return tag("p", tag("span", term(0, 1)), class_="formula")
    whole = tag("span", "p(", symbol(0), ", …, " if count > 2 else ", ", symbol(count - 1), ") =")
    terms = [tag("span", term(depth, count)) for depth in range(count)]
    return tag("p", whole, *(join(" ", child) for child in terms), class_="formula")


def _sizes(factors: Sequence[FactorFacts]) -> Html:
    parts: list[object] = []
    images = [factor.image for factor in factors]
    for depth, image in enumerate(images):
        name = symbol(depth) if len(factors) > 1 else tag("i", "X")
        levels = words.levels_where_mixed(image, images)
        remark = tag("small", " ", levels) if levels else None
        parts += [", " if depth else None, tag("span", name, " ", image.size, remark)]
    common = "" if words.mixed_levels(images) else f", {images[0].levels} levels"
    return tag("p", "Sizes: ", *parts, common, class_="sizes soft")
