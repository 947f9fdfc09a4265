"""Convolutions whose values and gradients have the same bits for any number of threads.

PyTorch divides the sum over images and pixels, which is the gradient of a weight, among its threads, so that rounding
depends on their number. Here, this sum is divided into parts of the batch by the size of the work alone. Each part is
computed by one thread, and the parts are added in their order.
"""

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from auxar.numerics.threads import threads
from auxar_layers.functional import applied
from auxar_layers.parallel import each

PART = 10**8
"""Multiply-adds of a part of the gradient of a weight, about two milliseconds of work."""
SMALL = 20480
"""Number of values of an image up to which PyTorch does not use its library of convolutions for it alone."""
MOST_PARTS = 64
"""The largest number of parts, since each needs memory for a gradient of the weight."""


Pair = int | tuple[int, int]
"""A number for rows and columns, or one for rows and one for columns."""


def pair(value: Pair) -> tuple[int, int]:
    """A number for rows and a number for columns, from one number for both or from two."""
    return (value, value) if isinstance(value, int) else value


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    stride: Pair = 1,
    padding: int = 0,
    groups: int = 1,
    transposed: bool = False,
) -> Tensor:
    """The convolution or, if `transposed`, the transposed convolution of `x`, (b, c, h, w).

    `stride` is one number, or one for rows and one for columns. `padding` is the number of rows or columns of zeros on
    each side, and `groups` is as in PyTorch. On a CPU, values and gradients do not depend on the number of threads.
    """
    # With one thread, PyTorch computes 1×1 convolutions of fewer than 16 images in another way, with other rounding. It
    # does not for a dilated kernel. A kernel of one tap is the same for any dilation.
    dilation = 2 if x.device.type == "cpu" and weight.shape[2:] == (1, 1) else 1
    options = [*pair(stride), padding, dilation, groups, int(transposed)]
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return _convolved(x, weight, bias, options)
    x, weight, bias = cast(x, weight, bias)
    return applied(_Convolution, x, weight, bias, *options)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, options: Sequence[int]) -> Tensor:
    *stride, padding, dilation, groups, transposed = options
    function = functional.conv_transpose2d if transposed else functional.conv2d
    # PyTorch computes a single small image by matrix products, which depend on the number of threads.
    small = x.shape[0] == 1 and x.numel() <= SMALL and x.device.type == "cpu" and not torch.compiler.is_compiling()
    with threads(1) if small else contextlib.nullcontext():
        return function(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, *options: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = options
        return _convolved(x, weight, bias, options)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        operands: Any = (gradients[0], *ctx.saved_tensors, list(ctx.options))
        needs_input = ctx.needs_input_grad[0]
        if torch.compiler.is_compiling() or len(_parts(*operands)) > 1 or not needs_input:
            of_input = _gradients((True, False, False), *operands)[0] if needs_input else None
            compute = _weight_gradients_uncompiled if torch.compiler.is_compiling() else _weight_gradients
            of_weight, of_bias = compute(*operands)
        elif torch.get_num_threads() > 1:
            # Two threads compute a gradient each.
            needed = [(True, False, False), (False, True, True)]
            (of_input, _, _), (_, of_weight, of_bias) = each(lambda task: _gradients(needed[task], *operands), 2)
        else:
            of_input, of_weight, of_bias = _gradients((True, True, True), *operands)
        return of_input, of_weight, of_bias, *(None for _ in ctx.options)


def _gradients(
    needed: tuple[bool, bool, bool], gradient: Tensor, x: Tensor, weight: Tensor, options: list[int]
) -> Sequence[Tensor]:
    """The gradients of input, weight and bias that are needed, as PyTorch computes them."""
    *stride, padding, dilation, groups, transposed = options
    rest = stride, [padding] * 2, [dilation] * 2, bool(transposed), [0, 0], groups, needed
    found: Sequence[Tensor] = torch.ops.aten.convolution_backward(gradient, x, weight, [gradient.shape[1]], *rest)
    return found


def _parts(gradient: Tensor, x: Tensor, weight: Tensor, options: list[int]) -> list[slice]:
    """The parts of a batch whose weight gradients are computed separately."""
    pixels = x if options[-1] else gradient
    return divided(len(x), weight.numel() * len(x) * pixels.shape[2] * pixels.shape[3])


def _weight_gradients(gradient: Tensor, x: Tensor, weight: Tensor, options: list[int]) -> tuple[Tensor, Tensor]:
    """The gradients of weight and bias.

    `options` are the strides of rows and columns, padding, dilation, groups, and 1 for a transposed convolution.
    """
    parts = _parts(gradient, x, weight, options)

    def compute(part: int) -> Sequence[Tensor]:
        return _gradients((False, True, True), gradient[parts[part]], x[parts[part]], weight, options)[1:]

    of_weight, of_bias = (added(column) for column in zip(*each(compute, len(parts)), strict=True))
    # The compiler relies on the memory layout of `_like_gradients`.
    return of_weight.contiguous(), of_bias


def _like_gradients(gradient: Tensor, x: Tensor, weight: Tensor, options: list[int]) -> tuple[Tensor, Tensor]:
    """Tensors of the shapes of the gradients of weight and bias."""
    return weight.new_empty(weight.shape), gradient.new_empty(gradient.shape[1])


# An operator that PyTorch's compiler does not look into.
_weight_gradients_uncompiled = torch.library.custom_op("auxar_layers::weight_gradients", mutates_args=())(
    _weight_gradients
)
_weight_gradients_uncompiled.register_fake(_like_gradients)


def cast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the type of autocast, if it is enabled, which does not look into the functions of this module."""
    if not torch.is_autocast_enabled("cpu"):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype("cpu")) for tensor in tensors)


def divided(length: int, work: int) -> list[slice]:
    """Divides a sum over `length` rows, of `work` multiply-adds, into slices of nearly equal length."""
    count = max(1, min(work // PART, MOST_PARTS, length))
    ends = [length * part // count for part in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def added(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors, in their order and at least in float32, in their own type."""
    if len(parts) == 1:
        return parts[0]
    total = parts[0].float() if parts[0].dtype == torch.bfloat16 else parts[0].clone()
    for part in parts[1:]:
        total += part
    return total.to(parts[0].dtype)
