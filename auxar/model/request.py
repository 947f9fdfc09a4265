"""Requests to draw images, and the rules by which values are drawn."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.errors import UserError, did_you_mean, shown
from auxar.model.image import Known
from auxar.model.support import Restriction
from auxar.validation import at_least, below, finite, positive

RULES = ("ancestral", "reduced", "map")
"""Names of the drawing rules; see `DrawRule`."""


USUAL_REDUCTION = 0.4
"""The reduction of the rule `reduced` if none is given."""
USUAL_MIN_WEIGHT = 0.05
"""The `min_weight` of the rules `reduced` and `map` if none is given."""


def _known_rule(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str):
        raise UserError(f"rule: expected the name of a rule ({', '.join(RULES)}), got {shown(value)}")
    if value not in RULES:
        raise UserError(f"rule: {shown(value)} is unknown{did_you_mean(value, RULES)}")


def usual_reduction(rule: str) -> float:
    """The reduction of a rule if none is given: `USUAL_REDUCTION` for `reduced`, and 0 for other rules."""
    return USUAL_REDUCTION if rule == "reduced" else 0.0


def usual_min_weight(rule: str, reduction: float) -> float:
    """The `min_weight` of a rule if none is given.

    It is 0 for the rules that draw exact samples, `ancestral` and `reduced` with a reduction of 0, and
    `USUAL_MIN_WEIGHT` for other rules.
    """
    return 0.0 if rule == "ancestral" or (rule == "reduced" and not reduction) else USUAL_MIN_WEIGHT


@attrs.frozen
class DrawRule:
    """The rule by which a value is drawn from a pixel's predicted distribution (paper, section 4.2).

    - `ancestral` draws from the distribution itself, so images are exact samples of the model (at temperature 1).
    - `reduced` first subtracts `reduction` from every predicted log-scale. With `reduction=0`, it is the same as
      `ancestral`.
    - `map` draws a mixture component and takes its center: the value nearest to the component's mean.

    Under `reduced` and `map`, components with less than `min_weight` times the weight of the heaviest component are
    not drawn; the others are drawn in proportion to their weights. If a pixel is restricted to intervals, the weights
    are those given the interval and the earlier channels, so an interval that only a light component explains keeps
    this component.

    For a softmax head, `reduced` and `map` are the same as `ancestral`, and `temperature` divides the logits under
    every rule. The logistic mixture ignores `temperature`. A model refuses a rule that changes nothing for any of its
    heads.

    Raises `UserError` if the rule is unknown, or if a number is invalid.

    Examples:
        >>> DrawRule("reduced")
        DrawRule(name='reduced', reduction=0.4, temperature=1.0, min_weight=0.05)
        >>> DrawRule("map", reduction=0.5)
        Traceback (most recent call last):
        auxar.errors.UserError: reduction requires the rule 'reduced', got the rule 'map'
        >>> DrawRule("ancestral").meaning
        'exact samples of the model'
        >>> DrawRule("reduced", reduction=0.5, min_weight=0).meaning
        'samples of the model, except that every predicted log-scale is lowered by 0.5'
        >>> DrawRule("map").meaning.partition(" and ")[2]
        "mixture components of less than 0.05 times the heaviest one's weight are not drawn"
    """

    name: str = attrs.field(default="ancestral", validator=_known_rule)
    """Name of the rule, one of `RULES`."""
    reduction: float = attrs.field(validator=[finite, at_least(0)])
    """Number subtracted from log-scales, at least 0. The default of the rule `reduced` is 0.4. Other rules require 0,
    their default."""
    temperature: float = attrs.field(default=1.0, validator=positive)
    """Divisor of a softmax head's logits, greater than 0."""
    min_weight: float = attrs.field(validator=[finite, at_least(0), below(1)])
    """Fraction of the heaviest mixture component's weight, at least 0 and less than 1. Components with a smaller weight
    are not drawn. The default is 0.05, or 0 for the rule `reduced` with a reduction of 0. The rule `ancestral` requires
    0, its default."""

    @reduction.default
    def _usual_reduction(self) -> float:
        return usual_reduction(self.name)

    @min_weight.default
    def _usual_min_weight(self) -> float:
        return usual_min_weight(self.name, self.reduction)

    def __attrs_post_init__(self) -> None:
        if self.reduction and self.name != "reduced":
            raise UserError(f"reduction requires the rule 'reduced', got the rule '{self.name}'")
        if self.min_weight and self.name == "ancestral":
            raise UserError(
                "min_weight requires the rule 'reduced' or 'map', got the rule 'ancestral', which draws exact samples"
            )

    @property
    def meaning(self) -> str:
        """A phrase for captions that says whether the rule draws exact samples of the model, or else what it changes.

        It is true of every head, because it names the predicted numbers that are changed. A head that predicts no such
        numbers draws exact samples.
        """
        changes = []
        if self.reduction:
            changes.append(f"every predicted log-scale is lowered by {self.reduction:g}")
        elif self.name == "map":
            changes.append("every pixel with a mixture is the center of a drawn component")
        if self.temperature != 1.0:
            changes.append(f"every predicted logit of a value is divided by {self.temperature:g}")
        if self.min_weight:
            changes.append(
                f"mixture components of less than {self.min_weight:g} times the heaviest one's weight are not drawn"
            )
        if not changes:
            return "exact samples of the model"
        *earlier, last = changes
        return f"samples of the model, except that {' and '.join(filter(None, [', '.join(earlier), last]))}"


@attrs.frozen(eq=False)
class SampleRequest:
    """A request to draw images: their numbers, seed and rule, and any known pixels or required views.

    Noise depends only on (seed, number, depth). Except for rounding, an image therefore does not depend on its batch,
    on the sampler or on the number of processes.

    Examples:
        >>> together = SampleRequest((3, 7), seed=0).uniforms((4,))
        >>> alone = SampleRequest((7,), seed=0).uniforms((4,))
        >>> bool((together[1] == alone[0]).all())
        True
    """

    numbers: tuple[int, ...]
    """Number of each image to draw. With the seed and the depth, it selects the image's noise."""
    seed: int = 0
    """Seed of the noise."""
    rule: DrawRule = attrs.field(factory=DrawRule)
    """The drawing rule."""
    depth: int = 0
    """Depth that is drawn: 0 for the image, k for its k-th view."""
    known: Known | None = None
    """Known pixels and limits of the other pixels, at this depth; None if there are none."""
    restriction: Restriction | None = None
    """The views that the drawn images must have, with their support; None if any image may be drawn."""
    condition: Tensor | None = None
    """The condition of each image, integers (len(numbers), *condition.spec.shape), the same at all depths. None is the
    null condition, or no condition for a model without one."""

    def deeper(self, by: int = 1, known: Known | None = None, restriction: Restriction | None = None) -> SampleRequest:
        """The request for the same images at depth `depth + by`, with known pixels and a restriction for that depth.

        Examples:
            >>> SampleRequest((3, 7)).deeper(2).depth
            2
        """
        return attrs.evolve(self, depth=self.depth + by, known=known, restriction=restriction)

    def uniforms(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Uniform noise in the open interval (0, 1): float64, shape (len(numbers), *shape)."""
        rows = []
        for number in self.numbers:
            key = hashlib.sha256(f"{self.seed}/{number}/{self.depth}".encode()).digest()
            # NumPy guarantees that the raw stream of a bit generator never changes, unlike draws from distributions.
            raw = np.random.Philox(key=int.from_bytes(key[:16])).random_raw(math.prod(shape))
            rows.append((raw >> np.uint64(12)).reshape(tuple(shape)))
        # The results are odd multiples of 2⁻⁵³: exact in float64, symmetric about 1/2, and never 0 or 1.
        return torch.from_numpy((np.stack(rows).astype(np.float64) + 0.5) * 2.0**-52).to(device)
