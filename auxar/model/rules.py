"""Checks whether a draw rule changes what a model draws: which heads of a model use which options of a rule."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from auxar.errors import UserError
from auxar.model.factor import Factor
from auxar.model.head import Head
from auxar.model.network import CausalNetwork
from auxar.model.request import DrawRule, usual_min_weight

logger = logging.getLogger("auxar")

NEUTRAL: Mapping[str, tuple[str, Any]] = {
    "reduction": ("rule", "ancestral"),
    "map": ("rule", "ancestral"),
    "temperature": ("temperature", 1),
    "min_weight": ("min_weight", 0),
}
"""For each option, the setting without the option: its key and its value."""
SETTINGS: Mapping[str, tuple[str, Any]] = {
    "reduction": ("rule", "reduced"),
    "map": ("rule", "map"),
    "temperature": ("temperature", 0.8),
}
"""A setting with the option, for advice, for each option that can be set alone. `min_weight` needs another rule."""
LACKS = {
    "reduction": "no scales to reduce",
    "map": "no components with centers",
    "temperature": "no temperature",
    "min_weight": "no components to leave out",
}
"""For each option, the property that heads lack if they do not use it, as the end of a message."""
PYTHON, RECIPE, FLAG, SETTING = "{0}={1!r}", "sampling.{0} = {1!r}", "--{2} {1}", "--set sampling.{0}={1}"
"""Formats of a setting in Python, in a recipe, and as two kinds of options of a command. The fields are the setting's
key, its value, and its key with hyphens."""


class HasFactors(Protocol):
    """A model with factors, such as a `Chain`."""

    @property
    def factors(self) -> Sequence[Factor]:
        """The factors by depth."""


@attrs.frozen
class Spelling:
    """The formats in which a message writes the settings of a rule."""

    advice: str = PYTHON
    """The format of settings that the message proposes."""
    given: Mapping[str, str] = attrs.field(factory=dict)
    """The format of the setting that is refused, by its key; by default that of `advice`."""

    def refused(self, key: str, value: object) -> str:
        """The setting that is refused."""
        return self.given.get(key, self.advice).format(key, value, key.replace("_", "-"))

    def advised(self, key: str, value: object) -> str:
        """A setting that the message proposes."""
        return self.advice.format(key, value, key.replace("_", "-"))


IN_RECIPE = Spelling(RECIPE)


def check_rule(
    model: HasFactors, rule: DrawRule, *, from_depth: int | None = None, spelling: Spelling | None = None
) -> None:
    """Raises `UserError` if an option of the rule changes nothing for any head of the model.

    If an option changes some factors only, a message names the other ones. With `from_depth`, only the factors that
    `draw_from` uses are considered. The rule `ancestral` at temperature 1 has no options, so it is never refused, and
    heads that do not declare their `rule_options` may use every option. The default of `min_weight` is not refused
    either, because nobody chose it.
    """
    spelling = spelling or Spelling()
    factors = model.factors[:from_depth]
    for option in options_of(rule):
        unaffected = [factor for factor in factors if not _may_use(factor, option)]
        if not unaffected:
            continue
        key, _ = NEUTRAL[option]
        given = spelling.refused(key, rule.name if key == "rule" else getattr(rule, key))
        heads = f"{kinds_of_heads(unaffected)}, which have {LACKS[option]}"
        if len(unaffected) == len(factors):
            whose = "this model" if from_depth is None else "the factors that are drawn"
            raise UserError(
                f"{given} changes nothing: the heads of {whose} are {heads}; use {_advice(factors, option, spelling)}"
            )
        names = ", ".join(factor.name for factor in unaffected)
        logger.info("%s changes nothing in %s: the heads are %s", given, names, heads)


def options_of(rule: DrawRule) -> Iterable[str]:
    """Yields the options of a rule that differ from exact sampling, by their names in `RULE_OPTIONS`.

    `min_weight` is left out if it has the default of the rule.
    """
    if rule.reduction:
        yield "reduction"
    if rule.name == "map":
        yield "map"
    if rule.temperature != 1.0:
        yield "temperature"
    if rule.min_weight and rule.min_weight != usual_min_weight(rule.name, rule.reduction):
        yield "min_weight"


def users(model: HasFactors, option: str) -> list[Factor]:
    """The factors of a model whose draws may depend on an option, one of `RULE_OPTIONS`."""
    return [factor for factor in model.factors if _may_use(factor, option)]


def kinds_of_heads(factors: Sequence[Factor]) -> str:
    """The kinds of the heads of factors by their classes, such as "logistic mixture heads and softmax heads"."""
    kinds = dict.fromkeys(_kind(head) for factor in factors for head in _heads(factor))
    return " and ".join(f"{kind} heads" for kind in kinds)


def _advice(factors: Sequence[Factor], option: str, spelling: Spelling) -> str:
    """The setting without an option, and with it the settings that the heads use."""
    used = [other for other in SETTINGS if any(_may_use(factor, other) for factor in factors)]
    found = [spelling.advised(*SETTINGS[other]) for other in used]
    neutral = spelling.advised(*NEUTRAL[option])
    return f"{neutral}, for example with {' or '.join(found)}" if found else neutral


def _may_use(factor: Factor, option: str) -> bool:
    """Whether a head of the factor uses the option, or may use it, because nothing is declared."""
    heads = _heads(factor)
    return not heads or any(head.rule_options is None or option in head.rule_options for head in heads)


def _heads(factor: Factor) -> list[Head]:
    return [network.head for network in factor.modules() if isinstance(network, CausalNetwork)]


def _kind(head: Head) -> str:
    """The words of the class's name, without "Head" at the end, such as "logistic mixture"."""
    name = type(head).__name__.removesuffix("Head") or "Head"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
