"""Pictures that show during training which images a factor draws."""

import re
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor

from auxar.draw.plan import Plan
from auxar.draw.sheets import can_be_shown, save_png, sheet
from auxar.errors import logger
from auxar.files import entries, is_file, remove
from auxar.model import Chain, Factor, evaluating, variable_at
from auxar.model.factor import CONDITION_FACTOR
from auxar.runs.layout import RunFolder
from auxar.runs.weights import load_weights

IMAGES = 8
"""The number of images in each picture."""
NAME = re.compile(r"samples-(\d{9,18})\.png")


def pictures(folder: Path) -> list[tuple[int, Path]]:
    """The steps and paths of the pictures in a factor's folder, in ascending order of steps."""
    return sorted((int(match[1]), path) for path in entries(folder) if (match := NAME.fullmatch(path.name)))


class Previews:
    """Draws images during the training of a run's factors, from the views that the trained coarser factors draw.

    The images of all pictures have the noise and conditions of the first images of a plan, so pictures of different
    steps can be compared. Drawing changes neither the factor nor PyTorch's random state.
    """

    def __init__(self, run: RunFolder, plan: Plan) -> None:
        self.run = run
        self.plan = plan
        self.views: dict[str, Tensor] = {}
        """The views that the images of a factor are drawn from, on the CPU, by the name of the factor."""
        self.left_out: set[str] = set()
        """Names of the factors for which a message says why no pictures are drawn."""

    def __call__(self, model: Chain, factor: Factor, step: int, accelerator: Accelerator) -> None:
        """Writes a picture of images that the factor draws after `step` steps, in the main process.

        Nothing is drawn if coarser factors are not trained yet, so that there are no views, or if images of this kind
        cannot be shown. A message says so once.
        """
        coarser = model.factors[factor.depth + 1 :]
        if not accelerator.is_main_process or factor.name == CONDITION_FACTOR or not self._can_draw(factor, coarser):
            return
        if coarser and factor.name not in self.views:
            self.views[factor.name] = self._views(coarser, accelerator)
        images = self._draw(factor, self.views.get(factor.name), accelerator)
        folder = self.run.factor(factor.name)
        for later, path in pictures(folder):
            if later > step:  # Training was killed and continues from an earlier step, perhaps to fewer steps.
                remove(path)
        save_png(sheet(images, factor.image, columns=IMAGES), folder / f"samples-{step:09d}.png")

    def _can_draw(self, factor: Factor, coarser: Sequence[Factor]) -> bool:
        missing = [other.name for other in coarser if not is_file(self.run.weights(other.name))]
        why = f"coarser factors are not trained yet: {', '.join(missing)}" if missing else ""
        if not can_be_shown(factor.image):
            why = f"images with {factor.image.channels} channels cannot be shown"
        if why and factor.name not in self.left_out:
            self.left_out.add(factor.name)
            logger.info("no images are drawn during the training of %s, because %s", factor.name, why)
        return not why

    def _views(self, coarser: Sequence[Factor], accelerator: Accelerator) -> Tensor:
        """Draws the views from which images are drawn, by all `coarser` factors with their trained weights."""
        view = None
        for factor in reversed(coarser):
            load_weights(self.run, factor)
            factor.to(accelerator.device)
            view = self._draw(factor, view, accelerator)
            factor.to("cpu")
        assert view is not None
        return view

    def _draw(self, factor: Factor, view: Tensor | None, accelerator: Accelerator) -> Tensor:
        """Draws images at the depth of a factor, given their views, on the CPU. The prior has no view."""
        numbers, device = range(IMAGES), accelerator.device
        request = self.plan.request(numbers, device).deeper(factor.depth)
        given = self.plan.values(numbers) | {variable_at(factor.depth + 1): view}
        with evaluating(factor):
            return factor.given(given.to(device)).draw(request, self.plan.sampler).cpu()
