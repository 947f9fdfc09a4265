"""The pictures of a run's page, with captions that say how they were drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import attrs

from auxar.model import FLOAT
from auxar.report import words
from auxar.report.reading import Picture, RunContent, Samples

DIGITS = words.DIGITS_ON_A_RUNS_PAGE


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
    return json.dumps([samples.columns, [_rounded(score) for score in samples.bits_per_dim], unit])


def _rounded(score: float) -> float | None:
    """Rounds the score for JSON. None replaces infinity and NaN, which JSON cannot represent."""
    return round(score, DIGITS) if math.isfinite(score) else None
