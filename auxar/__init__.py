"""Autoregressive image models with auxiliary variables: p(X, X̂) = p(X̂) p(X | X̂) for a view X̂ = ψ(X) of an image X.

>>> import auxar
>>> model = auxar.load("runs/quickstart")
>>> images = model.sample(4, rule="ancestral", seed=0)
>>> images.shape, model.bits_per_dim(images).shape
((4, 3, 32, 32), torch.Size([4]))

Functions (most are also commands; `write_views`, `list_recipes`, `list_models`, `recipe_schema` and
`factor_costs` are the commands `views`, `recipes`, `models`, `schema` and `check`):
    run             trains a recipe's model, evaluates it, draws samples and writes a report; continues a stopped run,
                    or trains a finished run further
    launch          trains the factors of a recipe's model as jobs of Slurm or of this machine
    launch_status   reads the progress of a launched run, and the states of its jobs
    cancel_launch   ends the jobs of a launched run
    evaluate        evaluates the trained factors of a run
    fid             computes FID and KID between drawn images and images of a run's data
    sample          draws images from a run's model, optionally from views or parts of given images
    figures         draws the paper's figures with a run's model
    demo            shows a page in the browser, on which a run's model draws and measures pictures
    score           scores how unusual images are for a run's model, for instance to find outliers
    compare         compares the held-out bits/dim of runs
    classify        finds the most probable labels of images, for a model that is given labels
    tables          writes the tables of a run's report, or of a comparison of runs, as CSV and LaTeX
    export          writes a small, complete folder of a finished run, to share it
    push            uploads a finished run to the Hugging Face hub, with a card that describes it
    integers        converts a finished run to integers, with which samples are the same on every machine
    compress        compresses pictures without loss into a file, with a model in integers
    decompress      decodes the images of such a file
    inspect         reads which images such a file has, and with which model they are decoded
    write_views     writes the images of a recipe's data set at a depth of its chain, as another recipe's data
    load            loads the trained model of a run, or a model that comes trained, as an `ImageModel`
    build           builds the untrained `ImageModel` of a recipe, for a training loop of your own
    load_images     loads the images of a model or a recipe as `DataSets`
    load_recipe     reads a recipe from a TOML file, or one that comes with auxar by its name, and loads its plugins
    list_recipes    lists the recipes that come with auxar
    list_models     lists the models that come trained
    recipe_schema   returns the JSON Schema of recipes, with which editors complete and check them
    factor_costs    computes the parameters, multiply-adds and memory of every factor of a recipe

Records:
    Recipe          a recipe: images, stages, prior, training, evaluation, sampling
    ShippedRecipe   a recipe that comes with auxar: name, purpose, time, memory, result, path
    ShippedModel    a model that comes trained: name, purpose, images, bits/dim, size, license, path
    RunFolder       the paths in a run's folder
    DataSets        the training, held-out and validation images of a recipe, each an `ImageSet`
    ImageSet        images as integers, in shuffled batches or in order
    Comparison      the result of `compare`
    LaunchStatus    the result of `launch`: the `FactorProgress` of each factor and the `JobStatus` of each job
    ImageDistances, Distances   the result of `fid`, and its FID and KID
    Pushed          the result of `push`: name, address and commit
    Scores          the result of `score`, with an `ImageScore` for each image
    Classes         the result of `classify`, with an `ImageClass` for each image
    Classification  the result of `ImageModel.classify`: probabilities of the classes of images
    Condition       a variable that comes with each image, such as its label, and that a model is given
    Conditions      conditions that drawn images are given in turn
    Examples        a batch of images with their conditions
    GivenRequest    files of given images or views, and how images are drawn from them
    ImageSpec       size, channels and levels of images
    Interval        the possible values of every sub-pixel, from `low` to `high` inclusive
    Known           pixels that are held fixed while the others are drawn
    DrawRule        the rule by which a value is drawn from its distribution
    SampleRequest   a request to draw images: their numbers, seed, rule and known pixels
    FactorLogProb   the log-likelihoods of images under one factor
    ByChannel       log-likelihoods in total and for each channel
    Restriction     the views that drawn images must have, with the support of the view
    DrawnPixels     the pixels of one drawing step: gives the interval of each channel and records the drawn values

Interfaces that plugins implement:
    View            ψ, a deterministic function of an image that is itself an image
    Support, Walk   the possible values of sub-pixels given a view: in complete images, and while images are drawn
    CausalNetwork   a network that predicts the distribution of each pixel from the pixels before it
    StepwiseNetwork   a causal network that can also predict one pixel at a time
    Prior           p(X̂), a distribution of images that is not a causal network
    Embedding       f_w, a network that computes a decoder's features from a view
    Decoder         p(X | X̂), a distribution given features of a view that is not a causal network
    NetworkEmbedding   an embedding that can be converted to integers; `Encoded` says how it encodes views
    Head, RestrictableHead   distributions of a pixel given a network's parameters
    IntegerHead, Frequencies   distributions with integer frequencies, for parameters that are integers
    Arithmetic, Converted   the conversion of trained factors, for example to integers, and its result
    RecomputableBlock   a part of a network that training can compute again instead of keeping its inner values
    Sampler         draws images from a causal network
    PixelSource     decides the value of each pixel

Models:
    ImageModel      a model without gradients: log_prob, log_probs, bits_per_dim; sample, colorize, enlarge, complete,
                    draw_given; classify, sample_conditions; views, prepare; save writes it as a run
    Images, Draws   drawn images: integers that notebooks show as pictures
    Chain           the joint model of an image and its views: a factor for each view, and last the prior
    Factor          an independently trained term: a distribution and, each optional, a view with its embedding, a
                    condition, and a restriction

Building blocks for plugins:
    CausalDistribution   the prior or the decoder that a causal network makes
    Conditioning    the features of a condition
    DrawSource, ForceSource   pixel sources that draw the pixels, or copy them from given images
    DecodeSource    a pixel source that decodes the pixels from the bytes of an entropy coder
    SumSupport, SumWalk   the support of a view that depends on weighted sums of sub-pixels, and its walk
    scale           scales integers in [0, levels) to [-1, 1]
    evaluating      puts a network into evaluation mode, and restores the mode of each part afterwards
    at_most, positive, names_among   validators of options
    replacing, holding   contexts for files that several processes use: writes a file as a whole, holds a lock file
    MOST_SIDE       the largest height and width of an image
    PARAMETER_BITS  bits after the binary point of an `IntegerHead`'s parameters

Registration:
    Component       a component that a plugin provides and recipes can select
    cached_folder   writes the files of a data set once, into a folder of the cache
    Choice          the type of an option that selects a component; a subclass has the kind of the components
    HeadChoice      the type of a network's option that selects a likelihood head
    hookimpl        decorator of a plugin's function `auxar_register_components`
    Registry        every component of the loaded plugins
    load_plugins    loads all installed plugins and given plugin files, and returns their registry
    INTERFACE_VERSION   the version of these interfaces; a plugin's AUXAR_INTERFACE is the version that it needs
    UserError       a mistake that the user can correct; its message names the key, file or value
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # For type checkers and editors only. At run time, `__getattr__` imports each name on first use.
    from auxar.caching import cached_folder
    from auxar.commands.classify import Classes, ImageClass, classify
    from auxar.commands.compare import compare
    from auxar.commands.compress import compress
    from auxar.commands.decompress import decompress, inspect
    from auxar.commands.demo import demo
    from auxar.commands.evaluate import evaluate
    from auxar.commands.export import export
    from auxar.commands.fid import fid
    from auxar.commands.figures import figures
    from auxar.commands.integers import integers
    from auxar.commands.launch import LaunchStatus, cancel_launch, launch, launch_status
    from auxar.commands.models import ShippedModel, list_models
    from auxar.commands.push import Pushed, push
    from auxar.commands.sample import sample
    from auxar.commands.score import ImageScore, Scores, score
    from auxar.commands.tables import tables
    from auxar.commands.views import write_views
    from auxar.data import DataSets, Examples, ImageSet
    from auxar.errors import UserError
    from auxar.evaluation.comparison import Comparison
    from auxar.evaluation.distances import Distances, ImageDistances
    from auxar.files import replacing
    from auxar.generation.conditions import Conditions
    from auxar.generation.inputs import GivenRequest
    from auxar.image_model.building import build
    from auxar.image_model.classification import Classification
    from auxar.image_model.images import Draws, Images
    from auxar.image_model.loading import load
    from auxar.image_model.model import ImageModel
    from auxar.image_model.recipe_images import load_images
    from auxar.locks import holding
    from auxar.model import (
        MOST_SIDE,
        PARAMETER_BITS,
        Arithmetic,
        ByChannel,
        CausalDistribution,
        CausalNetwork,
        Chain,
        Condition,
        Conditioning,
        Converted,
        Decoder,
        DecodeSource,
        DrawnPixels,
        DrawRule,
        DrawSource,
        Embedding,
        Encoded,
        Factor,
        FactorLogProb,
        ForceSource,
        Frequencies,
        Head,
        ImageSpec,
        IntegerHead,
        Interval,
        Known,
        NetworkEmbedding,
        PixelSource,
        Prior,
        RecomputableBlock,
        RestrictableHead,
        Restriction,
        Sampler,
        SampleRequest,
        StepwiseNetwork,
        SumSupport,
        SumWalk,
        Support,
        View,
        Walk,
        evaluating,
        scale,
    )
    from auxar.pipeline import run
    from auxar.plugins import INTERFACE_VERSION, Component, Registry, hookimpl, load_plugins
    from auxar.recipe import Recipe, load_recipe
    from auxar.recipe.choices import Choice, HeadChoice
    from auxar.recipe.cost import factor_costs
    from auxar.recipe.json_schema import recipe_schema
    from auxar.recipe.shipped import ShippedRecipe, list_recipes
    from auxar.runs.layout import RunFolder
    from auxar.validation import at_most, names_among, positive

    __version__: str

__all__ = [
    "INTERFACE_VERSION",
    "MOST_SIDE",
    "PARAMETER_BITS",
    "Arithmetic",
    "ByChannel",
    "CausalDistribution",
    "CausalNetwork",
    "Chain",
    "Choice",
    "Classes",
    "Classification",
    "Comparison",
    "Component",
    "Condition",
    "Conditioning",
    "Conditions",
    "Converted",
    "DataSets",
    "DecodeSource",
    "Decoder",
    "Distances",
    "DrawRule",
    "DrawSource",
    "DrawnPixels",
    "Draws",
    "Embedding",
    "Encoded",
    "Examples",
    "Factor",
    "FactorLogProb",
    "ForceSource",
    "Frequencies",
    "GivenRequest",
    "Head",
    "HeadChoice",
    "ImageClass",
    "ImageDistances",
    "ImageModel",
    "ImageScore",
    "ImageSet",
    "ImageSpec",
    "Images",
    "IntegerHead",
    "Interval",
    "Known",
    "LaunchStatus",
    "NetworkEmbedding",
    "PixelSource",
    "Prior",
    "Pushed",
    "Recipe",
    "RecomputableBlock",
    "Registry",
    "RestrictableHead",
    "Restriction",
    "RunFolder",
    "SampleRequest",
    "Sampler",
    "Scores",
    "ShippedModel",
    "ShippedRecipe",
    "StepwiseNetwork",
    "SumSupport",
    "SumWalk",
    "Support",
    "UserError",
    "View",
    "Walk",
    "__version__",
    "at_most",
    "build",
    "cached_folder",
    "cancel_launch",
    "classify",
    "compare",
    "compress",
    "decompress",
    "demo",
    "evaluate",
    "evaluating",
    "export",
    "factor_costs",
    "fid",
    "figures",
    "holding",
    "hookimpl",
    "inspect",
    "integers",
    "launch",
    "launch_status",
    "list_models",
    "list_recipes",
    "load",
    "load_images",
    "load_plugins",
    "load_recipe",
    "names_among",
    "positive",
    "push",
    "recipe_schema",
    "replacing",
    "run",
    "sample",
    "scale",
    "score",
    "tables",
    "write_views",
]

_MODULES = {
    "holding": "locks",
    "names_among": "validation",
    "replacing": "files",
    "INTERFACE_VERSION": "plugins",
    "at_most": "validation",
    "positive": "validation",
    "Draws": "image_model.images",
    "Choice": "recipe.choices",
    "Comparison": "evaluation.comparison",
    "Component": "plugins",
    "DataSets": "data",
    "GivenRequest": "generation.inputs",
    "HeadChoice": "recipe.choices",
    "ImageModel": "image_model.model",
    "ImageSet": "data",
    "Images": "image_model.images",
    "Recipe": "recipe",
    "Registry": "plugins",
    "RunFolder": "runs.layout",
    "ShippedModel": "commands.models",
    "ShippedRecipe": "recipe.shipped",
    "UserError": "errors",
    "build": "image_model.building",
    "cached_folder": "caching",
    "compare": "commands.compare",
    "compress": "commands.compress",
    "decompress": "commands.decompress",
    "evaluate": "commands.evaluate",
    "LaunchStatus": "commands.launch",
    "cancel_launch": "commands.launch",
    "launch": "commands.launch",
    "launch_status": "commands.launch",
    "fid": "commands.fid",
    "export": "commands.export",
    "inspect": "commands.decompress",
    "integers": "commands.integers",
    "factor_costs": "recipe.cost",
    "figures": "commands.figures",
    "hookimpl": "plugins",
    "list_models": "commands.models",
    "list_recipes": "recipe.shipped",
    "load": "image_model.loading",
    "load_images": "image_model.recipe_images",
    "load_plugins": "plugins",
    "load_recipe": "recipe",
    "ImageClass": "commands.classify",
    "classify": "commands.classify",
    "Classes": "commands.classify",
    "Classification": "image_model.classification",
    "Conditions": "generation.conditions",
    "Examples": "data",
    "ImageScore": "commands.score",
    "Distances": "evaluation.distances",
    "ImageDistances": "evaluation.distances",
    "Pushed": "commands.push",
    "Scores": "commands.score",
    "demo": "commands.demo",
    "score": "commands.score",
    "tables": "commands.tables",
    "push": "commands.push",
    "recipe_schema": "recipe.json_schema",
    "run": "pipeline",
    "sample": "commands.sample",
    "write_views": "commands.views",
}
"""The module below `auxar` that defines each public name. Names without an entry, except `__version__`, are in
`auxar.model`."""


def __getattr__(name: str) -> Any:
    # Names are imported on first use, so `import auxar` is fast and a plugin imports only the modules that it uses.
    if name == "testing":  # The import binds the module to this name.
        return importlib.import_module("auxar.testing")
    if name not in __all__:
        raise AttributeError(f"module 'auxar' has no attribute '{name}'", name=name, obj=sys.modules[__name__])
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("auxar")
    else:
        value = getattr(importlib.import_module(f"auxar.{_MODULES.get(name, 'model')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # Without the names that this file imports for itself. Modules of the package that were imported are shown.
    return sorted({*globals(), *__all__, "testing"} - {"Any", "TYPE_CHECKING", "annotations", "importlib", "sys"})
