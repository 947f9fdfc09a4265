"""The model of a run in a chosen arithmetic."""

from __future__ import annotations

from auxar.errors import UserError, did_you_mean, shown
from auxar.interfaces import Prior
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.building import build_model
from auxar.runs.converted import converted_model
from auxar.runs.layout import RunFolder
from auxar.runs.weights import check_sizes, trained_model

FLOAT = "float"
"""The name of floating-point arithmetic, which needs no conversion."""


def model_in(run: RunFolder, recipe: Recipe, registry: Registry, arithmetic: str | None) -> Prior:
    """The trained model of a run in an arithmetic: `float`, the default, or the name of a component.

    Raises `UserError` if there is no such arithmetic, or if the weights or the converted factors are missing, damaged
    or from another model.
    """
    if arithmetic is None or arithmetic == FLOAT:
        return trained_model(run, recipe, registry)
    known = (FLOAT, *registry.names("arithmetic"))
    if arithmetic not in known:
        raise UserError(f"arithmetic: {shown(arithmetic)} is unknown{did_you_mean(str(arithmetic), known)}")
    check_sizes(run, recipe, registry, recipe.factor_names)
    component = registry.get("arithmetic", arithmetic, "arithmetic")
    return converted_model(run, build_model(recipe, registry), arithmetic, component.build(component.config()))
