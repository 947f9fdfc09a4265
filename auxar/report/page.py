"""The report's page, section by section. A section without its data says so in a sentence."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from importlib import resources

from auxar.evaluation.records import Evaluation, Exactness, FactorFigures
from auxar.report.charts import LIMIT, loss_chart
from auxar.report.markup import Html, join, tag
from auxar.report.reading import Picture, Run, Samples
from auxar.report.tables import likelihoods
from auxar.report.words import (
    absence,
    bits_words,
    duration,
    factor_term,
    measured,
    mixed_levels,
    plural,
    short_count,
    size_words,
    uncertainty,
    view_symbol,
)

RULES = {
    "ancestral": "exact draws from the model",
    "reduced": "log-scales lowered by {reduction:g} before drawing",
    "map": "the mode of a drawn mixture component at every pixel",
}
WEIGHTS = {
    "ema": ("EMA", "running average of the weights"),
    "last": ("last", "weights of the last step"),
    "mixed": ("mixed", "averages for some factors, weights of the last step for others"),
}
KINDS = {"bound": "a bound: the images' own are at most this", "exact": "exact: the images' own"}
DRAWN_KINDS = {
    "bound": "a bound: the images' own are at most this",
    "exact": "exact: the images' own",
}


def page(run: Run) -> str:
    """The whole page. It asks for nothing outside itself, and its policy forbids the browser to."""
    style = _resource("style.css")
    script = _resource("script.js")
    policy = f"default-src 'none'; img-src data:; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{run.name} – auxar"),
        # Keeps browsers from asking a server for an icon.
        tag("link", rel="icon", href="data:,"),
        tag("style", style),
    )
    body = tag(
        "body",
        tag(
            "main",
            _header(run),
            _samples(run),
            _figures(run),
            likelihoods(run.evaluation),
            _curves(run),
            _data(run.evaluation),
            _recipe(run.recipe),
        ),
        tag("script", script),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(run: Run) -> Html:
    return tag(
        "header",
        tag("h1", run.name),
        _formula(len(run.factors)) if run.factors else None,
        _sizes(run.evaluation.factors) if run.evaluation else None,
        _numbers(run.evaluation)
        if run.evaluation
        else absence("This run has not been evaluated yet, so there are no bits/dim of held-out images."),
        absence("The whole model has no bits/dim yet, because not all of its factors are trained.")
        if run.evaluation and run.evaluation.bits_per_dim.get("heldout") is None
        else None,
    )


def _numbers(evaluation: Evaluation) -> Html:
    bits, error = evaluation.bits_per_dim, evaluation.standard_error
    name, meaning = WEIGHTS[evaluation.weights]
    parameters = [factor.parameters for factor in evaluation.factors]
    cards = []
    if bits.get("heldout") is not None:
        kind = KINDS[evaluation.kind]
        wasted = evaluation.wasted_bits_per_dim.get("heldout")
        if evaluation.kind == "bound" and wasted is not None:
            kind += f"; {bits_words(wasted)} of them are wasted by free decoders"
        cards.append(
            _card("Held-out images", measured(bits.get("heldout"), error.get("heldout"), "bits/dim"), kind, "first")
        )
    if bits.get("training") is not None:
        words = f"{uncertainty(error.get('training'))} bits/dim, {evaluation.kind}".strip()
        cards.append(_card("Training images", bits_words(bits.get("training")), words))
    if (count := evaluation.images.get("heldout")) is not None:
        cards.append(_card("Evaluated on", f"{count:,}", "held-out images"))
    cards.append(_card("Weights", name, meaning))
    if all(parameters):
        networks = "network" if len(parameters) == 1 else "networks"
        cards.append(_card("Parameters", short_count(sum(parameters)), f"in {len(parameters)} {networks}"))
    return tag("dl", *cards, class_="numbers")


def _card(title: str, value: object, note: str, class_: str | None = None) -> Html:
    return tag("div", tag("dt", title), tag("dd", value), tag("dd", note), class_=class_)


def _samples(run: Run) -> Html:
    figures = []
    if run.sheet:
        caption = "How these samples were drawn is not recorded."
        tiles = None
        if run.samples:
            kind = run.samples.kind or (run.evaluation.kind if run.evaluation else None)
            likely = _likely(run.samples, kind, views=len(run.factors) > 1)
            caption = " ".join(filter(None, [_drawn(run.samples), likely]))
            tiles = _tiles(run.samples, kind)
        figures.append(_figure("Sampled images", run.sheet, "Sheet of sampled images", caption, tiles))
    if run.growth:
        caption = (
            "A row is one sampled image: its coarsest view on the left, and to the right each finer image, drawn given "
            "the one before it."
        )
        figures.append(
            _figure("From coarse to fine", run.growth, "Sampled images, from their coarsest view to the image", caption)
        )
    missing = None
    if run.too_large:
        missing = absence(f"Too large to be shown on this page: {', '.join(run.too_large)}.")
    elif not run.sheet:
        missing = absence("No samples have been drawn yet.")
    elif not run.growth and len(run.factors) > 1:
        missing = absence("There is no picture of how these samples grew from coarse to fine.")
    return tag(
        "section",
        tag("h2", "Samples"),
        tag("div", *figures, class_="pictures") if figures else None,
        missing,
    )


def _figures(run: Run) -> Html | None:
    if not run.figures:
        return None
    pictures = [_figure(entry.title, picture, entry.title, entry.caption) for entry, picture in run.figures]
    return tag("section", tag("h2", "Figures"), tag("div", *pictures, class_="pictures"))


def _drawn(samples: Samples) -> str:
    meaning = RULES.get(samples.rule, "").format(reduction=samples.reduction)
    if samples.rule == "ancestral" and samples.temperature != 1.0:
        meaning = "draws from the model's distributions at another temperature"
    parts = [
        f"{samples.count:,} {'sample' if samples.count == 1 else 'samples'}",
        f"rule ‘{samples.rule}’" + (f" ({meaning})" if meaning else ""),
        f"seed {samples.seed}",
    ]
    if samples.temperature != 1.0:
        parts.append(f"temperature {samples.temperature:g}")
    if samples.sampler:
        parts.append(f"sampler ‘{samples.sampler}’")
    if samples.seconds is not None:
        parts.append(f"drawn in {duration(samples.seconds)}")
    return ", ".join(parts) + "."


def _likely(samples: Samples, kind: Exactness | None, *, views: bool) -> str | None:
    """How likely the drawn images are, each together with its drawn views if there are any."""
    scores = [score for score in samples.bits_per_dim or () if math.isfinite(score)]
    if not scores:
        return None
    words = f"They have {bits_words(min(scores))} to {bits_words(max(scores))} bits/dim"
    return words + (", each with its drawn views" if views else "") + (f" ({DRAWN_KINDS[kind]})." if kind else ".")


def _tiles(samples: Samples, kind: Exactness | None) -> str | None:
    """For the read-out where the pointer is: how many images are side by side, and the bits/dim of each."""
    if samples.columns is None or samples.columns < 1 or not samples.bits_per_dim:
        return None
    unit = f"bits/dim, {kind}" if kind else "bits/dim"
    return json.dumps([samples.columns, [_rounded(score) for score in samples.bits_per_dim], unit])


def _rounded(score: float) -> float | None:
    """What is not finite has no place in JSON."""
    return round(score, 3) if math.isfinite(score) else None


def _figure(title: str, picture: Picture, alternative: str, caption: str, tiles: str | None = None) -> Html:
    source = f"data:image/png;base64,{base64.b64encode(picture.content).decode()}"
    image = tag(
        "img",
        src=source,
        width=picture.width,
        height=picture.height,
        alt=f"{alternative}. {caption}",
        class_="pixels",
        data_tiles=tiles,
    )
    return tag("figure", tag("h3", title), image, tag("figcaption", caption))


def _curves(run: Run) -> Html:
    parts: list[Html | None] = [tag("h2", "Training")]
    names = [*run.factors, *(name for name in run.curves if name not in run.factors)]
    known = {factor.factor: factor for factor in run.evaluation.factors} if run.evaluation else {}
    figures, missing = [], []
    for depth, name in enumerate(names):
        heldout = known[name].heldout if name in known else None
        curve = run.curves.get(name)
        chart = loss_chart(name, curve.bits_per_dim, heldout.bits_per_dim if heldout else None) if curve else None
        if curve is None or chart is None:
            missing.append(name)
            continue
        term = factor_term(depth, len(run.factors)) if name in run.factors else None
        facts = [f"{max(curve.bits_per_dim):,} steps"]
        if curve.seconds is not None:
            facts.append(f"{duration(curve.seconds)} of training")
        if chart.above:
            facts.append(f"{plural(chart.above, 'early value')} above the chart")
        if chart.not_drawn:
            facts.append(f"{plural(chart.not_drawn, 'value')} not drawn: not finite, or beyond {LIMIT:,.0f} bits/dim")
        kind = f", {known[name].kind}" if heldout else ""
        title = tag("h3", term, " " if term else None, tag("small", f"{name}{kind}"))
        figures.append(tag("figure", title, chart.svg, tag("figcaption", "; ".join(facts) + ".")))
    if figures:
        heldout_key = any(factor.heldout for factor in known.values())
        parts.append(_legend(heldout_key))
        parts.append(tag("div", *figures, class_="charts"))
    if missing:
        sentence = f"No training metrics yet for: {', '.join(missing)}."
        parts.append(absence(sentence if figures else "There are no training metrics yet."))
    elif not figures:
        parts.append(absence("There are no training metrics yet."))
    return tag("section", *parts)


def _legend(heldout: bool) -> Html:
    def key(class_: str, meaning: str) -> Html:
        line = tag("line", x1=0, x2=28, y1=6, y2=6, class_=class_)
        return tag("span", tag("svg", line, viewBox="0 0 28 12", class_="key", aria_hidden="true"), meaning)

    keys = [
        key("raw", "as logged"),
        key("smooth", "running mean"),
        key("heldout", "held-out images, evaluated at the end") if heldout else None,
    ]
    lead = tag("p", "bits/dim of the factor’s own size against optimizer step.", class_="soft")
    return join(lead, tag("p", *(join(child, " ") for child in keys), class_="soft legend"))


def _data(evaluation: Evaluation | None) -> Html:
    if evaluation is None:
        return tag("section", tag("h2", "Data"), absence("What the data was is recorded when a run is evaluated."))
    data, images = evaluation.data, evaluation.images
    used = [
        f"{count:,} {name}"
        for key, name in (("heldout", "held-out"), ("training", "training"))
        if (count := images.get(key))
    ]
    facts = {
        "Path": tag("code", data.path),
        "Fingerprint": tag("code", data.fingerprint) if data.fingerprint else "not recorded",
        "Images evaluated": " and ".join(used) or "none",
        "Images skipped": f"{data.skipped:,} that could not be read" if data.skipped else "none",
    }
    terms = [join(tag("dt", name), tag("dd", value)) for name, value in facts.items()]
    return tag("section", tag("h2", "Data"), tag("dl", *terms, class_="facts"))


def _recipe(recipe: str | None) -> Html:
    if recipe is None:
        return tag("section", tag("h2", "Recipe"), absence("This run's folder holds no recipe."))
    return tag("details", tag("summary", "Recipe"), tag("pre", tag("code", recipe)), open=True)


def _formula(count: int) -> Html:
    """p(X₀ | X₁) … p(X_K) with count = K + 1 factors, and what it is the factorization of."""
    if count == 1:
        return tag("p", tag("span", factor_term(0, 1)), class_="formula")
    whole = tag("span", "p(", view_symbol(0), ", …, " if count > 2 else ", ", view_symbol(count - 1), ") =")
    terms = [tag("span", factor_term(depth, count)) for depth in range(count)]
    return tag("p", whole, *(join(" ", term) for term in terms), class_="formula")


def _sizes(factors: Sequence[FactorFigures]) -> Html:
    parts: list[object] = []
    for depth, factor in enumerate(factors):
        symbol = view_symbol(depth) if len(factors) > 1 else tag("i", "X")
        parts += [", " if depth else None, tag("span", symbol, " ", size_words(factor.image, factors))]
    common = "" if mixed_levels(factors) else f", {factors[0].image.levels} levels" if factors else ""
    return tag("p", *parts, common, class_="sizes soft")


def _resource(name: str) -> Html:
    """A file of this package, to stand in the page as it is."""
    return Html(resources.files(__package__).joinpath(name).read_text("utf-8"))


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
