"""The rules `reduced`, `map` and `tempered`, which adjust predicted distributions alike at all depths (paper, 4.2)."""

import attrs

from auxar import Adjustments, Rule, at_least, below, finite


@attrs.frozen
class Reduced(Rule):
    """Lowers the predicted log-scales, so that drawn values are nearer to the means of mixture components.

    It changes nothing for softmax heads.
    """

    reduction: float = attrs.field(default=0.4, validator=[finite, at_least(0)])
    """Number subtracted from every predicted log-scale, at least 0."""
    min_weight: float = attrs.field(default=0.05, validator=[finite, at_least(0), below(1)])
    """Fraction of the heaviest mixture component's weight, at least 0 and less than 1. Components with a smaller weight
    are not drawn. With 0, all components are drawn."""

    def adjustments(self, depth: int) -> Adjustments:
        return Adjustments(reduction=self.reduction, min_weight=self.min_weight)


@attrs.frozen
class Map(Rule):
    """Draws a mixture component and takes its center: the value nearest to the component's mean.

    It changes nothing for softmax heads.
    """

    min_weight: float = attrs.field(default=0.05, validator=[finite, at_least(0), below(1)])
    """Fraction of the heaviest mixture component's weight, at least 0 and less than 1. Components with a smaller weight
    are not drawn. With 0, all components are drawn."""

    def adjustments(self, depth: int) -> Adjustments:
        return Adjustments(centers=True, min_weight=self.min_weight)


@attrs.frozen
class Tempered(Rule):
    """Divides the logits of values by a temperature. It changes nothing for logistic mixture heads."""

    temperature: float = attrs.field(default=0.8, validator=[finite, at_least(1e-6)])
    """Divisor of the logits of softmax heads, at least 10⁻⁶, with which the most probable value is drawn. Below 1,
    probable values are drawn more often."""

    def adjustments(self, depth: int) -> Adjustments:
        return Adjustments(temperature=self.temperature)
