"""The optimizer of a factor, which the recipe chooses."""

from __future__ import annotations

from torch.optim import Optimizer

from auxar.errors import UserError, one_line
from auxar.model import Factor
from auxar.recipe import ComponentChoice
from auxar.recipe.component_choice import takes_steps


def make_optimizer(factor: Factor, choice: ComponentChoice, steps: int) -> Optimizer:
    """Builds the optimizer of a factor for a training of `steps` steps.

    Raises `UserError` if it refuses its options.
    """
    planned = {"steps": steps} if choice.component is not None and takes_steps(choice.component.build) else {}
    try:
        return choice.build_as(Optimizer, factor, **planned)
    except (TypeError, ValueError) as error:  # PyTorch's optimizers check their options.
        raise UserError(f"optimizer '{choice.name}' cannot be built: {one_line(str(error))}") from error
