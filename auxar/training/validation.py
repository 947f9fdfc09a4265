"""Evaluates a factor on validation images during training. The figures choose its weights and may end its training.

Files of the weights with the lowest bits/dim lie beside the checkpoints of a factor. A checkpoint contains the step of
the best weights so far, and their file has this step in its name. Each checkpoint that is kept therefore finds its own
best weights, even if a later file was written before the process was killed.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
from accelerate import Accelerator
from torch import Tensor

from auxar.data.sets import ImageSet
from auxar.errors import logger
from auxar.evaluation.evaluation import NATS, PIXELS
from auxar.evaluation.image_nats import Pass, factor_nats
from auxar.files import DamagedFile, is_file, read_tensors, remove, write_tensors
from auxar.model import Chain, Factor, evaluating
from auxar.numerics.threads import ThreadChoice
from auxar.recipe import TrainingConfig
from auxar.runs.weights import check_shapes
from auxar.training.averaging import WeightAverage, averaged
from auxar.training.checkpoints import Progress, ValidationProgress, best_step, checkpoints, numbered
from auxar.training.progress import Meter

NAME = re.compile(r"best-(\d+)\.safetensors")
"""The names of files of best weights."""


@attrs.define(eq=False, slots=False)
class Validation:
    """The evaluations of validation images during a factor's training. Does nothing without `training.evaluate_every`.

    All processes that train the factor together get the same figures, so they make the same decisions.
    """

    model: Chain
    factor: Factor
    images: ImageSet | None
    """The validation images of the run, which are required if the recipe sets `training.evaluate_every`."""
    batch_size: int
    """Number of images that are evaluated at once."""
    config: TrainingConfig
    folder: Path
    accelerator: Accelerator
    total: int
    progress: ValidationProgress = attrs.field(init=False, factory=ValidationProgress)
    """The outcome since step 1, also of training before a checkpoint that was continued. Checkpoints store it."""

    def __attrs_post_init__(self) -> None:
        self.threads = ThreadChoice(self.accelerator.device)

    @property
    def stops(self) -> bool:
        """Whether training ends now, because the last `training.patience` evaluations were not the best so far."""
        return self.config.patience is not None and self.progress.since >= self.config.patience

    def check(self, progress: Progress) -> None:
        """Raises `DamagedFile` if the best weights of a checkpoint with this progress are missing or damaged."""
        if self.config.keep_best and progress.validation.best_step is not None:
            self._best(progress.validation.best_step)

    def update(self, meter: Meter, average: WeightAverage, facts: Callable[[], Mapping[str, str]]) -> None:
        """Evaluates the factor if an evaluation is due after the last step of `meter` and was not done before.

        The average of the weights is evaluated or, without an average, the weights of the last step. New best weights
        are written with `facts()` as metadata. The factor's weights, its gradient and its mode are the same afterwards.
        """
        if self.images is None or not self._is_due(meter.step):
            return
        started = time.perf_counter()
        with evaluating(self.factor), averaged(self.factor, average):
            bits = self._bits_per_dim(self.images)
            self.progress = attrs.evolve(self.progress, step=meter.step, since=self.progress.since + 1)
            if math.isfinite(bits) and (self.progress.best is None or bits < self.progress.best):
                self.progress = ValidationProgress(meter.step, meter.step, bits)
                if self.config.keep_best and self.accelerator.is_main_process:
                    metadata = {"step": str(meter.step), **facts()}
                    write_tensors(self._path(meter.step), self.factor.state_dict(), metadata)
                    self._remove_others(meter.step)
        meter.add_validation(bits, time.perf_counter() - started)

    def choose(self, step: int, average: WeightAverage) -> dict[str, str]:
        """Loads the weights that the run keeps into the factor, after `step` steps of training.

        Returns metadata for their file: the step of the weights, and whether they are the best or the last weights.
        """
        outcome, name = self.progress, self.factor.name
        if self.stops and step < self.total:
            logger.info(
                "factor %s: training stopped early after step %d of %d, because the last %d evaluations on validation "
                "images were not the best",
                *(name, step, self.total, outcome.since),
            )
        if not self.config.keep_best or outcome.best_step is None:
            if self.config.keep_best and outcome.step:
                logger.warning("factor %s: no figure on validation images was finite; the last weights are kept", name)
            average.apply()
            return {"step": str(step), "kept": "last"}
        logger.info(
            "factor %s: the weights of step %d are kept, which have the lowest bits/dim on validation images, %.4f",
            *(name, outcome.best_step, outcome.best),
        )
        self.factor.load_state_dict(self._best(outcome.best_step))
        if self.accelerator.is_main_process:
            self._remove_others(outcome.best_step)
        return {"step": str(outcome.best_step), "kept": "best"}

    def _path(self, step: int) -> Path:
        return self.folder / f"best-{step:09d}.safetensors"

    def _best(self, step: int) -> dict[str, Tensor]:
        """Reads the best weights, which were written after `step`.

        Raises `DamagedFile` if the file is missing or damaged, and `UserError` if it belongs to another model.
        """
        path = self._path(step)
        if not is_file(path):
            raise DamagedFile(f"{path} is missing: it has the best weights on validation images")
        return read_tensors(path, lambda shapes, _: check_shapes(self.factor, shapes, path))[0]

    def _remove_others(self, best: int) -> None:
        """Removes files of best weights, except that of the step `best` and those that the kept checkpoints need.

        A process that was killed may have left a file of a later step.
        """
        needed = {best, *(best_step(path) for path in checkpoints(self.folder))}
        for step, path in numbered(self.folder, NAME):
            if step not in needed:
                remove(path)

    def _is_due(self, step: int) -> bool:
        every = self.config.evaluate_every
        return every is not None and step > self.progress.step and (step % every == 0 or step == self.total)

    def _bits_per_dim(self, images: ImageSet) -> float:
        """The bits/dim of the validation images, computed as in the evaluation of a run."""
        own, limit = Pass(self.model, [self.factor]), self.config.validation_images
        found = factor_nats(own, images, self.accelerator, self.threads, self.batch_size, limit)
        name, image = self.factor.name, self.factor.image
        pixels = found.get(f"{name}.{PIXELS}")
        dims = image.dims if pixels is None else image.channels * pixels.mean().item()
        return found[f"{name}.{NATS}"].sum(1).mean().item() / (-math.log(2) * dims)
