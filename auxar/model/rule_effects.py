"""The effects of a drawing rule on a model: which factors have heads that understand its adjustments."""

from collections.abc import Sequence

from auxar.errors import UserError, logger, shown
from auxar.model.arithmetic import FLOAT
from auxar.model.chain import Chain
from auxar.model.factor import Factor
from auxar.model.head import Head
from auxar.model.network import CausalNetwork
from auxar.model.rule import ADJUSTMENTS, Adjustments, Rule, name_of, refused_by_integers


def check_rule(
    model: Chain, rule: Rule, arithmetic: str = FLOAT, *, from_depth: int | None = None, key: str = "rule"
) -> None:
    """Raises `UserError`, which names the recipe's key or option `key`, if the model cannot draw by the rule.

    The rule must draw exact samples, have an operation or a guidance, or have an adjustment that a head of the model
    understands. It must have neither operation nor guidance if `arithmetic` is not `FLOAT`. Adjustments that some or
    all heads do not understand are logged. With `from_depth`, only the factors that `draw_from` uses are considered.
    Heads that do not declare what they understand may understand every adjustment.
    """
    factors = model.factors[:from_depth]
    adjusted = [(factor, rule.adjustments(factor.depth)) for factor in factors]
    for _, found in adjusted:
        if not isinstance(found, Adjustments):
            raise UserError(
                f"{key}: the rule '{rule.name}' must give auxar.Adjustments at each depth, got {shown(found)}"
            )
    changes = rule.changes()
    if not isinstance(changes, list | tuple) or not all(isinstance(phrase, str) for phrase in changes):
        raise UserError(f"{key}: `changes` of the rule '{rule.name}' must give a list of strings, got {shown(changes)}")
    has_guidance = any(rule.guidance(factor.depth) for factor in factors)
    has_operation = has_guidance or any(rule.operation(factor.depth) for factor in factors)
    if has_operation and arithmetic != FLOAT:
        raise UserError(f"{key}: {refused_by_integers(rule)}")
    if has_guidance and (model.condition is None or not model.condition.optional):
        raise UserError(
            f"{key}: the rule '{rule.name}' needs a model with a condition that was trained with the null "
            "condition, too (condition.drop greater than 0); use another rule, such as 'ancestral'"
        )
    lack = [factor.name for factor in model.factors if factor.network is None]
    if has_guidance and lack:
        raise UserError(f"{key}: the rule '{rule.name}' needs causal networks, which {', '.join(lack)} does not have")
    by_name = {name: [factor for factor, found in adjusted if name in found.names()] for name in ADJUSTMENTS}
    by_name = {name: own for name, own in by_name.items() if own}
    if has_operation or not by_name:
        return
    ignoring = {name: [factor for factor in own if not _uses(factor, name)] for name, own in by_name.items()}
    if all(ignoring[name] == own for name, own in by_name.items()):
        whose = "this model" if from_depth is None else "the factors that are drawn"
        raise UserError(
            f"{key}: the rule '{rule.name}' changes nothing: the heads of {whose} are {kinds_of_heads(factors)}, which "
            f"{_understood(factors)}; use another rule, such as 'ancestral'"
        )
    for name, others in ignoring.items():
        if others:
            where = "" if others == by_name[name] else f" in {', '.join(factor.name for factor in others)}"
            logger.info(
                "the adjustment '%s' of the rule '%s' changes nothing%s: the heads are %s, which %s",
                *(name, rule.name, where, kinds_of_heads(others), _understood(others)),
            )


def users(model: Chain, adjustment: str) -> list[Factor]:
    """The factors of a model whose heads understand, or may understand, an adjustment, one of `ADJUSTMENTS`."""
    return [factor for factor in model.factors if _uses(factor, adjustment)]


def kinds_of_heads(factors: Sequence[Factor]) -> str:
    """The kinds of the heads of factors by their classes, such as "logistic mixture heads and softmax heads"."""
    kinds = dict.fromkeys(name_of(type(head)) for factor in factors for head in _heads(factor))
    return " and ".join(f"{kind.removesuffix('_head').replace('_', ' ')} heads" for kind in kinds)


def _understood(factors: Sequence[Factor]) -> str:
    """The end of a message about heads: the adjustments that heads of the factors understand."""
    names = [name for name in ADJUSTMENTS if any(_uses(factor, name) for factor in factors)]
    return f"understand only {', '.join(names)}" if names else "understand no adjustments"


def _uses(factor: Factor, adjustment: str) -> bool:
    """Whether a head of the factor understands the adjustment, or may understand it because nothing is declared."""
    heads = _heads(factor)
    return not heads or any(head.understands is None or adjustment in head.understands for head in heads)


def _heads(factor: Factor) -> list[Head]:
    return [network.head for network in factor.modules() if isinstance(network, CausalNetwork)]
