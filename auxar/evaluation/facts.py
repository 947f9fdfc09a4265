"""The facts that decide the log-likelihoods of an evaluation: trained factors and their weights, and the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from auxar.model import Factor, ImageSpec
from auxar.model.image import term
from auxar.recipe import Recipe, recipe_table
from auxar.runs.history import History
from auxar.runs.weights import count

Exactness = Literal["exact", "bound"]
"""Whether bits/dim are exact or an upper bound: with a free decoder, a model computes log p(X, X̂) ≤ log p(X)."""
WeightsKind = Literal["ema", "last", "own", "mixed"]
"""The weights of a run: averaged, of the last step, of a user's own training loop, or different among factors."""
SupportName = Literal["free", "restricted"]
"""The support of a decoder: any image (`free`), or only the images with the given view (`restricted`)."""
Images = Literal["heldout", "training"]
"""A set of images that a run is evaluated on."""
SETS: tuple[Images, ...] = ("heldout", "training")


@attrs.frozen
class FactorFacts:
    """A factor of an evaluated model: a decoder p(image | view), or the prior p(image), which has no view."""

    factor: str
    """Name of the factor, `stage0` … or `prior`."""
    image: ImageSpec
    """Description of the images that the factor gives a likelihood to."""
    view: ImageSpec | None
    """Description of the view that is given; None for the prior."""
    support: SupportName | None
    """Support of the decoder: `free` (any image) or `restricted` (images with the given view). None for the prior."""
    kind: Exactness
    """Whether the factor's figures are exact terms of log p(X). The figures of a free decoder are terms of a bound."""
    parameters: int = 0
    """Number of parameters."""
    steps: int = 0
    """Number of training steps after which the weights were taken. It is 0 if a user's own training loop trained the
    weights and the number is unknown."""
    weights: str | None = None
    """Kind of weights that were evaluated: `ema` (moving average), `last`, or `own` if a user's own training loop
    trained them. None if the factor is not trained."""
    trained_on: str | None = None
    """Fingerprint of the images that the factor was trained on."""
    kept: Literal["best", "last"] | None = None
    """`best` if the weights with the lowest bits/dim on validation images were kept, `last` if the weights at the end
    of training were kept. None if the factor is not trained, or a user's own training loop trained it."""
    trained_steps: int | None = None
    """Number of training steps until the end of training, which is larger than `steps` if the weights of an earlier
    step were kept. None if it is unknown."""
    stopped_early: bool = False
    """Whether training ended before its planned last step, because bits/dim on validation images did not improve."""
    condition: str | None = None
    """Kind of the condition that the factor is given, too; None if it is given none."""
    history: History | None = None
    """The parts of the training, and the weights that it began with. None if the factor is not trained."""
    multiply_adds: int | None = attrs.field(default=None, eq=False)
    """Multiply-adds of a forward pass over one image. None if it is unknown."""

    @classmethod
    def of(cls, factor: Factor, metadata: Mapping[str, str], history: History | None, path: Path) -> FactorFacts:
        """The facts of a factor whose weights have the given metadata, which are empty if it is not trained.

        Raises `DamagedFile`, with the file `path` of the weights, if a number of steps is none.
        """
        step, trained, total = (count(metadata, key, path) for key in ("step", "trained_steps", "complete_at"))
        kept = metadata.get("kept")
        return cls(
            factor.name,
            factor.image,
            factor.view_spec,
            None if factor.view_spec is None else "restricted" if factor.restricted else "free",
            "exact" if factor.exact else "bound",
            parameters=sum(parameter.numel() for parameter in factor.parameters()),
            steps=step or 0,
            weights=metadata.get("weights"),
            trained_on=metadata.get("images"),
            kept="best" if kept == "best" else "last" if kept == "last" else None,
            trained_steps=trained,
            # A factor without trainable parameters has no steps.
            stopped_early=0 < (trained or 0) < (total or 0),
            condition=None if factor.condition is None else factor.condition.kind,
            history=history,
        )

    def __str__(self) -> str:
        return term(self.image.size, self.view and self.view.size, self.condition)


@attrs.frozen
class DataFacts:
    """The source of the images.

    Equal fingerprints mean equal image files in the same order or, for streamed images, the same source and settings.
    """

    path: str
    """The recipe's `data.path`."""
    fingerprint: str
    """Fingerprint of the training images."""
    heldout_fingerprint: str
    """Fingerprint of the held-out images."""
    skipped: int
    """Number of images that were skipped because they could not be read."""
    heldout_digest: str | None
    """SHA-256 of the pixels of the held-out images that were evaluated, in their order. None if none were evaluated."""
    settings: Mapping[str, Any] = attrs.Factory(dict)
    """The keys of the recipe that choose the images of the evaluation, as `settings_of` has them; empty if unknown."""


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The keys of a recipe, and of settings of `auxar evaluate`, that choose which images are evaluated and drawn."""
    table = recipe_table(recipe)
    seed = recipe.sampling.seed if recipe.evaluation.samples else None
    return {"path": recipe.data.path, "options": table["data"].get("options", {}), **table["evaluation"], "seed": seed}


def kind_of(factors: Sequence[FactorFacts]) -> Exactness:
    """The exactness of the sum of these factors: `exact` if all of them are exact, else `bound`."""
    return "exact" if all(factor.kind == "exact" for factor in factors) else "bound"
