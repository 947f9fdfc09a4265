"""Rules by which values are drawn, and the adjustments of predicted distributions that they ask of heads."""

import abc
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
from torch import Tensor

from auxar.validation import at_least, below, finite


def name_of(cls: type) -> str:
    """The words of a class's name, such as "by_depth"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


Operation = Callable[[Any, Tensor], Tensor]
"""A function of a `Head` and its parameters (n, parameter_count) that returns changed parameters of the same shape."""

Guidance = Callable[[Tensor, Tensor], Tensor]
"""A function of the log-probabilities of all values given the condition, and given the null condition, that returns
logits to draw from: (n, levels) each. Values that a pixel cannot take have -∞ in both."""


@attrs.frozen
class Adjustments:
    """Changes of predicted distributions that a rule asks of heads, which make the changes that they understand.

    Without arguments, nothing is changed, so that drawn images are exact samples of the model. Raises `UserError` if a
    number is out of range.

    Examples:
        >>> list(Adjustments(temperature=0.8).names())
        ['temperature']
        >>> Adjustments(reduction=0.4, min_weight=0.05).phrases()[0]
        'every predicted log-scale is lowered by 0.4'
    """

    reduction: float = attrs.field(default=0.0, validator=[finite, at_least(0)])
    """Number subtracted from predicted log-scales, at least 0."""
    centers: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    """Whether the center of a drawn mixture component, the value nearest to its mean, is taken instead of a value drawn
    from the component."""
    temperature: float = attrs.field(default=1.0, validator=[finite, at_least(1e-6)])
    """Divisor of predicted logits of values, at least 10⁻⁶, with which the most probable value is drawn. Below 1,
    probable values are drawn more often."""
    min_weight: float = attrs.field(default=0.0, validator=[finite, at_least(0), below(1)])
    """Fraction of the heaviest mixture component's weight, at least 0 and less than 1. Components with a smaller weight
    are not drawn; the others are drawn in proportion to their weights. In a restricted draw, the compared weights are
    conditional on the interval and the earlier channels."""

    def names(self) -> Iterator[str]:
        """Yields the names of the adjustments that change something."""
        return (field.name for field in attrs.fields(Adjustments) if getattr(self, field.name) != field.default)

    def phrases(self) -> list[str]:
        """Phrases for captions, one for each adjustment that changes something.

        They name the predicted numbers that change, so they are also true of heads that predict no such numbers.
        """
        said = {
            "reduction": f"every predicted log-scale is lowered by {self.reduction:g}",
            "centers": "every pixel with a mixture is the center of a drawn component",
            "temperature": f"every predicted logit of a value is divided by {self.temperature:g}",
            "min_weight": f"mixture components of less than {self.min_weight:g} times the heaviest one's weight are "
            "not drawn",
        }
        return [said[name] for name in self.names()]


ADJUSTMENTS = tuple(field.name for field in attrs.fields(Adjustments))
"""The names of all adjustments: the fields of `Adjustments`."""
EXACT = Adjustments()
"""The adjustments of exact samples: none."""


class Rule(abc.ABC):
    """The way in which values are drawn from predicted distributions (paper, section 4.2).

    A rule gives the adjustments at each depth, which heads make in floating point, in integers and in native code. It
    may also have an operation of its own, which changes the parameters of heads. The operation runs in Python: the
    native engine then leaves the drawing of pixels to Python, and models in integers refuse the rule.

    Examples:
        >>> class Cooler(Rule):
        ...     def adjustments(self, depth):
        ...         return Adjustments(temperature=0.9 if depth == 0 else 1.0)
        >>> rule = Cooler()
        >>> rule.name, rule.adjustments(1).temperature, rule.operation(0)
        ('cooler', 1.0, None)
        >>> rule.changes()
        ['every predicted logit of a value is divided by 0.9']
    """

    @abc.abstractmethod
    def adjustments(self, depth: int) -> Adjustments:
        """The adjustments for images at a depth: 0 for the image, k for its k-th view."""

    def operation(self, depth: int) -> Operation | None:
        """The rule's own operation on the parameters of heads at a depth, or None, the default, for no operation."""
        return None

    def guidance(self, depth: int) -> Guidance | None:
        """The function by which conditions guide the images at a depth, or None, the default, for no guidance.

        Values are then drawn from its result, without adjustments, in Python and in floating point only. The network
        predicts each image twice: given its condition, and given the null condition.
        """
        return None

    def changes(self) -> Sequence[str]:
        """Phrases for captions that say what the rule changes, such as "every predicted log-scale is lowered by 0.4".

        The default describes the adjustments at depth 0. A rule with an operation or a guidance, or whose adjustments
        depend on the depth, must replace it.
        """
        return self.adjustments(0).phrases()

    @property
    def name(self) -> str:
        """The name of the rule in messages: the words of its class, such as "by_depth"."""
        return name_of(type(self))

    @property
    def meaning(self) -> str:
        """A phrase for captions that says what the rule changes, or that it draws exact samples of the model."""
        changes = self.changes()
        if not changes:
            return "exact samples of the model"
        *earlier, last = changes
        return f"samples of the model, except that {' and '.join(filter(None, [', '.join(earlier), last]))}"


@attrs.frozen
class Adjusted(Rule):
    """Makes the same adjustments at all depths.

    Examples:
        >>> Adjusted(Adjustments(temperature=0.5)).meaning
        'samples of the model, except that every predicted logit of a value is divided by 0.5'
    """

    given: Adjustments
    """The adjustments."""

    def adjustments(self, depth: int) -> Adjustments:
        return self.given


@attrs.frozen
class Ancestral(Rule):
    """Draws values from the predicted distributions themselves, so that images are exact samples of the model.

    Examples:
        >>> Ancestral().meaning
        'exact samples of the model'
    """

    def adjustments(self, depth: int) -> Adjustments:
        return EXACT


def refused_by_integers(rule: Rule) -> str:
    """The message with which models in integers refuse a rule that has an operation or a guidance."""
    return (
        f"the rule '{rule.name}' computes with floating-point parameters, but this model draws with integers; "
        "use another rule, or the arithmetic 'float'"
    )
