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

_WORDS = torch.int16


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
    first: tuple[int, int] = (0, 0)
    """The first row and the first column at which the bias is added."""

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

    Values that other steps need are `stored`: in 16 bits, but `result`, the result of the graph, in float64.
    """

    def __init__(
        self, products: Sequence[ImageProduct], functions: Sequence[ImageFunction], stored: Sequence[str], result: str
    ) -> None:
        self.parts = tuple(products), tuple(functions), tuple(stored), result
        made = {each.output for each in self._all()}
        read = [*(each.source for each in products), *itertools.chain(*(each.inputs for each in functions))]
        self.sources = tuple(dict.fromkeys(name for name in read if name not in made))
        """The names of the values that the step reads."""
        self._made = threading.local()  # Threads write different addresses into structures, but share weights.
        self._packed: tuple[Kept, list[tuple[int, int, int] | None]] | None = None

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
        if kinds - {("cpu", torch.float64), ("cpu", _WORDS)} or {x.shape[:3] for x in sources.values()} != {size}:
            return None
        for name, x in sources.items():
            if x.dtype != _WORDS and name in {each.source for each in self.parts[0]}:
                sources[name] = torch.empty_like(x, dtype=_WORDS)
                if not code.convert_to_words(x.data_ptr(), x.numel(), sources[name].data_ptr()):
                    return None
        if not hasattr(self._made, "step"):
            self._made.kept, self._made.readers, self._made.outputs = Kept(), [], {}
            self._made.widths = {name: x.shape[3] for name, x in sources.items()}
            self._made.step = self._structure(code, dict(self._made.widths))
        if self._made.step is None or any(x.shape[3] != self._made.widths[name] for name, x in sources.items()):
            return None
        for structure, field, name in self._made.readers:
            setattr(structure, field, sources[name].data_ptr())
            if field == "base":
                structure.words = sources[name].dtype == _WORDS
        step, found = self._made.step, {}
        for name, output in self._made.outputs.items():
            found[name] = torch.empty(
                *size, output.channels, dtype=_WORDS if output.words else torch.float64, device="cpu"
            )
            output.base = found[name].data_ptr()
        step.batch, step.height, step.width = size
        if not code.compute_images(ctypes.addressof(step), torch.get_num_threads()):
            return None
        return {name: x.movedim(3, 1) for name, x in found.items()}

    def _structure(self, code: ctypes.CDLL, channels: dict[str, int]) -> Any:
        """The structure `ImageStep`, given the channels of the sources; None if the library cannot compute the step."""
        (products, functions, stored, result), kept = self.parts, self._made.kept
        if self._packed is None:
            self._packed = (own := Kept()), [_packed(code, each, own) for each in products]
        kept.append(self._packed)
        packed = [each for each in self._packed[1] if each is not None]
        sized = all(channels[each.source] == each.kernel.shape[2] for each in products)
        if len(packed) < len(products) or not sized or any(len(x.inputs) > code.most_operands() for x in functions):
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
            one.first_row, one.first_column = product.first
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
            one.output.words = function.output != result
            if function.output in stored:
                self._made.outputs[function.output] = one.output
        return structures.ImageStep(
            products=kept.address(made),
            product_count=len(products),
            functions=kept.address(applied),
            function_count=len(functions),
            channels=max(before, *channels.values()),
        )


def product_of(weight: Tensor) -> ImageStep:
    """The step that multiplies each pixel of images `x` with weights (c, n) in float64, and stores them as `found`."""
    product = ImageProduct("sums", "x", weight[None, None], weight.new_zeros(weight.shape[1]), (0, 0))
    return ImageStep([product], [ImageFunction("found", IntegerConcat(), ("sums",))], ["found"], "found")


def _packed(code: ctypes.CDLL, product: ImageProduct, kept: Kept) -> tuple[int, int, int] | None:
    """The addresses of the structure `Words` and of the places whose weights are not all 0, and their number.

    None if the processor or the weights do not allow it.
    """
    places = product.kernel.flatten(2).any(2).nonzero()
    places = places if len(places) else places.new_zeros(1, 2)
    words = packed_weights(code, product.kernel[places[:, 0], places[:, 1]].flatten(0, 1), kept)
    own = (places - places.new_tensor(product.padding)).contiguous()
    return None if words is None else (kept.address(words), kept.address(own), len(places))
