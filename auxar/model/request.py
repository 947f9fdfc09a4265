"""Requests to draw images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.model.image import Known
from auxar.model.rule import Ancestral, Guidance, Rule
from auxar.model.support import GivenView


@attrs.frozen(eq=False)
class SampleRequest:
    """A request to draw images: their numbers, seed and rule, and any known pixels and given views.

    Noise depends only on (seed, number, depth). Except for rounding, an image therefore does not depend on its batch,
    on the sampler or on the number of processes.

    Examples:
        >>> together = SampleRequest((3, 7), seed=0).uniforms((4,))
        >>> alone = SampleRequest((7,), seed=0).uniforms((4,))
        >>> bool((together[1] == alone[0]).all())
        True
    """

    numbers: tuple[int, ...]
    """Number of each image to draw. With the seed and the depth, it selects the image's noise."""
    seed: int = 0
    """Seed of the noise."""
    rule: Rule = attrs.field(factory=Ancestral)
    """The drawing rule."""
    depth: int = 0
    """Depth that is drawn: 0 for the image, k for its k-th view."""
    known: Known | None = None
    """Known pixels and limits of the other pixels, at this depth; None if there are none."""
    given: GivenView | None = None
    """The views that the images are given, and whether the images must have these views. None without a view, or if the
    view has no support."""

    @property
    def guidance(self) -> Guidance | None:
        """The rule's guidance at this depth; None if it has none."""
        return self.rule.guidance(self.depth)

    def deeper(self, by: int = 1, known: Known | None = None) -> SampleRequest:
        """The request for the same images at depth `depth + by`, with known pixels for that depth.

        Examples:
            >>> SampleRequest((3, 7)).deeper(2).depth
            2
        """
        return attrs.evolve(self, depth=self.depth + by, known=known, given=None)

    def uniforms(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Uniform noise in the open interval (0, 1): float64, shape (len(numbers), *shape)."""
        rows = []
        for number in self.numbers:
            key = hashlib.sha256(f"{self.seed}/{number}/{self.depth}".encode()).digest()
            # NumPy guarantees that the raw stream of a bit generator never changes, unlike draws from distributions.
            raw = np.random.Philox(key=int.from_bytes(key[:16])).random_raw(math.prod(shape))
            rows.append((raw >> np.uint64(12)).reshape(tuple(shape)))
        # The results are odd multiples of 2⁻⁵³: exact in float64, symmetric about 1/2, and never 0 or 1.
        return torch.from_numpy((np.stack(rows).astype(np.float64) + 0.5) * 2.0**-52).to(device)
