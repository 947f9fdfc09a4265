"""The report's page, section by section. A section without its data says so in a sentence."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from auxar.interfaces import ImageSpec
from auxar.report.charts import LIMIT, loss_chart
from auxar.report.markup import Html, join, tag
from auxar.report.reading import Evaluation, Factor, Picture, Run, Samples, Score

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
KINDS = {"bound": "upper bound on the true bits/dim", "exact": "exact: the model's own likelihood"}


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
            _likelihoods(run.evaluation),
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
        else _missing("This run has not been evaluated yet, so there are no bits/dim of held-out images."),
        _missing("The whole model has no bits/dim yet, because not all of its factors are trained.")
        if run.evaluation and run.evaluation.bits_per_dim.heldout is None
        else None,
    )


def _numbers(evaluation: Evaluation) -> Html:
    bits, error = evaluation.bits_per_dim, evaluation.standard_error
    name, meaning = WEIGHTS[evaluation.weights]
    parameters = [factor.parameters for factor in evaluation.factors if factor.parameters is not None]
    cards = []
    if bits.heldout is not None:
        kind = KINDS[evaluation.kind]
        cards.append(_card("Held-out images", _measured(bits.heldout, error.heldout, "bits/dim"), kind, "first"))
    if bits.training is not None:
        cards.append(_card("Training images", _bits(bits.training), f"{_uncertainty(error.training)} bits/dim".strip()))
    if evaluation.images.heldout is not None:
        cards.append(_card("Evaluated on", f"{evaluation.images.heldout:,}", "held-out images"))
    cards.append(_card("Weights", name, meaning))
    if parameters and len(parameters) == len(evaluation.factors):
        networks = "network" if len(parameters) == 1 else "networks"
        cards.append(_card("Parameters", _short(sum(parameters)), f"in {len(parameters)} {networks}"))
    return tag("dl", *cards, class_="numbers")


def _card(title: str, value: object, note: str, class_: str | None = None) -> Html:
    return tag("div", tag("dt", title), tag("dd", value), tag("dd", note), class_=class_)


def _samples(run: Run) -> Html:
    figures = []
    if run.sheet:
        caption = _drawn(run.samples) if run.samples else "How these samples were drawn is not recorded."
        figures.append(_figure("Sampled images", run.sheet, "Sheet of sampled images", caption))
    if run.growth:
        caption = (
            "A row is one sampled image: its coarsest view on the left, and to the right each finer level, drawn given "
            "the one before it."
        )
        figures.append(_figure("From coarse to fine", run.growth, "Sampled images, level by level", caption))
    missing = None
    if not run.sheet:
        missing = _missing("No samples have been drawn yet.")
    elif not run.growth and len(run.factors) > 1:
        missing = _missing("There is no picture of how these samples grew from coarse to fine.")
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
        parts.append(f"drawn in {_duration(samples.seconds)}")
    return ", ".join(parts) + "."


def _figure(title: str, picture: Picture, alternative: str, caption: str) -> Html:
    source = f"data:image/png;base64,{base64.b64encode(picture.content).decode()}"
    image = tag(
        "img", src=source, width=picture.width, height=picture.height, alt=f"{alternative}. {caption}", class_="pixels"
    )
    return tag("figure", tag("h3", title), image, tag("figcaption", caption))


def _likelihoods(evaluation: Evaluation | None) -> Html | None:
    if evaluation is None:
        return None
    untrained = [factor.factor for factor in evaluation.factors if factor.heldout is None]
    trained = len(untrained) < len(evaluation.factors)
    parts: list[Html | None] = []
    if untrained:
        parts.append(_missing(f"Not trained yet, and so without a likelihood: {', '.join(untrained)}."))
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
        if all(factor.training is None for factor in evaluation.factors):
            parts.append(_missing("Training images were not evaluated, so there is nothing to compare with."))
        if len(evaluation.factors) > 1:
            parts.append(tag("h3", "By resolution, coarsest to finest", class_="below"))
            parts.append(_resolution_table(evaluation.factors))
            parts.append(
                tag(
                    "p",
                    "Held-out bits/dim of a level together with all coarser ones, over that level’s sub-pixels.",
                    class_="soft",
                )
            )
    return tag("section", tag("h2", "Bits/dim by factor"), *parts)


def _factor_table(evaluation: Evaluation) -> Html:
    factors = evaluation.factors
    groups = {"heldout": "held-out"}
    if any(factor.training for factor in factors):
        groups["training"] = "training"
    first = tag("th", "factor", scope="col", rowspan=2)
    last = [tag("th", name, scope="col", rowspan=2) for name in ("size", "parameters", "steps")]
    over = [tag("th", name, scope="colgroup", colspan=2) for name in groups.values()]
    under = [tag("th", name, scope="col") for _ in groups for name in ("own size", "share")]
    head = tag("thead", tag("tr", first, *over, *last), tag("tr", *under, class_="under"))

    rows = []
    for level, factor in enumerate(factors):
        cells: list[object] = []
        for group in groups:
            score: Score | None = getattr(factor, group)
            cells.append(_measured(score.bits_per_dim, score.standard_error) if score else "–")
            cells.append(_bits(score.bits_per_dim_of_image) if score else "–")
        cells += [_size(factor.image, factors), _count(factor.parameters), _count(factor.steps)]
        name = join(_term(level, len(factors)), " ", tag("small", factor.factor))
        rows.append(tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells)))
    totals = [
        tag(
            "td",
            _measured(getattr(evaluation.bits_per_dim, group), getattr(evaluation.standard_error, group)),
            colspan=2,
        )
        for group in groups
    ]
    whole = tag("th", "whole model", scope="row")
    rows.append(tag("tr", whole, *totals, tag("td", colspan=3), class_="total"))
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll")


def _resolution_table(factors: Sequence[Factor]) -> Html:
    coarsest_first = list(reversed(factors))
    scores = [factor.heldout.cumulative_bits_per_dim if factor.heldout else None for factor in coarsest_first]
    sizes = (tag("th", _resolution(factor.image, factors), scope="col") for factor in coarsest_first)
    table = tag(
        "table",
        tag("thead", tag("tr", tag("th", "Res.", scope="row"), *sizes)),
        tag("tbody", tag("tr", tag("th", "Bpd", scope="row"), *(tag("td", _bits(score)) for score in scores))),
    )
    return tag("div", table, class_="scroll narrow")


def _curves(run: Run) -> Html:
    parts: list[Html | None] = [tag("h2", "Training")]
    names = [*run.factors, *(name for name in run.curves if name not in run.factors)]
    known = {factor.factor: factor for factor in run.evaluation.factors} if run.evaluation else {}
    figures, missing = [], []
    for level, name in enumerate(names):
        heldout = known[name].heldout if name in known else None
        curve = run.curves.get(name)
        chart = loss_chart(name, curve.bits_per_dim, heldout.bits_per_dim if heldout else None) if curve else None
        if curve is None or chart is None:
            missing.append(name)
            continue
        term = _term(level, len(run.factors)) if name in run.factors else None
        facts = [f"{max(curve.bits_per_dim):,} steps"]
        if curve.seconds is not None:
            facts.append(f"{_duration(curve.seconds)} of training")
        if chart.above:
            facts.append(f"{_plural(chart.above, 'early value')} above the chart")
        if chart.not_drawn:
            facts.append(f"{_plural(chart.not_drawn, 'value')} not drawn: not finite, or beyond {LIMIT:,.0f} bits/dim")
        title = tag("h3", term, " " if term else None, tag("small", name))
        figures.append(tag("figure", title, chart.svg, tag("figcaption", "; ".join(facts) + ".")))
    if figures:
        heldout_key = any(factor.heldout for factor in known.values())
        parts.append(_legend(heldout_key))
        parts.append(tag("div", *figures, class_="charts"))
    if missing:
        sentence = f"No training metrics yet for: {', '.join(missing)}."
        parts.append(_missing(sentence if figures else "There are no training metrics yet."))
    elif not figures:
        parts.append(_missing("There are no training metrics yet."))
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
        return tag("section", tag("h2", "Data"), _missing("What the data was is recorded when a run is evaluated."))
    data, images = evaluation.data, evaluation.images
    used = [
        f"{count:,} {name}" for count, name in ((images.heldout, "held-out"), (images.training, "training")) if count
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
        return tag("section", tag("h2", "Recipe"), _missing("This run's folder holds no recipe."))
    return tag("details", tag("summary", "Recipe"), tag("pre", tag("code", recipe)), open=True)


def _formula(count: int) -> Html:
    """p(X₀ | X₁) … p(X_K) with count = K + 1 factors, and what it is the factorisation of."""
    if count == 1:
        return tag("p", tag("span", _term(0, 1)), class_="formula")
    whole = tag("span", "p(", _symbol(0), ", …, " if count > 2 else ", ", _symbol(count - 1), ") =")
    terms = [tag("span", _term(level, count)) for level in range(count)]
    return tag("p", whole, *(join(" ", term) for term in terms), class_="formula")


def _term(level: int, count: int) -> Html:
    """One factor of a model with `count` of them."""
    if count == 1:
        return Html("p(<i>X</i>)")
    if level == count - 1:
        return tag("span", "p(", _symbol(level), ")", class_="whole")
    return tag("span", "p(", _symbol(level), " | ", _symbol(level + 1), ")", class_="whole")


def _symbol(level: int) -> Html:
    return join(tag("i", "X"), tag("sub", level))


def _sizes(factors: Sequence[Factor]) -> Html:
    parts: list[object] = []
    for level, factor in enumerate(factors):
        symbol = _symbol(level) if len(factors) > 1 else tag("i", "X")
        parts += [", " if level else None, tag("span", symbol, " ", _size(factor.image, factors))]
    common = "" if _mixed(factors) else f", {factors[0].image.levels} levels" if factors else ""
    return tag("p", *parts, common, class_="sizes soft")


def _mixed(factors: Sequence[Factor]) -> bool:
    """Whether levels of the chain differ in their number of values per sub-pixel."""
    return len({factor.image.levels for factor in factors}) > 1


def _size(image: ImageSpec, factors: Sequence[Factor]) -> Html:
    """Height × width × channels, with the number of values where that is not the same everywhere."""
    levels = tag("small", f" ({image.levels} levels)") if _mixed(factors) else None
    return join(f"{image.height}×{image.width}×{image.channels}", levels)


def _resolution(image: ImageSpec, factors: Sequence[Factor]) -> Html:
    """Height × width, as the paper's tables have it, or all there is to say where that names two levels."""
    sizes = {(factor.image.height, factor.image.width) for factor in factors}
    return join(f"{image.height}×{image.width}") if len(sizes) == len(factors) else _size(image, factors)


def _bits(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _measured(value: float | None, error: float | None, unit: str = "") -> Html:
    words = [_uncertainty(error) if value is not None else "", unit]
    suffix = " ".join(word for word in words if word)
    return join(_bits(value), tag("small", " ", suffix) if suffix else None)


def _uncertainty(error: float | None) -> str:
    return "" if error is None else f"± {error:.3f}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _short(count: int) -> str:
    """123456 as 123.5 k."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= unit:
            return f"{count / unit:.1f}{name}"
    return str(count)


def _duration(seconds: float) -> str:
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def _missing(sentence: str) -> Html:
    return tag("p", sentence, class_="missing")


def _resource(name: str) -> Html:
    """A file of this package, to stand in the page as it is."""
    return Html(resources.files(__package__).joinpath(name).read_text("utf-8"))


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
