"""Side inputs: static values in the layout of a program's tables, computed for a few rows of the image at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

from auxar_layers.functional import concat_elu
from auxar_samplers.compiler.trace import Static, Term, channels_of


class SideInputs:
    """Computes the contents of tables: static values of `batch` images, and sums of terms with static sources."""

    def __init__(self, statics: Mapping[fx.Node, Tensor], batch: int) -> None:
        self._statics = statics
        self._batch = batch
        self._found: dict[tuple[fx.Node, bool], tuple[slice, Tensor]] = {}

    def channels(self, static: Static) -> int:
        """The number of channels of a static value."""
        return channels_of(self._statics[static.node])

    def values(self, static: Static, rows: slice, size: tuple[int, int], activated: bool = False) -> Tensor:
        """A static value in the given rows, after it is broadcast to `size` (height, width): (rows · w, b, c).

        If `activated` is true, concat-ELU is applied to it. The last result is cached, because many blocks apply
        concat-ELU to the same features.
        """
        key = static.node, activated
        if key not in self._found or self._found[key][0] != rows:
            value = self._statics[static.node]
            spread = torch.broadcast_tensors(value, value.new_empty((self._batch, 1, *size)))[0]
            found = spread[:, :, rows].permute(2, 3, 0, 1).flatten(0, 2)
            found = concat_elu(found) if activated else found
            self._found[key] = rows, found.view(-1, self._batch, found.shape[1])
        return self._found[key][1]

    def total(self, terms: Sequence[Term], bias: Tensor, rows: slice, size: tuple[int, int]) -> Tensor:
        """The sum of the bias and the given terms, whose sources are static, in the given rows: (rows · w, b, c)."""
        total: Tensor = bias
        for term in terms:
            assert isinstance(term.source, Static)
            source = self.values(term.source, rows, size, term.activated).flatten(0, 1)
            total = torch.addmm(total, source, term.weight[:, :, 0, 0].t())
        return total.view(-1, self._batch, len(bias))
