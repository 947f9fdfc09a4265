"""Steps of graphs of integers for whole images in the C++ library."""

import ctypes
import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar_layers.integer_functions import IntegerConcat, IntegerFunction, IntegerReLU
from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native.integers import constants_of, packed_weights
from auxar_samplers.engines.native.library import Kept, codes, library, structures


@attrs.frozen(eq=False)
class ImageProduct:
    """A convolution with stride 1 whose result has the size of the image. It is added to earlier results of a name."""

    output: str
    source: str
    kernel: Tensor
    """The weights (height, width, channels, outputs), float64."""
    bias: Tensor
    padding: tuple[int, int]
    """The numbers of rows of zeros above the image, and of columns on its left; negative ones crop."""

    def channels(self, known: Mapping[str, int]) -> int:
        return self.kernel.shape[3]


@attrs.frozen(eq=False)
class ImageFunction:
    """A function of values that lie at the same pixels."""

    output: str
    function: IntegerFunction
    inputs: tuple[str, ...]

    def channels(self, known: Mapping[str, int]) -> int:
        return self.function.channels(*(known[name] for name in self.inputs))


class ImageStep:
    """Convolutions of the same pixels, and functions that are applied to their results while the cache has them.

    Values that other steps need are `stored`: in 16 bits, or in float64 if the name is `exact`.
    """

    def __init__(
        self, products: Sequence[ImageProduct], functions: Sequence[ImageFunction], stored: Sequence[str], exact: str
    ) -> None:
        self.parts = tuple(products), tuple(functions), tuple(stored), exact
        made = {each.output for each in self._all()}
        read = [*(each.source for each in products), *itertools.chain(*(each.inputs for each in functions))]
        self.sources = tuple(dict.fromkeys(name for name in read if name not in made))
        """The names of the values that the step reads."""
        self._multiplied = {each.source for each in products}
        self._made = threading.local()  # Threads write different addresses into the structures.

    def _all(self) -> tuple[ImageProduct | ImageFunction, ...]:
        return (*self.parts[0], *self.parts[1])

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageStep, self.parts  # Addresses mean nothing in copies and in other processes.

    def run(self, values: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """The values that are stored, from those by name, both (b, c, h, w) in float64 or int16.

        None if a value is not an integer of 16 bits, if values have several sizes, or if the library cannot be used.
        """
        try:
            code = library()
        except BrokenError:
            return None
        sources = {name: values[name].movedim(1, 3).contiguous() for name in self.sources}
        size = sources[self.sources[0]].shape[:3]
        kinds = {(x.device.type, x.dtype) for x in sources.values()}
        if kinds - {("cpu", torch.float64), ("cpu", torch.int16)} or {x.shape[:3] for x in sources.values()} != {size}:
            return None
        for name, x in sources.items():
            if x.dtype != torch.int16 and name in self._multiplied:
                sources[name] = torch.empty_like(x, dtype=torch.int16)
                if not code.convert_to_words(x.data_ptr(), x.numel(), sources[name].data_ptr()):
                    return None
        if not hasattr(self._made, "step"):
            self._made.kept, self._made.readers, self._made.outputs = Kept(), [], {}
            self._made.step = self._structure(code, {name: x.shape[3] for name, x in sources.items()})
        if self._made.step is None:
            return None
        for structure, field, name in self._made.readers:
            setattr(structure, field, sources[name].data_ptr())
            if field == "base":
                structure.words = sources[name].dtype == torch.int16
        step, found = self._made.step, {}
        for name, output in self._made.outputs.items():
            found[name] = torch.empty(*size, output.channels, dtype=torch.int16 if output.words else torch.float64)
            output.base = found[name].data_ptr()
        step.batch, step.height, step.width = size
        if not code.compute_images(ctypes.addressof(step), torch.get_num_threads()):
            return None
        return {name: x.movedim(3, 1) for name, x in found.items()}

    def _structure(self, code: ctypes.CDLL, channels: dict[str, int]) -> Any:
        """The structure `ImageStep`, given the channels of the sources; None if the library cannot compute the step."""
        (products, functions, stored, exact), kept = self.parts, self._made.kept
        packed = [found for each in products if (found := _packed(code, each, kept)) is not None]
        if len(packed) < len(products) or any(len(each.inputs) > code.most_operands() for each in functions):
            return None
        numbers, first, before = codes(code), dict[str, int](), 0
        for each in self._all():
            if each.output not in first:
                channels[each.output], first[each.output] = each.channels(channels), before
                before += channels[each.output]
        made = (structures.ImageProduct * len(products))()
        for one, product, parts in zip(made, products, packed, strict=True):
            one.words, one.places, one.count = parts
            one.channels, one.bias = channels[product.source], kept.address(product.bias.detach().contiguous())
            one.added = product is not next(each for each in products if each.output == product.output)
            one.output.channels, one.output.first_slot = channels[product.output], first[product.output]
            self._made.readers.append((one, "values", product.source))
        applied = (structures.Instruction * len(functions))()
        for one, function in zip(applied, functions, strict=True):
            operands = (structures.Operand * len(function.inputs))()
            for operand, name in zip(operands, function.inputs, strict=True):
                operand.channels, operand.first_slot = channels[name], first.get(name, 0)
                operand.kind = numbers["scratch" if name in first else "table"]
                if name not in first:
                    self._made.readers.append((operand, "base", name))
            one.operands, one.operand_count = kept.address(operands), len(operands)
            one.function = numbers[function.function.kind]
            if not isinstance(function.function, IntegerReLU | IntegerConcat):
                one.constants = kept.address(constants_of(function.function, kept))
            one.output.channels, one.output.first_slot = channels[function.output], first[function.output]
            one.output.words = function.output != exact
            if function.output in stored:
                self._made.outputs[function.output] = one.output
        return structures.ImageStep(
            products=kept.address(made),
            product_count=len(products),
            functions=kept.address(applied),
            function_count=len(functions),
            channels=max(before, *channels.values()),
        )


class Multiplier:
    """Multiplies each pixel of images with weights (c, n) in float64."""

    def __init__(self, weight: Tensor) -> None:
        product = ImageProduct("sums", "x", weight[None, None], weight.new_zeros(weight.shape[1]), (0, 0))
        self.step = ImageStep([product], [ImageFunction("found", IntegerConcat(), ("sums",))], ["found"], "found")

    def __call__(self, x: Tensor) -> Tensor | None:
        """The products of (b, c, h, w), (b, h, w, n); None if the library cannot be used, as by `ImageStep.run`."""
        found = self.step.run({"x": x})
        return None if found is None else found["found"].movedim(1, 3)


def _packed(code: ctypes.CDLL, product: ImageProduct, kept: Kept) -> tuple[int, int, int] | None:
    """The addresses of the structure `Words` and of the places whose weights are not all 0, and their number.

    None if all are, or if the processor or the weights do not allow it.
    """
    places = product.kernel.flatten(2).any(2).nonzero()
    if not len(places):
        return None
    words = packed_weights(code, product.kernel[places[:, 0], places[:, 1]].flatten(0, 1), kept)
    if words is None:
        return None
    runs = torch.ones(len(places), 1, dtype=torch.int64)
    for k in range(len(places) - 2, -1, -1):
        if (places[k + 1] - places[k]).tolist() == [0, 1]:
            runs[k] = runs[k + 1] + 1
    own = torch.cat([places - places.new_tensor(product.padding), runs], 1)
    return kept.address(words), kept.address(own), len(places)
