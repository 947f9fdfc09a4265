"""Side inputs: values that do not depend on the pixels, in the layout of a program's tables.

They are computed for a few rows of the image at a time.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from auxar_layers.functional import concat_elu
from auxar_samplers.compiler.trace import Value, channels_of


class SideInputs:
    """Computes tables for `batch` images: static values, and the parts of sums that do not depend on pixels."""

    def __init__(self, statics: Mapping[fx.Node, Tensor], batch: int) -> None:
        self._statics = statics
        self._batch = batch
        self._found: dict[tuple[fx.Node, bool], tuple[slice, Tensor]] = {}

    def channels(self, static: fx.Node) -> int:
        """The number of channels of a static value."""
        return channels_of(self._statics[static])

    def values(self, static: fx.Node, rows: slice, size: tuple[int, int], activated: bool = False) -> Tensor:
        """A static value in the given rows, after it is broadcast to `size` (height, width): (rows · w, b, c).

        If `activated` is true, concat-ELU is applied to it. The last result is cached, because many blocks apply
        concat-ELU to the same features.
        """
        key = static, activated
        if key not in self._found or self._found[key][0] != rows:
            value = self._statics[static]
            spread = torch.broadcast_tensors(value, value.new_empty((self._batch, 1, *size)))[0]
            found = spread[:, :, rows].permute(2, 3, 0, 1).flatten(0, 1)
            if activated:
                found = concat_elu(found.flatten(0, 1)).unflatten(0, (-1, self._batch))
            self._found[key] = rows, found
        return self._found[key][1]

    def total(self, value: Value, rows: slice, size: tuple[int, int]) -> Tensor:
        """The part of a linear value that does not depend on the pixels, in the given rows: (rows · w, b, c).

        It is the sum of the biases and of the terms with static sources. `size` is the size (height, width) of the
        value.
        """
        total = value.bias.expand(rows.stop - rows.start, size[1], self._batch, -1).clone()
        for term in value.terms:
            if term.bias is not None:
                top, left = term.first
                total[max(0, top - rows.start) :, left:] += term.bias
        total = total.flatten(0, 2)
        for term in value.terms:
            if isinstance(term.source, fx.Node):
                source = self.values(term.source, rows, size, term.activated).flatten(0, 1)
                total = torch.addmm(total, source, term.weight[:, :, 0, 0].t())
        return total.view(-1, self._batch, value.channels)
