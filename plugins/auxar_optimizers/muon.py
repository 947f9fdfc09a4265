"""The optimizer `muon`: Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) and Adam in one.

Muon changes a weight matrix by the matrix with equal singular values that is nearest to the average of its gradients.
So directions in which gradients are small are learned as fast as others. PyTorch's class `torch.optim.Muon` takes only
matrices, not the kernels of convolutions, and updates one after the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from attrs.validators import and_, deep_iterable, ge, lt, optional
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adam import adam

from auxar import at_most, positive
from auxar_layers.parallel import each
from auxar_optimizers.adam import has_fused

MOST_RATE = 1e30
"""Maximum learning rate, whose products with sizes of layers float32 can hold."""
FEWEST_CHANNELS = 8
"""Fewest inputs and outputs of a layer whose weights are a matrix for Muon."""
NO_MAPS = (nn.Embedding, nn.LayerNorm)
"""Layers whose weights are not a linear map, whatever their shape."""
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x³ and x⁵ in an iteration, which moves each singular value x toward 1 (Jordan et al. 2024)."""
STAGES = {torch.float32: (5,), torch.bfloat16: (3, 2)}
"""Numbers of iterations in each pair of products with the whole matrices. They add up to 5, as usual for Muon."""
FEWEST_ROWS = 64
"""Smallest number of rows, or of columns if it is lower, at which a CPU multiplies matrices faster in bfloat16."""
BATCH = 2**20
"""Maximum number of weights in a batch of equal shapes. Larger batches do not fit into the caches of a CPU."""
DEVIATION = 0.2
"""Root mean square of a matrix's update at the learning rate 1. Adam's updates have about this size (Liu et al. 2025,
https://arxiv.org/abs/2502.16982), so matrices of any shape and all other weights share one learning rate."""
USUAL, LARGEST = 0.06, 0.01
"""The usual learning rate is `USUAL` / ∛steps, but at most `LARGEST`. It is near the best rate of those tried in these
trainings of `convnet` with the schedule `cosine`: bits/dim of 500 validation images, one seed. In the trainings of 600
and 2,000 steps, first and last layers and biases had a rate of at most 0.003.

    faces, 16×16 given 8×8, batches of 16:   300 steps   0.008: 3.343, 0.012: 3.360, 0.017: 3.436
                                             600         0.005: 3.240, 0.008: 3.233, 0.012: 3.271
                                           2,000         0.003: 3.155, 0.005: 3.127, 0.008: 3.149
                                           6,000         0.003: 3.075, 0.005: 3.074
    faces, 32×32 given 16×16, batches of 8:  400         0.006: 2.628, 0.010: 2.614
    faces, 8×8, a prior, batches of 32:    1,000         0.004: 4.818, 0.007: 4.797, 0.010: 4.815
    CIFAR-10, 32×32, a prior, batches of 8:  400         0.006: 3.648, 0.010: 3.656
"""
EPSILON = 1e-8
"""Number added to the divisor of Adam's updates."""


@attrs.frozen
class MuonConfig:
    """Muon for the matrices of hidden layers, and Adam for all other weights.

    A layer is a module without submodules. Muon trains its weights of two or more dimensions, such as those of a linear
    map or the kernels of a convolution, as a matrix with a row for each index of the first dimension. Adam trains all
    other weights: gains and biases, weights of modules that have submodules, `torch.nn.Embedding` and
    `torch.nn.LayerNorm`, layers with fewer than 8 inputs or outputs, such as the first convolution of an image, and the
    first and the last weights of two or more dimensions in the embedding, the conditioning and the distribution of a
    factor.
    """

    learning_rate: float | None = attrs.field(default=None, validator=optional([positive, at_most(MOST_RATE)]))
    """Learning rate of all weights. In each step, the elements of a matrix change by about 0.2 times this number (root
    mean square). If it is not given, it is 0.06 / ∛N, but at most 0.01, where N is the number of training
    steps of the factor."""
    momentum: float = attrs.field(default=0.95, validator=[ge(0.0), lt(1.0)])
    """Decay rate of the moving average of gradients from which a matrix's update is computed, at least 0 and less
    than 1."""
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.99), validator=deep_iterable(and_(ge(0.0), lt(1.0))))
    """Decay rates of Adam's first and second moments of the gradient, at least 0 and less than 1."""
    weight_decay: float = attrs.field(default=0.0, validator=ge(0.0))
    """Weight decay of the matrices: each step subtracts this number times the learning rate times the weights."""


def build(config: MuonConfig, factor: nn.Module, steps: int) -> Muon:
    """Returns the optimizer of a factor's weights for a training of `steps` steps."""
    return Muon(factor, config, steps)


class Muon(Optimizer):
    """Muon for the matrices of a module, and Adam for its other weights.

    Updates have the same bits for any number of threads. Weights without a gradient do not change.
    """

    def __init__(self, module: nn.Module, config: MuonConfig, steps: int) -> None:
        weights = list(module.parameters())
        chosen = {id(weight) for weight in hidden_matrices(module)}
        groups: list[dict[str, Any]] = [
            {"params": [weight for weight in weights if (id(weight) in chosen) == is_matrix], "matrices": is_matrix}
            for is_matrix in (True, False)
        ]
        options = attrs.asdict(config)
        rate = options.pop("learning_rate") or min(LARGEST, USUAL / max(1, steps) ** (1 / 3))
        # PyTorch's fused Adam keeps the number of steps on the device of the weights.
        usual = {"lr": rate, **options, "fused": has_fused(module)}
        super().__init__([group for group in groups if group["params"]], usual)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes a step with the gradients of the weights. Returns the result of `closure`, which is called first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [weight for weight in group["params"] if weight.grad is not None]
            if group["matrices"]:
                self._step_matrices(trained, group)
            elif trained:
                self._step_others(trained, group)
        return loss

    def _step_matrices(self, trained: Sequence[Tensor], group: dict[str, Any]) -> None:
        shapes: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        for weight in trained:
            shapes[tuple(weight.flatten(1).shape)].append(weight)
        batches = [
            weights[start : start + count]
            for weights in shapes.values()
            for count in [max(1, BATCH // weights[0].numel())]
            for start in range(0, len(weights), count)
        ]
        if all(weight.device.type == "cpu" for weight in trained):
            each(lambda index: self._step_batch(batches[index], group), len(batches))
        else:
            for batch in batches:
                self._step_batch(batch, group)

    def _step_batch(self, weights: Sequence[Tensor], group: dict[str, Any]) -> None:
        """Changes matrices of equal shape."""
        momentum, rate = group["momentum"], group["lr"]
        directions = weights[0].new_empty(len(weights), *weights[0].flatten(1).shape)
        for weight, direction in zip(weights, directions, strict=True):
            state, gradient = self.state[weight], weight.grad
            assert gradient is not None
            if not state:
                state["momentum_buffer"] = torch.zeros_like(weight)
            average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            # The gradient of this step counts twice (Nesterov).
            torch.lerp(gradient, average, momentum, out=direction.view_as(gradient))
        updates = orthogonalized(directions)
        size = DEVIATION * max(updates.shape[1:]) ** 0.5
        for weight, update in zip(weights, updates, strict=True):
            if group["weight_decay"]:
                weight.mul_(1 - rate * group["weight_decay"])
            weight.add_(update.view_as(weight), alpha=-rate * size)

    def _step_others(self, trained: Sequence[Tensor], group: dict[str, Any]) -> None:
        for weight in trained:
            if not self.state[weight]:
                step = torch.zeros((), device=weight.device if group["fused"] else "cpu")
                self.state[weight] = {"step": step}
                self.state[weight] |= {key: torch.zeros_like(weight) for key in ("exp_avg", "exp_avg_sq")}
        first, second, steps = (
            [self.state[weight][key] for weight in trained] for key in ("exp_avg", "exp_avg_sq", "step")
        )
        adam(
            list(trained),
            [weight.grad for weight in trained if weight.grad is not None],
            first,
            second,
            [],
            steps,
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=EPSILON,
            maximize=False,
        )


def orthogonalized(matrices: Tensor) -> Tensor:
    """Matrices (b, rows, columns) with the same singular vectors, and singular values near 1, from about 0.7 to 1.2.

    Singular values far below the others stay smaller, and a matrix of zeros stays zero. The result may be in bfloat16,
    with an error of several percent, which does not harm training (Jordan et al. 2024).

    An iteration multiplies x by the square matrix a + b s + c s² with s = x xᵀ. Several iterations from a matrix y on
    multiply it by the product q of such matrices. All of them commute, so s = q (y yᵀ) q, and only y yᵀ and the final
    q y are products with a whole matrix. In bfloat16, s is too inexact to do all iterations in this way at once.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalized(matrices.mT).mT
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    dtype = torch.bfloat16 if _prefers_bfloat16(matrices) else torch.float32
    found: Tensor = matrices.to(dtype) / norms.clamp_min(torch.finfo(dtype).tiny).to(dtype)
    for iterations in STAGES[dtype]:
        squares = found @ found.mT
        factors = _factors(squares)
        for _ in range(iterations - 1):
            factors = _factors(factors @ squares @ factors) @ factors
        found = torch.bmm(factors, found)
    return found


def _factors(squares: Tensor) -> Tensor:
    first, third, fifth = COEFFICIENTS
    found = torch.baddbmm(squares, squares, squares, beta=third, alpha=fifth)
    found.diagonal(dim1=1, dim2=2).add_(first)
    return found


def _prefers_bfloat16(matrices: Tensor) -> bool:
    """Whether products are faster in bfloat16. Old versions of PyTorch do not report what a CPU supports."""
    if matrices.device.type != "cpu":
        return True
    able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return matrices.shape[1] >= FEWEST_ROWS and bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def hidden_matrices(module: nn.Module) -> list[Tensor]:
    """The weights that Muon trains, as `MuonConfig` describes them."""
    found: list[Tensor] = []
    for part in module.children():
        layers = [layer for layer in part.modules() if not (list(layer.children()) or isinstance(layer, NO_MAPS))]
        weights = [weight for layer in layers for weight in layer.parameters() if weight.dim() > 1]
        found += [weight for weight in weights[1:-1] if min(weight.shape[:2]) >= FEWEST_CHANNELS]
    return found
