"""Batches of examples: images, with the condition of each if the data set has conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import torch
from torch import Tensor

from auxar.model import NULL, Augmentation


@attrs.frozen(eq=False)
class Examples:
    """A batch of images with their conditions.

    Examples:
        >>> batch = Examples(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, 1, 1, 1, dtype=torch.int32))
        >>> len(batch), [len(part) for part in batch.chunk(3)]
        (4, [2, 2])
    """

    image: Tensor
    """The images: uint8, (b, c, h, w)."""
    condition: Tensor | None = None
    """The condition of each image: int32, (b, *condition.spec.shape). None if the data set has no conditions."""

    def __len__(self) -> int:
        return len(self.image)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Examples:
        """The batch with the images and the conditions changed in the same way."""
        return Examples(change(self.image), None if self.condition is None else change(self.condition))

    def of(self, rows: slice) -> Examples:
        """The examples of a slice of the batch."""
        return self._each(lambda values: values[rows])

    def chunk(self, parts: int) -> list[Examples]:
        """Splits the batch into at most `parts` parts, as `torch.chunk` does."""
        images = self.image.chunk(parts)
        conditions = [None] * len(images) if self.condition is None else self.condition.chunk(parts)
        return [Examples(*part) for part in zip(images, conditions, strict=True)]

    def split(self, size: int) -> list[Examples]:
        """Splits the batch into parts of `size` examples, and a last one of fewer."""
        return [self.of(slice(start, start + size)) for start in range(0, len(self), size)]

    def to(self, device: torch.device) -> Examples:
        """The batch on another device."""
        return self._each(lambda values: values.to(device, non_blocking=True))

    def varied(self, augmentation: Augmentation, variants: Tensor, *, with_condition: bool) -> Examples:
        """The batch with a variant of each image, int64 (b,), and of its condition if `with_condition`."""

        def varied(values: Tensor) -> Tensor:
            found = values.clone()
            for variant in variants.unique().tolist():
                rows = variants == variant
                found[rows] = augmentation(values[rows], variant)
            return found

        condition = varied(self.condition) if self.condition is not None and with_condition else self.condition
        return Examples(varied(self.image), condition)

    def without_condition(self, rows: Tensor) -> Examples:
        """The batch with the null condition in some rows, bool (b,)."""
        if self.condition is None:
            return self
        return Examples(self.image, self.condition.masked_fill(rows[:, None, None, None], NULL))


def joined(batches: Sequence[Examples]) -> Examples:
    """Concatenates batches."""
    conditions = [batch.condition for batch in batches if batch.condition is not None]
    return Examples(torch.cat([batch.image for batch in batches]), torch.cat(conditions) if conditions else None)
