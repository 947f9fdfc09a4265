"""Checks of trained modules: priors, decoders and embeddings; and the law `any_size`, which views have, too.

`any_size`: a component `at` another size equals one that is built for it, with the same weights.
"""

import abc
import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from auxar.model import ImageSpec, recomputable_blocks, recomputing
from auxar.testing.examples import extreme_images, random_features, random_images
from auxar.testing.invariances import Function, check_invariances
from auxar.testing.laws import accepts, broken, calling, check_equal, runs

CLOSE = 1e-9
"""The relative and absolute tolerance of float64 results that may differ by the order of summation."""
NARROW = 1e-3
"""The relative and absolute tolerance of results in float32."""
MANY = 17
"""The number of images of a large batch."""


@attrs.frozen(eq=False)
class Trained(abc.ABC):
    """A module whose weights are trained, as a function of images, and of features if it takes any."""

    module: Any
    """The module. The checks replace its weights, dtype and mode."""
    image: ImageSpec
    """Shape and range of the images, or of the views if these are the inputs."""
    features_channels: int = 0
    """Number of channels of the features, which have the dtype of the weights; 0 if the module takes none."""
    what: ClassVar[str]
    """Name of the results, for messages."""

    @abc.abstractmethod
    def compute(self, image: Any, features: Any = None) -> Tensor:
        """Computes the results. Checks their shape."""

    def inputs(self, count: int, seed: int, *, extreme: bool = False) -> tuple[Any, ...]:
        """Random inputs for `count` images. If `extreme`, those for extreme images come first."""
        image = random_images(count, self.image, seed)
        image = torch.cat([extreme_images(self.image), image]) if extreme else image
        return image, self.features(len(image), seed)

    def features(self, count: int, seed: int = 0) -> Tensor | None:
        """Normally distributed features for `count` images, with device and dtype of the weights. None for none."""
        return random_features(self.module, self.image, self.features_channels, count, seed)

    def loss(self, *inputs: Tensor | None) -> Tensor:
        """Computes a number that depends on all trained weights."""
        # Squares are averaged, because the terms of a plain mean may cancel.
        return self.compute(*inputs).square().mean()

    def initialize(self, *inputs: Tensor | None) -> None:
        """Calls `initialize` of the module. Checks the laws of a call."""
        with calling("initialize", *inputs, module=self.module, random=True), torch.no_grad():
            self.module.initialize(*(each for each in inputs if each is not None))

    @property
    def function(self) -> Function:
        """The results as a function of inputs."""
        levels = (self.image.levels,)
        return Function(self.what, lambda *inputs: {self.what: self.compute(*inputs)}, levels, self.module, CLOSE)

    def values(self, *inputs: Tensor | None) -> Tensor:
        """Computes the results without gradients. Checks the laws of a single call."""
        return self.function(*inputs)[self.what]


def check_values(model: Trained, seed: int) -> Tensor:
    """Checks all invariances, and the law `finite`. Returns the results for extreme inputs and a random one."""
    inputs = model.inputs(1, seed, extreme=True)
    if not (found := model.values(*inputs)).isfinite().all():
        broken("finite", f"{model.what} must be finite", found=found)
    check_invariances(model.function, *inputs)
    return found


def check_saved(model: Trained, fresh: Trained, seed: int) -> None:
    """Checks the law `save`: after `initialize`, saved and reloaded weights give bitwise identical results."""
    inputs = model.inputs(3, seed)
    model.module.train()
    model.initialize(*inputs)
    with calling("saving and loading the weights"):
        state = {name: tensor.contiguous() for name, tensor in model.module.eval().state_dict().items()}
        fresh.module.double().eval().load_state_dict(load(save(state)))
    message = f"{model.what} differs after loading saved weights; part of the state is not in state_dict()"
    check_equal("save", message, fresh.values(*inputs), model.values(*inputs))


def check_training(model: Trained, seed: int) -> None:
    """Checks the laws `mode`, `finite`, `gradient` and `recompute` on a new module, in float32 as in training."""
    inputs, module = model.inputs(4, seed, extreme=True), model.module.train()
    model.initialize(*inputs)
    with calling("training", *inputs, module=module, random=True):
        loss = model.loss(*inputs)
        if loss.requires_grad:
            loss.backward()
    if not loss.isfinite():
        broken("finite", f"{model.what} must be finite after initialization", loss=loss)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            broken("gradient", f"{model.what} does not depend on the parameter {name}")
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            broken("gradient", f"the gradient of {name} is not finite")
    check_recomputation(module, lambda: model.loss(*inputs))


def check_narrow(model: Trained, seed: int) -> None:
    """Checks the laws `determinism`, `batch`, `precision` and `gradient` as in training: many inputs, in float32.

    Their results are compared with those of few inputs in float64 without gradients.
    """
    inputs, what = model.inputs(3, seed), model.what
    expected, numbers = model.values(*inputs), torch.arange(MANY) % 3
    model.module.float()
    few = tuple(each.float() if each is not None and each.is_floating_point() else each for each in inputs)
    many = tuple(None if each is None else each[numbers] for each in few)
    found = model.values(*many)
    check_equal("determinism", f"{what} in float32 must be the same in a second call", model.values(*many), found)
    check_equal("precision", f"{what} in float32 must be as in float64", model.values(*few), expected, NARROW)
    message = f"{what} of {MANY} images must be the same as in a batch of 3"
    check_equal("batch", message, found, expected[numbers], NARROW)
    with calling(what, *many, module=model.module):
        recorded = model.compute(*many)
    message = f"{what} must be the same while gradients are recorded"
    check_equal("gradient", message, recorded, expected[numbers], NARROW)


def check_recomputation(module: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Checks the law `recompute` of a module in training mode: the same step with and without recomputation.

    `loss` computes the loss of the step. Loss, gradients and the state of the module afterwards must be equal to the
    last bit. Random numbers of torch are drawn from the same seed both times, and their state is restored.
    """
    if not recomputable_blocks(module):
        return
    state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    kept, kept_state = _step(module, loss, contextlib.nullcontext())
    module.load_state_dict(state)
    with calling("training with recomputed blocks", random=True):
        found, found_state = _step(module, loss, recomputing(module))
    for name, tensor in kept.items():
        check_equal("recompute", f"{name} differs if auxar.RecomputableBlock is recomputed", found[name], tensor)
    for name, tensor in kept_state.items():
        message = f"`forward` of an auxar.RecomputableBlock must not change its state, here {name}"
        check_equal("recompute", message, found_state[name], tensor)


def _step(
    module: nn.Module, loss: Callable[[], Tensor], context: contextlib.AbstractContextManager[None]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The loss and the gradients of a step, and the state afterwards."""
    module.zero_grad(set_to_none=True)
    with torch.random.fork_rng(), context:
        torch.manual_seed(0)
        value = loss()
        if value.requires_grad:
            value.backward()
    found = {"the loss": value.detach()}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            found[f"the gradient of {name}"] = parameter.grad
    return found, {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def other_size(spec: ImageSpec, factor: int = 1) -> ImageSpec:
    """A larger spec. Its height and width grow by different multiples of `factor`."""
    return attrs.evolve(spec, height=spec.height + factor, width=spec.width + 2 * factor)


def check_any_size(
    component: Any, sizes: Sequence[ImageSpec], make: Callable[..., Any], values: Callable[[Any], Tensor]
) -> None:
    """Checks the law `any_size` of a component, which has random weights if it has any.

    `make` builds a new component for other `sizes`, the arguments of `at`. If the component has `any_size`, the result
    of `at` shares all weights, and has the `values` of the new component after it loads them. Otherwise, `at` raises
    `UserError`. A component that cannot be built for the other sizes passes.
    """
    name = type(component).__name__
    if not accepts(functools.partial(make, *sizes)):
        return
    if not component.any_size:
        if accepts(functools.partial(component.at, *sizes)):
            broken("any_size", f"`at` must raise UserError for another size, because `any_size` of {name} is False")
        return
    with runs("at", law="any_size"):
        found, other = component.at(*sizes), make(*sizes)
        if isinstance(component, nn.Module):
            other.double().eval().load_state_dict(component.state_dict())
            own = dict(component.named_parameters())
            if any(own[name] is not parameter for name, parameter in found.named_parameters()):
                broken("any_size", "`at` must share the weights, not copy them")
    for spec in ("image", "view"):
        if (got := getattr(found, spec, None)) != (expected := getattr(other, spec, None)):
            broken("any_size", f"the `{spec}` of {name} after `at` must be {expected}, got {got}")
    message = f"results of {name} after `at` must be those of one that is built for the size with the same weights"
    check_equal("any_size", message, values(found), values(other), CLOSE)
