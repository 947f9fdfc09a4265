"""The check that a head uses the options of a draw rule that it declares, and no others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from auxar.errors import did_you_mean, shown
from auxar.model import DrawRule, Head, ImageSpec, RestrictableHead
from auxar.model.head import RULE_OPTIONS
from auxar.testing.laws import broken
from auxar.testing.pixels import Possible, drawn_pixels, normal_noise, random_uniforms

DRAWN = 500
"""The number of pixels that are drawn with and without each option."""
RULES = {
    "reduction": DrawRule("reduced", reduction=2.0, min_weight=0),
    "map": DrawRule("map", min_weight=0),
    "temperature": DrawRule(temperature=3.0),
    "min_weight": DrawRule("reduced", reduction=0, min_weight=0.5),
}
"""For each option, a rule that has only this option."""


def check_rule_options(build: Callable[[Any, ImageSpec], Head], config: object, specs: Sequence[ImageSpec]) -> None:
    """Checks the law `options` of a head with each of the specs. A head that declares nothing passes."""
    used: set[str] = set()
    declared: dict[str, None] = {}
    for seed, spec in enumerate(specs):
        head = build(config, spec)
        options = _declared(head)
        if options is None:
            continue
        declared.update(dict.fromkeys(options))
        for option, rule in RULES.items():
            name = _difference(head, spec, rule, seed)
            if name is None:
                continue
            used.add(option)
            if option not in options:
                message = f"{name} draws other pixels with the option '{option}', which `rule_options` does not declare"
                broken("options", message, rule=rule, image=spec)
    for option in declared:
        if option not in used:
            message = f"`rule_options` declares '{option}', but the option changes no drawn pixel"
            broken("options", message, rule=RULES[option])


def _declared(head: Head) -> Collection[str] | None:
    """The options that a head declares. Raises `ContractError` if they are not names of options."""
    options: Any = head.rule_options
    if options is None:
        return None
    if isinstance(options, str) or not isinstance(options, Collection):
        broken("options", f"`rule_options` must be None or a collection of names, got {shown(options)}")
    for option in options:
        if option not in RULE_OPTIONS:
            broken(
                "options", f"`rule_options` has the unknown name '{option}'{did_you_mean(str(option), RULE_OPTIONS)}"
            )
    return options


def _difference(head: Head, spec: ImageSpec, rule: DrawRule, seed: int) -> str | None:
    """The name of a method that draws other pixels by the rule than by exact sampling; None if there is none."""
    parameters = normal_noise((DRAWN, head.parameter_count), seed)
    possible: dict[str, tuple[int, Possible | None]] = {"draw": (head.uniform_count, None)}
    if isinstance(head, RestrictableHead):
        possible["draw_restricted"] = (head.restricted_uniform_count, Possible.random(DRAWN, spec, seed))
    for name, (count, within) in possible.items():
        uniforms = random_uniforms((DRAWN, count), seed)
        exact, drawn = (drawn_pixels(head, spec, parameters, uniforms, each, within) for each in (DrawRule(), rule))
        if not torch.equal(exact, drawn):
            return name
    return None
