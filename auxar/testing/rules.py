"""The contract of drawing rules."""

from typing import Any

import torch
from torch import Tensor

from auxar.model import Adjustments, Head, Rule
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, calling, check_options, check_tensor
from auxar.testing.pixels import normal_noise

DEPTHS = 6
"""Number of depths that are checked, from the image on."""
PIXELS = 20
"""Number of pixels whose parameters an operation is given, and whose log-probabilities a guidance is given."""
LEVELS = 6
"""Number of values of these pixels."""


def check_rule(rule: Rule, *heads: Head) -> None:
    """Checks a drawing rule at depths 0 … 5. An operation is checked with random parameters of the given `heads`.

    Raises `ContractError` if a law is broken:

    - `options`: no option is a path of a file, because runs do not keep files
    - `adjustments`: the rule has the same `Adjustments` each time for a depth
    - `meaning`: `changes` returns a list of texts, which is empty if and only if the rule draws exact samples at all
      depths. A rule that differs between depths, or has an operation or a guidance, has its own method
    - `operation`: at least one head is given for a rule with an operation. The operation returns parameters of the same
      shape and dtype, without NaN and with a finite number for each pixel
    - `guidance`: the guidance returns logits of the same shape and dtype, at least one of them finite for each pixel,
      and none NaN for a value that is possible
    - `determinism`, `batch`, `layout`, `device`: results for a pixel depend on its own parameters or log-probabilities
      alone
    - `inputs`: operation and guidance do not change their arguments
    - `state`: nothing that other code shares is changed
    - `runs`: nothing else fails
    """
    check_options(rule)
    exact, usual = True, type(rule).changes is Rule.changes
    for depth in range(DEPTHS):
        with calling("a rule"):
            first, again = rule.adjustments(depth), rule.adjustments(depth)
            operation, guidance = rule.operation(depth), rule.guidance(depth)
        if not isinstance(first, Adjustments) or first != again:
            message = f"expected Adjustments that are equal for equal depths, got {first} and {again}"
            broken("adjustments", message, depth=depth)
        if usual and (first != rule.adjustments(0) or operation is not None or guidance is not None):
            broken(
                "meaning",
                "usual captions leave out operations, guidance and other depths than 0; write the method `changes`",
                depth=depth,
            )
        exact = exact and first == Adjustments() and operation is None and guidance is None
        if operation is not None and not heads:
            broken("operation", "the rule has an operation; give check_rule heads whose parameters it changes")
        for head in heads if operation is not None else ():
            _check_operation(operation, head, depth)
        if guidance is not None:
            _check_guidance(guidance, depth)
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


def _check_guidance(guidance: Any, depth: int) -> None:
    def compute(tables: Tensor) -> Results:
        possible = tables[:, 0].isfinite()
        found = guidance(*tables.unbind(1))
        check_tensor("logits", found, possible.shape, tables.dtype, law="guidance", depth=depth)
        if (found.isnan() & possible).any() or not (found.isfinite() & possible).any(1).all():
            broken("guidance", "logits are NaN, or not finite for any possible value", depth=depth, found=found)
        return {"logits": found.where(possible, -torch.inf)}

    tables = normal_noise((PIXELS, 2, LEVELS), depth)
    tables[:, :, LEVELS // 2 :] = -torch.inf  # These values are impossible.
    check_invariances(Function("the guidance", compute), tables.log_softmax(2))
