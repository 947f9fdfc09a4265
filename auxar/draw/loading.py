"""Makes models, trained from runs and untrained from recipes, and loads the images of their recipes."""

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs
import torch
from accelerate import Accelerator

from auxar.arguments import as_path
from auxar.data.sets import DataSets
from auxar.draw.devices import chosen_device
from auxar.draw.image_model import ImageModel
from auxar.errors import UserError, logger, one_line
from auxar.files import read_checksum
from auxar.recipe import Recipe, load_recipe
from auxar.recipe.building import build_model
from auxar.recipe.model_names import hub_name
from auxar.runs.arithmetic import model_in
from auxar.runs.history import Origin
from auxar.runs.layout import RunFolder
from auxar.runs.opening import open_run, run_facts
from auxar.work.accelerator import make_accelerator


def load(
    path: str | PathLike[str],
    device: str | torch.device = "auto",
    *,
    arithmetic: str | None = None,
    revision: str | None = None,
    trust_plugins: bool = False,
) -> ImageModel:
    """Loads the trained model of a run, with its averaged weights, in evaluation mode.

    `path` is the folder of the run, such as "runs/quickstart", the result of `auxar.run`, the name of a model that
    comes trained (`list_models`), or the name of a model on the Hugging Face hub, such as "user/name", of which
    `revision` is a branch, a tag or a commit. `device` is "cpu", "cuda", "cuda:N" or "auto", which is a GPU if
    PyTorch finds one with CUDA (or ROCm), and otherwise the CPU. With `arithmetic="integer"`, the model computes
    with the integers that `auxar.integers` made, with the same frequencies and samples on every machine; the
    default is the recipe's arithmetic. Plugin files of the run are code; they are run only if `trust_plugins` is
    True.

    Raises `UserError` if `path` is not the folder of a run, if the weights of a factor are missing, damaged or from
    another model, if the device does not exist, if the hub cannot be reached and the model is not in its cache, or if
    the run has plugin files and `trust_plugins` is False.

    Examples:
        >>> import auxar
        >>> model = auxar.load("runs/quickstart")
        >>> print(model.image)
        32×32×3 with 256 levels
        >>> auxar.load("quickstart.toml")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        auxar.errors.UserError: quickstart.toml is not a run's folder: it does not exist; ...
    """
    folder = as_path(path, "path")
    if revision is not None:
        if (found := hub_name(folder)) is None:
            raise UserError(f"revision: only models on the Hugging Face hub have revisions, and {path} is none of them")
        if found[1] is not None:
            raise UserError(f"revision: {path} names the revision '{found[1]}' already; give one of the two")
        folder = Path(f"{folder.as_posix()}@{revision}")
    place = chosen_device(device)
    return opened(folder, arithmetic=arithmetic, trust_plugins=trust_plugins).model.to(place)


@attrs.frozen
class OpenedRun:
    """A run with all factors trained, and its model in evaluation mode, on the CPU."""

    folder: RunFolder
    recipe: Recipe
    model: ImageModel

    @property
    def facts(self) -> dict[str, Any]:
        """Values by name that must be equal in all processes that use the model together."""
        chain = self.model.chain
        numbers = {f"the digest of {name} ({chain.arithmetic})": digest for name, digest in chain.digests.items()}
        return {**run_facts(self.folder, self.recipe), **numbers}

    def accelerator(self) -> Accelerator:
        """Creates the `Accelerator` of a command, and moves the model to its device."""
        found = make_accelerator(self.recipe.training.precision, self.folder.path)
        self.model.chain.to(found.device)
        return found


def opened(
    path: Path,
    settings: Sequence[str] = (),
    *,
    sampling: Mapping[str, Any] | None = None,
    arithmetic: str | None = None,
    trust_plugins: bool,
) -> OpenedRun:
    """Opens a trained run and applies `key=value` settings to its recipe.

    `path` is the run's folder or the name of a model. Values in `sampling` then replace keys of [sampling]. Raises
    `UserError` as `load` does.
    """
    tables = {} if sampling is None else {"sampling": sampling}
    run, recipe = open_run(path, settings, tables=tables, trust_plugins=trust_plugins)
    chain = model_in(run, recipe, arithmetic).eval()
    where = run.model or os.path.abspath(run.path)
    origins = {name: Origin(where, read_checksum(run.weights(name))) for name in recipe.factor_names}
    return OpenedRun(run, recipe, ImageModel(chain, recipe, origins, run))


def build(
    path: str | PathLike[str],
    settings: Sequence[str] = (),
    *,
    device: str | torch.device = "cpu",
    trust_plugins: bool = False,
) -> ImageModel:
    """Builds the model of a recipe with untrained weights.

    `path` is a TOML file, or the name of a recipe that comes with auxar, such as "quickstart". `settings` are
    `key=value` strings that override keys of the recipe. `device` is "cpu", "cuda", "cuda:N" or "auto", as for `load`.

    The initial weights are those that `auxar run` begins with: they depend on `training.seed`, and PyTorch's global
    generator is left as it is. `chain.initialize` adapts them to a batch of images. The other keys of [training] are
    not used. The model is in training mode.

    Raises `UserError` if the recipe is invalid, if the device does not exist, or if the recipe has plugin files, which
    are code, and `trust_plugins` is False.

    Examples:
        >>> import auxar
        >>> model = auxar.build("quickstart", ["prior.filters=8"])
        >>> [factor.name for factor in model.factors]
        ['stage0', 'stage1', 'prior']
        >>> images = next(auxar.load_images(model).train.shuffled(8))
        >>> model.chain.initialize(images)
        >>> model.chain.log_prob(images).requires_grad
        True
    """
    place = chosen_device(device)
    recipe = load_recipe(path, settings, trust_plugins=trust_plugins)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.training.seed)  # Not the generators of GPUs, which are not restored.
        chain = build_model(recipe)
    return ImageModel(chain, recipe).to(place)


def load_images(source: ImageModel | Recipe) -> DataSets:
    """Loads the images that a recipe, or the recipe of a model, describes in [data] and [image].

    The result has the image sets `train`, `heldout` and `validation`, which is None if the recipe has none. Their
    methods `shuffled` and `in_order` give batches, and `shuffled_examples` and `in_order_examples` batches with the
    conditions of the images. Without streaming, the first call converts all images and stores
    them in the cache of Hugging Face `datasets`. Images that are broken and left out are logged.

    Raises `UserError` if the model has no recipe, or if images cannot be found or read or do not fit [image].

    Examples:
        >>> import auxar
        >>> images = auxar.load_images(auxar.load_recipe("quickstart"))
        >>> next(images.train.shuffled(16)).shape
        torch.Size([16, 3, 32, 32])
    """
    recipe = source.recipe if isinstance(source, ImageModel) else source
    if not isinstance(recipe, Recipe):
        raise UserError("load_images: expected a model with a recipe, or the result of load_recipe")
    from auxar.data.loading import images_of  # Drawing needs no library for data sets.

    found = images_of(recipe)
    for name in found.skipped:
        logger.warning("this image cannot be read and is left out: %s", one_line(name))
    return found
