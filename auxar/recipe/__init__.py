"""Recipes: TOML files that describe the data, the model and its training.

They are read into frozen attrs classes and written back as TOML.
"""

from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.data_config import Crop, DataConfig, Split
from auxar.recipe.loading import fill_in, load_recipe, load_recipe_of_run, read_recipe, recipe_table, recipe_text
from auxar.recipe.schema import EvaluationConfig, Recipe, SamplingConfig, Stage, TrainingConfig

__all__ = [
    "ComponentChoice",
    "Crop",
    "DataConfig",
    "EvaluationConfig",
    "Recipe",
    "SamplingConfig",
    "Split",
    "Stage",
    "TrainingConfig",
    "fill_in",
    "load_recipe",
    "load_recipe_of_run",
    "read_recipe",
    "recipe_table",
    "recipe_text",
]
