"""PixelCNN++ priors and decoders, and the embedding `resnet`."""

from __future__ import annotations

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_pixelcnn import components

AUXAR_INTERFACE = 2


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers priors and decoders `pixelcnn` (one resolution) and `pixelcnn++` (three), and embedding `resnet`."""
    return [
        Component("prior", "pixelcnn", components.LightConfig, components.light_prior),
        Component("prior", "pixelcnn++", components.FullConfig, components.full_prior),
        Component("embedding", "resnet", components.EmbeddingConfig, components.embedding),
        Component("decoder", "pixelcnn", components.LightConfig, components.light_decoder),
        Component("decoder", "pixelcnn++", components.FullConfig, components.full_decoder),
    ]
