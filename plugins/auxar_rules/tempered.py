"""The rule `tempered`: draws at a temperature."""

from __future__ import annotations

import attrs

from auxar import Adjustments, Rule, finite, positive


@attrs.frozen
class Tempered(Rule):
    """Divides the logits of values by a temperature. It changes nothing for logistic mixture heads."""

    temperature: float = attrs.field(default=0.8, validator=[finite, positive])
    """Divisor of the logits of softmax heads, greater than 0. Below 1, probable values are drawn more often."""

    def adjustments(self, depth: int) -> Adjustments:
        return Adjustments(temperature=self.temperature)
