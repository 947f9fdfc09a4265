"""The contract check of models that are given a condition."""

import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.model import CONDITION, IMAGE, Chain, Condition, Factor, SampleRequest, Values, variable_at
from auxar.testing.drawing import DistinctSampler
from auxar.testing.examples import all_images, extreme_images, random_images, randomized
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import accepts, broken, calling, check_equal, described
from auxar.testing.modules import CLOSE

MOST_IMAGES = 5000
"""Maximum number of images and their views over which probabilities are summed."""
DRAWN, DRAWN_PIXELS = 512, 2**13
"""The largest numbers of images, and of their pixels, that are drawn to compare conditions. Drawing takes one network
pass for each pixel of an image."""
LARGE = 1.5
"""The standard deviation of the random weights with which these images are drawn."""


def check_conditions(model: Chain, *, seed: int = 0) -> None:
    """Checks that an `auxar.Chain` uses its condition correctly. Replaces its weights by random ones.

    The laws:

    - `condition`: the log-likelihood of every factor depends on the condition.
    - `batch`: the log-likelihood of an image, and the image that is drawn for a number, depend on the condition of this
      image alone, not on those of the other images of the batch.
    - `normalization`: given a condition and a view, the probabilities of all images of each factor sum to 1. It is
      checked for factors with at most 5,000 pairs of images and views.
    - `null`: if the condition is optional, None is the same as the null condition, and both are refused otherwise.
    - `shape`: a condition of another shape is refused with `UserError`.
    - `draws`: drawn images depend on the condition.
    - `gradient`: every parameter of a condition's embedding gets a gradient that is not 0 everywhere.
    - `runs`: valid input raises no exception.

    The network is run once for each pixel of an image, so build the model of a recipe with images of few pixels:
    `auxar.build(recipe, ["image.height=4", "image.width=4"]).chain`.

    Raises `ContractError` if a law is broken, and `UserError` if `model` is not a chain or has no condition.
    """
    if not isinstance(model, Chain):
        raise UserError(f"check_conditions: expected a Chain, such as ImageModel.chain, got {described(model)}")
    condition = model.condition
    if condition is None:
        raise UserError("check_conditions: the model has no condition")
    randomized(model, seed)
    given = torch.cat([extreme_images(condition.spec), random_images(4, condition.spec, seed)]).unique(dim=0)
    if condition.optional:
        given = torch.cat([given, condition.nulls(1)])
    for factor in model.factors:
        _check_factor(model, factor, condition, given, seed)
    _check_sum(model, condition, given)
    _check_gradient(model, given, seed)
    # With larger weights, conditions change drawn images more often.
    randomized(model, seed, LARGE)
    _check_draws(model, given, seed)


def _check_factor(model: Chain, factor: Factor, condition: Condition, given: Tensor, seed: int) -> None:
    name = f"the factor {factor.name}"
    values = model.values(random_images(1, model.image, seed).expand(len(given), *model.image.shape))

    def compute(*inputs: Tensor) -> Results:
        return {name: factor(Values(dict(zip((*model.variables, CONDITION), inputs, strict=True))))}

    specs = [model.image, *(each.view_spec for each in model.factors if each.view_spec is not None)]
    function = Function(name, compute, tuple(spec.levels for spec in specs), factor, CLOSE)
    found = check_invariances(function, *model.by_depth(values), given)[name]
    for number in range(1, len(given)):
        if torch.equal(found[number], found[0]):
            broken("condition", f"{name} ignores its condition", condition=given[number], other=given[0])
    _check_null(factor, condition, values, name)
    wrong = torch.zeros((len(given), condition.spec.channels + 1, *condition.spec.shape[1:]), dtype=torch.int64)
    if not _refuses(factor, values, wrong):
        broken("shape", f"{name} accepts a condition of the shape {tuple(wrong.shape)}")


def _check_null(factor: Factor, condition: Condition, values: Values, name: str) -> None:
    if not condition.optional:
        if not _refuses(factor, values, None):
            broken("null", f"{name} accepts the null condition, which its condition does not allow")
        return
    nulls = condition.nulls(len(values))
    with calling(name), torch.no_grad():
        none, null = (factor(values | {CONDITION: each}) for each in (None, nulls))
    check_equal("null", f"{name}: None must be the same as the null condition", none, null, CLOSE)


def _refuses(factor: Factor, values: Values, condition: Tensor | None) -> bool:
    with torch.no_grad():
        return not accepts(lambda: factor(values | {CONDITION: condition}))


def _check_sum(model: Chain, condition: Condition, given: Tensor) -> None:
    """Sums the probabilities of all images and views given each condition, by factor."""
    for factor in model.factors:
        spec, view = factor.image, factor.view_spec
        count = spec.levels**spec.dims * (1 if view is None else view.levels**view.dims)
        if count > MOST_IMAGES:
            continue
        images = all_images(spec)
        for own in (None,) if view is None else all_images(view):
            for row in given:
                given_values = {variable_at(factor.depth + 1): own, CONDITION: row}
                rows = {
                    name: None if each is None else each.expand(len(images), *each.shape)
                    for name, each in given_values.items()
                }
                with torch.no_grad():
                    total = factor(Values({factor.variable: images, **rows})).logsumexp(0).exp().item()
                # A restricted decoder gives no probability to a view that no image has.
                if abs(total - 1) > 1e-6 and not (factor.restricted and total < 1e-6):
                    broken("normalization", f"p({spec} | {condition.kind}) of {factor.name} sums to {total:.9g}")


def _check_draws(model: Chain, given: Tensor, seed: int) -> None:
    count = max(len(given), min(DRAWN, DRAWN_PIXELS // (model.image.height * model.image.width)))
    numbers = tuple(range(count))
    rows = given[torch.arange(count) % len(given)]
    with calling("draw", rows, module=model), torch.no_grad():
        together = _drawn(model, numbers, rows, seed)
        others = _drawn(model, numbers, rows.roll(1, 0), seed)
        # Only images that depend on their condition show whether they depend on the conditions of others, too.
        some = (together != others).flatten(1).any(1).nonzero().flatten()[:4].tolist()
        alone = [_drawn(model, (n,), rows[n : n + 1], seed) for n in some]
    if not some:
        broken("draws", f"{count} drawn images are the same with other conditions", condition=rows)
    check_equal("batch", "a drawn image depends on the conditions of other images", torch.cat(alone), together[some])


def _drawn(model: Chain, numbers: tuple[int, ...], condition: Tensor, seed: int) -> Tensor:
    return model.draw(SampleRequest(numbers, seed), DistinctSampler(), Values({CONDITION: condition}))[IMAGE]


def _check_gradient(model: Chain, given: Tensor, seed: int) -> None:
    image = random_images(len(given), model.image, seed)
    model.train()
    model.log_prob(image, condition=given).sum().backward()
    model.eval()
    for name, parameter in model.named_parameters():
        if ".conditioning." not in f".{name}" or not parameter.requires_grad:
            continue
        if parameter.grad is None or not bool(parameter.grad.any()):
            broken("gradient", f"the loss does not depend on the parameter {name}")
    model.zero_grad()
