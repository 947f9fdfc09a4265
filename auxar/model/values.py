"""Values of variables: integers by the name of a variable, for a number of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError, did_you_mean

IMAGE = "image"
"""The name of the image, the variable at depth 0."""
CONDITION = "condition"
"""The name of the variable that comes with each image, such as its label."""
NULL = -1
"""The value that every place of the null condition has. It stands for an image without a condition."""


def variable_at(depth: int) -> str:
    """The name of the variable at a depth: `image`, and `view1`, `view2`, … for the image's views.

    Examples:
        >>> variable_at(0), variable_at(2)
        ('image', 'view2')
    """
    return f"view{depth}" if depth else IMAGE


@attrs.frozen(eq=False, init=False)
class Values:
    """The values of variables for a number of images: a tensor of integers, (b, channels, height, width), for each.

    A variable without values is absent. `values[name]` are the values of a variable, `values.get(name)` is None for an
    absent one, and `values | {name: tensor}` adds or replaces variables. `len(values)` is b.

    Args:
        tensors: The values by name; None stands for an absent variable.
        count: The number b of images. It is needed if all variables are absent.

    Raises `UserError` if variables have different numbers of rows.

    Examples:
        >>> values = Values({"image": torch.zeros(4, 3, 8, 8, dtype=torch.uint8), "condition": torch.ones(4, 1, 1, 1)})
        >>> len(values), [len(part) for part in values.chunk(3)], [len(part) for part in values.split(3)]
        (4, [2, 2], [3, 1])
        >>> "view1" in values, values.rows(slice(3)).get("condition").shape
        (False, torch.Size([3, 1, 1, 1]))
        >>> values.without("image").with_null("condition", torch.arange(4) < 2)["condition"].flatten()
        tensor([-1., -1.,  1.,  1.])
        >>> values.changed(lambda tensor: tensor.long()).to("cpu")["image"].dtype
        torch.int64
    """

    tensors: Mapping[str, Tensor]
    """The values of the variables that are not absent, by name."""
    count: int
    """The number of images."""

    def __init__(self, tensors: Mapping[str, Tensor | None] | None = None, count: int | None = None) -> None:
        present = {name: values for name, values in (tensors or {}).items() if values is not None}
        counts = {name: len(values) for name, values in present.items()}
        count = next(iter(counts.values()), 0) if count is None else count
        for name, rows in counts.items():
            if rows != count:
                first = next(iter(counts))
                source = f"the {count} of {first}" if counts[first] == count else f"{count} images"
                raise UserError(f"{name}: expected a row for each of {source}, got {rows}")
        self.__attrs_init__(present, count)

    def __len__(self) -> int:
        return self.count

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            names = ", ".join(self.tensors) or "none"
            near = did_you_mean(name, list(self.tensors))
            raise UserError(f"values: there are none of the variable '{name}'{near}; the variables are: {names}")
        return self.tensors[name]

    def __or__(self, others: Mapping[str, Tensor | None]) -> Values:
        return Values({**self.tensors, **others}, self.count or None)

    def get(self, name: str) -> Tensor | None:
        """The values of a variable; None if it is absent."""
        return self.tensors.get(name)

    def without(self, *names: str) -> Values:
        """The values without some variables."""
        return Values({name: values for name, values in self.tensors.items() if name not in names}, self.count)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Values:
        """The values after a function of tensors, which keeps the number of rows."""
        return Values({name: change(values) for name, values in self.tensors.items()}, self.count)

    def rows(self, rows: slice | Tensor) -> Values:
        """The values of some images: those of a slice, or with the given numbers, int64."""
        count = len(range(*rows.indices(self.count))) if isinstance(rows, slice) else len(rows)
        return Values({name: values[rows] for name, values in self.tensors.items()}, count)

    def split(self, size: int) -> list[Values]:
        """The values in parts of `size` images, and a last part of fewer."""
        return [self.rows(slice(start, start + size)) for start in range(0, self.count, size)]

    def chunk(self, parts: int) -> list[Values]:
        """The values in at most `parts` parts of about the same size, as `torch.chunk` divides tensors."""
        return self.split(max(1, -(-self.count // parts))) or [self]

    def to(self, device: torch.device | str) -> Values:
        """The values on another device."""
        return self.changed(lambda values: values.to(device, non_blocking=True))

    def with_null(self, name: str, rows: Tensor) -> Values:
        """The values with a variable's null condition in the rows that `rows`, bool (b,), marks."""
        values = self.get(name)
        if values is None:
            return self
        return self | {name: values.masked_fill(rows[:, None, None, None], NULL)}


def joined(parts: Sequence[Values]) -> Values:
    """The values of several groups of images, one group after another. A variable is present in all groups or in none.

    Examples:
        >>> some = Values({"image": torch.zeros(2, 1, 4, 4)})
        >>> len(joined([some, some]))
        4
    """
    names = parts[0].tensors if parts else ()
    return Values({name: torch.cat([part[name] for part in parts]) for name in names}, sum(map(len, parts)))
