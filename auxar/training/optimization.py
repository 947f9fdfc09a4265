"""The optimizer of a factor, which the recipe chooses."""

from __future__ import annotations

from torch.optim import Optimizer

from auxar.errors import UserError, one_line
from auxar.model import Factor
from auxar.recipe import ComponentChoice
from auxar.recipe.component_choice import takes_steps


def make_optimizer(factor: Factor, choice: ComponentChoice, steps: int) -> Optimizer:
    """Builds the optimizer of a factor for a training of `steps` steps.

    Raises `UserError` unless it has all trainable weights of the factor and no others.
    """
    planned = {"steps": steps} if choice.component is not None and takes_steps(choice.component.build) else {}
    try:
        optimizer = choice.build_as(Optimizer, factor, **planned)
    except (TypeError, ValueError) as error:  # PyTorch's optimizers check their options.
        raise UserError(f"optimizer '{choice.name}' cannot be built: {one_line(str(error))}") from error
    given = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    weights = dict(factor.named_parameters())
    left_out = [name for name, weight in weights.items() if weight.requires_grad and id(weight) not in given]
    if left_out or not given <= set(map(id, weights.values())):
        found = f"left out {left_out[0]}" if left_out else "has others"
        expected = f"all trainable weights of factor {factor.name} and no others"
        raise UserError(f"optimizer '{choice.name}': its build must give the optimizer {expected}; it {found}")
    return optimizer
