"""PixelCNN++ priors, decoders and embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_pixelcnn import components

AUXAR_INTERFACE = 2


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Priors and decoders `pixelcnn` (light) and `pixelcnn++` (full), and the embedding `resnet`."""
    return [
        Component("prior", "pixelcnn", components.LightConfig, components.light_prior),
        Component("prior", "pixelcnn++", components.FullConfig, components.full_prior),
        Component("embedding", "resnet", components.EmbeddingConfig, components.embedding),
        Component("decoder", "pixelcnn", components.LightConfig, components.light_decoder),
        Component("decoder", "pixelcnn++", components.FullConfig, components.full_decoder),
    ]
