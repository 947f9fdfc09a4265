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
    """Leaves out what draws random numbers, for the device "meta", where they have nowhere to go.

    PyTorch would work out shapes of what is drawn there by means that take a second to import and milliseconds a layer.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if function in _FILLS:
            return args[0]
        # Some of these come here as a whole: what they call would not.
        if getattr(function, "__module__", None) == nn.init.__name__:
            return args[0] if args else options["tensor"]
        if function in _DRAWS:
            options.pop("generator", None)
            return torch.empty(*args, **options)
        return function(*args, **options)
