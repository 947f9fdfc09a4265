"""Runs side by side as one page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from auxar.evaluation.comparison import ComparedRun, Comparison, Margin
from auxar.files import replacing
from auxar.interfaces import ImageSpec
from auxar.report.markup import Html, join, tag
from auxar.report.words import WASTED

WEIGHTS = {"ema": "EMA", "last": "last", "mixed": "mixed"}
STYLE = """
.runs { padding-left: 1.5rem; }
.runs li { overflow-wrap: anywhere; margin-bottom: 0.5rem; }
.runs li::marker { font-weight: 600; }
.group th { border-top-width: 2px; padding-bottom: 0; }
.group + tr th, .group + tr td { border-top: 0; }
.member th { font-weight: 400; padding-left: 1.75rem; }
"""


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the page. An older one stays until it is whole. Raises `UserError` if it cannot be written."""
    # Names of files need not be text: what isn't becomes a question mark.
    content = comparison_page(comparison).encode("utf-8", "replace")
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def comparison_page(comparison: Comparison) -> str:
    """The whole page, without a script. Its policy forbids the browser to ask for anything."""
    style = Html(resources.files(__package__).joinpath("style.css").read_text("utf-8") + STYLE)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=f"default-src 'none'; style-src 'sha256-{digest}'"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{len(comparison.runs)} runs compared – auxar"),
        # Keeps browsers from asking a server for an icon.
        tag("link", rel="icon", href="data:,"),
        tag("style", style),
    )
    main = tag(
        "main",
        _header(comparison),
        _totals(comparison),
        _resolutions(comparison),
        _factors(comparison),
        _wasted(comparison),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', main), lang='en')}\n"


def _header(comparison: Comparison) -> Html:
    items = []
    for run in comparison.runs:
        data = run.data
        facts = [f"{run.images:,} held-out images of {data.path}"]
        if data.heldout_fingerprint:
            facts.append(f"fingerprint {data.heldout_fingerprint}")
        notes = [tag("p", note, class_="missing") for note in run.notes]
        items.append(tag("li", tag("strong", run.run), tag("div", "; ".join(facts), class_="soft"), *notes))
    lead = tag("p", f"bits/dim of images {comparison.image}, held out of training.", class_="soft")
    return tag("header", tag("h1", f"{len(comparison.runs)} runs compared"), lead, tag("ol", *items, class_="runs"))


def _totals(comparison: Comparison) -> Html:
    names = ("run", "bits/dim", "kind", "minus run 1", "on", "images", "weights", "parameters", "steps")
    rows = []
    for number, run in enumerate(comparison.runs, start=1):
        cells = (
            _measured(run.bits_per_dim, run.standard_error),
            run.kind,
            _margin(run.margin),
            _basis(run.margin),
            f"{run.images:,}",
            WEIGHTS[run.weights],
            f"{run.parameters:,}",
            run.steps,
        )
        rows.append(_row(_name(number, run), cells))
    return tag(
        "section",
        tag("h2", "In total"),
        _table(names, rows),
        tag(
            "p",
            "± is one standard error over images. “Minus run 1” is the mean difference on the same images, below zero "
            "where a run is better; its standard error leaves out what is hard or easy for both. Unpaired, the means "
            "are of images that need not be the same.",
            class_="soft",
        ),
        tag(
            "p",
            "An exact figure is the image’s own. A bound is that of an image and its views together: the image’s own "
            "bits/dim are at most this.",
            class_="soft",
        ),
    )


def _resolutions(comparison: Comparison) -> Html:
    resolutions = comparison.resolutions
    rows = []
    for number, run in enumerate(comparison.runs, start=1):
        rows.append(_row(_name(number, run), [_together(run, image) for image in resolutions]))
    return tag(
        "section",
        tag("h2", "By resolution"),
        _table(("run", *map(comparison.resolution_name, resolutions)), rows),
        tag(
            "p", "bits/dim of an image or view together with all coarser ones, over its own sub-pixels.", class_="soft"
        ),
    )


def _together(run: ComparedRun, image: ImageSpec) -> Html | str:
    factor = run.factor_of(image)
    if factor is None or factor.heldout is None or factor.heldout.cumulative_bits_per_dim is None:
        return "–"
    figures = factor.heldout
    return join(
        _measured(figures.cumulative_bits_per_dim, figures.cumulative_standard_error),
        tag("small", f" {factor.cumulative_kind}"),
    )


def _factors(comparison: Comparison) -> Html:
    names = ("factor", "kind", "own size", "minus run 1", "share", "", "parameters", "steps")
    rows = []
    for number, run in enumerate(comparison.runs, start=1):
        rows.append(_group(number, run, names))
        for factor in run.factors:
            figures = factor.heldout
            cells = (
                factor.kind,
                _measured(figures.bits_per_dim, figures.standard_error) if figures else "–",
                _margin(factor.margin),
                _measured(figures.bits_per_dim_of_image, figures.standard_error_of_image) if figures else "–",
                str(factor),
                f"{factor.parameters:,}",
                f"{factor.steps:,}",
            )
            rows.append(_row(factor.factor, cells, "member"))
    return tag(
        "section",
        tag("h2", "By factor"),
        _table(names, rows),
        tag(
            "p",
            "“Own size” divides a factor’s bits by the sub-pixels of the image it predicts, “share” by those of the "
            "full image. Factors are subtracted where both runs have the same views down to them. “Bound” are the "
            "figures of free decoders, terms of the model’s bound.",
            class_="soft",
        ),
    )


def _wasted(comparison: Comparison) -> Html | None:
    """What free decoders waste; nothing where none of them can tell."""
    names = ("factor", "own size", "share")
    rows: list[Html] = []
    for number, run in enumerate(comparison.runs, start=1):
        free = [factor for factor in run.factors if factor.support == "free"]
        if all(factor.heldout is None or factor.heldout.wasted_bits_per_dim is None for factor in free):
            continue
        rows.append(_group(number, run, names))
        for factor in free:
            cells: list[object] = ["–", "–"]
            if (figures := factor.heldout) is not None:
                cells = [
                    _measured(figures.wasted_bits_per_dim, figures.wasted_standard_error),
                    _measured(figures.wasted_bits_per_dim_of_image, figures.wasted_standard_error_of_image),
                ]
            rows.append(_row(factor.factor, cells, "member"))
        rows.append(_row("total", ("", _measured(run.wasted_bits_per_dim, run.wasted_standard_error)), "member"))
    if not rows:
        return None
    return tag("section", tag("h2", "Wasted bits"), _table(names, rows), tag("p", WASTED, class_="soft"))


def _group(number: int, run: ComparedRun, names: Sequence[str]) -> Html:
    """The row above those of a run's factors."""
    return tag("tr", tag("th", _name(number, run), scope="rowgroup", colspan=len(names)), class_="group")


def _table(names: Sequence[str], rows: Sequence[Html]) -> Html:
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in names)))
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll")


def _row(name: object, cells: Sequence[object], class_: str | None = None) -> Html:
    return tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells), class_=class_)


def _name(number: int, run: ComparedRun) -> Html:
    """The run's number, and the last part of its path where it is short enough to stand in every row."""
    last = Path(run.run).name
    return join(number, tag("small", " ", last) if last and len(last) <= 16 else None)


def _margin(margin: Margin | None) -> Html | str:
    if margin is None:
        return "–"
    return _measured(margin.bits_per_dim, margin.standard_error, sign="+" if margin.bits_per_dim >= 5e-5 else "")


def _basis(margin: Margin | None) -> str:
    if margin is None:
        return "–"
    return "unpaired" if margin.images is None else f"{margin.images:,} pairs"


def _measured(value: float | None, error: float | None, sign: str = "") -> Html | str:
    if value is None:
        return "–"
    return join(f"{sign}{value:z.4f}", None if error is None else tag("small", f" ± {error:.4f}"))
