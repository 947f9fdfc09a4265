"""Auxiliary-variable autoregressive image models, p(X, X̂) = p(X̂) p(X | X̂) with a view X̂ = ψ(X) of each image X.

>>> import auxar
>>> model = auxar.load("runs/quickstart")  # doctest: +SKIP
>>> images = model.sample(4, rule="ancestral", seed=0)  # doctest: +SKIP
>>> model.bits_per_dim(images)  # doctest: +SKIP

Commands, as on the command line:
    run             trains, evaluates, samples and reports a recipe's model; continues a run that was stopped
    evaluate        evaluates the trained factors of a run again
    sample          draws images from a run's model, freely or given images to start from
    figures         draws the paper's figures of a run's model
    compare         held-out bits/dim of runs side by side
    load            the trained model of a run: log_prob, bits_per_dim, sample
    load_recipe     a recipe and the registry of its plugins, from a TOML file
    factor_costs    parameters, multiply-adds and memory of every factor of a recipe

Records:
    Recipe          a recipe: images, stages, prior, training, evaluation, sampling
    RunFolder       the paths in a run's folder
    Comparison      the result of `compare`
    GivenRequest    given images to draw from
    ImageSpec       size, channels and levels of images
    Interval        the values from `low` to `high`, for every sub-pixel
    Known           pixels that are held fixed while the others are drawn
    DrawRule        the rule by which a value is drawn from its distribution
    SampleRequest   numbers, seed, rule and known pixels of the images to draw
    FactorLogProb   one factor's log-likelihoods
    ByChannel       log-likelihoods with the share of each channel
    Restriction     the views that drawn images must have, and their support
    DrawnPixels     asks for the interval of each channel of pixels, and tells what it has become

Interfaces that plugins implement:
    View            ψ, a deterministic function of an image that is itself an image
    Support, Walk   the images that have a given view, for whole images and while they are drawn
    Prior           p(X̂)
    Embedding       f_w, the features of a view that a decoder is given
    Decoder         p(X | X̂)
    Factor          a term of a model that trains apart
    CausalNetwork   a network whose parameters at a pixel depend on the pixels before it
    Head, RestrictableHead   distributions of a pixel given a network's parameters
    Sampler         walks a causal network over the pixels
    PixelSource     says what each pixel becomes

Models:
    Chain, Stage    stages p(X | X̂) and a prior of the coarsest view, together a prior

Building blocks for plugins:
    CausalPrior, CausalDecoder   any causal network as a prior or decoder
    DrawSource, ForceSource   pixels that are drawn, or those of a given image
    SumSupport      the support of a view whose values are sums of an image's values
    scale           integers to [-1, 1]
    at_most, positive   validators of options
    MOST_SIDE       the largest height and width of an image

Registration:
    Component       a component that recipes can name
    HeadChoice      a network's option that names a likelihood head
    hookimpl        marks a plugin's function `auxar_register_components`
    Registry        every component of the loaded plugins
    load_plugins    the registry of all installed plugins and of given plugin files
    INTERFACE_VERSION   the version of the interfaces that a plugin declares as AUXAR_INTERFACE
    UserError       a mistake that the user can correct; its message names the key, file or value
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # For type checkers and editors; the same names are in _MODULES, from which they are loaded.
    from auxar.causal import CausalDecoder, CausalPrior
    from auxar.commands.compare import compare
    from auxar.commands.evaluate import evaluate
    from auxar.commands.figures import figures
    from auxar.commands.sample import sample
    from auxar.errors import UserError
    from auxar.evaluation.comparison import Comparison
    from auxar.generation.inputs import GivenRequest
    from auxar.interfaces import (
        INTERFACE_VERSION,
        MOST_SIDE,
        ByChannel,
        CausalNetwork,
        Decoder,
        DrawnPixels,
        DrawRule,
        Embedding,
        Factor,
        FactorLogProb,
        Head,
        ImageSpec,
        Interval,
        Known,
        PixelSource,
        Prior,
        RestrictableHead,
        Restriction,
        Sampler,
        SampleRequest,
        Support,
        View,
        Walk,
        at_most,
        positive,
        scale,
    )
    from auxar.model import Chain, Stage
    from auxar.pipeline import run
    from auxar.plugins import Component, Registry, hookimpl, load_plugins
    from auxar.recipe import Recipe, load_recipe
    from auxar.recipe.choices import HeadChoice
    from auxar.recipe.cost import factor_costs
    from auxar.runs.layout import RunFolder
    from auxar.runs.weights import load
    from auxar.sources import DrawSource, ForceSource
    from auxar.support import SumSupport

    __version__: str

__all__ = [
    "INTERFACE_VERSION",
    "MOST_SIDE",
    "ByChannel",
    "CausalDecoder",
    "CausalNetwork",
    "CausalPrior",
    "Chain",
    "Comparison",
    "Component",
    "Decoder",
    "DrawRule",
    "DrawSource",
    "DrawnPixels",
    "Embedding",
    "Factor",
    "FactorLogProb",
    "ForceSource",
    "GivenRequest",
    "Head",
    "HeadChoice",
    "ImageSpec",
    "Interval",
    "Known",
    "PixelSource",
    "Prior",
    "Recipe",
    "Registry",
    "RestrictableHead",
    "Restriction",
    "RunFolder",
    "SampleRequest",
    "Sampler",
    "Stage",
    "SumSupport",
    "Support",
    "UserError",
    "View",
    "Walk",
    "__version__",
    "at_most",
    "compare",
    "evaluate",
    "factor_costs",
    "figures",
    "hookimpl",
    "load",
    "load_plugins",
    "load_recipe",
    "positive",
    "run",
    "sample",
    "scale",
]

_MODULES = {
    "CausalDecoder": "causal",
    "CausalPrior": "causal",
    "DrawSource": "sources",
    "ForceSource": "sources",
    "Chain": "model",
    "Comparison": "evaluation.comparison",
    "Component": "plugins",
    "GivenRequest": "generation.inputs",
    "HeadChoice": "recipe.choices",
    "Recipe": "recipe",
    "Registry": "plugins",
    "RunFolder": "runs.layout",
    "Stage": "model",
    "SumSupport": "support",
    "UserError": "errors",
    "compare": "commands.compare",
    "evaluate": "commands.evaluate",
    "factor_costs": "recipe.cost",
    "figures": "commands.figures",
    "hookimpl": "plugins",
    "load": "runs.weights",
    "load_plugins": "plugins",
    "load_recipe": "recipe",
    "run": "pipeline",
    "sample": "commands.sample",
}
"""Where names are, below `auxar`; all others are in `interfaces`."""


def __getattr__(name: str) -> Any:
    # Nothing is loaded before it is asked for: `import auxar` takes no time, and a plugin gets no more than it names.
    if name not in __all__:
        raise AttributeError(f"module 'auxar' has no attribute '{name}'")
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("auxar")
    else:
        value = getattr(importlib.import_module(f"auxar.{_MODULES.get(name, 'interfaces')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
