"""Drawing of images from a model: checked options, samples, and draws from given views or known pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import attrs
import torch
from torch import Tensor

from auxar.arguments import as_integer, check_flag, described
from auxar.errors import UserError, did_you_mean
from auxar.generation.conditional import Given, draw_given
from auxar.generation.conditions import Conditions, as_conditions, reader_of
from auxar.image_model.images import Draws, Images
from auxar.model import CausalNetwork, Chain, Rule, Sampler, SampleRequest, device_of, evaluating
from auxar.model.rule_effects import check_rule
from auxar.plugins import Registry, load_plugins
from auxar.progress import BAR_DELAY, progress_bar
from auxar.recipe import Recipe, SamplingConfig
from auxar.recipe.building import build_rule, build_sampler
from auxar.recipe.choices import named_options
from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.schema import MOST_IMAGES, MOST_SAMPLES

MOST_SEED = 2**63 - 1
"""The largest seed."""


class DrawOptions(TypedDict, total=False):
    """The keyword arguments of all functions that draw; `ImageModel.sample` describes them."""

    rule: str | Mapping[str, Any] | Rule
    seed: int
    condition: Any
    batch_size: int | None
    sampler: str | Mapping[str, Any] | Sampler | None
    progress: bool


@attrs.frozen
class DrawSettings:
    """Checked values of all `DrawOptions`."""

    rule: Rule
    seed: int
    batch_size: int
    sampler: Sampler
    progress: bool
    conditions: Conditions


def draw_settings(
    chain: Chain,
    recipe: Recipe | None,
    registry: Registry | None,
    *,
    rule: str | Mapping[str, Any] | Rule = "ancestral",
    seed: int = 0,
    condition: Any = None,
    batch_size: int | None = None,
    sampler: str | Mapping[str, Any] | Sampler | None = None,
    progress: bool = True,
) -> DrawSettings:
    """Checks the options of drawing and fills in the defaults; `ImageModel.sample` describes the options.

    Raises `UserError` if an option is invalid.
    """
    check_flag(progress, "progress")
    registry = load_plugins() if registry is None else registry
    usual = SamplingConfig() if recipe is None else recipe.sampling
    return DrawSettings(
        build_rule(rule, registry, "rule"),
        as_integer(seed, "seed", -MOST_SEED - 1, MOST_SEED),
        usual.batch_size if batch_size is None else as_integer(batch_size, "batch_size", 1, MOST_IMAGES),
        chosen_sampler(chain, sampler, usual.sampler, registry),
        progress,
        as_conditions(condition, chain.condition, reader_of(chain.condition, recipe)),
    )


def check_names(options: Mapping[str, Any]) -> None:
    """Raises `UserError` if a keyword argument is not one of `DrawOptions`."""
    known = DrawOptions.__annotations__
    for name in options:
        if name not in known:
            raise UserError(f"unknown keyword '{name}'{did_you_mean(name, known)}")


def sample(chain: Chain, count: int, first: int, settings: DrawSettings) -> Images:
    """Draws the images with numbers first … first + count - 1, with the views that they are drawn from."""
    count = as_integer(count, "n", 0, MOST_SAMPLES)
    first = as_integer(first, "first", 0, MOST_SAMPLES)
    check_rule(chain, settings.rule, chain.arithmetic)
    numbers = range(first, first + count)
    views = _drawn(chain, numbers, settings, lambda request: chain.draw_views(request, settings.sampler))
    found = [torch.cat(parts) for parts in zip(*views, strict=True)]
    return linked(chain, found or [torch.empty((0, *spec.shape), dtype=torch.int64) for spec in chain.specs])


def draws(chain: Chain, given: Given, pictures: Images | None, count: int, settings: DrawSettings) -> Draws:
    """Draws `count` images for each given image, exactly as `auxar sample --given` does.

    `pictures` are the given images as the result shows them; None if views were given.
    """
    count = as_integer(count, "draws", 1, MOST_SAMPLES)
    check_rule(chain, settings.rule, chain.arithmetic, from_depth=None if given.view is None else given.depth)
    source = given.view if given.known is None else given.known.values
    assert source is not None
    total = as_integer(len(source) * count, "draws times the number of given images", 0, MOST_SAMPLES)
    views = _drawn(
        chain, range(total), settings, lambda request: draw_given(chain, given, count, request, settings.sampler), count
    )
    specs = chain.specs if given.view is None else chain.specs[: given.depth + 1]
    found = [torch.cat(parts) for parts in zip(*views, strict=True)]
    found = found or [torch.empty((0, *spec.shape), dtype=torch.int64) for spec in specs]
    images = linked(chain, [view.view(len(source), count, *view.shape[1:]) for view in found])
    known = None if given.known is None else given.known.mask
    return Draws(images.tensor, images.spec, images.view, pictures, known, values=images.values)


def linked(chain: Chain, views: Sequence[Tensor]) -> Images:
    """Converts images and their views, which are given by depth, to `Images` that hold their views."""
    found: Images | None = None
    for tensor, spec in reversed(list(zip(views, chain.specs, strict=False))):
        found = Images(tensor, spec, found, values=chain.picture_values)
    assert found is not None
    return found


@torch.no_grad()
def _drawn(
    chain: Chain,
    numbers: range,
    settings: DrawSettings,
    draw: Callable[[SampleRequest], list[Tensor]],
    each: int = 1,
) -> list[list[Tensor]]:
    """Draws the images with these numbers in batches. Returns the images and views by depth of each batch.

    `each` images in a row have the same condition.
    """
    found = []
    with (
        evaluating(chain),
        progress_bar(
            total=len(numbers),
            desc="sampling",
            unit="image",
            disable=not settings.progress,
            delay=BAR_DELAY,
            leave=False,
        ) as progress,
    ):
        for start in range(0, len(numbers), settings.batch_size):
            batch = tuple(numbers[start : start + settings.batch_size])
            request = SampleRequest(batch, settings.seed, settings.rule)
            request = settings.conditions.given_to(request, device_of(chain), each)
            found.append([view.cpu() for view in draw(request)])
            progress.update(len(batch))
    return found


def chosen_sampler(
    chain: Chain,
    sampler: str | Mapping[str, Any] | Sampler | None,
    usual: ComponentChoice,
    registry: Registry | None,
) -> Sampler:
    """The sampler that is given, or named, or the model's own; the usual one if the model has none."""
    if isinstance(sampler, Sampler):
        found = sampler
    elif sampler is None and chain.sampler is not None:
        return chain.sampler
    elif sampler is None or isinstance(sampler, str | Mapping):
        choice = usual if sampler is None else ComponentChoice(*named_options(sampler, "sampler", "sampler"))
        found = build_sampler(choice, load_plugins() if registry is None else registry, "sampler")
    else:
        raise UserError(f"sampler: expected the name of a sampler or a Sampler, got {described(sampler)}")
    for network in chain.modules():
        if isinstance(network, CausalNetwork):
            found.check(network)
    return found
