"""Models that have shapes only: how they are built without drawing the first weights that they do not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FILLS = {Tensor.normal_, Tensor.uniform_, Tensor.exponential_, Tensor.bernoulli_, Tensor.random_}
_DRAWS = {torch.randn, torch.rand}


class WithoutDrawing(TorchFunctionMode):
    """Leaves out what initializes tensors on the device "meta", where numbers have nowhere to go.

    Those of other devices are as ever. PyTorch would work out the shapes of what is drawn there by means that take a
    second to import and milliseconds a layer.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        # Functions of `init` come here as a whole, some of them: what they call would not.
        if function in _FILLS or getattr(function, "__module__", None) == nn.init.__name__:
            tensor = args[0] if args else options.get("tensor")
            if isinstance(tensor, Tensor) and tensor.is_meta:
                return tensor
        if function in _DRAWS:
            empty = torch.empty(*args, **{name: value for name, value in options.items() if name != "generator"})
            if empty.is_meta:
                return empty
        return function(*args, **options)
