"""The pictures of a run's page, with captions that say how they were drawn."""

from __future__ import annotations

import base64
import json
import math

from auxar.model import FLOAT
from auxar.report import words
from auxar.report.html import Html, absence, tag
from auxar.report.html_tables import term
from auxar.report.reading import Picture, RunContent, Samples

DIGITS = words.DIGITS_ON_A_RUNS_PAGE


def samples_section(run: RunContent) -> Html:
    """The section with the sheets of samples and held-out images. A sentence says which pictures are missing."""
    figures = []
    if run.sheet:
        caption = "The run does not record how these samples were drawn."
        tiles = None
        if run.samples:
            likely = _likely(run.samples, views=len(run.factors) > 1)
            caption = " ".join(filter(None, [_drawn(run.samples), likely]))
            tiles = _tiles(run.samples)
        figures.append(_figure("Sampled images", run.sheet, "Sheet of sampled images", caption, tiles))
    if run.heldout:
        caption = "These are real images that the model was not trained on, for comparison with the samples."
        figures.append(_figure("Held-out images", run.heldout, "Sheet of held-out images", caption))
    if len(figures) == 2:
        figures = [tag("div", *figures, class_="pair")]
    has_growth = any(entry.file == "growth.png" for entry, _ in run.figures)
    if run.growth and not has_growth:
        caption = (
            "Each row shows one sample. The last view is on the left, and every other image is drawn given the image "
            "to its left."
        )
        figures.append(_figure("From coarse to fine", run.growth, "Sampled images from coarse to fine", caption))
    missing = None
    if run.too_large:
        missing = absence(f"These pictures are too large for this page: {', '.join(run.too_large)}.")
    elif not run.sheet:
        missing = absence("No samples have been drawn yet.")
    elif not run.growth and not has_growth and len(run.factors) > 1:
        missing = absence("The picture of these samples from coarse to fine is missing.")
    return tag(
        "section",
        tag("h2", "Samples"),
        tag("div", *figures, class_="pictures") if figures else None,
        missing,
    )


def figures_section(run: RunContent) -> Html | None:
    """The section with the pictures that `auxar figures` draws. None if the run has none."""
    if not run.figures:
        return None
    pictures = [_figure(entry.title, picture, entry.title, entry.caption) for entry, picture in run.figures]
    return tag("section", tag("h2", "Figures"), tag("div", *pictures, class_="pictures"))


def strips_section(run: RunContent) -> Html | None:
    """The section with the images that factors drew during their training. None if the run has none."""
    figures = []
    for depth, name in enumerate(run.factors):
        if name in run.strips:
            images = (
                (step, _image(picture, f"Images drawn by {name} after step {step:,}"))
                for step, picture in run.strips[name]
            )
            rows = [tag("div", tag("small", f"step {step:,}"), image) for step, image in images]
            title = tag("h3", term(depth, len(run.factors)), " ", tag("small", name))
            figures.append(tag("figure", title, *rows, class_="strip"))
    if not figures:
        return None
    lead = (
        "Each row shows images that a factor drew after the given step of its training, with the average of its "
        "weights if the recipe sets one. All rows of a factor have the same noise and, if the factor has a view, the "
        "same drawn views."
    )
    return tag("section", tag("h2", "Samples during training"), tag("p", lead, class_="soft"), *figures)


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


def _likely(samples: Samples, *, views: bool) -> str | None:
    """A sentence with the range of the samples' bits/dim. None if they are not recorded."""
    scores = [score for score in samples.bits_per_dim or () if math.isfinite(score)]
    if not scores:
        return None
    likely = f"Their bits/dim range from {words.number(min(scores), DIGITS)} to {words.number(max(scores), DIGITS)}"
    together = ", each sample together with its drawn views" if views else ""
    return likely + together + (f" ({words.KINDS[samples.kind]})." if samples.kind else ".")


def _tiles(samples: Samples) -> str | None:
    """JSON for the script that shows the bits/dim of the image under the pointer.

    The list holds the sheet's number of columns, the bits/dim of all images, and the unit. The result is None if the
    columns or the bits/dim are not recorded.
    """
    if samples.columns is None or samples.columns < 1 or not samples.bits_per_dim:
        return None
    unit = f"bits/dim, {samples.kind}" if samples.kind else "bits/dim"
    return json.dumps([samples.columns, [_rounded(score) for score in samples.bits_per_dim], unit])


def _rounded(score: float) -> float | None:
    """Rounds the score for JSON. None replaces infinity and NaN, which JSON cannot represent."""
    return round(score, DIGITS) if math.isfinite(score) else None


def _figure(title: str, picture: Picture, alternative: str, caption: str, tiles: str | None = None) -> Html:
    image = _image(picture, f"{alternative}. {caption}", tiles)
    return tag("figure", tag("h3", title), image, tag("figcaption", caption))


def _image(picture: Picture, alternative: str, tiles: str | None = None) -> Html:
    source = f"data:image/png;base64,{base64.b64encode(picture.content).decode()}"
    return tag(
        "img",
        src=source,
        width=picture.width,
        height=picture.height,
        alt=alternative,
        class_="pixels",
        data_tiles=tiles,
    )
