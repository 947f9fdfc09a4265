"""How pixels are drawn from what a network predicts for them: freely, or along a walk.

A draw is many small operations on few numbers. The native engine has functions for the heads that there are, with their
formulas.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from auxar.causal import restrictable
from auxar.interfaces import DrawnPixels, DrawRule, Head, Interval, Walk
from auxar.support import SumWalk
from auxar_heads.logistic_mixture import (
    LARGEST_LOG_SCALE,
    SMALLEST_LOG_SCALE,
    SMALLEST_REDUCED_LOG_SCALE,
    LogisticMixtureHead,
)
from auxar_heads.softmax import SoftmaxHead
from auxar_samplers.engines.compiling import UnavailableError, library

logger = logging.getLogger("auxar")

Drawing = Callable[[Tensor, Tensor], Tensor]
"""Places (n,) and parameters (n · b, P) to pixels, int64, (n, b, c); whatever they are outside of the image."""


@attrs.frozen(eq=False)
class Source:
    """What pixels depend on besides their parameters, by their places: height · width + 1 of them in b images."""

    head: Head
    levels: int
    rule: DrawRule
    uniforms: Tensor
    """(places, b, count), float64."""
    limits: Interval | None = None
    """Within which all values are, given ones at both ends: int64, (places, b, c) each."""
    walk: Walk | None = None


def make_drawing(source: Source, engine: str) -> Drawing:
    """Of engines, as `engines.make_engine` has them, `auto` is the native one wherever it has that function."""
    if engine != "plain":
        try:
            return NativeDrawing(source)
        except UnavailableError as error:
            logger.debug("drawing with PyTorch's operations: %s", error)
    return _Free(source) if source.walk is None else _Restricted(source, source.walk)


class _Free:
    def __init__(self, source: Source) -> None:
        self.source = source

    def __call__(self, places: Tensor, parameters: Tensor) -> Tensor:
        source = self.source
        noise = source.uniforms.index_select(0, places)
        drawn = source.head.draw(parameters, noise.flatten(0, 1), source.rule).view(*noise.shape[:2], -1)
        if source.limits is not None:
            drawn = drawn.clamp(source.limits.low[places], source.limits.high[places])
        return drawn


class _Restricted:
    def __init__(self, source: Source, walk: Walk) -> None:
        self.source = source
        self.walk = walk

    def __call__(self, places: Tensor, parameters: Tensor) -> Tensor:
        source = self.source
        noise = source.uniforms.index_select(0, places)
        limits = source.limits
        if limits is not None:
            limits = Interval(limits.low[places].flatten(0, 1), limits.high[places].flatten(0, 1))
        pixels = DrawnPixels(self.walk, source.levels, places, limits)
        drawn = restrictable(source.head).draw_restricted(parameters, noise.flatten(0, 1), source.rule, pixels)
        return drawn.view(*noise.shape[:2], -1)


class _Drawing(ctypes.Structure):
    """As drawing.cpp has it."""

    _fields_ = [
        ("batch", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("levels", ctypes.c_int64),
        ("outside", ctypes.c_int64),
        ("components", ctypes.c_int64),
        ("modes", ctypes.c_int64),
        ("smallest_log_scale", ctypes.c_double),
        ("largest_log_scale", ctypes.c_double),
        ("reduction", ctypes.c_double),
        ("smallest_reduced_log_scale", ctypes.c_double),
        ("temperature", ctypes.c_double),
        ("groups", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("least", ctypes.c_void_p),
        ("most", ctypes.c_void_p),
        ("later_images", ctypes.c_int64),
        ("lowest", ctypes.c_void_p),
        ("highest", ctypes.c_void_p),
        ("uniforms", ctypes.c_void_p),
        ("low", ctypes.c_void_p),
        ("high", ctypes.c_void_p),
    ]


class NativeDrawing:
    """By a function of `drawing.cpp`. Raises `UnavailableError` where it cannot draw."""

    def __init__(self, source: Source) -> None:
        head, walk = source.head, source.walk
        # A subclass may have other formulas.
        if type(head) not in (LogisticMixtureHead, SoftmaxHead) or type(walk) not in (SumWalk, type(None)):
            kind = type(head).__name__ if walk is None else f"{type(head).__name__} along {type(walk).__name__}"
            raise UnavailableError(f"a draw from {kind} has no native form")
        if source.uniforms.device.type != "cpu":
            raise UnavailableError(f"it draws on a CPU, not on {source.uniforms.device}")
        assert isinstance(head, LogisticMixtureHead | SoftmaxHead)
        places, batch, _ = source.uniforms.shape
        # The library reads and writes memory by its address: all of it is kept alive here.
        self._kept: list[Tensor] = []
        self._drawing = _Drawing(
            batch=batch,
            channels=head.channels,
            levels=source.levels,
            outside=places - 1,
            uniforms=self._address(source.uniforms, torch.float64),
            temperature=source.rule.temperature,
        )
        if isinstance(head, LogisticMixtureHead):
            self._drawing.components, self._drawing.modes = head.components, source.rule.name == "map"
            self._drawing.smallest_log_scale, self._drawing.largest_log_scale = SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE
            self._drawing.reduction = source.rule.reduction
            self._drawing.smallest_reduced_log_scale = SMALLEST_REDUCED_LOG_SCALE
        if isinstance(walk, SumWalk):
            self._drawing.groups, self._drawing.weights = self._address(walk.groups), self._address(walk.weights)
            self._drawing.least, self._drawing.most = self._address(walk.least), self._address(walk.most)
            self._drawing.later_images = walk.least.shape[2]
            self._drawing.lowest, self._drawing.highest = self._address(walk.lowest), self._address(walk.highest)
        if source.limits is not None:
            self._drawing.low = self._address(source.limits.low)
            self._drawing.high = self._address(source.limits.high)
        kind = "softmax" if isinstance(head, SoftmaxHead) else "mixture"
        self._functions = {
            dtype: getattr(library(), f"draw_{kind}_{name}")
            for dtype, name in ((torch.float32, "float"), (torch.float64, "double"))
        }

    def __call__(self, places: Tensor, parameters: Tensor) -> Tensor:
        if parameters.dtype not in self._functions:
            parameters = parameters.float()
        parameters = parameters.contiguous()
        places = places.contiguous()
        shape = len(places), self._drawing.batch, self._drawing.channels
        drawn = torch.empty(shape, dtype=torch.int64, device="cpu")  # Whatever the default device is.
        self._functions[parameters.dtype](
            ctypes.byref(self._drawing),
            ctypes.c_void_p(places.data_ptr()),
            ctypes.c_int64(len(places)),
            ctypes.c_void_p(parameters.data_ptr()),
            ctypes.c_void_p(drawn.data_ptr()),
            ctypes.c_int64(torch.get_num_threads()),
        )
        return drawn

    def _address(self, tensor: Tensor, dtype: torch.dtype = torch.int64) -> int:
        assert tensor.is_contiguous()
        assert tensor.dtype == dtype
        self._kept.append(tensor)
        return tensor.data_ptr()
