"""The networks' pointwise functions. Each acts on dimension 1 as channels, whatever other dimensions there are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _both_elus(*inputs: Tensor) -> Tensor:
    """Both halves share one exponential and are written where they belong.

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
            # Its rounding is coarser than what is lost by the subtraction, and expm1 takes twice as long.
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
    """Gradient of elu's argument from that of its value: slope 1 where the value is positive, else value + 1."""
    if value.dtype == torch.bfloat16:
        # Three times as fast on a CPU as the operator, which is the faster one in float32.
        return torch.addcmul(gradient, gradient, value.clamp(max=0))
    found: Tensor = torch.ops.aten.elu_backward(gradient, 1, 1, 1, True, value)
    return found


def concat_elu(*inputs: Tensor) -> Tensor:
    """elu of each input and of its negative, side by side: (b, c, …) to (b, 2c, …)."""
    # Without gradients, as in sampling, the overhead of an autograd function would be noticeable.
    if not torch.is_grad_enabled():
        return _both_elus(*inputs)
    found: Tensor = _ConcatELU.apply(*inputs)  # type: ignore[no-untyped-call]
    return found


def gate(x: Tensor) -> Tensor:
    """a · sigmoid(b) of the two halves of the channels: (b, 2c, …) to (b, c, …)."""
    value, control = x.chunk(2, dim=1)
    return value * torch.sigmoid(control)


class _ByteDropout(torch.autograd.Function):
    """Dropout whose mask costs one random byte for each value: PyTorch's own takes ten times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device)
        # All 64 bits; the default leaves the sign bit clear.
        words.random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()] >= dropped
        # The mask lies in memory as x does, so that the product runs along both.
        order = sorted(range(x.dim()), key=x.stride, reverse=True)
        inverse = sorted(range(x.dim()), key=order.__getitem__)
        mask = kept.view([x.shape[dim] for dim in order]).to(x.dtype).mul_(256 / (256 - dropped)).permute(inverse)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None


def dropout(x: Tensor, rate: float) -> Tensor:
    """Each value zeroed with probability `rate`, the others scaled up. On a CPU `rate` is taken in steps of 1/256."""
    if x.is_cuda:
        return torch.nn.functional.dropout(x, rate)
    # A rate just under 1 still keeps one value in 256.
    found: Tensor = _ByteDropout.apply(x, min(round(rate * 256), 255))  # type: ignore[no-untyped-call]
    return found
