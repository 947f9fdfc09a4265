"""Causal networks and embeddings of residual blocks in one stream: fewer bits/dim than `pixelcnn` in equal time."""

from __future__ import annotations

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_convnet.components import ConvEmbeddingConfig, ConvNetworkConfig, embedding, network

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers the network and the embedding `convnet`."""
    return [
        Component("network", "convnet", ConvNetworkConfig, network),
        Component("embedding", "convnet", ConvEmbeddingConfig, embedding),
    ]
