"""The rule `by_depth`: one rule for the image and fine views, and another rule for coarser views."""

from collections.abc import Callable, Sequence

import attrs
from torch import Tensor

from auxar import Adjustments, Ancestral, Choice, Component, Head, Rule, positive
from auxar_rules.adjusting import Reduced


class RuleChoice(Choice):
    """The choice of a drawing rule with its options."""

    kind = "rule"


def _choice(rule: Rule | RuleChoice) -> RuleChoice:
    return RuleChoice(Component("rule", rule.name, type(rule)), rule) if isinstance(rule, Rule) else rule


@attrs.frozen
class ByDepth(Rule):
    """Draws the image, and views at depths less than `depth`, by the rule `fine`, and coarser views by `coarse`.

    Exact samples of coarse views keep the variety of the images, and fine details look cleaner if they are drawn with
    less variance.
    """

    fine: RuleChoice = attrs.field(factory=lambda: _choice(Reduced()), converter=_choice)
    """The rule for depths 0 … `depth` - 1."""
    coarse: RuleChoice = attrs.field(factory=lambda: _choice(Ancestral()), converter=_choice)
    """The rule for depths from `depth` on."""
    depth: int = attrs.field(default=1, validator=positive)
    """The first depth that is drawn by the rule `coarse`, at least 1. Depth 0 is the image, depth k its k-th view."""

    def adjustments(self, depth: int) -> Adjustments:
        return self._rule(depth).adjustments(depth)

    def operation(self, depth: int) -> Callable[[Head, Tensor], Tensor] | None:
        return self._rule(depth).operation(depth)

    def guidance(self, depth: int) -> Callable[[Tensor, Tensor], Tensor] | None:
        return self._rule(depth).guidance(depth)

    def changes(self) -> Sequence[str]:
        fine = "at depth 0" if self.depth == 1 else f"at depths 0 to {self.depth - 1}"
        parts = {fine: self.fine, f"from depth {self.depth} on": self.coarse}
        said = {place: rule.build().changes() for place, rule in parts.items()}
        return [f"{place} {' and '.join(changes)}" for place, changes in said.items() if changes]

    def _rule(self, depth: int) -> Rule:
        rule: Rule = (self.fine if depth < self.depth else self.coarse).build()
        return rule
