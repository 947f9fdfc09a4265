"""The table of the public names of auxar: the only place that names them.

`auxar/__init__.py` reads at run time where each name is defined. Type checkers and editors read this file as the types
of the package.
"""

# ruff: isort: skip_file

__all__: list[str]

# Loading a model
from auxar.draw.loading import load as load
from auxar.draw.image_model import ImageModel as ImageModel
from auxar.draw.images import Images as Images
from auxar.draw.images import Draws as Draws
from auxar.draw.conditions import Conditions as Conditions
from auxar.draw.classification import Classification as Classification

# Building and training a model
from auxar.draw.loading import build as build
from auxar.draw.loading import load_images as load_images
from auxar.data.sets import DataSets as DataSets
from auxar.data.sets import ImageSet as ImageSet

# Commands
from auxar.commands.run import run as run
from auxar.training.watching import on_step as on_step
from auxar.training.watching import TrainingStep as TrainingStep
from auxar.report.summary import MeasuredRun as MeasuredRun
from auxar.report.summary import RunSummary as RunSummary
from auxar.runs.layout import RunFolder as RunFolder
from auxar.commands.evaluate import evaluate as evaluate
from auxar.commands.sample import sample as sample
from auxar.commands.figures import figures as figures
from auxar.commands.compare import compare as compare
from auxar.evaluation.comparison import Comparison as Comparison
from auxar.evaluation.evaluation import Evaluation as Evaluation
from auxar.commands.classify import classify as classify
from auxar.draw.classification import Classes as Classes
from auxar.draw.classification import ImageClass as ImageClass
from auxar.commands.score import score as score
from auxar.draw.scoring import Scores as Scores
from auxar.draw.scoring import ImageScore as ImageScore
from auxar.evaluation.codecs import codec_sizes as codec_sizes
from auxar.commands.export import export as export
from auxar.commands.integers import integers as integers
from auxar.commands.limits import limits as limits
from auxar.commands.views import write_views as write_views
from auxar.draw.written import write_dataset as write_dataset
from auxar.commands.models import list_models as list_models
from auxar.report.shipped_models import ShippedModel as ShippedModel

# Recipes
from auxar.recipe import load_recipe as load_recipe
from auxar.recipe import Recipe as Recipe
from auxar.commands.check import check as check
from auxar.commands.new_recipe import new_recipe as new_recipe
from auxar.recipe.cost import RecipeCheck as RecipeCheck
from auxar.recipe.shipped import list_recipes as list_recipes
from auxar.recipe.shipped import ShippedRecipe as ShippedRecipe
from auxar.recipe.cost import factor_costs as factor_costs
from auxar.recipe.json_schema import recipe_schema as recipe_schema

# Plugins
from auxar.commands.new_plugin import new_plugin as new_plugin
from auxar.scaffold.writing import NewPlugin as NewPlugin
from auxar.commandline import command as command
from auxar.commandline import Result as Result
from auxar.cli.parser import check_line as check_line
from auxar.plugins import Component as Component
from auxar.plugins import hookimpl as hookimpl
from auxar.plugins import INTERFACE_VERSION as INTERFACE_VERSION
from auxar.plugins import load_plugins as load_plugins
from auxar.plugins import Registry as Registry
from auxar.arguments import as_integer as as_integer
from auxar.arguments import as_path as as_path
from auxar.arguments import check_flag as check_flag
from auxar.arguments import check_strings as check_strings
from auxar.arguments import image_size as image_size
from auxar.errors import UserError as UserError
from auxar.recipe.choices import Choice as Choice
from auxar.recipe.choices import HeadChoice as HeadChoice
from auxar.training.schedules import Schedule as Schedule
from auxar.validation import positive as positive
from auxar.validation import at_least as at_least
from auxar.validation import at_most as at_most
from auxar.validation import below as below
from auxar.validation import finite as finite
from auxar.validation import names_among as names_among
from auxar.caching import cached_folder as cached_folder
from auxar.files import replacing as replacing
from auxar.locks import holding as holding
from auxar.work.chunks import Work as Work
from auxar.progress import progress_bar as progress_bar
from auxar.draw.inputs import pictures_of as pictures_of
from auxar import testing as testing
from auxar.version import __version__ as __version__

# Images
from auxar.model import ImageSpec as ImageSpec
from auxar.model import Interval as Interval
from auxar.model import Known as Known
from auxar.model import MOST_SIDE as MOST_SIDE
from auxar.model import scale as scale

# Views and supports
from auxar.model import View as View
from auxar.model import Support as Support
from auxar.model import CENTER_BITS as CENTER_BITS
from auxar.model import GivenView as GivenView
from auxar.model import Walk as Walk
from auxar.model import SumSupport as SumSupport
from auxar.model import SumWalk as SumWalk
from auxar.model import NeighborWalk as NeighborWalk
from auxar.model import REFERENCES as REFERENCES
from auxar.model import DrawnPixels as DrawnPixels

# Augmentations
from auxar.model import Augmentation as Augmentation

# Networks
from auxar.model import CausalNetwork as CausalNetwork
from auxar.model import StepwiseNetwork as StepwiseNetwork
from auxar.model import RecomputableBlock as RecomputableBlock
from auxar.model import Embedding as Embedding
from auxar.model import NetworkEmbedding as NetworkEmbedding
from auxar.model import Encoded as Encoded
from auxar.model import evaluating as evaluating

# Heads
from auxar.model import Head as Head
from auxar.model import RestrictableHead as RestrictableHead
from auxar.model import IntegerHead as IntegerHead
from auxar.model import Frequencies as Frequencies
from auxar.model import PARAMETER_BITS as PARAMETER_BITS
from auxar.model import Adjustments as Adjustments
from auxar.model import Rule as Rule
from auxar.model import Ancestral as Ancestral
from auxar.model import Adjusted as Adjusted

# Distributions
from auxar.model import Prior as Prior
from auxar.model import Decoder as Decoder
from auxar.model import CausalDistribution as CausalDistribution
from auxar.model import ByChannel as ByChannel
from auxar.model import Condition as Condition
from auxar.model import Conditioning as Conditioning

# Factors and their chain
from auxar.model import Chain as Chain
from auxar.model import Factor as Factor
from auxar.model import Conditional as Conditional
from auxar.model import Values as Values
from auxar.model import IMAGE as IMAGE
from auxar.model import CONDITION as CONDITION
from auxar.model import variable_at as variable_at
from auxar.model import FactorLogProb as FactorLogProb
from auxar.model import Arithmetic as Arithmetic
from auxar.model import Converted as Converted

# Samplers
from auxar.model import Sampler as Sampler
from auxar.model import SampleRequest as SampleRequest
from auxar.model import PixelSource as PixelSource
from auxar.model import DrawSource as DrawSource
from auxar.model import ForceSource as ForceSource
from auxar.model import DecodeSource as DecodeSource
from auxar.model import FactorCoder as FactorCoder
