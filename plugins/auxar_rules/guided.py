"""The rule `guided`: draws images that show their condition more clearly than exact samples."""

from collections.abc import Callable, Sequence

import attrs
from torch import Tensor

from auxar import Adjustments, Rule, at_least, at_most, below, finite
from auxar.numerics.categorical import without_light


@attrs.frozen
class Guided(Rule):
    """Draws each value v in proportion to p(v | y)^(1 + strength) / p(v | null)^strength, for a condition y.

    This is classifier-free guidance (Ho & Salimans 2022, https://arxiv.org/abs/2207.12598) of every sub-pixel. The
    model must have been trained with the null condition. Images that are given the null condition only lose
    their improbable values.
    """

    strength: float = attrs.field(default=1.0, validator=[finite, at_least(0), at_most(10**6)])
    """Strength of the guidance, 0 … 10^6. With 0 and `min_probability = 0`, images are exact samples."""
    min_probability: float = attrs.field(default=0.05, validator=[finite, at_least(0), below(1)])
    """Fraction of the most probable value's probability given y, at least 0 and less than 1. Values with a smaller
    probability are not drawn, because guidance can make values probable that the model nearly excludes."""

    def adjustments(self, depth: int) -> Adjustments:
        return Adjustments()

    def guidance(self, depth: int) -> Callable[[Tensor, Tensor], Tensor]:
        return self._logits

    def changes(self) -> Sequence[str]:
        return [
            f"every value is drawn from p(value | y)^{1 + self.strength:g} / p(value | null)^{self.strength:g}",
            f"values of less than {self.min_probability:g} times the most probable one's probability are not drawn",
        ]

    def _logits(self, given: Tensor, null: Tensor) -> Tensor:
        return without_light(given, self.min_probability) + self.strength * (given - null)
