"""The arithmetic `integer`, which converts factors to integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar import CausalDecoder, CausalNetwork, CausalPrior, Factor, ImageSpec, Stage, UserError
from auxar.interfaces import Arithmetic, Converted, NetworkEmbedding, PriorFactor
from auxar.interfaces.integer_head import PARAMETER_BITS, IntegerHead
from auxar_integers.conversion import Converter, IntegerConfig
from auxar_integers.errors import NoIntegersError
from auxar_integers.graph import IntegerGraph
from auxar_integers.networks import IntegerEmbedding, IntegerNetwork
from auxar_integers.quantities import Quantity
from auxar_integers.storage import described, read_graph
from auxar_integers.tracing import Ranges, trace

PARAMETERS = Quantity("parameters", 2.0**-PARAMETER_BITS, 2**30, 0)
"""Step and bound of the parameters of heads."""
PIXELS = 2**14
"""Pixels of the images from which ranges are taken at once, which bounds the memory."""


class IntegerArithmetic(Arithmetic):
    """Converts factors whose networks and embeddings consist of the layers and functions of `auxar_layers`."""

    def __init__(self, config: IntegerConfig) -> None:
        self.config = config

    def check(self, factor: Factor) -> None:
        try:
            network = _network(factor)
            _head(network)
            for part in (network, *([_embedding(factor)] if isinstance(factor, Stage) else ())):
                Converter.check(part, trace(part))
        except NoIntegersError as error:
            raise UserError(f"{factor.name} cannot be converted to integers: {error}") from None

    def convert(self, factor: Factor, image: Tensor, view: Tensor | None) -> Converted:
        factor.eval()
        try:
            network, embedding = self._convert(factor, image, view)
            _prove(factor, network, embedding)
        except (NoIntegersError, OverflowError) as error:
            raise UserError(f"{factor.name} cannot be converted to integers: {error}") from None
        description, tensors = described(network, "network/")
        found: dict[str, Any] = {"factor": _facts(factor), "network": description}
        if embedding is not None:
            found["embedding"], more = described(embedding, "embedding/")
            tensors |= more
        return Converted(tensors, found)

    def restore(self, factor: Factor, converted: Converted) -> Factor:
        try:
            graphs: Mapping[str, Any] = converted.description
            if graphs["factor"] != _facts(factor):
                raise ValueError(f"they belong to the factor {graphs['factor']}, not {_facts(factor)}")
            network = read_graph(graphs["network"], converted.tensors, "network/")
            embedding = None
            if isinstance(factor, Stage):
                embedding = read_graph(graphs["embedding"], converted.tensors, "embedding/")
            _prove(factor, network, embedding)
            return _restored(factor, network, embedding)
        except NoIntegersError as error:
            raise UserError(f"{factor.name} has no integers: {error}") from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
            raise UserError(f"these are not the integers of factor {factor.name}: {error!r}") from None

    def _convert(self, factor: Factor, image: Tensor, view: Tensor | None) -> tuple[IntegerGraph, IntegerGraph | None]:
        network = _network(factor)
        _head(network)
        ranges = Ranges(network)
        of_features = Ranges(_embedding(factor)) if isinstance(factor, Stage) else None
        size = max(1, PIXELS // (factor.image.height * factor.image.width))
        for start in range(0, len(image), size):
            part = slice(start, start + size)
            features = None
            if of_features is not None:
                assert view is not None
                features = of_features.add(view[part])
            ranges.add(image[part], features)
        inputs = [_encoded(network.image, marked=network.marks_pixels)]
        embedding = None
        if of_features is not None:
            own = _embedding(factor)
            source = _encoded(own.view, marked=own.marks_pixels)
            embedding, result = Converter(of_features, [source], self.config).convert()
            inputs.append(attrs.evolve(result, name="features"))
        converted, _ = Converter(ranges, inputs, self.config, PARAMETERS).convert()
        return converted, embedding


def _facts(factor: Factor) -> dict[str, Any]:
    """The shapes, the view, the support and the head of a factor, which decide about the meaning of its parameters."""
    found: dict[str, Any] = {
        "image": [*factor.image.shape, factor.image.levels],
        "head": type(_network(factor).head).__name__,
    }
    if isinstance(factor, Stage):
        found["view"] = [type(factor.view).__name__, *factor.view.view.shape, factor.view.view.levels]
        found["restricted"] = factor.restricted
    return found


def _prove(factor: Factor, network: IntegerGraph, embedding: IntegerGraph | None) -> None:
    """Proves that all numbers are below 2⁵³, and that the results have the channels that the factor needs.

    Raises `OverflowError` or `ValueError` if not.
    """
    own = _network(factor)
    inputs = {"image": _bounds(own.image, marked=own.marks_pixels)}
    if embedding is not None:
        of_view = _embedding(factor)
        features = _result(embedding.bounds(image=_bounds(of_view.view, marked=of_view.marks_pixels)))
        if len(features) != own.features_channels:
            raise ValueError(f"expected {own.features_channels} channels of features, got {len(features)}")
        inputs["features"] = features
    parameters = _result(network.bounds(**inputs))
    if len(parameters) != own.head.parameter_count:
        raise ValueError(f"expected {own.head.parameter_count} parameters of a pixel, got {len(parameters)}")
    if float(parameters.max()) > PARAMETERS.bound:
        raise OverflowError(f"a parameter can reach {float(parameters.max()):.3g}")


def _result(bounds: Mapping[str, Tensor]) -> Tensor:
    return list(bounds.values())[-1]


def _restored(factor: Factor, network: IntegerGraph, embedding: IntegerGraph | None) -> Factor:
    own = _network(factor)
    made = IntegerNetwork(own.image, _head(own), own.features_channels, network, marks_pixels=own.marks_pixels)
    if not isinstance(factor, Stage):
        return PriorFactor(CausalPrior(made), factor.depth)
    of_view = _embedding(factor)
    assert embedding is not None
    features = IntegerEmbedding(
        of_view.view, of_view.image, of_view.features_channels, embedding, marks_pixels=of_view.marks_pixels
    )
    return Stage(factor.view, features, CausalDecoder(made), restricted=factor.restricted, depth=factor.depth)


def _network(factor: Factor) -> CausalNetwork:
    """The network of a factor. Raises `NoIntegersError` if it has none."""
    if factor.condition is not None:
        raise NoIntegersError("it is given a condition, which integers do not support")
    part = factor.decoder if isinstance(factor, Stage) else getattr(factor, "prior", None)
    if not isinstance(part, CausalPrior | CausalDecoder):
        raise NoIntegersError(f"{type(part).__name__} is not a causal network")
    if type(part.network).encode is not CausalNetwork.encode:
        raise NoIntegersError(f"{type(part.network).__name__} encodes pixels by a method of its own")
    return part.network


def _embedding(factor: Factor) -> NetworkEmbedding:
    """The embedding of a stage. Raises `NoIntegersError` if it has no integer counterpart."""
    assert isinstance(factor, Stage)
    if not isinstance(factor.embedding, NetworkEmbedding):
        raise NoIntegersError(f"the embedding {type(factor.embedding).__name__} is not a NetworkEmbedding")
    if type(factor.embedding).encode is not NetworkEmbedding.encode:
        raise NoIntegersError(f"{type(factor.embedding).__name__} encodes pixels by a method of its own")
    return factor.embedding


def _head(network: CausalNetwork) -> IntegerHead:
    """The integer counterpart of a network's head. Raises `NoIntegersError` if there is none."""
    head = network.head.integer_head()
    if not isinstance(head, IntegerHead):
        raise NoIntegersError(f"the head {type(network.head).__name__} has no integer frequencies")
    return head


def _encoded(image: ImageSpec, *, marked: bool) -> Quantity:
    """The encoded pixels of an image."""
    return Quantity("image", 1 / (image.levels - 1), image.levels - 1, image.channels + marked)


def _bounds(image: ImageSpec, *, marked: bool) -> Tensor:
    """The largest magnitudes of the encoded pixels of an image, for each channel: float64, (c,)."""
    return torch.full((image.channels + marked,), float(image.levels - 1), dtype=torch.float64)
