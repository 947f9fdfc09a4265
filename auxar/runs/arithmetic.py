"""The model of a run in a chosen arithmetic."""

from auxar.errors import UserError, did_you_mean, shown
from auxar.model import FLOAT, Chain
from auxar.plugins import Registry
from auxar.recipe import ComponentChoice, Recipe
from auxar.recipe.building import build_component
from auxar.recipe.choices import resolved
from auxar.runs.converted import converted_model
from auxar.runs.layout import RunFolder
from auxar.runs.weights import trained_model


def chosen_arithmetic(recipe: Recipe, name: str | None) -> ComponentChoice:
    """The arithmetic with a name, or that of the recipe if the name is None.

    The options are those of the recipe if it has the same arithmetic, and otherwise the defaults. Raises `UserError` if
    there is no such arithmetic.
    """
    if name is None or name == recipe.arithmetic.name:
        return recipe.arithmetic
    check_arithmetic(recipe.registry, name)
    choice = ComponentChoice(name)
    return choice if name == FLOAT else resolved(choice, "arithmetic", "arithmetic", recipe.registry)


def check_arithmetic(registry: Registry, name: str) -> None:
    """Raises `UserError` unless this is the name of an arithmetic."""
    known = (FLOAT, *registry.names("arithmetic"))
    if name not in known:
        raise UserError(f"arithmetic: {shown(name)} is unknown{did_you_mean(str(name), known)}")


def model_in(run: RunFolder, recipe: Recipe, arithmetic: str | None) -> Chain:
    """The trained model of a run in the arithmetic with a name, or in that of the recipe if the name is None.

    Raises `UserError` if there is no such arithmetic, or if the weights or the converted factors are missing, damaged
    or from another model.
    """
    choice = chosen_arithmetic(recipe, arithmetic)
    model = trained_model(run, recipe)  # Loading weights checks them, also for other arithmetics.
    if choice.name == FLOAT:
        return model
    return converted_model(run, model, choice.name, build_component(choice, "arithmetic"))
