"""Recipes: TOML files that describe the data, the model and its training.

They are read into frozen attrs classes and written back as TOML.
"""

from auxar.recipe.component_choice import ComponentChoice as ComponentChoice
from auxar.recipe.data_config import Crop as Crop
from auxar.recipe.data_config import DataConfig as DataConfig
from auxar.recipe.data_config import Split as Split
from auxar.recipe.loading import fill_in as fill_in
from auxar.recipe.loading import load_recipe as load_recipe
from auxar.recipe.loading import load_recipe_of_run as load_recipe_of_run
from auxar.recipe.loading import read_recipe as read_recipe
from auxar.recipe.loading import recipe_table as recipe_table
from auxar.recipe.loading import recipe_text as recipe_text
from auxar.recipe.schema import Recipe as Recipe
from auxar.recipe.schema import SamplingConfig as SamplingConfig
from auxar.recipe.schema import TrainingConfig as TrainingConfig
