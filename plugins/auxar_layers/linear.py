"""Layers for each token, whose values and gradients have the same bits for any number of threads."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from auxar.numerics.threads import threads
from auxar_layers.convolution_gradients import added, cast, divided
from auxar_layers.functional import applied
from auxar_layers.parallel import each


class Linear(nn.Linear):
    """A linear map of the last dimension."""

    __call__: Callable[..., Tensor]

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return super().forward(x)
        x, weight = cast(x, self.weight)
        found = applied(_Product, x, weight)
        return found if self.bias is None else found + self.bias.to(found.dtype)


class LayerNorm(nn.LayerNorm):
    """A layer norm of the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return super().forward(x)
        x = x.float() if x.dtype == torch.bfloat16 else x
        return applied(_LayerNorm, x, self.weight, self.bias, self.eps)


class _Product(torch.autograd.Function):
    """x weightᵀ. The gradient of the weight is a sum over tokens, as that of a 1×1 convolution is over pixels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight.T)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_input = _product(gradient, weight) if ctx.needs_input_grad[0] else None
        rows, inputs = gradient.flatten(0, -2), x.flatten(0, -2)
        parts = divided(len(rows), weight.numel() * len(rows))
        return of_input, added(each(lambda part: rows[parts[part]].T @ inputs[parts[part]], len(parts)))


def _product(x: Tensor, matrix: Tensor) -> Tensor:
    """The product of the last dimension and a matrix, in parts that do not depend on the number of threads.

    Libraries may add in another order in the last rows of each thread's share.
    """
    rows = x.flatten(0, -2)
    parts = divided(len(rows), matrix.numel() * len(rows))
    return torch.cat(each(lambda part: rows[parts[part]] @ matrix, len(parts))).reshape(*x.shape[:-1], -1)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        found, mean, deviation = torch.native_layer_norm(x, weight.shape, weight, bias, epsilon)
        ctx.save_for_backward(x, weight, bias, mean, deviation)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, deviation = ctx.saved_tensors
        # Several threads would add their tokens up separately.
        with threads(1):
            found = torch.ops.aten.native_layer_norm_backward(
                gradients[0], x, weight.shape, mean, deviation, weight, bias, [True, True, True]
            )
        return (*found, None)
