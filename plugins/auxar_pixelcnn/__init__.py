"""PixelCNN++ priors and decoders, and the embeddings `resnet` of views, and `categories` and `pixels` of conditions."""

from __future__ import annotations

from collections.abc import Sequence

from auxar import Component, hookimpl
from auxar_pixelcnn import components

AUXAR_INTERFACE = 2


@hookimpl
def auxar_register_components() -> Sequence[Component]:
    """Registers priors and decoders `pixelcnn` (one resolution) and `pixelcnn++` (three), and the embeddings."""
    light, full = components.LightConfig, components.FullConfig
    return [
        Component("prior", "pixelcnn", light, components.light_prior, given_features=components.light_decoder),
        Component("prior", "pixelcnn++", full, components.full_prior, given_features=components.full_decoder),
        Component("embedding", "resnet", components.EmbeddingConfig, components.embedding),
        Component("embedding", "categories", components.CategoriesConfig, components.categories),
        Component("embedding", "pixels", components.PixelsConfig, components.pixels),
        Component("decoder", "pixelcnn", light, components.light_decoder),
        Component("decoder", "pixelcnn++", full, components.full_decoder),
    ]
