"""The time that is left until all factors of a run are trained, shown in the progress of the current factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from auxar.plugins import Registry
from auxar.progress import ProgressBar
from auxar.recipe import Recipe
from auxar.recipe.cost import factor_costs
from auxar.runs.layout import RunFolder
from auxar.training.checkpoints import checkpoints, step_of

SHOWN_AFTER = 5.0
"""Time in seconds after which the time of all factors is shown. The measured speed is unreliable before."""
FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, all factors {left}, {rate_fmt}{postfix}]"
"""The format of the bar: tqdm's own, with the time of all factors after that of the current factor."""


class StepBar(ProgressBar):
    """A progress bar of a factor's training steps, which also shows the time left until all factors are trained."""

    count_later_steps: Callable[[], float] | None = None
    """A function that returns `later_steps`. It is called once, because it takes time."""
    later_steps: float | None = None
    """The number of steps of the current factor that take as long as all steps of later factors; None if unknown."""

    def update(self, n: float | None = 1) -> bool | None:
        """Adds finished steps."""
        # tqdm may draw the bar in another thread, so the number is computed here.
        if self.count_later_steps is not None and not self.disable and self._time() - self.start_t >= SHOWN_AFTER:
            self.later_steps, self.count_later_steps = self.count_later_steps(), None
        found: bool | None = super().update(n)
        return found

    @property
    def format_dict(self) -> dict[str, Any]:
        """The values that are shown in the bar."""
        found: dict[str, Any] = super().format_dict
        if self.later_steps is not None and found["total"] is not None:
            done = found["n"] - found["initial"]
            rate = found["rate"] or (done / found["elapsed"] if found["elapsed"] else 0)
            steps = found["total"] - found["n"] + self.later_steps
            found |= {"bar_format": FORMAT, "left": self.format_interval(steps / rate) if rate else "?"}
        return found

    def more_times(self, facts: dict[str, Any]) -> list[str]:
        """Returns the time left until all factors are trained, if it is known."""
        return [f"all factors {facts['left']}"] if "left" in facts else []


def later_steps(
    recipe: Recipe, registry: Registry, current: str, later: Sequence[str], run: RunFolder, images: int
) -> float:
    """The number of steps of the factor `current` that take as long as the steps that the factors `later` still need.

    A step is assumed to take time in proportion to its multiply-adds. `images` is the number of training images. The
    newest checkpoint of a factor counts as done.
    """
    costs = {
        cost.factor: cost.training_multiply_adds * recipe.training_of(cost.factor).batch_size
        for cost in factor_costs(recipe, registry)
    }
    work = 0
    for name in later:
        done = next((step_of(path) for path in checkpoints(run.factor(name))), 0)
        work += max(0, recipe.training_of(name).total_steps(images) - done) * costs[name]
    return work / max(1, costs[current])
