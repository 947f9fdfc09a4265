"""The page's pictures, with captions that say how they were drawn."""

from __future__ import annotations

import base64
import json
import math

from auxar.evaluation.records import Exactness
from auxar.interfaces import DrawRule
from auxar.report import words
from auxar.report.html import Html, absence, tag
from auxar.report.reading import Picture, RunContent, Samples

DIGITS = words.DIGITS_ON_A_RUNS_PAGE


def samples_section(run: RunContent) -> Html:
    """The sheet of samples, and how they grew; or a sentence about what is not there."""
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
    if run.heldout:
        caption = "Real images that the model was not trained on, to compare the samples with."
        figures.append(_figure("Held-out images", run.heldout, "Sheet of held-out images", caption))
    has_growth = any(entry.file == "growth.png" for entry, _ in run.figures)
    if run.growth and not has_growth:
        caption = (
            "A row is one sampled image: its coarsest view on the left, and to the right each finer image, drawn given "
            "the one before it."
        )
        figures.append(_figure("From coarse to fine", run.growth, "Sampled images from coarse to fine", caption))
    missing = None
    if run.too_large:
        missing = absence(f"Too large to be shown on this page: {', '.join(run.too_large)}.")
    elif not run.sheet:
        missing = absence("No samples have been drawn yet.")
    elif not run.growth and not has_growth and len(run.factors) > 1:
        missing = absence("There is no picture of how these samples grew from coarse to fine.")
    return tag(
        "section",
        tag("h2", "Samples"),
        tag("div", *figures, class_="pictures") if figures else None,
        missing,
    )


def figures_section(run: RunContent) -> Html | None:
    """The paper's figures; None if none have been drawn."""
    if not run.figures:
        return None
    pictures = [_figure(entry.title, picture, entry.title, entry.caption) for entry, picture in run.figures]
    return tag("section", tag("h2", "Figures"), tag("div", *pictures, class_="pictures"))


def _drawn(samples: Samples) -> str:
    parts = [
        words.plural(samples.count, "sample"),
        f"rule ‘{samples.rule}’{_meaning(samples)}",
        f"seed {samples.seed}",
    ]
    if samples.sampler:
        parts.append(f"sampler ‘{samples.sampler}’")
    if samples.seconds is not None:
        parts.append(f"drawn in {words.duration(samples.seconds)}")
    return ", ".join(parts) + "."


def _meaning(samples: Samples) -> str:
    """The meaning of the rule in parentheses; nothing for a rule that there is not, since a record may be strange."""
    try:
        rule = DrawRule(samples.rule, samples.reduction, samples.temperature)
    except ValueError:
        return ""
    return f" ({rule.meaning})"


def _likely(samples: Samples, kind: Exactness | None, *, views: bool) -> str | None:
    """How likely the drawn images are, each together with its drawn views if there are any."""
    scores = [score for score in samples.bits_per_dim or () if math.isfinite(score)]
    if not scores:
        return None
    likely = f"They have {words.number(min(scores), DIGITS)} to {words.number(max(scores), DIGITS)} bits/dim"
    return likely + (", each with its drawn views" if views else "") + (f" ({words.KINDS[kind]})." if kind else ".")


def _tiles(samples: Samples, kind: Exactness | None) -> str | None:
    """JSON for the script, which shows the bits/dim of the image under the pointer: columns, bits/dim, their unit."""
    if samples.columns is None or samples.columns < 1 or not samples.bits_per_dim:
        return None
    unit = f"bits/dim, {kind}" if kind else "bits/dim"
    return json.dumps([samples.columns, [_rounded(score) for score in samples.bits_per_dim], unit])


def _rounded(score: float) -> float | None:
    """The score as JSON can hold it, which has no numbers that are not finite."""
    return round(score, DIGITS) if math.isfinite(score) else None


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
