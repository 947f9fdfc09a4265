"""Builds the model, the views and the sampler of a recipe from its components."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, device, nn
from torch.overrides import TorchFunctionMode

from auxar.errors import UserError, naming, shown
from auxar.model import (
    FLOAT,
    Arithmetic,
    Augmentation,
    CausalDistribution,
    CausalNetwork,
    Chain,
    Conditioning,
    Decoder,
    Embedding,
    Factor,
    ImageSpec,
    Prior,
    Rule,
    Sampler,
    View,
)
from auxar.model.augmentation import check_augmentations
from auxar.model.condition import row_spec
from auxar.model.rule_effects import check_rule
from auxar.plugins import Registry
from auxar.recipe.choices import read_choice, resolved
from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.schema import Recipe, TrainingConfig, check_image

MOST_LAYERS = 5000
"""Maximum number of `nn.Module` objects in a model, several times that of the largest recipe that comes with auxar."""
TYPES: Mapping[str, type] = {
    "view": View,
    "network": CausalNetwork,
    "prior": Prior,
    "embedding": Embedding,
    "decoder": Decoder,
    "rule": Rule,
    "sampler": Sampler,
    "arithmetic": Arithmetic,
}
"""The classes of the components that a model is built from."""
_FILLS = {Tensor.normal_, Tensor.uniform_, Tensor.exponential_, Tensor.bernoulli_, Tensor.random_}
_DRAWS = {torch.randn, torch.rand}


def build_model(recipe: Recipe, on: str | device = "cpu") -> Chain:
    """Builds the model of a recipe, with untrained weights and its sampler.

    On the device "meta" the weights have shapes but no values, and take no memory. Raises `UserError`, with the key of
    the component, if a component is unknown or invalid, does not fit its input, or makes the model too large.
    """
    with device(on), WithoutDrawing() if device(on).type == "meta" else contextlib.nullcontext():
        factors, condition_factor = _build_factors(recipe)
    sampler: Sampler = build_component(recipe.sampling.sampler, "sampling.sampler")
    model = Chain(factors, condition_factor, sampler=sampler, picture_values=recipe.data.values)
    check_sampler(sampler, model)
    if any(data.crop.random for data in recipe.data_tables.values()):
        with naming("data.crop: random crops need networks for images of any size"):
            model.at(2 * model.image.height, 2 * model.image.width)
        _check_crops(recipe, stride_of(factor.view for factor in factors if factor.view is not None))
    for key, config in recipe.training_tables.items():
        image = recipe.image
        if config.data is not None:
            image = factors[config.data.depth].image
            with naming(f"{key}.data"):
                check_image(image)
        with naming(f"{key}.augment"):
            augment = build_augmentations(config)
            check_augmentations(augment, image, model.condition)
            if recipe.condition is not None and recipe.condition.augmentation is not None:
                _check_labels(recipe.condition, augment, image)
    if recipe.arithmetic.name != FLOAT:
        arithmetic: Arithmetic = build_component(recipe.arithmetic, "arithmetic")
        for factor in model.all_factors:
            arithmetic.check(factor)
    return model


def checked_model(recipe: Recipe) -> Chain:
    """Builds the model of a recipe on the device "meta", and checks that it can draw by the recipe's rule.

    The sampler `auto` logs why a network can only be sampled slowly. Raises `UserError` like `build_model` and
    `check_rule`.
    """
    model = build_model(recipe, on="meta")
    check_rule(model, recipe.sampling.draw_rule(), recipe.arithmetic.name, key="sampling.rule")
    model_under(model, recipe)
    for network in [factor.network for factor in model.all_factors if factor.network is not None]:
        own_sampler(model).lag(network)
    return model


def model_under(model: Chain, recipe: Recipe) -> Chain | None:
    """The model of the images that the rule `evaluation.rule` draws, for likelihoods; None without this key.

    It shares the weights of the model. Raises `UserError` if the rule changes nothing for any head, or if the
    likelihoods of its distributions cannot be computed.
    """
    choice, key = recipe.evaluation.rule, "evaluation.rule"
    if choice is None:
        return None
    rule = build_component(choice, key)
    check_rule(model, rule, key=key)
    with naming(f"{key}: the rule '{rule.name}' has no bits/dim"):
        return model.under(rule)


def build_component(choice: ComponentChoice, path: str, *fit: ImageSpec | int) -> Any:
    """Builds the component that a key of a loaded recipe chooses, for images and numbers that it has to fit.

    Raises `UserError`, with the key `path`, if it is invalid or does not fit.
    """
    assert choice.component is not None
    with naming(f"{path} ('{choice.name}')"), sizes_in_64_bits():
        try:
            found = choice.component.build(choice.config, *fit)
        except Exception as error:
            error.add_note(f"{path}: raised while the {choice.component.kind} '{choice.name}' was built")
            raise
    expected = TYPES[choice.component.kind]
    if not isinstance(found, expected):
        got = type(found).__name__
        raise UserError(f"{path} ('{choice.name}'): its build must return an auxar.{expected.__name__}, got {got}")
    return found


def build_rule(value: Any, registry: Registry, path: str) -> Rule:
    """Builds a drawing rule from its name, from a table with its name and options, or from a text of both.

    A `Rule` is returned as it is. Raises `UserError`, with the key `path`, if it is unknown or its options are invalid.
    """
    if isinstance(value, Rule):
        return value
    rule: Rule = build_component(resolved(read_choice(value, path, "rule"), "rule", path, registry), path)
    return rule


def build_augmentations(config: TrainingConfig) -> tuple[Augmentation, ...]:
    """Builds the augmentations of a recipe that was loaded with its plugins."""
    return tuple(each.build_as(Augmentation) for each in config.augment)  # type: ignore[type-abstract]


def _check_labels(condition: ConditionConfig, augment: Sequence[Augmentation], image: ImageSpec) -> None:
    """Raises `UserError` unless the augmentation whose variants are labels is used, and has as many as classes."""
    name, classes = condition.augmentation, condition.describe(image).spec.levels
    counts = {each.name: each.variants(image) for each in augment}
    if name not in counts:
        raise UserError(f"expected {name}, which condition.augmentation names, got {', '.join(counts) or 'none'}")
    if counts[name] != classes:
        raise UserError(f"{name} has {counts[name]} variants, but the condition has {classes} classes")


def check_sampler(sampler: Sampler, model: Chain) -> None:
    """Raises `UserError` if a sampler does not support a network of a model."""
    for network in model.modules():
        if isinstance(network, CausalNetwork):
            sampler.check(network)


def stride_of(views: Iterable[View]) -> tuple[int, int]:
    """The strides of a chain of views together: numbers of rows and columns of the image."""
    strides = [view.stride for view in views]
    return math.prod(rows for rows, _ in strides), math.prod(columns for _, columns in strides)


def _check_crops(recipe: Recipe, stride: tuple[int, int]) -> None:
    """Raises `UserError` if the view of a random crop would not be a crop of the image's view."""
    own = {f"{path}.crop": config.crop for path, config in recipe.training_tables.items()}
    image = recipe.image.height, recipe.image.width
    for key, size in {"image": image, **own}.items():
        if size is not None and (size[0] % stride[0] or size[1] % stride[1]):
            raise UserError(
                f"{key}: random crops have multiples of {stride[0]} rows and {stride[1]} columns, which are those of "
                f"the views' strides together; got {size[0]}×{size[1]}"
            )


def own_sampler(model: Chain) -> Sampler:
    """Returns the sampler of a model. Raises `UserError` if it has none, because `build_model` did not build it."""
    if model.sampler is None:
        raise UserError("the model has no sampler; build the model from a recipe, which includes a sampler")
    return model.sampler


def build_views(recipe: Recipe) -> list[View]:
    """Builds the view of each stage, from the image down.

    The input of the first view is the image, and that of every other view is the output of the view before it.
    """
    views: list[View] = []
    image = recipe.image
    for index, stage in enumerate(recipe.stage):
        path = f"stage[{index}].view"
        view = build_component(stage.view, path, image)
        for name in ("image", "view"):
            if not isinstance(spec := getattr(view, name, None), ImageSpec):
                raise UserError(
                    f"{path} ('{stage.view.name}'): expected an auxar.ImageSpec as `{name}`, got {shown(spec)}"
                )
        views.append(view)
        image = view.view
    return views


@contextlib.contextmanager
def sizes_in_64_bits() -> Iterator[None]:
    """A context that raises `UserError` if a tensor would have 2^63 bytes or more.

    PyTorch reports this with several types of exception.
    """
    try:
        yield
    except (RuntimeError, OverflowError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        raise UserError("expected tensors of less than 2^63 bytes; the image, batch or network is too large") from None


def _build_factors(recipe: Recipe) -> tuple[list[Factor], Factor | None]:
    """The factors of the image and its views by depth, and the factor of the condition if it is modeled."""
    views = build_views(recipe)
    image = views[-1].view if views else recipe.image
    # The prior is built first, then the other factors from the coarsest view up. The initial weights depend on this
    # order, because it is the order in which they are drawn.
    conditioning = _build_conditioning(recipe, image)
    channels = 0 if conditioning is None else conditioning.features_channels
    distribution = _build_distribution(recipe.prior, "prior", image, channels)
    factors = [_fitting(f"prior ('{recipe.prior.name}')", [], distribution, conditioning=conditioning)]
    for index in reversed(range(len(views))):
        stage, view, path = recipe.stage[index], views[index], f"stage[{index}]"
        embedding = build_component(stage.embedding, f"{path}.embedding", view.view, view.image)
        conditioning = _build_conditioning(recipe, view.image)
        channels = sum(part.features_channels for part in (embedding, conditioning) if part is not None)
        distribution = _build_distribution(stage.decoder, f"{path}.decoder", view.image, channels)
        restricted = stage.support == "restricted"
        if restricted and view.support is None:
            raise _stays_free(path, f"a view that defines its support, but '{stage.view.name}' does not")
        if restricted and not getattr(distribution, "restricts", False):
            raise _stays_free(path, f"a decoder that can be restricted, but '{stage.decoder.name}' cannot be")
        parts = {"view": view, "embedding": embedding, "conditioning": conditioning, "restricted": restricted}
        factors.insert(0, _fitting(path, factors, distribution, **parts))
    return factors, _build_condition_factor(recipe)


def _build_distribution(choice: ComponentChoice, path: str, image: ImageSpec, channels: int) -> Prior | Decoder:
    """Builds a distribution that is given this number of channels of features."""
    assert choice.component is not None
    found: Any = build_component(choice, path, image, *(() if choice.component.kind == "prior" else (channels,)))
    return CausalDistribution(found) if choice.component.kind == "network" else found


def _fitting(path: str, others: Sequence[Factor], distribution: Prior | Decoder, **parts: Any) -> Factor:
    """A factor of these parts, beside the `others` of a model.

    Raises `UserError`, with the key `path`, if the parts do not fit together, or if there are too many layers.
    """
    with naming(path):
        factor = Factor(distribution, **parts)
    layers = sum(1 for each in (factor, *others) for _ in each.modules())
    if layers > MOST_LAYERS:
        raise UserError(f"{path}: expected a model of at most {MOST_LAYERS} layers, got {layers} up to this factor")
    return factor


def _build_condition_factor(recipe: Recipe) -> Factor | None:
    """The factor of the condition; None if the condition is not modeled."""
    if recipe.condition is None or recipe.condition.prior is None:
        return None
    condition, choice, path = recipe.condition.describe(recipe.image), recipe.condition.prior, "condition.prior"
    prior = _build_distribution(choice, path, row_spec(condition), 0)
    return _fitting(f"{path} ('{choice.name}')", [], prior, models=condition)


def _build_conditioning(recipe: Recipe, image: ImageSpec) -> Conditioning | None:
    """The features of the recipe's condition for a factor of images with the shape `image`; None without a
    condition."""
    if recipe.condition is None:
        return None
    condition = recipe.condition.describe(recipe.image)
    embedding = build_component(recipe.condition.embedding, "condition.embedding", condition.spec, image)
    return Conditioning(condition, embedding)


def _stays_free(path: str, needed: str) -> UserError:
    return UserError(f"{path}.support: 'restricted' needs {needed}; use 'free'")


class WithoutDrawing(TorchFunctionMode):
    """Skips the random initialization of tensors on the device "meta", because such tensors have no values.

    Tensors on other devices are initialized as usual. This saves time: PyTorch would otherwise compute the shapes of
    random tensors with code that takes a second to import, and milliseconds for each layer.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        # PyTorch passes some functions of `nn.init` to this method as a whole. The tensor methods that they call, such
        # as `normal_`, are then not passed to it.
        if function in _FILLS or getattr(function, "__module__", None) == nn.init.__name__:
            tensor = args[0] if args else options.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        if function in _DRAWS:
            empty = torch.empty(*args, **{name: value for name, value in options.items() if name != "generator"})
            if empty.is_meta:
                return empty
        return function(*args, **options)
