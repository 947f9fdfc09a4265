"""The invariances that all functions of components share, whatever they compute.

A function gets inputs for several images and returns results for each. The results for an image depend on its own
inputs alone: not on earlier calls, on the rest of the batch, or on the memory layout, dtype and device of tensors.
"""

import itertools
import operator
import random
from collections.abc import Callable, Collection, Iterator, Mapping

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from auxar.model import INTEGER_DTYPES
from auxar.testing.laws import broken, calling, check_equal

ROUNDING = 1e-6
"""The tolerance of results on another device, if they are no integers."""

Inputs = tuple[Tensor | None, ...]
Results = Mapping[str, Tensor]
Change = tuple[str, str, Inputs, Callable[[Tensor], Tensor]]
"""Name of a law, what changes, the changed inputs, and how the results change."""


@attrs.frozen(eq=False)
class Function:
    """A function of a component that computes results for a batch."""

    what: str
    """Name of the function, for messages."""
    compute: Callable[..., Results]
    """Computes results by name. The first dimension of inputs and results is the batch. Checks shapes and dtypes."""
    levels: tuple[int, ...] = ()
    """Levels of the first inputs, which are integers in 0 … levels - 1 of any dtype that holds them. The other inputs
    keep their dtype."""
    module: nn.Module | None = None
    """Module in evaluation mode that computes the results, if any."""
    error: float = 0.0
    """The relative and absolute difference of results that counts as rounding. It is 0 for integers."""

    def __call__(self, *inputs: Tensor | None) -> Results:
        """Computes the results. Checks the laws `runs`, `inputs`, `state`, `mode`, and that devices are kept."""
        with calling(self.what, *inputs, module=self.module), torch.no_grad():
            found = self.compute(*inputs)
            devices = {values.device.type for values in found.values()}
            if devices - {each.device.type for each in inputs if each is not None}:
                broken("device", f"{self.what} must return results on the device of the inputs, got {devices}")
        return found


def check_invariances(function: Function, *inputs: Tensor | None, skip: Collection[str] = ()) -> Results:
    """Checks the laws `determinism`, `batch`, `layout`, `dtype` and `device`, except for those in `skip`.

    Returns the results for the inputs. Raises `ContractError` if a law is broken.
    """
    # Other seeds than for the first call show functions that draw from the random numbers of other libraries.
    _seed(0)
    found = function(*inputs)
    _seed(1)
    for law, how, changed, images in _changes(function, inputs):
        if law not in skip:
            _compare(law, how, function, function(*changed), {name: images(values) for name, values in found.items()})
    for device in () if "device" in skip else devices()[1:]:
        module = function.module or nn.Module()
        module.to(device)
        again = function(*(None if each is None else each.to(device) for each in inputs))
        module.to("cpu")
        _compare("device", f"on {device}", function, {name: values.cpu() for name, values in again.items()}, found)
    return found


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)


def _changes(function: Function, inputs: Inputs) -> Iterator[Change]:
    yield "determinism", "in a second call", inputs, _same
    copies = _each(_reversed, inputs)
    yield "batch", "in reversed order", copies, _reversed
    # Memory is soon used again for other inputs, so a function must not recognize inputs by their place in memory.
    for copy, each in zip(copies, inputs, strict=True):
        if copy is not None and each is not None:
            copy.copy_(each)
    yield "determinism", "in memory that held other inputs before", copies, _same
    for which, row in (("first", 0), ("last", -1)):
        alone = operator.itemgetter([row])
        yield "batch", f"for the {which} image alone", _each(alone, inputs), alone
    for layout in (channels_last, columns_first):
        yield "layout", f"with {layout.__name__.replace('_', ' ')} in memory", _each(layout, inputs), _same
    for dtype in INTEGER_DTYPES:
        if any(_fits(levels, dtype) for levels in function.levels):
            yield "dtype", f"for integers in {dtype}", _converted(function.levels, dtype, inputs), _same


def _same(values: Tensor) -> Tensor:
    return values


def _reversed(values: Tensor) -> Tensor:
    return values.flip(0)


def _each(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    return tuple(None if each is None else change(each) for each in inputs)


def _converted(levels: tuple[int, ...], dtype: torch.dtype, inputs: Inputs) -> Inputs:
    pairs = itertools.zip_longest(inputs, levels)
    return tuple(each.to(dtype) if most and each is not None and _fits(most, dtype) else each for each, most in pairs)


def _fits(levels: int, dtype: torch.dtype) -> bool:
    return levels - 1 <= torch.iinfo(dtype).max


def _compare(law: str, how: str, function: Function, found: Results, expected: Results) -> None:
    error = 0.0 if law == "determinism" else function.error
    error = max(error, ROUNDING) if law == "device" and error else error
    for name, values in found.items():
        check_equal(law, f"{name} {how} must be the same", values, expected[name], error)


def channels_last(values: Tensor) -> Tensor:
    """A copy in which the channels of a pixel lie side by side in memory, for a tensor (b, c, h, w)."""
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values.clone()


def columns_first(values: Tensor) -> Tensor:
    """A copy of (…, h, w) in which the pixels of a column lie side by side in memory."""
    return values.mT.contiguous().mT


def devices() -> list[torch.device]:
    """The devices of this machine that support float64: the CPU, then CUDA if available."""
    names = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return [torch.device(name) for name in names]
