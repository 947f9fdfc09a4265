"""Steps of an integer graph, which the C++ library computes at once for whole images."""

from collections import Counter
from collections.abc import Iterator, Sequence

import attrs
import torch

from auxar_layers.integer_convolutions import IntegerLayer, IntegerPointwise
from auxar_layers.integer_functions import IntegerFunction
from auxar_samplers.engines.native.images import ImageFunction, ImageProduct, ImageStep


@attrs.frozen
class Operation:
    """One operation of a graph: a layer, a function, or the sum of two values if `module` is None."""

    name: str
    """Name of the result."""
    module: IntegerLayer | IntegerFunction | None
    inputs: tuple[str, ...]
    """Names of earlier results or of the graph's inputs."""
    sizes: tuple[int, ...] = ()
    """Further arguments of the module: the height and width of an upsampling layer's result."""


def steps_of(operations: Sequence[Operation]) -> Iterator[tuple[Sequence[Operation], ImageStep | None]]:
    """The operations of a graph in groups, with a step for each group that the library may compute.

    A group has convolutions of earlier values, their sums, and functions of their results, all at the same pixels.
    """
    result = operations[-1].name
    uses = Counter(name for each in operations for name in each.inputs)
    for group in _groups(operations):
        own = Counter(name for each in group for name in each.inputs)
        stored = [each.name for each in group if own[each.name] < uses[each.name] or each.name == result]
        yield group, _step(group, uses, stored, result)


def _groups(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Divides operations into groups, in their order. Only operations that change no size are together in a group."""
    # Sizes have names: "" of the graph's inputs, "/2" after a layer of stride 2, and "" again after it is undone.
    size_of: dict[str, str] = {}
    group: list[Operation] = []
    of_group: str | None = None
    for each in operations:
        sizes = {size_of.get(name, "") for name in each.inputs}
        keeps = len(sizes) == 1 and (not isinstance(each.module, IntegerLayer) or each.module.padding is not None)
        size, factor = "+".join(sorted(sizes)), getattr(each.module, "factor", None)
        grown = size.removesuffix(f"/{factor}") if size.endswith(f"/{factor}") else f"{size}*{factor}"
        size_of[each.name] = size if keeps else grown if factor else f"{size}/{getattr(each.module, 'stride', 1)}"
        joins = keeps and size_of[each.name] == of_group
        apart = isinstance(each.module, IntegerLayer) and not {x.name for x in group}.isdisjoint(each.inputs)
        if group and (apart or not joins):
            cut = len(group)
            while joins and cut > 1 and isinstance(group[cut - 1].module, IntegerLayer):
                cut -= 1  # A convolution stays with the sum and the function that follow it.
            yield group[:cut]
            group = group[cut:]
        group.append(each)
        of_group = size_of[each.name] if keeps else None
    yield group


def _step(group: Sequence[Operation], uses: Counter[str], stored: Sequence[str], result: str) -> ImageStep | None:
    """The step of a group; None if sums are read outside of it. They are stored after functions round them only."""
    products: list[ImageProduct] = []
    functions: list[ImageFunction] = []
    sums: dict[str, str] = {}  # the name of the products that are added up to a sum, by the name of the sum
    for each in group:
        if isinstance(each.module, IntegerFunction):
            inputs = tuple(sums.get(name, name) for name in each.inputs)
            functions.append(ImageFunction(each.name, each.module, inputs))
        elif each.module is not None:
            if each.module.padding is None:
                return None
            products += _products(each, sums.setdefault(each.name, each.name), each.module)
        elif not sums.keys() >= set(each.inputs):
            return None
        else:
            first, second = (sums[name] for name in each.inputs)
            sums[each.name] = first
            products = [attrs.evolve(part, output=first) if part.output == second else part for part in products]
    if any(uses[name] != 1 or name in stored for name in sums):
        return None
    return ImageStep(products, functions, stored, result)


def _products(operation: Operation, output: str, layer: IntegerLayer) -> Iterator[ImageProduct]:
    """The products of a layer with each of its inputs."""
    kernel, bias = layer.integers.detach().permute(2, 3, 1, 0), layer.bias.detach()
    widths = layer.parts if isinstance(layer, IntegerPointwise) else kernel.shape[2]
    for source, part in zip(operation.inputs, kernel.split(widths, 2), strict=True):
        yield ImageProduct(output, source, part, bias, layer.padding or (0, 0), getattr(layer, "first", (0, 0)))
        bias = torch.zeros_like(bias)
