"""The arithmetic `integer`, which converts factors to integers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from auxar import (
    CONDITION,
    PARAMETER_BITS,
    Arithmetic,
    CausalDistribution,
    CausalNetwork,
    Conditioning,
    Converted,
    Embedding,
    Encoded,
    Factor,
    IntegerHead,
    NetworkEmbedding,
    UserError,
    Values,
    variable_at,
)
from auxar_integers.conversion import Converter, IntegerConfig
from auxar_integers.graph import IntegerEmbedding, IntegerGraph, IntegerNetwork
from auxar_integers.quantities import NoIntegersError, Quantity
from auxar_integers.storage import described, read_graph
from auxar_integers.tracing import Ranges
from auxar_layers.integer_functions import exponent_of
from auxar_samplers.compiler.tracer import graph_of

PARAMETERS = Quantity("parameters", 2.0**-PARAMETER_BITS, 2**30, 0)
"""Step and bound of the parameters of heads."""
NULL_FEATURES = "null"
"""The name of the tensor with the features of the null condition."""
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
            parts: list[CausalNetwork | NetworkEmbedding] = [network, *_embeddings(factor).values()]
            for part in parts:
                Converter.check(part, graph_of(part, NoIntegersError))
        except NoIntegersError as error:
            raise UserError(f"{factor.name} cannot be converted to integers: {error}") from None

    def convert(self, factor: Factor, values: Values) -> Converted:
        factor.eval()
        try:
            graphs, null = self._convert(factor, values)
            _prove(factor, graphs, null)
        except (NoIntegersError, OverflowError) as error:
            raise UserError(f"{factor.name} cannot be converted to integers: {error}") from None
        found: dict[str, Any] = {"factor": _facts(factor)}
        tensors: dict[str, Tensor] = {}
        for name, graph in graphs.items():
            found[name], more = described(graph, f"{name}/")
            tensors |= more
        if null is not None:
            tensors[NULL_FEATURES] = null
        return Converted(tensors, found).with_limits(factor.limits)

    def restore(self, factor: Factor, converted: Converted) -> Factor:
        try:
            description: Mapping[str, Any] = converted.description
            if description["factor"] != _facts(factor):
                raise ValueError(f"they belong to the factor {description['factor']}, not {_facts(factor)}")
            names = ("network", *_embeddings(factor))
            graphs = {name: read_graph(description[name], converted.tensors, f"{name}/") for name in names}
            conditioning, null = factor.conditioning, None
            if conditioning is not None and conditioning.condition.optional:
                null, channels = converted.tensors[NULL_FEATURES], conditioning.features_channels
                if null.dtype != torch.int64 or tuple(null.shape) != (channels,):
                    raise ValueError(f"expected {channels} integers, got {null.dtype} {tuple(null.shape)}")
            _prove(factor, graphs, null)
            head = _head(_network(factor), description.get("limits", {}))
            return _restored(factor, head, graphs, null)
        except NoIntegersError as error:
            raise UserError(f"{factor.name} has no integers: {error}") from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
            raise UserError(f"these are not the integers of factor {factor.name}: {error!r}") from None

    def _convert(self, factor: Factor, values: Values) -> tuple[dict[str, IntegerGraph], Tensor | None]:
        """The integer graphs of a factor by name, and the features of the null condition, int64 (c,).

        They are None if it is not accepted.
        """
        network, conditioning = _network(factor), factor.conditioning
        _head(network)
        parts = _embeddings(factor)
        ranges, of_parts, largest = _ranges(factor, values)
        # Features of a view and of a condition are concatenated, so they have the same step.
        bound = 2 ** (self.config.activations - 1) - 1
        step = 2.0 ** -exponent_of(largest, bound)
        together = None if conditioning is None else Quantity("features", step, bound, 0)
        graphs, inputs = {}, [_encoded(network)]
        for name, part in parts.items():
            source = Quantity("image", *attrs.astuple(part.encoded))
            graphs[name], result = Converter(of_parts[name], [source], self.config, together).convert()
            # All features have one step and one bound.
            inputs[1:] = [attrs.evolve(result, name="features", channels=network.features_channels)]
        own, _ = Converter(ranges, inputs, self.config, PARAMETERS).convert()
        null = None
        if conditioning is not None and conditioning.null is not None:
            null = (conditioning.null.detach().cpu().double() / step).round().clamp(-bound, bound).to(torch.int64)
        return {"network": own, **graphs}, null


def _ranges(factor: Factor, values: Values) -> tuple[Ranges, dict[str, Ranges], float]:
    """The ranges of the values of a factor's network and of its embeddings, and the largest magnitude of a feature."""
    conditioning, parts = factor.conditioning, _embeddings(factor)
    ranges, of_parts = Ranges(_network(factor)), {name: Ranges(part) for name, part in parts.items()}
    variables = {"embedding": variable_at(factor.depth + 1), "condition": CONDITION}
    null = None if conditioning is None or conditioning.null is None else conditioning.null.detach()
    largest = 0.0 if null is None else float(null.abs().max())
    size = max(1, PIXELS // (factor.image.height * factor.image.width))
    for batch in values.split(size):
        # The prior of attributes is over images of another shape.
        image, features = factor.target(batch).reshape(-1, *factor.image.shape), []
        for name, part in parts.items():
            given = batch[variables[name]]
            integers, encoded = part.encode_integers(given).double(), part.encode(given).double()
            if encoded.shape != integers.shape or not encoded.allclose(integers * part.encoded.step, atol=1e-5):
                raise NoIntegersError(f"{type(part).__name__}: `encode` is not `encode_integers` times `encoded.step`")
            features.append(part.repeated(of_parts[name].add(given)))
            largest = max(largest, float(features[-1].abs().max()))
        ranges.add(image, torch.cat(features, 1) if features else None)
        if null is not None:  # The last features are those of the condition.
            features[-1] = null[None, :, None, None].expand_as(features[-1])
            ranges.add(image, torch.cat(features, 1))
    return ranges, of_parts, largest


def _facts(factor: Factor) -> dict[str, Any]:
    """The shapes, the view, the support and the head of a factor, which decide about the meaning of its parameters."""
    network = _network(factor)
    found: dict[str, Any] = {"image": [*network.image.shape, network.image.levels], "head": type(network.head).__name__}
    if factor.view is not None:
        found["view"] = [type(factor.view).__name__, *factor.view.view.shape, factor.view.view.levels]
        found["restricted"] = factor.restricted
    if factor.condition is not None:
        spec = factor.condition.spec
        found["condition"] = [factor.condition.kind, *spec.shape, spec.levels, factor.condition.optional]
    return found


def _prove(factor: Factor, graphs: Mapping[str, IntegerGraph], null: Tensor | None) -> None:
    """Proves that all numbers are below 2⁵³, and that the results have the channels that the factor needs.

    Raises `OverflowError` or `ValueError` if not.
    """
    own = _network(factor)
    inputs = {"image": _bounds(_encoded(own))}
    features = []
    for name, part in _embeddings(factor).items():
        bounds = graphs[name].bounds(image=_bounds(part.encoded)).popitem()[1]
        if len(bounds) != part.features_channels:
            raise ValueError(f"expected {part.features_channels} channels of features, got {len(bounds)}")
        if name == "condition" and null is not None:
            bounds = torch.maximum(bounds, null.double().abs())
        features.append(bounds)
    if features:
        inputs["features"] = torch.cat(features)
        if len(inputs["features"]) != own.features_channels:
            raise ValueError(f"expected {own.features_channels} channels of features, got {len(inputs['features'])}")
    parameters = graphs["network"].bounds(**inputs).popitem()[1]
    if len(parameters) != own.head.parameter_count:
        raise ValueError(f"expected {own.head.parameter_count} parameters of a pixel, got {len(parameters)}")
    if float(parameters.max()) > PARAMETERS.bound:
        raise OverflowError(f"a parameter can reach {float(parameters.max()):.3g}")


def _restored(factor: Factor, head: IntegerHead, graphs: Mapping[str, IntegerGraph], null: Tensor | None) -> Factor:
    own = _network(factor)
    made = CausalDistribution(IntegerNetwork(own, head, graphs["network"]))
    embeddings = {name: IntegerEmbedding(part, graphs[name]) for name, part in _embeddings(factor).items()}
    conditioning = None
    if factor.condition is not None:
        conditioning = Conditioning(factor.condition, embeddings["condition"])
        if null is not None:
            conditioning.null = nn.Parameter(null.double(), requires_grad=False)
    return factor.with_parts(distribution=made, embedding=embeddings.get("embedding"), conditioning=conditioning)


def _network(factor: Factor) -> CausalNetwork:
    """The network of a factor. Raises `NoIntegersError` if it has none."""
    if factor.network is None:
        raise NoIntegersError(f"{type(factor.distribution).__name__} is not a causal network")
    if type(factor.network).encode is not CausalNetwork.encode:
        raise NoIntegersError(f"{type(factor.network).__name__} encodes pixels by a method of its own")
    return factor.network


def _embeddings(factor: Factor) -> dict[str, NetworkEmbedding]:
    """The embeddings whose features the factor's network gets, in their order: of the view, and of the condition.

    Raises `NoIntegersError` if one has no integer counterpart.
    """
    of_condition = None if factor.conditioning is None else factor.conditioning.embedding
    parts = {"embedding": factor.embedding, "condition": of_condition}
    return {name: _convertible(part) for name, part in parts.items() if part is not None}


def _convertible(embedding: Embedding) -> NetworkEmbedding:
    name = type(embedding).__name__
    if not isinstance(embedding, NetworkEmbedding):
        raise NoIntegersError(f"the embedding {name} is not a NetworkEmbedding")
    if type(embedding).forward is not NetworkEmbedding.forward:
        raise NoIntegersError(f"{name} computes features by a method `forward` of its own")
    own_encode = type(embedding).encode is not NetworkEmbedding.encode
    if own_encode and type(embedding).encode_integers is NetworkEmbedding.encode_integers:
        raise NoIntegersError(f"{name} encodes pixels by a method of its own, without integers (`encode_integers`)")
    return embedding


def _head(network: CausalNetwork, limits: Mapping[str, float] = MappingProxyType({})) -> IntegerHead:
    """The integer counterpart of a network's head with these limits. Raises `NoIntegersError` if there is none."""
    head = network.head.bounded(limits).integer_head()
    if not isinstance(head, IntegerHead):
        raise NoIntegersError(f"the head {type(network.head).__name__} has no integer frequencies")
    return head


def _encoded(network: CausalNetwork) -> Quantity:
    """The encoded pixels of a network's image."""
    image = network.image
    return Quantity("image", 1 / (image.levels - 1), image.levels - 1, image.channels + network.marks_pixels)


def _bounds(encoded: Encoded | Quantity) -> Tensor:
    """The largest magnitudes of the encoded pixels, for each channel: float64, (c,)."""
    return torch.full((encoded.channels,), float(encoded.bound), dtype=torch.float64)
