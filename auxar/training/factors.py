"""Trains the factors of a run, of which each worker takes the next one that no other trains."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import torch
from accelerate import Accelerator

from auxar.arguments import check_strings
from auxar.data.sets import DataSets
from auxar.errors import UserError, did_you_mean, logger, naming
from auxar.files import remove
from auxar.leftovers import unfinished
from auxar.locks import holder
from auxar.model import Chain, Factor
from auxar.model.checks import check_augmentation, check_view
from auxar.recipe import Recipe
from auxar.recipe.building import build_augmentations, build_model
from auxar.runs.layout import RunFolder
from auxar.runs.lock import LOCK
from auxar.runs.versions import check_saved
from auxar.training.lengths import is_trained
from auxar.training.loop import FactorLoop
from auxar.training.trackers import start_trackers
from auxar.work.chunks import Waiting, take
from auxar.work.processes import ALONE, Processes


def chosen_factors(recipe: Recipe, only: Sequence[str]) -> Sequence[str]:
    """Names of the factors to train: `only`, or all factors if it is empty. Raises `UserError` for an unknown name."""
    check_strings(only, "only", "names of factors")
    for name in only:
        if name not in recipe.factor_names:
            raise UserError(f"only: the recipe has no factor named '{name}'{did_you_mean(name, recipe.factor_names)}")
    return only or recipe.factor_names


def at_crops(model: Chain, factor: Factor, data: DataSets, recipe: Recipe) -> tuple[Chain, Factor, DataSets]:
    """The model, its factor and the images, at the size of the factor's crops if the recipe sets one."""
    config = recipe.training_of(factor.name)
    if config.crop is None:
        return model, factor, data
    model, own = model.at(*config.crop), data.of(factor.name)
    image = model.specs[config.depth]
    assert own.train.crops is not None, "only images that keep their own sizes are cropped"
    crops = attrs.evolve(own.train.crops, image=image)
    own = attrs.evolve(own, train=attrs.evolve(own.train, image=image, crops=crops))  # type: ignore[misc]
    (factor,) = (other for other in model.all_factors if other.name == factor.name)
    return model, factor, attrs.evolve(data, own={factor.name: own})


CHECKED, MOST_CHECKED = 16, 2**22
"""Maximum numbers of held-out images, and of their sub-pixels, on which views and augmentations are checked before a
factor is trained."""


@attrs.frozen(eq=False)
class FactorTraining:
    """The training of the factors of a run, each of which is a chunk of work whose state is its checkpoint.

    Processes that are started apart with the same recipe and folder train different factors at the same time. The
    processes of a group train each factor together.
    """

    recipe: Recipe
    run: RunFolder
    data: DataSets
    steps: Mapping[str, int]
    """The number of steps of each factor."""
    accelerator: Accelerator
    processes: Processes = ALONE
    preview: Callable[[Chain, Factor, int, Accelerator], None] | None = None
    """A function that draws images with the current weights of a factor after a step, every `training.sample_every`
    steps. All processes call it."""
    report: Callable[[Chain], None] | None = None
    """A function that is called with the model after each factor if this worker has others to train. It may load
    trained weights into the model."""

    show: Callable[[], None] | None = None
    """A function that shows how training goes. The main process calls it after every checkpoint."""

    def train(self, names: Sequence[str], *, wait: bool = True) -> Chain | None:
        """Trains the named factors, together with other workers that train factors of this run, and writes the weights.

        If other workers hold all factors that are not trained yet, waits until these are done or free; without `wait`,
        logs who trains them, and returns None. In the returned model, only the factors that this worker has trained
        have trained weights.
        """
        if self.recipe.training.trackers:
            start_trackers(self.recipe, self.run.path, self.accelerator)
        # The initial weights depend only on the seed, and not on which factors this worker trains.
        torch.manual_seed(self.recipe.training.seed)
        model = build_model(self.recipe)
        check_saved(self.run, model.all_factors)
        if self._missing(names):
            count = max(1, min(CHECKED, MOST_CHECKED // model.image.dims))
            views = model.by_depth(model.with_views(self.data.heldout.first_examples(count)))
            for key, config in self.recipe.training_tables.items():
                for augmentation in () if config.data else build_augmentations(config):
                    with naming(f"{key}.augment"):
                        check_augmentation(augmentation, views[0], model.image)
            for factor, image, view in zip(model.factors, views, views[1:], strict=False):
                check_view(factor, image, view)
        waiting = Waiting()
        while missing := self.processes.from_main(self._missing(names)):
            # The coarsest factor is trained first: it is usually the fastest, so problems with the data show up early.
            factors = [factor for factor in reversed(model.all_factors) if factor.name in missing]
            if any(self._take(model, factor, names) for factor in factors):
                waiting = Waiting()
            elif wait:
                waiting.pause(self._lock(factors[0].name))
            else:
                user = holder(self._lock(factors[0].name))
                logger.info("factor %s is trained by %s, and this command does not wait", factors[0].name, user)
                return None
        return model

    def _take(self, model: Chain, factor: Factor, names: Sequence[str]) -> bool:
        """Trains a factor, unless another worker holds it or has trained it. Returns whether this one has."""
        later = [other.name for other in model.all_factors[: factor.depth] if other.name in names]
        taken = take(
            self._lock(factor.name),
            lambda: not self._missing([factor.name]),
            lambda: self._train(model, factor),
            self.processes,
        )
        if taken and self.report is not None and self.processes.from_main(self._missing(later)):
            self.report(model)
            model.to("cpu")
        return taken

    def _train(self, model: Chain, factor: Factor) -> None:
        """Trains a factor from its newest checkpoint if there is one."""
        if self.processes.is_main:
            for left in unfinished(self.run.factor(factor.name)):
                remove(left)
        preview = None if self.preview is None else functools.partial(self.preview, model, factor)
        cropped = at_crops(model, factor, self.data, self.recipe)
        FactorLoop(*cropped, self.recipe, self.run, self.accelerator, preview, self.show).run_to_end()
        factor.to("cpu")

    def _missing(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if not is_trained(self.run, name, self.steps[name])]

    def _lock(self, name: str) -> Path:
        return self.run.factor(name) / LOCK
