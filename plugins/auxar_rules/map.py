"""The rule `map`: takes the centers of drawn mixture components (paper, section 4.2)."""

from __future__ import annotations

import attrs

from auxar import Adjustments, Rule, at_least, below, finite


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
