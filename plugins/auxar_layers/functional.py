"""Activations and dropout of the networks. Dimension 1 is the channel dimension; the other dimensions are arbitrary."""

from typing import Any

import torch
from torch import Tensor


def _both_elus(*inputs: Tensor) -> Tensor:
    """Computes elu(x) and elu(-x) of each input from one exponential, and writes both directly into the output.

    With e = exp(-|x|) - 1, elu(x) = max(x, e) and elu(-x) = max(-x, e).
    """
    sizes = [part.shape[1] for part in inputs]
    first = inputs[0]
    channels_last = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
    output = torch.empty(
        (first.shape[0], 2 * sum(sizes), *first.shape[2:]),
        dtype=first.dtype,
        device=first.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )
    halves = iter(output.split([size for size in sizes for _ in range(2)], dim=1))
    for part in inputs:
        exponential = part.abs().neg_()
        if part.dtype == torch.bfloat16:
            # In bfloat16, the error of exp(x) - 1 is at most 2⁻⁸, which is also the rounding error of numbers near 1.
            # This is precise enough, and expm1 takes twice as long.
            exponential.exp_().sub_(1)
        else:
            exponential.expm1_()
        torch.maximum(part, exponential, out=next(halves))
        negative = torch.neg(part, out=next(halves))
        torch.maximum(negative, exponential, out=negative)
    return output


class _ConcatELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        output = _both_elus(*inputs)
        ctx.save_for_backward(output)
        ctx.sizes = [part.shape[1] for part in inputs]
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (output,) = ctx.saved_tensors
        sizes = [size for size in ctx.sizes for _ in range(2)]
        pairs = zip(gradients[0].split(sizes, dim=1), output.split(sizes, dim=1), strict=True)
        slopes = [_elu_backward(gradient, value) for gradient, value in pairs]
        return tuple(slopes[k].sub_(slopes[k + 1]) for k in range(0, len(slopes), 2))


def _elu_backward(gradient: Tensor, value: Tensor) -> Tensor:
    """The gradient with respect to the input of elu, given the gradient with respect to its output `value`.

    The slope is 1 where the value is positive, and value + 1 elsewhere.
    """
    if value.dtype == torch.bfloat16:
        # In bfloat16 on a CPU, this is three times as fast as the operator below, which is faster in float32.
        return torch.addcmul(gradient, gradient, value.clamp(max=0))
    found: Tensor = torch.ops.aten.elu_backward(gradient, 1, 1, 1, True, value)
    return found


def concat_elu(*inputs: Tensor) -> Tensor:
    """Concatenates elu(x) and elu(-x) of each input x along the channels: an input (b, c, …) gives (b, 2c, …)."""
    if torch.compiler.is_compiling():
        # The compiler fuses this with other operations, and derives the backward pass.
        return torch.cat([torch.nn.functional.elu(part) for x in inputs for part in (x, -x)], dim=1)
    # Without gradients, as in sampling, the autograd function is skipped because of its overhead.
    return applied(_ConcatELU, *inputs) if torch.is_grad_enabled() else _both_elus(*inputs)


def gate(x: Tensor) -> Tensor:
    """Multiplies the first half of the channels by the sigmoid of the second half: (b, 2c, …) gives (b, c, …)."""
    value, control = x.chunk(2, dim=1)
    return value * torch.sigmoid(control)


def _fill_with_mask(target: Tensor, dropped: int) -> None:
    """Fills a contiguous tensor with 0, with probability `dropped` / 256, and with 256 / (256 - dropped) elsewhere.

    One random byte is used for each value.
    """
    words = torch.empty((target.numel() + 7) // 8, dtype=torch.int64, device=target.device)
    # The range covers all 64 bits; by default, the sign bit would stay 0.
    words.random_(-(2**63), None)
    kept = words.view(torch.uint8)[: target.numel()] >= dropped
    target.copy_(kept.view(target.shape)).mul_(256 / (256 - dropped))


# An operator that PyTorch's compiler does not look into. The compiler would compute two equal calls of an operator that
# returns random numbers only once, in spite of the tag. It does not do so for an operator that fills its argument.
_fill_with_mask_uncompiled = torch.library.custom_op(
    "auxar_layers::fill_with_mask", mutates_args={"target"}, tags=(torch.Tag.nondeterministic_seeded,)
)(_fill_with_mask)
_fill_with_mask_uncompiled.register_fake(lambda target, dropped: None)


class _ByteDropout(torch.autograd.Function):
    """Dropout with one random byte for each value of the mask. On a CPU, PyTorch's dropout takes ten times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        # The mask has the memory layout of x, so that the product reads both in memory order.
        order = sorted(range(x.dim()), key=x.stride, reverse=True)
        inverse = sorted(range(x.dim()), key=order.__getitem__)
        mask = x.new_empty([x.shape[dim] for dim in order])
        _fill_with_mask(mask, dropped)
        mask = mask.permute(inverse)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None


def _compiled_dropout(x: Tensor, dropped: int) -> Tensor:
    """Dropout for PyTorch's compiler. For an image with channels last in memory, it has the mask of `_ByteDropout`."""
    batch, channels, *sides = x.shape
    mask = torch.empty((batch, *sides, channels), dtype=x.dtype, device=x.device)
    _fill_with_mask_uncompiled(mask, dropped)
    return x * mask.movedim(-1, 1)


def dropout(x: Tensor, rate: float) -> Tensor:
    """Sets each value to zero with probability `rate` and multiplies the others by 1 / (1 - rate).

    Except on CUDA, `rate` is rounded to a multiple of 1/256, at most 255/256.
    """
    if x.is_cuda:
        return torch.nn.functional.dropout(x, rate)
    # The limit of 255 keeps the factor 256 / (256 - dropped) finite.
    dropped = min(round(rate * 256), 255)
    return _compiled_dropout(x, dropped) if torch.compiler.is_compiling() else applied(_ByteDropout, x, dropped)


def applied(function: type[torch.autograd.Function], *inputs: object) -> Tensor:
    """Calls an autograd function. Whether `apply` is annotated depends on the version of PyTorch."""
    apply: Any = function.apply
    result: Tensor = apply(*inputs)
    return result
