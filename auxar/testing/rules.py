"""The contract of drawing rules."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from auxar.model import Adjustments, Head, Rule
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, calling, check_tensor
from auxar.testing.pixels import normal_noise

DEPTHS = 6
"""Number of depths that are checked, from the image on."""
PIXELS = 20
"""Number of pixels whose parameters an operation is given."""


def check_rule(rule: Rule, *heads: Head) -> None:
    """Checks a drawing rule at depths 0 … 5. An operation is checked with random parameters of the given `heads`.

    Raises `ContractError` if a law is broken:

    - `adjustments`: the rule has the same `Adjustments` each time for a depth
    - `meaning`: `changes` returns a list of texts, which is empty if and only if the rule draws exact samples at all
      depths
    - `operation`: at least one head is given for a rule with an operation. The operation returns parameters of the same
      shape and dtype, without NaN and with a finite number for each pixel
    - `determinism`, `batch`, `layout`, `device`: changed parameters of a pixel depend on its own parameters alone
    - `inputs`: the operation does not change its arguments
    - `state`: nothing that other code shares is changed
    - `runs`: nothing else fails
    """
    exact = True
    for depth in range(DEPTHS):
        with calling("a rule"):
            first, again = rule.adjustments(depth), rule.adjustments(depth)
            operation = rule.operation(depth)
        if not isinstance(first, Adjustments) or first != again:
            message = f"expected Adjustments that are equal for equal depths, got {first} and {again}"
            broken("adjustments", message, depth=depth)
        exact = exact and first == Adjustments() and operation is None
        if operation is not None and not heads:
            broken("operation", "the rule has an operation; give check_rule heads whose parameters it changes")
        for head in heads if operation is not None else ():
            _check_operation(operation, head, depth)
    with calling("changes"):
        changes = rule.changes()
    if isinstance(changes, str) or not all(isinstance(phrase, str) and phrase for phrase in changes):
        broken("meaning", f"changes must return a list of texts, got {changes!r}")
    if exact != (len(changes) == 0):
        draws = "draws exact samples" if exact else "does not draw exact samples"
        broken("meaning", f"the rule {draws}, but its captions say: {rule.meaning}")


def _check_operation(operation: Any, head: Head, depth: int) -> None:
    def compute(parameters: Tensor) -> Results:
        found = operation(head, parameters)
        check_tensor("changed parameters", found, parameters.shape, parameters.dtype, law="operation", depth=depth)
        if found.isnan().any() or not found.isfinite().any(1).all():
            broken("operation", "changed parameters are NaN, or all infinite for a pixel", depth=depth, found=found)
        return {"changed parameters": found}

    check_invariances(Function("the operation", compute), normal_noise((PIXELS, head.parameter_count), depth))
