"""The check that a head understands the adjustments that it declares, and no others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from auxar.errors import did_you_mean, shown
from auxar.model import Adjustments, Head, ImageSpec, RestrictableHead
from auxar.model.rule import ADJUSTMENTS, EXACT
from auxar.testing.laws import broken
from auxar.testing.pixels import Possible, drawn_pixels, normal_noise, random_uniforms

DRAWN = 500
"""The number of pixels that are drawn with and without each adjustment."""
SINGLE = {
    "reduction": Adjustments(reduction=2.0),
    "centers": Adjustments(centers=True),
    "temperature": Adjustments(temperature=3.0),
    "min_weight": Adjustments(min_weight=0.5),
}
"""Adjustments that change only one field, by the field's name."""


def check_adjustments(build: Callable[[Any, ImageSpec], Head], config: object, specs: Sequence[ImageSpec]) -> None:
    """Checks the law `adjustments` of a head with each of the specs. A head that declares nothing passes."""
    used: set[str] = set()
    declared: dict[str, None] = {}
    for seed, spec in enumerate(specs):
        head = build(config, spec)
        names = _declared(head)
        if names is None:
            continue
        declared.update(dict.fromkeys(names))
        for name, adjustments in SINGLE.items():
            method = _difference(head, spec, adjustments, seed)
            if method is None:
                continue
            used.add(name)
            if name not in names:
                message = f"{method} draws other pixels with the adjustment '{name}', which `understands` leaves out"
                broken("adjustments", message, adjustments=adjustments, image=spec)
    for name in declared:
        if name not in used:
            message = f"`understands` names '{name}', but this adjustment changes no drawn pixel"
            broken("adjustments", message, adjustments=SINGLE[name])


def _declared(head: Head) -> Collection[str] | None:
    """The names that a head declares. Raises `ContractError` if they are not names of adjustments."""
    names: Any = head.understands
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Collection):
        broken("adjustments", f"`understands` must be None or a collection of names, got {shown(names)}")
    for name in names:
        if name not in ADJUSTMENTS:
            hint = did_you_mean(str(name), ADJUSTMENTS)
            broken("adjustments", f"`understands` has the unknown name '{name}'{hint}")
    return names


def _difference(head: Head, spec: ImageSpec, adjustments: Adjustments, seed: int) -> str | None:
    """The name of a method that draws other pixels with the adjustments than without; None if there is none."""
    parameters = normal_noise((DRAWN, head.parameter_count), seed)
    possible: dict[str, tuple[int, Possible | None]] = {"draw": (head.uniform_count, None)}
    if isinstance(head, RestrictableHead):
        possible["draw_restricted"] = (head.restricted_uniform_count, Possible.random(DRAWN, spec, seed))
    for name, (count, within) in possible.items():
        uniforms = random_uniforms((DRAWN, count), seed)
        exact, drawn = (drawn_pixels(head, spec, parameters, uniforms, each, within) for each in (EXACT, adjustments))
        if not torch.equal(exact, drawn):
            return name
    return None
