"""The plan of drawing: which images are drawn and how. It is made once, where a request enters, and passed on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import attrs
import torch
from torch import Tensor

from auxar.arguments import as_integer, described
from auxar.draw.conditions import Conditions, as_conditions, reader_of
from auxar.errors import UserError, did_you_mean
from auxar.model import CausalNetwork, Chain, Known, Rule, Sampler, SampleRequest
from auxar.model.rule_effects import check_rule
from auxar.plugins import Registry, load_plugins
from auxar.recipe import Recipe, SamplingConfig
from auxar.recipe.building import build_rule, build_sampler
from auxar.recipe.choices import named_options
from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.schema import MOST_IMAGES, MOST_SAMPLES


class DrawOptions(TypedDict, total=False):
    """The keyword arguments of all functions that draw; `ImageModel.sample` describes them."""

    rule: str | Mapping[str, Any] | Rule
    seed: int
    condition: Any
    batch_size: int | None
    sampler: str | Mapping[str, Any] | Sampler | None
    progress: bool


def check_names(options: Mapping[str, Any]) -> None:
    """Raises `UserError` if a keyword argument is not one of `DrawOptions`."""
    known = DrawOptions.__annotations__
    for name in options:
        if name not in known:
            raise UserError(f"unknown keyword '{name}'{did_you_mean(name, known)}")


@attrs.frozen(eq=False)
class Given:
    """The views or known pixels that images are drawn from. The first dimension g of each tensor is their number."""

    depth: int
    """Depth of `view`: images at all smaller depths are drawn. If `known` is set, all depths are drawn; this is then 1,
    the depth at which the agreement of a drawn image with its view is measured."""
    view: Tensor | None
    """The given views, integers (g, *model.specs[depth].shape); None if `known` is set."""
    image: Tensor | None = None
    """The given images, integers (g, *spec.shape); None if the user gave views."""
    known: Known | None = None
    """The known pixels of images to complete; None if a view is given."""
    names: tuple[str, ...] = ()
    """File names of the given images; empty if they are no files."""

    def __len__(self) -> int:
        source = self.view if self.known is None else self.known.values
        assert source is not None
        return len(source)

    @property
    def from_depth(self) -> int | None:
        """Depth of the view that images are drawn from; None if all depths are drawn."""
        return None if self.view is None else self.depth

    @property
    def digest(self) -> str:
        """A hash of all values, equal in all processes that were given the same images."""
        found = hashlib.sha256(repr((self.names, self.depth)).encode())
        known = (None, None) if self.known is None else (self.known.values, self.known.mask)
        for tensor in (self.view, self.image, *known):
            found.update(b"none" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()


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

    def condition(self, numbers: Sequence[int]) -> Tensor | None:
        """The condition of each image with these numbers, on the CPU; None for the null condition."""
        return self.conditions.of([number // self.draws for number in numbers])

    def check(self, model: Chain, key: str = "rule") -> None:
        """Raises `UserError`, beginning with `key`, if the rule changes nothing for any head of the drawn factors."""
        from_depth = None if self.given is None else self.given.from_depth
        check_rule(model, self.rule, model.arithmetic, from_depth=from_depth, key=key)

    def request(self, numbers: Sequence[int], device: torch.device) -> SampleRequest:
        """The request for the images with these numbers, with their conditions and known pixels on a device."""
        condition, known = self.condition(numbers), None
        if self.given is not None and self.given.known is not None:
            rows = self.rows(numbers)
            known = Known(self.given.known.values[rows].to(device), self.given.known.mask[rows].to(device))
        condition = None if condition is None else condition.to(device)
        return SampleRequest(tuple(numbers), self.seed, self.rule, known=known, condition=condition)

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """The index of the given image of each of these images: int64, (len(numbers),)."""
        return torch.tensor([number // self.draws for number in numbers])


def plan_of(
    model: Chain,
    recipe: Recipe | None,
    registry: Registry | None,
    count: int,
    *,
    first: int = 0,
    given: Given | None = None,
    rule: str | Mapping[str, Any] | Rule = "ancestral",
    seed: int = 0,
    condition: Any = None,
    batch_size: int | None = None,
    sampler: str | Mapping[str, Any] | Sampler | None = None,
) -> Plan:
    """Checks the options of drawing, which `ImageModel.sample` describes, and fills in the defaults of the recipe.

    `count` is the number of images or, with `given`, of draws for each given image. Raises `UserError` if an option is
    invalid.
    """
    registry = load_plugins() if registry is None else registry
    usual = SamplingConfig() if recipe is None else recipe.sampling
    if given is None:
        count, draws = as_integer(count, "n", 0, MOST_SAMPLES), 1
    else:
        draws = as_integer(count, "draws", 1, MOST_SAMPLES)
        count = as_integer(len(given) * draws, "draws times the number of given images", 0, MOST_SAMPLES)
    first = as_integer(first, "first", 0, MOST_SAMPLES)
    return Plan(
        range(first, first + count),
        build_rule(rule, registry, "rule"),
        chosen_sampler(model, sampler, usual.sampler, registry),
        as_integer(seed, "seed"),
        usual.batch_size if batch_size is None else as_integer(batch_size, "batch_size", 1, MOST_IMAGES),
        as_conditions(condition, model.condition, reader_of(model.condition, recipe)),
        given,
        draws,
    )


def plan_of_recipe(
    model: Chain, recipe: Recipe, count: int, conditions: Conditions, given: Given | None = None
) -> Plan:
    """The plan of drawing with the rule, the seed, the batch size and the sampler of a recipe. See `plan_of`."""
    config = recipe.sampling
    return plan_of(
        model, recipe, None, count, given=given, rule=config.draw_rule(), seed=config.seed, condition=conditions
    )


def chosen_sampler(
    model: Chain, sampler: str | Mapping[str, Any] | Sampler | None, usual: ComponentChoice, registry: Registry
) -> Sampler:
    """The sampler that is given, or named, or the model's own; the usual one if the model has none."""
    if isinstance(sampler, Sampler):
        found = sampler
    elif sampler is None and model.sampler is not None:
        return model.sampler
    elif sampler is None or isinstance(sampler, str | Mapping):
        choice = usual if sampler is None else ComponentChoice(*named_options(sampler, "sampler", "sampler"))
        found = build_sampler(choice, registry, "sampler")
    else:
        raise UserError(f"sampler: expected the name of a sampler or a Sampler, got {described(sampler)}")
    for network in model.modules():
        if isinstance(network, CausalNetwork):
            found.check(network)
    return found
