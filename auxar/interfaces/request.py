"""The request for images to draw: one frozen record, which a recipe's [sampling] makes and a source carries out."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.interfaces.known import Known
from auxar.interfaces.support import Restriction
from auxar.interfaces.validation import positive

RULES = ("ancestral", "reduced", "map")


def _known_rule(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
    if value not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {value!r}")


@attrs.frozen
class DrawRule:
    """How a value is drawn from a pixel's predicted distribution (paper, section 4.2).

    `ancestral`: from the distribution itself, so that images are exact samples of the model. `reduced`: with
    `reduction` subtracted from every predicted log-scale. `map`: a mixture component is drawn and its mode taken.
    A softmax has no scale and its components are the values: there `reduced` and `map` draw as `ancestral`, and
    `temperature` divides the logits under each rule.

    Examples:
        >>> DrawRule("reduced", reduction=0.5)
        DrawRule(name='reduced', reduction=0.5, temperature=1.0)
        >>> DrawRule("map", reduction=0.5)
        Traceback (most recent call last):
        ValueError: reduction is for the rule 'reduced', and the rule is 'map'
        >>> DrawRule().meaning
        'exact samples of the model'
    """

    name: str = attrs.field(default="ancestral", validator=_known_rule)
    reduction: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    temperature: float = attrs.field(default=1.0, validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.reduction and self.name != "reduced":
            raise ValueError(f"reduction is for the rule 'reduced', and the rule is '{self.name}'")

    @property
    def meaning(self) -> str:
        """A phrase for captions: whether images drawn by the rule are samples of the model, and how they differ."""
        changes = []
        if self.name == "reduced":
            changes.append(f"log-scales lowered by {self.reduction:g} before drawing")
        elif self.name == "map":
            changes.append("the mode of a drawn mixture component at every pixel")
        if self.temperature != 1.0:
            changes.append(f"temperature {self.temperature:g}")
        return f"not the model's own distribution: {', '.join(changes)}" if changes else "exact samples of the model"


@attrs.frozen(eq=False)
class SampleRequest:
    """The images to draw: their numbers, the seed and the rule, and the pixels and views that are given.

    Noise depends on (seed, number, depth) alone, so an image does not depend on the batch it is drawn in, on the
    sampler or on the number of processes.

    Examples:
        >>> together = SampleRequest((3, 7), seed=0).uniforms((4,))
        >>> alone = SampleRequest((7,), seed=0).uniforms((4,))
        >>> bool((together[1] == alone[0]).all())
        True
    """

    numbers: tuple[int, ...]
    """Numbers of the images; an image is a function of the model, the seed and its number."""
    seed: int = 0
    rule: DrawRule = attrs.field(factory=DrawRule)
    depth: int = 0
    """Place in the chain that is drawn: 0 for the image, k for its k-th view."""
    known: Known | None = None
    """Pixels held fixed and limits of the other pixels, at this depth."""
    restriction: Restriction | None = None
    """The views that the drawn images must have; None draws freely."""

    def deeper(self, by: int = 1, known: Known | None = None, restriction: Restriction | None = None) -> SampleRequest:
        """The same images so many views further down the chain, with what is known there and their views."""
        return attrs.evolve(self, depth=self.depth + by, known=known, restriction=restriction)

    def uniforms(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Uniform noise inside the open interval (0, 1), float64, shape (len(numbers), *shape)."""
        rows = []
        for number in self.numbers:
            key = hashlib.sha256(f"{self.seed}/{number}/{self.depth}".encode()).digest()
            # The raw stream of a bit generator is the one that NumPy promises never to change.
            raw = np.random.Philox(key=int.from_bytes(key[:16])).random_raw(math.prod(shape))
            rows.append((raw >> np.uint64(12)).reshape(tuple(shape)))
        # Odd multiples of 2⁻⁵³, which float64 holds exactly: symmetric, and never 0 or 1.
        return torch.from_numpy((np.stack(rows).astype(np.float64) + 0.5) * 2.0**-52).to(device)
