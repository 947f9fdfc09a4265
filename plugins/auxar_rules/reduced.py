"""The rule `reduced`: draws from narrower distributions (paper, section 4.2)."""

from __future__ import annotations

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
