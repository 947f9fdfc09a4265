"""Graphs of integer operations, and the networks and embeddings that consist of them."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, cast

import attrs
import torch
from torch import Tensor, nn

from auxar import CausalNetwork, Head, ImageSpec, NetworkEmbedding
from auxar_integers.steps import Operation, steps_of
from auxar_integers.tracing import sizes_of
from auxar_layers.integer_convolutions import IntegerLayer, largest_sums
from auxar_layers.integer_functions import EXACT, IntegerFunction
from auxar_samplers.engines.native.images import product_of

PIXELS = 8192
"""Pixels of the images that are computed at once, so that the processor's cache holds their values."""


class IntegerGraph(nn.Module):
    """Operations on integers, in the order in which they are computed. The last one gives the result."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        super().__init__()
        self.operations = tuple(operations)
        if len({each.name for each in operations}) < len(operations):
            raise ValueError("two operations have one name")
        computed = list(_told_apart(operations))
        self.unneeded: dict[str, list[str]] = {}
        """The names of the values that no operation uses after the operation of a name."""
        for name, user in {name: operation.name for operation in computed for name in operation.inputs}.items():
            self.unneeded.setdefault(user, []).append(name)
        for each in operations:
            if isinstance(each.module, IntegerLayer) and "factor" in each.module.constants:
                each.module.faster = product_of(each.module.integers.detach().flatten(1))
        self.steps = list(steps_of(computed))
        self.sizes: Mapping[str, tuple[int, ...]] = {each.name: each.sizes for each in operations}
        self.modules_by_name = nn.ModuleDict({each.name: each.module for each in operations if each.module is not None})

    def forward(self, **inputs: Tensor) -> Tensor:
        """Computes the result from the graph's inputs by name."""
        first = next(iter(inputs.values()))
        if type(first) is Tensor and len(first) > (count := max(1, PIXELS // max(1, first.shape[2:].numel()))):
            parts = zip(*(each.split(count) for each in inputs.values()), strict=True)
            return torch.cat([self._computed(dict(zip(inputs, part, strict=True))) for part in parts])
        return self._computed(inputs)

    def _computed(self, inputs: Mapping[str, Tensor]) -> Tensor:
        values: dict[str, Any] = {f"{name} (input)": each for name, each in inputs.items()}
        # Samplers trace this method with values that are no tensors.
        real = all(type(each) is Tensor for each in inputs.values())
        for group, step in self.steps:
            found = step.run(values) if real and step is not None else None
            values |= found or {}
            for operation in group:
                if found is None:
                    values[operation.name] = self._result(operation, values)
                # Values of large images would fill the memory.
                for name in self.unneeded.get(operation.name, ()):
                    values.pop(name, None)
        return cast(Tensor, values[self.operations[-1].name])

    def _result(self, operation: Operation, values: Mapping[str, Any]) -> Any:
        """The result of an operation in PyTorch."""
        arguments = [x.double() if type(x) is Tensor else x for x in map(values.__getitem__, operation.inputs)]
        function: Any = operator.add if operation.module is None else self.modules_by_name[operation.name]
        return function(*arguments, *self.sizes.get(operation.name, ()))

    def with_sizes(self, sizes: Mapping[str, tuple[int, ...]]) -> IntegerGraph:
        """The same graph for images of another size: `sizes` has `Operation.sizes` by name. It shares all modules."""
        found = copy.copy(self)
        found.sizes = sizes
        return found

    def bounds(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Proves that every number that occurs is below 2⁵³, and returns the largest magnitude of each result.

        `inputs` has the largest magnitudes of the graph's inputs, for each channel: float64, (c,). Sums are bounded by
        the sums of the magnitudes of all their terms, so the order of the terms does not matter. Raises `OverflowError`
        if a number can reach 2⁵³.
        """
        found = dict(inputs)
        for operation in self.operations:
            bounds = [found[each] for each in operation.inputs]
            module = operation.module
            if module is None:
                own = bounds[0] + bounds[1]
            elif isinstance(module, IntegerLayer):
                own = largest_sums(module, torch.cat(bounds))
            else:
                own = module.bound_of(*bounds)
            if not float(own.max()) < EXACT:
                raise OverflowError(f"{operation.name} can reach {float(own.max()):.3g}")
            channels = module.channels(*map(len, bounds)) if isinstance(module, IntegerFunction) else len(own)
            found[operation.name] = own.expand(channels)
        return found


def _told_apart(operations: Sequence[Operation]) -> Iterator[Operation]:
    """The operations, with other names of the graph's inputs, because a result may have the name of an input."""
    made = set[str]()
    for each in operations:
        yield attrs.evolve(each, inputs=tuple(x if x in made else f"{x} (input)" for x in each.inputs))
        made.add(each.name)


class IntegerNetwork(CausalNetwork):
    """A causal network that computes with integers, and predicts integer parameters.

    `own` is the floating-point network that `graph` was made from. Its weights are not used.
    """

    encodes_integers = True

    def __init__(self, own: CausalNetwork, head: Head, graph: IntegerGraph) -> None:
        super().__init__()
        self.image = own.image
        self.head = head
        self.features_channels = own.features_channels
        self.graph = graph
        self.marks_pixels = own.marks_pixels
        self.any_size = own.any_size
        self._own = (own,)  # In a tuple, because it is no part of this module.

    def at(self, image: ImageSpec) -> Self:
        own = self._own[0].at(image)
        return type(self)(own, self.head, self.graph.with_sizes(sizes_of(own)))

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        given = {} if features is None else {"features": features}
        found: Tensor = self.graph(image=image, **given)
        return found


class IntegerEmbedding(NetworkEmbedding):
    """An embedding that computes integer features with integers.

    `own` is the floating-point embedding that `graph` was made from. Its weights are not used.
    """

    def __init__(self, own: NetworkEmbedding, graph: IntegerGraph) -> None:
        super().__init__()
        self.view = own.view
        self.image = own.image
        self.features_channels = own.features_channels
        self.graph = graph
        self.repeats = own.repeats
        self.any_size = own.any_size
        self._own = (own,)

    def at(self, view: ImageSpec, image: ImageSpec) -> Self:
        own = self._own[0].at(view, image)
        return type(self)(own, self.graph.with_sizes(sizes_of(own)))

    def encode(self, view: Tensor) -> Tensor:
        return self._own[0].encode_integers(view)

    def features(self, view: Tensor) -> Tensor:
        found: Tensor = self.graph(image=view)
        return found
