"""The networks' pointwise functions. Each acts on dimension 1 as channels, whatever other dimensions there are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _ConcatELU(torch.autograd.Function):
    """One allocation and no copies: every half of the result is written where it belongs."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        channels = sum(part.shape[1] for part in inputs)
        first = inputs[0]
        memory_format = torch.contiguous_format
        if first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last):
            memory_format = torch.channels_last
        shape = (first.shape[0], 2 * channels, *first.shape[2:])
        output = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=memory_format)
        start = 0
        for part in inputs:
            for signed in (part, -part):
                torch._C._nn.elu(signed, out=output.narrow(1, start, part.shape[1]))
                start += part.shape[1]
        ctx.save_for_backward(output)
        ctx.sizes = [part.shape[1] for part in inputs]
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (output,) = ctx.saved_tensors
        (gradient,) = gradients
        results = []
        start = 0
        for size in ctx.sizes:
            slopes = [
                torch.ops.aten.elu_backward(
                    gradient.narrow(1, begin, size), 1, 1, 1, True, output.narrow(1, begin, size)
                )
                for begin in (start, start + size)
            ]
            results.append(slopes[0].sub_(slopes[1]))
            start += 2 * size
        return tuple(results)


def concat_elu(*inputs: Tensor) -> Tensor:
    """elu of each input and of its negative, side by side: (b, c, …) to (b, 2c, …)."""
    return _ConcatELU.apply(*inputs)


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
        order = sorted(range(x.dim()), key=lambda dim: -x.stride(dim))
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
    return _ByteDropout.apply(x, round(rate * 256))
