"""Builds models on the device "meta", where tensors have shapes but no values, without drawing initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FILLS = {Tensor.normal_, Tensor.uniform_, Tensor.exponential_, Tensor.bernoulli_, Tensor.random_}
_DRAWS = {torch.randn, torch.rand}


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
