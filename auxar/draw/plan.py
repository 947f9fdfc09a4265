"""The plan of drawing: which images are drawn and how, and the loop that draws them in batches.

A plan is made once, where a request enters, and passed on.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import attrs
import torch
from torch import Tensor

from auxar.arguments import as_integer
from auxar.draw.conditions import Conditions, as_conditions, digest_of, reader_of, usual_conditions
from auxar.draw.images import Images
from auxar.model import (
    CONDITION,
    Chain,
    Condition,
    Known,
    Rule,
    Sampler,
    SampleRequest,
    Values,
    device_of,
    evaluating,
    variable_at,
)
from auxar.model.rule_effects import check_rule
from auxar.model.values import joined
from auxar.plugins import Registry, load_plugins
from auxar.progress import BAR_DELAY, progress_bar
from auxar.recipe import Recipe, SamplingConfig
from auxar.recipe.building import build_component, build_rule, check_sampler
from auxar.recipe.choices import read_choice, resolved
from auxar.recipe.schema import MOST_IMAGES, MOST_SAMPLES


class DrawOptions(TypedDict, total=False):
    """The keyword arguments of all functions that draw; `ImageModel.sample` describes them."""

    rule: str | Mapping[str, Any] | Rule
    seed: int
    condition: Any
    batch_size: int | None
    sampler: str | Mapping[str, Any] | Sampler | None
    progress: bool


@attrs.frozen(eq=False)
class Given:
    """The views or known pixels that images are drawn from. The first dimension g of each tensor is their number."""

    depth: int
    """Depth of `view`: images at all smaller depths are drawn. If `known` is set, all depths are drawn; this is then 1,
    the depth at which the agreement of a drawn image with its view is measured."""
    view: Tensor | None
    """The given views, integers (g, *model.specs[depth].shape); None if `known` is set."""
    image: Images | None = None
    """The given images, g of them; None if the user gave views."""
    known: Known | None = None
    """The known pixels of images to complete; None if a view is given."""
    names: tuple[str, ...] = ()
    """File names of the given images; empty if they are no files."""

    def __len__(self) -> int:
        source = self.view if self.known is None else self.known.values
        assert source is not None
        return len(source)

    @property
    def digest(self) -> str:
        """A hash of all values, equal in all processes that were given the same images."""
        known = (None, None) if self.known is None else (self.known.values, self.known.mask)
        image = None if self.image is None else self.image.tensor
        return digest_of(self.view, image, *known, text=repr((self.names, self.depth)))


@attrs.frozen(eq=False)
class Plan:
    """A plan of drawing: the numbers of the images, the noise, the rule, and what the images are given.

    An image depends only on the model, its number, the seed, the rule, and on the condition and the view or known
    pixels that it is given; except for rounding, it does not depend on the batch size and the sampler.
    """

    numbers: range
    """Numbers of the images. With the seed and the depth, a number selects the noise of an image."""
    rule: Rule
    sampler: Sampler
    seed: int = 0
    batch_size: int = 16
    """Number of images that are drawn at once."""
    conditions: Conditions = attrs.field(factory=Conditions)
    """The conditions that images, or given images, have in turn."""
    given: Given | None = None
    """The views or known pixels to draw from; None to draw whole images."""
    draws: int = 1
    """Number of images for each given image: image i · draws + j is draw j of given image i. These images have the same
    condition."""

    @property
    def view(self) -> Tensor | None:
        """The given views that images are drawn from; None if all depths are drawn."""
        return None if self.given is None else self.given.view

    @property
    def from_depth(self) -> int | None:
        """Depth of `view`; None if all depths are drawn."""
        return None if self.given is None or self.given.view is None else self.given.depth

    def shown_conditions(self, condition: Condition | None, rows: int) -> Images | None:
        """The conditions of the first rows, if they are masks or images. `condition` is the model's."""
        if condition is None or condition.is_vector or (values := self.conditions.of(range(rows))) is None:
            return None
        return Images(values.clamp_min(0), condition.spec)

    def check(self, model: Chain, key: str = "rule") -> None:
        """Raises `UserError`, beginning with `key`, if the rule changes nothing for any head of the drawn factors."""
        check_rule(model, self.rule, model.arithmetic, from_depth=self.from_depth, key=key)

    def request(self, numbers: Sequence[int], device: torch.device) -> SampleRequest:
        """The request for the images with these numbers, with their known pixels on a device."""
        rows, known = self.rows(numbers), None if self.given is None else self.given.known
        if known is not None:
            known = Known(known.values[rows].to(device), known.mask[rows].to(device))
        return SampleRequest(tuple(numbers), self.seed, self.rule, known=known)

    def values(self, numbers: Sequence[int]) -> Values:
        """The values that the images with these numbers are given: their conditions, and views to draw from."""
        rows = self.rows(numbers)
        tensors = {CONDITION: self.conditions.of(rows)}
        if self.view is not None and self.from_depth is not None:
            tensors[variable_at(self.from_depth)] = self.view[rows]
        return Values(tensors, len(rows))

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """The index of the given image of each of these images: int64, (len(numbers),)."""
        return torch.tensor([number // self.draws for number in numbers])


def numbered(n: Any, first: Any = 0) -> range:
    """The numbers of `n` images from `first`. Raises `UserError` if they are no integers in the allowed range."""
    n, first = as_integer(n, "n", 0, MOST_SAMPLES), as_integer(first, "first", 0, MOST_SAMPLES)
    return range(first, first + n)


def plan_of(
    model: Chain,
    recipe: Recipe | None,
    numbers: range | None = None,
    *,
    given: Given | None = None,
    draws: int = 1,
    rule: str | Mapping[str, Any] | Rule = "ancestral",
    seed: int = 0,
    condition: Any = None,
    batch_size: int | None = None,
    sampler: str | Mapping[str, Any] | Sampler | None = None,
) -> Plan:
    """Checks the options of drawing, which `ImageModel.sample` describes, and fills in the defaults of the recipe.

    With `given`, `draws` images are drawn for each given image, and `numbers` is None. Raises `UserError` if an option
    is invalid.
    """
    if given is not None:
        count = as_integer(draws, "draws", 1, MOST_SAMPLES) * len(given)
        numbers = range(as_integer(count, "draws times the number of given images", 0, MOST_SAMPLES))
    assert numbers is not None
    if condition is None and given is None:
        conditions = usual_conditions(model.condition)
    else:
        conditions = as_conditions(condition, model.condition, reader_of(model.condition, recipe))
    rule, sampler = build_rule(rule, _registry(recipe), "rule"), chosen_sampler(model, sampler, recipe)
    seed = as_integer(seed, "seed")
    size = _sampling(recipe).batch_size if batch_size is None else as_integer(batch_size, "batch_size", 1, MOST_IMAGES)
    return Plan(numbers, rule, sampler, seed, size, conditions, given, draws)


def plan_of_recipe(model: Chain, recipe: Recipe, count: int, condition: Any, given: Given | None = None) -> Plan:
    """The plan of drawing with the rule, the seed, the batch size and the sampler of a recipe.

    `count` is the number of images or, with `given`, of draws for each given image.
    """
    config, numbers = recipe.sampling, range(count) if given is None else None
    rule, draws = config.draw_rule(), 1 if given is None else count
    return plan_of(model, recipe, numbers, given=given, draws=draws, rule=rule, seed=config.seed, condition=condition)


def chosen_sampler(model: Chain, sampler: str | Mapping[str, Any] | Sampler | None, recipe: Recipe | None) -> Sampler:
    """The sampler that is given, or named, or the model's own; the recipe's if the model has none."""
    if isinstance(sampler, Sampler):
        found = sampler
    elif sampler is None and model.sampler is not None:
        return model.sampler
    else:
        choice = _sampling(recipe).sampler if sampler is None else read_choice(sampler, "sampler", "sampler")
        found = build_component(resolved(choice, "sampler", "sampler", _registry(recipe)), "sampler")
    check_sampler(found, model)
    return found


def _registry(recipe: Recipe | None) -> Registry:
    return load_plugins() if recipe is None else recipe.registry


def _sampling(recipe: Recipe | None) -> SamplingConfig:
    return SamplingConfig() if recipe is None else recipe.sampling


def batches(
    model: Chain, plan: Plan, numbers: Sequence[int] | None = None, *, progress: bool = True, delay: float = BAR_DELAY
) -> Iterator[tuple[Sequence[int], Values]]:
    """Draws the images of a plan, or those of them with some numbers, `plan.batch_size` at a time.

    Yields the numbers of a batch, and its images with all values that they were drawn from, on the model's device.

    With `progress`, a progress bar is shown if drawing takes longer than `delay` seconds.
    """
    numbers = plan.numbers if numbers is None else numbers
    started, done = time.perf_counter(), 0
    with progress_bar(
        total=len(numbers), desc="sampling", unit="image", disable=not progress, delay=delay, leave=not delay
    ) as bar:
        for start in range(0, len(numbers), plan.batch_size):
            batch = numbers[start : start + plan.batch_size]
            yield batch, _draw(model, plan, batch)
            done += len(batch)
            speed = done * model.image.height * model.image.width / (time.perf_counter() - started)
            bar.set_postfix_str(f"{speed:,.0f} pixel/s", refresh=False)
            bar.update(len(batch))


def drawn(model: Chain, plan: Plan, *, progress: bool = False) -> list[Tensor]:
    """Draws all images of a plan: they and the views that they were drawn from, by depth, int64 on the CPU."""
    parts = [values.to("cpu") for _, values in batches(model, plan, progress=progress)]
    if not parts:
        specs = model.specs if plan.from_depth is None else model.specs[: plan.from_depth + 1]
        return [torch.empty((0, *spec.shape), dtype=torch.int64) for spec in specs]
    return model.by_depth(joined(parts))


def _draw(model: Chain, plan: Plan, numbers: Sequence[int]) -> Values:
    device = device_of(model)
    with evaluating(model):
        return model.draw(plan.request(numbers, device), plan.sampler, plan.values(numbers).to(device))


def linked(model: Chain, views: Sequence[Tensor]) -> Images:
    """Converts images and their views, which are given by depth, to `Images` that hold their views."""
    found: Images | None = None
    for tensor, spec in reversed(list(zip(views, model.specs, strict=False))):
        found = Images(tensor, spec, found, values=model.picture_values)
    assert found is not None
    return found
