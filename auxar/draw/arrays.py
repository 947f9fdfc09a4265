"""Checks tensors and arrays that a user gives as images, and says how to convert those that do not fit."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.model import ImageSpec

Array = Tensor | np.ndarray


def fitted(array: Array, spec: ImageSpec, label: str, *, resizable: bool) -> Tensor:
    """Converts integers to a batch of images: uint8 or int64 on the CPU, shape (n, *spec.shape).

    A single image becomes a batch of one. NumPy arrays may have the channels last, and images with one channel may lack
    the dimension of the channel. Raises `UserError`, beginning with `label`, if type, shape or range is wrong. With
    `resizable`, the message about a wrong size advises `model.prepare`.
    """
    values = integers(array, spec.levels, label)
    batch = _by_shape(values, spec, isinstance(array, np.ndarray))
    if batch is None:
        raise UserError(f"{label}: {_wrong_shape(tuple(values.shape), spec, resizable)}")
    _check_range(batch, spec, label)
    return batch


def integers(array: Array, levels: int, label: str) -> Tensor:
    """Converts an array of integers to a tensor on the CPU: uint8 if it has 8 bits, and int64 otherwise.

    Raises `UserError` for floats, booleans and other types. `levels` is the number of levels in the message.
    """
    if isinstance(array, np.ndarray):
        kind = {"b": "booleans", "i": "", "u": "", "f": "floats", "c": "complex numbers"}.get(array.dtype.kind, "other")
        dtype = f"a NumPy array of {array.dtype}"
    else:
        if array.device.type == "meta" or array.layout != torch.strided:
            raise UserError(
                f"{label}: expected a dense tensor with values, got one of {array.layout} on {array.device}"
            )
        kind = "floats" if array.is_floating_point() else "complex numbers" if array.is_complex() else ""
        kind = "booleans" if array.dtype == torch.bool else "other" if array.is_quantized else kind
        dtype = f"a tensor of {array.dtype}"
    if kind == "other":
        raise UserError(f"{label}: expected integers in [0, {levels}), got {dtype}{_object_hint(array)}")
    if kind:
        hint = _float_hint(array, levels) if kind == "floats" else ""
        raise UserError(f"{label}: expected integers in [0, {levels}), got {kind} ({dtype}){hint}")
    if isinstance(array, Tensor):
        return array.detach().to("cpu", torch.uint8 if array.dtype == torch.uint8 else torch.int64)
    # Arrays with negative strides, such as mirrored ones, and arrays that cannot be written are copied.
    return torch.from_numpy(np.array(array, np.uint8 if array.dtype == np.uint8 else np.int64))


def _object_hint(array: Array) -> str:
    if isinstance(array, np.ndarray) and array.dtype == object:
        return "; its entries have different shapes or are no numbers: give them as a list"
    return ""


def _float_hint(array: Array, levels: int) -> str:
    """Advice on converting floats to integers, which depends on their range."""
    values = torch.as_tensor(np.asarray(array) if isinstance(array, np.ndarray) else array).detach()
    if not values.numel():
        return ""
    if not values.isfinite().all():
        return ", some of them NaN or infinite"
    low, high, top = float(values.min()), float(values.max()), levels - 1
    dtype = "uint8" if levels <= 256 else "int64"
    convert = f".astype(np.{dtype})" if isinstance(array, np.ndarray) else f".to(torch.{dtype})"
    found = f" from {low:g} to {high:g}"
    if low >= 0 and high <= 1:
        return f"{found}; if they are scaled to [0, 1], convert them with (x * {top}).round(){convert}"
    if low >= -1 and high <= 1:
        return f"{found}; if they are scaled to [-1, 1], convert them with ((x + 1) * {top / 2:g}).round(){convert}"
    if low >= 0 and high <= top:
        return f"{found}; convert them with x.round(){convert}"
    return found


def _by_shape(values: Tensor, spec: ImageSpec, channels_last: bool) -> Tensor | None:
    """The values with the shape (n, *spec.shape), or None if their shape is wrong."""
    channels, height, width = spec.shape
    shape = tuple(values.shape)
    if shape[-3:] == spec.shape and len(shape) in (3, 4):
        return values.reshape(-1, *spec.shape) if len(shape) == 3 else values
    if channels == 1 and shape[-2:] == (height, width) and len(shape) in (2, 3):
        return values[None, None] if len(shape) == 2 else values[:, None]
    if channels_last and shape[-3:] == (height, width, channels) and len(shape) in (3, 4):
        return (values[None] if len(shape) == 3 else values).permute(0, 3, 1, 2).contiguous()
    return None


def _wrong_shape(shape: tuple[int, ...], spec: ImageSpec, resizable: bool) -> str:
    channels, height, width = spec.shape
    expected = f"expected shape (n, {channels}, {height}, {width}) or {spec.shape}, got {shape}"
    batched = len(shape) == 4
    if len(shape) in (3, 4):
        inner = shape[-3:]
        if inner == (height, width, channels):
            order = "0, 3, 1, 2" if batched else "2, 0, 1"
            return f"{expected}; the channels are last, so use x.permute({order})"
        if inner == (channels, width, height):
            return f"{expected}; height and width are swapped, so use x.transpose(-1, -2)"
        if inner[1:] == (height, width) and inner[0] == 4 and channels == 3:
            return f"{expected}; without an alpha channel, it fits: {'x[:, :3]' if batched else 'x[:3]'}"
        if inner[1:] == (height, width):
            return f"{expected}; the images have {inner[0]} channel(s) instead of {channels}"
        sizes = {0: inner[1:], 2: inner[:2]}
        size = next((f"{rows}×{columns}" for at, (rows, columns) in sizes.items() if inner[at] == channels), None)
        if size is not None:
            advice = "; model.prepare(images, resize='cover') resizes 8-bit images" if resizable else ""
            return f"{expected}; the images have {size} pixels instead of {height}×{width}{advice}"
    elif len(shape) > 4 and shape[-3:] == spec.shape:
        return f"{expected}; use x.flatten(0, {len(shape) - 4})"
    elif len(shape) in (1, 2) and shape and shape[-1] == math.prod(spec.shape):
        return f"{expected}; if the values are in the order channel, row, column, use x.reshape(-1, *{spec.shape})"
    return expected


def _check_range(batch: Tensor, spec: ImageSpec, label: str) -> None:
    if not batch.numel():
        return
    low, high = int(batch.min()), int(batch.max())
    if low >= 0 and high < spec.levels:
        return
    advice = ""
    if low >= 0 and high < 256:
        advice = f"; 8-bit values are converted with (x.to(torch.int64) * {spec.levels}) // 256"
    raise UserError(f"{label}: expected integers in [0, {spec.levels}), got {low} … {high}{advice}")
